"""What the judge model found: wins, how far it can be trusted, and whether people agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation import power
from ftstudio.evaluation.shown import chance
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.arms_page import ArmsPage
from ftstudio.ui.compare.outcome import tally_bars
from ftstudio.ui.compare.summary import verdict as signed_verdict
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.said import named, wrapped

TRUST = 0.25  # share of verdicts that change with the order from which a judge is doubted
BIAS = 0.1  # how far from half the first one may be preferred


class JudgePage(ArmsPage):
    """The judge's report on the pair in view, as far as there is one."""

    def compose_lines(self, width: int) -> list[Line]:
        arms = self.arms
        judge = (arms.report or {}).get("judge") if arms is not None else None
        if arms is None or not isinstance(judge, Mapping):
            return no_judge(width)
        lines: list[Line] = [
            (("The judge", "title"), (f" · {one_line(judge.get('model'), 60)}", "dim")),
            *wrapped(f"rubric: {one_line(judge.get('rubric'), 400)}", width, "dim", 3),
        ]
        if judge.get("complete") is False:
            why = one_line(judge.get("reason") or "it was stopped", 300)
            lines += wrapped(f"! Not all rows are judged: {why}; comparing again goes on.", width, "warn", 3)
        found = pair_of(judge, arms.a, arms.b)
        if found is None:
            names = ", ".join(f"{one_line(b, 24)} against {one_line(a, 24)}" for a, b in pairs_of(judge))
            text = f"It judged no {arms.label(arms.b)} against {arms.label(arms.a)}; it judged {names}. a chooses that."
            return [*lines, (), *wrapped(text, width, "", 3)]
        return [*lines, (), *pair_lines(arms, found, width)]


def no_judge(width: int) -> list[Line]:
    """How to get one, in lines of WIDTH cells."""
    text = "A judge is a model that reads both answers, in both orders, and says which is better. The recipe names it \
(evaluation.judge: its model, and the url of a server where it isn't local), or the command line does: \
ftstudio compare RUN --judge MODEL."
    return [(("No judge was asked.", "strong"),), (), *wrapped(text, width, "", 6)]


def pairs_of(judge: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The pairs (a, b) that JUDGE judged."""
    pairs = judge.get("pairs")
    return [(str(one.get("a")), str(one.get("b"))) for one in pairs or () if isinstance(one, Mapping)]


def pair_of(judge: Mapping[str, Any], a: str, b: str) -> Mapping[str, Any] | None:
    """What JUDGE found of B against A; None where it wasn't asked that."""
    for one in judge.get("pairs") or ():
        if isinstance(one, Mapping) and (one.get("a"), one.get("b")) == (a, b):
            return one
    return None


def pair_lines(arms: Arms, found: Mapping[str, Any], width: int) -> list[Line]:
    """One pair: verdict, wins, and what speaks for and against the judge."""
    a, b = arms.label(arms.a), arms.label(arms.b)
    word = str(found.get("verdict") or "")
    sign, ink = signed_verdict(word)
    if word in ("better", "worse"):
        text = f"{sign[:1]} {b} is {word} than {a}, says the judge"
    else:
        text = f"= The judge can't tell {b} and {a} apart"
        more = found.get("needed")
        text += f": about {power.rounded(more):,} more rows are needed" if isinstance(more, int) and more else ""
    lines: list[Line] = [*wrapped(text, width, ink or "strong"), ()]
    counts = [int(found.get(key) or 0) for key in ("wins", "losses", "ties")]
    lines += tally_bars((f"{b} won", f"{a} won", "tie (or changed with the order)"), counts, width)
    lines += [(), *figures(found, b, width)]
    return lines


def figures(found: Mapping[str, Any], b: str, width: int) -> list[Line]:
    """Rates with intervals, and the judge's own faults."""
    lines: list[Line] = []

    def say(name: str, text: str, ink: str = "") -> None:
        lines.extend(named(name, text, 18, width, ink))

    if isinstance(found.get("rate"), int | float):
        wide = f"{100 * found['low']:.0f} – {100 * found['high']:.0f} %"
        say(
            "win rate", f"{100 * found['rate']:.0f} % of rows with a winner went to {b}; {wide}; p {chance(found['p'])}"
        )
    even = found.get("length_controlled")
    if isinstance(even, Mapping):
        wide = f"{100 * even['low']:.0f} – {100 * even['high']:.0f} %"
        say("at equal length", f"{100 * even['rate']:.0f} % ({wide}), ties as half")
    flips, first, longer, agreement = (share(found.get(key)) for key in ("flips", "first", "longer", "agreement"))
    if flips is not None:
        doubt = flips > TRUST
        say("changed its mind", f"{100 * flips:.0f} % of verdicts changed with the order", "warn" if doubt else "")
    if first is not None:
        doubt = abs(first - 0.5) > BIAS
        say("position", f"{100 * first:.0f} % went to the answer shown first (50: no bias)", "warn" if doubt else "")
    if longer is not None:
        say("length", f"{100 * longer:.0f} % of its winners were the longer answer")
    if agreement is not None:
        votes = found["agreement"].get("votes", 0)
        say("people", f"it agrees with {100 * agreement:.0f} % of the blind votes ({votes:,} rows with both)")
    else:
        say("people", "no blind votes to hold it against yet: b in the list", "dim")
    rest = [f"{found.get('rows', 0):,} rows judged in both orders"]
    rest += [f"{found['alike']:,} alike"] if found.get("alike") else []
    rest += [f"{found['unreadable']:,} unreadable"] if found.get("unreadable") else []
    say("rows", ", ".join(rest))
    return lines


def share(value: Any) -> float | None:
    """The share in VALUE, a plain number or `{share, n, low, high}`."""
    if isinstance(value, Mapping):
        value = value.get("share")
    return float(value) if isinstance(value, int | float) else None


def headline(arms: Arms) -> Part | None:
    """The judge in a few words for the list; None without one."""
    judge = (arms.report or {}).get("judge")
    found = pair_of(judge, arms.a, arms.b) if isinstance(judge, Mapping) else None
    if found is None or not isinstance(found.get("rate"), int | float):
        return None
    return (f"judge: {100 * found['rate']:.0f} % for {arms.label(arms.b, 12)}", "dim")
