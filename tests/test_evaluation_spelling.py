"""Spelling: both Englishes are right, misspellings aren't, suggestions are near, and loading is light."""

from __future__ import annotations

import subprocess
import sys

import pytest
from guard import ends

from ftstudio.evaluation import spelling

BRITISH = (
    "colour favourite neighbourhood organise organised organisation realise realising analyse analysing "
    "centre theatre litres travelled travelling cancelled labelled marvellous jewellery catalogue "
    "dialogue programme programmes defence licence practise fulfil skilful enrolment grey "
    "cheque plough learnt burnt mould manoeuvre paediatric anaemia oestrogen aluminium "
    "pyjamas whilst maths behaviour honour labour rumour humour recognise apologise "
    "specialised"
)
WRONG = (
    "recieve teh definately seperate becuase accomodate occured untill wierd freind "
    "beleive goverment enviroment tomorow begining numbre thoes yaers fullly timees "
    "failled returneed applees gaems"
)


@pytest.mark.parametrize("word", BRITISH.split())
def test_british_spellings_are_words(word: str) -> None:
    assert spelling.known(word)


@pytest.mark.parametrize("word", WRONG.split())
def test_misspellings_are_no_words(word: str) -> None:
    assert not spelling.known(word)


def test_the_locale_bars_british_spellings() -> None:
    assert not spelling.known("colour", british=False)
    assert not spelling.known("organise", british=False)
    assert spelling.known("color", british=False)


def test_only_prose_is_judged() -> None:
    text = "Use `fooo` and <bxr> at www.exmple.org/pth, mail a.bcd@efg.hi, $xyzzy$ for $5 a recieve $6. Naïve Recieve"
    assert spelling.candidates(text) == ["and", "mail", "for", "recieve"]
    assert [text[start:end] for start, end in spelling.find(text, ["recieve"])] == ["recieve"]


def test_suggestions_are_near_and_common() -> None:
    assert spelling.suggestions("recieve")[0] == "receive"
    assert spelling.suggestions("becuase")[0] == "because"
    assert spelling.suggestions("organisaton")[0] == "organization"
    assert "qlora" in spelling.suggestions("qlroa", extra=["qlora"])
    assert spelling.suggestions("x" * 50) == []
    assert all(word in spelling.dictionary() for word in spelling.suggestions("helo"))


def test_the_language_is_told_by_its_small_words() -> None:
    texts = {
        "en": "The cat is on the roof and it looks at the moon.",
        "de": "Die Katze sitzt auf dem Dach und sieht nicht den Mond.",
        "fr": "Le chat est sur le toit et il regarde la lune dans le ciel.",
        "es": "El gato está en el tejado y mira la luna con los ojos.",
    }
    for code, text in texts.items():
        assert spelling.language_of([text] * 5) == code
    assert spelling.language_of(["Tämä lause kertoo pienestä kissasta"] * 5) is None
    assert spelling.language_of([]) is None


def test_the_word_list_loads_without_its_package() -> None:
    program = (
        "import sys; from ftstudio.evaluation import spelling;"
        "print(len(spelling.dictionary()), 'spellchecker' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, imported = done.stdout.split()
    assert int(count) > 150_000
    assert imported == "False"


def test_one_endless_word_costs_nothing() -> None:
    with ends():
        assert not spelling.known("a" * 1_000_000)
        assert spelling.candidates("b" * 1_000_000) == ["b" * 1_000_000]
