"""What a headless job tells, line by line."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ftstudio.cli.follow import Teller
from ftstudio.cli.output import Out


class Told(Out):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.json = False
        self._stdout = self._stderr = io.StringIO()  # type: ignore[assignment]

    @property
    def lines(self) -> list[str]:
        return self._stdout.getvalue().splitlines()  # type: ignore[attr-defined]


def told(events: list[dict[str, Any]], pace: float = 0.0) -> list[str]:
    """The lines for EVENTS that come PACE seconds apart."""
    now = [0.0]
    out = Told()
    teller = Teller(out, clock=lambda: now[0])
    for event in events:
        teller.tell(event)
        now[0] += pace
    return out.lines


def steps(count: int, total: int) -> list[dict[str, Any]]:
    return [
        {"kind": "step", "step": n, "loss": 1.5, "tokens_per_second": 1234.5, "eta": 9.0} for n in range(1, count + 1)
    ]


START = {
    "kind": "start",
    "total_steps": 1000,
    "rows": {"train": 30, "eval": 4},
    "tokens": {"total": 90, "trained": 40, "lost": 7},
    "parameters": {"total": 5000, "trainable": 100},
}


def test_what_is_trained_and_lost_is_told_before_the_first_step():
    line = told([START])[0]
    assert line == (
        "  30 rows, 4 held out · 40 of 90 tokens trained, 7 lost to max_length · 100 of 5,000 parameters learn"
    )


def test_an_alert_that_was_said_before_it_could_be_written_is_said_once():
    out = Told()
    teller, alert = Teller(out), {"kind": "alert", "level": "error", "text": "The disk is full."}
    teller.said_before.append("The disk is full.")
    teller.tell(alert)
    assert out.lines == []
    teller.tell(alert)  # another time
    assert out.lines == ["  error: The disk is full."]


def test_progress_that_is_none_is_told_once():
    events = [{"kind": "progress", "arm": "base", "done": n, "total": 9, "eta": 3.0} for n in (0, 0, 0, 4, 4, 9, 9)]
    assert [line.split("  ETA")[0] for line in told(events, pace=10.0)] == ["  base 0/9", "  base 4/9", "  base 9/9"]


@pytest.mark.parametrize(("pace", "fewest", "most"), [(0.05, 9, 11), (6.0, 140, 460), (60.0, 990, 1000)])
def test_progress_is_no_flood_and_no_silence(pace: float, fewest: int, most: int):
    """A thousand steps in 50 seconds, in an hour and 40 minutes, and in 17 hours; the last step is told."""
    lines = told([START, *steps(1000, 1000)], pace)[1:]
    assert fewest <= len(lines) <= most
    assert lines[0] == "  step 1/1000  loss 1.500  1,234 tok/s  ETA 9s"
    assert lines[-1].startswith("  step 1000/1000")


def test_what_is_changed_on_the_way_is_told_and_counts():
    rate = {"kind": "steer", "step": 2, "what": "learning_rate", "value": 5e-5, "why": "as asked"}
    length = {"kind": "steer", "step": 3, "what": "steps", "value": 4, "why": "as asked"}
    lines = told([START, *steps(2, 1000), rate, length, *steps(4, 4)[3:]])
    assert lines[2:] == [
        "  step 2  learning rate 5e-05 (as asked)",
        "  step 3  ends at step 4 (as asked)",
        "  step 4/4  loss 1.500  1,234 tok/s  ETA 9s",
    ]


def test_phases_are_named_once_and_the_rhythm_of_checkpoints_is_not():
    events = [
        {"kind": "phase", "phase": "loading libraries", "text": "torch"},
        {"kind": "phase", "phase": "loading libraries", "text": "torch"},
        {"kind": "phase", "phase": "training", "text": ""},
        {"kind": "phase", "phase": "saving", "text": "checkpoint of step 10"},
        {"kind": "checkpoint", "step": 10, "reason": "every 10 steps"},
        {"kind": "checkpoint", "step": 12, "reason": "as asked"},
        {"kind": "phase", "phase": "paused", "text": "at step 12"},
        {"kind": "phase", "phase": "training", "text": ""},
        {"kind": "phase", "phase": "saving", "text": "the tuned model"},
    ]
    assert told(events) == [
        "  loading libraries: torch",
        "  step 12  checkpoint saved (as asked)",
        "  paused: at step 12",
        "  going on",
        "  saving: the tuned model",
    ]


def test_texts_of_data_and_models_are_harmless():
    events = [
        {"kind": "alert", "level": "warning", "text": "a\x1b[31mb\nc"},
        {"kind": "progress", "arm": "x\x1b]0;y\x07", "done": 1, "total": 1},
        {"kind": "phase", "phase": "loading model", "text": "/tmp/\x1b[2J"},
    ]
    lines = told(events)
    assert len(lines) == 3
    assert not any("\x1b" in line or "\x07" in line for line in lines)


def test_what_is_unknown_is_passed_over():
    assert told([{"kind": "telemetry", "cpu": 3}, {"kind": "never heard of"}, {}]) == []
