"""The confusion matrix one can walk into: which label is taken for which, and the rows behind every number; and, on the
same page, how far the probabilities of these answers can be believed."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message

from ftstudio.core.text import one_line
from ftstudio.evaluation.calibration import Reliability
from ftstudio.evaluation.confusion import Confusion
from ftstudio.ui.errors import reliability
from ftstudio.ui.errors.answers import Group
from ftstudio.ui.errors.marks import percent
from ftstudio.ui.errors.reliability import Bars
from ftstudio.ui.text.lines import Line, Lines, Part, fit
from ftstudio.ui.text.said import Said, fitting, wrapped

NAMES = 22  # cells of a label's name, at most


def shown(label: str) -> str:
    """LABEL for the screen."""
    return one_line(label, 40) or "(none)"


class Matrix(Lines):
    """References down, answers across, both numbered alike; the cursor is on one pair. Scrolls both ways."""

    BINDINGS = [
        Binding("up", "step(-1,0)", show=False),
        Binding("down", "step(1,0)", show=False),
        Binding("left", "step(0,-1)", show=False),
        Binding("right", "step(0,1)", show=False),
        Binding("home", "home", show=False),
        Binding("enter", "choose", show=False),
    ]

    @dataclass
    class Moved(Message):
        """The cursor is on another pair."""

    @dataclass
    class Chosen(Message):
        """Enter on the pair."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.confusion = Confusion((), {})
        self.cursor = (0, 0)
        self.left = 0  # the first answer in view
        self.fixed = 1

    def take(self, confusion: Confusion) -> None:
        """Show CONFUSION, the cursor on what is mixed up most."""
        self.confusion = confusion
        self.cursor = confusion.worst or (0, 0)
        self.left = self.top = 0
        self.total = len(confusion.labels)
        self._into_view()
        self.again()

    @property
    def names(self) -> int:
        """Cells that a label's name takes."""
        longest = max((len(shown(label)) for label in self.confusion.labels), default=4)
        return min(NAMES if self.columns >= 60 else 12, max(6, longest))

    @property
    def cell(self) -> int:
        """Cells of a number."""
        most = max((len(rows) for rows in self.confusion.rows.values()), default=0)
        return max(3, len(str(most)), len(str(self.total))) + 1

    @property
    def across(self) -> int:
        """Answers in view."""
        return max(1, (self.columns - self.names - 5 - self.cell) // self.cell)

    def lay_out(self) -> None:
        self.total = len(self.confusion.labels)
        self._into_view()

    def heading(self, y: int) -> Line:
        numbers = range(self.left, min(self.total, self.left + self.across))
        room = self.names + 5
        told = next((text for text in ("reference ↓ answer →", "ref ↓ answer →") if len(text) < room), "↓ →")
        parts: list[Part] = [(fit(told, room), "dim")]
        parts += [(fit(str(one + 1), self.cell, "right"), "key" if one == self.cursor[1] else "dim") for one in numbers]
        more = self.total - self.left - self.across
        return (*parts, (f"  +{more}" if more > 0 else "", "dim"))

    def line(self, index: int) -> Line:
        name = fit(shown(self.confusion.labels[index]), self.names)
        ink = "key" if index == self.cursor[0] else ""
        parts: list[Part] = [(fit(str(index + 1), 3, "right"), "key" if ink else "dim"), (f" {name} ", ink)]
        support = max(1, self.confusion.support(index))
        for given in range(self.left, min(self.total, self.left + self.across)):
            count = self.confusion.count(index, given)
            text = fit(str(count) if count else "·", self.cell, "right")
            if (index, given) == self.cursor:
                parts.append((f"[{text.strip()}]".rjust(self.cell), "title" if self.has_focus else "strong"))
            elif not count:
                parts.append((text, "rule"))
            elif index == given:
                parts.append((text, "good"))
            else:
                parts.append((text, "bad" if count >= 0.1 * support else "warn"))
        return tuple(parts)

    def action_step(self, down: int, right: int) -> None:
        """Move the cursor."""
        if not self.total:
            return
        a, b = self.cursor
        self.cursor = (max(0, min(self.total - 1, a + down)), max(0, min(self.total - 1, b + right)))
        self._into_view()
        self.paint()
        self.post_message(self.Moved())

    def action_home(self) -> None:
        """To the pair that is mixed up most."""
        self.cursor = self.confusion.worst or (0, 0)
        self._into_view()
        self.paint()
        self.post_message(self.Moved())

    def _into_view(self) -> None:
        a, b = self.cursor
        if self.room:
            self.top = max(a - self.room + 1, min(self.top, a))
        self.left = max(b - self.across + 1, min(self.left, b), 0)

    def action_choose(self) -> None:
        """Show the rows of the pair."""
        self.post_message(self.Chosen())


class ConfusionPage(Vertical):
    """The matrix, and in words what the cursor is on; or the bars of how sure the answers are."""

    DEFAULT_CSS = """
    ConfusionPage { height: 1fr; }
    ConfusionPage #confusion-matrix, ConfusionPage #confusion-bars { height: 1fr; margin-top: 1; }
    ConfusionPage #confusion-told { height: 2; margin-top: 1; }
    """

    @dataclass
    class Chosen(Message):
        """Enter on `group`, the rows of one pair."""

        group: Group

    def __init__(self) -> None:
        super().__init__()
        self.doing = ""
        self.title_text = ""
        self.rows = 0
        self.sure: Reliability | None = None

    def compose(self) -> ComposeResult:
        yield Said(id="confusion-head", grow=True)
        yield Matrix(id="confusion-matrix")
        yield Bars(id="confusion-bars")
        yield Said(id="confusion-told")

    @property
    def matrix(self) -> Matrix:
        """The matrix."""
        return self.query_one(Matrix)

    @property
    def bars(self) -> Bars:
        """The bars."""
        return self.query_one(Bars)

    def begin(self, title: str, confusion: Confusion, rows: int, sure: Reliability | None = None) -> None:
        """Show CONFUSION of ROWS answers called TITLE; SURE is how far their probabilities can be believed."""
        self.title_text, self.rows, self.sure = title, rows, sure
        self.matrix.take(confusion)
        self.bars.take(sure.bins if sure is not None else ())
        self.matrix.display, self.bars.display = True, False
        self.show()

    def turn(self) -> None:
        """From the matrix to the bars, or back."""
        self.bars.display = not self.bars.display
        self.matrix.display = not self.bars.display
        (self.bars if self.bars.display else self.matrix).focus()
        self.show()

    def show(self) -> None:
        """Bring all lines up to date."""
        width = max(40, self.app.size.width - 3)
        if self.bars.display:
            self.query_one("#confusion-head", Said).say(*reliability.head(self.sure, self.title_text, width))
            self.query_one("#confusion-told", Said).say(*reliability.told(self.sure, width))
            return
        head: list[Line] = [fitting([("Which label is taken for which", "title"), (f"  {self.title_text}", "")], width)]
        text = "Rows are references, columns answers; the diagonal is right. Arrows walk, enter shows the rows."
        self.query_one("#confusion-head", Said).say(*head, *wrapped(text, width, "dim"))
        self.query_one("#confusion-told", Said).say(*self._told(width))

    def _told(self, width: int) -> list[Line]:
        confusion, (a, b) = self.matrix.confusion, self.matrix.cursor
        if not confusion.labels:
            return [(("There are no answers with a reference.", "warn"),)]
        count, support = confusion.count(a, b), confusion.support(a)
        wanted, given = shown(confusion.labels[a]), shown(confusion.labels[b])
        share = f"{percent(count / support)} of the {support:,} rows labelled {wanted}" if support else "none is wanted"
        if a == b:
            said = f"{wanted}: {count:,} right, {share}"
        else:
            said = f"{wanted} taken for {given}: {count:,}, {share}"
        given_count = sum(confusion.count(one, b) for one in range(len(confusion.labels)))
        right = confusion.count(b, b)
        more = f"of {given_count:,} answers {given}, {percent(right / given_count)} are right" if given_count else ""
        return [fitting([(said, "strong")], width), fitting([(more, "dim")], width)]

    def on_matrix_moved(self, event: Matrix.Moved) -> None:
        event.stop()
        self.show()

    def on_matrix_chosen(self, event: Matrix.Chosen) -> None:
        event.stop()
        confusion, (a, b) = self.matrix.confusion, self.matrix.cursor
        rows = confusion.rows.get((a, b), ())
        if rows:
            wanted, given = shown(confusion.labels[a]), shown(confusion.labels[b])
            title = f"{wanted} right" if a == b else f"{wanted} taken for {given}"
            self.post_message(self.Chosen(Group(f"▦ {title}", tuple(rows))))
