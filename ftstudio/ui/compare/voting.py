"""Blind votes: two answers side by side, no names, a key for each verdict; who is who is told at the end."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.data.versions.edit import me
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.votes.book import NAME, Book, Outputs
from ftstudio.evaluation.votes.tally import Tally, tally
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.outcome import Outcome
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.dialogs import Ask
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.marked import mark
from ftstudio.ui.text.panes import Pane, Panes
from ftstudio.ui.text.said import Said, fitting
from ftstudio.ui.text.worddiff import inline

LEFT = Action("left", "vote('left')", "left", "the left (or upper) answer is better")
RIGHT = Action("right", "vote('right')", "right", "the right (or lower) answer is better")
TIE = Action("equals_sign", "vote('tie')", "as good", "both are as good")
BAD = Action("x", "vote('bad')", "both bad", "both are bad")
UNDO = Action("u", "undo", "undo", "take the last vote back")
DIFFERENCE = Action("d", "difference", "diff", "mark the words by which the second differs from the first, or nothing")
FOLD = Action("z", "fold", "unfold", "show shortened texts in full")
REVEAL = Action("r", "reveal", "who is who", "end the voting: names, win rate, and which metric agrees with you")
MORE = Action("b", "more", "vote on", "vote on the rows that are left")
BACK = Action("escape", "back", "back", "back to the comparison; the votes are kept, and b goes on with them")
VOTING = (LEFT, RIGHT, TIE, BAD, UNDO, DIFFERENCE, FOLD, REVEAL, BACK)


class VotesScreen(StudioScreen):
    """Votes on the arms `a` and `b` of a comparison. Nothing on it tells which is which until the end."""

    MODE = "compare"
    TITLE_TEXT = "Blind votes: which answer is better?"
    HELP = """
Which of the two is better you say without knowing whose it is: the sides are drawn anew for every row, the order of \
the rows too, and nothing here tells. Every vote is written down at once (who, when); come back any time to go on.

You may stop whenever you like, and look as often as you like: the verdict rests on an e-value, which unlike a p-value \
isn't spoilt by looking. From 20 on it is enough, and the line above the answers says so. Ties and rows where both are \
bad are counted apart.

At the end you learn who is who, the win rate with its 95 % interval, and how often each metric prefers the answer \
that you prefer: believe the one that agrees with you.
"""
    ACTIONS = (*VOTING, MORE)
    BINDINGS = bindings(*ACTIONS)
    DEFAULT_CSS = """
    VotesScreen #votes-head { height: 2; }
    VotesScreen #votes-panes { height: 1fr; }
    """

    def __init__(self, arms: Arms) -> None:
        super().__init__()
        self.arms = arms
        self.a, self.b = arms.a, arms.b
        self.book = Book(arms.folder.path / NAME, self.a, self.b, me())
        self.outputs: Outputs = {}
        self.row: int | None = None
        self.ended = self.book.shown is not None
        self.marking = False
        self._known: tuple[int, int] = (-1, -1)

    def compose_body(self) -> ComposeResult:
        yield Said(id="votes-head")
        yield Panes(id="votes-panes")
        yield Outcome(id="votes-outcome")

    def on_mount(self) -> None:
        self._take()
        self._look()

    # -- what there is -------------------------------------------------------------------------------------------------
    def _take(self) -> bool:
        """Take in the answers there are now; True where they are others than before."""
        first, second = (self.arms.answered[name].known for name in (self.a, self.b))
        known = (len(first), len(second))
        if known == self._known:
            return False
        self._known = known
        self.outputs = {row: (first[row].output, second[row].output) for row in first if row in second}
        if self.row is None or self.row not in self.outputs:
            self.row = next(iter(self.book.waiting(self.outputs)), None)
        return True

    def pull(self) -> None:
        if self.is_mounted and self._take():
            self._show()

    def _look(self) -> None:
        """Show the voting, or what came of it."""
        if self.row is None and self.book.votes and not self.ended:
            self._end()
        self.query_one("#votes-panes").display = not self.ended
        self.query_one("#votes-head").display = not self.ended
        self.query_one(Outcome).display = self.ended
        (self.query_one(Outcome) if self.ended else self.query_one(Panes)).focus()
        self._show()
        self.refresh_shell()

    def current_actions(self) -> tuple[Action, ...]:
        if self.ended:
            return (*((MORE,) if self.book.waiting(self.outputs) else ()), UNDO, BACK)
        return VOTING if self.row is not None else (UNDO, BACK)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self._show)

    # -- showing -------------------------------------------------------------------------------------------------------
    @property
    def found(self) -> Tally:
        """What came of the votes so far."""
        return tally(self.book, self.outputs, self.arms.scores())

    def _show(self) -> None:
        if self.ended:
            self.query_one(Outcome).show(self.found)
            return
        width = self.app.size.width - 3
        self.query_one("#votes-head", Said).say(*self._head(width))
        row = self.row
        if row is None:
            self.query_one(Panes).show([])
            return
        names = self.book.ballot.sides(row)
        answers = [self.arms.answered[name].known[row] for name in names]
        self.query_one(Panes).show(_panes(answers, self.marking))

    def _head(self, width: int) -> list[Line]:
        found = self.found
        if self.row is None:
            why = "no row has two different answers" if not self.book.votes else "every row has your vote"
            return [((f"There is nothing to vote on: {why}.", "warn"),), ()]
        waiting = len(self.book.waiting(self.outputs))
        mine = sum(who == self.book.who for who, _ in self.book.votes)
        parts: list[Part] = [("Which answer is better?", "title"), (f"  row {self.row}", "dim")]
        parts += [(f" · {mine:,} votes of yours · {waiting:,} rows left", "dim")]
        if found.enough:
            state: list[Part] = [("✓ enough votes to tell", "good"), (" · r shows who is who; more is welcome", "dim")]
        else:
            state = [("not enough votes to tell yet", ""), (" · ← → = x vote, as long as you like", "dim")]
        return [fitting(parts, width), fitting(state, width)]

    # -- voting --------------------------------------------------------------------------------------------------------
    def action_vote(self, choice: str) -> None:
        """Write the vote down; the next row."""
        row = self.row
        if row is None or self.ended or row not in self.outputs:
            return
        if self.attempt(lambda: self.book.vote(row, choice, self.outputs)):
            self.row = next(iter(self.book.waiting(self.outputs)), None)
            self._look()

    def action_undo(self) -> None:
        """Take the last vote back and show its row again."""
        try:
            row = self.book.undo()
        except StudioError as error:
            self.studio.show_error(error)
            return
        if row is None:
            self.studio.tell("There is no vote of yours to take back.")
            return
        self.ended = False
        self.row = row if row in self.outputs else next(iter(self.book.waiting(self.outputs)), None)
        self._look()

    def action_difference(self) -> None:
        """Mark what differs, or nothing."""
        self.marking = not self.marking
        self._show()

    def action_fold(self) -> None:
        """All of the texts, or as much as fits."""
        self.query_one(Panes).toggle_fold()

    def action_reveal(self) -> None:
        """Tell who is who, after asking."""
        if self.ended:
            return
        if not self.book.votes:
            self.studio.tell("Vote first: who is who is told at the end.")
            return

        def chosen(answer: str | None) -> None:
            if answer == "r":
                self._end()
                self._look()

        enough = "There are enough votes to tell." if self.found.enough else "There aren't enough votes to tell yet."
        text = f"{enough} Going on later is possible, but by then you know how it stands."
        self.app.push_screen(Ask("Show who is who?", text, {"r": "show it"}), chosen)

    def _end(self) -> None:
        self.ended = True
        self.attempt(self.book.show_names)

    def action_more(self) -> None:
        """Vote on the rows that are left."""
        if self.ended and self.book.waiting(self.outputs):
            self.ended = False
            self.row = self.book.waiting(self.outputs)[0]
            self._look()

    def action_back(self) -> None:
        """Back to the comparison."""
        self.dismiss(None)


def _panes(answers: list[Prediction], marking: bool) -> list[Pane]:
    """Prompt, reference and the two ANSWERS, nothing about whose they are."""
    left, right = answers
    panes = [Pane("prompt", mark(left.prompt), fold=True, broad=True)]
    if left.reference is not None:
        panes.append(Pane("reference", mark(left.reference), fold=True, broad=True))
    second = inline(left.output, right.output) if marking else mark(right.output)
    note = "[-in the first-] {+in the second+}" if marking else ""
    panes.append(Pane("← left", mark(left.output), fold=True))
    panes.append(Pane("→ right", second, one_line(note, 40), fold=True))
    return panes
