"""What is sent to the terminal: fewer bytes, but after them it shows what a whole frame drawn afresh would show."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import made_runs
import pyte
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import set_cell_size
from screens import settle, until
from textual import events
from textual.drivers.headless_driver import HeadlessDriver
from textual.geometry import Size

from ftstudio.core.text import clean
from ftstudio.core.workspace import Workspace
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session
from ftstudio.ui.shell.signals import Unbroken
from ftstudio.ui.shell.thrift import FORGET, Thrift

BEGIN, END, ENTER, LEAVE = "\x1b[?2026h", "\x1b[?2026l", "\x1b[?1049h", "\x1b[?1049l"


class Shown:
    """A terminal of so many COLUMNS and LINES, and what is written to it through a Thrift."""

    def __init__(self, columns: int = 20, lines: int = 6, *, thrifty: bool = True) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.Stream(self.screen)
        self.thrift = Thrift() if thrifty else None
        self.bytes = 0
        self.sent: list[str] = []

    def write(self, text: str) -> None:
        """See TextIO."""
        self._send(self.thrift.feed(text) if self.thrift is not None else text)

    def flush(self) -> None:
        """See TextIO."""
        if self.thrift is not None:
            self._send(self.thrift.drain())

    def _send(self, text: str) -> None:
        self.bytes += len(text.encode())
        self.sent.append(text)
        for unknown in (BEGIN, END, ENTER, LEAVE):
            text = text.replace(unknown, "")
        self.stream.feed(text)

    @property
    def cells(self) -> list[list[tuple[Any, ...]]]:
        """All that can be seen of each cell: a blank shows its background alone."""
        return [[_seen(self.screen.buffer[y][x]) for x in range(self.screen.columns)] for y in range(self.screen.lines)]


def _seen(cell: Any) -> tuple[Any, ...]:
    lines = (cell.underscore, cell.reverse, cell.strikethrough)
    front = (cell.fg, cell.bold, cell.italics) if cell.data != " " or any(lines) else ()
    return (cell.data, cell.bg, *lines, *front)


# -- streams of any kind -----------------------------------------------------------------------------------------------
LOOKS = st.sampled_from(
    ["0", "1", "2", "4", "7", "9", "22", "24", "27", "31", "39", "44", "49", "97", "105", "1;38;2;1;2;3;48;2;9;8;7",
     "38;5;200", "48;5;17", "0;1;31", ""]
)  # fmt: skip
PIECES = st.one_of(
    st.tuples(st.just("look"), LOOKS),
    st.tuples(st.just("text"), st.sampled_from(["x", "  ", "héllo", "a b ", "\n", " ", "─⠿", "xx"])),
    st.tuples(st.just("move"), st.tuples(st.integers(1, 6), st.integers(1, 14))),
    st.tuples(st.just("erase"), st.sampled_from(["\x1b[K", "\x1b[2J", "\x1b[?25l", "\r", "\x1b[2C", BEGIN, END])),
    st.tuples(st.just("cut"), st.booleans()),
)


@given(st.lists(PIECES, max_size=80))
def test_any_stream_leaves_the_same_picture(pieces: list[tuple[str, Any]]) -> None:
    plain, thrifty = Shown(40, thrifty=False), Shown(40)
    for shown in (plain, thrifty):
        shown.write(ENTER)
        shown.write("\x1b[?7l")
        for kind, value in pieces:
            if kind == "cut":
                shown.flush()
            else:
                form = {"look": lambda v: f"\x1b[{v}m", "move": lambda v: f"\x1b[{v[0]};{v[1]}H"}.get(kind, str)
                shown.write(form(value))
        shown.write(END)
        shown.flush()
    assert thrifty.cells == plain.cells
    assert (thrifty.screen.cursor.x, thrifty.screen.cursor.y) == (plain.screen.cursor.x, plain.screen.cursor.y)


# -- frames as Textual draws them --------------------------------------------------------------------------------------
CUTS = (0, 7, 8, 20, 33, 40)
WORDS = st.sampled_from(["", "a", "word", "two words", "世界", "x世y", "🙂🙂", "é", "日本語のテキスト",
                         "─┤⠿▁█", "tail   "])  # fmt: skip
SGR = st.sampled_from(["", "31", "1;32", "48;5;17", "38;2;1;2;3;48;2;9;8;7", "7", "4;48;5;17"])
CHOP = st.tuples(st.integers(0, 5), st.integers(0, len(CUTS) - 2), WORDS, SGR)
CHANGES = st.lists(st.tuples(st.lists(CHOP, max_size=8), st.sampled_from(["whole", "part", "forget"]), st.booleans()),
                   max_size=12)  # fmt: skip


def _chop(y: int, column: int, word: str, look: str) -> str:
    text = set_cell_size(word, CUTS[column + 1] - CUTS[column])
    return f"\x1b[{look}m{text}\x1b[0m" if look else text


@example([([(0, 2, "世界", "")], "whole", False), ([(0, 0, "", "")], "part", False)])  # a part of what isn't sent yet
@given(CHANGES)
def test_whatever_came_before_a_frame_is_shown_as_if_it_were_the_first(changes: list[Any]) -> None:
    shown = Shown(40)
    shown.write(ENTER)
    chops = {(y, column): ("", "") for y in range(6) for column in range(len(CUTS) - 1)}

    def frame() -> str:
        lines = ("".join(_chop(y, column, *chops[y, column]) for column in range(len(CUTS) - 1)) for y in range(6))
        return "\n".join(f"\x1b[{y};1H{line}" for y, line in enumerate(lines, 1)) + "\x1b[3;4H"

    shown.write(frame())
    for changed, kind, drained in changes:
        chops.update({(y, column): (word, look) for y, column, word, look in changed})
        if kind == "part":
            spans = [f"\x1b[{y + 1};{CUTS[c] + 1}H{_chop(y, c, *chops[y, c])}" for y, c, _, _ in changed]
            shown.write(BEGIN)
            shown.write("\n".join(spans) + "\x1b[3;4H")
            shown.write(END)
        else:
            if kind == "forget":  # the terminal lost what it had
                shown.write(FORGET)
                shown.screen.reset()
            shown.write(frame())
        if drained:
            shown.flush()
    shown.flush()
    fresh = Shown(40, thrifty=False)
    fresh.write(frame())
    assert shown.cells == fresh.cells
    assert (shown.screen.cursor.x, shown.screen.cursor.y) == (3, 2)


def test_what_the_terminal_shows_already_is_not_sent_again() -> None:
    line = "".join(f"\x1b[38;2;208;208;208;48;2;18;18;18m{word}\x1b[0m" for word in ["one ", "two ", "three "] * 5)
    frame = "\n".join(f"\x1b[{y};1H{line}" for y in range(1, 25)) + "\x1b[1;1H"
    shown = Shown(80, 24)
    shown.write(ENTER)
    shown.flush()
    for part in (BEGIN, frame, END):
        shown.write(part)
        shown.flush()
    assert shown.bytes < len(frame) / 4  # colours are said once
    shown.sent.clear()
    for part in (BEGIN, frame, END):
        shown.write(part)
        shown.flush()
    assert "".join(shown.sent) == ""  # not even an empty update
    for part in (BEGIN, frame.replace("two", "too", 1), END):
        shown.write(part)
        shown.flush()
    assert "".join(shown.sent) == f"{BEGIN}\x1b[5Co\x1b[H{END}"
    shown.sent.clear()
    for number in range(5):  # frames that there was no time for are left out
        shown.write(frame.replace("two", f"to{number}", 1))
    shown.flush()
    assert "".join(shown.sent) == "\x1b[6C4\x1b[H"


def test_outside_of_the_studios_own_screen_all_goes_through_at_once() -> None:
    thrift = Thrift()
    for text in ("\x1b[31m\x1b[31mred\x1b[0m\n", "\x1b[?25h", "abc"):
        assert thrift.feed(text) == text
    assert thrift.feed(ENTER + "\x1b[2;1Hheld") == ENTER
    assert thrift.feed("\x07") == "\x1b[2H\x1b[0mheld\x07"  # before the bell all that came before it
    assert thrift.feed(f"\x1b[1;1Hlast{LEAVE}after\n") == f"\x1b[Hlast{LEAVE}after\n"
    assert thrift.drain() == ""
    assert thrift.feed(ENTER) == ENTER  # another program had the terminal: nothing is known of it
    thrift.feed("\x1b[2;1Hheld")
    assert "held" in thrift.drain()


def test_a_steady_stream_of_frames_is_seen_too() -> None:
    shown, sent = Unbroken(type("File", (), {"write": lambda _, text: sent.append(text)})()), []  # type: ignore
    shown.write(ENTER)
    for number in range(40):
        shown.write(f"\x1b[1;1H{number}\x1b[5;5H")
    assert "".join(sent).count("\x1b[5;5H") == 3


# -- the studio --------------------------------------------------------------------------------------------------------
class Two:
    """What studios under test write to: a terminal by way of the real file, and one that gets all as it is."""

    def __init__(self) -> None:
        self.thrifty, self.plain = Shown(80, 24, thrifty=False), Shown(80, 24, thrifty=False)
        self.file = Unbroken(self.thrifty)  # type: ignore[arg-type]

    def write(self, text: str) -> None:
        self.file.write(text)
        self.plain.write(text.replace(FORGET, ""))

    def garble(self) -> None:
        """The thrifty one loses what it shows."""
        self.file.flush()
        self.thrifty.screen.reset()
        self.thrifty.stream.feed("\x1b[31mgarbage" * 99)

    def differing(self) -> list[tuple[Any, ...]]:
        """Line, column and cells where they differ."""
        self.file.flush()
        both = zip(self.thrifty.cells, self.plain.cells, strict=True)
        return [(y, x, one, other) for y, lines in enumerate(both)
                for x, (one, other) in enumerate(zip(*lines, strict=True)) if one != other]  # fmt: skip


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Two:
    """The terminals of the studio under test."""
    made = Two()
    monkeypatch.setattr(HeadlessDriver, "is_headless", False)
    monkeypatch.setattr(HeadlessDriver, "_file", made.file, raising=False)
    monkeypatch.setattr(HeadlessDriver, "write", lambda _, text: made.write(text))
    made.write(ENTER)
    return made


KEYS = [*"123456" * 2, "down", "down", "up", "enter", "escape", "escape", "tab", "?", "ctrl+p", "pagedown", "end", "r",
        "w", "space", "f", "o", "left", "right"]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_keys_the_terminal_shows_what_it_was_told(tmp_path: Path, two: Two, seed: int) -> None:
    workspace = Workspace(tmp_path)
    run = made_runs.finished(workspace, kind=None)
    made_runs.evaluation(run, 200, 12, output="日本語のテキスト 🙂 é", prompt="世界 [/b]")
    made_runs.ended(run)
    app, drawn = StudioApp(Session(workspace)), random.Random(seed)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "tickets-1")
        for number in range(60):
            key = drawn.choice(KEYS)
            await pilot.press(key)
            if number % 9 == 3:
                app.tell(clean(f"notice {number} 世界 [/b]"))
            await settle(pilot)
            assert not two.differing(), (number, key)
            if app._exit:  # quit was found in the palette
                break
            if number % 10 == 9:
                two.garble()
                if drawn.random() < 0.5:
                    await pilot.press("ctrl+l")
                else:  # it has the size again that it had before
                    app.post_message(events.Resize(Size(80, 24), Size(80, 24)))
                for _ in range(200):
                    if not two.differing():
                        break
                    await pilot.pause(0.01)
                else:
                    raise AssertionError(f"not drawn anew after {number}, on {app.screen}")
    assert two.thrifty.bytes < two.plain.bytes / 2


async def test_a_key_leads_to_few_frames_and_another_screen_is_not_waited_for(tmp_path: Path, two: Two) -> None:
    workspace = Workspace(tmp_path)
    made_runs.finished(workspace)
    app = StudioApp(Session(workspace))
    written: list[int] = []
    whole = two.plain.write
    two.plain.write = lambda text: (written.append(len(text)), whole(text))[1]  # type: ignore[method-assign, assignment]
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "tickets-1")
        await pilot.press("4")
        await until(pilot, "No run is in view")
        for key in "6464":
            await pilot.press(key)
            assert not app._batch_count  # nothing holds the output back any more
        await until(pilot, "No run is in view")
        written.clear()
        await pilot.press("?")
        await until(pilot, "Train: is it learning?")
        await pilot.pause(0.2)
        assert 1 <= sum(length > 2000 for length in written) <= 2
