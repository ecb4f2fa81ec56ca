"""A mix is compared source by source, as a comparison of the source's rows alone would be, and all say so."""

from __future__ import annotations

import html
from typing import Any

import pytest

from ftstudio.evaluation import statistics
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.layout import width
from ftstudio.evaluation.parts import SOURCE
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.publish import markdown, page
from ftstudio.evaluation.report import compare_text

ODD = "[b]odd[/b]"
SOURCES = [ODD] * 40 + ["letters"] * 30 + ["tiny"] * 3
METRICS = ["exact_match", "bleu"]


def arms(rows: range) -> list[Arm]:
    """A tuned arm that learnt the first source, unlearnt the second, and has three rows of a third."""
    right = {row: f"answer {row % 7} of these" for row in rows}
    kept = {"base": lambda row: row % 10 == 0 or 40 <= row < 70, "tuned": lambda row: row < 40 or row % 9 == 0}
    return [
        Arm(name, [Prediction(row, f"q {row}", right[row], right[row] if keep(row) else "nothing") for row in rows])
        for name, keep in kept.items()
    ]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    rows = {row: {SOURCE: name} for row, name in enumerate(SOURCES)}
    return compare(arms(range(73)), metrics=METRICS, rows=rows, resamples=1000)


def test_each_source_of_a_mix_has_metrics_of_its_own(found: dict[str, Any]) -> None:
    first, second, tiny = found["sources"]["parts"]
    assert [(part["name"], part["rows"]) for part in (first, second, tiny)] == [(ODD, 40), ("letters", 30), ("tiny", 3)]
    by = {entry["metric"]: entry for entry in first["differences"]}
    assert {"exact_match", "bleu", "chrf", "length"} == by.keys()
    assert by["exact_match"]["difference"] == pytest.approx(36 / 40)
    alone = compare(arms(range(40)), metrics=METRICS, resamples=1000)
    for entry in alone["differences"]:
        for key in ("difference", "low", "high", "p", "n"):
            assert by[entry["metric"]][key] == pytest.approx(entry[key])
    for mine, whole in zip(first["arms"], alone["arms"], strict=True):
        assert mine == {"name": whole["name"], "metrics": pytest.approx(whole["metrics"])}
    judged = [entry for part in (first, second) for entry in part["differences"] if entry["better"] is not None]
    assert [entry["p_holm"] for entry in judged] == pytest.approx(statistics.holm([entry["p"] for entry in judged]))
    assert {entry["verdict"] for entry in tiny["differences"]} == {"too few rows (17 more needed)"}
    assert {entry["p_holm"] for entry in tiny["differences"]} == {None}


def test_what_gained_on_one_source_and_lost_on_another_is_told(found: dict[str, Any]) -> None:
    words = found["overall"][0]["words"]
    assert f"better on {ODD} (" in words
    assert "worse on letters (" in words
    assert f"{ODD} 40 (55 %), letters 30 (41 %), tiny 3 (4 %)" in found["sources"]["pooled"]
    text = compare_text(found)
    assert max(map(width, text.split("\n"))) <= 80
    assert "Exploratory" in text
    entry = next(one for one in found["sources"]["parts"][1]["differences"] if one["metric"] == "exact_match")
    for written in (text, markdown.text(found).replace("\\", ""), html.unescape(page.text(found))):
        assert f"{entry['low']:+.3f} … {entry['high']:+.3f}" in written
    assert "[b]odd" not in markdown.text(found)


def test_rows_of_one_source_are_no_mix() -> None:
    for rows in ({}, {row: {SOURCE: "one"} for row in range(30)}):
        assert compare(arms(range(30)), metrics=["exact_match"], rows=rows, resamples=100)["sources"] is None
