"""Splits into training, held-out and test rows: by strata, by groups, and with near duplicates on one side.

Rows with the same normalised prompt stay together always. Which rows are held out depends on content and seed alone.
With neither strata nor groups nor leaks to look at, the held-out rows are those of `split.split_rows`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.data.dataset import Cancel, Dataset, Progress, Row
from ftstudio.data.example import BadRow, text_of
from ftstudio.data.normal import prompt_key, row_key
from ftstudio.data.shape import Shape
from ftstudio.data.split import alike
from ftstudio.data.split_near import Sets, near_groups
from ftstudio.data.versions.identity import canonical

PARTS = ("eval", "test")


@dataclass(frozen=True)
class By:
    """What a split respects: `stratify` (a column whose values each part has in the same shares), `group` (a column
    whose equal values stay on one side), `leak_aware` (near duplicates, of likeness `near`, stay on one side)."""

    stratify: str | None = None
    group: str | None = None
    leak_aware: bool = False
    near: float = 0.7


@dataclass(frozen=True)
class Parts:
    """Row numbers of each part, in order; `report` counts them, `note` says it in a sentence."""

    train: list[int]
    eval: list[int]
    test: list[int]
    report: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def split_parts(
    dataset: Dataset,
    sizes: Mapping[str, float],
    seed: int = 0,
    *,
    shape: Shape | None = None,
    by: By | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Parts:
    """SIZES of `eval` and `test` as fractions of all rows; the rest is trained. Raises UsageError (no such column, no
    fraction), StudioError where a part would be empty."""
    by = by or By()
    count = len(dataset)
    for name, size in sizes.items():
        if name not in PARTS or not 0 < size < 1:
            raise UsageError(f"data.{name}: a part of {size} is no fraction between 0 and 1.", "Set it to 0.1, say.")
    if sum(sizes.values()) >= 1:
        raise UsageError("data.eval and data.test together leave no rows to train on.", "Set each to 0.1, say.")
    for key, column in (("stratify", by.stratify), ("group", by.group)):
        if column is not None and column not in dataset.names:
            have = ", ".join(dataset.names[:12])
            raise UsageError(f"data.split_by.{key}: there is no column {column!r}.", f"There are: {have}.")
    keys: list[bytes] = []
    strata: list[str] = []
    groups: list[str | None] = []
    texts: list[str] = []
    for row in dataset.iter(cancel=cancel):
        keys.append(row_key(row, shape))
        strata.append(value_of(row, by.stratify) or "" if by.stratify else "")
        groups.append(value_of(row, by.group) if by.group else None)
        if by.leak_aware:
            texts.append(asked(row, shape))
    units, near = _units(keys, groups, texts, by, progress, cancel)
    if len(units) <= len(sizes):
        what = "belong together" if by.leak_aware or by.group else f"have the same {alike(shape)}"
        hint = "Give data.eval a file of its own, or set it to null."
        raise StudioError(f"All {count} rows of {dataset.source} {what}: they can't be split.", hint)
    salt = f"ftstudio split {seed}".encode()[:64]
    marked = [(hashlib.blake2b(min(keys[row] for row in unit), key=salt, digest_size=16).digest(), unit)
              for unit in units]  # fmt: skip
    ordered = [unit for _, unit in sorted(marked)]
    chosen = _chosen(ordered, strata, sizes, count)
    sides = {name: sorted(row for unit in units for row in unit) for name, units in chosen.items()}
    out = {row for rows in sides.values() for row in rows}
    train = [row for row in range(count) if row not in out]
    parts = {"train": train, "eval": sides.get("eval", []), "test": sides.get("test", [])}
    report = _report(parts, strata if by.stratify else None, units, near)
    return Parts(parts["train"], parts["eval"], parts["test"], report, _note(parts, count, seed, by, report, shape))


def value_of(row: Row, column: str) -> str | None:
    """The value of COLUMN in ROW as text; None where it is missing or empty."""
    value = row.get(column)
    if value is None or value == "":
        return None
    return value.strip() if isinstance(value, str) else canonical(value)


def asked(row: Row, shape: Shape | None) -> str:
    """What a model is asked in ROW (all of a running text): that is what must not leak. Where it is asked about a
    picture, what stands for both: the same question about another picture is no leak."""
    if shape is not None:
        try:
            example = shape.example(row)
            if example.fields.get("images"):
                return prompt_key(example).hex()
            turns = example.messages if example.is_text else example.messages[: example.answer_at]
            return "\n".join(turn.content for turn in turns)
        except BadRow:
            pass
    return "\n".join(text_of(value) for value in row.values())


def without_leaks(
    dataset: Dataset,
    held_out: Dataset,
    *,
    shape: Shape | None = None,
    held_out_shape: Shape | None = None,
    near: float = 0.7,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[list[int], list[int]]:
    """(rows of DATASET that may be trained, those that equal or nearly equal a row of HELD_OUT), by what is asked."""
    texts = [asked(row, held_out_shape or shape) for row in held_out.iter(cancel=cancel)]
    count = len(texts)
    texts += [asked(row, shape) for row in dataset.iter(cancel=cancel)]
    groups = near_groups(texts, near, progress=progress, cancel=cancel)
    taken = set(groups[:count])
    kept: list[int] = []
    leaks: list[int] = []
    for index, group in enumerate(groups[count:]):
        (leaks if group in taken else kept).append(index)
    return kept, leaks


def _units(
    keys: list[bytes],
    groups: list[str | None],
    texts: list[str],
    by: By,
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[list[list[int]], int]:
    """(rows that must stay together, in order of their first; how many rows are near duplicates of another)."""
    sets = Sets(len(keys))
    for values in (keys, groups):
        first: dict[Any, int] = {}
        for row, value in enumerate(values):
            if value is not None:
                sets.join(first.setdefault(value, row), row)
    near = 0
    if by.leak_aware:
        for row, leader in enumerate(near_groups(texts, by.near, progress=progress, cancel=cancel)):
            near += leader != row
            sets.join(leader, row)
    units: dict[int, list[int]] = {}
    for row in range(len(keys)):
        units.setdefault(sets.find(row), []).append(row)
    return list(units.values()), near


def _chosen(
    ordered: list[list[int]], strata: list[str], sizes: Mapping[str, float], count: int
) -> dict[str, list[list[int]]]:
    """The units of each part. Strata fill up first, each by its share; what is then missing comes from any that has
    not more than its share yet. The last unit of a stratum is trained, unless the strata are hardly more than units."""
    by_stratum: dict[str, list[list[int]]] = {}
    of: dict[int, str] = {}  # the stratum of a unit, by its first row
    for unit in ordered:
        most = min(Counter(strata[row] for row in unit).items(), key=lambda item: (-item[1], item[0]))[0]
        by_stratum.setdefault(most, []).append(unit)
        of[unit[0]] = most
    alone = sum(len(units) for units in by_stratum.values() if len(units) == 1)
    spare = {name: len(units) - (2 * alone <= len(ordered)) for name, units in by_stratum.items()}
    taken: set[int] = set()
    chosen: dict[str, list[list[int]]] = {}
    left = len(ordered)
    wished = [name for name in PARTS if name in sizes]
    for number, name in enumerate(wished):
        others = len(wished) - number  # the parts still to come, and training: each needs a unit
        wanted = max(1, min(count - 1, round(count * sizes[name])))
        shares = _shares(Counter(strata), wanted, count)
        most_of = {name: ceil(wanted * rows / count) for name, rows in Counter(strata).items()}
        have: Counter[str] = Counter()
        mine: list[list[int]] = []
        rooms = [(by_stratum.get(stratum, []), share) for stratum, share in shares.items()]
        for units, share in [*rooms, (ordered, -1)]:
            room = share if share >= 0 else wanted - sum(len(unit) for unit in mine)
            for unit in units:
                if room <= 0 or left <= others:
                    break
                name_of = of[unit[0]]
                full = share < 0 and have[name_of] >= most_of[name_of]
                if unit[0] not in taken and len(unit) <= room and spare[name_of] > 0 and not full:
                    mine.append(unit)
                    have[name_of] += len(unit)
                    spare[name_of] -= 1
                    taken.add(unit[0])
                    room -= len(unit)
                    left -= 1
        if not mine:  # every unit is larger than what was wanted
            there = [unit for unit in ordered if unit[0] not in taken]
            smallest = min(there, key=lambda unit: (spare[of[unit[0]]] <= 0, len(unit)))
            mine = [smallest]
            taken.add(smallest[0])
            spare[of[smallest[0]]] -= 1
            left -= 1
        chosen[name] = mine
    return chosen


def _shares(strata: Mapping[str, int], wanted: int, count: int) -> dict[str, int]:
    """WANTED rows dealt out to STRATA by their shares of COUNT, the largest remainders first; no stratum gives all."""
    exact = {name: wanted * rows / count for name, rows in strata.items()}
    found = {name: int(share) for name, share in exact.items()}
    rest = wanted - sum(found.values())
    more = [name for name in sorted(exact, key=lambda name: (found[name] - exact[name], name))
            if found[name] < max(1, strata[name] - 1) and strata[name] > 1]  # fmt: skip
    for name in more[:rest]:
        found[name] += 1
    return found


def _report(
    parts: Mapping[str, list[int]], strata: list[str] | None, units: list[list[int]], near: int
) -> dict[str, Any]:
    found: dict[str, Any] = {name: len(rows) for name, rows in parts.items()}
    found["together"] = {"units": len(units), "largest": max(map(len, units)), "near_duplicates": near}
    if strata is not None:
        counts = {name: Counter(strata[row] for row in rows) for name, rows in parts.items()}
        names = [name for name, _ in Counter(strata).most_common(50)]
        found["strata"] = {name: {part: counts[part][name] for part in parts} for name in names}
    return found


def _note(
    parts: Mapping[str, list[int]], count: int, seed: int, by: By, report: Mapping[str, Any], shape: Shape | None
) -> str:
    said = [f"{len(parts['eval'])} held out"] if parts["eval"] else []
    said += [f"{len(parts['test'])} for the test"] if parts["test"] else []
    how = [f"by content and seed {seed}", f"equal {alike(shape)}s together"]
    how += [f"in the shares of {by.stratify!r}"] if by.stratify else []
    how += [f"each {by.group!r} on one side"] if by.group else []
    near = report["together"]["near_duplicates"]
    how += [f"{near} near duplicates kept with their like"] if by.leak_aware else []
    return f"{' and '.join(said)} of {count} rows, {'; '.join(how)}"
