"""Answers on held-out rows written by hand, as a worker would write them, and the screen of a running app as text."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from screens import whole
from textual.pilot import Pilot

from ftstudio.core import files, recipe_file
from ftstudio.core.folder import JobFolder
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.answer import base_folder
from ftstudio.engine.answering import Question, questions
from ftstudio.engine.prepare import resolve
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.predictions import Prediction, read_predictions, to_line

SUBJECTS = ["otter", "heron", "badger", "falcon", "beaver", "magpie", "lizard", "salmon", "weasel", "rabbit"]
PLACES = ["river", "forest", "meadow", "mountain", "harbour", "village", "garden", "valley", "desert", "island"]
HOSTILE = "[/b] [b + \x1b[2J\x1b]0;owned\x07 \x00 世界 \u202eabc \U0001f469‍\U0001f680 end"


def dataset(folder: Path, rows: int = 80) -> Path:
    """A file of prompts and completions that differ from each other."""
    path = folder / "animals.jsonl"
    lines = []
    for number in range(rows):
        animal, place = SUBJECTS[number % 10], PLACES[number // 10 % 10]
        prompt = f"Where does the {animal} number {number} live, and why does it stay there?"
        lines.append({"prompt": prompt, "completion": f"The {animal} lives near the {place}. It stays for the food."})
    files.write_lines(path, lines)
    return path


def draft(folder: Path, rows: int = 80, held_out: float = 0.5) -> Recipe:
    """A recipe as the wizard makes it: nothing resolved."""
    return Recipe(model="demo", data={"train": str(dataset(folder, rows)), "eval": held_out})  # type: ignore[arg-type]


def asked(recipe: Recipe) -> tuple[Recipe, list[Question]]:
    """The resolved RECIPE and the questions its held-out rows ask."""
    resolved, materials = resolve(recipe)
    return resolved, questions(materials.examples(resolved.evaluation.rows), {"": materials})[0]


def lines(rows: Iterable[Question], output: Callable[[int, Question], str], arm: str) -> list[dict[str, Any]]:
    """One line of answers for each of ROWS."""
    return [
        to_line(Prediction(row.row, row.text, row.reference, output(place, row), 12, True, arm))
        for place, row in enumerate(rows)
    ]


def faulty(place: int, row: Question) -> str:
    """A base model's answer: by turns right, looping, empty, far too long, misspelt."""
    right = row.reference or ""
    return (right, "and then " * 30, "", right * 6, right.replace("lives", "livves"))[place % 5]


def right(place: int, row: Question) -> str:
    """A tuned model's answer: right but for every tenth."""
    return "and then " * 30 if place % 10 == 9 else row.reference or ""


def base_answers(workspace: Workspace, recipe: Recipe, output: Callable[[int, Question], str] = faulty) -> JobFolder:
    """A finished job that answered RECIPE's held-out rows with its base model."""
    resolved, rows = asked(recipe)
    folder = base_folder(workspace, resolved)
    folder.emit("start", rows=len(rows), arms=["base"], model="demo", tokens_limit=64)
    files.LineWriter(folder.path / "outputs.jsonl").append(*lines(rows, output, "base"))
    folder.emit("done", rows=len(rows))
    return folder


def tuned_run(workspace: Workspace, recipe: Recipe, name: str = "animals-lora") -> tuple[RunFolder, list[Question]]:
    """A finished run of RECIPE, a model in it, nothing answered yet."""
    resolved, rows = asked(recipe)
    return finished_run(workspace, resolved, name), rows


def finished_run(workspace: Workspace, resolved: Recipe, name: str = "animals-lora") -> RunFolder:
    """A finished run of the RESOLVED recipe, a model in it, nothing answered yet."""
    run = workspace.new_run(name)
    files.write(run.recipe_path, recipe_file.to_yaml(resolved, defaults=True, comments=True))
    run.emit("start", run=run.name, task="sft", method="lora", model="demo", total_steps=10)
    run.emit("done", step=10)
    run.model.mkdir()
    return run


def compared(
    run: RunFolder,
    rows: list[Question],
    base: Callable[[int, Question], str] = faulty,
    tuned: Callable[[int, Question], str] = right,
    part: float = 1.0,
) -> JobFolder:
    """Answers of both arms in RUN's comparison; of the tuned one only a PART. No report."""
    folder = run.compare
    folder.emit("start", rows=len(rows), arms=["base", run.name], model="demo", tokens_limit=64)
    files.LineWriter(folder.path / "base.jsonl").append(*lines(rows, base, "base"))
    done = rows[: round(part * len(rows))]
    if done:
        files.LineWriter(folder.path / f"{run.name}.jsonl").append(*lines(done, tuned, run.name))
    return folder


def report(run: RunFolder, rows: list[Question]) -> dict[str, Any]:
    """The report a worker writes once both arms of RUN's comparison have answered ROWS; gives it back."""
    read = {name: read_predictions(run.compare.path / f"{name}.jsonl") for name in ("base", run.name)}
    made: dict[str, Any] = compare([Arm(name, read[name]) for name in read], metrics=("rouge",), seed=0)
    made["forgetting"] = {"change": 0.118}
    files.write_json(run.compare.path / "report.json", made)
    run.compare.emit("done", rows=len(rows))
    return made


def screen_text(pilot: Pilot[Any]) -> str:
    """What is on the screen, line by line, as a terminal gets it."""
    app = pilot.app
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    assert len(strips) <= height
    assert all(strip.cell_length <= width for strip in strips)
    return "\n".join(strip.text.rstrip() for strip in strips)


async def until(pilot: Pilot[Any], pattern: str, seconds: float = 30.0) -> str:
    """The screen once PATTERN stands on it; fails with the screen where it never does."""
    end = time.monotonic() + seconds
    while pattern not in (text := screen_text(pilot)):
        if time.monotonic() > end:
            raise AssertionError(f"{pattern!r} not on screen:\n{text}")
        await asyncio.sleep(0.05)
        await pilot.pause()
    return await whole(pilot)


def harmless(text: str) -> bool:
    """Whether TEXT holds nothing that a terminal would act on."""
    return re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) is None


def json_lines(path: Path) -> list[Any]:
    """The JSON lines of PATH."""
    return [json.loads(line) for line in path.read_text().splitlines()]
