"""What the watchdog notices, whom it tells, and which checkpoints stay. No torch."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynvml import NVMLError

from ftstudio.core import files
from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.watch import Watch
from ftstudio.engine import alerting, disk, recent_losses, resume, steering
from ftstudio.engine.callback import RunDirector
from ftstudio.engine.control import Request
from ftstudio.engine.deeds import NotBegun, RolledBack
from ftstudio.engine.meter import Meter
from ftstudio.engine.steering import BACK, Steering, changes
from ftstudio.engine.telemetry import Telemetry
from ftstudio.engine.watchdog import Watchdog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fed(dog: Watchdog, losses: list[float]) -> list[str]:
    return [fault.kind for step, loss in enumerate(losses, 1) for fault in dog.step(step, loss, 1.0)]


NOISE = [2.0 + 0.1 * (number * 7 % 5 - 2) for number in range(40)]

# the shipped demo, trained for 17 epochs: its losses from step 161 on, and from step 320
MEMORISED = [
    0.0633, 0.0597, 0.0368, 0.0284, 0.0105, 0.0171, 0.0236, 0.0855, 0.1351, 0.0171, 0.0137, 0.0454, 0.0199, 0.0248,
    0.0275, 0.0209, 0.0193, 0.0315, 0.0471, 0.0255, 0.0456, 0.0108, 0.1199, 0.0082, 0.0722, 0.0159, 0.0205, 0.0358,
    0.02, 0.0164, 0.1664, 0.0209, 0.0099, 0.1073, 0.0188, 0.0094, 0.0422, 0.0959, 0.0345, 0.0187, 0.0108, 0.0161,
    0.0079, 0.018, 0.0114, 0.0564, 0.0106, 0.0177, 0.0066, 0.0131, 0.0115, 0.0108, 0.0629, 0.1004, 0.0374, 0.0111,
    0.0084, 0.0244, 0.0146, 0.0161, 0.0199, 0.0138, 0.0967, 0.0097, 0.042, 0.0458, 0.009, 0.0382, 0.0103, 0.0758,
    0.0087, 0.1884, 0.0077, 0.0356, 0.0072, 0.0173, 0.083, 0.0509, 0.0255, 0.0075, 0.0056, 0.0047, 0.0227, 0.0264,
    0.0132, 0.0066, 0.0121, 0.0089, 0.0286, 0.0145, 0.0283, 0.0105, 0.0115, 0.0095, 0.0372, 0.0047, 0.0163, 0.0063,
    0.009, 0.0062, 0.006, 0.0099, 0.0029, 0.0031, 0.0203, 0.004, 0.0032, 0.0039, 0.0044, 0.0034, 0.015, 0.0045,
    0.0038, 0.022, 0.0353, 0.004, 0.0394, 0.0025, 0.0136, 0.0045, 0.0029, 0.0024, 0.0432, 0.0039, 0.003, 0.0042,
    0.0026, 0.0198, 0.0028, 0.0312, 0.0033, 0.0026, 0.005, 0.0028, 0.003, 0.0032, 0.0034, 0.0029, 0.005, 0.0334,
    0.0041, 0.003, 0.0028, 0.0032, 0.0043, 0.0027, 0.0195, 0.0172, 0.0062, 0.0339, 0.0028, 0.0042, 0.0028, 0.0042,
    0.0031, 0.021, 0.0033, 0.0203, 0.0027, 0.0033, 0.003, 0.0039, 0.0028, 0.0037, 0.0291, 0.0036, 0.0026, 0.0096,
    0.0038, 0.0029, 0.0233, 0.0039, 0.0129, 0.0032, 0.0053, 0.0029, 0.005, 0.011, 0.0033,
]  # fmt: skip


@pytest.mark.parametrize(
    ("losses", "kinds"),
    [
        (NOISE, []),
        ([*NOISE, 9.0], ["spike"]),
        ([*NOISE, 9.0, 9.0, 9.0], ["spike"]),  # told once
        ([*NOISE[:10], 9.0], []),  # too early to tell
        ([1.0] * 40 + [1.2], []),  # calm losses make no spike of a small rise
        ([1.0] * 40 + [2.0], ["spike"]),
        ([2.6, *MEMORISED], []),  # of rows known by heart one or the other costs ten times the usual next to nothing
        (MEMORISED, []),  # the same of a model that knew them before
        ([2.6, *MEMORISED, 0.6], ["spike"]),  # a batch of other rows
        ([2.6, *MEMORISED, 0.3, 1.1, 2.9, 6.2], ["spike"]),  # a rate too high: told as it begins
        ([40.0, *[4.0 + 0.1 * value for value in NOISE], 7.5], []),  # of a loss that began at forty
        ([40.0, *[4.0 + 0.1 * value for value in NOISE], 8.5], ["spike"]),
        ([1.0, *[0.0] * 9], ["zero_loss"]),
        ([1.0, float("nan")], ["not_finite"]),
        ([1.0, float("inf")], ["not_finite"]),
    ],
)
def test_losses(losses: list[float], kinds: list[str]):
    assert fed(Watchdog(Watch()), losses) == kinds


def test_a_gradient_without_end_unless_a_scaler_skips_it():
    dog = Watchdog(Watch())
    assert [fault.kind for fault in dog.step(1, 1.0, float("inf"))] == ["not_finite"]
    assert dog.step(2, 1.0, float("inf"), scaled=True) == []


def test_a_scaler_that_skips_every_step_is_told():
    """fp16: 16 skipped steps at the beginning, and one now and then, are its way; no step taken at all isn't."""
    dog, endless = Watchdog(Watch()), float("inf")
    norms = [*[endless] * 16, 1.0, endless, *[2.0] * 5, *[endless] * 25]
    told = [step for step, norm in enumerate(norms) if dog.step(step, 1.0, norm, scaled=True)]
    assert told == [16 + 7 + 19]
    [fault] = [fault for norm in [1.0, *[float("nan")] * 20] for fault in dog.step(50, 1.0, norm, scaled=True)]
    assert fault.kind == "not_finite"
    assert "20 steps in a row" in fault.text
    assert "bf16 or fp32" in fault.hint


def test_a_held_out_loss_that_gets_no_better():
    dog = Watchdog(Watch(patience=2))
    told = [[fault.kind for fault in dog.evaluated(10 * n, loss)] for n, loss in enumerate([3, 2, 2.5, 2.4, 2.3, 2.2])]
    assert told == [[], [], [], ["eval_rising"], [], ["eval_rising"]]
    assert dog.evaluated(99, 1.0) == []


@pytest.mark.parametrize(
    ("losses", "norms", "told"),
    [
        ([2.8, 7.0, *[6.931] * 20], [0.7, 3.0, *[0.0] * 20], [7]),
        ([2.8] * 12, [0.0, 0.0, 0.0, 0.0, 0.3] * 2 + [0.0] * 2, []),  # rows of weight 0, now and then
        ([2.8] * 12, [None] * 12, []),  # nobody measured it
        ([0.0] * 4, [0.0] * 4, []),
    ],
)
def test_a_gradient_of_zero_is_a_collapse(losses: list[float], norms: list[float | None], told: list[int]):
    dog = Watchdog(Watch())
    steps = enumerate(zip(losses, norms, strict=True), 1)
    found = [(step, fault) for step, (loss, norm) in steps for fault in dog.step(step, loss, norm)]
    assert [(step, fault.kind) for step, fault in found] == [(step, "collapsed") for step in told]
    assert all("exactly zero since step 3" in fault.text and "6.931" in fault.text for _, fault in found)


@pytest.mark.parametrize(
    ("losses", "kinds"),
    [
        ([2.786, 6.931, 6.931], [[], ["collapsed"], []]),
        ([2.6, 17.3, 1.9, 17.3], [[], ["collapsed"], [], ["collapsed"]]),
        ([2.6, 3.5, 2.5], [[], [], []]),
        ([0.1, 0.3], [[], []]),  # three times as much, and still next to nothing
        ([2.0, 1.0, 2.5], [[], [], []]),  # it memorises: that is another alert
    ],
)
def test_a_held_out_loss_far_above_that_before_training_is_told_at_once(losses: list[float], kinds: list[list[str]]):
    dog = Watchdog(Watch())
    assert [[fault.kind for fault in dog.evaluated(50 * n, loss)] for n, loss in enumerate(losses)] == kinds


def test_a_stalled_step_is_told_once_and_other_work_is_none():
    clock = Clock()
    dog = Watchdog(Watch(stall=10), clock)
    for step in range(5):
        clock.now += 10
        dog.step(step, 1.0, 1.0)
    clock.now += 99
    assert dog.stalled() == []
    clock.now += 2
    assert [fault.kind for fault in dog.stalled()] == ["stalled"]
    assert dog.stalled() == []
    dog.step(6, 1.0, 1.0)
    dog.away()
    clock.now += 10_000
    assert dog.stalled() == []


@pytest.mark.parametrize(("before", "waits"), [(5, 100.0), (3, 1800.0), (0, 1800.0)])
def test_a_step_that_never_comes_after_other_work_or_the_start_is_told(before: int, waits: float):
    clock = Clock()
    dog = Watchdog(Watch(stall=10), clock)
    for step in range(before):
        clock.now += 10
        dog.step(step, 1.0, 1.0)
    for _ in range(2):  # an evaluation, and a checkpoint
        dog.away()
        clock.now += 10_000
        dog.back()
    dog.back()  # it has begun already
    clock.now += waits - 1
    assert dog.stalled() == []
    dog.back()
    clock.now += 2
    [fault] = dog.stalled()
    assert fault.kind == "stalled"
    assert ("a step took 10 s" in fault.text) == bool(before)
    assert dog.stalled() == []
    clock.now += 10_000
    dog.step(before, 1.0, 1.0)  # what it took isn't what steps take
    for step in range(3):
        clock.now += 10
        dog.step(before + 1 + step, 1.0, 1.0)
    clock.now += 101
    assert [fault.kind for fault in dog.stalled()] == ["stalled"]


def test_the_director_says_when_steps_are_under_way_again(tmp_path: Path):
    """After what it tells of, and after a checkpoint that the disk didn't take, which ends without a word."""
    director, trainer = directed(tmp_path, disk="alert"), Stepping(6)
    clock = director.watchdog._clock = Clock()

    def hangs() -> bool:
        clock.now += 2000
        return [fault.kind for fault in director.watchdog.stalled()] == ["stalled"]

    assert not hangs()
    director.tell("training", "")
    assert hangs()
    director.begun(trainer)  # type: ignore[arg-type]
    step(director, trainer, 1.0)
    director.tell("evaluating", "")
    assert not hangs()
    director.evaluated(trainer, {"loss": 1.0})  # type: ignore[arg-type]
    assert hangs()
    director.saving(trainer)  # type: ignore[arg-type]
    assert not hangs()
    director.unsaved(files.explain(OSError(28, "No space left on device"), tmp_path))
    director.between(trainer)  # type: ignore[arg-type]
    assert hangs()


def test_a_gpu_that_is_slowed_or_lost():
    dog = Watchdog(Watch())
    hot = {"gpus": [{"throttled": ["heat"], "temperature": 91.0}]}
    assert [fault.text for fault in dog.machine(hot)] == ["GPU 0 is slowed down by heat at 91 °C."]
    assert dog.machine(hot) == []
    assert dog.machine({"gpus": [{"throttled": []}]}) == []
    assert "lost" in dog.machine({"gpus": [{"lost": True}]})[0].text


class Stepping:
    """What the director asks of a trainer."""

    def __init__(self, step: int, rate: float = 1e-3, order: str = "a") -> None:
        self.state = SimpleNamespace(global_step=step, max_steps=20, epoch=1.0)
        self.control = SimpleNamespace(should_evaluate=True, should_save=True, should_training_stop=False)
        self.meter = Meter()
        self.accelerator = SimpleNamespace(scaler=None)
        self.args = SimpleNamespace(world_size=1)
        self.passed_over: frozenset[int] = frozenset()
        self.written: list[int] = []
        self._rate, self._order = rate, order

    def rate(self) -> float:
        return self._rate

    def order_digest(self) -> str:
        return self._order

    def tokens_a_step(self, *_: int) -> float:
        return 100.0

    def utilisation(self, speed: float | None) -> None:
        return None

    def checkpoint(self) -> None:
        self.written.append(self.state.global_step)


def directed(tmp_path: Path, **watch: Any) -> RunDirector:
    """A director of a run in TMP_PATH with nobody at its controls."""
    folder = JobFolder(tmp_path)
    control: Any = SimpleNamespace(poll=lambda now=False: [], stopping=False, should_stop=lambda: False)
    return RunDirector(folder, control, every=None, save=100, first=6, watch=Watch(**watch))


def alerts(director: RunDirector) -> list[tuple[str, str, str]]:
    found = [event for event in director.folder.events() if event["kind"] == "alert"]
    return [(event["watch"], event["action"], event["text"]) for event in found]


@pytest.mark.parametrize("deed", ["alert", "pause", "stop"])
@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"rate": 1e-3, "order": "a"}, ""),
        ({}, ""),  # a checkpoint of an older studio doesn't say
        ({"rate": 5e-4, "order": "a"}, "The learning rate is 0.001 where the checkpoint was written with 0.0005."),
        (
            {"rate": 1e-3, "order": "b"},
            "The rows come in another order than before: the data, the size of the batches or ftstudio's version",
        ),
        ({"rate": 1e-3, "order": "a", "ranks": 2}, "So far 2 processes trained this run, now 1: "),
    ],
)
def test_a_resumed_run_that_goes_on_otherwise(tmp_path: Path, deed: str, known: dict[str, Any], told: str):
    director = directed(tmp_path, resume_fault=deed)
    director.goes_on(known)
    trainer, rested = Stepping(6), list[bool]()
    director.rest = rested.append
    director.control.wait = lambda seconds: setattr(director, "paused", False)  # type: ignore[method-assign]
    if told and deed == "stop":  # before another step is learnt from
        with pytest.raises(NotBegun):
            director.begun(trainer)  # type: ignore[arg-type]
    else:
        director.begun(trainer)  # type: ignore[arg-type]
    assert trainer.written == []
    found = alerts(director)
    if not told:
        assert found == []
        return
    [(kind, action, text)] = found
    assert (kind, action) == ("resume_fault", deed)
    assert text.startswith(told)
    assert rested == ([True, False] if deed == "pause" else [])


def test_before_the_first_step_no_checkpoint_is_owed(tmp_path: Path):
    """A disk that took no event then: what the run goes on from is whole."""
    director, trainer = directed(tmp_path, disk="pause"), Stepping(6)
    director.goes_on({"step": 6})
    director.paused = True
    director.disk.owes()
    director.control.wait = lambda seconds: setattr(director, "paused", False)  # type: ignore[method-assign]
    director.begun(trainer)  # type: ignore[arg-type]
    assert (trainer.written, director.disk.owed) == ([], False)


@pytest.mark.parametrize(
    ("kind", "feed"),
    [
        ("spike", lambda director, trainer: [step(director, trainer, loss) for loss in [*NOISE, 9.0]]),
        ("zero_loss", lambda director, trainer: [step(director, trainer, loss) for loss in [1.0, *[0.0] * 6]]),
        ("collapsed", lambda director, trainer: judged(director, trainer, 2.0, 7.0)),
        ("eval_rising", lambda director, trainer: judged(director, trainer, 2.0, 2.1, 2.2, 2.3)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("deed", ["alert", "pause", "rollback", "stop"])
def test_what_the_recipe_says_is_done(tmp_path: Path, kind: str, feed: Any, deed: str):
    director = directed(tmp_path, **{kind: deed})
    trainer = Stepping(6)
    checkpoint = tmp_path / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_bytes(b"x")
    resume.seal(checkpoint, step=3)
    feed(director, trainer)
    assert [(what, action) for what, action, _ in alerts(director)] == [(kind, deed)]
    assert director.paused == (deed == "pause")
    director.paused = False
    if deed == "rollback":
        with pytest.raises(RolledBack):
            director.between(trainer)  # type: ignore[arg-type]
    else:
        director.between(trainer)  # type: ignore[arg-type]
        assert trainer.written == ([trainer.state.global_step] if deed == "stop" else [])


def test_a_bad_step_is_not_saved_and_not_gone_back_to(tmp_path: Path):
    """A spike comes at a step that is due to be saved, the loss rises from an evaluated checkpoint on."""
    folder = tmp_path / "checkpoints"
    for number, loss in ((3, 1.0), (5, 2.0), (6, None)):
        path = folder / f"checkpoint-{number}"
        path.mkdir(parents=True)
        (path / "weights").write_bytes(b"x")
        resume.seal(path, step=number, eval_loss=loss)
    director, trainer = directed(tmp_path, spike="rollback"), Stepping(6)
    director.trainer = trainer  # type: ignore[assignment]
    for loss in NOISE:
        step(director, trainer, loss)
    assert trainer.control.should_save
    step(director, trainer, 9.0)
    assert not trainer.control.should_save
    with pytest.raises(RolledBack) as back:
        director.between(trainer)  # type: ignore[arg-type]
    assert back.value.fault == "spike"
    for fault, at, wanted in (("spike", 7, 6), ("spike", 6, 5), ("eval_rising", 6, 3), ("eval_rising", 3, None)):
        found = resume.good(folder, at, rising=fault == "eval_rising")
        assert (None if found is None else resume.step_of(found)) == wanted
    resume.set_aside(folder, 3)
    director = directed(tmp_path, not_finite="rollback")
    director.trainer = trainer  # type: ignore[assignment]
    trainer.state.global_step = 2  # nothing to go back to from here
    with pytest.raises(StudioError, match="not a finite number"):
        step(director, trainer, float("nan"))


def good(place: Path, *steps: int) -> None:
    """Checkpoints of STEPS of a run in PLACE."""
    for number in steps:
        path = place / "checkpoints" / f"checkpoint-{number}"
        path.mkdir(parents=True)
        (path / "weights").write_bytes(b"x")
        resume.seal(path, step=number)


def test_two_faults_of_one_moment_are_one_way_back(tmp_path: Path):
    watch = {"eval_rising": "rollback", "collapsed": "rollback", "rollbacks": 1, "patience": 1}
    director, trainer = directed(tmp_path, **watch), Stepping(6)
    good(tmp_path, 3, 6)
    director.trainer = trainer  # type: ignore[assignment]
    judged(director, trainer, 1.9, 9.0)
    assert [(kind, action) for kind, action, _ in alerts(director)] == [
        ("eval_rising", "rollback"),
        ("collapsed", "rollback"),
    ]
    with pytest.raises(RolledBack) as back:
        director.between(trainer)  # type: ignore[arg-type]
    assert back.value.fault == "collapsed"
    # told, but never done: it was killed before it went back
    director = directed(tmp_path, collapsed="rollback", rollbacks=1)
    director.trainer = trainer  # type: ignore[assignment]
    judged(director, trainer, 1.9, 9.0)
    assert director.deeds.wish == "rollback"
    director.folder.emit("steer", step=6, what="learning_rate", value=1e-4, why=BACK)
    director = directed(tmp_path, collapsed="rollback", rollbacks=1)
    director.trainer = trainer  # type: ignore[assignment]
    judged(director, trainer, 1.9, 9.0)
    assert (director.deeds.wish, director.deeds.ended_by) == ("stop", "collapsed")


def test_what_ends_the_run_goes_before_what_goes_back(tmp_path: Path):
    director, trainer = directed(tmp_path, eval_rising="rollback", collapsed="stop", patience=1), Stepping(6)
    good(tmp_path, 3, 6)
    director.trainer = trainer  # type: ignore[assignment]
    judged(director, trainer, 1.9, 9.0)
    assert [(kind, action) for kind, action, _ in alerts(director)] == [("eval_rising", "stop"), ("collapsed", "stop")]
    director.between(trainer)  # type: ignore[arg-type]
    assert (trainer.written, director.stopped) == ([8], True)


def test_what_lets_a_person_decide_goes_before_what_goes_back(tmp_path: Path):
    """Else it would be told that the run is paused, and it isn't."""
    director, trainer = directed(tmp_path, eval_rising="pause", collapsed="rollback", patience=1), Stepping(6)
    good(tmp_path, 3, 6)
    director.trainer = trainer  # type: ignore[assignment]
    judged(director, trainer, 1.9, 9.0)
    assert [(kind, action) for kind, action, _ in alerts(director)] == [
        ("eval_rising", "pause"),
        ("collapsed", "pause"),
    ]
    rested = []
    director.rest = rested.append
    director.control.wait = lambda seconds: setattr(director, "paused", False)  # type: ignore[method-assign]
    director.between(trainer)  # type: ignore[arg-type]
    assert rested == [True, False]


def test_a_pause_by_the_step_goes_before_the_way_back_by_its_evaluation(tmp_path: Path):
    director, trainer = directed(tmp_path, spike="pause", collapsed="rollback"), Stepping(6)
    good(tmp_path, 3, 6)
    director.trainer = trainer  # type: ignore[assignment]
    director.evaluated(trainer, {"loss": 1.9})  # type: ignore[arg-type]
    for loss in [*NOISE, 9.0]:
        step(director, trainer, loss)
    director.evaluated(trainer, {"loss": 9.0})  # type: ignore[arg-type]
    assert [(kind, action) for kind, action, _ in alerts(director)] == [("spike", "pause"), ("collapsed", "pause")]
    assert (director.paused, director.deeds.wish) == (True, "")


@pytest.mark.parametrize("last", [False, True])
def test_what_ends_the_run_goes_before_what_pauses_it(tmp_path: Path, last: bool):
    director, trainer = directed(tmp_path, eval_rising="stop", collapsed="pause", patience=1), Stepping(6)
    director.trainer = trainer  # type: ignore[assignment]
    trainer.state.max_steps = 8 if last else 20
    judged(director, trainer, 1.9, 9.0)
    assert [(kind, action) for kind, action, _ in alerts(director)] == [
        ("eval_rising", "alert" if last else "stop"),
        ("collapsed", "alert"),
    ]
    assert not director.paused


def told_losses(director: RunDirector, *losses: tuple[int, float]) -> None:
    for at, loss in losses:
        director.folder.emit("step", step=at, loss=loss)


@pytest.mark.parametrize("how", ["resumed", "went back"])
def test_a_spike_is_seen_right_after_a_resume_or_a_rollback(tmp_path: Path, how: str):
    """The losses of steps that were lost count no more: they were ten times as high."""
    director = directed(tmp_path, spike="alert")
    director.folder.emit("start", resumed_from=None)
    told_losses(director, *enumerate(NOISE, 1))
    if how == "went back":
        told_losses(director, *((at, 90.0) for at in range(41, 90)))
        director.folder.emit("start", resumed_from=40)
    told_losses(director, (41, 2.0), (42, float("nan")), (43, 2.0), (44, 70.0))
    again = directed(tmp_path, spike="alert")
    again.first = 43
    again.goes_on({"step": 43, "first_loss": 2.0})
    assert list(again.watchdog._losses) == [*NOISE, 2.0, 2.0]
    trainer = Stepping(43)
    again.trainer = trainer  # type: ignore[assignment]
    step(again, trainer, 2.1)
    assert alerts(again) == []
    step(again, trainer, 9.0)
    assert [(kind, action) for kind, action, _ in alerts(again)] == [("spike", "alert")]


def test_of_a_long_run_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recent_losses, "BLOCK", 300)
    director = directed(tmp_path)
    told_losses(director, *((at, at / 10) for at in range(1, 200)))
    director.folder.emit("alert", text="ä" * 500)
    with open(director.folder.events_path, "ab") as file:
        file.write(b'{"kind":"step","time":1.0,"step":200,"lo')  # torn by a kill
    read, path = [], director.folder.events_path
    lines = recent_losses._backwards

    def counted(path: Path) -> Any:
        for line in lines(path):
            read.append(line)
            yield line

    assert b"\n".join(reversed(list(lines(path)))) == path.read_bytes()
    monkeypatch.setattr(recent_losses, "_backwards", counted)
    assert recent_losses.losses(path, 190, 64) == [at / 10 for at in range(127, 191)]
    assert len(read) < 80
    assert recent_losses.losses(tmp_path / "none", 9, 64) == []


@pytest.mark.parametrize("deed", ["pause", "stop"])
def test_nothing_is_said_to_pause_or_stop_at_the_last_step(tmp_path: Path, deed: str):
    director, trainer = directed(tmp_path, spike=deed), Stepping(6)
    director.trainer = trainer  # type: ignore[assignment]
    for loss in NOISE:
        step(director, trainer, loss)
    trainer.state.global_step += 1
    trainer.state.max_steps = trainer.state.global_step
    director.stepped(trainer, {"loss": 9.0, "grad_norm": 1.0, "learning_rate": 1e-3})  # type: ignore[arg-type]
    [(kind, action, text)] = alerts(director)
    assert (kind, action) == ("spike", "alert")
    assert text.endswith("lately it was about 2. It was the last step.")
    director.between(trainer)  # type: ignore[arg-type]
    assert (director.paused, director.stopped, trainer.written) == (False, False, [])


def test_a_card_that_gets_hot_in_the_last_step_pauses_nothing(tmp_path: Path):
    hot = {"gpus": [{"throttled": ["heat"], "temperature": 91.0}]}
    for taken, action in ((18, "pause"), (19, "alert")):
        director, trainer = directed(tmp_path / str(taken), gpu="pause"), Stepping(taken)
        director.trainer = trainer  # type: ignore[assignment]
        director.looked(hot)
        [(_, deed, text)] = alerts(director)
        assert deed == action
        assert text.endswith("The run is paused." if action == "pause" else "The last step is under way.")
        assert (director.folder.path / "control.jsonl").exists() == (action == "pause")


def test_without_a_checkpoint_none_is_said_to_be_sound(tmp_path: Path):
    director, trainer = directed(tmp_path), Stepping(6)
    director.trainer = trainer  # type: ignore[assignment]
    with pytest.raises(StudioError) as caught:
        step(director, trainer, float("nan"))
    assert "there is no checkpoint" in caught.value.hint
    assert "sound" not in caught.value.hint
    director.unsound()
    assert "there is no checkpoint" in director.folder.events()[-1]["hint"]
    good(tmp_path, 3)
    with pytest.raises(StudioError) as caught:
        step(director, trainer, float("nan"))
    assert "resume from the last checkpoint; it is sound" in caught.value.hint


def judged(director: RunDirector, trainer: Stepping, *losses: float) -> None:
    """One evaluation a step, with these LOSSES."""
    for loss in losses:
        trainer.state.global_step += 1
        director.evaluated(trainer, {"loss": loss})  # type: ignore[arg-type]


def step(director: RunDirector, trainer: Stepping, loss: float) -> None:
    """One more step, with LOSS."""
    trainer.state.global_step += 1
    trainer.state.max_steps = trainer.state.global_step + 9
    director.stepped(trainer, {"loss": loss, "grad_norm": 1.0, "learning_rate": 1e-3})  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_ends_the_run_and_nothing_of_that_step_is_saved(tmp_path: Path):
    director, trainer = directed(tmp_path), Stepping(6)
    director.trainer = trainer  # type: ignore[assignment]
    with pytest.raises(StudioError, match="not a finite number"):
        step(director, trainer, float("nan"))
    assert not trainer.control.should_save
    assert not trainer.control.should_evaluate
    assert [(kind, action) for kind, action, _ in alerts(director)] == [("not_finite", "stop")]


def test_an_evaluation_that_cant_be_is_answered(tmp_path: Path):
    director = directed(tmp_path)
    director.control.poll = lambda now=False: [Request("evaluate")]  # type: ignore[method-assign]
    assert "evaluate" not in director.planned(7, 20)
    [event] = director.folder.events()
    assert (event["level"], event["text"][:41]) == ("warning", "There is nothing to evaluate on: no rows ")


def test_a_collapsed_run_is_not_advised_to_go_on_from_its_last_checkpoint(tmp_path: Path):
    director, trainer = directed(tmp_path), Stepping(6)
    checkpoint = tmp_path / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    resume.seal(checkpoint, step=3)
    for loss in (2.757, 6.931):
        director.evaluated(trainer, {"loss": loss})  # type: ignore[arg-type]
    with pytest.raises(StudioError) as caught:
        step(director, trainer, float("nan"))
    assert "so has the last checkpoint" in caught.value.hint
    assert director.watchdog.evaluated(9, 2.0) == []
    with pytest.raises(StudioError) as caught:
        step(director, trainer, float("nan"))
    assert "it is sound" in caught.value.hint


@pytest.mark.parametrize(("deed", "goes_on"), [("alert", True), ("pause", False), ("stop", False)])
def test_a_disk_that_will_not_hold_the_next_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str, goes_on: bool
):
    director, trainer = directed(tmp_path, disk=deed), Stepping(100)
    director.trainer = trainer  # type: ignore[assignment]
    trainer.state.max_steps = 300
    monkeypatch.setattr(resume, "size", lambda folder: 10 << 30)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 30))
    assert ("checkpoint" in director.planned(100, 300)) == goes_on
    [(kind, action, text)] = alerts(director)
    assert (kind, action) == ("disk", deed)
    assert "10.0 GiB" in text
    assert "1.0 GiB" in text
    assert director.paused == (deed == "pause")


@pytest.mark.parametrize(("patience", "told"), [(1, "now 1.1): 1 evaluation."), (2, "now 1.1): 2 evaluations.")])
def test_evaluations_that_got_no_better_are_counted(tmp_path: Path, patience: int, told: str):
    watchdog = directed(tmp_path, patience=patience).watchdog
    found = [fault for step in range(patience + 1) for fault in watchdog.evaluated(step, 1.1 if step else 1.0)]
    assert [fault.text.endswith(told) for fault in found] == [True]


def test_patience_goes_on_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a crash dropped doesn't count: an evaluation at 200 that was best, after the checkpoint of 150."""
    director = directed(tmp_path, patience=3)
    emit = director.folder.emit
    emit("start", resumed_from=None)
    for number, loss in ((0, 3.0), (50, 1.0), (100, 1.2), (150, 1.1), (200, 0.5)):
        emit("eval", step=number, loss=loss)
    emit("start", resumed_from=150)
    emit("eval", step=200, loss=float("nan"))
    director.first = 160
    monkeypatch.setattr(JobFolder, "events", lambda self: pytest.fail("a run of many steps is read whole"))
    director.goes_on({"step": 160, "eval_loss": 1.1})
    monkeypatch.undo()
    assert director.evaluated_at == (160, 1.1)
    assert alerts(director) == []
    assert director.watchdog.evaluated(200, 0.9999) == []
    director = directed(tmp_path, patience=3)
    director.first = 160
    director.goes_on({"step": 160})
    [fault] = director.watchdog.evaluated(200, 1.3)
    assert "no better since step 50" in fault.text
    assert "3 evaluations" in fault.text


def test_to_look_ends_no_run_also_after_a_resume(tmp_path: Path):
    """What was asked for beside the rhythm has no part in patience, neither has a second look at the same step."""
    director, trainer = directed(tmp_path, patience=2, eval_rising="stop"), Stepping(0)
    director.every = 4
    for number, loss in ((0, 3.0), (4, 1.0), (5, 1.0), (5, 1.0), (6, 0.5), (6, 0.5), (8, 0.9), (8, 0.9), (8, 0.9)):
        trainer.state.global_step = number
        director.evaluated(trainer, {"loss": loss})  # type: ignore[arg-type]
    assert alerts(director) == []
    assert director.watchdog.best == 0.5  # which is worth a checkpoint all the same
    again = directed(tmp_path, patience=2, eval_rising="stop")
    again.every, again.first = 4, 8
    again.goes_on({"step": 8, "eval_loss": 0.9})
    for followed in (director, again):
        for number, loss in ((8, 0.9), (10, 1.5), (12, 0.95)):
            trainer.state.global_step = number
            followed.evaluated(trainer, {"loss": loss})  # type: ignore[arg-type]
        assert followed.deeds.wish == ""
        trainer.state.global_step = trainer.state.max_steps = 13  # the last step's counts
        followed.evaluated(trainer, {"loss": 1.1})  # type: ignore[arg-type]
        trainer.state.max_steps = 20
        assert followed.deeds.ended_by == "eval_rising"
        assert "since step 8 (0.9, now 1.1): 2 evaluations" in alerts(director)[-1][2]


@pytest.mark.parametrize("deed", ["stop", "rollback"])
def test_what_is_seen_in_a_pause_is_done_in_it(tmp_path: Path, deed: str):
    """It is told that the run is stopped, or goes back: it doesn't wait on for somebody to resume it."""
    director, trainer = directed(tmp_path, collapsed=deed), Stepping(7)
    director.every, director.paused = 5, True
    director.evaluated(trainer, {"loss": 2.0})  # type: ignore[arg-type]
    checkpoint = tmp_path / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_bytes(b"x")
    resume.seal(checkpoint, step=3)
    trainer.evaluate = lambda: director.evaluated(trainer, {"loss": 9.0})  # type: ignore[arg-type, attr-defined]
    trainer.control.should_save = False
    polls = iter([[Request("evaluate")]])
    director.control.poll = lambda now=False: next(polls)  # type: ignore[method-assign]
    director.control.wait = lambda seconds: None  # type: ignore[method-assign]
    director.trainer = trainer  # type: ignore[assignment]
    if deed == "rollback":
        with pytest.raises(RolledBack):
            director.between(trainer)  # type: ignore[arg-type]
    else:
        director.between(trainer)  # type: ignore[arg-type]
        assert (trainer.written, trainer.control.should_training_stop, director.stopped) == ([7], True, True)
    assert [(kind, action) for kind, action, _ in alerts(director)] == [("collapsed", deed)]


@pytest.mark.parametrize("deed", ["alert", "pause", "stop"])
def test_a_checkpoint_that_the_disk_did_not_take_is_told_and_the_deed_done(tmp_path: Path, deed: str):
    director, trainer = directed(tmp_path, disk=deed), Stepping(7)
    director.trainer = trainer  # type: ignore[assignment]
    error = files.explain(OSError(28, "No space left on device"), tmp_path / "checkpoint-7")
    assert director.unsaved(error)
    [(kind, action, text)] = alerts(director)
    assert (kind, action) == ("disk", deed)
    assert text.startswith("The disk is full")
    assert (director.paused, director.disk.owed) == (deed == "pause", deed == "pause")
    if deed != "pause":
        director.between(trainer)  # type: ignore[arg-type]
        assert trainer.control.should_training_stop == (deed == "stop")
        assert trainer.written == []
        for _ in range(3):  # events that it doesn't take, either: once
            with director._on_disk():
                raise error
        assert len(alerts(director)) == 2


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (ValueError("a bug"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (StudioError("The model says nothing; a bug."), False),
        (Stopped("Stopped."), True),
    ],
)
@pytest.mark.parametrize("which", ["samples", "drift"])
def test_samples_and_forgetting_that_fail_end_no_run(tmp_path: Path, error: Exception, ends: bool, which: str):
    director, trainer = directed(tmp_path), Stepping(6)
    asked: list[int] = []

    def failing(trainer: Any, step: int) -> None:
        asked.append(step)
        raise error

    failing.told = ""  # type: ignore[attr-defined]
    setattr(director, which, failing)
    if ends:
        with pytest.raises(type(error)):
            director.evaluated(trainer, {"loss": 1.0})  # type: ignore[arg-type]
        return
    for _ in range(2):
        director.evaluated(trainer, {"loss": 1.0})  # type: ignore[arg-type]
    assert asked == [6, 6]  # the next evaluation tries again
    [alert] = [event for event in director.folder.events() if event["kind"] == "alert"]
    what = {"samples": "samples", "drift": "measure of forgetting"}[which]
    assert alert["text"].startswith(f"The evaluation of step 6 has no {what}: ")
    assert ("a bug" in alert["text"]) or ("memory" in alert["text"])
    assert str(error)[:20] in director.folder.log_path.read_text()


def test_the_best_evaluation_is_saved_where_that_costs_little(tmp_path: Path):
    director, trainer = directed(tmp_path), Stepping(0)
    director.best = True

    def saves(step: int, loss: float) -> bool:
        trainer.state.global_step, trainer.control.should_save = step, False
        director.evaluated(trainer, {"loss": loss})  # type: ignore[arg-type]
        return trainer.control.should_save

    assert not saves(0, 3.0)  # the base as it is
    assert saves(50, 2.0)
    director.saved(trainer, tmp_path)  # type: ignore[arg-type]
    assert director.folder.events()[-2]["reason"] == "the best so far"
    assert not saves(100, 2.0)
    assert saves(150, 1.9)
    trainer.meter._took["saving"] = [30.0]  # a large model's: 5 % of the time since the last one are less
    assert not saves(200, 1.8)
    trainer.meter._took["evaluating"] = [40.0]
    assert saves(250, 1.7)
    director.best = False
    assert not saves(300, 1.6)


def test_a_run_that_the_disk_stopped_tries_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    director, trainer = directed(tmp_path, disk="stop"), Stepping(100)
    director.trainer = trainer  # type: ignore[assignment]
    trainer.state.max_steps = 300
    monkeypatch.setattr(resume, "size", lambda folder: 10 << 30)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 30))
    director.planned(100, 300)
    director.between(trainer)  # type: ignore[arg-type]
    assert (trainer.written, trainer.control.should_training_stop, director.stopped) == ([], True, True)


@pytest.mark.parametrize("done", [False, True])
def test_a_run_shortened_to_where_it_pauses_is_evaluated_and_saved(tmp_path: Path, done: bool):
    director, trainer = directed(tmp_path), Stepping(7)
    director.every, director.paused = 5, True
    made: list[str] = []
    trainer.checkpoint = lambda: made.append("checkpoint")  # type: ignore[method-assign]
    trainer.evaluate = lambda: made.append("evaluate")  # type: ignore[attr-defined]
    if done:
        director.evaluated_at = (7, 1.0)
        director.saved(trainer, tmp_path)  # type: ignore[arg-type]

    def poll(now: bool = False) -> list[Any]:
        trainer.state.max_steps, director.paused = 7, False  # shortened, and resumed
        return []

    director.control = SimpleNamespace(poll=poll, wait=lambda seconds: None, stopping=False)  # type: ignore[assignment]
    director.between(trainer)  # type: ignore[arg-type]
    assert made == ([] if done else ["evaluate", "checkpoint"])
    assert trainer.control.should_training_stop


class Card:
    """NVML of one card that gets hot, and is then lost to the driver."""

    NVML_TEMPERATURE_GPU = 0
    reasons: int | None = 0

    def __getattr__(self, name: str) -> Any:
        return lambda *_: 0

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetName(self, _: Any) -> str:
        return "NVIDIA H200"

    def nvmlDeviceGetUtilizationRates(self, _: Any) -> Any:
        return SimpleNamespace(gpu=90)

    def nvmlDeviceGetMemoryInfo(self, _: Any) -> Any:
        return SimpleNamespace(used=1 << 30, total=139 << 30)

    def nvmlDeviceGetTemperature(self, *_: Any) -> int:
        return 91

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _: Any) -> int:
        if self.reasons is None:
            raise NVMLError(15)  # nvml.h: NVML_ERROR_GPU_IS_LOST
        return self.reasons


@pytest.mark.parametrize("deed", ["alert", "pause", "stop"])
def test_a_card_slowed_by_heat_and_then_lost_is_seen_through_the_driver(
    tmp_path: Path, deed: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml: Any = Card()
    telemetry, director = Telemetry(nvml), directed(tmp_path, gpu=deed)
    director.looked(telemetry.read())
    assert alerts(director) == []
    nvml.reasons = 0x20
    director.looked(telemetry.read())
    director.looked(telemetry.read())  # told once
    nvml.reasons = None
    director.looked(telemetry.read())
    hot, lost = alerts(director)
    assert hot[:2] == lost[:2] == ("gpu", deed)
    assert hot[2].startswith("GPU 0 is slowed down by heat at 91 °C.")
    assert "lost to the driver" in lost[2]
    asked = [request["request"] for request in files.read_lines(director.folder.path / "control.jsonl")]
    assert asked == ([deed] * 2 if deed != "alert" else [])


def test_a_command_and_an_address_are_told(tmp_path: Path):
    posted: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    out = tmp_path / "out"
    code = f"import os; open({str(out)!r}, 'w').write(os.environ['FTSTUDIO_WATCH'] + os.environ['FTSTUDIO_TEXT'])"
    watch = Watch(command=f'{sys.executable} -c "{code}"', webhook=f"http://127.0.0.1:{server.server_port}/x")
    run = JobFolder(tmp_path / "run-1")
    thread = alerting.tell(watch, run, {"level": "error", "watch": "spike", "text": "; rm -rf [x]", "step": 3})
    assert thread is not None
    thread.join(30)
    server.server_close()
    assert out.read_text() == "spike; rm -rf [x]"
    assert posted == [
        {"run": "run-1", "level": "error", "watch": "spike", "step": 3, "text": "; rm -rf [x]", "action": None}
    ]
    assert alerting.tell(Watch(), run, {}) is None
    assert run.events() == []  # all went well


def test_the_last_alert_of_a_process_gets_out_and_what_is_no_server_hurts_nobody(tmp_path: Path) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def hear() -> None:
            caller, _ = door.accept()
            with caller:
                heard.append(caller.recv(65536))
                caller.sendall(b"what?\r\n\r\n")

        thread = threading.Thread(target=hear, daemon=True)
        thread.start()
        code = (
            "from ftstudio.core.folder import JobFolder; from ftstudio.core.watch import Watch; "
            "from ftstudio.engine import alerting; "
            f"alerting.tell(Watch(webhook='http://127.0.0.1:{door.getsockname()[1]}/'), "
            f"JobFolder({str(tmp_path)!r}), {{'text': 'failed'}})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        thread.join(10)
    assert heard
    assert heard[0].startswith(b"POST / ")
    assert (done.returncode, done.stderr) == (0, "")
    assert "training.watch.webhook: " in JobFolder(tmp_path).events()[0]["text"]


def test_the_best_checkpoint_stays_beside_the_last(tmp_path: Path):
    for step, loss in ((1, 3.0), (2, 1.0), (3, None), (4, 2.0), (5, 2.5)):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        (path / "weights").write_bytes(b"x" * 100)
        resume.seal(path, step=step, eval_loss=loss)
    assert resume.size(tmp_path) == 100
    resume.prune(tmp_path, 2)
    assert [resume.step_of(path) for path in resume.checkpoints(tmp_path)] == [5, 4, 2]
    best = resume.best(tmp_path)
    assert best is not None
    assert best.name == "checkpoint-2"


def test_changes_after_a_checkpoint_that_was_gone_back_to_no_longer_count():
    events = [
        {"kind": "steer", "step": 5, "what": "learning_rate", "value": 1e-3},
        {"kind": "steer", "step": 8, "what": "learning_rate", "value": 2e-3},
        {"kind": "steer", "step": 9, "what": "steps", "value": 40},
        {"kind": "steer", "step": 7, "what": "learning_rate", "value": 5e-4, "why": BACK},
        {"kind": "steer", "step": "?", "what": "steps", "value": 1},
    ]
    found = [(change.step, change.what, change.value) for change in changes(events)]
    # how long it is to train is no fault of the weights: that stays
    assert found == [(5, "learning_rate", 1e-3), (7, "learning_rate", 5e-4), (9, "steps", 40)]


def test_a_run_lengthened_before_it_was_killed_is_told_with_its_whole_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(steering, "set_steps", lambda trainer, total: None)
    folder = JobFolder(tmp_path)
    folder.emit("steer", step=50, what="steps", value=200)
    folder.emit("steer", step=60, what="learning_rate", value=1e-3)
    gone_on = Steering(folder, 40)
    assert (gone_on.total, gone_on.length) == (None, 200)
    assert Steering(folder, 55).length == 200
    assert not gone_on.ask(Stepping(41), 41, "steps", 180)  # type: ignore[arg-type]
    gone_on.due(Stepping(50), 50)  # type: ignore[arg-type]
    assert (gone_on.total, gone_on.length) == (180, 180)  # what was asked for last counts
    again = Steering(folder, 40)  # and after another crash
    assert again.length == 180
    assert [change.step for change in again._again] == [41, 60]
