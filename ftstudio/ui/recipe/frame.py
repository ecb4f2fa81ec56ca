"""What stands beside the fields: the list of steps, and the YAML as it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.message import Message

from ftstudio.core.text import clean
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line, Lines, Part, fit


class StepList(Lines, can_focus=False):
    """The steps: ✓ settled, ✗ something is wrong, ▸ the one shown."""

    DEFAULT_CSS = "StepList { width: 15; height: 1fr; }"

    @dataclass
    class Clicked(Message):
        """Step `place` was clicked."""

        place: int

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(id="steps")
        self.names = tuple(names)
        self.marks: tuple[str, ...] = tuple(" " for _ in names)
        self.at = 0
        self.total = len(self.names)

    def say(self, at: int, marks: Sequence[str]) -> None:
        """AT is shown now; MARKS are ✓, ✗ or nothing, one a step."""
        self.at, self.marks = at, tuple(marks)
        self.paint()

    def line(self, index: int) -> Line:
        here = index == self.at
        mark = self.marks[index]
        return (
            ("▸ " if here else "  ", "key"),
            (fit(self.names[index], 9), "strong" if here else "dim"),
            (mark, {"✓": "good", "✗": "bad"}.get(mark, "dim")),
        )

    def on_click(self, event: events.Click) -> None:
        if event.y < self.total:
            self.post_message(self.Clicked(event.y))


class YamlPage(Page):
    """The recipe as YAML; the part that the step at hand settles is marked at its edge."""

    def __init__(self) -> None:
        super().__init__("yaml")
        self.text = ""
        self.sections: tuple[str, ...] = ()

    def show(self, text: str, sections: Sequence[str]) -> None:
        """Show TEXT; SECTIONS are the keys settled in this step."""
        if (text, tuple(sections)) != (self.text, self.sections):
            self.text, self.sections = text, tuple(sections)
            self.fresh(stay=True)

    def compose_lines(self, width: int) -> list[Line]:
        lines: list[Line] = [(("recipe.yaml", "title"), ("  as it grows", "dim"))]
        path: list[str] = []
        for raw in clean(self.text).split("\n"):
            if not raw.strip():
                continue
            depth = (len(raw) - len(raw.lstrip(" "))) // 2
            key, colon, value = raw.strip().partition(":")
            path = [*path[:depth], key]
            dotted = ".".join(path)
            own = any(dotted == known or dotted.startswith(f"{known}.") for known in self.sections)
            parts: list[Part] = [("▌" if own else " ", "key"), (" " * (2 * depth), "")]
            room = max(4, width - 1 - 2 * depth - len(key) - len(colon))
            parts += [(key + colon, "strong"), (fit(value, room).rstrip(), "")]
            lines.append(tuple(parts))
        return lines
