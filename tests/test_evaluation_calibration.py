"""Calibration: the Brier score as scikit-learn's, the calibration error as its formula, both compared between arms."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from ftstudio.evaluation.calibration import BINS, METRICS, CalibrationMetric, reliability, summary
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.confusion import confusion
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.errors.confusion_page import ConfusionPage

NAMES = ("a", "b", "c")
Told = tuple[dict[str, Any], str, str]


def shared(weights: list[int], wanted: int) -> Told:
    """A row whose probabilities go by WEIGHTS, and whose answer is the likeliest label."""
    shares = {name: weight / sum(weights) for name, weight in zip(NAMES, weights, strict=False)}
    return {"probabilities": shares}, max(shares, key=shares.__getitem__), NAMES[wanted]


def rows(count: int) -> st.SearchStrategy[list[Told]]:
    one = st.tuples(st.lists(st.integers(1, 60), min_size=count, max_size=count), st.integers(0, count - 1))
    return st.lists(one.map(lambda pair: shared(*pair)), min_size=1, max_size=40)


def by_formula(judged: list[tuple[float, bool]]) -> float:
    """Guo et al. 2017, (3): bin m holds what is above (m - 1) / M up to m / M."""
    found = 0.0
    for m in range(1, BINS + 1):
        low = -1 if m == 1 else (m - 1) / BINS
        inside = [(value, right) for value, right in judged if low < value <= m / BINS]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(value for value, _ in inside) / len(inside)
            found += len(inside) / len(judged) * abs(accuracy - confidence)
    return found


@settings(max_examples=25, deadline=None)
@given(rows(3))
def test_of_one_label_a_row_they_are_the_formulas_and_scikit_learns(told: list[Told]) -> None:
    from sklearn.metrics import brier_score_loss

    found = summary(told)
    judged = [(extra["probabilities"][output], output == reference) for extra, output, reference in told]
    assert found["ece"] == pytest.approx(by_formula(judged), abs=1e-12)
    matrix = [[extra["probabilities"][name] for name in NAMES] for extra, _, _ in told]
    brier = brier_score_loss([right for *_, right in told], matrix, labels=NAMES, scale_by_half=True)
    assert found["brier"] == pytest.approx(brier, abs=1e-12)
    shown = reliability(prediction(*one) for one in told)
    assert shown is not None
    assert (shown.error, shown.brier, shown.several) == (found["ece"], found["brier"], False)
    assert sum(part.count for part in shown.bins) == len(told)


@settings(max_examples=15, deadline=None)
@given(rows(2))
def test_of_two_labels_the_brier_score_is_the_usual_one(told: list[Told]) -> None:
    from sklearn.metrics import brier_score_loss

    wanted = [int(reference == "b") for *_, reference in told]
    shares = [extra["probabilities"]["b"] for extra, *_ in told]
    assert summary(told)["brier"] == pytest.approx(brier_score_loss(wanted, shares, pos_label=1), abs=1e-12)


several_labels = st.lists(
    st.tuples(st.lists(st.integers(0, 100), min_size=3, max_size=3), st.sets(st.sampled_from(NAMES))), min_size=2,
    max_size=30,
).filter(lambda rows: any(sum(shares) != 100 for shares, _ in rows))  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(several_labels)
def test_of_several_labels_each_ones_probability_is_judged(drawn: list[tuple[list[int], set[str]]]) -> None:
    from sklearn.metrics import brier_score_loss

    told: list[Told] = []
    judged = []
    for percents, wanted in drawn:
        shares = {name: value / 100 for name, value in zip(NAMES, percents, strict=True)}
        told.append(({"probabilities": shares}, "", " | ".join(sorted(wanted))))
        judged += [(shares[name], name in wanted) for name in NAMES]
    found = summary(told)
    assert found["ece"] == pytest.approx(by_formula(judged), abs=1e-12)
    right, shared_out = [int(one) for _, one in judged], [value for value, _ in judged]
    assert found["brier"] == pytest.approx(brier_score_loss(right, shared_out, pos_label=1), abs=1e-12)


def test_what_does_not_tell_its_probabilities_has_no_calibration() -> None:
    told = [shared([1, 2], 0), ({}, "a", "a")]
    assert summary(told) == {}
    for odd in ({"a": 1.5}, {"a": "much"}, [], {}, {"a": float("nan")}, {"a": None}):
        assert summary([({"probabilities": odd}, "a", "a")]) == {}
    assert reliability([prediction({}, "a", "a"), prediction(*shared([1, 2], 0), row=1)]).rows == 1  # type: ignore[union-attr]
    assert reliability([prediction({}, "a", "a")]) is None
    known, unknown = shared([1, 1], 0), ({"probabilities": {"a": 1.0, "b": 0.0}}, "a", "new")
    assert summary([unknown])["brier"] == 1.0  # nothing was left for the label that is right
    assert summary([known])["brier"] == pytest.approx(0.25)


def prediction(extra: dict[str, Any], output: str, reference: str | None, row: int = 0) -> Prediction:
    return Prediction(row, f"text {row}", reference, output, extra=extra)


def arm(name: str, sure: float, right: float, count: int = 200, **more: Any) -> Arm:
    """An arm that is as SURE of each answer as said, and RIGHT as often."""
    draw, found = random.Random(0), []
    for row in range(count):
        wanted, other = ("a", "b") if row % 2 else ("b", "a")
        output = wanted if draw.random() < right else other
        shares = {name: sure if name == output else 1 - sure for name in ("a", "b")}
        found.append(Prediction(row, f"text {row}", wanted, output, extra={"probabilities": shares} | more))
    return Arm(name, found)


def test_arms_are_compared_by_it_and_lower_is_better() -> None:
    names = ("accuracy", "brier", "ece")
    result = compare([arm("base", 0.7, 0.7), arm("boastful", 0.99, 0.7)], metrics=names, resamples=400)
    before, after = (entry["metrics"] for entry in result["arms"])
    assert before["ece"] < 0.1 < 0.2 < after["ece"]
    assert after["ece"] == pytest.approx(0.99 - after["accuracy"])
    found = {entry["metric"]: entry for entry in result["differences"]}
    assert found["ece"]["better"] is found["brier"]["better"] is False
    assert found["ece"]["verdict"] == found["brier"]["verdict"] == "worse"
    assert found["brier"]["low"] < found["brier"]["difference"] < found["brier"]["high"]
    assert "15 bins" in result["signatures"]["ece"]
    # a head that knows nothing, and says so, has no calibration error: it is no better for that
    result = compare([arm("base", 0.5, 0.5), arm("tuned", 0.99, 0.9)], metrics=names, resamples=400)
    found = {entry["metric"]: entry["verdict"] for entry in result["differences"]}
    assert (found["accuracy"], found["brier"]) == ("better", "better")
    assert result["overall"][0]["verdict"] == "better"
    result = compare([arm("base", 0.8, 0.8), arm("tuned", 0.99, 0.8)], metrics=["ece"], resamples=100)
    assert "doesn't say which is better" in result["overall"][0]["words"]
    plain = [Prediction(row.row, row.prompt, row.reference, row.output) for row in arm("file", 0.8, 0.8).predictions]
    result = compare([arm("base", 0.8, 0.8), Arm("file", plain)], metrics=names, resamples=100)
    assert [entry["metric"] for entry in result["skipped"]] == ["brier", "ece"]
    assert "probabilities" in result["skipped"][0]["reason"]
    with pytest.raises(TypeError, match="probabilities"):
        CalibrationMetric("ece").statistics([["a"]], ["a"])
    assert set(METRICS) == {"brier", "ece"}


class Hosting(App[None]):
    def compose(self) -> ComposeResult:
        yield ConfusionPage()


async def test_bars_show_where_sure_and_right_part() -> None:
    answers = [*arm("tuned", 0.97, 0.7).predictions]
    answers += [prediction({"probabilities": {"a": 0.6, "b": 0.4}}, "a", "a", 500 + at) for at in range(20)]
    app = Hosting()
    async with app.run_test(size=(80, 24)) as pilot:
        page = app.query_one(ConfusionPage)
        page.begin("all answers", confusion(answers), len(answers), reliability(answers))
        page.turn()
        await pilot.pause()
        assert app.focused is page.bars
        lines = ["".join(text for text, _ in page.bars.line(at)) for at in range(page.bars.total)]
        assert len(lines) == 2
        assert "53 – 60 %" in lines[0]
        assert lines[0].endswith("too careful")
        assert "too sure" in lines[1]
        assert "97 %" in lines[1]
        right = sum(one.output == one.reference for one in answers[:200])
        assert f"{right / 2:.0f} %" in lines[1]
        assert all(len(line) <= 79 for line in lines)
        assert "calibration error" in page.query_one("#confusion-told").text  # type: ignore[attr-defined]
        page.turn()
        assert page.matrix.display
        page.begin("all answers", confusion(answers), len(answers), None)
        page.turn()
        assert "don't tell how probable" in page.query_one("#confusion-told").text  # type: ignore[attr-defined]
