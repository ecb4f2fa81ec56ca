"""Labels in doubt, on screen: training labels and held-out labels put right with one key each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from test_data_checks_meaning import WHAT, WHO

from ftstudio.core import files
from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.data.read import open_dataset
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.shelf import Shelf
from ftstudio.engine.answer import base_folder
from ftstudio.engine.prepare import resolve
from ftstudio.evaluation.predictions import Prediction, to_line
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

SAID = {0: ("late", ("but the parcel never came. Where is it?", "and waits for the parcel. When does it come?",
                     "but the parcel is late, and nobody knows where it is.", "and still has no parcel after weeks.")),
        1: ("refund", ("and wants the money back.", "and asks for a refund of the whole price.",
                       "but now wants to be paid back.", "and would like the price refunded."))}  # fmt: skip
WRONG = {5, 17, 40, 66}  # training rows with the other label
DOUBTED = 3  # a held-out row with the other label


def rows(numbers: range, wrong: set[int], typed: bool) -> list[dict[str, Any]]:
    found = []
    for number in numbers:
        side = number % 2
        text = f"{WHO[number % 6]} {WHAT[number // 6 % 6]} {SAID[side][1][number // 2 % 4]}"
        label = side if number not in wrong else 1 - side
        found.append({"text": text, "label": label if typed else SAID[label][0]})
    return found


def studio(tmp_path: Path, typed: bool) -> tuple[StudioApp, Recipe]:
    """The screen Errors on a classifier's answers, each right, 0.9 sure; labels are numbers where TYPED."""
    train, held_out = tmp_path / "mails_train.jsonl", tmp_path / "mails_dev.jsonl"
    files.write_lines(train, rows(range(100), WRONG, typed))
    held = rows(range(100, 144), {100 + DOUBTED}, typed)
    files.write_lines(held_out, held)
    recipe = Recipe(task="text-classification", model="demo", data={"train": str(train), "eval": str(held_out)})  # type: ignore[arg-type]
    workspace = Workspace(tmp_path / "studio")
    folder = base_folder(workspace, resolve(recipe)[0])
    folder.emit("start", rows=len(held), arms=["base"], model="demo", tokens_limit=64)
    names = [str(side) if typed else SAID[side][0] for side in (0, 1)]
    lines = [
        to_line(Prediction(at, row["text"], str(row["label"]), names[at % 2], arm="base",
                           extra={"probabilities": {names[at % 2]: 0.9, names[1 - at % 2]: 0.1}}))
        for at, row in enumerate(held)
    ]  # fmt: skip
    files.LineWriter(folder.path / "outputs.jsonl").append(*lines)
    folder.emit("done", rows=len(held))
    return StudioApp(Session(workspace, recipe), start="errors"), recipe


@pytest.mark.parametrize("typed", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_labels_in_doubt_are_put_right_with_one_key(tmp_path: Path, typed: bool) -> None:
    app, _ = studio(tmp_path, typed)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await made.until(pilot, "Label in doubt")
        screen: Any = app.screen
        while screen.lists.filter != "label_error":
            await pilot.press("down")
        assert screen.lists.rows == [DOUBTED]
        await pilot.press("tab", "enter")
        assert "h relabel" in await made.until(pilot, "perhaps")
        await pilot.press("h")
        await made.until(pilot, "pending in mails-dev")
        assert screen.answers.corrections.texts == {DOUBTED: "1" if typed else "refund"}
        await pilot.press("t")
        await made.until(pilot, "training rows")
        await pilot.press("f")
        text = await made.until(pilot, "h takes the likelier label")
        assert "4 % of the training labels (4 of 100)" in " ".join(text.split())
        assert set(screen.training_page.rows) == WRONG
        for count in range(1, 5):
            await pilot.press("h")
            await made.until(pilot, f"{count} repair")
        await pilot.press("v")
        await made.until(pilot, "as a new version")
        await pilot.press("enter")
        await made.until(pilot, "mails-train@1 is saved")
    saved = list(open_dataset(tmp_path / "studio" / "datasets" / "mails-train" / "1" / "rows.jsonl").iter())
    assert [{"text": row["text"], "label": row["label"]} for row in saved] == rows(range(100), set(), typed)
    held_out = open_dataset(tmp_path / "mails_dev.jsonl")
    pending = Pending.of_source(Shelf.of(Workspace(tmp_path / "studio")), held_out)
    assert [pending.working.dataset[at] for at in range(44)] == rows(range(100, 144), set(), typed)
