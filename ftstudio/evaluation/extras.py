"""Metrics that a recipe names beside the studio's own: a Python file in the workspace, or any metric of `evaluate`.

`own:politeness` is `<workspace>/metrics/politeness.py`, which defines

    TITLE = "Politeness"            # how tables call it; default: the file's name
    HIGHER_IS_BETTER = True         # False, or None where there is no good end
    def score(output: str, reference: str | None, prompt: str) -> float | None: ...

`evaluate:wer` is what `evaluate.load("wer")` gives, by name (from the hub's cache, or the hub) or local path;
`evaluate:rouge#rougeLsum` takes that one of several values; a local one may say HIGHER_IS_BETTER, too. Rows are scored
one by one, so that a difference has an interval as every other one. Both run code that the person chose, with the
person's rights: nothing is loaded but what a recipe names. A metric that fails costs itself alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.evaluation.directions import HIGHER_IS_BETTER
from ftstudio.evaluation.predictions import Prediction

OWN, EVALUATE = "own:", "evaluate:"
FOLDER = "metrics"  # of the workspace


@dataclass(frozen=True)
class Extra:
    """A metric of the person's choice: `name` as the recipe has it, `title` for tables, whether higher is better (None:
    neither), what its numbers depend on, and what scores rows (None for a row that has none)."""

    name: str
    title: str
    better: bool | None
    signature: str
    score: Callable[[Sequence[Prediction]], list[float | None]]


def is_extra(name: str) -> bool:
    """Whether NAME is one of these."""
    return name.startswith((OWN, EVALUATE)) and len(name.partition(":")[2]) > 0


def load(name: str, workspace: Path | None) -> Extra:
    """The metric NAME. Raises StudioError saying why there is none."""
    return _own(name, workspace) if name.startswith(OWN) else _evaluate(name, workspace)


def _own(name: str, workspace: Path | None) -> Extra:
    stem = name.removeprefix(OWN).removesuffix(".py")
    if workspace is None or not stem.replace("_", "a").replace("-", "a").isalnum():
        raise StudioError(f"{one_line(name, 60)} is no metric.", "Write own:NAME for metrics/NAME.py in the workspace.")
    path = workspace / FOLDER / f"{stem}.py"
    if not path.is_file():
        raise StudioError(f"There is no metric {stem}: {path} is missing.", "Write a function score in that file.")
    spec = importlib.util.spec_from_file_location(f"ftstudio_metric_{stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise StudioError(f"{path} can't be loaded: {_told(error)}.", "Correct the file.") from error
    function = getattr(module, "score", None)
    if not callable(function):
        raise StudioError(f"{path} has no function `score`.", "def score(output, reference, prompt): ...")

    def score(rows: Sequence[Prediction]) -> list[float | None]:
        found = []
        for row in rows:
            try:
                found.append(_number(function(row.output, row.reference, row.prompt)))
            except Exception as error:
                raise StudioError(f"{path.name} failed on row {row.row}: {_told(error)}.", "Correct it.") from error
        return found

    mark = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    better = getattr(module, "HIGHER_IS_BETTER", True)
    return Extra(
        name,
        one_line(getattr(module, "TITLE", stem), 30),
        better if better in (True, False) else None,
        f"own metric|{path.name}|sha256:{mark}",
        score,
    )


def _evaluate(name: str, workspace: Path | None) -> Extra:
    wanted, _, key = name.removeprefix(EVALUATE).partition("#")
    try:
        import evaluate
    except ImportError:
        raise StudioError("The library evaluate isn't installed.", "pip install ftstudio[evaluate]") from None
    place = next((path for path in _places(wanted, workspace) if path.exists()), None)
    try:
        module = evaluate.load(str(place) if place is not None else wanted)
    except Exception as error:
        if place is not None:
            raise StudioError(f"The metric {place} can't be loaded: {_told(error)}.", "Correct it.") from error
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        why = "the hub is switched off (HF_HUB_OFFLINE)" if offline else "the hub can't be reached, or knows none"
        raise StudioError(
            f"evaluate has no metric {one_line(wanted, 60)} here: it was never fetched, and {why}.",
            "Name a local path (evaluate:./my_metric.py), or fetch it once with a network.",
        ) from error
    label = f"{Path(wanted).stem}{f' {key}' if key else ''}"

    def score(rows: Sequence[Prediction]) -> list[float | None]:
        return [_computed(module, row, key) for row in rows]

    version = getattr(evaluate, "__version__", "")
    mark = f"|sha256:{_mark(place)}" if place is not None else ""
    better = _direction(Path(wanted).stem, key, module)
    return Extra(name, one_line(label, 30), better, f"evaluate:{version}|{one_line(wanted, 80)}{mark}", score)


def _direction(name: str, key: str, module: Any) -> bool | None:
    """Whether more is better, as the metric itself (`HIGHER_IS_BETTER` in its file) or its name says; None: unknown."""
    own = getattr(module, "HIGHER_IS_BETTER", getattr(type(module), "HIGHER_IS_BETTER", None))
    if own is None:
        own = getattr(sys.modules.get(type(module).__module__), "HIGHER_IS_BETTER", None)
    if isinstance(own, bool):
        return own
    return HIGHER_IS_BETTER.get(name, HIGHER_IS_BETTER.get(key))


def _places(wanted: str, workspace: Path | None) -> list[Path]:
    path = Path(wanted).expanduser()
    local = path.is_absolute() or wanted.startswith(".") or path.suffix == ".py"
    if not local:
        return []
    return [path, *([workspace / path, workspace / FOLDER / path] if workspace is not None else [])]


def _mark(place: Path) -> str:
    file = place / f"{place.name}.py" if place.is_dir() else place
    with contextlib.suppress(OSError):
        return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return "unknown"


def _computed(module: Any, row: Prediction, key: str) -> float | None:
    """The metric's value on ROW: what `_compute` of it says, without the files that `compute` writes."""
    if row.reference is None:
        return None
    value: Any = None
    failure: Exception | None = None
    for references in ([row.reference], [[row.reference]]):  # some take several references a row
        try:
            value = module._compute(predictions=[row.output], references=references)
            break
        except Exception as error:
            failure = failure or error
    if value is None:
        raise StudioError(f"{module.name} failed on row {row.row}: {_told(failure)}.", "Choose another metric.")
    if isinstance(value, dict):
        numbers = [item for name, item in value.items() if _number(item) is not None and (not key or name == key)]
        if not numbers:
            known = ", ".join(map(str, value))
            raise StudioError(f"{module.name} gives no number {key}.", f"It gives {one_line(known, 200)}.")
        value = numbers[0]
    return _number(value)


def _number(value: Any) -> float | None:
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _told(error: Exception | None) -> str:
    return one_line(f"{type(error).__name__} {error}".strip(), 200)
