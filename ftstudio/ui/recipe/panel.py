"""What the steps of the wizard have in common: a title, what the step is for, fields, faults beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean
from ftstudio.ui.common.fields import FieldRow
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.marked import wrap


@dataclass
class About(Message):
    """The field entered is for TEXT."""

    text: str


@dataclass
class Ready(Message):
    """The fields of PANEL are there."""

    panel: Panel


@dataclass
class Next(Message):
    """On to the next step."""


@dataclass
class Drafted(Message):
    """The draft was changed."""


class Panel(VerticalScroll, can_focus=False, inherit_bindings=False):
    """One step. `KEYS` are the beginnings of the recipe's keys that are settled here.

    The arrows go from field to field, also where the step is longer than the screen.
    """

    BINDINGS = [Binding("pageup", "page_up", show=False), Binding("pagedown", "page_down", show=False)]

    DEFAULT_CSS = """
    Panel { height: 1fr; scrollbar-size-vertical: 1; }
    Panel .step-help { height: auto; margin-bottom: 1; color: $foreground 75%; }
    Panel .group { height: auto; margin-top: 1; color: $foreground 75%; text-style: bold; }
    Panel .group.first { margin-top: 0; }
    """
    NAME = ""
    TITLE = ""
    WHAT = ""
    KEYS: tuple[str, ...] = ()

    def __init__(self, draft: Draft) -> None:
        super().__init__(id=f"step-{self.NAME}")
        self.draft = draft
        self.ready = False  # whether its fields were made
        self.asked = False  # whether the person wanted to go on already: before that, nothing is demanded
        self.problem = ""  # what is wrong beyond the recipe's own rules: no such file, no such model

    def compose(self) -> ComposeResult:
        yield Static(Content(self.TITLE), classes="title")
        if self.WHAT:
            yield Static(Content(self.WHAT), classes="step-help")
        yield from self.compose_fields()

    def on_mount(self) -> None:
        if not self.children:  # the app ends while the step is being made: its fields will never come
            return
        self.ready = True
        self.show()
        self.post_message(Ready(self))

    def compose_fields(self) -> Iterable[Widget]:
        """The fields below the step's text."""
        return ()

    def entered(self) -> None:
        """The step is shown: put the focus where one begins."""
        first = next((widget for widget in self.query("*") if widget.focusable and widget.display), None)
        if first is not None:
            first.focus(scroll_visible=False)

    def show(self) -> None:
        """The draft changed: bring the fields up to date."""
        for row in self.query(FieldRow):
            row.put(self.draft.get(row.spec.key))
            row.fault(self.draft.faults.get(row.spec.key, ""))

    @property
    def faults(self) -> dict[str, str]:
        """What is wrong in this step, by key."""
        found = {key: text for key, text in self.draft.faults.items() if self.owns(key)}
        if self.problem and self.KEYS:
            found.setdefault(self.KEYS[0], self.problem)
        return found

    def needed(self, text: str) -> str:
        """TEXT, which demands something, once the person wanted to go on without it."""
        return text if self.asked else ""

    def owns(self, key: str) -> bool:
        """Whether KEY is settled here."""
        return any(key == own or key.startswith(f"{own}.") for own in self.KEYS)

    def go_to_fault(self) -> None:
        """Put the focus on the first field that is wrong."""
        self.asked = True
        self.show()
        for row in self.query(FieldRow):
            if row.fault_text:
                row.control.focus()
                return
        self.entered()

    def on_field_row_changed(self, event: FieldRow.Changed) -> None:
        event.stop()
        self.put(event.row.spec.key, event.value)

    def put(self, key: str, value: object) -> None:
        """Set KEY in the draft and tell."""
        if self.draft.set(key, value):
            self.post_message(Drafted())

    def on_descendant_focus(self) -> None:
        around = self.screen.focused.ancestors_with_self if self.screen.focused is not None else ()
        row = next((node for node in around if isinstance(node, FieldRow)), None)
        if row is not None:
            self.post_message(About(row.spec.help))


def hung(label: str, text: str, width: int, most: int, ink: str = "") -> list[Line]:
    """TEXT behind LABEL on at most MOST lines of WIDTH cells, its further lines indented as far as the label."""
    text = clean(text, most * width * 2)
    spans = wrap(text, max(10, width - len(label)))
    lines: list[Line] = []
    for place, (start, stop) in enumerate(spans[:most]):
        more = "…" if place == most - 1 and len(spans) > most else ""
        lines.append(((label if not place else " " * len(label), "dim"), (text[start:stop] + more, ink)))
    return lines


def explain(error: BaseException) -> str:
    """ERROR for a person."""
    return str(error) if isinstance(error, StudioError) else f"{type(error).__name__}: {error}"
