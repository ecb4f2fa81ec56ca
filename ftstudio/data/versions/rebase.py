"""Edits on a source that has changed since: done again where their rows are still there, told where they aren't."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.versions.edit import Conflict, Edit, Insert, Patch
from ftstudio.data.versions.identity import Key, content_hash
from ftstudio.data.versions.working import Working


@dataclass(frozen=True)
class Rebased:
    """`edits` are those that can be done on the new source. `moved` rows stand elsewhere in it; `lost` tells what can't
    be done any more, as (edit, sentence)."""

    edits: tuple[Edit, ...]
    moved: int
    lost: tuple[tuple[Edit, str], ...]

    @property
    def text(self) -> str:
        """All of it in a sentence or two."""
        parts = [f"The rows have changed: {len(self.edits):,} of {self._total:,} edits can be done on them."]
        if self.moved:
            parts.append(f"{self.moved:,} rows stand elsewhere now.")
        if self.lost:
            parts.append(f"Not: {'; '.join(text for _, text in self.lost[:3])}{' …' if len(self.lost) > 3 else ''}")
        return " ".join(parts)

    @property
    def _total(self) -> int:
        return len({edit.id for edit in self.edits} | {edit.id for edit, _ in self.lost})


def rebase(
    edits: Iterable[Edit],
    dataset: Dataset,
    keys: Sequence[Key] | None = None,
    *,
    cancel: Cancel | None = None,
) -> Rebased:
    """EDITS, made on an older state of the source, for DATASET, the source as it is now (KEYS: a version's, whose rows
    stay where they are).

    A row is the same where the same content stands under its number; else where that content stands exactly once. An
    edit of several rows is kept for those that are found.
    """
    waiting = list(edits)
    expected = _expected(waiting)
    wrong: dict[Key, str] = {
        key: mark
        for key, mark in expected.items()
        if keys is None and isinstance(key, int) and (key >= len(dataset) or content_hash(dataset[key]) != mark)
    }
    targets = _found(wrong, dataset, cancel) if wrong else {}
    taken = set(targets.values())
    names: dict[Key, Key | None] = {key: targets.get(key) for key in wrong}
    every = [patch for edit in waiting for patch in edit.patches if isinstance(patch, Insert)] if keys is None else []
    for new in every:  # rows that only say where a new one stands
        if isinstance(new.after, int) and new.after not in expected:
            names[new.after] = new.after if new.after < len(dataset) else None
    kept: list[Edit] = []
    lost: list[tuple[Edit, str]] = []
    working = Working(dataset, keys)
    for edit in waiting:
        patches: list[Patch] = []
        for patch in edit.patches:
            there = _renamed(patch, names)
            if there is None or not _done(working, edit, there):
                lost.append((edit, f"{edit.text}: row {_number(patch)} isn't there as it was"))
                if isinstance(patch, Insert):
                    names[patch.key] = None
            else:
                patches.append(there)
        if patches:
            kept.append(replace(edit, patches=tuple(patches)))
    return Rebased(tuple(kept), len(taken), tuple(lost))


def _expected(edits: Iterable[Edit]) -> dict[Key, str]:
    """What each row held before the first edit of it."""
    found: dict[Key, str] = {}
    for edit in edits:
        for patch in edit.patches:
            if not isinstance(patch, Insert):
                found.setdefault(patch.key, patch.before)
    return found


def _found(wrong: Mapping[Key, str], dataset: Dataset, cancel: Cancel | None) -> dict[Key, int]:
    """Where the rows that aren't in their place stand now, by content; those whose content stands there once."""
    wanted = set(wrong.values())
    places: dict[str, list[int]] = {}
    for index, row in enumerate(dataset.iter(cancel=cancel)):
        mark = content_hash(row)
        if mark in wanted:
            places.setdefault(mark, []).append(index)
    times: dict[str, int] = {}
    for mark in wrong.values():
        times[mark] = times.get(mark, 0) + 1
    return {key: places[mark][0] for key, mark in wrong.items() if len(places.get(mark, ())) == 1 and times[mark] == 1}


def _renamed(patch: Patch, names: Mapping[Key, Key | None]) -> Patch | None:
    if isinstance(patch, Insert):
        if patch.after is None:
            return patch
        after = names.get(patch.after, patch.after)
        return None if after is None else replace(patch, after=after)
    key = names.get(patch.key, patch.key)
    return None if key is None else replace(patch, key=key)


def _done(working: Working, edit: Edit, patch: Patch) -> bool:
    try:
        working.put(edit, patch)
    except Conflict:
        return False
    return True


def _number(patch: Patch) -> str:
    key = patch.after if isinstance(patch, Insert) else patch.key
    return f"{key:,}" if isinstance(key, int) else "that was added"
