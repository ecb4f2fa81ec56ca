"""A job run headless: the same worker as under the studio, told line by line from its events."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.cli.output import Out
from ftstudio.core import steered
from ftstudio.core.errors import StudioError
from ftstudio.core.files import LineReader
from ftstudio.core.folder import STATE_KINDS, JobFolder
from ftstudio.core.launch import place
from ftstudio.core.text import duration, number, one_line

if TYPE_CHECKING:
    from ftstudio.core.jobs import Job
    from ftstudio.core.run import RunFolder
    from ftstudio.engine.worker import Worker

POLL_SECONDS = 0.1
LINE_SECONDS = 5.0  # a line of progress at most this often, and every hundredth of the time it takes
MOST_SECONDS = 60.0  # but this often in any case
PROGRESS = ("training", "answering", "judging", "evaluating", "generating samples")  # phases that progress tells of
EXIT = {"done": 0, "stopped": 130}


class Headless:
    """Runs jobs one after the other in this process. Signals: the first asks for a stop, the second once more, so that
    it waits for no room on a full disk, the third ends this process.

    A hang-up of the terminal lets go of it and goes on.
    """

    def __init__(self, out: Out) -> None:
        self.out = out
        self._worker: Worker | None = None
        self._folder: JobFolder | None = None
        self._signals = 0
        self._launched = not place().alone

    def __enter__(self) -> Headless:
        from ftstudio.engine.capture import Capture
        from ftstudio.engine.worker import Worker

        self._capture = Capture.install()
        self._worker = Worker()
        self._before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGINT, self._stop),
                (signal.SIGTERM, self._stop),
                (signal.SIGHUP, self._hangup),
            )
        }
        return self

    def __exit__(self, *_: object) -> None:
        assert self._worker is not None
        self._worker.stop()  # its thread waits for more otherwise, and so would the interpreter
        for which, handler in self._before.items():
            # a launcher ends what is left of it when one process has ended: this one is about to, by itself
            signal.signal(which, signal.SIG_IGN if self._launched else handler)
        self._capture.restore()

    def _stop(self, which: int = signal.SIGTERM, *_: object) -> None:
        self._signals += 1
        if self._folder is None:
            raise KeyboardInterrupt
        assert self._worker is not None
        if self._signals > 1 and self._launched:
            return  # a launcher hands on what this process got already, and insists by SIGKILL after a while
        if self._signals > 2:
            signal.signal(which, signal.SIG_DFL)
            os.kill(os.getpid(), which)  # as if it were killed: the last whole checkpoint is gone on from
        elif self._signals > 1:
            self.out.say("Asked once more: it ends without waiting for room on a disk (a third time ends it at once) …")
            self._worker.ask_stop()
        else:
            insist = "" if self._launched else " (again to insist)"
            self.out.say(f"Stopping: saving what was done{insist} …")
            try:
                self._folder.request("stop")
            except StudioError:  # a full disk takes no request
                self._worker.ask_stop()

    def _hangup(self, *_: object) -> None:
        if self._launched:
            self._stop()  # the launcher hung up, and will kill what it launched
            return
        self.out.let_go()
        with contextlib.suppress(OSError):
            self._capture.release_terminal()

    def _say_unwritten(self, teller: Teller) -> None:
        """What a full disk kept from being an event so far; TELLER needn't say it again once it is one."""
        alerting = sys.modules.get("ftstudio.engine.alerting")
        unwritten = getattr(alerting, "UNWRITTEN", None)  # none yet while the worker is still importing it
        while unwritten:
            text = unwritten.popleft()
            teller.said_before.append(text)
            self.out.say(f"  {one_line(text, 400)}")

    def expect(self, run: RunFolder) -> None:
        """RUN comes later: till then everybody sees that it waits for its turn here. Raises StudioError where it waits
        elsewhere."""
        assert self._worker is not None
        self._worker.expect(run)

    def expects(self, run: RunFolder) -> bool:
        """Whether RUN is still to come: no more once somebody took it out."""
        return self._worker is not None and self._worker.expects(run)

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked this process to stop."""
        return self._signals > 0

    def run(self, job: Job, folder: Path, *, quiet: bool = False) -> dict[str, Any]:
        """Do JOB and give back its last event (`done`, `stopped` or `failed`)."""
        assert self._worker is not None
        self._folder = JobFolder(folder)
        teller = Teller(self.out, quiet=quiet)
        try:
            offset = self._folder.events_path.stat().st_size
        except OSError:
            offset = 0
        reader = LineReader(self._folder.events_path, offset)
        last: dict[str, Any] = {}
        self._worker.submit(job)
        while True:
            busy = self._worker.busy  # asked before reading: what it wrote last is then surely read
            for event in reader.poll():
                teller.tell(event)
                if event.get("kind") in STATE_KINDS:
                    last = event
            self._say_unwritten(teller)
            if not busy:
                break
            time.sleep(POLL_SECONDS)
        self._folder = None
        if last.get("kind") not in ("done", "stopped", "failed"):
            notice = getattr(self._worker, "last_error", None)
            if isinstance(notice, StudioError):
                raise notice
            raise StudioError("The worker ended without a word.", f"See {Path(folder) / 'log.txt'}.")
        return last


class Teller:
    """Events as lines of text. Progress is told every five seconds, more rarely the longer it takes."""

    def __init__(self, out: Out, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.out, self.quiet = out, quiet
        self._clock = clock
        self._began = clock()
        self._next = self._began
        self._said = self._progressed = ""
        self._paused = False
        self.said_before: list[str] = []  # alerts that were said before they could be written
        self._total: int | None = None

    def tell(self, event: dict[str, Any]) -> None:
        """Say EVENT where it is worth a line."""
        if self.quiet:
            return
        handler = getattr(self, f"_{event.get('kind')}", None)
        if handler is not None:
            handler(event)

    def _due(self, last: bool) -> bool:
        """Whether progress may be told again; the LAST of it always is."""
        now = self._clock()
        if now < self._next and not last:
            return False
        self._next = now + min(MOST_SECONDS, max(LINE_SECONDS, (now - self._began) / 100))
        return True

    def _start(self, event: dict[str, Any]) -> None:
        self._total = event.get("total_steps")
        if self._total is None:
            return
        rows, tokens, weights = event.get("rows") or {}, event.get("tokens") or {}, event.get("parameters") or {}
        self.out.say(
            f"  {number(rows.get('train'))} rows, {number(rows.get('eval'))} held out · "
            f"{number(tokens.get('trained'))} of {number(tokens.get('total'))} tokens trained, "
            f"{number(tokens.get('lost'))} lost to max_length · "
            f"{number(weights.get('trainable'))} of {number(weights.get('total'))} parameters learn"
        )
        if (event.get("processes") or 1) > 1:
            hosts = ", ".join(str(host) for host in event.get("hosts") or ())
            self.out.say(f"  {event['processes']} processes learn each step together, on {one_line(hosts, 120)}")
        levers = event.get("engine")
        if isinstance(levers, dict):  # the reasons, after the colon, are in the log
            short = " · ".join(f"{name} {str(what).split(':')[0]}" for name, what in levers.items())
            self.out.say(f"  {one_line(short, 300)}")
        if event.get("resumed_from"):
            self.out.say(f"  resumed from step {event['resumed_from']}")

    def _phase(self, event: dict[str, Any]) -> None:
        phase, text = str(event.get("phase") or ""), str(event.get("text") or "")
        if self._paused and phase == "training":
            self.out.say("  going on")
        if phase in ("paused", "training", "stopping"):  # in a pause one may save and evaluate
            self._paused = phase == "paused"
        if phase in PROGRESS or (phase == "saving" and text.startswith("checkpoint")):
            return  # other lines tell that
        line = one_line(f"{phase}: {text}" if text else phase, 300)
        if line and line != self._said:
            self._said = line
            self.out.say(f"  {line}")

    def _steer(self, event: dict[str, Any]) -> None:
        if event.get("what") == "steps" and isinstance(event.get("value"), (int, float)):
            self._total = int(event["value"])
        if what := steered.what(event):
            self.out.say(f"  step {event.get('step')}  {what}")

    def _step(self, event: dict[str, Any]) -> None:
        if not self._due(event.get("step") == self._total):
            return
        total = f"/{self._total}" if self._total else ""
        speed = event.get("tokens_per_second")
        self.out.say(
            f"  step {event.get('step')}{total}  loss {number(event.get('loss'))}"
            + (f"  {speed:,.0f} tok/s" if speed else "")
            + f"  ETA {duration(event.get('eta'))}"
        )

    def _eval(self, event: dict[str, Any]) -> None:
        self.out.say(f"  step {event.get('step')}  held-out loss {number(event.get('loss', event.get('eval_loss')))}")

    def _checkpoint(self, event: dict[str, Any]) -> None:
        reason = str(event.get("reason") or "")
        if not reason.startswith("every "):  # those of the rhythm come and come
            self.out.say(
                f"  step {event.get('step')}  checkpoint saved" + (f" ({one_line(reason, 60)})" if reason else "")
            )

    def _progress(self, event: dict[str, Any]) -> None:
        done, total = event.get("done"), event.get("total")
        line = f"{one_line(event.get('arm') or 'answers', 60)} {done}/{total}"
        if line != self._progressed and self._due(done == total):  # a slow answer is no news each time it is looked at
            self._progressed = line
            self.out.say(f"  {line}" + (f"  ETA {duration(event['eta'])}" if event.get("eta") else ""))

    def _alert(self, event: dict[str, Any]) -> None:
        if event.get("text") in self.said_before:
            self.said_before.remove(event["text"])
            return
        self.out.say(f"  {one_line(event.get('level') or 'info', 20)}: {one_line(event.get('text'), 600)}")
