"""The map of rows says where a row stands and what it says, and leads to it, also where several sources are mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_runs as runs
import pytest
from screens import press, shown, until

from ftstudio.core import dynamics
from ftstudio.core.errors import StudioError
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.data.read import open_dataset
from ftstudio.engine.recipes import load_recipe
from ftstudio.engine.trained_rows import open_rows_of
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session
from ftstudio.ui.train.rowmap import RowMapPage

TICKETS, MAILS, CAP = 40, 30, 20  # rows of the sources, and how many of the mails are used


def written(path: Path, count: int) -> Path:
    name = path.stem
    lines = ({"prompt": f"[/{name} asks {n}\x1b[2J", "completion": f"{name} says {n}"} for n in range(count))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def mixed(workspace: Workspace, folder: Path, hard: dict[int, float], **resolved: Any) -> RunFolder:
    """A run on two files, the second one capped; HARD are the losses of rows that aren't easy."""
    run = runs.finished(workspace)
    tickets, mails = written(folder / "tickets.jsonl", TICKETS), written(folder / "mails.jsonl", MAILS)
    train = [{"path": str(tickets)}, {"path": str(mails), "cap": CAP}]
    run.recipe_path.write_text(json.dumps({"task": "sft", "model": "demo", "data": {"train": train}, **resolved}))
    runs.row_losses(run, [[hard.get(row, 0.05) for row in range(TICKETS + CAP)]] * 2)
    path = run.path / dynamics.FOLDER / dynamics.ABOUT
    sources = [("tickets", 0, TICKETS), ("mails", TICKETS, TICKETS + CAP)]
    about = json.loads(path.read_text())
    about["sources"] = [{"name": name, "start": start, "stop": stop} for name, start, stop in sources]
    path.write_text(json.dumps(about))
    return run


def studio(workspace: Workspace, run: RunFolder) -> StudioApp:
    session = Session(workspace)
    session.view_run(run)
    return StudioApp(session, start="train")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_hard_row_of_a_mix_is_named_read_and_opened(
    workspace: Workspace, tmp_path: Path, size: tuple[int, int]
) -> None:
    run = mixed(workspace, tmp_path, {12: 2.5, 47: 2.2, 50: 2.0})
    rows = open_rows_of(load_recipe(run.recipe_path))
    number = rows.place(47).number
    assert number != 47 - TICKETS  # the cap has passed over rows before it
    async with studio(workspace, run).run_test(size=size) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, "h")
        await until(pilot, "tickets              12   0.08")
        text = await until(pilot, f"mails {number:17}   0.11")
        assert f"row 12 of {tmp_path}"[:30] in text
        assert "prompt      [/tickets asks 12␛" in text
        assert "completion  tickets says 12" in text
        await press(pilot, "down")
        await until(pilot, f"completion  mails says {number}")
        await press(pilot, "enter")
        text = await until(pilot, f"row {number} ")
        text = await until(pilot, "filter hard rows of tickets-1")
        assert f"{number} ▸ [/mails asks {number}␛" in text
        assert "2 of 2" in text or "1 of 2" in text  # those of the other source aren't there
        assert "tickets asks" not in text


async def test_rows_that_changed_since_are_not_shown_as_what_was_trained(workspace: Workspace, tmp_path: Path) -> None:
    known = {"data": {"train": {"sha256": "0" * 64, "rows": TICKETS + CAP}}}
    run = mixed(workspace, tmp_path, {12: 2.5}, resolved=known)
    async with studio(workspace, run).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, "h")
        text = await until(pilot, "The text of the rows can't be shown")
        assert "tickets says" not in text
        await press(pilot, "enter")
        for _ in range(200):  # the notice's lines break where the paths of the files have them break
            if said := [one.message for one in pilot.app._notifications]:
                break
            await pilot.pause(0.02)
        assert "has changed since the run was trained" in " ".join(said)
        assert "1 Data◂" not in shown(pilot.app)


async def test_where_the_model_is_sure_of_all_rows_none_is_called_mislabelled(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = mixed(workspace, tmp_path, {12: 0.1})
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, "h")
        text = await until(pilot, "All rows are easy: the model is at least 0.90 sure of each.")
        assert "wrong labels" not in text
        await press(pilot, "h")
        assert pilot.app.screen.query_one(RowMapPage).row == 12


def test_places_of_one_source_are_those_of_its_file(tmp_path: Path, workspace: Workspace) -> None:
    path = written(tmp_path / "tickets.jsonl", 9)
    run = runs.finished(workspace)
    known = {"sha256": open_dataset(str(path)).hash, "rows": 9}
    values = {"task": "sft", "model": "demo", "data": {"train": str(path)}, "resolved": {"data": {"train": known}}}
    run.recipe_path.write_text(json.dumps(values))
    rows = open_rows_of(load_recipe(run.recipe_path))
    place = rows.place(7)
    assert (place.address, place.number, place.name, place.rows) == (str(path), 7, "", 9)
    assert rows.row(7)["completion"] == "tickets says 7"
    assert rows.names(7, {**rows.row(7), "other": ""}) == ["prompt", "completion"]
    with pytest.raises(StudioError, match="can't be read"):
        rows.row(9)
    written(path, 8)
    with pytest.raises(StudioError, match="has changed since"):
        open_rows_of(load_recipe(run.recipe_path))
