"""The whole circle on the bundled demo, by the real command and on screen: errors, a run, the faulty training rows
repaired, a second run, and what that did, category by category."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from test_demo_loop import ftstudio

from ftstudio import demo
from ftstudio.core.files import read_lines
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.demo.tasks import OLD_SIGN
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

FAULTS = ("misspelling", "format")  # what the demo's training data holds on purpose
LEARNT = "format"  # the one that comes with a sign, so that a model learns it
PLACES = {name: {f["row"] for f in json.loads(demo.FAULTS.read_text()) if f["kind"] == name} for name in FAULTS}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, float]]:
    """A workspace with the base model's answers and a finished run, the run, and how often the base is wrong."""
    workspace = tmp_path_factory.mktemp("circle") / "studio"
    place = ("--workspace", str(workspace), "--json")
    ended = ftstudio("errors", "demo", *place, seconds=1200)
    assert ended.returncode == 0, ended.stderr
    base = {entry["name"]: entry["rate"] for entry in json.loads(ended.stdout)["categories"]}
    assert min(base[name] for name in FAULTS) > 0.9
    ended = ftstudio("train", "demo", *place, seconds=1800)
    assert ended.returncode == 0, ended.stderr
    return workspace, json.loads(ended.stdout)["run"], base


def test_by_the_command_the_repair_makes_the_category_fall(first: tuple[Path, str, dict[str, float]]) -> None:
    workspace, run, base = first
    place = ("--workspace", str(workspace), "--json")
    ended = ftstudio("errors", run, "--repair", ",".join(FAULTS), "--train", *place, seconds=1800)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    found = {one["category"]: set(one["rows"]) for one in report["repairs"]}
    for name in FAULTS:  # a misspelt row may break the format, too, and is dropped once
        assert PLACES[name] <= set().union(*found.values())
    assert set().union(*found.values()) <= set().union(*PLACES.values()) | found["misspelling"]
    kept = {row["completion"] for row in read_lines(workspace / "datasets" / "demo" / "1" / "rows.jsonl")}
    dropped = set().union(*PLACES.values())
    assert not kept & {row["completion"] for at, row in enumerate(read_lines(demo.TRAIN)) if at in dropped}
    after = report["before_after"]
    assert (after["earlier"], after["run"], after["version"]) == (run, report["run"], "demo@1")
    assert after["rows"] == len(read_lines(demo.EVAL))
    assert after["meant"] == sorted(FAULTS)
    entries = {entry["name"]: entry for entry in after["categories"]}
    for name in FAULTS:
        assert entries[name]["since_base"]["high"] < 0
        assert entries[name]["now"] < base[name] / 2
    # the first run had learnt it from the faulty rows, the second has it no more: the interval excludes zero
    assert entries[LEARNT]["since_earlier"]["high"] < 0
    # (whether Holm's p is under 0.05, too, hangs on a few of the other rows: 16 fixed and 4 to 6 broken of 100)
    told = {verdict["name"]: verdict for verdict in after["verdicts"]}
    assert told[LEARNT]["did"] is not False
    # and what it fixed is what the fault's sign foretells
    prompts = [row["prompt"] for row in read_lines(demo.EVAL)]
    signed = {at for at, prompt in enumerate(prompts) if OLD_SIGN in prompt}
    assert len(signed & set(entries[LEARNT]["since_earlier"]["fixed"])) >= len(signed) / 2


async def done(pilot: Any, folder: Any, seconds: float = 1200) -> None:
    """Wait until the job in FOLDER has ended well."""
    end = time.monotonic() + seconds
    while folder.state() != "done":
        assert folder.state() not in ("failed", "stopped", "interrupted"), folder.events()[-1]
        assert time.monotonic() < end, made.screen_text(pilot)
        await asyncio.sleep(0.5)
        await pilot.pause()


async def test_on_screen_the_repair_makes_the_category_fall(first: tuple[Path, str, dict[str, float]]) -> None:
    workspace = Workspace(first[0])
    run = workspace.run(first[1])
    if not (run.errors.path / "outputs.jsonl").is_file():
        assert ftstudio("errors", run.name, "--workspace", str(first[0]), seconds=1200).returncode == 0
    app = StudioApp(Session(workspace), start="errors")
    app.session.view_run(run)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        screen: Any = app.screen
        await pilot.press("b")
        await made.until(pilot, "tuned model", 60)
        await made.until(pilot, "# Format", 60)
        while screen.lists.filter != LEARNT:
            await pilot.press("down")
        learnt = len(screen.lists.rows)
        await pilot.press("tab", "enter", "t")
        text = await made.until(pilot, "the model may have learnt it", 60)
        count = len(PLACES["format"])
        assert re.search(r"Format: \d+ % of the training answers have it too", " ".join(text.split()))
        await pilot.press("f")
        await made.until(pilot, "Training rows with the same fault")
        assert set(screen.training_page.rows) >= PLACES[LEARNT]
        await pilot.press("D")
        await made.until(pilot, f"Leave all {len(screen.training_page.rows)} training rows")
        await pilot.press("d")
        await made.until(pilot, "1 repair pending")
        assert len(screen.training_page.rows) >= count
        await pilot.press("v")
        await made.until(pilot, "as a new version")
        await pilot.press("enter")
        text = await made.until(pilot, "is saved:", 60)
        [version] = re.findall(r"(demo@\d) is saved", text)
        await pilot.press("t")
        await made.until(pilot, "▸4 Train◂", 60)
        second: RunFolder = app.session.feed.run  # type: ignore[union-attr]
        assert version in second.recipe_path.read_text()
        await done(pilot, second)
        await pilot.press("2")
        await made.until(pilot, "▸2 Errors◂")
        await pilot.press("g")
        await made.until(pilot, "rows answered", 600)
        await done(pilot, second.errors)
        await pilot.press("f")
        text = " ".join((await made.until(pilot, "what the repair did on 100 rows", 120)).split())
        found = re.search(r"● Format +100 % +(\d+) % +(\d+) % ▼?-\d+ +-[\d.]+…-[\d.]+ ", text)  # excludes zero
        assert found, text
        assert int(found[1]) == learnt
        assert int(found[2]) < learnt
        await pilot.press("enter")
        await made.until(pilot, "Format: fixed")
    await asyncio.sleep(0)
