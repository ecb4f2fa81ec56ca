"""Text from data and models can't reach the terminal as anything but text."""

from hypothesis import given
from hypothesis import strategies as st

from ftstudio.core.text import clean, duration, number, one_line, size


@given(st.text())
def test_nothing_a_terminal_obeys_is_left(text: str) -> None:
    shown = clean(text)
    assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert not any(c in shown for c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    shown.encode("utf-8")


def test_what_a_person_wrote_stays() -> None:
    assert clean("naïve 日本 [b]x[/b] \n ünder") == "naïve 日本 [b]x[/b] \n ünder"


def test_escape_sequences_are_shown_not_obeyed() -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "obey")  # tags: text that nobody sees but a model
    assert clean(f"a\u200bb\u2060c{hidden}") == "a\ufffdb\ufffdc" + "\ufffd" * 4
    assert clean("\U0001f469\u200d\U0001f467 \u0645\u200c\u06cc") == "\U0001f469\u200d\U0001f467 \u0645\u200c\u06cc"
    assert clean("a\x1b[31mred\x1b]0;title\x07b\x00") == "a␛red␛b␀"


def test_a_megabyte_on_one_line_is_cut_before_it_is_looked_at() -> None:
    assert one_line("x" * 1_000_000, 20) == "x" * 19 + "…"


def test_lone_surrogates_can_be_written() -> None:
    clean("\ud800").encode("utf-8")


def test_numbers_for_people() -> None:
    assert [number(v) for v in (None, 1204, 0.7312, 0.00001234, float("nan"), 12345.0)] == [
        "–",
        "1,204",
        "0.731",
        "1.2e-05",
        "nan",
        "12,345",
    ]
    assert [duration(v) for v in (None, 4, 192, 7500, 90000)] == ["–", "4s", "3m12s", "2h05m", "1d01h"]
    assert [size(v) for v in (None, 812, 43_307_000)] == ["–", "812 B", "41.3 MiB"]


def test_bytes_take_nine_cells_at_most() -> None:
    assert [size(count) for count in (999, 1000, 1_040_179, 41.3 * 2**20, 2**40)] == [
        "999 B", "1.0 KiB", "1.0 MiB", "41.3 MiB", "1024.0 GiB",
    ]  # fmt: skip
    assert max(len(size(count)) for count in range(0, 2**24, 4099)) <= 9
