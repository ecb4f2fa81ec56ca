"""Blind votes and the chat on the screen: nothing tells who is who, nothing is lost, all goes through files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from screens import IdleWorker

from ftstudio.core import files
from ftstudio.core.chatlog import read_turns
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Chat, Compare
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.answering import Question
from ftstudio.evaluation.votes.book import NAME, Book
from ftstudio.ui.compare.chat.screen import ChatScreen
from ftstudio.ui.compare.remedies import changed, remedies
from ftstudio.ui.compare.shots import ShotsDialog
from ftstudio.ui.compare.voting import VotesScreen
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, list[Question]]:
    """A resolved recipe and the questions of its forty held-out rows."""
    return made.asked(made.draft(tmp_path_factory.mktemp("animals")))


@pytest.fixture
def run(tmp_path: Path, asked: tuple[Recipe, list[Question]]) -> RunFolder:
    """A compared run; every answer says which arm it is from, which no answer of a model does."""
    recipe, rows = asked
    run = made.finished_run(Workspace(tmp_path / "studio"), recipe)
    made.compared(run, rows, base=lambda place, row: f"first {place}", tuned=lambda place, row: f"second {place}")
    made.report(run, rows)
    return run


def studio(run: RunFolder) -> StudioApp:
    session = Session(Workspace(run.path.parents[1]))
    session._worker = IdleWorker()  # type: ignore[assignment]
    session.view_run(run)
    return StudioApp(session, start="compare")


def screen(pilot: Any, kind: type[Any]) -> Any:
    assert isinstance(pilot.app.screen, kind)
    return pilot.app.screen


# -- votes -----------------------------------------------------------------------------------------------------------
async def test_votes_are_blind_kept_taken_back_and_gone_on_with(run: RunFolder) -> None:
    path = run.compare.path / NAME
    async with studio(run).run_test(size=(80, 24), notifications=True) as pilot:
        await made.until(pilot, "best gains first")
        await pilot.press("b")
        await made.until(pilot, "Which answer is better?")
        votes = screen(pilot, VotesScreen)
        assert not path.exists()
        for key in ("left", "right", "equals_sign", "x") * 2:
            text = made.screen_text(pilot)
            body = "\n".join(text.splitlines()[2:-1])  # without the strip, which names the run in view, and the keys
            assert not any(word in body for word in ("base", "tuned", run.name, "ROUGE"))
            shown = "first" if 0 <= body.find("first ") < body.find("second ") else "second"
            assert votes.book.ballot.sides(votes.row)[0] == {"first": "base", "second": run.name}[shown]
            row = votes.row
            await pilot.press(key)
            assert votes.row != row
        await pilot.press("u")
        assert votes.row == row
        await pilot.press("r")
        await made.until(pilot, "Show who is who?")
        await pilot.press("escape", "escape")
        await made.until(pilot, "best gains first")
        await pilot.press("b")
        await made.until(pilot, "7 votes of yours · 33 rows left")
        await pilot.press("r")
        await made.until(pilot, "There aren't enough votes to tell yet")
        await pilot.press("r")
        text = await made.until(pilot, "Blind votes: who is who")
        assert f"{run.name} won" in text
    lines = files.read_lines(path)
    assert [line["kind"] for line in lines] == ["ballot", *["vote"] * 8, "undo", "shown"]
    assert all(line["who"] and line["time"] for line in lines)
    book = Book(path, "base", run.name, lines[0]["who"])
    assert {row: vote.choice for (_, row), vote in book.votes.items()} == {
        line["row"]: line["choice"] for line in lines[1:8]
    }


async def test_the_screen_says_when_there_are_enough_votes(run: RunFolder) -> None:
    async with studio(run).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "best gains first")
        await pilot.press("b")
        text = await made.until(pilot, "not enough votes to tell yet")
        votes = screen(pilot, VotesScreen)
        for _ in range(8):  # 8 of 8: e = 28.4; 7 of 7: 16
            assert "enough votes to tell yet" in text
            left, _right = votes.book.ballot.sides(votes.row)
            await pilot.press("left" if left == run.name else "right")
            text = made.screen_text(pilot)
        assert "✓ enough votes to tell" in text
        assert votes.found.verdict == "better"


# -- which arms ------------------------------------------------------------------------------------------------------
async def test_arms_are_ticked_and_compared(run: RunFolder) -> None:
    app = studio(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "best gains first")
        await pilot.press("A")
        await made.until(pilot, "Which arms are compared?")
        await pilot.press("space", "enter")
        await made.until(pilot, "✗ 1 arm: a comparison has 2 to 4.")
        await pilot.press("space", "down", "down", "space", "plus", *"nonsense+1", "enter")
        await made.until(pilot, "behind + stand examples")
        await pilot.press("escape", "e")
        await made.until(pilot, "Which training rows")
        rows = screen(pilot, ShotsDialog)
        numbers = [rows.read(place)[0] for place in (2, 0)]
        await pilot.press("down", "down", "space", "up", "space", "space", "up", "space")  # one of them taken back
        await made.until(pilot, "2 chosen, shown in this order")
        await pilot.press("enter")
        await made.until(pilot, "2 rows of yours")
        await pilot.press("enter")
        await pilot.pause()
    wanted = ("base", "base+3shot", "tuned", f"base+row{numbers[0]}+row{numbers[1]}")
    assert app.session.worker.jobs == [Compare(run.compare.path, (run.path,), arms=wanted)]  # type: ignore[attr-defined]


# -- chat ------------------------------------------------------------------------------------------------------------
async def test_what_one_types_is_answered_through_files_and_kept_as_a_row(run: RunFolder) -> None:
    app = studio(run)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await made.until(pilot, "best gains first")
        await pilot.press("h")
        await made.until(pilot, "Nothing was said yet")
        await pilot.press(*"Why?", "enter")
        chat = screen(pilot, ChatScreen)
        folder = JobFolder(run.chats / "1")
        assert app.session.worker.jobs == [Chat(folder.path, (run.path,))]  # type: ignore[attr-defined]
        (turn,) = read_turns(folder.path)
        assert (turn.text, turn.arms, turn.settings.max_new_tokens) == ("Why?", ("base", run.name), 128)
        folder.claim()
        folder.emit("start", arms=["base", run.name], turn=1)
        folder.emit("phase", phase="answering", text="")
        stream, turns = files.LineWriter(folder.path / "stream.jsonl"), files.LineWriter(folder.path / "turns.jsonl")
        stream.append({"turn": 1, "arm": "base", "text": "Because [/b]", "tokens": 4, "seconds": 0.5})
        text = await made.until(pilot, "Because [/b]")
        assert "4 tokens · 8 tok/s" in text
        stream.append({"turn": 1, "arm": "base", "text": " of \x1b[2Jit", "tokens": 9, "seconds": 1.0})
        await made.until(pilot, "9 tokens · 9 tok/s")
        assert made.harmless(made.screen_text(pilot))
        await pilot.press("escape")
        assert [line["request"] for line in made.json_lines(folder.control_path)] == ["stop"]
        whole = {"kind": "answer", "turn": 1, "tokens": 9, "seconds": 1.0, "ended": True}
        turns.append(
            {**whole, "arm": "base", "text": "Because.", "stopped": True}, {**whole, "arm": run.name, "text": "So."}
        )
        folder.emit("done", turn=1)
        folder.release()
        text = await made.until(pilot, "So.")
        assert "stopped by you" in text
        await made.until(pilot, "enter sends")
        await pilot.press("ctrl+r")
        await made.until(pilot, "Which answer is the right one?")
        await pilot.press("up", "enter")  # what the tuned model said
        await made.until(pilot, "Kept as a row in")
        await pilot.press("up")
        assert chat.query_one("#chat-line").value == "Why?"
        await pilot.press("ctrl+n")
        await made.until(pilot, "Nothing was said yet")
        await pilot.press("ctrl+t")
        await made.until(pilot, "How the next turn is asked")
        await pilot.press("end", "backspace", "x", "enter")
        await made.until(pilot, "✗ a number from 0 to 10")
        await pilot.press("backspace", *"0.7", "enter")
        await made.until(pilot, "temperature 0.7, seed 0")
        await pilot.press("escape")
        await made.until(pilot, "best gains first")
    (kept,) = (run.path.parents[1] / "from-chat").glob("*.jsonl")
    assert json.loads(kept.read_text()) == {"prompt": "Why?", "completion": "So."}


# -- forgetting ------------------------------------------------------------------------------------------------------
async def test_a_remedy_opens_the_recipe_with_the_change(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    app = studio(run)
    went: list[str] = []
    monkeypatch.setattr(app, "action_go", went.append)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await made.until(pilot, "best gains first")
        await pilot.press("e")
        text = await made.until(pilot, "Much was forgotten: +0.118 bits a byte")
        assert "a smaller learning rate: 0.0002 → 0.0001" in text
        await pilot.press("r")
        await made.until(pilot, "The recipe of this run with a smaller learning rate")
        assert went == ["recipe"]
        assert app.session.recipe is not None
        assert app.session.recipe.training.learning_rate == pytest.approx(1e-4)
        assert app.session.recipe.resolved is None


def test_remedies_fit_the_recipe(asked: tuple[Recipe, list[Question]]) -> None:
    recipe = asked[0]
    assert list(remedies(recipe)) == ["rate", "replay", "shorter"]
    full = recipe.with_changes({"method": {"name": "full"}})
    found = remedies(full)
    assert next(iter(found)) == "adapter"
    assert changed(full, found["adapter"]).method.name == "lora"
    replay = changed(full, found["replay"], "wiki.txt").data.replay
    assert replay is not None
    assert (replay.path, replay.share) == ("wiki.txt", 0.05)
    assert changed(full, found["shorter"]).training.epochs == pytest.approx(1.5)
