"""What mends the rows of a check: each repair is one edit over all of them, shown before it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.data.dataset import Row
from ftstudio.data.example import BadRow, turns_of
from ftstudio.data.normal import digest, prompt_key
from ftstudio.data.personal import masked
from ftstudio.data.shape import Shape
from ftstudio.data.versions.actions import add, drop, rows_changed, rows_text
from ftstudio.data.versions.edit import Edit, Patch
from ftstudio.data.versions.identity import same
from ftstudio.data.versions.replace import CellChange, Preview, map_texts
from ftstudio.data.versions.working import Working

# name → what it does, as shown beside the key that does it
REPAIRS = {
    "drop": "leave the rows out",
    "strip": "white space at both ends of every text goes",
    "fix_text": "garbled characters are put right (ftfy)",
    "trim_turns": "turns after the last answer go",
    "merge_turns": "turns of one role in a row become one",
    "split_instances": "every nested answer becomes a row of its own",
    "majority": "of rows with the same prompt those with the most frequent answer stay",
    "remove_marks": "special tokens in the text go",
    "mask": "personal data and secrets become dots",
}
# check → its repairs, the usual one first
FOR_CHECK = {
    "unusable": ("drop",), "empty": ("drop",), "further_instances": ("split_instances", "drop"),
    "exact_duplicate": ("drop",), "near_duplicate": ("drop",), "semantic_duplicate": ("drop",),
    "exact_leak": ("drop",), "ngram_leak": ("drop",), "near_leak": ("drop",), "semantic_leak": ("drop",),
    "conflicting_answers": ("majority", "drop"), "cut_by_max_length": ("drop",), "all_labels_masked": ("drop",),
    "role_order": ("merge_turns", "drop"), "last_turn": ("trim_turns", "drop"),
    "special_tokens": ("remove_marks", "drop"), "mojibake": ("fix_text", "drop"), "white_space": ("strip",),
    "language": ("drop",), "outlier": ("drop",), "label_noise": ("drop",),
    "personal_data": ("mask", "drop"), "secrets": ("mask", "drop"), "double_start": ("remove_marks", "drop"),
}  # fmt: skip


_CALLS = ("tool_calls", "function_call")  # a turn that makes some ends with them


def repairs_of(check: str) -> tuple[str, ...]:
    """The names of what mends CHECK, the usual one first; empty where only a person can."""
    return FOR_CHECK.get(check, ())


def repair(
    working: Working,
    name: str,
    rows: Iterable[int],
    *,
    check: str = "",
    shape: Shape | None = None,
    marks: Sequence[str] = (),
) -> Preview:
    """What the repair NAME (of `REPAIRS`) would do to ROWS of `working.dataset`, found by CHECK.

    SHAPE is the mapping (needed for `majority`, `trim_turns`, `merge_turns` and `split_instances`), MARKS what
    `remove_marks` removes. Raises UsageError where it can't be done so.
    """
    if name not in REPAIRS:
        raise UsageError(f"There is no repair {name!r}.", f"There are: {', '.join(REPAIRS)}.")
    chosen = sorted({index for index in rows if 0 <= index < len(working)})
    why = f"check {check}" if check else ""
    details = {"repair": name, **({"check": check} if check else {})}
    needed = {"majority", "trim_turns", "merge_turns", "split_instances"}
    if shape is None and name in needed:
        raise UsageError(
            f"The repair {name!r} needs to know which column is which.",
            "Map the columns first.",
        )
    if name in ("drop", "majority"):
        gone = chosen if name == "drop" else _minority(working, chosen, shape)
        found = Preview(drop(working, gone), ())
    elif name == "split_instances":
        assert shape is not None
        found = _split(working, chosen, shape.columns["completion"])
    else:
        found = _mended(working, chosen, _row_repair(name, shape, marks))
    touched = len({patch.key for patch in found.edit.patches})
    said = rows_text(chosen) if touched == len(chosen) and len(chosen) < 3 else f"{touched:,} rows"
    text = f"{check.replace('_', ' ') or 'repair'}: {name.replace('_', ' ')} ({said})"
    return Preview(
        Edit("repair", text, found.edit.patches, why, details, id=found.edit.id),
        found.cells,
    )


def _mended(working: Working, rows: Sequence[int], mend: Callable[[Row], Row]) -> Preview:
    new: dict[int, Row] = {}
    cells: list[CellChange] = []
    for index in rows:
        before = working.dataset[index]
        after = mend(before)
        found = [name for name in after if not same(before[name], after[name])]
        if found:
            new[index] = after
            cells += [CellChange(index, name, before[name], after[name]) for name in found]
    return Preview(Edit("repair", "", rows_changed(working, new)), tuple(cells))


def _row_repair(name: str, shape: Shape | None, marks: Sequence[str]) -> Callable[[Row], Row]:
    if name in ("trim_turns", "merge_turns"):
        column = shape.columns.get("messages", "") if shape is not None else ""
        turns = _trimmed if name == "trim_turns" else _merged
        return lambda row: {**row, column: turns(row[column])} if isinstance(row.get(column), list) else row
    if name == "remove_marks":
        return _texts(lambda text: _without(text, marks))
    if name == "strip":
        return _texts(str.strip)
    if name == "mask":
        return _texts(masked)
    return _texts(fix_text)


def _texts(change: Callable[[str], str]) -> Callable[[Row], Row]:
    return lambda row: {key: map_texts(value, change) for key, value in row.items()}


def fix_text(text: str) -> str:
    """TEXT with characters put right that were read in a wrong encoding; quotes, ligatures and widths stay."""
    import ftfy

    return ftfy.fix_text(
        text, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, unescape_html=False,
        fix_line_breaks=False, normalization=None,
    )  # fmt: skip


def _without(text: str, marks: Sequence[str]) -> str:
    for mark in marks:
        if mark:
            text = text.replace(mark, "")
    return text


def _trimmed(cell: list[Any]) -> list[Any]:
    try:
        roles = [turn.role for turn in turns_of(cell)]
    except BadRow:
        return cell
    last = max(
        (place for place, role in enumerate(roles) if role == "assistant"),
        default=len(roles) - 1,
    )
    return cell[: last + 1]


def _merged(cell: list[Any]) -> list[Any]:
    try:
        roles = [turn.role for turn in turns_of(cell)]
    except BadRow:
        return cell
    found: list[Any] = []
    for place, turn in enumerate(cell):
        key = next(
            (name for name in ("content", "value", "text") if isinstance(turn.get(name), str)),
            None,
        )
        more = any(value is not None for name, value in turn.items() if name not in ("role", "from", key))
        joins = place and roles[place] == roles[place - 1] and roles[place] != "tool"
        joins = joins and not more and not any(found[-1].get(name) for name in _CALLS)
        if joins and key is not None and isinstance(found[-1].get(key), str):
            found[-1] = {**found[-1], key: f"{found[-1][key]}\n{turn[key]}"}
        else:
            found.append(turn)
    return found


def _minority(working: Working, rows: Sequence[int], shape: Shape | None) -> list[int]:
    """Of ROWS those whose answer isn't the most frequent for its prompt (of equally frequent ones the first stays)."""
    assert shape is not None
    groups: dict[bytes, list[tuple[int, bytes]]] = {}
    for index in rows:
        try:
            example = shape.example(working.dataset[index])
        except BadRow:
            continue
        groups.setdefault(prompt_key(example), []).append((index, digest([example.reference or ""])))
    gone: list[int] = []
    for members in groups.values():
        best = Counter(answer for _, answer in members).most_common(1)[0][0]
        gone += [index for index, answer in members if answer != best]
    return sorted(gone)


def _split(working: Working, rows: Sequence[int], column: str) -> Preview:
    """Each of ROWS once for every item of its nested COLUMN; the first stays where it is."""
    patches: list[Patch] = []
    cells: list[CellChange] = []
    for index in rows:
        row = working.dataset[index]
        inner = row.get(column)
        if not isinstance(inner, list) or len(inner) < 2:
            continue
        cells.append(CellChange(index, column, inner, inner[:1]))
        more = add(working, [{**row, column: [item]} for item in inner[1:]], index)
        patches += rows_changed(working, {index: {**row, column: inner[:1]}})
        patches += more.patches
    return Preview(Edit("repair", "", tuple(patches)), tuple(cells))
