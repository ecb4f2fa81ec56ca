"""Answers in a job's folder: one JSONL file an arm, kept and gone on with as long as they mean the same.

`settings.json` beside them says how each file's answers were made: which weights, which rows, which decoding. Where
that changes, the old answers are set aside (`<arm>.old-<n>.jsonl`) and new ones begun: they must never mix.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core import files
from ftstudio.core.recipe import Recipe
from ftstudio.engine.cache import TEXTS
from ftstudio.engine.generation import Decoding
from ftstudio.engine.marks import texts_mark, weights_mark
from ftstudio.evaluation.predictions import Prediction, from_line, to_line

if TYPE_CHECKING:
    from ftstudio.engine.loading import ModelSpec
    from ftstudio.engine.materials import Materials

SETTINGS = "settings.json"


class Outputs:
    """The answers of one arm in FOLDER: `<name>.jsonl`. Appends whole lines; readers may read meanwhile."""

    def __init__(self, folder: Path, name: str, settings: dict[str, Any]) -> None:
        self.path = folder / f"{name}.jsonl"
        self.known: dict[int, Prediction] = {}
        self._writer = files.LineWriter(self.path)
        book = files.read_json(folder / SETTINGS)
        book = book if isinstance(book, dict) else {}
        if self.path.exists() and not alike(book.get(name), settings):
            _set_aside(self.path)
        if book.get(name) != settings:
            files.write_json(folder / SETTINGS, {**book, name: settings})
        self.known = _read(self.path)

    def append(self, predictions: Iterable[Prediction]) -> None:
        """Keep PREDICTIONS, in one write."""
        rows = list(predictions)
        if rows:
            self._writer.append(*(to_line(row) for row in rows))
            self.known.update((row.row, row) for row in rows)

    def borrow(self, folder: Path, name: str, settings: dict[str, Any], arm: str) -> int:
        """Take over answers that stand in another FOLDER under NAME and were made with the same SETTINGS; how many."""
        book = files.read_json(folder / SETTINGS)
        if not isinstance(book, dict) or not alike(book.get(name), settings) or folder == self.path.parent:
            return 0
        found = [row for number, row in _read(folder / f"{name}.jsonl").items() if number not in self.known]
        self.append(Prediction(**{**_fields(row), "arm": arm}) for row in found)
        return len(found)

    def chosen(self, rows: Iterable[int]) -> list[Prediction]:
        """The answers to ROWS that are there, in that order."""
        return [self.known[row] for row in rows if row in self.known]


def _fields(row: Prediction) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Prediction.__dataclass_fields__}


def _read(path: Path) -> dict[int, Prediction]:
    """The answers in PATH by row; lines that are none are skipped, of two answers to a row the later counts."""
    found = {}
    for line in files.read_lines(path):
        try:
            prediction = from_line(line)
        except files.StudioError:
            continue
        found[prediction.row] = prediction
    return found


def _set_aside(path: Path) -> None:
    number = 1
    while (place := path.with_name(f"{path.stem}.old-{number}.jsonl")).exists():
        number += 1
    try:
        os.rename(path, place)
    except OSError as error:
        raise files.explain(error, path) from error


def settings_of(
    materials: Materials, recipe: Recipe, spec: ModelSpec, decoding: Decoding, tuned: Path | None
) -> dict[str, Any]:
    """All that the answers of an arm depend on: rows and prompts, weights (TUNED: the run's model folder), decoding."""
    from ftstudio.engine.locate import locate

    held_out = materials.held_out
    base = locate(recipe.model).folder
    return {
        "decoding": decoding.signature(),
        "model": spec.model,
        "weights": weights_mark(base),
        TEXTS: texts_mark(base, tuned),
        "tuned": weights_mark(tuned) if tuned is not None else None,
        "dtype": spec.dtype,
        "device": spec.device,
        "quantisation": spec.quantisation.model_dump() if spec.quantisation is not None else None,
        "data": materials.whole.hash if held_out is None or held_out.path == materials.whole.path else held_out.hash,
        "shape": materials.held_out_shape.name,
        "columns": dict(materials.held_out_shape.columns),
        "template": recipe.data.template or materials.template.name,
        **({"head": asdict(spec.head)} if spec.head.kind != "causal-lm" else {}),
        "max_length": recipe.data.max_length,
        **({"options": recipe.options} if recipe.options else {}),
        **({"task": marks} if (marks := materials.task.marks()) else {}),
    }


def alike(old: Any, new: Mapping[str, Any]) -> bool:
    """Whether answers made under the settings OLD are what they would be under NEW. Those of a version of the studio
    that didn't keep the mark of the tokenizer yet count as made with the present one."""
    return isinstance(old, dict) and {TEXTS: new.get(TEXTS), **old} == {TEXTS: None, **new}
