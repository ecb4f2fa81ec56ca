"""A run: one training from one recipe, as its folder tells it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftstudio.core.folder import STATE_KINDS, JobFolder
from ftstudio.core.steered import LONGER
from ftstudio.core.turn import holder

TIMED = frozenset(("start", "step", "telemetry", *STATE_KINDS))  # events that tell how long the run has run by then


class RunFolder(JobFolder):
    """recipe.yaml, checkpoints/, model/, compare/ and errors/ beside what every job has."""

    _session: tuple[float, float] | None = None  # seconds before this session, and when it began (never jumps)

    def claim(self) -> None:
        """See JobFolder. A session begins."""
        super().claim()
        self._session = None

    def emit(self, kind: str, **fields: Any) -> dict[str, Any]:
        """See JobFolder. `ran`: seconds in all sessions so far, by a clock that nobody can set."""
        if kind in TIMED:
            fields = {"ran": round(self._ran(), 3), **fields}
        return super().emit(kind, **fields)

    def _ran(self) -> float:
        if self._session is None:
            from ftstudio.core.skimmed import Skimmed

            told = [event["ran"] for event in self._tail() if isinstance(event.get("ran"), (int, float))]
            before = told[-1] if told else Skimmed(self.events_path).read().seconds  # none told: an earlier version
            self._session = (before or 0.0, time.monotonic())
        before_it, began = self._session
        return before_it + time.monotonic() - began

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, one folder each: `checkpoint-<n>`, valid once it holds `complete.json`; `aside-<n>` is
        one that the run didn't go on from (damaged, or gone back behind), kept until it has come as far again."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The tuned model or adapter, there once the run has saved it."""
        return self.path / "model"

    @property
    def compare(self) -> JobFolder:
        """The comparison of base and this run."""
        return JobFolder(self.path / "compare")

    @property
    def test(self) -> JobFolder:
        """The same on the rows that are kept apart for the test."""
        return JobFolder(self.path / "test")

    def compared_on(self, part: str) -> JobFolder:
        """The comparison on the rows of PART: `eval` or `test`."""
        return self.test if part == "test" else self.compare

    @property
    def chats(self) -> Path:
        """Folder of the conversations with this run, a folder each, named by number."""
        return self.path / "chat"

    @property
    def errors(self) -> JobFolder:
        """The tuned model's answers on the held-out rows."""
        return JobFolder(self.path / "errors")

    def values(self) -> dict[str, Any]:
        """What its recipe holds, unchecked. Empty where none is read."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            recipe = YAML(typ="safe").load(self.recipe_path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError, YAMLError):
            return {}
        return recipe if isinstance(recipe, dict) else {}

    def planned(self) -> dict[str, str]:
        """Task, method and model by its recipe: of a run that waits or hasn't got as far. Empty where none is read."""
        found = self.values()
        method = found.get("method")
        method = method.get("name") if isinstance(method, dict) else method
        told = {"task": found.get("task"), "method": method, "model": found.get("model")}
        return {name: value for name, value in told.items() if isinstance(value, str)}

    def summary(self) -> dict[str, Any]:
        """What `ftstudio runs --json` tells of it."""
        from ftstudio.core.skimmed import Skimmed  # a Story in short: it stands on this module

        return self.summary_of(Skimmed(self.events_path).read())

    def summary_of(self, story: Story) -> dict[str, Any]:
        """The same, from a STORY already read."""
        start = story.start or self.planned()
        return {
            "run": self.name,
            "path": str(self.path),
            "state": self.state(story.last_state or {}),
            "collapsed": story.collapsed,
            "task": start.get("task"),
            "method": start.get("method"),
            "model": start.get("model"),
            "steps": story.step,
            "total_steps": story.total_steps,
            "loss": story.loss,
            "eval_loss": story.eval_loss,
            "started": story.started,
            "seconds": story.seconds,
            "waits_in": waits.named if (waits := holder(self.path)) is not None else None,
        }


JUDGED_ON = "judged_on"  # in `eval` events: stands for the rows that the held-out loss is of, see `engine.same_rows`
FIRST_PHASES = ("loading libraries", "preparing data")  # with which a process that trains begins


@dataclass
class Story:
    """What the events of a run tell so far; fed with events as they come, the same for live and old runs.

    Loss is in nats a token. `points` are (step, value) lists for each curve, with what a resumed run wrote again
    replacing what the lost steps had written: from its `start` on, all is as after the step it goes on from. The curve
    `memory` is in bytes: all GPUs, without one this process;
    `gpu_use` is the cards' mean in percent; `forgetting` is in bits a byte more than the base, `kl` in nats a token,
    `source NAME` the training loss of one source of a mix, `held-out source NAME` its held-out loss.
    """

    start: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    steers: list[dict[str, Any]] = field(default_factory=list)  # changes of learning rate and length
    telemetry: dict[str, Any] = field(default_factory=dict)
    readings: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=120))  # the last telemetry events
    evaluation: dict[str, Any] = field(default_factory=dict)
    forgetting: dict[str, Any] = field(default_factory=dict)
    last_step: dict[str, Any] = field(default_factory=dict)
    last_state: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    done: dict[str, Any] | None = None
    saved: dict[str, Any] | None = None  # the end of the session that saved the model which is there
    phase: str = ""
    pausing: dict[str, Any] | None = None  # the last alert that pauses it, until it trains again
    started: float | None = None
    last_time: float | None = None
    best: tuple[int, float] | None = None
    best_speed: float | None = None  # the most tokens a second, over some steps: single ones differ in their rows
    version: int = 0
    evaluated: int = 0  # evaluations told so far, those of lost steps and of the same step among them
    _earlier: int = 0  # alerts of sessions before this one
    _ran: float | None = None  # seconds in all sessions, as the last event that knows told
    _passed: float = 0.0  # of events that don't: seconds from one to the next
    _rested: bool = False  # it has paused since it trained last
    _idle: float = 0.0  # those of them between its sessions
    _over: bool = False  # its last session has told how it ended
    _active: float | None = None  # of its last event but telemetry, which a thread of its own writes
    _speed: float | None = None
    _evaluations: list[dict[str, Any]] = field(default_factory=list)
    _measured: list[dict[str, Any]] = field(default_factory=list)  # of forgetting

    STEP_CURVES = ("loss", "lr", "grad_norm", "tokens_per_second", "mfu")

    def feed(self, events: Iterable[dict[str, Any]]) -> None:
        """Take in EVENTS, in the order they were written."""
        for event in events:
            self.version += 1
            kind = event.get("kind")
            moment = event.get("time", self.last_time)
            if moment is not None and self.last_time is not None:
                self._passed += max(0.0, moment - self.last_time)  # a clock that is set back takes nothing away
            self.last_time = moment
            if isinstance(event.get("ran"), (int, float)):
                self._ran = float(event["ran"])
            if self.started is None:
                self.started = event.get("time")
            if kind in STATE_KINDS:
                self.last_state = event
                self._over = self._over or kind != "phase"
            if kind in ("done", "stopped") and event.get("path"):
                self.saved = event
            handler = getattr(self, f"_{kind}", None)
            if handler is not None:
                handler(event)
            if kind != "telemetry":
                self._active = self.last_time

    def _start(self, event: dict[str, Any]) -> None:
        self.start = event
        self.failure = self.done = self.pausing = None
        resumed = event.get("resumed_from")
        kept = resumed if isinstance(resumed, int) and resumed > 0 else -1  # else begun afresh, with an evaluation
        for name, points in self.curves.items():
            self.curves[name] = [point for point in points if point[0] <= kept]
        self.samples = [sample for sample in self.samples if sample.get("step", 0) <= kept]
        self._evaluations = [one for one in self._evaluations if (one.get("step") or 0) <= kept]
        self._measured = [one for one in self._measured if (one.get("step") or 0) <= kept]
        self.evaluation = self._evaluations[-1] if self._evaluations else {}
        self.best = self._best()
        self.forgetting = self._measured[-1] if self._measured else {}
        if self.step > kept:
            self.last_step = self._as_after(kept)

    def _as_after(self, step: int) -> dict[str, Any]:
        """What the event of STEP told, as far as the curves hold it; how long the rest takes isn't among that."""
        if step <= 0:
            return {}
        last = {name: self.curves[name][-1][1] for name in self.STEP_CURVES if self.curves.get(name)}
        return {"step": step, **self._epoch(step), **last}

    def _epoch(self, step: int) -> dict[str, Any]:
        per_epoch = self.start.get("steps_per_epoch")
        return {"epoch": round(step / per_epoch, 4)} if isinstance(per_epoch, int) and per_epoch else {}

    def _phase(self, event: dict[str, Any]) -> None:
        phase = event.get("phase", "")
        begins = phase == FIRST_PHASES[0] or (phase in FIRST_PHASES and (self._over or self.phase not in FIRST_PHASES))
        if begins and self.start:
            self._earlier = len(self.alerts)
        if begins and self._active is not None and self.last_time is not None:
            self._idle += max(0.0, self.last_time - self._active)
        if phase == "training":
            self._trains()
        self._rested = self._rested or phase == "paused"
        self.phase, self._over = phase, False

    def _trains(self) -> None:
        if self._rested:
            self.pausing, self._rested = None, False

    def _step(self, event: dict[str, Any]) -> None:
        self._trains()
        paused, step = (self.pausing or {}).get("step"), event.get("step")
        if isinstance(paused, int) and isinstance(step, int) and step > paused + 1:
            self.pausing = None  # the step after it may have been under way; that it rested was never written
        self.last_step = event
        speed = event.get("tokens_per_second")
        if isinstance(speed, (int, float)):
            self._speed = speed if self._speed is None else 0.9 * self._speed + 0.1 * speed
            self.best_speed = max(self._speed, self.best_speed or 0.0)
        for name in self.STEP_CURVES:
            self._point(name, event.get("step"), event.get(name))
        sources = event.get("sources")
        for name, value in sources.items() if isinstance(sources, dict) else ():
            self._point(f"source {name}", event.get("step"), value)

    def _best(self) -> tuple[int, float] | None:
        """Step and loss of the best of the evaluations on the rows of the last one."""
        rows = self.evaluation.get(JUDGED_ON)
        same = {one.get("step") for one in self._evaluations if rows is None or one.get(JUDGED_ON) in (None, rows)}
        points = [point for point in self.curves.get("eval_loss", ()) if point[0] in same]
        return min(points, key=lambda point: point[1], default=None)

    def _eval(self, event: dict[str, Any]) -> None:
        others = event.get(JUDGED_ON) != self.evaluation.get(JUDGED_ON)
        self.evaluation = event
        self.evaluated += 1
        if self._evaluations and self._evaluations[-1].get("step") == event.get("step"):
            self._evaluations.pop()
        self._evaluations.append(event)
        for name, value in event.items():
            if name not in ("kind", "time", "step") and isinstance(value, (int, float)):
                self._measure(f"eval_{name}" if not name.startswith("eval_") else name, event.get("step"), value)
        sources = event.get("sources")
        for name, value in sources.items() if isinstance(sources, dict) else ():
            self._measure(f"held-out source {name}", event.get("step"), value)
        scores = event.get("source_scores")
        for metric, values in scores.items() if isinstance(scores, dict) else ():
            for name, value in values.items() if isinstance(values, dict) else ():
                self._measure(f"{metric} of source {name}", event.get("step"), value)
        losses = self.curves.get("eval_loss")
        if losses and self.best is not None and self.best[0] != losses[-1][0] and not others:
            self.best = min(self.best, losses[-1], key=lambda point: point[1])
        else:  # the first one, or the best one measured again
            self.best = self._best()

    def _forgetting(self, event: dict[str, Any]) -> None:
        self.forgetting = event
        self._measured.append(event)
        self._measure("forgetting", event.get("step"), event.get("change"))
        self._measure("kl", event.get("step"), event.get("kl"))

    def _point(self, name: str, step: Any, value: Any) -> None:
        if isinstance(step, int) and isinstance(value, (int, float)):
            self.curves.setdefault(name, []).append((step, float(value)))

    def _measure(self, name: str, step: Any, value: Any) -> None:
        """A point of what is measured between steps: asked for once more at the same STEP, it counts once."""
        points = self.curves.get(name)
        if points and points[-1][0] == step:
            self.curves[name] = points[:-1]
        self._point(name, step, value)

    def _sample(self, event: dict[str, Any]) -> None:
        for place in range(len(self.samples) - 1, -1, -1):
            if self.samples[place].get("step") != event.get("step"):
                break
            if self.samples[place].get("index") == event.get("index"):
                del self.samples[place]
        self.samples.append(event)

    def _telemetry(self, event: dict[str, Any]) -> None:
        self.telemetry = event
        self.readings.append(event)
        cards = [gpu.get("memory_used") for gpu in event.get("gpus") or [] if isinstance(gpu, dict)]
        used = [value for value in cards if isinstance(value, (int, float))]
        self._point("memory", self.step, sum(used) if used else event.get("process_ram"))
        loads = [gpu.get("use") for gpu in event.get("gpus") or [] if isinstance(gpu, dict)]
        busy = [value for value in loads if isinstance(value, (int, float))]
        self._point("gpu_use", self.step, sum(busy) / len(busy) if busy else None)

    def _steer(self, event: dict[str, Any]) -> None:
        self.steers.append(event)
        if event.get("what") == "steps" and isinstance(event.get("value"), (int, float)):
            total, per_epoch = int(event["value"]), self.start.get("steps_per_epoch")
            self.start = {**self.start, "total_steps": total}
            if isinstance(per_epoch, int) and per_epoch:
                self.start["epochs"] = total / per_epoch

    def _alert(self, event: dict[str, Any]) -> None:
        self.alerts.append(event)
        if event.get("action") == "pause":
            self.pausing = event
        if isinstance(step := event.get("passed_over"), int):  # it counts, though it has no `step` event
            self.last_step = {**self.last_step, "step": step, **self._epoch(step)}

    def _checkpoint(self, event: dict[str, Any]) -> None:
        self.checkpoints.append(event)

    def _failed(self, event: dict[str, Any]) -> None:
        self.failure = event

    def _done(self, event: dict[str, Any]) -> None:
        self.done = event

    @property
    def alerts_now(self) -> list[dict[str, Any]]:
        """The alerts since the run was last taken up: what was wrong in an earlier session may be mended."""
        return self.alerts[self._earlier :]

    @property
    def step(self) -> int:
        """Optimiser steps taken."""
        return int(self.last_step.get("step") or 0)

    @property
    def total_steps(self) -> int | None:
        """Optimiser steps planned."""
        value = self.start.get("total_steps")
        return int(value) if value else None

    @property
    def loss(self) -> float | None:
        """The last training loss, nats a token."""
        value = self.last_step.get("loss")
        return None if value is None else float(value)

    @property
    def first_loss(self) -> float | None:
        """The training loss of the run's first step that was told, whichever process took it."""
        points = self.curves.get("loss")
        return points[0][1] if points else None

    @property
    def eval_loss(self) -> float | None:
        """The last held-out loss, nats a token."""
        points = self.curves.get("eval_loss")
        return points[-1][1] if points else None

    @property
    def model_step(self) -> int | None:
        """The step whose weights the saved model has, where those aren't the last ones: see early stopping."""
        value = (self.last_state or {}).get("model_step")
        return value if isinstance(value, int) else None

    @property
    def trained(self) -> dict[str, Any] | None:
        """Of which step the saved model is, where that isn't the end of the training: `{step, of, why}`, `why` being
        `stopped` or `best` (of the checkpoints kept: early stopping). None where it is the end, or nothing is saved."""
        end = self.saved or {}
        step, total = end.get("model_step"), self.total_steps
        if isinstance(step, int):
            return {"step": step, "of": total, "why": "best"}
        step = end.get("step")
        longer = any(event.get("why") == LONGER for event in self.steers)
        before = end.get("kind") == "done" and longer and isinstance(step, int) and step < (total or 0)
        if (end.get("kind") != "stopped" and not before) or not isinstance(step, int):
            return None
        return {"step": step, "of": total, "why": "stopped"}

    @property
    def collapsed(self) -> bool:
        """Whether the training ended with a model that had collapsed: see `training.watch.collapsed`."""
        return bool((self.last_state or {}).get("collapsed"))

    @property
    def judged(self) -> dict[str, Any]:
        """The evaluation of the weights that the saved model has, empty where they weren't evaluated; of a run that
        hasn't ended with one the last evaluation."""
        end = self.last_state or {}
        at = self.model_step
        if at is None and end.get("kind") in ("done", "stopped") and end.get("path"):
            at = end.get("step")
        if not isinstance(at, int):
            return self.evaluation
        return next((one for one in reversed(self._evaluations) if one.get("step") == at), {})

    @property
    def resumes_from(self) -> int | None:
        """The step that a stopped run goes on from, where its last checkpoint is of an earlier step than its model: 0
        where there is none."""
        value = (self.last_state or {}).get("resumes_from")
        return value if isinstance(value, int) else None

    @property
    def judged_loss(self) -> float | None:
        """Its held-out loss, nats a token."""
        value = self.judged.get("loss", self.judged.get("eval_loss"))
        return float(value) if isinstance(value, (int, float)) else None

    @property
    def eta(self) -> float | None:
        """Seconds to the end, as the worker last told."""
        value = self.last_step.get("eta")
        return None if value is None else float(value)

    @property
    def seconds(self) -> float | None:
        """How long it ran: from the first event to the last, without what lay between one session's end and the next
        one's start. A clock that was set meanwhile changes nothing."""
        if self._ran is not None:
            return self._ran
        if self.started is None or self.last_time is None:
            return None
        return max(0.0, self._passed - self._idle)


def state_word(state: str, collapsed: bool) -> str:
    """STATE as it is shown everywhere: a run that went through to its end with a model that had COLLAPSED is not simply
    done."""
    return "collapsed" if state == "done" and collapsed else state


def trained_text(trained: Mapping[str, Any] | None) -> str:
    """What `Story.trained` says, in words: `stopped at step 120 of 250`; empty where there is nothing to say."""
    if not trained:
        return ""
    of = f" of {trained['of']}" if trained.get("of") else ""
    if trained.get("why") == "best":
        return f"the best checkpoint kept, step {trained['step']}{of}"
    return f"stopped at step {trained['step']}{of}"


def smoothed(points: list[tuple[int, float]], beta: float = 0.9) -> list[tuple[int, float]]:
    """Exponential moving average of POINTS without the start's bias (Kingma & Ba 2015, section 3)."""
    average, weight, result = 0.0, 0.0, []
    for step, value in points:
        average = beta * average + (1 - beta) * value
        weight = beta * weight + (1 - beta)
        result.append((step, average / weight))
    return result
