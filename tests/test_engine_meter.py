"""The clock of a run: time apart, time to the end; and what a model's arithmetic needs."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftstudio.engine.ahead import BEST, SAVING, Ahead
from ftstudio.engine.flops import peak, per_token
from ftstudio.engine.meter import Meter
from ftstudio.engine.pace import Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_time_to_the_end_is_right_early(share: float):
    """Batches of very different length, the longest first; slow first steps; evaluations and checkpoints to come."""
    clock, draw = Clock(), random.Random(3)
    meter = Meter(clock=clock)
    sizes = [2000, *(draw.randint(50, 1500) for _ in range(399))]
    mean, left = sum(sizes) / len(sizes), None
    evaluate, save = 20, 50

    def work(kind: str, seconds: float) -> None:
        with meter.away(kind):
            clock.now += seconds

    work("evaluating", 30.0)  # the base answers too
    for step, tokens in enumerate(sizes, 1):
        clock.now += (5.0 if step < 3 else 0.2) + tokens * 1e-3 * draw.uniform(0.9, 1.1)
        meter.tokens += tokens
        meter.step()
        if step % evaluate == 0:
            work("evaluating", 6.0)
        if step % save == 0:
            work("saving", 2.0)
        if left is None and step >= share * len(sizes):
            ahead = {"evaluating": 400 // evaluate - step // evaluate, "saving": 400 // save - step // save}
            left, begun = meter.eta(400 - step, mean, ahead), clock.now
    assert left is not None
    assert left == pytest.approx(clock.now - begun, rel=0.1)


@pytest.mark.parametrize(("until", "judging", "saving"), [(1.0, 20, 19), (0.4, 20, 19), (1.0, 2, 60)])
def test_checkpoints_of_the_best_evaluations_are_expected(until: float, judging: float, saving: float):
    """It gets better at every evaluation UNTIL some part of the run; a checkpoint takes as long as an evaluation, or
    much longer, and is then made only now and then (`callback._keep_best`)."""
    clock, every, save, last = Clock(), 50, 1000, 1000
    meter, ahead = Meter(clock=clock), Ahead(every, save, best=True, early=False)
    saved, told = 0.0, 0.0

    def work(kind: str, seconds: float) -> None:
        with meter.away(kind):
            clock.now += seconds

    work("evaluating", judging)
    for step in range(1, last + 1):
        clock.now += 1
        meter.tokens += 1000
        meter.step()
        if step % every == 0:
            work("evaluating", judging)
            if step < last:
                kept = step <= until * last and meter.last("saving") <= max(judging, SAVING * (meter.seconds - saved))
                ahead.chance(kept)
                if kept or step % save == 0:
                    work("saving", saving)
                    saved = meter.seconds
        if step == 51:  # a little over 5 %
            eta = meter.eta(last - step, 1000.0, ahead.counts(step, last, 1000.0, meter))
            assert eta is not None
            told = clock.now + eta
    work("saving", saving)
    work("saving", saving)  # the model
    assert told == pytest.approx(clock.now, rel=0.1)


def test_a_resumed_run_knows_how_often_an_evaluation_was_saved():
    ahead = Ahead(10, 20, best=True, early=False)
    events = [{"kind": "eval", "step": step} for step in (0, 10, 20, 30, 40, 50, 70)]
    events += [{"kind": "checkpoint", "step": step, "reason": "every 20 steps"} for step in (20, 40)]
    events += [{"kind": "checkpoint", "step": step, "reason": BEST} for step in (10, 30, 70)]
    ahead.goes_on(events, 50)
    assert (ahead.chances, ahead.kept) == (3, 2)  # 10 and 30 of 10, 30 and 50


def test_a_machine_that_becomes_slower_is_followed():
    clock, draw = Clock(), random.Random(5)
    meter = Meter(clock=clock)
    for step in range(1000):
        tokens = draw.randint(200, 1500)
        clock.now += (0.1 + tokens * 1e-3) * (1.0 if step < 300 else 3.0)  # others have come
        meter.tokens += tokens
        meter.step()
        if step == 450:
            told, begun = meter.eta(999 - step, 850.0, {}), clock.now
    assert told == pytest.approx(clock.now - begun, rel=0.1)


def test_what_the_first_evaluation_alone_does_is_not_expected_again():
    clock = Clock()
    meter = Meter(clock=clock, took={"saving": [9.0, 2.0, 4.0]})
    with meter.away("evaluating"):
        clock.now += 6
        with meter.once():
            clock.now += 100  # asks the base
    for _ in range(3):
        clock.now += 1
        meter.tokens += 10
        meter.step()
    assert meter.seconds == 3
    assert meter.eta(5, 10.0, {"evaluating": 2, "saving": 1}) == pytest.approx(5 + 12 + 3)
    assert meter.lately() == {"saving": [9.0, 2.0, 4.0], "evaluating": [6.0]}
    assert meter.last("evaluating") == 6.0


def test_time_away_is_no_training_time():
    clock = Clock()
    meter = Meter(10.0, 100, clock)
    clock.now += 5
    with meter.away("saving"), meter.away():
        clock.now += 7
        assert meter.seconds == 15.0
    assert meter.seconds == 15.0
    meter.tokens += 50
    assert meter.rate() == 10.0
    assert meter.eta(1, 1.0, {}) is None


@pytest.mark.parametrize(
    ("card", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("Tesla T4", "fp16", 65),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA L4", "bf16", 121),
        ("GeForce GTX 1080", "fp16", None),
        ("NVIDIA H100 80GB HBM3", "fp32", None),
        ("NVIDIA GeForce RTX 4090", "bf16", 165),
    ],
)
def test_what_a_card_can_do(card: str, precision: str, tera: float | None):
    assert peak(card, precision) == (None if tera is None else tera * 1e12)


def _paced(pace: Pace, moments: list[tuple[int, float, float]], last: int = 400) -> list[str]:
    """What PACE says at evaluations: (step, seconds trained since the one before, seconds it takes) each."""
    clock, said = Clock(), []
    meter = Meter(clock=clock)
    for step, trained, took in moments:
        clock.now += trained
        with meter.away("evaluating"):
            said.append(pace.judged(meter, step, last)[0])
            clock.now += took
    return said


def test_evaluations_that_take_much_of_the_time_are_told_once():
    said = _paced(Pace(every=50), [(0, 0, 60), (50, 300, 60), (100, 300, 150), (150, 300, 150), (200, 300, 150)])
    assert [bool(one) for one in said] == [False, False, False, True, False]
    assert said[3] == (
        "Evaluations and checkpoints take 33% of the time: 50 steps of training take 5m00s, "
        "an evaluation after them 2m30s."
    )
    assert not any(_paced(Pace(every=50, said=True), [(0, 0, 60), (50, 10, 60), (100, 10, 60)]))  # before a resume
    assert not any(_paced(Pace(every=50), [(0, 0, 2), (50, 1, 2), (100, 1, 2)]))  # nobody waits for sixteen seconds


def test_what_a_person_asks_for_and_the_last_step_are_no_rhythm():
    """An evaluation right after another is no sign that evaluations take all of the time."""
    asked = [
        (0, 0.0, 60.0),
        (50, 600.0, 60.0),
        (50, 0.0, 60.0),
        (51, 12.0, 60.0),
        (100, 588.0, 60.0),
        (101, 12.0, 60.0),
    ]
    assert not any(_paced(Pace(every=50), asked, last=101))


def test_checkpoints_count_too():
    clock, pace = Clock(), Pace(every=50, save=10)
    meter, told = Meter(clock=clock), []
    for step in (0, 50):
        with meter.away("evaluating"):
            told.append(pace.judged(meter, step, 400))
            clock.now += 1
        clock.now += 30
        with meter.away("saving"):
            clock.now += 9
    assert told[0] == ("", "")
    assert "a checkpoint every 10 steps 9s" in told[1][0]
    assert "save_steps" in told[1][1]


def test_what_is_due_at_the_step_that_is_told_is_still_to_come(tmp_path: Path):
    """A step is told before its evaluation and checkpoint: 5 % of a run is often such a step."""
    from ftstudio.core.folder import JobFolder
    from ftstudio.engine.callback import RunDirector

    folder = JobFolder(tmp_path)
    control: Any = None
    director = RunDirector(folder, control, every=20, save=50, first=0)
    ahead: list[dict[str, int]] = []
    meter = SimpleNamespace(eta=lambda steps, tokens, times: ahead.append(times))
    trainer: Any = SimpleNamespace(meter=meter, tokens_a_step=lambda first, last: 1.0)
    for step in (19, 20, 21, 100, 110):
        director._eta(trainer, step, 110)
    assert [times["evaluating"] for times in ahead] == [6, 6, 5, 2, 1]
    assert [times["saving"] for times in ahead] == [4, 4, 4, 3, 2]  # the tuned model among them


def test_of_a_mixture_only_the_experts_that_a_token_meets_are_counted():
    """By hand: 6 a weight that learns, 2 of 8 experts; queries may be wider than the model."""
    import torch
    from transformers import AutoModelForCausalLM, MixtralConfig

    width, wide, layers, heads, each, experts, met, words = 16, 32, 2, 4, 8, 8, 2, 64
    config = MixtralConfig(
        vocab_size=words, hidden_size=width, intermediate_size=wide, num_hidden_layers=layers, head_dim=each,
        num_attention_heads=heads, num_key_value_heads=heads, num_local_experts=experts, num_experts_per_tok=met,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    attention, expert, router = 4 * width * heads * each, 3 * width * wide, width * experts
    weights = layers * (attention + met * expert + router)
    rows, labels = 10.0, 0.5
    wanted = 6 * weights + 6 * layers * heads * each * rows + 6 * labels * width * words
    assert per_token(model, rows, labels) == pytest.approx(wanted)
