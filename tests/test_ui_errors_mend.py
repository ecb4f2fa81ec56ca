"""Mending on the screen Errors: own answers, new rows, suggestions, weights, own categories, before and after."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from screens import IdleWorker, press
from textual.widgets import Input

from ftstudio.core import files
from ftstudio.core.jobs import Train
from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.data.read import open_dataset
from ftstudio.evaluation import own
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

MISSPELT = {3: "livves", 11: "lievs", 27: "livess"}


def studio(tmp_path: Path, recipe: Recipe) -> StudioApp:
    """The screen Errors on base answers of a recipe whose training file holds misspelt answers."""
    made.base_answers(Workspace(tmp_path / "studio"), recipe)
    return StudioApp(Session(Workspace(tmp_path / "studio"), recipe), start="errors")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    rows = made.json_lines(made.dataset(tmp_path))
    held_out, train = tmp_path / "held_out.jsonl", tmp_path / "animals_train.jsonl"
    files.write_lines(held_out, rows[60:])
    for number, word in MISSPELT.items():
        rows[number]["completion"] = rows[number]["completion"].replace("lives", word)
    files.write_lines(train, rows[:60])
    return Recipe(model="demo", data={"train": str(train), "eval": str(held_out)})  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that speaks OpenAI's chat completions and always answers the same; what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            choice = {"message": {"role": "assistant", "content": "It lives [/b] here."}, "finish_reason": "stop"}
            body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/v1#helper", asked
    httpd.shutdown()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_suggested_and_an_own_answer_are_kept_and_become_a_training_row(
    tmp_path: Path, recipe: Recipe, size: tuple[int, int], server: tuple[str, list[dict[str, Any]]]
) -> None:
    url, asked = server
    app = studio(tmp_path, recipe)
    app.session._worker = IdleWorker()  # type: ignore[assignment]
    async with app.run_test(size=size, notifications=True) as pilot:
        await made.until(pilot, "Repetitive")
        await press(pilot, "tab down enter w")
        await made.until(pilot, "Who rewrites the answer?")
        await press(pilot, "s")
        await made.until(pilot, "Which server?")
        pilot.app.screen.query_one(Input).value = url
        await press(pilot, "enter")
        await made.until(pilot, "helper suggests for row 1")
        await press(pilot, "ctrl+s")
        await made.until(pilot, "It lives [/b] here.")
        screen: Any = app.screen
        prediction = screen.reading.prediction
        assert screen.answers.corrections.texts == {1: "It lives [/b] here."}
        [message] = asked[0]["messages"]
        for part in (prediction.prompt, prediction.output.strip(), prediction.reference):
            assert part in message["content"]
        assert asked[0]["model"] == "helper"
        assert files.read_lines(screen.answers.corrections.path)[-1]["who"] == "helper"
        assert files.read_json(tmp_path / "studio" / "suggesting.json") == {"server": url}
        await press(pilot, "e")
        await made.until(pilot, "Your answer to row 1")
        await press(pilot, "text:!_Mine. ctrl+s")
        text = await made.until(pilot, "here.! Mine.")
        mine = "It lives [/b] here.! Mine."
        assert screen.answers.corrections.texts == {1: mine}
        await press(pilot, "a")
        text = await made.until(pilot, "becomes a training row (1 pending)")
        await press(pilot, "t")
        await made.until(pilot, "1 repair pending")
        await press(pilot, "f")
        await made.until(pilot, "same fault")
        while screen.training_page.category != "misspelling":
            await press(pilot, "c")
        await made.until(pilot, "(3 of 60)")
        await press(pilot, "plus")
        await made.until(pilot, "trained 2 times an epoch")
        await press(pilot, "D")
        await made.until(pilot, "Leave all 3 training rows")
        await press(pilot, "d")
        await made.until(pilot, "3 repairs pending")
        await press(pilot, "l")
        text = await made.until(pilot, "3 pending repairs, the last first")
        assert re.search(r"Drop 3 rows +misspelling", text)
        assert re.search(r"Weigh row 3 × 2 +misspelling", text)
        assert re.search(r"Add a row at the end +mode_collapse", text)
        await press(pilot, "v")
        await made.until(pilot, "as a new version")
        await press(pilot, "enter")
        await made.until(pilot, "train on animals-train@1 now")
        await press(pilot, "t")
        await made.until(pilot, "▸4 Train◂")
        [job] = app.session.worker.jobs  # type: ignore[attr-defined]
        assert isinstance(job, Train)
        assert "animals-train@1" in (job.folder / "recipe.yaml").read_text()
    rows = list(open_dataset(tmp_path / "studio" / "datasets" / "animals-train" / "1" / "rows.jsonl").iter())
    assert len(rows) == 58
    assert rows[-1]["completion"] == mine
    assert not any(word in row["completion"] for row in rows for word in MISSPELT.values())


def test_pairs_choose_the_own_answer(tmp_path: Path, recipe: Recipe) -> None:
    from ftstudio.ui.errors.answers import Answers
    from ftstudio.ui.errors.export import preferences

    answers = Answers(made.base_answers(Workspace(tmp_path / "studio"), recipe), "base", recipe)
    answers.poll()
    answers.corrections.set(2, "Better.")
    path, _ = preferences(answers, [1, 2], "some", tmp_path)
    chosen = {line["row"]: line["chosen"] for line in files.read_lines(path)}
    assert chosen == {1: answers.predictions[1].reference, 2: "Better."}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_an_own_category_shows_what_it_catches_while_it_is_written(
    tmp_path: Path, recipe: Recipe, size: tuple[int, int]
) -> None:
    app = studio(tmp_path, recipe)
    async with app.run_test(size=size, notifications=True) as pilot:
        await made.until(pilot, "Repetitive")
        await press(pilot, "c")
        await made.until(pilot, "A category of your own")
        await press(pilot, "text:typo down text:liv+es")
        await made.until(pilot, "catches 12 of 20 answers (60 %)")
        await press(pilot, "text:(")
        await made.until(pilot, "no regular expression")
        await press(pilot, "backspace down text:words(output)_>_30")
        await made.until(pilot, "has both a pattern and a condition")
        await press(pilot, "up " + "backspace " * 6)
        await made.until(pilot, "catches 8 of 20 answers (40 %)")
        await press(pilot, "down down text:j down text:! ctrl+s")
        text = await made.until(pilot, "! Typo")
        assert re.search(r"! Typo +8 +40 %", text)
    [kept] = own.load(tmp_path / "studio")
    assert (kept.name, kept.key, kept.mark, kept.when) == ("typo", "j", "!", "words(output) > 30")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_before_and_after_a_repair_on_screen(tmp_path: Path, recipe: Recipe, size: tuple[int, int]) -> None:
    from ftstudio.engine.behind import Quietly, open_training
    from ftstudio.engine.repairing import Repairs, on_version

    workspace = Workspace(tmp_path / "studio")
    app = studio(tmp_path, recipe)
    first, rows = made.tuned_run(workspace, recipe, "first")
    outputs = {first: lambda place, row: row.reference.replace("lives", "livves")}
    resolved, _ = made.asked(recipe)
    repairs = Repairs.open(open_training(resolved, workspace.path, Quietly()), workspace)
    repairs.drop(list(MISSPELT), "misspelt", ["misspelling"])
    second, _ = made.tuned_run(workspace, on_version(recipe, repairs.save("repaired"), workspace), "second")
    outputs[second] = lambda place, row: "" if place == 0 else row.reference
    for run, output in outputs.items():
        files.LineWriter(run.errors.path / "outputs.jsonl").append(*made.lines(rows, output, run.name))
    app.session.view_run(second)
    async with app.run_test(size=size, notifications=True) as pilot:
        await made.until(pilot, "Repetitive")
        await press(pilot, "f")
        text = await made.until(pilot, "what the repair did on 20 rows")
        assert re.search(r"▸ ● Misspelling +20 % +100 % +0 % +▼-100 +-100…-100 +20 +0", text)
        text = await made.until(pilot, "the repair did what it was meant to")
        assert "Trail: source (first-1) → animals-train@1 against misspelling" in " ".join(text.split())
        await press(pilot, "enter")
        text = await made.until(pilot, "Misspelling: fixed")
        assert len(app.screen.lists.rows) == 20  # type: ignore[attr-defined]
    app = StudioApp(Session(workspace, recipe), start="errors")
    app.session.view_run(first)
    async with app.run_test(size=size, notifications=True) as pilot:
        await made.until(pilot, "Repetitive")
        await press(pilot, "f")
        await made.until(pilot, "was not trained on a repaired version")
