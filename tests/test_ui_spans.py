"""Words with their tags: every kind of error has a sign of its own, so that no colour is needed."""

from __future__ import annotations

from ftstudio.ui.text.spans import spans

WORDS = ["Ann", "Lee", "of", "Hamport", "sent", "Vorka", "lamps", "to", "Bo", "Li", "in", "Rome"]
RIGHT = ["B-PER", "I-PER", "O", "B-LOC", "O", "B-PROD", "I-PROD", "O", "B-PER", "I-PER", "O", "B-LOC"]


def test_each_kind_of_error_has_its_sign() -> None:
    given = ["B-PER", "O", "O", "B-ORG", "B-MISC", "O", "O", "O", "B-PER", "I-PER", "O", "B-LOC"]
    marked = spans(WORDS, given, RIGHT)
    assert marked.text == (
        "[Ann]PER~ Lee of [Hamport]ORG≠LOC [sent]MISC+ {Vorka lamps}PROD− to [Bo Li]PER in [Rome]LOC"
    )
    inks = {marked.text[start:stop]: ink for start, stop, ink in marked.spans}
    assert inks == {
        "[Ann]PER~": "bad", "[Hamport]ORG≠LOC": "bad", "[sent]MISC+": "bad", "{Vorka lamps}PROD−": "warn",
        "[Bo Li]PER": "good", "[Rome]LOC": "good",
    }  # fmt: skip
    assert spans(WORDS, RIGHT).text.startswith("[Ann Lee]PER of [Hamport]LOC sent [Vorka lamps]PROD to")


def test_tags_that_break_bio_and_tags_that_are_no_entities() -> None:
    assert spans(["Lee", "ran"], ["I-PER", "O"], ["O", "O"]).text == "Lee‹I-PER› ran"
    assert spans(["he", "runs"], ["PRON", "NOUN"], ["PRON", "VERB"]).text == "he/PRON runs/NOUN≠VERB"
    assert spans(["he", "runs"], ["B-X"]).text == "[he]X runs"  # fewer tags than words


def test_words_from_data_reach_the_screen_safely() -> None:
    marked = spans(["[/red]", "a\x1b[31mb", "ok"], ["B-PER", "O", "O"], ["B-PER", "O", "O"])
    assert "\x1b" not in marked.text
    assert marked.text.startswith("[[/red]]PER ")
    assert marked.text[marked.spans[0][0] : marked.spans[0][1]] == "[[/red]]PER"
