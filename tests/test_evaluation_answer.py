"""The checkable answer in a text."""

from __future__ import annotations

import pytest

from ftstudio.evaluation.answer import answer, right


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The answer is .5", "0.5"), ("-.50", "-0.5"), ("items 1,2", "2"), ("$1,200.50 in all", "1200.5"),
        ("1e3", "1000"), ("2.5E-1", "0.25"), ("it is 1/2", "1/2"), ("on 3/4/2020", "2020"), ("x = 3.14.", "3.14"),
        ("−7 degrees", "-7"), ("-0", "0"), ("1,2345", "2345"), ("v1.2", None), ("no number", None),
    ],
)  # fmt: skip
def test_the_last_number_is_read(text: str, wanted: str | None) -> None:
    found = answer(text, "number")
    assert (found is None) == (wanted is None)
    if wanted is not None:
        assert right(text, wanted, "number")
        assert not right(text, "8", "number")


def test_half_of_a_list_is_not_the_number_made_of_it() -> None:
    assert not right("items 1,2", "12", "number")
    assert not right("1/2", "2", "number")
