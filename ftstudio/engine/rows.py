"""The rows of a training as tokens, with the account of what is trained, what is cut and what is left out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.text import number, one_line
from ftstudio.data.checks.tokens import blank_lines, unread_parts
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow, Example
from ftstudio.data.mix import SOURCE
from ftstudio.engine.collate import Row
from ftstudio.engine.context import JobContext
from ftstudio.engine.drawn import Drawn, draw_more
from ftstudio.engine.left_out import left_out
from ftstudio.engine.materials import Materials, open_materials
from ftstudio.engine.plan_rows import unusable
from ftstudio.engine.samples import Fixed, Samples, spread
from ftstudio.engine.tokenised import tokenised

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe

PROBE = 32  # tokens the saved model is compared on


@dataclass
class TrainingRows:
    """`train` and `held_out` rows as ids and labels; `examples` are the held-out rows with their numbers.

    `held_out` are at most `evaluation.rows`, the same ones that are answered and compared; `held_out_total` counts all.
    `sources` tells of each held-out row which source of a mix it is from; empty where there is no mix. `train` are the
    rows of the first epoch; where later ones draw others, `drawn` is what is trained, `more` their numbers in the data.
    """

    materials: Materials
    train: EncodedSet
    held_out: list[Row]
    examples: list[tuple[int, Example]]
    notes: list[tuple[str, str]]
    sources: list[str]
    drawn: Drawn | None = None
    more: Sequence[int] = ()

    @property
    def trained(self) -> EncodedSet | Drawn:
        """The rows as training takes them."""
        return self.train if self.drawn is None else self.drawn

    @property
    def numbers(self) -> list[int]:
        """The number in the data of each row that is trained in any epoch."""
        return [*(self.materials.train.origin_of(row) for row in self.train.rows), *self.more]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each training row, those of a decoder among them; where batches hold so many tokens and epochs
        other rows, of the longest that comes to its place."""
        by_tokens = self.materials.recipe.training.batch_tokens is not None
        sizes = self.drawn.longest if self.drawn is not None and by_tokens else self.train.batch_lengths
        return [int(length) for length in sizes]

    @property
    def held_out_total(self) -> int:
        """How many rows are kept away from training."""
        return len(self.materials.held_out) if self.materials.held_out is not None else 0

    @property
    def pad(self) -> int:
        """An id to fill up with; which one doesn't matter, since it is never seen nor predicted."""
        tokenizer = self.materials.tokenizer
        return next((token for token in (tokenizer.pad_id, tokenizer.eos_id) if token is not None), 0)

    @property
    def highest(self) -> int:
        """The highest token id in any row: the model must have it."""
        held = max((max(row["input_ids"]) for row in self.held_out), default=0)
        later = self.drawn.highest if self.drawn is not None else 0
        return max(max(self.train.ids, default=0), held, later)

    @property
    def tokens(self) -> dict[str, int]:
        """`{total, trained, lost}` of the training rows; lost ones were cut off by max_length."""
        stats = self.train.stats
        return {
            "total": stats.tokens,
            "trained": stats.trained,
            "lost": stats.lost,
            "lost_trained": stats.lost_completion,
        }

    def probe(self) -> Row:
        """The first row (of a causal model its first tokens), on which two models are compared."""
        first = self.train[0]
        return {"input_ids": first["input_ids"][:PROBE]} if self.materials.task.kind == "causal-lm" else first


def fixed(materials: Materials, examples: Sequence[tuple[int, Example]], recipe: Recipe) -> list[Fixed]:
    """The prompts, of EXAMPLES (row number, example), that are answered at every evaluation of RECIPE's run."""
    found: list[Fixed] = []
    for place in spread(len(examples), recipe.evaluation.samples):
        row, example = examples[place]
        with contextlib.suppress(BadRow):
            found.append(Fixed(row, materials.prompt(example)))
    return found


def samples(
    folder: JobFolder,
    recipe: Recipe,
    materials: Materials,
    examples: Sequence[tuple[int, Example]],
    should_stop: Callable[[], bool],
) -> Samples | None:
    """What answers the fixed held-out prompts at every evaluation; None where none are wanted or held out."""
    chosen = fixed(materials, examples, recipe)
    if not chosen:
        return None
    limit = recipe.evaluation.max_new_tokens or 256
    path, apart = folder.path / "samples.json", recipe.architecture.changes
    return Samples(
        folder, path, chosen, materials.tokenizer, materials.end_tokens, limit, should_stop, materials.task,
        apart=apart,
    )  # fmt: skip


def open_rows(recipe: Recipe, context: JobContext) -> TrainingRows:
    """Read and tokenise what RECIPE names. Raises StudioError where no row is left to train on, Stopped when asked."""
    materials = open_materials(recipe, cancel=context.should_stop)
    limit = recipe.data.max_length
    train = tokenised(materials, cancel=context.should_stop, keep=False)
    if not len(train):
        reason = train.excluded[0][1] if train.excluded else "there are none"
        raise StudioError(
            f"No row of {one_line(recipe.data.source)} can be trained: {reason}.",
            "Raise data.max_length, or look at the rows: ftstudio data.",
        )
    examples = materials.examples(recipe.evaluation.rows) if materials.held_out is not None else []
    encoded = encoded_rows(materials, examples, limit)
    held_out, numbers = [row for _, row in encoded], [row for row, _ in encoded]
    drawn, more, told = draw_more(materials, train, cancel=context.should_stop)
    notes = [*_notes(materials, train, limit), *told]
    return TrainingRows(materials, train, held_out, examples, notes, _sources(materials, numbers), drawn, more)


def _sources(materials: Materials, numbers: list[int]) -> list[str]:
    """The source of each of the held-out rows NUMBERS; empty where they come from a file of their own, or from one."""
    held_out = materials.held_out
    if held_out is None or not materials.sources or SOURCE not in held_out.names:
        return []
    wanted = set(numbers)
    found = {
        row: str(held_out[place].get(SOURCE))
        for place in range(len(held_out))
        if (row := held_out.origin_of(place)) in wanted
    }
    return [found[row] for row in numbers]


def encoded_rows(materials: Materials, examples: list[tuple[int, Example]], limit: int | None) -> list[tuple[int, Row]]:
    """(row number, what is learnt of it) of EXAMPLES; long running text gives several."""
    found: list[tuple[int, Row]] = []
    for row, example in examples:
        try:
            made = materials.task.rows_of(example, materials.template, materials.tokenizer, limit)
        except BadRow:
            continue
        found += [(row, one) for one in made]
    return found


def _notes(materials: Materials, train: EncodedSet, limit: int | None) -> list[tuple[str, str]]:
    """What a person must know before launching, as (level, text): nothing is cut or left out silently."""
    stats: dict[str, Any] = asdict(train.stats)
    found: list[tuple[str, str]] = [("info", text) for text in materials.notes]
    told = materials.task.told()
    found += [("info", f"learns {told}")] if told else []
    metrics = (materials.recipe.resolved or {}).get("metrics")
    found += [("warning", str(metrics))] if metrics else []
    unread = unread_parts(train)
    found += [("warning", doubt.text) for doubt in materials.task.doubts(materials.tokenizer)]
    found += [("warning", doubt.text) for doubt in materials.task.unlearnt(train)]
    found += [("warning", unread.text)] if unread.count else []
    if stats["truncated"]:
        found.append(
            (
                "warning",
                f"{number(stats['truncated'])} of {number(stats['rows'])} rows "
                f"{'is' if stats['truncated'] == 1 else 'are'} longer than {limit} tokens "
                f"(data.max_length): {number(stats['lost'])} tokens are cut off, "
                f"{number(stats['lost_completion'])} of them would have been trained.",
            )
        )
    blank = blank_lines(train, materials.train)
    found += [("info", f"{number(len(blank))} blank lines part the text.")] if blank else []
    excluded = [(row, reason) for row, reason in train.excluded if row not in blank]
    if excluded:
        text = left_out([(materials.train.origin_of(row), reason) for row, reason in excluded])
        found.append(("warning", f"{number(len(excluded))} of {number(stats['rows'])} rows can't be used: {text}."))
    bad = unusable(materials)
    if bad:
        found.append(("warning", f"{number(len(bad))} held-out rows can't be used: {left_out(bad)}."))
    if stats["not_ended"] and stats["not_ended"] > stats["truncated"]:
        found.append(("warning", f"In {number(stats['not_ended'])} rows no end token is trained."))
    return found
