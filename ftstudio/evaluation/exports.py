"""Failing rows as files: held-out rows that later runs always face, and preference pairs for DPO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.evaluation.predictions import Prediction


def as_held_out(predictions: Iterable[Prediction], categories: Mapping[int, Iterable[str]]) -> list[dict[str, Any]]:
    """Rows `{prompt, completion, row, categories}` of PREDICTIONS with a reference: a dataset for `data.eval`."""
    return [
        {
            "prompt": prediction.prompt,
            "completion": prediction.reference,
            "row": prediction.row,
            "categories": sorted(categories.get(prediction.row, ())),
        }
        for prediction in predictions
        if prediction.reference is not None
    ]


def as_preferences(predictions: Iterable[Prediction], corrected: Mapping[int, str]) -> list[dict[str, Any]]:
    """Pairs `{prompt, chosen, rejected, row}`: the output is rejected, the person's CORRECTED answer chosen, else the
    reference. Rows where both are the same, or where there is neither, make no pair."""
    found = []
    for prediction in predictions:
        chosen = corrected.get(prediction.row, prediction.reference)
        if chosen is not None and chosen.strip() != prediction.output.strip():
            found.append(
                {"prompt": prediction.prompt, "chosen": chosen, "rejected": prediction.output, "row": prediction.row}
            )
    return found


def write(rows: list[dict[str, Any]], folder: Path, stem: str) -> Path:
    """Write ROWS as a new file `<stem>.jsonl` in FOLDER (`<stem>-2.jsonl` … where it is taken); the path.

    Raises StudioError where there is nothing to write.
    """
    if not rows:
        raise StudioError("No row can be exported.", "Only rows with a reference or a corrected answer can be.")
    number = 1
    path = folder / f"{stem}.jsonl"
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)  # takes the name, so that nothing can be overwritten
            break
        except FileExistsError:
            number += 1
            path = folder / f"{stem}-{number}.jsonl"
        except OSError as error:
            raise files.explain(error, path) from error
    files.write_lines(path, rows)
    return path
