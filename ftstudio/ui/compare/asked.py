"""How each arm was asked, in words: its examples and prompts, its checkpoint, its server; rows that are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation.stored import stored_text
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.said import named

CHOICES = {"random": "drawn by the seed", "near": "the nearest to each question", "rows": "chosen"}
SHOWN = 8  # row numbers named


def arm_lines(arms: Arms, width: int) -> list[Line]:
    """How the arms of the report were asked, in lines of WIDTH cells; none where the report doesn't say."""
    report = arms.report or {}
    lines: list[Line] = []
    for entry in report.get("arms", ()):
        if isinstance(entry, Mapping) and (text := told(entry)):
            lines += named(arms.label(str(entry.get("name")), 20), text, 22, width)
    left = report.get("left_out")
    if isinstance(left, Sequence) and left:
        first = left[0] if isinstance(left[0], Mapping) else {}
        text = f"{len(left):,} held-out rows (row {first.get('row')}: {one_line(first.get('reason'), 120)})"
        lines += named("left out", text, 22, width)
    repeats = report.get("repeats")
    if isinstance(repeats, int) and repeats > 1:
        lines += named("repeats", f"every row was answered {repeats} times; scores are their means", 22, width)
    decoding = report.get("decoding")
    if lines and isinstance(decoding, str):
        lines += named("decoding", one_line(decoding, 120), 22, width)
    return [(), (("how they were asked", "title"),), *lines] if lines else []


def told(entry: Mapping[str, Any]) -> str:
    """What a report's ENTRY of an arm says of how it was asked."""
    parts = []
    kind, shots, tokens = entry.get("kind"), entry.get("shots"), entry.get("prompt_tokens")
    if kind == "file":
        parts.append("stored predictions")
    elif kind == "server":
        parts.append(f"a server: {one_line(entry.get('spec'), 80)}")
    if isinstance(shots, Mapping):
        rows = shots.get("rows")
        which = f", rows {', '.join(map(str, rows))}" if isinstance(rows, Sequence) and rows else ""
        parts.append(f"{shots.get('count')} examples, {CHOICES.get(str(shots.get('choice')), 'chosen')}{which}")
        few = [*(shots.get("cut") or ()), *(shots.get("none") or ())]
        if few:
            names = ", ".join(map(str, few[:SHOWN])) + (" …" if len(few) > SHOWN else "")
            parts.append(f"{len(few):,} {'row' if len(few) == 1 else 'rows'} had room for fewer or none (row {names})")
    if isinstance(tokens, Mapping):
        parts.append(f"prompts of {tokens.get('mean', 0):,.0f} tokens on average, {tokens.get('longest', 0):,} at most")
    parts.append(stored_text(entry))
    usage = entry.get("usage")
    if isinstance(usage, Mapping):
        parts.append(", ".join(f"{one_line(name.replace('_', ' '), 20)} {value:,}" for name, value in usage.items()
                               if isinstance(value, int | float)))  # fmt: skip
    return "; ".join(part for part in parts if part)
