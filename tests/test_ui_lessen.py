"""`f` on the review acts only where the estimate falls, says else what would help, and is taken back by `u`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from screens import IdleWorker, press, shown, until
from textual.pilot import Pilot

from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.engine import fit
from ftstudio.engine.plan import plan
from ftstudio.engine.recipes import check_recipe
from ftstudio.ui.recipe import lessen
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.screen import RecipeScreen
from ftstudio.ui.recipe.step_review import _percent, _plan_lines
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

DEMO = {"task": "sft", "model": "demo", "data": {"train": "demo"}, "method": {"name": "lora"},
        "training": {"batch_size": 8}}  # fmt: skip


def there(monkeypatch: pytest.MonkeyPatch, total: int, free: int | None = None) -> None:
    device = {"name": "main memory", "total": total, "free": total if free is None else free}
    monkeypatch.setattr(fit, "there", lambda *_: [dict(device)])


async def review(pilot: Pilot[Any]) -> RecipeScreen:
    """The wizard on its last step, with the plan there."""
    await until(pilot, "1 Data")
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RecipeScreen)
    end = time.monotonic() + 30
    while screen.at < 5 and time.monotonic() < end:
        if screen.panel.ready:
            await pilot.press("enter")
        await pilot.pause(0.05)
    await until(pilot, "to train on", 30)
    return screen


def studio(folder: Path, values: dict[str, Any]) -> StudioApp:
    session = Session(Workspace(folder / "studio"), check_recipe(values))
    session._worker = IdleWorker()  # type: ignore[assignment]
    return StudioApp(session, "recipe")


async def heard(pilot: Pilot[Any], text: str) -> str:
    """Wait until the screen says TEXT, however it is wrapped beside what else stands there; fails with the screen."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        notices = [str(toast.render()) for toast in pilot.app.screen.query("Toast")]
        if text in " ".join(" ".join([*notices, shown(pilot.app)]).split()):
            return " ".join(notices)
        await pilot.pause(0.05)
    raise AssertionError(f"{text!r} is not said:\n{shown(pilot.app)}")


async def test_a_run_that_fits_is_made_less_only_on_a_second_press_and_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(monkeypatch, 64 << 30)
    async with studio(tmp_path, DEMO).run_test(size=(120, 40), notifications=True) as pilot:
        screen = await review(pilot)
        before = screen.draft.plain()
        text = await until(pilot, "main memory: fits")
        assert "u undo" not in text
        await press(pilot, "f")
        await heard(pilot, "nothing needs to be less")
        assert screen.draft.plain() == before
        await press(pilot, "f")
        await heard(pilot, "u takes it back")
        assert screen.draft.get("training.batch_size") == 4
        assert screen.draft.get("training.gradient_accumulation") == 2
        await until(pilot, "u undo")
        await press(pilot, "u")
        await heard(pilot, "Taken back: training.batch_size")
        assert screen.draft.plain() == before
        await until(pilot, "u undo", gone=True)


async def test_where_the_weights_alone_do_not_fit_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(monkeypatch, 1 << 20)
    values = {**DEMO, "method": {"name": "full"}}
    async with studio(tmp_path, values).run_test(size=(120, 40), notifications=True) as pilot:
        screen = await review(pilot)
        before = screen.draft.plain()
        text = await until(pilot, "main memory: doesn't fit")
        assert "f looks" not in text
        await press(pilot, "f")
        assert "Use method qlora or lora, a smaller model" in await heard(pilot, "a smaller batch doesn't help")
        assert screen.draft.plain() == before


async def test_a_plan_that_does_not_fit_is_made_less_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, 64 << 30, 1 << 20)  # others hold the memory
    async with studio(tmp_path, DEMO).run_test(size=(120, 40), notifications=True) as pilot:
        screen = await review(pilot)
        await until(pilot, "f looks for what takes less")
        await press(pilot, "f")
        await heard(pilot, "u takes it back")
        assert screen.draft.get("training.batch_size") == 4


def planned(*estimates: int | None) -> Any:
    """A planner whose plans estimate so much, one after another."""
    left = list(estimates)
    return lambda recipe: {"memory": {"estimated_bytes": left.pop(0)}, "of": recipe}


def test_only_what_lowers_the_estimate_is_done() -> None:
    recipe = check_recipe(DEMO)
    now = {"memory": {"estimated_bytes": 1000 << 20}}
    assert lessen.find(recipe, now, True, planned(1004 << 20, 1000 << 20)) is None
    found = lessen.find(recipe, now, True, planned(1004 << 20, 900 << 20))
    assert found is not None
    assert fit.changed(recipe, found.recipe) == {"training.gradient_checkpointing": True}
    assert "1.0 GiB → 900.0 MiB estimated" in found.told
    found = lessen.find(recipe, now, True, planned(800 << 20))
    assert found is not None
    assert fit.changed(recipe, found.recipe) == {"training.batch_size": 4, "training.gradient_accumulation": 2}
    found = lessen.find(recipe, {"memory": {}}, True, planned(None))
    assert found is not None
    assert "can't be estimated" in found.told
    least = recipe.with_changes({"training.batch_size": 1, "training.gradient_checkpointing": True})
    assert lessen.find(least, now, True, planned()) is None


def test_the_plan_names_only_what_takes_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(total: int, free: int, recipe: Recipe) -> tuple[dict[str, Any], str]:
        there(monkeypatch, total, free)
        found = plan(recipe)
        return found["memory"], " ".join(one["hint"] for one in found["problems"] if "fit" in one["text"])

    recipe = check_recipe(DEMO)
    memory, hint = told(64 << 30, 1 << 20, recipe)
    assert memory["smaller"].startswith("training.batch_size 4")
    assert " instead of " in memory["smaller"]
    assert hint.startswith("Try training.batch_size 4")
    memory, hint = told(1 << 20, 1 << 20, recipe)
    assert (memory["smaller"], memory["beyond"]) == ("", True)
    assert "method qlora" in hint
    memory, _ = told(64 << 30, 64 << 30, recipe)
    assert (memory["smaller"], memory["beyond"]) == ("", False)


def test_what_a_person_changed_since_is_not_taken_back() -> None:
    draft = Draft({**DEMO, "training": {"batch_size": 8, "gradient_checkpointing": None}})
    changes = lessen.Changes(draft)
    before = draft.plain()
    assert not changes.take_back()
    changes.make({"training.batch_size": 4, "training.gradient_accumulation": 2})
    changes.make({"training.gradient_checkpointing": True})
    assert changes.take_back() == ["training.gradient_checkpointing"]
    draft.set("training.batch_size", 2)
    assert changes.take_back() == ["training.gradient_accumulation"]
    assert draft.plain() == {**before, "training": {"batch_size": 2, "gradient_checkpointing": None}}
    changes.make({"training.batch_size": 1})
    draft.set("model", "another")
    assert not changes.there


@pytest.mark.parametrize(
    ("share", "told"), [(100.0, "100 %"), (99.99, "100 %"), (9.97, "10 %"), (9.5, "9.5 %"), (0.1273, "0.13 %")]
)
def test_a_share_of_the_weights_in_words(share: float, told: str) -> None:
    assert _percent(share) == told


def test_full_fine_tuning_learns_all() -> None:
    lines = _plan_lines({"parameters": {"total": 984_192, "trainable": 984_192}}, 100)
    assert "984,192 learn (100 %)" in "".join(text for line in lines for text, _ in line)
