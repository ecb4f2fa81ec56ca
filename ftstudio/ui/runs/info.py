"""The run under the cursor in full: what it measured, where it lies, and the recipe it was made from."""

from __future__ import annotations

import os

from rich.cells import cell_len
from textual.content import Content

from ftstudio.core.text import clean, duration, number
from ftstudio.ui.runs.catalogue import Summary
from ftstudio.ui.text.lines import Line, Lines, fit
from ftstudio.ui.train.samples import wrap

LONGEST = 1 << 16  # bytes of a recipe that are shown
LEAST = 12  # cells of a comment that are worth showing
ALIGNED = 40  # cells of a comment from which on it stays in the file's column for comments
KEYS = 24  # cells before a comment where there is less room


class InfoPanel(Lines, can_focus=True):
    """Scrolls with the arrows when it has the focus (tab)."""

    DEFAULT_CSS = """
    InfoPanel { border: round $primary 50%; border-title-color: $foreground; }
    InfoPanel:focus { border: round $accent; }
    """

    BINDINGS = [
        ("up,k", "scroll(-1)"),
        ("down,j", "scroll(1)"),
        ("pageup", "scroll(-15)"),
        ("pagedown", "scroll(15)"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._summary: Summary | None = None
        self._recipe: list[str] = []
        self._stamp: object = None
        self._rows: list[Line] = []

    def show(self, summary: Summary | None) -> None:
        """Show SUMMARY's run."""
        stamp = (summary.run.path, _changed(summary)) if summary is not None else None
        if stamp != self._stamp:
            self._stamp = stamp
            self._recipe = _recipe(summary) if summary is not None else []
            self.top = 0
            self.border_title = Content(clean(summary.name, 60) if summary is not None else "")
        elif summary == self._summary:
            return
        self._summary = summary
        self.lay_out()
        self.paint()

    def lay_out(self) -> None:
        summary, width = self._summary, self.columns
        rows: list[Line] = []
        if summary is not None:
            for name, value in _facts(summary):
                for at, part in enumerate(wrap(value, max(8, width - 10))):
                    rows.append(((f"{name if not at else '':<10}", "dim"), (part, "")))
            as_begun = ((", as it began: what was changed since stands above", "dim"),) if summary.steered else ()
            rows += [(), (("recipe.yaml", "title"), *as_begun)]
            rows += [_yaml(line, width) for line in self._recipe]
        self._rows, self.total = rows, len(rows)

    def line(self, index: int) -> Line:
        return self._rows[index]

    def action_scroll(self, by: int) -> None:
        """BY lines down."""
        self.scroll_lines(by)


def _changed(summary: Summary) -> int:
    try:
        return os.stat(summary.run.recipe_path).st_mtime_ns
    except OSError:
        return 0


def _recipe(summary: Summary) -> list[str]:
    try:
        with open(summary.run.recipe_path, "rb") as file:
            raw = file.read(LONGEST)
    except OSError:
        return ["It has no recipe."]
    return clean(raw.decode("utf-8", "replace")).split("\n")


def _facts(summary: Summary) -> list[tuple[str, str]]:
    steps = f"{summary.step}" + (f" of {summary.total_steps}" if summary.total_steps else "")
    found = [
        ("state", summary.word),
        ("task", f"{summary.task or '–'}, {summary.method or '–'}, {summary.model or '–'}"),
        ("steps", f"{steps}, took {duration(summary.seconds)}"),
        *(("changed", text) for text in summary.steered),
        ("loss", f"{number(summary.loss)} train, {number(summary.eval_loss)} held-out"),
        ("folder", clean(str(summary.run.path))),
    ]
    if summary.failure:
        found.insert(1, ("failed", summary.failure))
    return found


def _yaml(line: str, width: int) -> Line:
    body, gap, comment = line.partition("  # ")
    if gap and width - cell_len(body) < ALIGNED:
        body = f"{body.rstrip():<{KEYS}}"
    room = width - cell_len(body) - 2
    said = (fit(f"  # {comment}", room), "dim") if gap and room >= LEAST else ("", "")
    body = body if cell_len(body) <= width else fit(body, width)
    name, colon, rest = body.partition(":")
    if colon and not name.strip().startswith(("#", "- ")) and " " not in name.strip():
        return ((f"{name}{colon}", "key"), (rest, ""), said)
    return ((body, "dim" if body.strip().startswith("#") else ""), said)
