"""Errors that the checks find in a recipe's data stop a run, until a person accepts them by name (`data.accepted`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.checks import Check, names_of, run_checks
from ftstudio.data.checks.found import said
from ftstudio.data.checks.run import of_file
from ftstudio.data.checks.tokens import errors_of_tokens
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.engine.compatibility import Problem
from ftstudio.engine.every_epoch import bounds, every_epoch, source_at
from ftstudio.engine.left_out import left_out, numbered
from ftstudio.engine.materials import Materials

KEY = "data.accepted"


def errors_of_rows(
    materials: Materials, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> list[Check]:
    """Errors that are known before a row is tokenised: rows that can't be read, and prompts of held-out or test rows
    that are trained too, in whichever epoch. A split by fractions keeps equal prompts of all sources on one side, but
    for the replay: that lies behind the split."""
    parts = [part.dataset for part in materials.sources] or [materials.whole]
    found = [check for part in parts for check in of_file(part) if check.severity == "error"]
    for part in (materials.held_out, materials.test):
        if part is None:
            continue
        shape = materials.held_out_shape if part is materials.held_out else materials.test_shape
        rows = every_epoch(materials)
        if part.origin is not None:
            rows = _replayed(materials, rows)
        if not len(rows):
            continue
        checks = run_checks(
            rows, materials.shape, held_out=part, held_out_shape=shape, only="exact_leak",
            progress=progress, cancel=cancel,
        )  # fmt: skip
        found += [replace(check, text=f"{check.text}{_where(materials, rows, check)}") for check in checks]
    return found


def _replayed(materials: Materials, rows: Dataset) -> Dataset:
    """Those of ROWS that are from the replay."""
    replay = {part.name for part in materials.sources if part.replay}
    ends, names = bounds(materials)
    places = range(len(rows)) if replay else ()
    return rows.select([place for place in places if source_at(rows.origin_of(place), ends, names) in replay])


def _where(materials: Materials, rows: Dataset, check: Check) -> str:
    """Behind what CHECK says of ROWS: which of several sources it has found them in."""
    if not materials.sources:
        return ""
    ends, names = bounds(materials)
    found = {source_at(rows.origin_of(place), ends, names) for place in check.rows}
    said = [
        f"{one_line(part.name, 60)}{' (the replay, which no split parts)' if part.replay else ''}"
        for part in materials.sources
        if part.name in found
    ]
    return f" They stand in {', '.join(said)}."


def errors_of_encoded(encoded: EncodedSet, train: Dataset) -> list[Check]:
    """Errors that tokenising the training rows (TRAIN) brings up: rows that can't be used, or would train nothing. Each
    names rows by their numbers in their file, from 1 on."""
    found, why = [], dict(encoded.excluded)
    for check in errors_of_tokens(encoded, train):
        if check.name == "unusable":  # each reason with its rows
            told = left_out([(train.origin_of(row), why[row]) for row in check.rows])
            found.append(replace(check, text=f"{said(check.rows)} unusable: {told}."))
            continue
        numbers = [train.origin_of(row) + 1 for row in check.rows]
        found.append(replace(check, text=f"{check.text.rstrip('.')} ({numbered(numbers)})."))
    return found


def open_errors(recipe: Recipe, found: Sequence[Check]) -> list[Check]:
    """Those of FOUND that nobody has accepted. Raises UsageError where `data.accepted` names no check."""
    accepted = set(names_of(recipe.data.accepted))
    return [check for check in found if check.count and check.name not in accepted]


def refuse(recipe: Recipe, found: Sequence[Check]) -> None:
    """Raise StudioError for errors among FOUND that nobody has accepted."""
    left = open_errors(recipe, found)
    if left:
        raise StudioError(
            f"{one_line(recipe.data.source)} has errors: {' '.join(_told(check) for check in left)}",
            f"Repair the rows (`ftstudio data`), or accept them by name: {KEY}={wanted(recipe, left)}.",
        )


def problems(recipe: Recipe, found: Sequence[Check]) -> list[Problem]:
    """FOUND as problems of a plan: errors, and notes of those that were accepted."""
    left = open_errors(recipe, found)
    hint = f"Repair the rows, or accept them: {KEY}={wanted(recipe, left)}."
    told = [Problem("error", _told(check), KEY, hint) for check in left]
    names = {check.name for check in left}
    return [*told, *(Problem("note", f"accepted: {_told(check)}", KEY) for check in found
                     if check.count and check.name not in names)]  # fmt: skip


def wanted(recipe: Recipe, left: Sequence[Check]) -> str:
    """What `data.accepted` must be so that LEFT stop nothing, as it is written on a command line."""
    return f"[{','.join(dict.fromkeys([*recipe.data.accepted, *(check.name for check in left)]))}]"


def _told(check: Check) -> str:
    return f"{check.name}: {one_line(check.text, 400)}"
