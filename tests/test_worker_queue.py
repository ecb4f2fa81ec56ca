"""The worker: jobs in order, failures told and survived, stops, folders claimed, libraries imported late."""

from __future__ import annotations

import errno
import gc
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from made_runs import waits_elsewhere

from ftstudio.core import files, turn
from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Answer, Compare, Train, Unload
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import quiet, resume, trouble
from ftstudio.engine.context import JobContext
from ftstudio.engine.worker import Worker

RECIPE = Recipe.model_validate({"model": "demo", "data": {"train": "demo"}})


class Script:
    """Stands in for the job modules: does what the job's folder name says."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def run(self, job: Any, context: JobContext) -> None:
        name = job.folder.name
        self.order.append(name)
        assert context.folder.owned_here
        self.begun.set()
        if name == "waits":
            assert self.go_on.wait(20)
        if name == "stoppable":
            while True:
                context.check()
                time.sleep(0.01)
        if name == "sentence":
            raise StudioError("It broke.", "Mend it.")
        if name == "bug":
            raise ZeroDivisionError("division by zero")
        print("printed by a library")
        context.folder.emit("done", name=name)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    from ftstudio.engine import answer, hardware, models  # noqa: F401  what its first job would import

    made = Script()
    monkeypatch.setattr(hardware, "be_polite", lambda: None)  # on a busy machine it would hardly ever come to its turn
    monkeypatch.setattr(answer, "run", made.run)
    monkeypatch.setattr(quiet, "libraries", lambda: None)
    return made


def job(tmp_path: Path, name: str) -> Answer:
    return Answer(tmp_path / name, RECIPE)


def state(tmp_path: Path, name: str) -> str:
    return JobFolder(tmp_path / name).state()


def last(tmp_path: Path, name: str) -> dict[str, Any]:
    return JobFolder(tmp_path / name).events()[-1]


def test_jobs_run_in_order_and_failures_do_not_end_the_worker(script: Script, tmp_path: Path):
    worker = Worker()
    names = ["waits", "bug", "sentence", "good"]
    for name in names:
        worker.submit(job(tmp_path, name))
    assert script.begun.wait(20)
    assert worker.busy
    assert worker.current == job(tmp_path, "waits")
    assert worker.waiting == tuple(job(tmp_path, name) for name in names[1:])
    script.go_on.set()
    assert worker.join(20)
    assert script.order == names
    assert not worker.busy
    assert worker.current is None
    assert [state(tmp_path, name) for name in names] == ["done", "failed", "failed", "done"]
    assert last(tmp_path, "sentence")["text"] == "It broke."
    assert last(tmp_path, "sentence")["hint"] == "Mend it."
    bug = last(tmp_path, "bug")
    assert bug["text"] == "ZeroDivisionError: division by zero."
    assert "log" in bug["hint"]
    log = (tmp_path / "bug" / "log.txt").read_text()
    assert "Traceback" in log
    assert log.splitlines()[-1].endswith("failed: ZeroDivisionError: division by zero.")
    assert re.fullmatch(r"[\d:]{8} failed: It broke\.\n  Mend it\.\n", (tmp_path / "sentence" / "log.txt").read_text())
    assert (tmp_path / "good" / "log.txt").read_text() == "printed by a library\n"
    assert all(JobFolder(tmp_path / name).owner() is None for name in names)
    worker.submit(job(tmp_path, "late"))  # it is there again for the next
    assert worker.join(20)
    assert worker.stop(20)
    with pytest.raises(StudioError, match="closing"):
        worker.submit(job(tmp_path, "too late"))


@pytest.mark.parametrize("how", ["file", "ask", "close", "while waiting"])
def test_a_stop_reaches_the_job(script: Script, tmp_path: Path, how: str):
    worker = Worker()
    folder = JobFolder(tmp_path / "stoppable")
    if how == "while waiting":
        worker.submit(job(tmp_path, "waits"))
        assert script.begun.wait(20)
    worker.submit(job(tmp_path, "stoppable"))
    if how == "while waiting":
        folder.request("stop")
        script.go_on.set()
    else:
        assert script.begun.wait(20)
        if how == "file":
            folder.request("stop")
        elif how == "ask":
            worker.ask_stop()
        else:
            worker.submit(job(tmp_path, "never begun"))
            assert worker.stop(20)
            assert not (tmp_path / "never begun").exists()
    assert worker.join(20)
    assert state(tmp_path, "stoppable") == "stopped"


def test_an_old_request_does_not_stop_a_new_job(script: Script, tmp_path: Path):
    JobFolder(tmp_path / "good").request("stop")
    worker = Worker()
    worker.execute(job(tmp_path, "good"))
    assert state(tmp_path, "good") == "done"


@pytest.mark.parametrize(("cards", "polite"), [(0, [1]), (2, [])])
def test_its_thread_comes_after_the_screen_where_it_computes_itself(
    script: Script, tmp_path: Path, cards: int, polite: list[int], monkeypatch: pytest.MonkeyPatch
):
    """Not where a GPU does: a thread that only launches its work would wait behind whatever else the machine does."""
    from ftstudio.engine import fit, hardware

    told: list[int] = []
    monkeypatch.setattr(fit, "gpus", lambda: cards)
    monkeypatch.setattr(hardware, "be_polite", lambda: told.append(1))
    worker = Worker()
    worker.submit(job(tmp_path, "good"))
    worker.join(20)
    assert script.order == ["good"]
    assert told == polite


def test_execute_runs_here_and_now(script: Script, tmp_path: Path):
    worker = Worker()
    worker.execute(job(tmp_path, "bug"))
    assert state(tmp_path, "bug") == "failed"
    assert worker.last_error is not None
    assert threading.active_count() == 1 or all("ftstudio-worker" not in t.name for t in threading.enumerate())
    worker.execute(Unload())


def test_a_folder_that_cant_be_made_ends_its_job_alone(script: Script, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudioError, match="file"):
        Worker().execute(job(tmp_path / "file", "good"))
    worker = Worker()
    worker.submit(job(tmp_path / "file", "good"))
    worker.submit(job(tmp_path, "good"))
    assert worker.join(20)
    assert not worker.busy
    assert worker.refused is not None
    assert state(tmp_path, "good") == "done"


@pytest.mark.parametrize("fate", ["trained", "deleted"])
def test_a_run_that_waited_too_long_is_not_trained_again(script: Script, tmp_path: Path, fate: str):
    """Another process trained it, or a person deleted it."""
    run = Workspace(tmp_path).new_run("late")
    if fate == "trained":
        run.recipe_path.write_text("model: demo\ndata: {train: demo}\n")
        run.emit("done", step=3)
    else:
        run.path.rmdir()
    worker = Worker()
    worker.submit(Train(run.path))
    assert worker.join(20)
    assert script.order == []
    assert worker.refused is not None
    assert run.path.exists() == (fate == "trained")


def prepared(tmp_path: Path, name: str) -> RunFolder:
    run = Workspace(tmp_path).new_run(name)
    run.recipe_path.write_text("model: demo\ndata: {train: demo}\n")
    return run


def beat(run: RunFolder) -> float:
    return (run.path / turn.FILE).stat().st_mtime


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are trained from now on."""
    from ftstudio.engine import training

    found: list[str] = []

    def run(job: Any, context: JobContext, *_: object) -> None:
        found.append(job.folder.name)
        assert turn.holder(job.folder) is None  # it waits no more
        context.folder.emit("done", step=1)

    monkeypatch.setattr(training, "run", run)
    return found


def test_a_run_that_waits_names_this_process_and_leaves_when_asked(
    script: Script, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from ftstudio.engine import pulse

    monkeypatch.setattr(pulse, "BEAT", 0.1)
    worker = Worker()
    first, out, later = (prepared(tmp_path, name) for name in ("first", "out", "later"))
    worker.submit(job(tmp_path, "waits"))
    assert script.begun.wait(20)
    worker.submit(Train(first.path))
    worker.submit(Train(out.path))
    worker.expect(later)
    assert all(holder is not None and holder.here for holder in map(turn.holder, (first.path, out.path, later.path)))
    os.utime(later.path / turn.FILE, (1.0, 1.0))
    out.request("pause")
    out.request("stop")
    end = time.monotonic() + 20
    while (out.state() != "stopped" or beat(later) == 1.0) and time.monotonic() < end:
        time.sleep(0.02)
    assert out.state() == "stopped"  # while the job before it still runs
    assert out.events()[-1]["by"] == turn.QUEUE
    assert beat(later) > 1.0
    assert worker.waiting == (Train(first.path),)
    assert worker.expects(later)
    script.go_on.set()
    assert worker.join(20)
    worker.submit(Train(later.path))
    assert worker.join(20)
    assert trained == ["first-1", "later-1"]
    assert not list(tmp_path.glob(f"runs/*/{turn.FILE}"))


def test_a_stop_asked_for_while_it_waited_ends_a_run_before_anything_is_loaded(
    script: Script, trained: list[str], tmp_path: Path
):
    worker, run = Worker(), prepared(tmp_path, "run")
    worker.submit(job(tmp_path, "waits"))
    assert script.begun.wait(20)
    worker.submit(Train(run.path))
    run.request("stop")
    script.go_on.set()
    assert worker.join(20)
    assert trained == []
    assert [event["kind"] for event in run.events()] == ["stopped"]


def test_a_run_that_waits_elsewhere_is_left_there_and_one_whose_process_is_gone_is_free(
    script: Script, trained: list[str], tmp_path: Path
):
    worker, run = Worker(), prepared(tmp_path, "run")
    where = waits_elsewhere(run)
    with pytest.raises(StudioError, match=f"waits for its turn in {where}"):
        worker.submit(Train(run.path))
    with pytest.raises(StudioError, match=f"waits for its turn in {where}"):
        Workspace(tmp_path).delete_run(run)
    claim = files.read_json(run.path / turn.FILE)
    files.write_json(run.path / turn.FILE, {**claim, "began": claim["began"] - 100})  # its number was given again
    assert turn.holder(run.path) is None
    worker.submit(Train(run.path))
    assert worker.join(20)
    assert trained == ["run-1"]


def test_closing_frees_what_waits(script: Script, trained: list[str], tmp_path: Path):
    worker, first, later = Worker(), prepared(tmp_path, "first"), prepared(tmp_path, "later")
    worker.submit(job(tmp_path, "stoppable"))
    assert script.begun.wait(20)
    worker.submit(Train(first.path))
    worker.expect(later)
    assert worker.stop(20)
    assert [turn.holder(run.path) for run in (first, later)] == [None, None]
    assert trained == []


def test_a_run_that_another_process_began_meanwhile_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from ftstudio.engine import training

    asked: list[bool] = []

    class Fake:
        def __init__(self, *_: object) -> None: ...

        def run(self, *, resuming: bool) -> None:
            asked.append(resuming)

    monkeypatch.setattr(training, "Training", Fake)
    monkeypatch.setattr(quiet, "libraries", lambda: None)
    run, fresh = prepared(tmp_path, "run"), prepared(tmp_path, "fresh")
    checkpoint = run.checkpoints / "checkpoint-14"
    checkpoint.mkdir(parents=True)
    resume.seal(checkpoint, step=14)
    for one in (run, fresh):
        Worker().execute(Train(one.path))
    assert asked == [True, False]
    assert any("goes on from there" in str(event.get("text")) for event in run.events())


def test_a_folder_in_other_hands_is_left_alone(script: Script, tmp_path: Path):
    other = JobFolder(tmp_path / "good")
    other.claim()
    with pytest.raises(StudioError, match="worked on"):
        Worker().execute(job(tmp_path, "good"))
    worker = Worker()
    worker.submit(job(tmp_path, "good"))
    assert worker.join(20)
    assert worker.last_error is not None
    assert script.order == []
    assert other.events() == []
    other.release()


def test_waiting_and_closing_an_idle_worker():
    worker = Worker()
    assert worker.join(1)
    assert worker.stop(1)
    assert not worker.busy


def test_join_with_a_limit_gives_up_and_can_be_called_again(script: Script, tmp_path: Path):
    worker = Worker()
    worker.submit(job(tmp_path, "waits"))
    assert script.begun.wait(20)
    assert not worker.join(0.05)
    script.go_on.set()
    assert worker.join(20)


def test_the_worker_imports_nothing_heavy_before_its_first_job():
    heavy = ("torch", "transformers", "peft", "datasets", "numpy")
    code = (
        "import sys, ftstudio.engine.worker as w; w.Worker(); from ftstudio.core import jobs;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_idle_worker_does_not_keep_the_process(script: Script, tmp_path: Path):
    worker = Worker()
    worker.submit(job(tmp_path, "good"))
    assert worker.join(20)
    for _ in range(100):  # its thread is at its very end
        if not [thread for thread in threading.enumerate() if thread.name == "ftstudio-worker"]:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("the thread is still there")


def test_heartbeats_go_on_while_the_job_computes(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ftstudio.engine import pulse

    beats: list[int] = []
    beat = JobFolder.beat

    def beating(folder: JobFolder) -> None:
        beats.append(1)
        if len(beats) == 1:
            raise RuntimeError("a bug")  # must not end the heartbeats
        beat(folder)

    monkeypatch.setattr(pulse, "BEAT", 0.2)
    monkeypatch.setattr(JobFolder, "beat", beating)
    worker = Worker()
    worker.submit(job(tmp_path, "waits"))
    assert script.begun.wait(20)
    first = JobFolder(tmp_path / "waits").owner()
    assert first is not None
    end = time.monotonic() + 10
    while time.monotonic() < end:
        now = JobFolder(tmp_path / "waits").owner()
        if now is not None and now.heartbeat > first.heartbeat:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("no heartbeat")
    assert "RuntimeError: a bug" in (tmp_path / "waits" / "log.txt").read_text()
    # another host takes over, as if this one had slept
    there = {**files.read_json(JobFolder(tmp_path / "waits").owner_path), "host": "elsewhere", "token": "its own"}
    files.write_json(JobFolder(tmp_path / "waits").owner_path, there)
    seen, until = len(beats), time.monotonic() + 10
    while len(beats) < seen + 2 and time.monotonic() < until:
        time.sleep(0.05)
    events = JobFolder(tmp_path / "waits").events()
    script.go_on.set()
    assert worker.join(20)
    assert JobFolder(tmp_path / "waits").events() == events  # neither done nor failed
    assert files.read_json(JobFolder(tmp_path / "waits").owner_path) == there
    assert "was taken over by process" in str(worker.last_error)


@pytest.mark.parametrize(
    ("error", "text", "hint"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "GPU memory", "batch_size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory", "batch_size"),
        (MemoryError(), "not enough memory", "batch_size"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED in cublasCreate"), "GPU memory", "qlora"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED"), "GPU memory", "qlora"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "GPU memory", "qlora"),
        (RuntimeError("CUDA error: device-side assert triggered"), "GPU reported", "open it again"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "disk is full: /x/y", "space"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "Permission denied: /x/y", "owns"),
        (ModuleNotFoundError("No module named 'z'", name="z"), "library z is missing", "doctor"),
        (KeyError("text"), "KeyError", "log"),
    ],
)
def test_exceptions_become_one_sentence_and_a_way_out(error: Exception, text: str, hint: str):
    told = trouble.explain(error)
    assert text in told.message
    assert hint in told.hint
    assert "\n" not in str(told)
    assert trouble.out_of_memory(error) == ("emory" in text)
    assert trouble.of_gpu(error) == (text == "GPU reported")


def test_a_known_error_is_told_as_it_is():
    error = Stopped("Stopped.", "Kept.")
    assert trouble.explain(error) is error


def test_train_and_compare_are_dispatched(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ftstudio.engine import compare, training

    seen = []
    monkeypatch.setattr(training, "run", lambda job, context, control, pulse: seen.append(type(job)))
    monkeypatch.setattr(compare, "run", lambda job, context: seen.append(type(job)))
    worker = Worker()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "recipe.yaml").write_text("model: demo\n")
    worker.execute(Train(tmp_path / "a"))
    worker.execute(Compare(tmp_path / "b", ()))
    assert seen == [Train, Compare]


def test_what_stays_for_good_is_not_looked_through_when_memory_is_given_back():
    assert gc.isenabled()
    with quiet.unwatched():
        assert not gc.isenabled()
        kept: list[object] = [{}]
    assert gc.isenabled()
    later: list[object] = [{}]
    watched = {id(one) for one in gc.get_objects()}
    assert id(later) in watched
    assert id(kept) not in watched
    with pytest.raises(ImportError), quiet.unwatched():
        raise ImportError("no torch here")
    assert gc.isenabled()
