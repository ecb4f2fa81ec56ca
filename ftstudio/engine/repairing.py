"""Repairs of training rows, made from the errors they may have caused: kept by the data's versions. No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import clean
from ftstudio.core.workspace import Workspace
from ftstudio.data.read import find_file
from ftstudio.data.versions import actions
from ftstudio.data.versions.address import parse
from ftstudio.data.versions.edit import Edit, weight_of
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.shelf import Shelf
from ftstudio.data.versions.store import Version
from ftstudio.data.versions.working import Working
from ftstudio.engine.behind import Training
from ftstudio.engine.parting import parted_as, usual_eval
from ftstudio.engine.recipes import check_recipe

ANSWERS = ("completion", "output", "target", "label")  # the parts of a row that can be its answer
PROMPTS = ("prompt", "instruction", "source", "input")
AIM = "against"  # in an edit's details: the categories it is meant to fix
HELD_OUT = "held_out"  # and the held-out row that asks what an added row answers


def aims_of(details: Iterable[Mapping[str, Any]]) -> list[str]:
    """The categories named in DETAILS of edits, each once."""
    found = (name for one in details for name in one.get(AIM) or () if isinstance(name, str))
    return list(dict.fromkeys(found))


class Repairs:
    """The pending repairs of the data that was trained on; rows go by their number in it. Not for the screen's thread,
    but for what only looks."""

    def __init__(self, training: Training, pending: Pending, held_out: Mapping[int, str] | None = None) -> None:
        self.training = training
        self.pending = pending
        self._keys = pending.working.keys  # a row keeps its key through every version
        apart = held_out is not None and not held_out_inside(training.recipe)
        whole = training.materials.held_out if apart else training.materials.whole
        assert whole is not None  # `of_held_out` refuses where no rows are held out
        self._whole = whole
        self._shape = training.materials.held_out_shape if apart else training.materials.shape
        self._answers = held_out  # of held-out rows, where the repairs are theirs

    @classmethod
    def open(cls, training: Training, workspace: Workspace) -> Repairs:
        """The repairs of TRAINING's data in WORKSPACE. Raises UsageError where it consists of several sources."""
        data = training.recipe.data
        if training.materials.sources or not isinstance(data.train, str):
            raise UsageError(
                "This training data comes from several sources, which have no common version.",
                "Repair each on the Data screen: 1.",
            )
        address = parse(data.train)
        version = address.found() if address is not None else None
        if version is not None:
            return cls(training, Pending.of_version(version))
        whole = training.materials.whole
        facts = {
            "split": data.split,
            "reading": (data.reading.set or None) if data.reading is not None else None,
        }
        return cls(training, Pending.of_source(Shelf.of(workspace), whole, facts))

    @classmethod
    def of_held_out(cls, training: Training, workspace: Workspace, answers: Mapping[int, str]) -> Repairs:
        """The repairs of held-out rows, whose ANSWERS are given by row number: kept with the training rows where both
        are parts of one file, else with the file of their own. Raises UsageError where they are in neither."""
        data, held_out = training.recipe.data, training.materials.held_out
        if held_out_inside(training.recipe):
            return cls(training, cls.open(training, workspace).pending, answers)
        address = parse(data.eval) if isinstance(data.eval, str) else None
        version = address.found() if address is not None else None
        if version is not None:
            return cls(training, Pending.of_version(version), answers)
        own = data.eval if isinstance(data.eval, str) and data.eval != data.train else ""
        if held_out is None or not own or find_file(own) is None:
            raise UsageError(
                "The held-out rows are no file of their own.", "Open them on the Data screen and edit the row there."
            )
        return cls(training, Pending.of_source(Shelf.of(workspace), held_out), answers)

    # -- looking -----------------------------------------------------------------------------------------------------
    @property
    def count(self) -> int:
        """How many repairs wait to be saved, whoever made them."""
        return len(self.pending.edits)

    def state(self, number: int) -> str:
        """`dropped`, `edited` or empty: what becomes of row NUMBER."""
        working, key = self.pending.working, self._keys[number]
        if key not in working:
            return "dropped"
        return "edited" if key in working.changed else ""

    def now(self, number: int) -> str:
        """The answer of row NUMBER as it is now, for showing; empty where the row is dropped."""
        key, working, answer = self._keys[number], self.pending.working, self._answer(number)
        before, row = self._whole[number], working.row(key) if key in working else {}
        return next(
            (
                str(row.get(name))
                for role, name in self._shape.columns.items()
                if role in ANSWERS and _says(before.get(name), answer)
            ),
            "",
        )

    def _answer(self, number: int) -> str:
        """What row NUMBER was read to answer."""
        return self._answers[number] if self._answers is not None else self.training.texts[number][1]

    def answer(self, number: int) -> str:
        """The answer of row NUMBER as it is now, to be edited. Raises UsageError where it can't be edited here."""
        column = self._column(number)
        row = self.pending.working.row(self._keys[number])
        text = str(row.get(column))
        if clean(text) != text:
            raise UsageError(
                f"The answer of row {number} holds characters that can't be typed.", "Edit it on the Data screen."
            )
        return text

    def _column(self, number: int) -> str:
        if self.state(number) == "dropped":
            raise UsageError(f"Row {number} is dropped already.", "u takes the last repair back.")
        row, answer = self._whole[number], self._answer(number)
        for role, column in self._shape.columns.items():
            if role in ANSWERS and _says(row.get(column), answer):
                return column
        raise UsageError(
            f"The answer of row {number} is a part of a larger cell.",
            "Drop the row, or edit it on the Data screen.",
        )

    # -- doing -------------------------------------------------------------------------------------------------------
    # AGAINST are the categories that a repair is meant to fix: they go with it into the version
    def drop(self, numbers: Iterable[int], why: str, against: Sequence[str] = ()) -> Edit:
        """Leave the rows NUMBERS out; those dropped already stay so. Raises StudioError where all are."""
        rows = list(numbers)
        wanted = [number for number in rows if self.state(number) != "dropped"]
        if not wanted:
            self._column_free(rows[0])
        return self._do(
            lambda working: actions.drop(working, [self._at(working, number) for number in wanted], why), against
        )

    def edit(self, number: int, text: str, why: str, against: Sequence[str] = ()) -> Edit:
        """Row NUMBER answers TEXT from now on. Raises StudioError."""
        column = self._column(number)
        value = _typed(text, self._whole[number].get(column))
        return self._do(
            lambda working: actions.set_cell(working, self._at(working, number), column, value, why), against
        )

    def weigh(self, numbers: Iterable[int], factor: float, why: str, against: Sequence[str] = ()) -> Edit:
        """The rows NUMBERS are trained FACTOR times as often as now. Raises StudioError."""
        wanted = [number for number in numbers if self.state(number) != "dropped"]
        return self._do(
            lambda working: actions.weigh(
                working, [self._at(working, number) for number in wanted], factor=factor, why=why
            ),
            against,
        )

    def add(self, prompt: str, answer: str, why: str, against: Sequence[str] = (), held_out: int | None = None) -> Edit:
        """A new training row that answers PROMPT, that of the row HELD_OUT, with ANSWER, mapped as the others are.

        Raises UsageError where rows of this data can't be made of the two.
        """
        columns = self.training.materials.shape.columns
        answers = [column for role, column in columns.items() if role in ANSWERS]
        asks = (*PROMPTS, "text") if "label" in columns else PROMPTS
        prompts = [column for role, column in columns.items() if role in asks]
        if len(answers) != 1 or len(prompts) != 1:
            raise UsageError(
                "A row of this data isn't one prompt and one answer.", "Add the row on the Data screen: 1, then a."
            )
        row = {prompts[0]: prompt, answers[0]: answer}
        known = {HELD_OUT: held_out} if held_out is not None else {}
        return self._do(lambda working: replace(actions.add(working, [row], why=why), details=known), against)

    def weight(self, number: int) -> float:
        """How often row NUMBER is trained in an epoch."""
        key = self._keys[number]
        return weight_of(self.pending.working.row(key)) if key in self.pending.working else 0.0

    def _do(self, make: Callable[[Working], Edit], against: Sequence[str]) -> Edit:
        def with_aim(working: Working) -> Edit:
            edit = make(working)
            return replace(edit, details={**edit.details, AIM: sorted(against)}) if against else edit

        return self.pending.do(with_aim)

    @property
    def aims(self) -> list[str]:
        """The categories that the pending repairs are meant to fix."""
        return aims_of(edit.details for edit in self.pending.edits)

    def undo(self) -> Edit | None:
        """Take back the last repair of this studio; None where there is none. Raises StudioError."""
        return self.pending.undo()

    def save(self, why: str) -> Version:
        """The repairs as a new version. Raises StudioError."""
        return self.pending.save(why)

    def _column_free(self, number: int) -> None:
        if self.state(number) == "dropped":
            raise UsageError(f"Row {number} is dropped already.", "u takes the last repair back.")

    def _at(self, working: Working, number: int) -> int:
        try:
            return working.index(self._keys[number])
        except KeyError:
            raise StudioError(f"Row {number} is there no more.", "Another studio has dropped it.") from None


def held_out_inside(recipe: Recipe) -> bool:
    """Whether RECIPE's held-out rows are a part of the file that it trains on."""
    return not isinstance(recipe.data.eval, str)


def _says(cell: Any, answer: str) -> bool:
    """Whether a CELL of the data is the ANSWER that was read from it; a label may be a number there."""
    if isinstance(cell, str):
        return cell == answer or cell.strip() == answer
    return isinstance(cell, (int, float)) and str(cell) == answer


def _typed(text: str, before: Any) -> Any:
    """TEXT in place of the cell BEFORE: a number where that was one."""
    if isinstance(before, (int, float)) and not isinstance(before, bool):
        with contextlib.suppress(ValueError):
            return type(before)(text)
    return text


def on_version(recipe: Recipe, version: Version, workspace: Workspace) -> Recipe:
    """RECIPE for VERSION of its data: all else stays, the held-out rows too, so that both runs can be compared."""
    values: dict[str, Any] = recipe.plain()
    values.pop("resolved", None)
    here = Shelf.of(Workspace()).folder == Shelf.of(workspace).folder
    data = values["data"]
    data |= {"eval": usual_eval(recipe), "parted_as": parted_as(recipe)}
    data["train"] = version.name if here else version.address
    if any(HELD_OUT in (repair.get("details") or {}) for repair in version.about.get("repairs") or ()):
        # a person has made held-out rows training rows: the check that finds them is right, and answered
        data["accepted"] = sorted({*(data.get("accepted") or ()), "exact_leak"})
    return check_recipe(values)
