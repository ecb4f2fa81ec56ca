"""Which held-out rows the models of a comparison were trained on: by the runs compared, and by those they build on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.data.example import BadRow, text_of
from ftstudio.data.normal import digest
from ftstudio.engine.every_epoch import every_epoch
from ftstudio.engine.materials import Materials, open_materials
from ftstudio.engine.recipes import load_recipe
from ftstudio.evaluation import leaks
from ftstudio.evaluation.predictions import Prediction

KINDS = {"eval": "held-out", "test": "test"}  # how rows of a part are called

Stop = Callable[[], bool]


def leaks_of(
    materials: Materials,
    predictions: Sequence[Prediction],
    should_stop: Stop | None = None,
    runs: Mapping[str, Materials] | None = None,
) -> dict[str, Any]:
    """The rows of PREDICTIONS, held out of MATERIALS, that stand in the training rows of any epoch, see
    `evaluation.leaks`; where pictures are asked about, those with the same ones beside the same question.

    RUNS: whose training rows these are, by name; MATERIALS' own where none are named. The runs whose models theirs are
    built on are looked through too; one whose rows can't be opened any more is told among `unseen`.
    """
    seen = _pictures(materials, {row.row for row in predictions})
    held_out = [(row.row, *_asked(row.prompt, row.reference, seen.get(row.row))) for row in predictions]
    kind = KINDS[materials.part]
    if not runs:
        return leaks.told(leaks.find(held_out, _training(materials), should_stop), len(held_out), kind)
    bases, unseen = _bases(runs, should_stop)
    looked: list[tuple[Any, list[leaks.Leak]]] = []
    found: dict[str, list[leaks.Leak]] = {}
    for name, one in {**runs, **bases}.items():
        rows = _which(one)
        known = next((same for other, same in looked if other == rows), None)  # runs of the same data: look once
        if known is None:
            known = leaks.find(held_out, _training(one), should_stop)
            looked.append((rows, known))
        found[name] = known
    return leaks.told_by_run(found, len(held_out), kind, bases=list(bases), unseen=unseen)


def _which(materials: Materials) -> tuple[Any, ...]:
    """What two runs share that train the same rows in the same words."""
    capped = tuple(part.dataset.origin for part in materials.sources)
    return materials.whole.hash, capped, every_epoch(materials).origin, materials.shape


def _training(materials: Materials) -> Iterator[tuple[int, str, str]]:
    rows = every_epoch(materials)
    for index in range(len(rows)):
        try:
            example = materials.shape.example(rows[index])
        except BadRow:
            continue
        text = example.messages[0].content if example.is_text else example.prompt
        asked = _asked(text, example.reference, example.fields.get("images"))
        yield (rows.origin_of(index), *asked)


def _bases(
    runs: Mapping[str, Materials], should_stop: Stop | None
) -> tuple[dict[str, Materials], list[tuple[str, str]]]:
    """(the rows of those that the models of RUNS are built on, by name; those whose rows can't be opened, and why)."""
    found: dict[str, Materials] = {}
    unseen: dict[str, str] = {}
    known = set(runs)
    waiting = [materials.recipe for materials in runs.values()]
    while waiting:
        run = built_on(waiting.pop(0))
        if run is None or run.name in known:
            continue
        known.add(run.name)
        try:
            recipe = load_recipe(run.recipe_path)
            waiting.append(recipe)
            found[run.name] = open_materials(recipe, cancel=should_stop)
        except Stopped:
            raise
        except StudioError as error:
            unseen[run.name] = error.message
    return found, list(unseen.items())


def built_on(recipe: Recipe) -> RunFolder | None:
    """The run in whose folder the model that RECIPE trains lies; None where it lies elsewhere."""
    if not recipe.model:
        return None
    path = Path(recipe.model).expanduser()
    if not path.is_absolute():
        return None
    with contextlib.suppress(OSError):
        for folder in list(path.parents)[:2]:  # runs/NAME/model, runs/NAME/checkpoints/checkpoint-8
            if folder.parent.name == "runs" and (folder / "recipe.yaml").is_file():
                return RunFolder(folder)
    return None


def _asked(prompt: str, reference: str | None, pictures: Any) -> tuple[str, str]:
    """What is looked for of a row: PROMPT and REFERENCE. Of one with PICTURES a word that stands for both, so that it
    is found as a whole only: many questions are asked about another picture each."""
    return (digest([prompt, text_of(pictures)]).hex(), "") if pictures else (prompt, reference or "")


def _pictures(materials: Materials, rows: set[int]) -> dict[int, Any]:
    """What pictures the held-out ROWS name, by number; empty where no task is about any."""
    held_out, found = materials.held_out, dict[int, Any]()
    if held_out is None or materials.task.kind != "image-text-to-text":
        return found
    for index in range(len(held_out)):
        if held_out.origin_of(index) in rows:
            with contextlib.suppress(BadRow):
                example = materials.held_out_shape.example(held_out[index])
                found[held_out.origin_of(index)] = example.fields.get("images")
    return found
