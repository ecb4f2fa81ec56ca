"""What leaves the screen as files: the category table with all rows, held-out rows, preference pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.workspace import slug
from ftstudio.evaluation import exports
from ftstudio.evaluation.predictions import to_line
from ftstudio.ui.errors.answers import Answers


def export(answers: Answers) -> tuple[Path, Path]:
    """Write `categories.jsonl` and `rows.jsonl` into the answers' folder and return their paths.

    A row's line is its prediction with `categories` (the person's word above the detectors'), `detected` (the
    detectors' findings with why and where), `decisions` (the person's), `history` (each decision: who, when, what, why)
    and the `note`. Raises StudioError.
    """
    history: dict[int, list[dict[str, Any]]] = {}
    for tag in answers.tags.history:
        history.setdefault(tag.row, []).append(tag.to_line())
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
                "history": history.get(row, []),
                **({"note": note} if (note := answers.noted(row)) else {}),
                **({"corrected": answers.corrections.texts[row]} if row in answers.corrections.texts else {}),
            }
            for row, prediction in answers.predictions.items()
        ),
    )
    return table, rows


def held_out(answers: Answers, rows: Sequence[int], title: str, workspace: Path) -> tuple[Path, int]:
    """Write ROWS, called TITLE, as held-out rows that later runs can always face; (a new file, rows in it).

    Raises StudioError where none of them has a reference.
    """
    found = exports.as_held_out((answers.predictions[row] for row in rows), {row: answers.names(row) for row in rows})
    return exports.write(found, workspace / "exports", _stem(answers, title, "held-out")), len(found)


def preferences(answers: Answers, rows: Sequence[int], title: str, workspace: Path) -> tuple[Path, int]:
    """Write ROWS, called TITLE, as pairs for DPO; (a new file, pairs in it).

    The person's corrected answer is chosen, else the reference; the output is rejected. Raises StudioError where no row
    has one that differs from the output.
    """
    found = exports.as_preferences((answers.predictions[row] for row in rows), answers.corrections.texts)
    return exports.write(found, workspace / "exports", _stem(answers, title, "pairs")), len(found)


def _stem(answers: Answers, title: str, what: str) -> str:
    return f"{slug(answers.model)}-{slug(title)}-{what}"
