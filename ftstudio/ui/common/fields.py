"""Fields of a form: a label, something to type or choose, and below it what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from ftstudio.core.text import clean
from ftstudio.ui.common.textline import TextLine
from ftstudio.ui.text.lines import Line, Lines, Part, fit

LABEL = 16  # cells of a label
KINDS = ("text", "int", "float", "choice", "list")


@dataclass(frozen=True)
class Spec:
    """A field: the dotted `key` it sets, its `label`, what it is for, how it is typed (see KINDS).

    `options` are (value, word) of a choice; the value None means "left out", so that the default counts. `default` is
    what counts then, in words.
    """

    key: str
    label: str
    help: str
    kind: str = "text"
    options: tuple[tuple[Any, str], ...] = ()
    default: str = ""
    advanced: bool = field(default=False)

    def read(self, text: str) -> Any:
        """TEXT as a value; None where it is empty. What can't be read stays text: the check says what is wrong."""
        text = text.strip()
        if not text:
            return None
        if self.kind == "list":
            if text[0] == "[" and text[-1] == "]" and not {"[", "]"} & set(text[1:-1]):  # not [INST], which is a token
                text = text[1:-1]
            return [part.strip() for part in text.split(",") if part.strip()]
        for kind in {"int": (int, float), "float": (int, float)}.get(self.kind, ()):
            try:
                return kind(text)
            except ValueError:
                continue
        return text

    def write(self, value: Any) -> str:
        """VALUE as text to edit."""
        if value is None:
            return ""
        if isinstance(value, (list, tuple)):
            return ", ".join(str(part) for part in value)
        if isinstance(value, float) and value.is_integer() and self.kind == "int":
            return str(int(value))
        return f"{value:g}" if isinstance(value, float) else str(value)


class Choice(Lines):
    """One of a few words, all in view: ← → changes it."""

    DEFAULT_CSS = "Choice { height: 1; width: 1fr; }"
    BINDINGS = [
        Binding("left", "turn(-1)", "previous", show=False),
        Binding("right,space", "turn(1)", "next", show=False),
    ]

    @dataclass
    class Turned(Message):
        """Another word was chosen."""

        choice: Choice

    def __init__(self, options: Sequence[tuple[Any, str]], value: Any = None) -> None:
        super().__init__()
        self.options = tuple(options)
        self.place = 0
        self.total = 1
        self.put(value)

    @property
    def value(self) -> Any:
        """What is chosen."""
        return self.options[self.place][0]

    def put(self, value: Any) -> None:
        """Choose VALUE, if it is one of the options."""
        for place, (known, _) in enumerate(self.options):
            if known == value and type(known) is type(value):
                self.place = place
        self.paint()

    def offer(self, options: Sequence[tuple[Any, str]], value: Any) -> None:
        """Other options from now on."""
        self.options, self.place = tuple(options), 0
        self.put(value)

    def line(self, index: int) -> Line:
        parts: list[Part] = []
        words = [len(word) + 2 for _, word in self.options]
        first = used = 0
        while first < self.place and sum(words[first : self.place + 1]) + (first > 0) > self.columns - 1:
            first += 1  # what is chosen is always seen
        if first:
            parts.append(("…", "dim"))
            used = 1
        for place, (_, word) in enumerate(self.options[first:], first):
            here = place == self.place
            text = f"‹{word}›" if here else f" {word} "
            if used + len(text) > self.columns and place > first and not here:
                parts.append(("…", "dim"))
                break
            parts.append((text, ("key" if self.has_focus else "strong") if here else "dim"))
            used += len(text)
        return tuple(parts)

    def ground(self, index: int) -> str:
        return "resting" if self.has_focus else ""

    def action_turn(self, by: int) -> None:
        """The next or previous option."""
        self.place = (self.place + by) % len(self.options)
        self.paint()
        self.post_message(self.Turned(self))

    def on_click(self, event: events.Click) -> None:
        self.action_turn(1)


class FieldRow(Vertical):
    """A field of a form. `Changed` comes with every change, `Focused` when it is entered."""

    DEFAULT_CSS = f"""
    FieldRow {{ height: auto; }}
    FieldRow > Horizontal {{ height: 1; }}
    FieldRow .label {{ width: {LABEL}; }}
    FieldRow:focus-within .label {{ color: $accent; text-style: bold; }}
    FieldRow Input {{ width: 1fr; max-width: 40; }}
    FieldRow .note {{ width: auto; max-width: 40; padding-left: 2; color: $foreground 60%; }}
    FieldRow .fault {{ display: none; height: auto; color: $error; padding-left: {LABEL}; }}
    """

    @dataclass
    class Changed(Message):
        """The field holds another `value` now."""

        row: FieldRow
        value: Any

    def __init__(self, spec: Spec, value: Any = None) -> None:
        super().__init__(id=f"field-{spec.key.replace('.', '-')}")
        self.spec = spec
        self.fault_text = ""
        self.control: Input | Choice
        if spec.kind == "choice":
            self.control = Choice(spec.options, value)
        else:
            self.control = TextLine(spec.write(value), placeholder=spec.default)

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(Content(f"{self.spec.label}"), classes="label")
            yield self.control
        yield Static("", classes="fault")

    def put(self, value: Any) -> None:
        """Show VALUE without telling of a change; what is being typed is left alone, it may be ahead of VALUE."""
        if isinstance(self.control, Choice):
            self.control.put(value)
        elif not self.control.has_focus and self.spec.read(self.control.value) != value:
            with self.control.prevent(Input.Changed):
                self.control.value = self.spec.write(value)

    def fault(self, text: str) -> None:
        """Say below the field what is wrong with it; empty: nothing is."""
        if text != self.fault_text:
            self.fault_text = text
            line = self.query_one(".fault", Static)
            line.update(Content(f"✗ {clean(text, 300)}" if text else ""))
            line.display = bool(text)
            if text and self.control.has_focus:
                self.call_after_refresh(self.scroll_visible)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(self, self.spec.read(event.value)))

    def on_choice_turned(self, event: Choice.Turned) -> None:
        event.stop()
        self.post_message(self.Changed(self, event.choice.value))


class Picker(Lines):
    """One of a few things, each with a line of its own: ↑ ↓ chooses."""

    DEFAULT_CSS = "Picker { height: auto; }"
    BINDINGS = [Binding("up", "move(-1)", "up", show=False), Binding("down", "move(1)", "down", show=False)]

    @dataclass
    class Picked(Message):
        """`value` is chosen now."""

        picker: Picker
        value: str

    def __init__(self, options: Sequence[tuple[str, str]], value: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self.options = tuple(options)
        self.cursor = 0
        self.total = len(self.options)
        self.styles.height = self.total
        self.put(value)

    @property
    def value(self) -> str:
        """What is chosen."""
        return self.options[self.cursor][0]

    def put(self, value: str) -> None:
        """Choose VALUE without telling of it."""
        for place, (known, _) in enumerate(self.options):
            if known == value:
                self.cursor = place
        self.paint()

    def line(self, index: int) -> Line:
        value, title = self.options[index]
        here = index == self.cursor
        wide = max(len(known) for known, _ in self.options) + 2
        return (
            ("(•) " if here else "( ) ", "key" if here else "dim"),
            (fit(value, wide), "strong" if here else ""),
            (fit(title, max(4, self.columns - wide - 4)), "" if here else "dim"),
        )

    def ground(self, index: int) -> str:
        return "" if index != self.cursor else "cursor" if self.has_focus else "resting"

    def action_move(self, by: int) -> None:
        """The next or previous; past an end, the next or previous field."""
        place = self.cursor + by
        if not 0 <= place < self.total:
            (self.screen.focus_next if by > 0 else self.screen.focus_previous)()
            return
        self.cursor = place
        self.paint()
        self.post_message(self.Picked(self, self.value))

    def on_click(self, event: events.Click) -> None:
        if event.y < self.total:
            self.action_move(event.y - self.cursor)
