"""The samples: the same held-out prompts answered at every evaluation, so that one sees what the numbers mean."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len, chop_cells
from textual.binding import Binding
from textual.content import Content

from ftstudio.core.run import Story
from ftstudio.core.text import clean, one_line
from ftstudio.ui.text.lines import Line, Lines, fit
from ftstudio.ui.text.marked import inked
from ftstudio.ui.text.marked import wrap as marked_wrap
from ftstudio.ui.text.worddiff import inline

BASE, EARLIER = "the base", "the one before"
AGAINST = ("", BASE, EARLIER)
NAME = 10  # cells of what stands before a text
LONGEST = 20_000  # characters of one text that are looked at


class SamplePanel(Lines, can_focus=True):
    """One sample: prompt, reference, the base model's answer and the present one. Opened, also how it changed."""

    BINDINGS = [
        Binding("up,k", "roll(-1)", show=False),
        Binding("down,j", "roll(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home", "edge(0)", show=False),
        Binding("end", "edge(1)", show=False),
    ]
    DEFAULT_CSS = """
    SamplePanel { height: 6; border: round $primary 50%; border-title-color: $foreground; }
    SamplePanel:focus { border: round $accent; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.index = 0
        self.opened = False
        self.against = ""  # what the answers are set against in full view: one of AGAINST
        self._rows: list[Line] = []
        self._story: Story | None = None
        self._key: object = None

    def show(self, story: Story) -> None:
        """Show what STORY has of the sample in view."""
        newest = id(story.samples[-1]) if story.samples else 0
        key = (id(story), len(story.samples), newest, self.index, self.opened, self.against, self.size)
        if key == self._key:
            return
        self._key, self._story = key, story
        self._title()
        self.again()

    def turn(self, by: int) -> None:
        """The next or previous sample."""
        count = self._count()
        if count:
            self.index = (self.index + by) % count
            self.top = 0

    def next_difference(self) -> None:
        """Answers plain, against the base's, against the one before."""
        self.against = AGAINST[(AGAINST.index(self.against) + 1) % len(AGAINST)]

    def _count(self) -> int:
        samples = self._story.samples if self._story is not None else []
        return max((int(sample.get("index") or 0) for sample in samples), default=-1) + 1

    def _mine(self) -> list[dict[str, Any]]:
        samples = self._story.samples if self._story is not None else []
        return [sample for sample in samples if int(sample.get("index") or 0) == self.index]

    def _title(self) -> None:
        mine = self._mine()
        if not mine:
            title = "samples"
        else:
            row = mine[-1].get("row")
            where = f" · held-out row {row}" if isinstance(row, int) else ""
            title = f"sample {self.index + 1} of {self._count()} · after step {mine[-1].get('step')}{where}"
            if self.opened and self.against:
                title = (
                    f"sample {self.index + 1} of {self._count()} · step {mine[-1].get('step')} · against {self.against}"
                )
        if title != self.border_title:
            self.border_title = Content(title)

    def lay_out(self) -> None:
        mine = self._mine()
        if not mine:
            self._rows = [(("Held-out prompts are answered at every evaluation; they appear here.", "dim"),)]
        else:
            self._rows = self._whole(mine) if self.opened else self._brief(mine[-1])
            if not self.opened and self.room - len(self._rows) > 1:
                self._rows += [(), *self._earlier(mine, self.room - len(self._rows) - 1)]
        self.total = len(self._rows)

    def _texts(self, sample: dict[str, Any]) -> list[tuple[str, str, str]]:
        """(name, text, ink), the present answer before the reference it is measured by."""
        found = [("prompt", sample.get("prompt"), "")]
        if sample.get("base") is not None:
            found.append(("base", sample["base"], "dim"))
        found.append(("now", sample.get("output"), "strong"))
        if sample.get("reference") is not None:
            found.append(("reference", sample["reference"], ""))
        texts = [(name, clean(text, LONGEST).rstrip("\n"), ink) for name, text, ink in found]
        return [(name, text, ink) if text.strip() else (name, "(empty)", "dim") for name, text, ink in texts]

    def _brief(self, sample: dict[str, Any]) -> list[Line]:
        """All four, each in as many lines as there are."""
        texts = self._texts(sample)
        width = max(8, self.columns - NAME)
        most = max(1, self.room // len(texts))
        wrapped = [wrap(one_line(text, width * (most + 1) * 2), width) for _, text, _ in texts]
        spare = self.room - sum(min(most, len(rows)) for rows in wrapped)
        result: list[Line] = []
        for (name, _, ink), rows in zip(texts, wrapped, strict=True):
            extra = max(0, min(spare, len(rows) - most))
            spare -= extra
            result += _named(name, cut(rows, most + extra, width), ink)
        return result

    def _earlier(self, mine: list[dict[str, Any]], room: int) -> list[Line]:
        """The answers before, a line each, the newest first."""
        width = max(8, self.columns - NAME)
        return [
            ((f"{'step ' + str(sample.get('step')):<{NAME}}", "dim"), (one_line(sample.get("output"), width), "dim"))
            for sample in mine[-2::-1][: max(0, room)]
        ]

    def _whole(self, mine: list[dict[str, Any]]) -> list[Line]:
        width = max(8, self.columns - NAME)
        result: list[Line] = []
        for name, text, ink in self._texts(mine[-1]):
            if name == "now" and self.against:
                result += [*self._differing("now", mine, len(mine) - 1, width), ()]
            else:
                result += [*_named(name, [row for line in text.split("\n") for row in wrap(line, width)], ink), ()]
        if len(mine) > 1:
            result.append((("how the answer changed", "title"),))
            for place in range(len(mine) - 2, -1, -1):
                result += self._differing(f"step {mine[place].get('step')}", mine, place, width)
        return result

    def _differing(self, name: str, mine: list[dict[str, Any]], place: int, width: int) -> list[Line]:
        """The answer at PLACE under NAME, with what differs from what it is set against."""
        text = clean(mine[place].get("output"), LONGEST)
        before = None
        if self.against == BASE:
            before = mine[place].get("base")
        elif self.against == EARLIER and place:
            before = mine[place - 1].get("output")
        if not isinstance(before, str):
            return _named(name, [row for line in text.split("\n") for row in wrap(line, width)], "")
        marked = inline(clean(before, LONGEST), text, LONGEST)
        rows = [inked(marked, start, stop) for start, stop in marked_wrap(marked.text, width)]
        return [((f"{name if not at else '':<{NAME}}", "key"), *row) for at, row in enumerate(rows)]

    def line(self, index: int) -> Line:
        return self._rows[index] if index < len(self._rows) else ()


def _named(name: str, rows: list[str], ink: str) -> list[Line]:
    return [((f"{name if not at else '':<{NAME}}", "key"), (row, ink)) for at, row in enumerate(rows or [""])]


def cut(rows: list[str], most: int, width: int) -> list[str]:
    """At most MOST of ROWS; the last ends in an ellipsis where more were left out."""
    if len(rows) <= most:
        return rows
    return [*rows[: most - 1], fit(rows[most - 1].rstrip(" …") + " ", width).rstrip()[: width - 1].rstrip() + "…"]


def wrap(text: str, width: int) -> list[str]:
    """TEXT (one line) in rows of at most WIDTH cells, broken at spaces where there are any."""
    rows: list[str] = []
    row = ""
    for word in text.split(" "):
        joined = f"{row} {word}" if row else word
        if cell_len(joined) <= width:
            row = joined
            continue
        if row:
            rows.append(row)
        parts = chop_cells(word, width) if cell_len(word) > width else [word]
        rows += parts[:-1]
        row = parts[-1] if parts else ""
    return [*rows, row] if row or not rows else rows
