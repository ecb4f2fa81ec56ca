"""The story of a run as its events tell it, and the workspace."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ftstudio.cli.train import next_lines
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.files import LineWriter, write_lines
from ftstudio.core.folder import JobFolder
from ftstudio.core.run import RunFolder, Story, smoothed, state_word, trained_text
from ftstudio.core.workspace import Workspace, in_trash, slug
from ftstudio.ui.runs.catalogue import Follower
from ftstudio.ui.runs.cells import cells_of
from ftstudio.ui.shell.strip import MARKS
from ftstudio.ui.train import steer
from ftstudio.ui.train.actions import COMPARE, working
from ftstudio.ui.train.notice import notice


def test_a_resumed_run_replaces_what_the_lost_steps_wrote() -> None:
    story = Story()
    story.feed([{"kind": "start", "time": 0, "total_steps": 10, "resumed_from": None}])
    story.feed({"kind": "step", "time": n, "step": n, "loss": 5.0 - n} for n in range(1, 6))
    story.feed([{"kind": "start", "time": 9, "total_steps": 10, "resumed_from": 3}])
    story.feed({"kind": "step", "time": 9 + n, "step": n, "loss": 1.0} for n in range(4, 7))
    assert story.curves["loss"] == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0), (5, 1.0), (6, 1.0)]
    assert (story.step, story.total_steps, story.loss) == (6, 10, 1.0)


def test_before_its_first_step_a_resumed_run_stands_where_it_goes_on_from() -> None:
    story = Story()
    story.feed([{"kind": "start", "time": 0, "total_steps": 10, "steps_per_epoch": 2, "resumed_from": None}])
    for n in range(1, 7):
        story.feed([{"kind": "step", "time": n, "step": n, "loss": 5.0 - n, "lr": 0.1, "eta": 60 - n, "epoch": n / 2}])
        story.feed([{"kind": kind, "step": n, "loss": 6.0 - n, "change": n} for kind in ("eval", "forgetting")])
    story.feed([{"kind": "start", "time": 9, "total_steps": 10, "steps_per_epoch": 2, "resumed_from": 4}])
    assert (story.step, story.loss, story.eta, story.last_step["epoch"]) == (4, 1.0, None, 2.0)
    assert (story.evaluation["step"], story.forgetting["change"], story.eval_loss) == (4, 4, 2.0)
    story.feed([{"kind": "telemetry", "time": 10, "process_ram": 1 << 30}])
    assert story.curves["memory"] == [(4, float(1 << 30))]  # no later than the step that comes
    story.feed([{"kind": "start", "time": 11, "total_steps": 10, "steps_per_epoch": 2, "resumed_from": 0}])
    assert (story.step, story.loss, story.last_step, story.evaluation, story.forgetting) == (0, None, {}, {}, {})


def test_what_is_measured_twice_at_a_step_counts_once() -> None:
    story = Story()
    evaluation = [{"kind": kind, "step": 0, "index": 0, "loss": 3.0, "change": 0.0} for kind in ("eval", "forgetting")]
    asked = [*evaluation, {"kind": "sample", "step": 0, "index": 0}, {"kind": "sample", "step": 0, "index": 1}]
    story.feed([{"kind": "start", "total_steps": 10, "resumed_from": None}, *asked])
    story.feed([{"kind": "start", "total_steps": 10, "resumed_from": 0}])  # begun again: no checkpoint was there
    assert (story.curves["eval_loss"], story.samples, story.best) == ([], [], None)
    story.feed([*asked, *asked])  # while it pauses a person may evaluate twice
    assert story.curves["eval_loss"] == [(0, 3.0)]
    assert (story.curves["forgetting"], story.best) == ([(0, 0.0)], (0, 3.0))
    assert [sample["index"] for sample in story.samples] == [0, 1]


def test_alerts_of_an_earlier_session_are_no_longer_how_it_stands() -> None:
    story = Story()
    begin = [{"kind": "phase", "phase": "loading libraries"}, {"kind": "phase", "phase": "preparing data"}]
    train = [{"kind": "start", "resumed_from": None}, {"kind": "phase", "phase": "training"}]
    story.feed([*begin, *train, {"kind": "alert", "text": "old"}])
    assert [alert["text"] for alert in story.alerts_now] == ["old"]
    story.feed([{"kind": "start", "resumed_from": 3}, {"kind": "phase", "phase": "training"}])  # it went back by itself
    assert [alert["text"] for alert in story.alerts_now] == ["old"]
    story.feed([begin[0], {"kind": "alert", "text": "new"}, begin[1], *train])
    assert [alert["text"] for alert in story.alerts_now] == ["new"]
    assert [alert["text"] for alert in story.alerts] == ["old", "new"]


@pytest.mark.parametrize("end", [{"kind": "stopped", "time": 30}, {"kind": "step", "time": 30, "step": 2, "loss": 1.0}])
def test_the_night_between_two_sessions_is_no_time_of_the_run(end: dict[str, object]) -> None:
    """The first stopped or was killed; measuring goes on in a thread of its own."""
    story = Story()
    story.feed(
        [
            {"kind": "phase", "time": 0, "phase": "loading libraries"},
            {"kind": "phase", "time": 4, "phase": "preparing data"},
        ]
    )
    story.feed(
        [{"kind": "start", "time": 5, "resumed_from": None}, {"kind": "phase", "time": 6, "phase": "training"}, end]
    )
    assert story.seconds == 30
    story.feed([{"kind": "telemetry", "time": 5000}, {"kind": "phase", "time": 5001, "phase": "preparing data"}])
    story.feed([{"kind": "start", "time": 5003, "resumed_from": 2}, {"kind": "step", "time": 5010, "step": 3}])
    assert story.seconds == 30 + 9
    story.feed([{"kind": "step", "time": 1010, "step": 4}, {"kind": "step", "time": 1012, "step": 5}])  # clock set back
    assert story.seconds == 30 + 9 + 2


@pytest.mark.parametrize("end", [{"kind": "failed", "time": 1006, "text": "No such file"}, {"kind": "telemetry"}])
@pytest.mark.parametrize("first", [True, False])
def test_nor_is_that_after_a_session_that_ended_before_it_trained(end: dict[str, object], first: bool) -> None:
    """It failed, or was killed, while it prepared its data; so may the first of them all."""
    story = Story()

    def begins(at: int) -> list[dict[str, object]]:
        told = [{"kind": "phase", "time": at, "phase": "loading libraries"}]
        return [*told, {"kind": "phase", "time": at + 6, "phase": "preparing data"}]

    if first:
        story.feed([*begins(0), {"kind": "start", "time": 10}, {"kind": "phase", "time": 10, "phase": "training"}])
        story.feed([{"kind": "step", "time": 60, "step": 1, "loss": 1.0}])
    story.feed([*begins(1000), end, *begins(86400), {"kind": "start", "time": 86410, "resumed_from": 1}])
    assert story.seconds == 60 * first + 6 + 10
    story.feed([{"kind": "failed", "time": 86411}, {"kind": "phase", "time": 99999, "phase": "preparing data"}])
    assert story.seconds == 60 * first + 6 + 11


def test_a_run_that_paused_by_itself_says_why() -> None:
    story = Story()
    alert = {"kind": "alert", "level": "error", "action": "pause", "step": 4, "text": "The disk is full. It is paused."}
    story.feed([{"kind": "step", "step": 4, "loss": 2.0}, {**alert, "hint": "Free some space."}])
    story.feed([{"kind": "alert", "level": "info", "text": "something else"}, {"kind": "phase", "phase": "paused"}])
    said = notice(story, "paused", waits_for=None, asked="", resumable="")[2]
    assert said == "The disk is full. It is paused. Free some space. · p goes on"
    story.feed([{"kind": "step", "step": 5, "loss": 2.0}])
    said = notice(story, "paused", waits_for=None, asked="", resumable="")[2]
    assert said == "paused at step 5; the model stays loaded · p goes on"


def test_an_alert_of_a_pause_is_over_once_the_run_has_gone_on() -> None:
    """As the events of a run whose disk took no `paused` and no `training` have it."""
    story = Story()
    alert = {"kind": "alert", "level": "error", "action": "pause", "step": 40, "text": "The disk is full."}
    alert |= {"hint": "The run is paused. Free some space, then resume."}
    story.feed([{"kind": "step", "step": 40, "loss": 2.0}, alert])

    def said() -> tuple[str, str, str]:
        return notice(story, "running", waits_for=None, asked="", resumable="")

    assert "The run is paused" in said()[2]
    story.feed([{"kind": "step", "step": 41, "loss": 2.0}])  # it may have been under way
    assert "The run is paused" in said()[2]
    story.feed([{"kind": "step", "step": 42, "loss": 2.0}])
    assert said() == ("warn", "!", "1 alert (!)")
    story.feed([{"kind": "phase", "phase": "paused"}])
    assert "paused at step 42" in notice(story, "paused", waits_for=None, asked="", resumable="")[2]


def test_a_run_that_paused_at_the_step_after_the_alert_says_why_until_it_goes_on() -> None:
    """What another thread sees while a step is taken, such as a hot GPU, is done after that step."""
    hot = {"kind": "alert", "level": "error", "action": "pause", "step": 4, "text": "GPU 0 is slowed down by heat."}
    step = {"kind": "step", "loss": 2.0}
    looked = [{"kind": "phase", "phase": phase} for phase in ("evaluating", "measuring forgetting", "paused")]
    pause, goes_on = {"kind": "phase", "phase": "paused"}, {"kind": "phase", "phase": "training"}

    def said(*more: dict[str, Any]) -> str:
        story = Story()
        story.feed([{"kind": "start"}, {**step, "step": 4}, hot, {**step, "step": 5}, *more])
        return notice(story, "paused", waits_for=None, asked="", resumable="")[2]

    assert said(pause) == "GPU 0 is slowed down by heat. · p goes on"
    assert said(goes_on, pause) == "GPU 0 is slowed down by heat. · p goes on"  # after an evaluation of that step
    assert said(pause, *looked) == "GPU 0 is slowed down by heat. · p goes on"
    for again in ([goes_on], [{**step, "step": 6}], [{"kind": "start", "resumed_from": 5}]):
        assert said(pause, *again, pause) == "paused at step 5; the model stays loaded · p goes on".replace(
            "step 5", "step 6" if again[0]["kind"] == "step" else "step 5"
        )


@pytest.mark.parametrize("jump", [7200.0, -7200.0])
def test_a_clock_that_is_set_while_it_runs_changes_nothing_of_how_long_it_ran(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the night between two sessions, also for who reads but the file's ends."""
    wall, ticks = [1e9], [50.0]
    monkeypatch.setattr("time.time", lambda: wall[0])
    monkeypatch.setattr("time.monotonic", lambda: ticks[0])
    made = RunFolder(tmp_path)

    def emit(seconds: float, kind: str, set_by: float = 0.0, **fields: Any) -> None:
        wall[0], ticks[0] = wall[0] + seconds + set_by, ticks[0] + seconds
        made.emit(kind, **fields)

    made.claim()
    emit(0, "phase", phase="loading libraries")
    emit(5, "start", resumed_from=None, total_steps=9)
    emit(10, "step", step=1, loss=2.0)
    emit(10, "step", jump, step=2, loss=2.0)
    emit(5, "stopped", step=2)
    made.release()
    expected = 30.0
    for _ in range(2):
        story = Story()
        story.feed(made.events())
        assert story.seconds == Follower(made).summary().seconds == expected
        wall[0], ticks[0] = wall[0] + 40_000, ticks[0] + 40_000
        with monkeypatch.context() as patch:
            patch.setattr("ftstudio.core.skimmed.Skimmed.read", lambda self: pytest.fail("all events are read"))
            made.claim()
            emit(1, "phase", phase="loading libraries")
            emit(9, "start", resumed_from=2, total_steps=9)
            emit(20, "telemetry", -jump)
            made.release()
        expected += 30 - 1  # of a session its first event begins the count
    story.feed(made.events())
    assert story.seconds == expected
    monkeypatch.undo()
    old = RunFolder(tmp_path / "old")  # of a version that told only when
    write_lines(old.events_path, [{"kind": "phase", "time": 0, "phase": "loading libraries"}])
    LineWriter(old.events_path).append(*({"kind": "step", "time": n, "step": n, "loss": 1.0} for n in range(60)))
    assert 59 <= old.emit("phase", phase="loading libraries")["ran"] < 69


@pytest.mark.parametrize(
    ("losses", "collapsed", "mark", "told"),
    [
        ([2.786, 6.931], True, "!", "collapsed: held-out 6.931 (best was 2.786 at step 0) · enter compares"),
        ([2.786, 1.25, 1.302], False, "✓", "held-out 1.302 (best was 1.250 at step 10)"),
        ([2.786, 1.300, 1.302], False, "✓", "held-out 1.302 · enter compares"),
        ([], False, "✓", "done: saved · enter compares"),
    ],
)
def test_a_run_that_ends_worse_than_it_was_says_so(
    losses: list[float], collapsed: bool, mark: str, told: str, tmp_path: Path
) -> None:
    """In the same word and with the same mark on Train, in Runs, on the strip and in `ftstudio runs`."""
    story = Story()
    end = {"kind": "done", "path": "model", **({"collapsed": True} if collapsed else {})}
    story.feed({"kind": "eval", "step": 10 * n, "loss": loss} for n, loss in enumerate(losses))
    run = RunFolder(tmp_path / "run")
    run.emit(**end)  # type: ignore[arg-type]
    row = Follower(run).summary()
    assert cells_of(row)[0][0] == f"{mark} {row.word}"
    assert row.word == ("collapsed" if collapsed else "done") == state_word("done", run.summary()["collapsed"])
    assert MARKS[row.word] == mark
    story.feed([end])
    story.feed([{"kind": "alert", "level": "warning", "text": "It jumped.", "hint": "Lower the rate."}])
    assert notice(story, "running", waits_for=None, asked="", resumable="")[1:] == ("!", "It jumped. Lower the rate.")
    found = notice(story, "done", waits_for=None, asked="", resumable="")
    assert found[1] == mark
    assert told in found[2]


def test_a_warning_makes_room_again_and_an_error_stays_until_it_is_read() -> None:
    def told(story: Story, read: int = 0) -> str:
        return notice(story, "running", waits_for=None, asked="", resumable="", read=read)[2]

    story = Story()
    story.feed([{"kind": "alert", "time": 100.0, "level": "warning", "text": "Three rows are empty."}])
    story.feed([{"kind": "telemetry", "time": 130.0}])
    assert told(story) == "Three rows are empty."
    assert told(story, read=1) == "1 alert (!)"
    story.feed([{"kind": "telemetry", "time": 161.0}])
    assert told(story) == "1 alert (!)"
    story.feed([{"kind": "alert", "time": 170.0, "level": "error", "text": "Not finite."}])
    story.feed([{"kind": "telemetry", "time": 999.0}])
    assert told(story) == told(story, read=1) == "Not finite."
    assert told(story, read=2) == "2 alerts (!)"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"kind": "stopped", "path": "model", "step": 20}, "stopped at step 20 of 50"),
        ({"kind": "stopped", "path": "model", "step": 20, "model_step": 10}, "the best checkpoint kept, step 10 of 50"),
        ({"kind": "done", "path": "model", "step": 50, "model_step": 10}, "the best checkpoint kept, step 10 of 50"),
        ({"kind": "done", "path": "model", "step": 50}, ""),
    ],
)
def test_a_run_with_a_model_is_compared_and_its_step_said(tmp_path: Path, end: dict[str, Any], words: str) -> None:
    """On Train, in Runs, at the end of `ftstudio train` and in the report: also one that was stopped, or stopped
    early."""
    run = RunFolder(tmp_path / "run")
    run.emit("start", total_steps=50)
    for step in (10, 20):
        run.emit("step", step=step, loss=1.0)
        run.emit("eval", step=step, loss=0.5 + step / 100)
    assert not steer.comparable(run, "stopped")
    assert COMPARE not in working("stopped", log=False, samples=False)
    run.model.mkdir()
    run.emit(**end)
    story = Story()
    story.feed(run.events())
    assert trained_text(story.trained) == words
    assert steer.comparable(run, run.state())
    assert COMPARE in working(run.state(), log=False, samples=False, model=True)
    said = notice(story, run.state(), waits_for=None, asked="", resumable="goes on", comparable=True)[2]
    assert "enter compares" in said
    lines = "\n".join(next_lines(run, story))
    assert "best held-out 0.600 at step 10" in lines
    assert words in lines
    assert f"ftstudio compare {run.name}" in lines
    assert ("--resume" in lines) == (end["kind"] == "stopped")
    story.feed([{"kind": "start", "total_steps": 50, "resumed_from": 20}, {"kind": "failed", "text": "It broke."}])
    said = notice(story, "failed", waits_for=None, asked="", resumable="", comparable=True)[2]
    assert words in said
    assert "enter compares" in said


def test_best_and_last_evaluation() -> None:
    story = Story()
    story.feed({"kind": "eval", "time": n, "step": n, "loss": loss} for n, loss in ((10, 2.0), (20, 1.5), (30, 1.7)))
    assert (story.best, story.eval_loss) == ((20, 1.5), 1.7)


def test_foreign_events_and_absent_values_do_no_harm() -> None:
    story = Story()
    story.feed([{"kind": "novelty", "time": 1}, {"kind": "step", "step": 1, "loss": None}, {}])
    assert story.loss is None
    assert "loss" not in story.curves


@given(st.floats(-1e3, 1e3), st.integers(1, 50), st.floats(0.0, 0.99))
def test_smoothing_a_constant_gives_the_constant(value: float, count: int, beta: float) -> None:
    assert all(math.isclose(v, value, abs_tol=1e-6) for _, v in smoothed([(i, value) for i in range(count)], beta))


def test_a_deleted_runs_name_stays_its_own(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    first = place.new_run("demo")
    with pytest.raises(UsageError, match="empty"):
        place.run("")
    compare = first.compare
    compare.claim()
    with pytest.raises(StudioError, match="worked on"):
        place.delete_run(first)
    compare.release()
    owner = JobFolder(first.chats / "1")
    owner.claim()
    with pytest.raises(StudioError, match="worked on"):
        place.delete_run(first)
    owner.release()
    place.delete_run(first)
    assert place.new_run("demo").name == "demo-2"


@pytest.mark.parametrize("text", ["", "task: [", "- a", "task: {a: 1}\nmethod: {}\nmodel: 3", None])
def test_a_run_that_waits_tells_nothing_where_its_recipe_is_none(tmp_path: Path, text: str | None) -> None:
    run = Workspace(tmp_path).new_run("later")
    if text is not None:
        run.recipe_path.write_text(text)
    assert run.planned() == {}
    assert run.summary()["task"] is None


def test_two_runs_of_one_name_never_share_a_folder(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    runs = [place.new_run("Tickets qlora") for _ in range(3)]
    assert [run.name for run in runs] == ["tickets-qlora-1", "tickets-qlora-2", "tickets-qlora-3"]


def test_runs_are_found_by_name_beginning_path_and_last(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    for stem in ("alpha", "beta"):
        run = place.new_run(stem)
        run.recipe_path.write_text("task: sft\n")
    assert place.run("alp").name == "alpha-1"
    assert place.run(str(tmp_path / "runs" / "beta-1")).name == "beta-1"
    with pytest.raises(UsageError, match="alpha-1"):
        place.run("gamma")


def test_a_deleted_run_lies_in_the_trash(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    run = place.new_run("x")
    run.recipe_path.write_text("task: sft\n")
    trash = place.delete_run(run)
    assert (trash / "recipe.yaml").is_file()
    assert place.runs() == []


@pytest.fixture
def built(tmp_path: Path) -> dict[str, RunFolder]:
    """Runs of which some stand on the first: by its model's folder, by its name, through a link; and one that doesn't,
    though its recipe has the name in it."""
    place = Workspace(tmp_path / "a place with blanks in its name, longer than a line of a recipe is allowed to be")
    runs = {stem: place.new_run(stem) for stem in ("first", "second", "third", "fourth", "fifth", "sixth")}
    first = runs["first"]
    first.model.mkdir()
    (tmp_path / "link").symlink_to(place.path)
    recipes: dict[str, dict[str, Any]] = {
        "first": {"model": "demo", "name": "first-1"},
        "second": {"model": str(first.model)},
        "third": {"model": f"run:{first.name}"},
        "fourth": {
            "model": "demo",
            "evaluation": {"similarity": str(tmp_path / "link" / "runs" / "first-1" / "model")},
        },
        "fifth": {"model": str(first.path.with_name("first-10") / "model"), "name": "after first-1"},
        "sixth": {"model": "demo"},
    }
    for stem, recipe in recipes.items():
        with runs[stem].recipe_path.open("w") as file:
            YAML().dump(recipe, file)
    return runs


def test_a_run_that_others_stand_on_is_not_deleted(built: dict[str, RunFolder]) -> None:
    first = built["first"]
    place = Workspace(first.path.parents[1])
    for stem, named in (
        ("second", "fourth-1, second-1, third-1 stand"), ("third", "fourth-1, third-1 stand"), ("fourth", "fourth-1 s"),
    ):  # fmt: skip
        with pytest.raises(StudioError, match=named) as caught:
            place.delete_run(first)
        assert first.name in str(caught.value)
        assert "Delete" in caught.value.hint
        assert first.recipe_path.is_file()
        place.delete_run(built[stem])
    assert place.delete_run(first).is_dir()
    assert {run.name for run in place.runs()} == {"fifth-1", "sixth-1"}


def test_what_was_deleted_is_said_to_lie_in_the_trash(tmp_path: Path) -> None:
    from ftstudio.engine.locate import locate

    place = Workspace(tmp_path)
    run, other = place.new_run("x"), place.new_run("x-1")
    for one in (run, other, place.new_run("x-1")):
        one.recipe_path.write_text("task: sft\n")
        one.model.mkdir()
    lies = place.delete_run(run)
    for wanted in (lambda: place.run("x-1"), lambda: locate(str(run.model))):
        with pytest.raises(StudioError, match="deleted") as caught:
            wanted()
        assert f"lies in {lies}" in str(caught.value)
        assert str(run.path) in caught.value.hint
    assert in_trash(run.model) == lies / "model"
    assert in_trash(other.model) is None
    with pytest.raises(StudioError, match=r"no model at .*y-1/model\. Check"):
        locate(str(tmp_path / "runs" / "y-1" / "model"))
    shutil.move(lies, run.path)
    assert place.run("x-1").name == "x-1"
    assert in_trash(run.model) is None


def test_names_for_files() -> None:
    assert slug("Größe / ../x") == "gr-e-x"
    assert slug("///") == "run"
