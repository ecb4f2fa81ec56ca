"""Where answers are labels: what the detectors say, and the confusion matrix one walks into."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from textual.app import App, ComposeResult

from ftstudio.core.limits import Limits
from ftstudio.data.label_cells import label_of, several
from ftstudio.engine.compare import headline
from ftstudio.evaluation.categories import categorise
from ftstudio.evaluation.classification import CATEGORIES, LabelMetric, joined, parted
from ftstudio.evaluation.confusion import confusion
from ftstudio.evaluation.context import of_predictions
from ftstudio.evaluation.metrics import title
from ftstudio.evaluation.pairing import overall
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.ranking import SEARCHED
from ftstudio.ui.compare import summary
from ftstudio.ui.errors.answers import Group
from ftstudio.ui.errors.confusion_page import ConfusionPage, Matrix


def answer(row: int, reference: str, output: str, **probabilities: float) -> Prediction:
    extra: dict[str, Any] = {"probabilities": probabilities} if probabilities else {}
    return Prediction(row, f"text {row}", reference, output, extra=extra)


def found(rows: list[Prediction]) -> dict[str, list[int]]:
    return categorise(rows, of_predictions(rows, only=CATEGORIES)).rows


def test_each_detector_finds_what_it_is_for() -> None:
    right = [answer(row, "a", "a", a=0.8, b=0.15, c=0.05) for row in range(20)]
    right += [answer(row, "b", "b", a=0.2, b=0.75, c=0.05) for row in range(20, 40)]
    odd = [
        answer(40, "a", "b", a=0.05, b=0.95, c=0.0),
        answer(41, "a", "b", a=0.46, b=0.5, c=0.04),
        answer(42, "c", "a", a=0.7, b=0.2, c=0.1),
        answer(43, "b", "nonsense", a=0.1, b=0.6, c=0.3),
    ]
    rows = found([*right, *odd])
    assert rows["wrong_label"] == [40, 41, 42, 43]
    assert rows["confident_wrong"] == [40]
    assert rows["near_miss"] == [41]
    assert rows["rare_class"] == [42]
    assert rows["unparsable"] == [43]
    assert 40 in rows["label_error"]
    assert not set(rows["label_error"]) & set(range(40))


def test_the_recipe_moves_what_counts_as_sure_near_far_or_a_hub() -> None:
    rows = [answer(row, "a", "a", a=0.8, b=0.2) for row in range(20)] + [answer(20, "a", "b", a=0.3, b=0.7)]

    def judged(rows: list[Prediction], only: tuple[str, ...], **limits: Any) -> dict[str, list[int]]:
        return categorise(rows, of_predictions(rows, only=only, limits=Limits(**limits))).rows

    assert judged(rows, CATEGORIES)["confident_wrong"] == judged(rows, CATEGORIES)["near_miss"] == []
    moved = judged(rows, CATEGORIES, confident=0.6, near_miss=0.5)
    assert moved["confident_wrong"] == moved["near_miss"] == [20]
    hubs = [
        Prediction(row, f"q {row}", f"a {row}", "x" if row < 3 else f"a {row}", extra={"others": 0.4})
        for row in range(20)
    ]
    assert judged(hubs, SEARCHED)["hub"] == judged(hubs, SEARCHED)["anisotropy"] == []
    moved = judged(hubs, SEARCHED, hub=3, all_alike=0.3)
    assert (moved["hub"], len(moved["anisotropy"])) == ([0, 1, 2], 20)


def test_planted_label_errors_are_found_like_cleanlab_would() -> None:
    """Confident learning on a good classifier: swapped labels stand out, right ones hardly ever do."""
    draw = random.Random(0)
    rows, swapped = [], set()
    for row in range(600):
        truth = draw.choice("abc")
        sure = 0.86 + 0.12 * draw.random()
        rest = sorted([draw.random() * (1 - sure), 0.0])
        others = [name for name in "abc" if name != truth]
        shares = {truth: sure, others[0]: rest[1], others[1]: 1 - sure - rest[1]}
        label = truth
        if row % 15 == 0:
            label = draw.choice(others)
            swapped.add(row)
        rows.append(answer(row, label, truth, **shares))
    doubted = set(found(rows)["label_error"])
    assert len(doubted & swapped) >= 0.85 * len(swapped)
    assert len(doubted - swapped) <= 0.02 * len(rows)


def test_a_model_without_skill_doubts_no_label() -> None:
    """One that tells the commonest label always, or guesses, would doubt every row of the others."""
    draw = random.Random(1)
    always = [answer(row, "a" if row % 3 else "b", "a", a=0.6 + 0.1 * draw.random(), b=0.3) for row in range(90)]
    said = categorise(always, of_predictions(always, only=CATEGORIES))
    assert said.rows["label_error"] == []
    assert "right in 67% of the rows" in said.reasons["label_error"]
    assert len(said.rows["wrong_label"]) == 30  # what is wrong is still told
    guessed = [answer(row, "ab"[row % 2], "ab"[row // 2 % 2], a=draw.random(), b=draw.random()) for row in range(80)]
    assert found(guessed)["label_error"] == []


def test_without_probabilities_it_is_said() -> None:
    rows = [answer(row, "a" if row % 2 else "b", "a") for row in range(30)]
    said = categorise(rows, of_predictions(rows, only=CATEGORIES))
    assert said.rows["wrong_label"] == [row for row in range(30) if not row % 2]
    assert "probabilities" in said.reasons["confident_wrong"]
    assert "probabilities" in said.reasons["label_error"]


def test_numbers_far_off() -> None:
    rows = [answer(row, f"{row % 5}", f"{row % 5 + 0.1}") for row in range(40)]
    rows += [answer(40, "0", "4"), answer(41, "1", "many")]
    said = categorise(rows, of_predictions(rows, only=("far_off",)))
    assert said.rows["far_off"] == [40, 41]


def test_confusion_counts_every_row_and_puts_neighbours_together() -> None:
    rows = [answer(row, "cat", "cat") for row in range(5)] + [answer(5, "cat", "lynx"), answer(6, "lynx", "cat")]
    rows += [answer(row, "car", "car") for row in range(7, 17)]
    matrix = confusion(rows)
    assert sum(len(members) for members in matrix.rows.values()) == len(rows)
    places = {name: place for place, name in enumerate(matrix.labels)}
    assert abs(places["cat"] - places["lynx"]) == 1
    assert matrix.count(places["cat"], places["cat"]) == 5
    assert matrix.support(places["car"]) == 10
    assert matrix.worst in ((places["cat"], places["lynx"]), (places["lynx"], places["cat"]))


def test_several_labels_are_paired_off() -> None:
    matrix = confusion([answer(0, "a | b", "b | c"), answer(1, "a", "")])
    names = {(matrix.labels[a], matrix.labels[b]): rows for (a, b), rows in matrix.rows.items()}
    assert names == {("b", "b"): (0,), ("a", "c"): (0,), ("a", ""): (1,)}


class Hosting(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[Group] = []

    def compose(self) -> ComposeResult:
        yield ConfusionPage()

    def on_confusion_page_chosen(self, event: ConfusionPage.Chosen) -> None:
        self.chosen.append(event.group)


@pytest.mark.parametrize("size", [(60, 18), (80, 24)])
async def test_one_walks_to_a_pair_and_opens_its_rows(size: tuple[int, int]) -> None:
    labels = [f"[/label {number}] \x1b[31m" for number in range(40)]  # hostile, and more than fit
    rows = [answer(number, label, label) for number, label in enumerate(labels)]
    rows += [answer(100 + number, labels[7], labels[33]) for number in range(3)]
    app = Hosting()
    async with app.run_test(size=size) as pilot:
        page = app.query_one(ConfusionPage)
        page.begin("all", confusion(rows), len(rows))
        page.matrix.focus()
        await pilot.pause()
        assert page.matrix.cursor == page.matrix.confusion.worst
        shown = "".join(segment.text for y in range(page.matrix.size.height) for segment in page.matrix.render_line(y))
        assert "[3]" in shown
        assert "\x1b" not in shown
        await pilot.press("enter")
        assert app.chosen[0].rows == (100, 101, 102)
        await pilot.press(*["up"] * 60, *["left"] * 60)
        assert page.matrix.cursor == (0, 0)
        assert isinstance(app.focused, Matrix)


def test_a_label_that_holds_the_sign_between_labels_stays_one_label() -> None:
    names = [label_of("yes | no"), label_of("maybe")]
    assert names == ["yes ¦ no", "maybe"]
    text = joined(names)
    assert parted(text) == ["maybe", "yes ¦ no"]
    assert several('["a | b", "c"]') == ["a ¦ b", "c"]
    [counts] = LabelMetric("f1").statistics([[names[0]]], [names[0]])
    assert counts.shape == (1, 3)  # one label: given rightly, given, wanted


def difference(metric: str, verdict: str, p: float = 0.5, better: bool | None = True) -> dict[str, Any]:
    return {
        "a": "base", "b": "tuned", "metric": metric, "difference": 0.5, "low": 0.25, "high": 0.75, "n": 40,
        "better": better, "verdict": verdict, "p_holm": p,
    }  # fmt: skip


def test_the_line_the_words_and_the_screen_about_a_comparison_say_the_same() -> None:
    shown = SimpleNamespace(a="base", b="tuned", run=SimpleNamespace(name="tuned"), trained=lambda name: "",
                            title=lambda metric: title(metric), differences=lambda: report["differences"])  # fmt: skip
    report: dict[str, Any] = {
        "arms": [{"name": "base"}, {"name": "tuned"}], "run": "tuned", "reference": "base", "forgetting": None,
        "titles": {},
    }  # fmt: skip
    unclear, length = "no clear difference", difference("length", "greater", 0.0001, None)
    for differences, line, words, screen in (
        # a language model's bits a byte tell, though ROUGE doesn't
        ([difference("bits_per_byte", "better", 0.001, False), difference("rougeL", unclear)], "Bits a byte",
         "tuned is better than base (Bits a byte", "▲ tuned is better than its base model   Bits a byte +0.500"),
        ([length, difference("rouge1", "better", 0.001), difference("rougeL", "better", 0.001)], "ROUGE-L, ROUGE-1",
         "tuned is better than base (ROUGE-L", "▲ tuned is better than its base model   ROUGE-L +0.500 · ROUGE-1"),
        ([difference("f1", "better", 0.001), difference("mcc", "better", 0.002), difference("brier", "worse", 0.01)],
         "F1 (macro), Brier score", "tuned is better than base in some metrics and worse in others (F1",
         "◆ tuned: better in some metrics, worse in others   F1 (macro) +0.500 · Brier score +0.500"),
        ([length, difference("rouge1", unclear), difference("rougeL", unclear)], "ROUGE-L",
         "can't tell tuned and base apart: need about 4 more rows (ROUGE-L",
         "= No clear difference between tuned and its base   ROUGE-L +0.500 · needs about 4 more rows"),
        ([length, difference("ece", "worse", 0.001)], "", "can't be judged", "tuned against its base model"),
    ):  # fmt: skip
        report["differences"] = differences
        assert headline(report) == " · ".join(f"{name} +0.500 [+0.250, +0.750]" for name in line.split(", ") if name)
        assert words in overall(("base", "tuned"), differences)["words"]
        assert "".join(text for text, _ in summary.headline(cast(Any, shown), 120)).startswith(screen)
