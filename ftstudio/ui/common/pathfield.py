"""A line to type a path or hub id in: Tab completes, the paths it can become stand below, ↓ goes into them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from ftstudio.core.text import one_line
from ftstudio.ui.common.paths import Wanted, absent, complete, is_data, options
from ftstudio.ui.common.textline import TextLine
from ftstudio.ui.text.lines import Line, Lines, fit


class PathInput(TextLine):
    """The line itself. Tab completes where there is something to add; else it goes to the next field."""

    BINDINGS = [Binding("tab", "complete", "complete", show=False, priority=True)]

    def __init__(self, value: str, wanted: Wanted, placeholder: str, id: str | None) -> None:
        super().__init__(value, placeholder=placeholder, id=id, digits_leave=True)
        self.wanted = wanted

    def action_complete(self) -> None:
        """Add what all paths that begin like this have in common."""
        found = complete(self.value, self.wanted)
        if found.value == self.value:
            self.screen.focus_next()
            return
        self.value = found.value
        self.cursor_position = len(self.value)


class Options(Lines):
    """The paths below the line, and before anything is typed what was opened lately. Enter takes one."""

    DEFAULT_CSS = "Options { height: auto; }"
    BINDINGS = [
        Binding("up", "move(-1)", "up", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("pageup", "move(-8)", "page up", show=False),
        Binding("pagedown", "move(8)", "page down", show=False),
        Binding("enter", "take", "take", show=False),
    ]

    @dataclass
    class Taken(Message):
        """The option `value` was chosen."""

        value: str

    @dataclass
    class Left(Message):
        """Up, at the first option: back to the line."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.options: tuple[tuple[str, str], ...] = ()
        self.cursor = 0

    def offer(self, found: Sequence[tuple[str, str]]) -> None:
        """Show FOUND: (value, note) each."""
        if tuple(found) == self.options:
            return
        self.options = tuple(found)
        self.cursor = self.top = 0
        self.total = len(self.options)
        self.styles.height = max(1, min(self.rows, self.total))
        self.again()

    def line(self, index: int) -> Line:
        value, note = self.options[index]
        here = index == self.cursor and self.has_focus
        wide = max(8, self.columns - 2)
        name = one_line(value, 400)
        name = name if len(name) <= wide else "…" + name[1 - wide :]
        left = wide - len(name) - 2
        return (
            ("▸ " if here else "  ", "key"),
            (name, "strong" if here else ""),
            (f"  {fit(note, min(left, len(note)))}" if note and left > 4 else "", "dim"),
        )

    def ground(self, index: int) -> str:
        return "cursor" if index == self.cursor and self.has_focus else ""

    def action_move(self, by: int) -> None:
        """One option up or down."""
        if by < 0 and self.cursor == 0:
            self.post_message(self.Left())
            return
        self.cursor = max(0, min(self.cursor + by, self.total - 1))
        self.top = max(min(self.top, self.cursor), self.cursor - self.room + 1)
        self.paint()

    def action_take(self) -> None:
        """Take the option under the cursor."""
        if self.options:
            self.post_message(self.Taken(self.options[self.cursor][0]))

    def on_click(self, event: events.Click) -> None:
        index = self.top + event.y
        if index < self.total:
            self.cursor = index
            self.action_take()


class PathField(Vertical):
    """Line, fault and options in one. `Chosen` comes with enter, and with enter on an option that is no folder."""

    DEFAULT_CSS = """
    PathField { height: auto; }
    PathField > .path-note { height: auto; color: $warning; padding-left: 2; display: none; }
    """

    @dataclass
    class Chosen(Message):
        """The person settled on `value`."""

        field: PathField
        value: str

        @property
        def control(self) -> PathField:
            """The field."""
            return self.field

    @dataclass
    class Edited(Message):
        """The line holds `value` now."""

        field: PathField
        value: str

        @property
        def control(self) -> PathField:
            """The field."""
            return self.field

    def __init__(
        self,
        value: str = "",
        *,
        wanted: Wanted = is_data,
        placeholder: str = "",
        offers: Sequence[tuple[str, str]] = (),
        rows: int = 8,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.wanted = wanted
        self.offers = tuple(offers)
        self.input = PathInput(value, wanted, placeholder, f"{id}-line" if id else None)
        self.options = Options(rows)

    def compose(self) -> ComposeResult:
        yield self.input
        yield self.options
        yield Static("", classes="path-note")

    def on_mount(self) -> None:
        self._look()

    @property
    def value(self) -> str:
        """What stands in the line."""
        return self.input.value.strip()

    def set_value(self, value: str) -> None:
        """Put VALUE in the line."""
        if value != self.input.value:
            self.input.value = value
            self.input.cursor_position = len(value)

    def put(self, value: str) -> None:
        """Show VALUE, unless someone is typing there: what is typed may be ahead of it."""
        if not self.input.has_focus:
            self.set_value(value)

    def offer_again(self) -> None:
        """What can be offered has changed."""
        self._look()

    def _look(self) -> None:
        text = self.input.value
        known = [offer for offer in self.offers if offer[0] == text]
        if not text.strip() or known:
            self.options.offer(self.offers)
        else:
            found = options(text, self.wanted)
            alone = len(found) == 1 and found[0].rstrip(os.sep) == text  # a folder's own name is no choice below it
            near = [offer for offer in self.offers if text.lower() in offer[0].lower() and offer[0] not in found]
            self.options.offer([*([] if alone else [(path, "") for path in found]), *near])
        self.options.display = bool(self.options.options)
        self._say("" if known or self.options.options else absent(text.strip(), self.wanted))

    def hush(self) -> None:
        """What is wrong with the line is said by who opened it."""
        self._say("")

    def _say(self, text: str) -> None:
        """Where nothing is called so, say so while it is typed."""
        note = self.query_one(".path-note", Static)
        note.update(Content(f"! {one_line(text, 300)}" if text else ""))
        note.display = bool(text)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look()
        self.post_message(self.Edited(self, self.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.hush()
        self.post_message(self.Chosen(self, self.value))

    def on_options_taken(self, event: Options.Taken) -> None:
        event.stop()
        self.set_value(event.value)
        if event.value.endswith("/"):
            self.options.cursor = 0
            self._look()
        else:
            self.input.focus()
            self.post_message(self.Chosen(self, event.value))

    def on_options_left(self, event: Options.Left) -> None:
        event.stop()
        self.input.focus()

    def on_key(self, event: events.Key) -> None:
        if event.key == "down" and self.input.has_focus and self.options.options:
            event.stop()
            event.prevent_default()
            self.options.focus()
