"""Answers from a file, made anywhere: kept in the workspace, so that tags on them stay."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace
from ftstudio.evaluation.predictions import read_predictions, write_predictions
from ftstudio.ui.text.recipes import Source


def keep(path: Path, workspace: Workspace) -> Source:
    """Copy the predictions of the file PATH into WORKSPACE; the same file always to the same place.

    Not for the screen's thread. Raises StudioError where it can't be read, holds no predictions or those of several
    arms.
    """
    predictions = read_predictions(path)
    arms = sorted({prediction.arm or "" for prediction in predictions})
    if len(arms) > 1:
        raise StudioError(
            f"{one_line(path.name, 60)} holds the answers of several arms: {one_line(', '.join(arms), 80)}.",
            "Give each arm a file of its own.",
        )
    mark = hashlib.blake2b(path.read_bytes(), digest_size=4).hexdigest()
    folder = workspace.base_errors(f"stored-{path.stem[:30]}-{mark}")
    outputs = folder.path / "outputs.jsonl"
    if not outputs.is_file():
        folder.path.mkdir(parents=True, exist_ok=True)
        write_predictions(outputs, predictions)
        folder.emit("start", rows=len(predictions), arms=["stored"], model=str(path))
        folder.emit("done", rows=len(predictions))
    return Source(f"stored answers {one_line(path.name, 30)}", folder.path, None)
