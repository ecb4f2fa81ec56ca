"""Turns of a chat kept as rows to evaluate on: JSON lines that are only ever appended to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.files import LineWriter
from ftstudio.data.example import Turn


def row_of(turns: Sequence[Turn], answer: str, columns: Mapping[str, str]) -> tuple[dict[str, Any], bool]:
    """(the row in which TURNS are to be answered by ANSWER, whether it is in the columns of the run's own data).

    COLUMNS map roles to names. A single question goes into the columns of prompt and completion, or of source and
    target; a conversation, and a question under a system message, becomes a list of messages.
    """
    for asked, answered in (("prompt", "completion"), ("source", "target")):
        if len(turns) == 1 and {asked, answered} <= columns.keys():
            return {columns[asked]: turns[0].content, columns[answered]: answer}, True
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    return {"messages": [*messages, {"role": "assistant", "content": answer}]}, False


def keep(folder: Path, stem: str, turns: Sequence[Turn], answer: str, columns: Mapping[str, str]) -> Path:
    """Append the row to a file in FOLDER named after STEM; its path. Raises StudioError."""
    row, own = row_of(turns, answer, columns)
    path = folder / (f"{stem}.jsonl" if own else f"{stem}-conversations.jsonl")
    LineWriter(path).append(row)
    return path
