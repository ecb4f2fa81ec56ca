"""What the pages of Compare say of a report's forgetting panel and judge, in words and at any width."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from ftstudio.core.run import RunFolder
from ftstudio.ui.compare.arm_choice import candidates
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.forgetting import Forgetting, verdict
from ftstudio.ui.compare.judged import JudgePage, pair_lines
from ftstudio.ui.text.lines import Line

HOSTILE = "[/b] \x1b[2J\u202e"
FLIPS = {"n": 100, "base": 60, "tuned": 48, "broken": 15, "fixed": 3, "p": 0.008, "verdict": "worse"}
PART = {
    "change": 0.726, "bits_per_byte": 1.352, "kl": 1.25, "canaries": FLIPS, "guessing": False, "level": "much",
    "forms": {**FLIPS, "n": 20, "base": 12, "tuned": 12, "broken": 0, "fixed": 0, "p": 1.0},
    "held_out": None,
    "off_task": [
        {"title": f"Repetitive{HOSTILE}", "base": 1, "tuned": 19, "n": 40, "p": 0.0001, "verdict": "worse"},
        {"name": "empty", "title": "Empty", "base": 0, "tuned": 0, "n": 40, "p": 1.0, "verdict": "no clear difference"},
    ],
}  # fmt: skip
PANEL = {
    "base_bits_per_byte": 0.626, "tuned_bits_per_byte": 1.352, "change": 0.726, "arms": {"base": 0.626, "run": 1.352},
    "main": "run", "level": "much", "words": f"run forgot much: +0.726 bits a byte on general text{HOSTILE}",
    "panel": {"run": PART, "run@200": {**PART, "change": 0.05, "kl": None, "level": "some"}},
}  # fmt: skip
JUDGED = {
    "a": "base", "b": "run", "rows": 60, "wins": 40, "losses": 12, "ties": 8, "alike": 3, "unreadable": 2,
    "rate": 0.77, "low": 0.64, "high": 0.86, "p": 0.0001, "win_rate": 0.73, "verdict": "better", "needed": None,
    "flips": {"share": 0.4, "n": 60}, "first": {"share": 0.7, "n": 110}, "longer": {"share": 0.5, "n": 50},
    "length_controlled": {"rate": 0.7, "low": 0.55, "high": 0.8}, "agreement": {"share": 0.9, "n": 20, "votes": 24},
}  # fmt: skip


def arms(tmp_path: Path, **report: Any) -> Arms:
    """The comparison of a run with REPORT, without any answer."""
    found = Arms(RunFolder(tmp_path / "studio" / "runs" / "run"), None)
    found.report = {"rows": 0, "per_row": [], "differences": [], **report}
    return found


def text_of(lines: Sequence[Line], width: int) -> str:
    """LINES as text; each within WIDTH cells and harmless."""
    found = ["".join(part for part, _ in line) for line in lines]
    assert all(cell_len(line) <= width for line in found)
    assert not any(char in "".join(found) for char in "\x1b\u202e\x00")
    return "\n".join(found)


@pytest.mark.parametrize("width", [77, 117, 157])
def test_the_panel_tells_what_was_lost_off_the_task(tmp_path: Path, width: int) -> None:
    page = Forgetting()
    page.arms = arms(tmp_path, forgetting=PANEL)
    text = text_of(page.compose_lines(width), width)
    assert "▲ run forgot much" in text
    assert "0.626 → 1.352 bits a byte (+0.726)" in text
    assert "1.250 nats a token" in text
    assert "60 → 48 of 100 right: 15 broken, 3 fixed" in text
    assert "p 0.008" in text
    assert "1 → 19 of 40" in text
    assert "Empty" not in text  # neither has it
    assert "tuned@200" in text
    assert "held-out rows" in text


def test_an_older_report_and_none_are_told_too(tmp_path: Path) -> None:
    page = Forgetting()
    page.arms = arms(tmp_path, forgetting={"change": 0.01, "arms": {"base": 0.6, "run": 0.61}})
    assert "✓ Hardly anything was forgotten: +0.010" in text_of(page.compose_lines(77), 77)
    page.arms = arms(tmp_path, forgetting=None)
    assert "Forgetting wasn't measured" in text_of(page.compose_lines(77), 77)
    assert verdict({"change": 0.11})[1] == "warn"


@pytest.mark.parametrize("width", [77, 117])
def test_the_judge_is_told_with_its_own_faults(tmp_path: Path, width: int) -> None:
    page = JudgePage()
    judge = {
        "model": f"m{HOSTILE}",
        "rubric": "right " * 40,
        "complete": False,
        "reason": "the server is gone",
        "pairs": [JUDGED],
    }
    page.arms = arms(tmp_path, judge=judge)
    text = text_of(page.compose_lines(width), width)
    assert "▲ tuned is better than base, says the judge" in text
    assert "the server is gone" in text
    assert "77 % of rows with a winner went to tuned; 64 – 86 %" in text
    assert "40 % of verdicts changed with the order" in text
    assert "70 % went to the answer shown first" in text
    assert "agrees with 90 % of the blind votes (24 rows with both)" in text
    page.arms.a, page.arms.b = "run", "base"
    assert "It judged no base against tuned" in text_of(page.compose_lines(width), width)
    page.arms = arms(tmp_path)
    assert "No judge was asked." in text_of(page.compose_lines(width), width)


def test_a_judge_that_cannot_tell_says_how_many_rows_it_would_take(tmp_path: Path) -> None:
    unclear = {
        **JUDGED,
        "verdict": "no clear difference",
        "needed": 1234,
        "agreement": None,
        "flips": None,
        "rate": None,
    }
    text = text_of(pair_lines(arms(tmp_path), unclear, 77), 77)
    assert "The judge can't tell tuned and base apart: about 1,300 more rows are needed" in text
    assert "no blind votes to hold it against yet" in text


def test_whole_checkpoints_alone_can_be_compared(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "run")
    for step, whole in ((5, True), (10, False)):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if whole:
            (folder / "complete.json").write_text("{}")
    names = [name for name, _ in candidates(run, None, [], lambda _: None)]
    assert "tuned@5" in names
    assert "tuned@10" not in names
