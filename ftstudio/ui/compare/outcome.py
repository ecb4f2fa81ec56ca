"""What came of blind votes: wins, win rate, verdict, and which metric agrees with people."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.text import one_line
from ftstudio.evaluation.metrics import TITLES
from ftstudio.evaluation.votes.evalue import ENOUGH
from ftstudio.evaluation.votes.report import sentence
from ftstudio.evaluation.votes.tally import Tally
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line, Part, fit
from ftstudio.ui.text.said import named, wrapped

BARS = (("█", "good"), ("▒", "bad"), ("·", "dim"), ("×", "warn"))  # won, lost, tie, both bad


class Outcome(Page):
    """The tally as a page."""

    DEFAULT_CSS = "Outcome { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id)
        self.found: Tally | None = None

    def show(self, found: Tally) -> None:
        """Show FOUND."""
        if found != self.found:
            self.found = found
            self.fresh()

    def compose_lines(self, width: int) -> list[Line]:
        found = self.found
        if found is None:
            return []
        a, b = one_line(found.a, 30), one_line(found.b, 30)
        ink = "good" if found.enough else "strong"
        lines: list[Line] = [(("Blind votes: who is who", "title"),), ()]
        lines += [*wrapped(("✓ " if found.enough else "… ") + sentence(found), width, ink), ()]
        counts = (found.wins, found.losses, found.ties, found.bad)
        names = (f"{b} won", f"{a} won", "tie", "both bad")
        lines += [*tally_bars(names, counts, width), (), *self._figures(found, b, width)]
        if found.agreement:
            lines += [(), *_agreement(found)]
        return lines

    @staticmethod
    def _figures(found: Tally, b: str, width: int) -> list[Line]:
        lines: list[Line] = []

        def say(name: str, text: str) -> None:
            lines.extend(named(name, text, 12, width))

        if found.rate is not None:
            text = f"{100 * found.rate:.0f} % of the {found.decided:,} rows with a winner went to {b}; 95 % interval "
            say("win rate", f"{text}{100 * found.low:.0f} – {100 * found.high:.0f} % (Wilson)")
        say("e-value", f"{found.e_value:,.2f}: {ENOUGH:g} is enough, however often one looked")
        people = "1 person" if found.people == 1 else f"{found.people} people"
        parts = [f"{found.votes:,} votes by {people}", f"{found.waiting:,} rows have none"]
        parts += [f"{found.alike:,} rows have equal answers"] if found.alike else []
        parts += [f"{found.outdated:,} votes on answers that are there no longer don't count"] if found.outdated else []
        parts += [f"left was chosen in {100 * found.left:.0f} %"] if found.left is not None else []
        say("votes", "; ".join(parts))
        return lines


def tally_bars(names: Sequence[str], counts: Sequence[int], width: int) -> list[Line]:
    """COUNTS of what NAMES say (won, lost, tie, both bad) as bars beside each other, in lines of WIDTH cells."""
    most, room = max(*counts, 1), max(10, min(60, width - 44))
    lines: list[Line] = []
    for name, count, (sign, ink) in zip(names, counts, BARS, strict=False):
        wide = max(1, round(room * count / most)) if count else 0
        lines.append(((f"{fit(name, 34)}{count:>5,}  ", ""), (sign * wide, ink)))
    return lines


def _agreement(found: Tally) -> list[Line]:
    """Which metric agrees with people, the most agreeing first."""
    head = f"{'metric':<14}{'agrees':>7}  {'95 % interval':>13}  {'rows':>5}"
    lines: list[Line] = [(("Which metric agrees with people", "title"),), ((head, "title"),)]
    for item in found.agreement:
        title = fit(TITLES.get(item.metric, one_line(item.metric, 14)), 14)
        if item.share is None:
            lines.append(((f"{title}{'–':>7}", ""), ("  it prefers neither on any row with a winner", "dim")))
            continue
        ink = "good" if item.low > 0.5 else "bad" if item.high < 0.5 else ""
        parts: list[Part] = [(f"{title}{100 * item.share:>5.0f} %", ink)]
        parts.append((f"  {100 * item.low:>3.0f} – {100 * item.high:>3.0f} %  {item.agree + item.against:>7,}", ""))
        if not item.low <= 0.5 <= item.high:
            parts.append(("  ▲ more often than not" if item.low > 0.5 else "  ▼ less often than not", ink))
        else:
            parts.append(("  = no better than a coin, so far", "dim"))
        lines.append(tuple(parts))
    return lines
