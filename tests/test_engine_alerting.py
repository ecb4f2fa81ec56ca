"""Who set a command or an address for the night is told of a run that failed: once, with the reason. No torch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from ftstudio.core import ending
from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.watch import Watch
from ftstudio.engine import alerting, together
from ftstudio.engine.callback import RunDirector
from ftstudio.engine.control import Request
from ftstudio.engine.together import Leader
from ftstudio.engine.watchdog import Fault
from ftstudio.engine.worker import Worker


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(address, text) of what is told to the world."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(alerting, "tell", lambda watch, run, event: found.append((watch.webhook, event["text"])))
    return found


NIGHT = """\
task: sft
model: demo
method: lora
data: {train: demo}
training: {watch: {webhook: "http://127.0.0.1:9/x"}}
"""


def run_of(path: Path) -> RunFolder:
    """A run with somebody to be told of it."""
    run = RunFolder(path)
    run.path.mkdir(parents=True)
    run.recipe_path.write_text(NIGHT)
    return run


def test_a_run_that_fails_is_told_once(
    tmp_path: Path, heard: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(name: str, error: BaseException) -> tuple[str, list[str]]:
        run = run_of(tmp_path / name)

        def work(self: Any, job: Any, folder: JobFolder, *_: Any) -> None:
            if name == "alerted":
                alerting.emit(folder, Watch(webhook="http://127.0.0.1:9/x"), Fault("not_finite", str(error)), "stop", 3)
            raise error

        monkeypatch.setattr(Worker, "_work", work)
        Worker().execute(Train(run.path))
        told = [text for address, text in heard if address == "http://127.0.0.1:9/x"]
        heard.clear()
        return run.state(), told

    assert ends("bug", ValueError("a bug")) == ("failed", ["The run has failed: ValueError: a bug."])
    assert ends("memory", MemoryError()) == ("failed", ["The run has failed: There is not enough memory."])
    state, told = ends("alerted", StudioError("The loss is not a finite number (nan) at step 3."))
    assert (state, told) == ("failed", ["The loss is not a finite number (nan) at step 3. The run is stopped."])
    assert ends("stopped", Stopped("Stopped.")) == ("stopped", [])


def test_what_was_told_of_an_earlier_session_or_of_a_pause_hides_no_failure(
    tmp_path: Path, heard: list[tuple[str, str]]
) -> None:
    run, error = run_of(tmp_path / "run"), StudioError("The disk is full: x.")
    alerting.emit(run, Watch(), Fault("disk", error.message), "pause", 3)
    for _ in range(2):
        alerting.failed(run, error, 4)
        alerting.failed(run, error, 4)
        alerting.begins(run)
    assert [text for address, text in heard if address] == ["The run has failed: The disk is full: x."] * 2


def test_a_lost_process_is_told_before_this_one_ends(
    tmp_path: Path, heard: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Any] = []
    gone = StudioError("Rank 1 of 2 is gone.", "Resume it.")
    ranks: Any = SimpleNamespace(lost=lambda: [1], gone=lambda rank, folder: gone)
    run, control = run_of(tmp_path / "run"), SimpleNamespace()
    leader = Leader(run, control, every=None, save=100, first=6, watch=Watch(), ranks=ranks)  # type: ignore[arg-type]
    monkeypatch.setattr(together, "HANGS", -1.0)
    monkeypatch.setattr(together.os, "_exit", lambda code: ended.append((code, len(heard))))
    monkeypatch.setattr(alerting, "let_out", lambda: ended.append("waited"))
    leader.looked(None)
    leader.looked(None)
    assert ended == ["waited", (1, 1)]
    assert heard == [("http://127.0.0.1:9/x", "The run has failed: Rank 1 of 2 is gone.")]
    assert run.state() == "failed"


def test_weights_that_are_no_numbers_are_told_once_however_often_they_are_not_saved(
    tmp_path: Path, heard: list[tuple[str, str]]
) -> None:
    director = RunDirector(JobFolder(tmp_path), SimpleNamespace(), every=None, save=9, first=0)  # type: ignore[arg-type]
    director.unsound()
    director.unsound()
    assert [text for _, text in heard] == ["No checkpoint was written: the weights are no finite numbers any more."]


def test_every_warning_of_a_training_is_told(tmp_path: Path, heard: list[tuple[str, str]]) -> None:
    """What isn't one of the faults to watch for, too; what is only good to know isn't."""

    def failing(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    asked = [Request.of({"request": "learning_rate", "value": 7}), Request("evaluate")]
    control: Any = SimpleNamespace(poll=lambda now=False: asked, stopping=False)
    director = RunDirector(JobFolder(tmp_path), control, every=None, save=9, first=0, samples=failing)
    state = SimpleNamespace(global_step=3, max_steps=9)
    trainer: Any = SimpleNamespace(state=state, control=SimpleNamespace(should_save=False))
    director.trainer = trainer
    director.planned(3, 9)
    director.shrunk(2, 100, False)
    director.evaluated(trainer, {"loss": 1.0})
    director.recorder = SimpleNamespace(flush=lambda: None, trouble=StudioError("Full."))  # type: ignore[assignment]
    director.flush()
    director._alert("info", "good to know")
    written = [event for event in director.folder.events() if event["kind"] == "alert"]
    assert [text for _, text in heard] == [event["text"] for event in written[:-1]]
    assert len(heard) == 5
    assert [event["level"] for event in written] == ["warning"] * 5 + ["info"]


def test_a_training_has_no_other_way_to_tell_a_warning() -> None:
    folder = Path(alerting.__file__).parent
    for name in ("callback", "together", "training", "unasked", "deeds", "steering", "going_on"):
        assert 'emit("alert"' not in (folder / f"{name}.py").read_text(), name


def test_what_ends_at_once_still_lets_its_last_alert_out(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(ending, "abrupt", True)
    monkeypatch.setattr(ending, "before", [lambda: done.append("told")])
    monkeypatch.setattr(ending.os, "_exit", done.append)
    ending.end(1)
    assert done == ["told", 1]


def told_by(run: RunFolder, command: str, text: str = "The loss is not finite.") -> list[str]:
    """What RUN's alerts say once COMMAND was told of TEXT."""
    thread = alerting.tell(Watch(command=command), run, {"level": "error", "text": text, "step": 3})
    assert thread is not None
    thread.join(30)
    return [event["text"] for event in run.events() if event["kind"] == "alert"]


def test_the_command_is_a_line_for_the_shell_and_what_it_is_told_stands_in_its_environment_alone(
    tmp_path: Path,
) -> None:
    run, out, hostile = run_of(tmp_path / "run"), tmp_path / "out", '$(touch bad); "`touch bad`\n\0 [/b] ☃'
    line = f'cd {tmp_path}; printf "%s" "$FTSTUDIO_TEXT" > out; env | grep ^FTSTUDIO_ST >> out && touch x-$FTSTUDIO_RUN'
    assert told_by(run, line, hostile) == []
    assert out.read_text() == '$(touch bad); "`touch bad`\n␀ [/b] ☃FTSTUDIO_STEP=3\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run", "x-run"]


def test_a_command_that_fails_is_told_once_a_session_and_does_not_ring_itself(tmp_path: Path) -> None:
    run, rung = run_of(tmp_path / "run"), tmp_path / "rung"
    line = f'echo once >> {rung}; echo "no such channel [/]" >&2; exit 7'
    said = ["Nobody was told of an alert by training.watch.command: it ended with exit status 7 (no such channel [/])."]
    assert told_by(run, line) == said
    assert told_by(run, line) == said
    alerting.begins(run)
    assert told_by(run, line) == said * 2
    assert rung.read_text() == "once\n" * 3
    assert [event["level"] for event in run.events()] == ["warning"] * 2


def lives(process: int) -> bool:
    """Whether PROCESS runs; one that nobody waits for may stand in the table for long."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_may_leave_something_running_and_one_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path / "run")
    pid = tmp_path / "pid"
    monkeypatch.setattr(alerting, "TIMEOUT", 5.0)
    assert told_by(run, f"sleep 60 & echo $! > {pid}") == []  # though it holds on to what was inherited
    os.kill(int(pid.read_text()), signal.SIGKILL)
    monkeypatch.setattr(alerting, "TIMEOUT", 0.3)
    assert "it took longer than" in told_by(run, f"sleep 60 & echo $! > {pid}; wait")[0]
    for _ in range(500):
        if not lives(int(pid.read_text())):
            break
        time.sleep(0.02)
    assert not lives(int(pid.read_text()))  # nor does what it began
