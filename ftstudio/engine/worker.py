"""The worker: one thread of the studio's own process that takes jobs one at a time and keeps the base model loaded.

It never calls the screen. All it has to say stands in the job's folder: events, log, results.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.files import LineReader
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Answer, Chat, Compare, Job, Train, Unload
from ftstudio.core.run import RunFolder
from ftstudio.core.turn import QUEUE, Turn
from ftstudio.engine import fit, hardware, quiet
from ftstudio.engine.capture import Capture
from ftstudio.engine.context import JobContext
from ftstudio.engine.control import Control, Stops
from ftstudio.engine.lingering import Lingering
from ftstudio.engine.more_steps import longer
from ftstudio.engine.pulse import Pulse
from ftstudio.engine.weights import whole

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.models import ModelStore


LEFT = "Stopped before it began."


@dataclass
class _Queued:
    """A job and where its control.jsonl stood when it was queued: a stop asked for while it waits counts. A training
    has a TURN that other processes see."""

    job: Job
    requests: LineReader | None
    turn: Turn | None = None


class Worker:
    """Does jobs in the order they come. Never raises out of a job: failures are `failed` events.

    All methods may be called from any thread and return at once, but `join`, `stop` and `execute`. The thread is there
    as long as there is work: an idle studio closes at once, and a busy one's process stays until the work is done. What
    is loaded stays loaded.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._queue: collections.deque[_Queued] = collections.deque()
        self._expected: dict[Path, Turn] = {}  # of runs that will be handed over later
        self._thread: threading.Thread | None = None
        self._current: Job | None = None
        self._asked = Stops()  # of the current job
        self._closed = False
        self._lingering = Lingering()
        self._models: ModelStore | None = None
        self.refused: StudioError | None = None  # why a job wasn't begun: its folder can't tell
        self.last_error: StudioError | None = None  # why the last job failed, also where no event could be written

    # -- from outside --------------------------------------------------------------------------------------------
    def submit(self, job: Job) -> None:
        """Queue JOB. Raises StudioError once `stop` was called, and for a run that waits in another process."""
        queued = self._queued(job)
        with self._lock:
            if self._closed:
                if queued.turn is not None:
                    queued.turn.leave()
                raise StudioError("The studio is closing.", "Open it again.")
            self._queue.append(queued)
            if self._thread is None:
                # no daemon: after a hang-up the interpreter waits here until training has ended
                self._thread = threading.Thread(target=self._run, name="ftstudio-worker")
                self._thread.start()

    def expect(self, run: RunFolder) -> None:
        """RUN will be handed over later: from now on it waits for its turn here. Raises StudioError as `submit`."""
        turn = Turn(run)
        with self._lock:
            self._expected[run.path] = turn

    def expects(self, run: RunFolder) -> bool:
        """Whether it still does: no more once RUN was taken out of the queue, or handed over."""
        return run.path in self._expected

    @property
    def current(self) -> Job | None:
        """The job in work."""
        return self._current

    @property
    def waiting(self) -> tuple[Job, ...]:
        """Jobs not begun yet."""
        with self._lock:
            return tuple(queued.job for queued in self._queue)

    @property
    def busy(self) -> bool:
        """Whether anything is in work or waits."""
        with self._lock:
            return self._current is not None or bool(self._queue)

    @property
    def loaded(self) -> str | None:
        """The base model that is in memory, as its recipe names it."""
        return self._models.loaded if self._models is not None else None

    @property
    def keeps(self) -> bool:
        """Whether models may be in memory."""
        return self._models is not None

    def holds(self, recipe: Recipe) -> int | None:
        """Bytes of the models in memory that a training of RECIPE takes over or lets go of; None while a job is in
        work or waits: all that is held is another's by then."""
        models = self._models
        if models is None or self.busy:
            return None if models is not None else 0
        try:
            return models.holds(recipe)
        except RuntimeError:  # a job has begun meanwhile, and changes what was looked through
            return None

    def stop(self, timeout: float | None = None) -> bool:
        """Ask the current job to save and stop, drop those that wait, take no new ones, and wait until it has ended.

        True once it has; False where TIMEOUT seconds did not do. Called again it only waits: `ask_stop` insists.
        """
        with self._lock:
            closed, self._closed = self._closed, True
            turns = [queued.turn for queued in self._queue if queued.turn is not None] + [*self._expected.values()]
            self._queue.clear()
            self._expected.clear()
        for turn in turns:
            turn.leave()
        if not closed:
            self._asked.ask()
        return self.join(timeout)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until everything queued is done. False where TIMEOUT seconds did not do."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while self._thread is not None and self._thread is not threading.current_thread():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._lock.wait(left)
        return True

    def ask_stop(self) -> None:
        """Ask the current job to save and stop, or once more to; the worker stays for the next. Returns at once;
        signal-safe."""
        self._asked.ask()

    def execute(self, job: Job) -> None:
        """Do JOB in the calling thread (headless). Raises StudioError only where the job's folder can't be claimed."""
        if self._thread is not None:
            raise RuntimeError("this worker has a thread of its own")
        queued = self._queued(job)
        self._current = job
        try:
            self._do(queued, raising=True)
        finally:
            self._current = None

    # -- the thread ----------------------------------------------------------------------------------------------
    def _run(self) -> None:
        if not fit.gpus():  # on a GPU it only hands out work, and waits for its turn if others use the cores
            hardware.be_polite()
        while True:
            with self._lock:
                self._current = None
                if not self._queue:
                    self._thread = None
                    self._lock.notify_all()
                    return
                queued = self._queue.popleft()
                self._current = queued.job
                self._asked = Stops()
            try:
                self._do(queued, raising=False)
            except Exception as error:  # whatever it is, the jobs behind it and whoever waits are not to hang
                self.last_error = self.refused = StudioError(f"{type(error).__name__}: {error}", "See the log.")
                quiet.note(f"{queued.job}: {error!r}")

    def _do(self, queued: _Queued, *, raising: bool) -> None:
        job = queued.job
        if isinstance(job, Unload):
            self._forget()
            return
        folder = _folder(job)
        self._lingering.leave(folder.path)
        try:
            if queued.turn is not None:
                queued.turn.check()
            _refuse_again(job)
            folder.claim()
        except StudioError as error:
            self.last_error = self.refused = error
            if raising:
                raise
            # another process works on it: its events are not ours to write
            quiet.note(f"{folder.path}: {error}")
            return
        finally:
            if queued.turn is not None:  # not before it is the owner: somebody else may look in between
                queued.turn.leave()
        reader = queued.requests or folder.requests()
        control = Control(reader, self._asked)
        try:
            if control.should_stop():
                _left(folder)
                return
            telemetry = isinstance(job, Train)
            with Pulse(folder, telemetry=telemetry, beside=self._wait) as pulse, Capture.job(folder.log_path):
                try:
                    self._work(job, folder, control, pulse)
                except BaseException as error:
                    self._failed(folder, error)
                    if isinstance(error, (KeyboardInterrupt, SystemExit)) and raising:
                        raise
        finally:
            self._lingering.release(folder, stays=not raising)

    def _queued(self, job: Job) -> _Queued:
        """JOB with its turn, a new one where it is a training that wasn't expected."""
        if isinstance(job, Unload):
            return _Queued(job, None)
        if not isinstance(job, Train):
            return _Queued(job, _folder(job).requests())
        with self._lock:
            turn = self._expected.pop(job.folder, None)
        turn = turn or Turn(RunFolder(job.folder))
        return _Queued(job, turn.requests, turn)

    def _wait(self) -> None:
        """A sign of life of the runs that wait here, every few seconds; those that were asked to stop are taken out."""
        with self._lock:
            turns = [queued.turn for queued in self._queue if queued.turn is not None] + [*self._expected.values()]
        given_up = [turn for turn in turns if turn.given_up()]
        with self._lock:  # one may have begun in between
            waiting = {queued.turn: queued for queued in self._queue}
            for turn in given_up:
                if turn in waiting:
                    self._queue.remove(waiting[turn])
            expected = [path for path, turn in self._expected.items() if turn in given_up]
            left = [turn for turn in given_up if turn in waiting] + [self._expected.pop(path) for path in expected]
        for turn in turns:
            turn.beat()
        for turn in left:
            if turn.run.state() == "queued":  # else it tells already how far it came, and why no further
                with contextlib.suppress(StudioError):
                    turn.run.claim()
                    _left(turn.run)
                    turn.run.release()
            turn.leave()

    def _work(self, job: Job, folder: JobFolder, control: Control, pulse: Pulse) -> None:
        def phase(name: str, text: str) -> None:
            folder.emit("phase", phase=name, text=text)

        context = JobContext(
            folder=folder,
            models=self._store(folder),
            should_stop=control.should_stop,
            phase=phase,
            heartbeat=pulse.beat,
        )
        if isinstance(job, Train):
            from ftstudio.engine import alerting, training

            alerting.begins(folder)
            training.run(job, context, control, pulse)
        elif isinstance(job, Answer):
            from ftstudio.engine import answer

            answer.run(job, context)
        elif isinstance(job, Compare):
            from ftstudio.engine import compare

            compare.run(job, context)
        elif isinstance(job, Chat):
            from ftstudio.engine import chat

            chat.run(job, context)

    def _store(self, folder: JobFolder) -> ModelStore:
        """The model store; the first job imports the libraries, which takes seconds and is said."""
        folder.emit("phase", phase="loading libraries", text="torch, transformers, peft")
        quiet.libraries()
        hardware.apply_threads(hardware.threads())
        if self._models is None:
            from ftstudio.engine.models import ModelStore

            self._models = ModelStore()
        return self._models

    def _failed(self, folder: JobFolder, error: BaseException) -> None:
        """Tell how a job ended that did not end by itself, in its events and in its log; the traceback goes to the log
        alone."""
        from ftstudio.engine import alerting, trouble

        told = trouble.explain(error)
        self.last_error = told
        step = None
        with contextlib.suppress(StudioError, OSError):
            step = trouble.last_step(folder)
        if not isinstance(error, Stopped):
            quiet.failure(folder.log_path, error, told, step)
        with contextlib.suppress(StudioError, OSError):  # a full disk takes no event either; last_error tells it
            if folder.ended:  # what is missing is room to write so
                pass
            elif isinstance(error, Stopped):
                folder.emit("stopped", text=told.message, step=step)
            else:
                if isinstance(folder, RunFolder) and not isinstance(error, (KeyboardInterrupt, SystemExit)):
                    alerting.failed(folder, told, step)  # first: who waits for it needs no room on the disk
                folder.emit("failed", text=told.message, hint=told.hint, step=step)
        trouble.beyond_repair(error)
        if not isinstance(error, Stopped):
            trouble.drop_frames(error)
            self._forget()  # memory may be short, or a model half changed

    def _forget(self) -> None:
        if self._models is not None:
            with contextlib.suppress(Exception):  # a dead GPU must not keep the worker from going on
                self._models.unload()


def _left(folder: JobFolder) -> None:
    """Tell that the job in FOLDER, claimed by now, was taken out of the queue."""
    from ftstudio.engine import trouble

    folder.emit("stopped", text=LEFT, by=QUEUE, step=trouble.last_step(folder))


def _refuse_again(job: Job) -> None:
    """Raises StudioError for a run that waited here and was trained, or deleted, by somebody else meanwhile."""
    if not isinstance(job, Train):
        return
    run = RunFolder(job.folder)
    if not run.recipe_path.is_file():
        raise StudioError(f"{run.name} isn't there any more.", "It was deleted: the workspace's trash has it.")
    if run.state() == "done" and (not job.resume or (whole(run.model) and not longer(run))):
        raise StudioError(f"{run.name} is done: another process trained it.", f"ftstudio compare {run.name}")


def _folder(job: Train | Answer | Compare | Chat) -> JobFolder:
    return RunFolder(job.folder) if isinstance(job, Train) else JobFolder(job.folder)
