"""`ftstudio compare RUN --votes`: what people found in blind votes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ftstudio.cli.output import Out
from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder


def votes(arguments: argparse.Namespace, folders: list[JobFolder], out: Out) -> int:
    """Print the tally of the votes in FOLDERS (comparisons). Raises StudioError where nobody has voted."""
    from ftstudio.evaluation.votes.report import tally_text

    found, texts = [], []
    for folder in folders:
        for tally in tallies(folder.path):
            found.append({"folder": str(folder.path)} | tally.to_dict())
            texts.append(tally_text(tally))
    if not found:
        raise StudioError("Nobody has voted yet.", "Open the studio, 5 (Compare), then b: blind votes.")
    out.result({"pairs": found}, "\n\n\n".join(texts))
    return 0


def tallies(folder: Path) -> list[Any]:
    """The tally of every pair of arms that was voted on in the comparison FOLDER."""
    from ftstudio.evaluation.votes.book import NAME, Book, pairs
    from ftstudio.evaluation.votes.tally import tally

    report = files.read_json(folder / "report.json")
    rows = report.get("per_row", ()) if isinstance(report, dict) else ()
    scores = {
        entry["row"]: entry["arms"]
        for entry in rows
        if isinstance(entry, dict) and isinstance(entry.get("row"), int) and isinstance(entry.get("arms"), dict)
    }
    found = []
    for a, b in pairs(folder / NAME):
        first, second = _answers(folder, a), _answers(folder, b)
        outputs = {row: (first[row], second[row]) for row in first if row in second}
        found.append(tally(Book(folder / NAME, a, b), outputs, scores))
    return found


def _answers(folder: Path, arm: str) -> dict[int, str]:
    from ftstudio.evaluation.predictions import from_line

    found = {}
    for line in files.read_lines(folder / f"{arm}.jsonl"):
        try:
            prediction = from_line(line)
        except StudioError:
            continue
        found[prediction.row] = prediction.output
    return found
