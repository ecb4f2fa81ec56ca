"""The category table and the rows as JSON lines, beside the answers they were made from."""

from __future__ import annotations

from pathlib import Path

from ftstudio.core import files
from ftstudio.evaluation.predictions import to_line
from ftstudio.ui.errors.answers import Answers


def export(answers: Answers) -> tuple[Path, Path]:
    """Write `categories.jsonl` and `rows.jsonl` into the answers' folder and return their paths.

    A row's line is its prediction with `categories` (the person's word above the detectors'), `detected` (the
    detectors' findings with why and where) and `decisions` (the person's). Raises StudioError.
    """
    table, rows = answers.folder.path / "categories.jsonl", answers.folder.path / "rows.jsonl"
    files.write_lines(table, answers.table())
    files.write_lines(
        rows,
        (
            to_line(prediction)
            | {
                "categories": sorted(answers.names(row)),
                "detected": [
                    {"category": finding.category, "why": finding.why, "spans": [list(span) for span in finding.spans]}
                    for finding in answers.findings(row)
                ],
                "decisions": answers.decisions(row),
            }
            for row, prediction in answers.predictions.items()
        ),
    )
    return table, rows
