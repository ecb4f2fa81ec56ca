"""`data --repair`: the rows that a check finds, found as `data` finds them, and mended."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ftstudio.cli.inspect import columns_of, known_task
from ftstudio.core import reading
from ftstudio.core.errors import UsageError
from ftstudio.core.text import one_line

if TYPE_CHECKING:
    from ftstudio.data.dataset import Dataset
    from ftstudio.data.meant import Meant
    from ftstudio.data.tokenizer import Tokenizer
    from ftstudio.data.versions.pending import Pending
    from ftstudio.data.versions.store import Version

OVER_ALL = ("strip", "fix_text")  # repairs that go over all rows, whatever a check says


@dataclass(frozen=True)
class Repairing:
    """Repairs of the rows PENDING: `steps` are checks ("" for all rows) with the way their rows are mended. The checks
    look at rows as they are `meant`, through `tokenizer` and against `held_out`, as `data` does."""

    pending: Pending
    steps: tuple[tuple[str, str], ...]
    meant: Meant
    columns: dict[str, str | None] | None = None
    tokenizer: Tokenizer | None = None
    template: str | None = None
    max_length: int | None = None
    held_out: Dataset | None = None

    @classmethod
    def asked(cls, pending: Pending, arguments: argparse.Namespace) -> Self:
        """What --repair and the words beside it ask for. Raises UsageError for what is unknown, what a check can't do
        without, and columns that don't suit the task named."""
        from ftstudio.data.meant import meant
        from ftstudio.data.read import open_dataset
        from ftstudio.data.tokenizer import load_tokenizer

        steps = steps_of(arguments.repair)
        known_task(arguments.task)
        checks = [check for check, _ in steps if check]
        _refuse_blind(checks, arguments)
        columns = columns_of(arguments.column)
        taken = meant(pending.working.dataset, columns, arguments.task)
        if taken.named and taken.shape is None and checks:
            raise UsageError(taken.why_not)
        how = reading.parse(arguments.reading)
        return cls(
            pending, steps, taken, columns,
            load_tokenizer(arguments.model) if arguments.model else None, arguments.template, arguments.max_length,
            open_dataset(arguments.eval, reading=how) if arguments.eval else None,
        )  # fmt: skip

    def done(self, why: str) -> tuple[Version | None, list[dict[str, Any]]]:
        """(the new version, None where nothing was mended; what each step did), saved with WHY."""
        told = [did for check, how in self.steps if (did := self._step(check, how)) is not None]
        return (self.pending.save(why) if self.pending.edits else None), told

    def plain(self) -> dict[str, Any]:
        """How the rows were taken, for JSON: the same words as `data` has."""
        shape = self.meant.shape
        return {
            "task": self.meant.task if shape else None,
            "shape": shape.name if shape else None,
            "mapping": dict(shape.columns) if shape else {},
        }

    def told(self) -> list[str]:
        """How the checks took the rows, in a line; none where no check was asked."""
        if not any(check for check, _ in self.steps):
            return []
        shape = self.meant.shape
        if shape is None:
            return ["  no columns recognised: rows are looked at as a whole"]
        mapping = ", ".join(f"{role} ← {one_line(name, 40)}" for role, name in shape.columns.items())
        return [f"  read as {shape.name} for {self.meant.task}: {mapping}"]

    def _step(self, check: str, how: str) -> dict[str, Any] | None:
        """Mend what CHECK finds by HOW, as one edit; None where it finds nothing."""
        from ftstudio.data.versions.repairs import repair

        dataset = self.pending.working.dataset
        rows = self._found(dataset, check) if check else range(len(dataset))
        marks = self.tokenizer.end_texts if self.tokenizer is not None else ()
        preview = repair(self.pending.working, how, rows, check=check, shape=self.meant.shape, marks=marks)
        edit = self.pending.do(preview.edit)
        return {"check": check or None, "repair": how, "text": edit.text, "rows": edit.counts} if edit.patches else None

    def _found(self, dataset: Dataset, check: str) -> list[int]:
        from ftstudio.data.examined import examine
        from ftstudio.tasks.checked import by_name, encode_by

        seen = examine(
            dataset, self.meant, columns=self.columns, tokenizer=self.tokenizer, template=self.template,
            max_length=self.max_length, held_out=self.held_out, only=[check], by_task=by_name, encode=encode_by,
        )  # fmt: skip
        return [row for found in seen.checks if found.name == check for row in found.rows]


def steps_of(words: list[str]) -> tuple[tuple[str, str], ...]:
    """(check, way of mending) of each of WORDS, such as `empty,role_order=drop`. Raises UsageError."""
    from ftstudio.data.checks import CHECKS
    from ftstudio.data.versions.repairs import REPAIRS, repairs_of

    steps: list[tuple[str, str]] = []
    for word in ",".join(words).split(","):
        name, _, how = word.strip().partition("=")
        usual = repairs_of(name)
        if name in OVER_ALL and not how:
            steps.append(("", name))
        elif not usual or (how and how not in REPAIRS):
            known = [name for name in CHECKS if repairs_of(name)]
            raise UsageError(
                f"There is no repair for {word.strip()!r}.",
                f"Checks: {', '.join(known)}; ways: {', '.join(REPAIRS)}; over all rows: {', '.join(OVER_ALL)}.",
            )
        else:
            steps.append((name, how or usual[0]))
    return tuple(steps)


def _refuse_blind(checks: list[str], arguments: argparse.Namespace) -> None:
    """Raise UsageError for one of CHECKS that would find nothing for lack of what it looks through."""
    from ftstudio.data.checks.found import blind

    cut = arguments.max_length is not None
    for check, lacks in blind(checks, model=bool(arguments.model), cut=cut, held_out=bool(arguments.eval)).items():
        raise UsageError(f"The check {check!r} finds nothing without {lacks}.")
