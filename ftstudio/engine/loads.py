"""The batches that decide what a training takes: its heaviest one, a usual one, those of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ftstudio.core import launch
from ftstudio.core.recipe import Recipe
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow
from ftstudio.engine import pieces
from ftstudio.engine.budget import order_of
from ftstudio.engine.collate import Row
from ftstudio.engine.hardware import Hardware
from ftstudio.engine.materials import Materials
from ftstudio.engine.memory import Loads, heaviest, longest_new
from ftstudio.engine.order import flat
from ftstudio.engine.rows import encoded_rows
from ftstudio.engine.samples import spread

USUAL = 3  # batches of usual size that are measured beside the heaviest
EPOCHS = 5  # at most are searched for the heaviest batch: later ones have hardly a heavier one


@dataclass(frozen=True)
class Batches:
    """`heaviest` training batch of the epochs, `usual` ones; `held_out` rows, `prompts` answered while training.

    `piece`: what of the heaviest batch goes through the model at once. `tokens` of every batch of an epoch, in order.
    `prompts` are those of tasks that write, `asked` the same with all that belongs to them, such as pictures; `pieces`
    are all that the heaviest batch is cut into.
    """

    heaviest: list[Row]
    piece: list[Row]
    usual: list[list[Row]]
    tokens: list[int]
    held_out: list[Row] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    new: int = 0
    asked: list[Row] = field(default_factory=list)
    pieces: list[list[Row]] = field(default_factory=list)

    def held(self, batch: int, budget: int | None) -> list[Row]:
        """The first batch of held-out rows, the longest: of BATCH rows, or of BUDGET tokens."""
        rows = sorted(self.held_out, key=lambda row: -len(row["input_ids"]))
        if budget is not None and rows:
            batch = max(1, budget // len(rows[0]["input_ids"]))
        return rows[:batch]

    def loads(self, batch: int, budget: int | None = None) -> Loads:
        """What memory is estimated from."""
        held = self.held(batch, budget)
        return Loads(
            tuple(len(row["input_ids"]) for row in self.piece),
            _trained(self.piece),
            tuple(len(row["input_ids"]) for row in held),
            _trained(held),
            tuple(len(ids) for ids in self.prompts),
            self.new,
        )


def at_once(batch: list[int], lengths: Sequence[int], chunk: int | None) -> list[int]:
    """What of BATCH, rows of LENGTHS, takes most where CHUNK rows at most are looked at at once: all parts are as wide
    as its longest row (see `gradient_cache.wanted`). All of it where CHUNK is None."""
    size = len(batch) if chunk is None else -(-len(batch) // -(-len(batch) // chunk))
    return batch if size == len(batch) else sorted(batch, key=lambda row: -lengths[row])[:size]


def _passes(recipe: Recipe, batches: int) -> float:
    """How often the rows are passed, in so many BATCHES a time."""
    training = recipe.training
    if training.steps is None:
        return training.epochs or 0
    return training.steps * training.gradient_accumulation / max(1, batches)


def _trained(rows: Sequence[Row]) -> int:
    return sum(label >= 0 for row in rows for label in row["labels"][1:])


def padding_free(config: Any, recipe: Recipe, machine: Hardware) -> bool:
    """Whether batches of RECIPE's causal model of CONFIG lie without padding on MACHINE (see
    `attention.padding_free`)."""
    from transformers import AutoModelForCausalLM

    from ftstudio.engine import attention

    if recipe.method.name == "prompt":
        return False
    mapping: Any = AutoModelForCausalLM._model_mapping
    kind = mapping.get(type(config), None)
    return attention.padding_free(kind, machine.device, machine.dtype, recipe.training.attention)


def batches(
    recipe: Recipe, materials: Materials, encoded: EncodedSet, config: Any, machine: Hardware, weights: int = 0
) -> Batches:
    """The batches of RECIPE on its ENCODED training rows. CONFIG, the model's, tells what logits and layers take;
    MACHINE and the number of its WEIGHTS, what of a batch goes through it at once."""
    text = config.get_text_config()
    lengths = [int(length) for length in encoded.batch_lengths]
    task = materials.task
    # other tasks ask something of every token, or of none of them
    labels = [encoded.table["trained"][row] for row in encoded.rows] if task.kind == "causal-lm" else lengths
    width = 16 * text.hidden_size * (1 if recipe.training.gradient_checkpointing else text.num_hidden_layers)
    training = recipe.training
    order = order_of(
        lengths, training.batch_size, training.batch_tokens, training.seed, launch.place().count,
        alike=task.rows_alike, accumulation=training.gradient_accumulation,
    )  # fmt: skip
    everything = order.batches(0)
    passes = min(EPOCHS, math.ceil(_passes(recipe, len(everything))))
    causal = task.kind == "causal-lm"
    padded = not causal or not padding_free(config, recipe, machine)
    # a batch in pieces goes through in one process alone
    parted = padded and (causal or (not task.rows_alike and task.divisible)) and launch.place().alone
    logits = 2 * text.vocab_size
    sizes, asked = np.asarray(lengths), np.asarray(labels)
    # batches are made up by all tokens of a row, and cut by its ids: those beside them come with them
    ids = [int(length) for length in encoded.lengths]
    beside = None if ids == lengths else (sizes - np.asarray(ids)).tolist()

    def the_heaviest(drawn: Sequence[list[int]]) -> tuple[list[int], list[int]]:
        """(a batch, what of it goes through the model at once)"""
        if not parted:
            found = heaviest(sizes, asked, drawn, logits, width, padded)
            return found, at_once(found, lengths, task.chunk)
        cost = pieces.dear(machine.device, weights)
        return pieces.heaviest(drawn, ids, cost, labels if causal else None, logits / width, beside)

    several = []  # the heaviest of each epoch
    for epoch in range(max(1, passes)):
        drawn = order.batches(epoch) if epoch else everything
        several.append(the_heaviest(drawn)[0])
    most, piece = the_heaviest(several)
    rows, starts = flat(everything)
    tokens = [int(count) for count in np.add.reduceat(sizes[rows], starts)]
    middle = sorted(range(len(tokens)), key=tokens.__getitem__)
    some = [middle[len(middle) * (place + 1) // (USUAL + 1)] for place in range(USUAL)] if middle else []
    usual: list[list[Row]] = [[encoded[row] for row in everything[place]] for place in some]
    held_out: list[Row] = []
    prompts: list[list[int]] = []
    rows_asked: list[Row] = []
    if materials.held_out is not None:
        examples = materials.examples(recipe.evaluation.rows)
        held_out = [row for _, row in encoded_rows(materials, examples, recipe.data.max_length)]
        for place in spread(len(examples), recipe.evaluation.samples) if task.generates else ():
            try:
                prompt = materials.prompt(examples[place][1])
            except BadRow:
                continue
            prompts.append(prompt.ids)
            rows_asked.append(prompt.row or {"input_ids": prompt.ids})
    first: list[Row] = [encoded[row] for row in most]
    once: list[Row] = [encoded[row] for row in piece]
    every = [once]
    if len(piece) < len(most) and task.chunk:
        every = [[encoded[row] for row in set(most) - set(piece)], once]
    if parted:
        every = pieces.parted(first, pieces.length_of, pieces.dear(machine.device, weights))
    return Batches(first, once, usual, tokens, held_out, prompts, longest_new(recipe), rows_asked, every)
