"""From failing rows back to the data: neighbours, groups, orders of review, exports. Real embedding, planted truths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError
from ftstudio.evaluation import exports, review
from ftstudio.evaluation.clusters import clusters, distinctive
from ftstudio.evaluation.neighbours import Neighbours
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.similarity import Embedder, load_embedder

THEMES = {
    "fridge": "The refrigerator is warm and the milk in it turned sour overnight",
    "invoice": "My invoice shows a payment that the bank never received from me",
    "parcel": "The parcel was delivered to a neighbour without any notice from the driver",
}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder("static", allow_torch=False)


def texts(theme: str, count: int) -> list[str]:
    openings = ("Hello.", "Good morning,", "Dear team,", "Please help:", "Again:", "Today", "Sadly", "Listen,")
    return [f"{openings[i % len(openings)]} {THEMES[theme]} ({theme} {i})." for i in range(count)]


def index(embedder: Embedder, themes: tuple[str, ...] = ("fridge", "invoice")) -> Neighbours:
    rows = [
        (i, text, f"answer about the {text.split()[-2]}")
        for i, text in enumerate(text for theme in themes for text in texts(theme, 20))
    ]
    found = Neighbours.build(embedder, rows)
    assert found is not None
    return found


def test_the_nearest_rows_are_those_of_the_theme(embedder: Embedder) -> None:
    found = index(embedder)
    assert {
        neighbour.row for neighbour in found.nearest("An invoice with a wrong payment at the bank", most=10)
    } <= set(range(20, 40))
    top = found.nearest(texts("fridge", 8)[7], most=1)[0]
    assert (top.row, round(top.cosine, 4), top.answer) == (7, 1.0, None)
    by_answer = found.nearest(answer="something about the (invoice", most=5)
    assert {neighbour.row for neighbour in by_answer} <= set(range(20, 40))
    both = found.nearest(texts("fridge", 1)[0], "answer about the (fridge", most=3)
    assert all(n.cosine == pytest.approx((n.prompt + n.answer) / 2, abs=1e-5) for n in both)  # type: ignore[operator]
    with pytest.raises(ValueError, match="nearest to what"):
        found.nearest()


def test_search_is_exact(embedder: Embedder) -> None:
    found = index(embedder)
    vectors = embedder.encode([text for theme in ("fridge", "invoice") for text in texts(theme, 20)])
    query = "a bank, a fridge and some milk"
    cosines = vectors @ embedder.encode([query])[0]
    expected = sorted(range(40), key=lambda row: -cosines[row])[:12]
    assert {n.row for n in found.nearest(query, most=12)} == set(expected)


def test_what_no_training_row_is_near_is_missing(embedder: Embedder) -> None:
    found = index(embedder)
    assert found.alone([*texts("fridge", 3), *texts("parcel", 2), *texts("invoice", 2)]) == [3, 4]
    few = Neighbours.build(embedder, [(0, "a", "b")])
    assert few is not None
    assert few.near is None
    assert few.alone(["something else"]) == []


def test_an_index_is_kept_and_only_taken_for_the_same_data_and_model(embedder: Embedder, tmp_path: Path) -> None:
    found = index(embedder)
    path = tmp_path / "neighbours.npz"
    found.save(path, "data-1")
    again = Neighbours.load(path, "data-1", embedder)
    assert again is not None
    query = "milk and invoices"
    assert [n.row for n in again.nearest(query, most=5)] == [n.row for n in found.nearest(query, most=5)]
    assert Neighbours.load(path, "data-2", embedder) is None
    assert Neighbours.load(tmp_path / "none.npz", "data-1", embedder) is None
    path.write_bytes(path.read_bytes()[:200])
    assert Neighbours.load(path, "data-1", embedder) is None


def test_building_can_be_stopped(embedder: Embedder) -> None:
    rows = ((i, f"text {i}", "answer") for i in range(10_000))
    told: list[int] = []
    assert Neighbours.build(embedder, rows, should_stop=lambda: len(told) >= 2, tell=told.append) is None
    assert told == [2000, 4000]


def test_groups_are_the_planted_themes_and_named_by_their_words(embedder: Embedder) -> None:
    mixed = [text for group in zip(*(texts(theme, 12) for theme in THEMES), strict=True) for text in group]
    found = clusters(mixed, embedder)
    assert sorted(len(cluster.places) for cluster in found) == [12, 12, 12]
    themes = list(THEMES)
    for cluster in found:
        inside = {themes[place % 3] for place in cluster.places}
        assert len(inside) == 1
        assert set(cluster.words) & set(THEMES[inside.pop()].lower().split())
    assert clusters(mixed, embedder) == found
    assert clusters(mixed[:5], embedder) == []
    one = clusters(["the very same text"] * 20, embedder)
    assert [len(cluster.places) for cluster in one] == [20]


def test_common_words_set_nothing_apart() -> None:
    inside = [["the", "fridge", "is", "warm"]] * 10
    outside = [["the", "parcel", "is", "late"]] * 10
    assert set(distinctive(inside, outside)) == {"fridge", "warm"}


def row(number: int, output: str, reference: str | None = "right") -> Prediction:
    return Prediction(number, f"prompt {number}", reference, output)


def test_orders_of_review(embedder: Embedder) -> None:
    rows = {i: row(i, text) for i, text in enumerate([*texts("fridge", 6), *texts("invoice", 6)])}
    named = {0: ["rare"], 3: ["common"], 5: ["common"], 7: ["common", "rare"]}
    assert review.queue(rows, "data", reviewed={0, 1}).rows == (*range(2, 12), 0, 1)
    assert review.queue(rows, "category", categories=named).rows[:4] == (3, 5, 7, 0)
    alike = review.queue(rows, "similar", present=8, embedder=embedder)
    assert alike.rows[0] == 8
    assert set(alike.rows[:6]) == set(range(6, 12))
    drawn = review.queue(rows, "random", seed=1).rows
    assert sorted(drawn) == list(rows)
    assert drawn == review.queue(rows, "random", seed=1).rows != review.queue(rows, "random", seed=2).rows


def test_the_worst_come_first_whatever_the_answers_are() -> None:
    def order(*predictions: Prediction) -> tuple[int, ...]:
        return review.queue({one.row: one for one in predictions}, "worst").rows

    assert order(row(0, "right so"), row(1, "right"), row(2, "no", None), row(3, "wrong")) == (3, 0, 1, 2)
    labels = [
        replace(row(at, "a", "b"), extra={"probabilities": {"a": 1 - p, "b": p}}) for at, p in enumerate((0.4, 0.1))
    ]
    assert order(*labels) == (1, 0)
    searched = [replace(row(at, "a", "b"), extra={"rank": rank}) for at, rank in enumerate((1, 9, 2))]
    assert order(*searched) == (1, 2, 0)
    scored = [
        row(at, f"{cosine}", f"{score}") for at, (cosine, score) in enumerate(((0.1, 0), (0.3, 5), (0.5, 2), (0.9, 3)))
    ]
    assert order(*scored)[0] == 1  # the most alike pair has the second lowest cosine


def test_the_least_sure_rows_lie_between_the_kinds(embedder: Embedder) -> None:
    between = "The refrigerator invoice shows a payment for milk that turned sour"
    rows = {i: row(i, text) for i, text in enumerate([*texts("fridge", 6), *texts("invoice", 6), between])}
    verdicts = {i: i < 6 for i in (0, 1, 2, 6, 7, 8)}
    found = review.queue(rows, "unsure", verdicts=verdicts, reviewed=verdicts, embedder=embedder)
    assert found.rows[0] == 12
    assert set(found.rows[-6:]) == set(verdicts)
    assert "judge 3" in review.queue(rows, "unsure", verdicts={0: True}, embedder=embedder).why
    assert review.queue(rows, "unsure", verdicts=verdicts).order == "data"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is slow at drawing, too
@given(st.sets(st.integers(0, 30)), st.sampled_from(["data", "category", "random", "worst"]))
def test_every_order_holds_every_row_once_and_reviewed_ones_last(reviewed: set[int], order: str) -> None:
    rows = {i: row(i, "x") for i in range(20)}
    found = review.queue(rows, order, reviewed=reviewed, categories={1: ["a"], 4: ["b"]}).rows
    assert sorted(found) == list(range(20))
    seen = [number in reviewed for number in found]
    assert seen == sorted(seen)


def test_exports_are_files_that_the_studio_reads(tmp_path: Path) -> None:
    from ftstudio.data.read import open_dataset

    rows = [row(0, "wrong"), row(1, "right"), row(2, "bad", None), row(3, "worse")]
    held_out = exports.as_held_out(rows, {0: ["format", "copying"]})
    path = exports.write(held_out, tmp_path, "hard")
    assert [entry["row"] for entry in held_out] == [0, 1, 3]
    assert open_dataset(path)[0] == {
        "prompt": "prompt 0",
        "completion": "right",
        "row": 0,
        "categories": ["copying", "format"],
    }
    pairs = exports.as_preferences(rows, {2: "better", 3: "best"})
    assert [(pair["row"], pair["chosen"], pair["rejected"]) for pair in pairs] == [
        (0, "right", "wrong"), (2, "better", "bad"), (3, "best", "worse"),
    ]  # fmt: skip
    second = exports.write(pairs, tmp_path, "hard")
    assert second.name == "hard-2.jsonl"
    assert len(path.read_text().splitlines()) == 3
    assert json.loads(second.read_text().splitlines()[0])["chosen"] == "right"
    with pytest.raises(StudioError, match="No row"):
        exports.write([], tmp_path, "none")


def test_vectors_have_length_one(embedder: Embedder) -> None:
    assert np.allclose(np.linalg.norm(embedder.encode(texts("parcel", 5)), axis=1), 1, atol=1e-5)


def test_the_same_detectors_find_the_faults_planted_in_the_training_answers() -> None:
    """The demo's training rows hold planted faults, listed: misspelt answers and answers in another form."""
    from ftstudio import demo
    from ftstudio.evaluation.context import build
    from ftstudio.evaluation.contract import Contract
    from ftstudio.evaluation.training_faults import in_training

    rows = [json.loads(line) for line in demo.TRAIN.read_text().splitlines()]
    faults = json.loads(demo.FAULTS.read_text())
    planted = {kind: {f["row"] for f in faults if f["kind"] == kind} for kind in ("misspelling", "format")}
    from ftstudio.demo.tasks import CONTRACT

    prompts, answers = ([row[key] for row in rows] for key in ("prompt", "completion"))
    context = build(prompts, answers, answers=answers, contract=Contract("regex", CONTRACT))
    triples = [(i, row["prompt"], row["completion"]) for i, row in enumerate(rows)]
    found = in_training(triples, context)
    assert found is not None
    assert planted["format"] <= set(found.rows["format"])
    assert len(set(found.rows["misspelling"]) & planted["misspelling"]) >= 0.8 * len(planted["misspelling"])
    assert len(set(found.rows["misspelling"]) - planted["misspelling"]) <= 0.05 * len(rows)
    assert not found.judged["too_short"]
    assert in_training(triples, context, should_stop=lambda: True) is None
