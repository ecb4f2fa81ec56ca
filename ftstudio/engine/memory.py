"""What a training takes of a device's memory, part by part, from the configuration alone.

Weights, adapter and optimiser are counted; what a step holds beside them is followed through a few layers
(`memory_fake`, `memory_layers` which) and drawn on to all (`memory_drawn`). Not so where a method tells layers apart by
their numbers: all are followed then (what lies below the lowest that learns is frozen and keeps nothing, so that this
is quick).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ftstudio.core.recipe import Recipe
from ftstudio.engine.hardware import Hardware
from ftstudio.engine.order import flat
from ftstudio.engine.samples import LONGEST
from ftstudio.methods import anatomy

if TYPE_CHECKING:
    from ftstudio.engine.memory_fake import Method

# What the process holds before the model: on a GPU CUDA's own context with the libraries' kernels, on the CPU Python
# with torch, transformers and peft (resident, measured: torch 2.13, transformers 5.23).
CONTEXT = {"cuda": 500 << 20, "cpu": 560 << 20}


@dataclass(frozen=True)
class Loads:
    """The batches that decide about memory: rows of `lengths` tokens, `trained` of them labels.

    `prompts`: tokens of the prompts that are answered together at an evaluation, `new` the tokens an answer may have.
    """

    lengths: tuple[int, ...]
    trained: int
    held_lengths: tuple[int, ...] = ()
    held_trained: int = 0
    prompts: tuple[int, ...] = ()
    new: int = 0


def heaviest(
    lengths: Sequence[int] | np.ndarray,
    trained: Sequence[int] | np.ndarray,
    batches: Sequence[list[int]],
    vocabulary: int,
    width: int,
    padded: bool = False,
) -> list[int]:
    """Places of the rows of the heaviest of an epoch's BATCHES: most bytes by tokens and by logits.

    LENGTHS and TRAINED are tokens and labels of each row; WIDTH is about how many numbers a layer holds of a token.
    PADDED: the padding's tokens count.
    """
    rows, starts = flat(batches)
    sizes, places = np.asarray(lengths)[rows], np.asarray(trained)[rows]
    tokens = np.add.reduceat(sizes, starts)
    if padded:
        tokens = np.maximum.reduceat(sizes, starts) * np.diff(starts, append=len(rows))
    return batches[int((tokens * width + np.add.reduceat(places, starts) * vocabulary).argmax())]


def estimate(
    config: Any,
    recipe: Recipe,
    method: Method,
    machine: Hardware,
    counted: Mapping[str, int],
    loads: Loads,
) -> dict[str, Any]:
    """`{estimated_bytes, parts, moments, cache_bytes}` of training RECIPE's model of CONFIG on MACHINE.

    COUNTED are the bytes of weights, adapter, gradients and optimizer. `parts` add up to the moment of training at
    which most is held; `moments` has that sum for training, evaluating and answering; the estimate is the greatest.
    `cache_bytes` is what answering keeps of earlier tokens. Raises what transformers raises where a model can't be
    built with fewer layers.
    """
    from ftstudio.engine.memory_drawn import drawn
    from ftstudio.engine.memory_fake import Load, follow, kinds
    from ftstudio.engine.memory_layers import few, whole

    step = Load(loads.lengths, max(1, loads.trained))
    still = []
    if loads.held_lengths:
        still.append(Load(loads.held_lengths, max(1, loads.held_trained)))
    if loads.prompts:
        # padded on the left to the longest: as if all prompts had its length
        still.append(Load((max(loads.prompts),) * len(loads.prompts), len(loads.prompts)))
    every = counted["gradients"] if recipe.training.gradient_accumulation > 1 else None
    alike = kinds(config)
    found = drawn(
        whole(alike) if method.apart else few(alike),
        lambda places, base: follow(config, places, recipe, method, machine, step, still if base else ()),
    )
    base = found.base
    peak, gradients = found.greatest(every)
    # without gradients a pass holds one layer at a time, and what autocast keeps of the weights that learn
    more = 2 * found.learning if machine.precision != "fp32" else 0
    held = {name: counted[name] for name in ("weights", "adapter", "optimizer")}
    logits = min(base.logits, peak - gradients)
    parts = {
        "weights": counted["weights"],
        "adapter": counted["adapter"],
        "gradients": gradients,
        "optimizer": counted["optimizer"],
        "activations": peak - gradients - logits,
        "logits": logits,
        {"cuda": "cuda_context", "cpu": "libraries"}[machine.device]: CONTEXT[machine.device],
    }
    resting = sum(held.values()) + CONTEXT[machine.device]
    passes = [size + more for size in base.still]
    cache = cache_bytes(config, machine, len(loads.prompts), max(loads.prompts, default=0) + loads.new)
    moments = {"training": sum(parts.values())}
    if loads.held_lengths:
        moments["evaluating"] = resting + passes[0]
    if loads.prompts:
        moments["answering"] = resting + passes[-1] + cache
    return {"estimated_bytes": max(moments.values()), "parts": parts, "moments": moments, "cache_bytes": cache}


def cache_bytes(config: Any, machine: Hardware, rows: int, tokens: int) -> int:
    """Bytes of keys and values of ROWS answers of TOKENS tokens each, prompt and padding included. With latent
    attention (DeepSeek) transformers keeps what keys and values of all heads are made of."""
    text = config.get_text_config()
    latent = getattr(text, "kv_lora_rank", None)
    if latent:
        width = latent + text.qk_rope_head_dim
    else:
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width = heads * sum(anatomy.head_widths(text))
    return int(text.num_hidden_layers * width * tokens * rows * (4 if machine.precision == "fp32" else 2))


def longest_new(recipe: Recipe) -> int:
    """Tokens that an answer of an evaluation's samples may have."""
    return min(recipe.evaluation.max_new_tokens or 256, LONGEST)
