"""The tally of blind votes in words."""

from __future__ import annotations

from ftstudio.core.text import one_line
from ftstudio.evaluation.layout import bar, field, table
from ftstudio.evaluation.metrics import TITLES
from ftstudio.evaluation.votes.evalue import ENOUGH
from ftstudio.evaluation.votes.tally import Agreement, Tally


def sentence(found: Tally) -> str:
    """What came of it, in one sentence."""
    a, b = one_line(found.a, 30), one_line(found.b, 30)
    if found.enough:
        better, worse = (b, a) if found.wins > found.losses else (a, b)
        return f"{better} is preferred to {worse}."
    if found.more is None:
        why = "no row was decided yet" if not found.decided else "they are too alike to tell, or nearly so"
        return f"Can't tell {a} and {b} apart: {why}."
    return f"Can't tell yet: about {found.more:,} more rows with a winner are needed if it goes on like this."


def tally_text(found: Tally, width: int = 78) -> str:
    """FOUND as `compare --votes` prints it."""
    a, b = one_line(found.a, 30), one_line(found.b, 30)
    people = "1 person" if found.people == 1 else f"{found.people} people"
    votes = "1 vote" if found.votes == 1 else f"{found.votes:,} votes"
    lines = [f"Blind votes on {a} and {b}: {votes} by {people}", "", sentence(found), ""]
    total = max(1, found.decided + found.ties + found.bad)
    for title, count in ((f"{b} won", found.wins), (f"{a} won", found.losses), ("tie", found.ties),
                         ("both bad", found.bad)):  # fmt: skip
        lines.append(f"{title:<36}{count:>6,}  {bar(count / total)}".rstrip())
    if found.rate is not None:
        text = f"{100 * found.rate:.0f} % of {found.decided:,} decided rows, 95 % interval "
        lines += ["", *field("win rate", f"{b}: {text}{100 * found.low:.0f} – {100 * found.high:.0f} % (Wilson)", 12)]
    text = f"{found.e_value:,.2f} against “as good as each other”; {ENOUGH:g} is enough, whenever one looks"
    lines += field("e-value", text, 12)
    rest = [f"{found.waiting:,} rows have no vote"] if found.waiting else []
    rest += [f"{found.alike:,} have equal answers"] if found.alike else []
    rest += [f"{found.outdated:,} votes were on answers that are there no longer"] if found.outdated else []
    rest += [f"names were shown after {found.shown:,} votes"] if found.shown is not None else []
    lines += field("left", "; ".join(rest), 12) if rest else []
    if found.agreement:
        header = ("metric", "agrees", "95 % interval", "rows", "says nothing")
        lines += ["", *table(header, [_agreement(item) for item in found.agreement], left=(0,))]
        lines += ["", "agrees: how often a metric prefers the answer that people prefer"]
    return "\n".join(lines)


def _agreement(item: Agreement) -> tuple[str, ...]:
    share = "–" if item.share is None else f"{100 * item.share:.0f} %"
    interval = "–" if item.share is None else f"{100 * item.low:.0f} – {100 * item.high:.0f} %"
    title = TITLES.get(item.metric, one_line(item.metric, 24))
    return (title, share, interval, f"{item.agree + item.against:,}", f"{item.same:,}")
