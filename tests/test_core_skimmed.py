"""A run's figures are the same whether all its events are read or most of them passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_runs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftstudio.core.run import TIMED, RunFolder, Story
from ftstudio.core.skimmed import Skimmed
from ftstudio.core.workspace import Workspace
from ftstudio.ui.runs import catalogue
from ftstudio.ui.runs.catalogue import Follower

FIGURES = ("step", "total_steps", "loss", "eval_loss", "started", "seconds", "eta", "start", "last_state", "failure",
           "collapsed", "phase")  # fmt: skip


def figures(story: Story) -> dict[str, Any]:
    return {name: round(value, 6) if name == "seconds" and (value := getattr(story, name)) else getattr(story, name)
            for name in FIGURES}  # fmt: skip


def as_line(kind: str, time: float, **fields: Any) -> str:
    return json.dumps({"kind": kind, "time": time, **fields}, separators=(",", ":")) + "\n"


@st.composite
def histories(draw: st.DrawFn) -> list[str]:
    """The lines of a run of a few sessions: steps taken again, evaluations, telemetry, a clock that is set back."""
    lines, time, step, total = [], 1000.0, 0, 40
    knows = draw(st.booleans())  # how long it ran by a clock of its own

    def line(kind: str, time: float, **fields: Any) -> str:
        ran = {"ran": 5.0 + len(lines)} if knows and kind in TIMED else {}
        return as_line(kind, time, **fields, **ran)

    for session in range(draw(st.integers(1, 4))):
        time += draw(st.sampled_from([0.0, 5.0, 86400.0]))
        if session == 0 and draw(st.booleans()):
            lines.append(line("telemetry", time, cpu=1.0, gpus=[{"use": 1.0}]))
        lines.append(line("phase", time, phase="loading libraries", text=""))
        back = draw(st.integers(0, step))
        resumed = back if back and draw(st.booleans()) else None
        lines.append(line("start", time + 1, total_steps=total, steps_per_epoch=10, task="sft", resumed_from=resumed))
        lines += [line("phase", time + 1, phase="training", text="")] * draw(st.integers(0, 1))
        step, time = resumed or 0, time + 1
        for what in draw(st.lists(st.sampled_from("sssssstttepcnzo"), max_size=25)):
            time += draw(st.sampled_from([0.25, 1.0, 1.0, -0.5, -3600.0])) if what in "st" else 0.0
            if what == "s":
                step += 1
                loss = draw(st.sampled_from([1.0 / step, 1.0 / step, None]))
                lines.append(line("step", time, step=step, loss=loss, sources={"a": 1.0}, eta=40.0 - step))
            elif what == "t":
                lines.append(line("telemetry", time, cpu=step / 10, gpus=[{"use": 1.0}]))
            elif what == "e":
                lines.append(line("eval", time, step=step, loss=2.0 / (step + 1)))
                lines.append(line("sample", time, step=step, index=0, prompt='"kind":"step"', output="}"))
            elif what == "o":
                step += 1
                lines.append(line("alert", time, level="info", text="", passed_over=step))
            elif what == "p":
                lines.append(line("phase", time, phase=draw(st.sampled_from(["paused", "training"])), text=""))
            elif what == "c":
                total += 10
                lines.append(line("steer", time, step=step, what="steps", value=total, why="as asked"))
            elif what == "n":
                torn = line("step", time, step=999, loss=9.0, eta=1.0)
                lines.append(torn[: draw(st.integers(1, len(torn) - 2))] + "\n")
            else:
                lines.append(json.dumps({"time": time, "step": step, "kind": "step", "loss": 3.0}) + "\n")
        end = draw(st.sampled_from([None, None, "done", "failed", "stopped"]))
        if end:
            lines.append(line(end, time + 1, step=step, text="Why."))
    return lines


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=histories(), cuts=st.lists(st.integers(0, 100), max_size=3))
def test_passing_over_lines_changes_no_figure_however_they_come(
    lines: list[str], cuts: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.unlink(missing_ok=True)
    path.touch()
    skimmed, told = Skimmed(path), Story()
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(lines)], strict=True):
        with path.open("a") as file:
            file.writelines(lines[begin:end])
        for one in lines[begin:end]:
            try:
                told.feed([json.loads(one)])
            except ValueError:
                continue
        assert figures(skimmed.read()) == figures(told)


def test_a_run_resumed_the_next_day_and_made_longer_is_told_alike_everywhere(tmp_path: Path) -> None:
    """In Runs, among the runs to lay over and by the command: what came after the first `start` counts, too."""
    run = Workspace(tmp_path).new_run("long")
    lines = [as_line("start", 0.0, total_steps=100, resumed_from=None)]
    lines += [as_line("step", float(step), step=step, loss=2.0) for step in range(1, 61)]
    lines += [as_line("eval", 60.5, step=40, loss=0.9), as_line("eval", 60.5, step=60, loss=0.5)]
    lines += [as_line("phase", 86400.0, phase="loading libraries")]
    lines += [as_line("start", 86402.0, total_steps=100, resumed_from=50)]
    lines += [as_line("step", 86402.0 + step, step=50 + step, loss=1.0) for step in range(1, 6)]
    lines += [as_line("steer", 86408.0, step=55, what="steps", value=200, why="as asked")]
    run.events_path.write_text("".join(lines))
    found, told = Follower(run).summary(), run.summary()
    assert (found.step, found.total_steps, found.eval_loss, found.seconds) == (55, 200, 0.9, 60.5 + 8.0)
    names = {"step": "steps"}
    for name in ("step", "total_steps", "loss", "eval_loss", "started", "seconds", "state"):
        assert getattr(found, name) == told[names.get(name, name)]


def test_a_live_run_grows_and_another_file_in_its_place_is_read_anew(tmp_path: Path) -> None:
    run = made_runs.begin(Workspace(tmp_path), "live")
    made_runs.steps(run, 1, 30)
    follower = Follower(run)
    assert (follower.summary().step, follower.summary().eta) == (30, 170 * 0.2)
    made_runs.steps(run, 31, 35)
    made_runs.evaluation(run, 35)
    assert follower.summary().step == 35
    assert follower.summary().eval_loss == run.summary()["eval_loss"]
    other = RunFolder(tmp_path / "other")
    other.emit("start", total_steps=7)
    other.events_path.replace(run.events_path)
    assert (follower.summary().step, follower.summary().total_steps) == (0, 7)


def test_a_first_look_reads_no_run_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    small = made_runs.begin(workspace, "small")
    made_runs.steps(made_runs.begin(workspace, "large"), 1, 50)
    monkeypatch.setattr(catalogue, "LARGE", small.events_path.stat().st_size)
    rows = catalogue.Catalogue(workspace)
    assert not rows.scan(60.0)
    assert [(row.name, row.state) for row in rows.rows] == [("large-1", ""), ("small-1", "interrupted")]
    assert rows.scan()
    assert [row.step for row in rows.rows] == [50, 0]
