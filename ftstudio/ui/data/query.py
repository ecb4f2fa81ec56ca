"""The line in which one says what to search for, or which rows to show; how it is said stands above it."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from ftstudio.core.text import one_line
from ftstudio.data.expression import FUNCTIONS
from ftstudio.data.search import HELP
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.safe import SafeInput
from ftstudio.ui.text.said import Said, wrapped

PLACEHOLDERS = {"search": "search for …", "filter": "show only rows with …", "where": "show only rows where …"}
EXPRESSIONS = (
    'words(answer) > 200 and "sorry" in lower(answer) · row["a name"] == 3 · index % 10 == 0 · and or not in == != < > '
    f"+ - * / · {' '.join(sorted(FUNCTIONS))}"
)


class QueryLine(Vertical):
    """Hidden until `ask`. `asking` is "search", "filter" or "where" (an expression) while it is open."""

    DEFAULT_CSS = """
    QueryLine { height: auto; display: none; }
    QueryLine #query { height: 1; }
    QueryLine #query-help { height: auto; }
    """

    @dataclass
    class Entered(Message):
        """Enter: `text` is what to search for or to filter by (see `what`)."""

        what: str
        text: str

    def __init__(self) -> None:
        super().__init__(id="query-line")
        self.asking = ""
        self._fault = ""

    def compose(self) -> ComposeResult:
        yield Said(id="query-help", grow=True)
        line = SafeInput(id="query", compact=True, select_on_focus=False)
        line.cursor_blink = False
        yield line

    def ask(self, what: str) -> None:
        """Open for WHAT, with an empty line."""
        line = self.query_one(Input)
        self.asking, line.value, line.placeholder = what, "", PLACEHOLDERS[what]
        self.display = True
        self.fault("")
        line.focus()

    def close(self) -> None:
        """Nothing is asked any more."""
        self.asking = ""
        self.display = False

    def fault(self, text: str) -> None:
        """Say what is wrong with the line; empty: how it is written."""
        self._fault = text
        width = max(40, self.app.size.width - 4)
        said = (
            wrapped(f"✗ {one_line(text, 400)}", width, "bad", 3)
            if text
            else how(width, EXPRESSIONS if self.asking == "where" else HELP)
        )
        self.query_one(Said).say(*said)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._fault:
            self.fault("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Entered(self.asking, event.value))

    def on_resize(self, event: events.Resize) -> None:
        if self.asking:
            self.fault(self._fault)


def how(width: int, help: str = HELP) -> list[Line]:
    """How a query is written, in lines of WIDTH cells that end between two of its kinds."""
    lines: list[Line] = []
    text = ""
    for part in help.split(" · "):
        if text and len(text) + len(part) + 3 > width:
            lines.append(((text, "dim"),))
            text = part
        else:
            text = f"{text} · {part}" if text else part
    return [*lines, ((text, "dim"),)]
