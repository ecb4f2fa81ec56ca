"""Naming a dataset: a path with completion, what was opened lately, faults beside the field."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from ftstudio.core.text import clean
from ftstudio.ui.common.pathfield import PathField

WHAT = (
    "JSONL, JSON, CSV, TSV, Parquet, Arrow, SQLite, CoNLL or text (packed too), a folder, a pattern such as "
    "data/*.jsonl, or a hub id such as owner/name."
)


class OpenPanel(Vertical):
    """Title, field, fault and hints."""

    DEFAULT_CSS = """
    OpenPanel { height: 1fr; padding: 1 1 0 1; }
    OpenPanel > .field { height: auto; margin-top: 1; }
    OpenPanel > #open-fault { height: auto; color: $error; margin-top: 1; display: none; }
    OpenPanel > #open-hint { margin-top: 1; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.field = PathField(placeholder="path or hub id", rows=9, id="open-field")

    def compose(self) -> ComposeResult:
        yield Static(Content("Open a dataset"), classes="title")
        yield Static(Content(WHAT), classes="dim")
        yield Vertical(self.field, classes="field")
        yield Static("", id="open-fault")
        yield Static(
            Content("tab completes · ↓ chooses below · enter opens · esc leaves the line"),
            id="open-hint",
            classes="dim",
        )

    def begin(self, offers: Sequence[tuple[str, str]], value: str = "") -> None:
        """Ask for a dataset, with OFFERS below the empty line and VALUE in it."""
        self.field.offers = tuple(offers)
        self.field.set_value(value)
        self.field.offer_again()
        self.fault("")
        self.field.input.focus()

    def fault(self, text: str) -> None:
        """Say below the field what is wrong; empty: nothing is."""
        line = self.query_one("#open-fault", Static)
        line.update(Content(f"✗ {clean(text, 600)}" if text else ""))
        line.display = bool(text)
        if text:
            self.field.hush()
