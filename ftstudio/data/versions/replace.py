"""Find and replace in text cells, also inside messages: first a preview of every cell, then one edit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import regex

from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, Row
from ftstudio.data.versions.actions import rows_changed, rows_text
from ftstudio.data.versions.edit import Edit
from ftstudio.data.versions.identity import same
from ftstudio.data.versions.working import Working

SECONDS = 1.0  # a pattern may take for one text: some would take for ever
_NAMES = frozenset({"role", "from", "type", "id", "tool_call_id"})  # what these say in a message is no text


@dataclass(frozen=True)
class CellChange:
    """One cell: row number (from 0), column, and its value before and after."""

    row: int
    column: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Preview:
    """What would change: `edit` does it, `cells` shows it, `matches` counts what was found (or 0)."""

    edit: Edit
    cells: tuple[CellChange, ...]
    matches: int = 0

    @property
    def rows(self) -> int:
        """How many rows would change, be dropped or added."""
        return len(self.edit.patches)


def find_and_replace(
    working: Working,
    find: str,
    replacement: str,
    *,
    pattern: bool = False,
    match_case: bool = True,
    whole_word: bool = False,
    columns: Collection[str] | None = None,
    rows: Iterable[int] | None = None,
    why: str = "",
    cancel: Cancel | None = None,
) -> Preview:
    """What replacing FIND by REPLACEMENT would change in COLUMNS (None: all) of ROWS (None: all).

    PATTERN: FIND is a regular expression, and `\\1` or `\\g<name>` in REPLACEMENT stand for its groups. Raises
    UsageError where it is none, StudioError where it takes over a second for one text.
    """
    search, written = _compiled(find, replacement, pattern, match_case, whole_word)
    matches = 0

    def change(text: str) -> str:
        nonlocal matches
        if not pattern and match_case and find not in text:
            return text
        try:
            new, count = search.subn(written, text, timeout=SECONDS)
        except TimeoutError:
            hint = "Write it without nested repetitions such as (a+)+."
            raise StudioError(f"The pattern {one_line(find, 60)!r} takes too long for one text.", hint) from None
        except (regex.error, IndexError) as error:
            hint = "Groups are \\1, \\2 or \\g<name>."
            raise UsageError(
                f"The replacement {one_line(replacement, 60)!r} is faulty: {error}.",
                hint,
            ) from None
        matches += count
        return str(new)

    told = f"Replace {one_line(find, 40)!r} by {one_line(replacement, 40)!r}"
    details = {
        "find": find, "replacement": replacement, "pattern": pattern, "match_case": match_case,
        "whole_word": whole_word, "columns": sorted(columns) if columns is not None else None,
    }  # fmt: skip
    preview = preview_texts(working, change, rows, columns, cancel)
    touched = sorted({cell.row for cell in preview.cells})
    text = f"{told} in {rows_text(touched) if touched else 'no row'}"
    return Preview(
        Edit("replace", text, preview.edit.patches, why, details),
        preview.cells,
        matches,
    )


def _compiled(find: str, replacement: str, pattern: bool, case: bool, word: bool) -> tuple[Any, Any]:
    if not find:
        raise UsageError("There is nothing to find.", "Type the text to replace.")
    source = find if pattern else regex.escape(find)
    if word:
        source = rf"(?<!\w)(?:{source})(?!\w)"
    try:
        compiled = regex.compile(source, 0 if case else regex.IGNORECASE)
    except (regex.error, RecursionError) as error:
        message = f"{one_line(find, 60)!r} is no regular expression: {error}."
        raise UsageError(message, "Put \\ before signs that are meant as they are.") from None
    return compiled, (replacement if pattern else lambda _: replacement)


def preview_texts(
    working: Working,
    change: Callable[[str], str],
    rows: Iterable[int] | None = None,
    columns: Collection[str] | None = None,
    cancel: Cancel | None = None,
) -> Preview:
    """What CHANGE makes of every text in ROWS and COLUMNS (None: all); the edit is called `replace`."""
    dataset = working.dataset
    new: dict[int, Row] = {}
    cells: list[CellChange] = []
    for number, index in enumerate(range(len(dataset)) if rows is None else rows):
        if cancel is not None and number % 256 == 0 and cancel():
            raise Stopped("Stopped while looking through the rows.")
        row = dataset[index]
        found = {}
        for name, value in row.items():
            if columns is not None and name not in columns:
                continue
            after = map_texts(value, change)
            if after is not value and not same(value, after):
                found[name] = after
                cells.append(CellChange(index, name, value, after))
        if found:
            new[index] = {**row, **found}
    return Preview(
        Edit("replace", f"Change {len(new):,} rows", rows_changed(working, new)),
        tuple(cells),
    )


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """VALUE with CHANGE made to every text in it; the roles and types of messages are no text. VALUE itself if none."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        new = {
            key: item if key in _NAMES and isinstance(item, str) else map_texts(item, change)
            for key, item in value.items()
        }
        return new if any(new[key] is not item for key, item in value.items()) else value
    if isinstance(value, list):
        items = [map_texts(item, change) for item in value]
        return items if any(one is not other for one, other in zip(items, value, strict=True)) else value
    return value
