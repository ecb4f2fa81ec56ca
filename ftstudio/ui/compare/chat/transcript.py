"""One arm's side of a conversation, with what it writes now at its end."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.chatlog import ChatTurn, Reply
from ftstudio.core.text import one_line
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line, fit
from ftstudio.ui.text.marked import inked, mark, wrap

LONGEST = 20_000  # characters shown of one text


class Transcript(Page, can_focus=False):
    """What was typed and what the arm `name` answered, the end in view as long as nobody scrolls up."""

    DEFAULT_CSS = "Transcript { height: 1fr; width: 1fr; }"

    def __init__(self, name: str, title: str, *, id: str | None = None) -> None:
        super().__init__(id)
        self.arm, self.title = name, title
        self.turns: Sequence[ChatTurn] = ()
        self.state = ""
        self.fixed = 1
        self._follows = True
        self._laid_turns: dict[int, tuple[object, list[Line]]] = {}  # turns that don't change any more

    def show(self, turns: Sequence[ChatTurn], state: str) -> None:
        """Show TURNS; STATE stands beside the name."""
        self.turns, self.state = turns, state
        self.lay_out()
        if self._follows:
            self.top = max(0, self.total - self.room)
        self.paint()

    def heading(self, y: int) -> Line:
        title = one_line(self.title, max(8, self.columns // 2))
        state = f" {one_line(self.state, 40)} " if self.state else " "
        left = self.columns - len(title) - len(state)
        return ((title, "title"), (state, "dim"), ("─" * max(0, left), "rule"))

    def compose_lines(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for turn in self.turns:
            reply = turn.replies.get(self.arm)
            key = (width, reply.text if reply and reply.done else None)
            known = self._laid_turns.get(turn.number)
            if known is None or known[0] != key or key[1] is None:
                known = self._laid_turns[turn.number] = (key, self._turn(turn, reply, width))
            lines += known[1]
        return lines

    def _turn(self, turn: ChatTurn, reply: Reply | None, width: int) -> list[Line]:
        lines: list[Line] = [()] if turn.number > 1 else []
        asked = mark(turn.text, (), LONGEST)
        for place, (start, stop) in enumerate(wrap(asked.text, max(10, width - 2))):
            lines.append((("› " if place == 0 else "  ", "key"), *inked(asked, start, stop, "strong")))
        if reply is None:
            waits = self.arm in turn.arms
            return [*lines, (("…" if waits else "(not asked)", "dim"),)]
        answer = mark(reply.text, (), LONGEST)
        lines += [inked(answer, start, stop) for start, stop in wrap(answer.text, width)] if answer.text else []
        if reply.done:
            lines.append(((fit(figures(reply), width).rstrip(), "dim"),))
        return lines

    def lay_out(self) -> None:
        super().lay_out()
        if self._follows:
            self.top = max(0, self.total - self.room)

    def scroll_lines(self, count: int) -> None:
        super().scroll_lines(count)
        self._follows = self.top >= self.total - self.room


def figures(reply: Reply) -> str:
    """Length and speed of a whole REPLY, and how it came to its end."""
    end = "stopped by you" if reply.stopped else "" if reply.ended else "cut at the limit"
    parts = [f"{reply.tokens:,} token{'' if reply.tokens == 1 else 's'}"]
    parts += [f"{reply.rate:,.0f} tok/s"] if reply.rate else []
    parts += ["empty"] if not reply.text.strip() else []
    return " · ".join([*parts, *([end] if end else [])])
