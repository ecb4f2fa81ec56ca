"""One row: prompt, reference, and what base and tuned made of it, with what differs marked word by word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import categories
from ftstudio.evaluation.metrics import TITLES
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.compare.arms import BASE
from ftstudio.ui.compare.rows import pair, signed
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.marked import Marked, mark
from ftstudio.ui.text.panes import Pane, Panes
from ftstudio.ui.text.said import Said, fitting
from ftstudio.ui.text.worddiff import inline

MODES = ("off", "base", "reference")
NOTES = {"off": "", "base": "[-in base-] {+in tuned+}", "reference": "[-missing-] {+not in the reference+}"}


class CompareDetail(Vertical):
    """A row in full. `show` is told everything; the keys are the screen's."""

    DEFAULT_CSS = "CompareDetail { height: 1fr; } CompareDetail > #compare-row { height: 2; }"

    def compose(self) -> ComposeResult:
        yield Said(id="compare-row")
        yield Panes(id="compare-panes")

    def show(
        self,
        base: Prediction,
        tuned: Prediction,
        name: str,
        scores: Mapping[str, Any],
        metric: str,
        place: str,
        mode: str,
        *,
        stay: bool = False,
    ) -> None:
        """Show a row: the answers of BASE and TUNED (the run NAME), their SCORES, METRIC the one rows are sorted by.

        PLACE says where one is among the rows, MODE (of MODES) what is marked. STAY keeps the scroll.
        """
        width = self.app.size.width - 3
        lines = (fitting(_head(tuned.row, place, scores, name, metric), width), fitting(_errors(scores, name), width))
        self.query_one("#compare-row", Said).say(*lines)
        self.query_one(Panes).show(_panes(base, tuned, name, mode), stay=stay)


def _head(row: int, place: str, scores: Mapping[str, Any], name: str, metric: str) -> Line:
    a, b = scores.get(BASE, {}), scores.get(name, {})
    parts: list[Part] = [(f"row {row}", "title"), (f"  {place}", "dim")]
    if metric in a and metric in b:
        parts += [(f"  {TITLES.get(metric, metric)} {pair(a[metric], b[metric], '{:.2f}')} ", "")]
        parts.append(signed(b[metric] - a[metric]))
    for other, title, form in (("similarity", "similarity", "{:.2f}"), ("length", "words", "{:.0f}")):
        if other != metric and (text := pair(a.get(other), b.get(other), form)):
            parts.append((f" · {title} {text}", "dim"))
    return tuple(parts)


def _errors(scores: Mapping[str, Any], name: str) -> Line:
    """Which errors went, stayed and came."""
    if not scores:
        return (("not scored yet", "dim"),)
    before, after = (set(scores.get(arm, {}).get("categories", ())) for arm in (BASE, name))
    titles = {known.name: f"{known.mark} {known.title}" for known in categories().values()}
    groups = (("fixed ", before - after, "good"), ("broke ", after - before, "bad"), ("still ", before & after, "warn"))
    parts: list[Part] = []
    for word, names, ink in groups:
        if names:
            text = ", ".join(titles.get(one, one_line(one, 20)) for one in titles if one in names)
            parts += [("   " if parts else "", ""), (word, ink), (text, "")]
    return tuple(parts) or (("✓ no check found anything in either", "good"),)


def _panes(base: Prediction, tuned: Prediction, name: str, mode: str) -> list[Pane]:
    panes = [Pane("prompt", mark(base.prompt), fold=True, broad=True)]
    reference = base.reference
    if reference is not None:
        panes.append(Pane("reference", mark(reference), _words(reference), fold=True))
    left: Marked
    if mode == "reference" and reference is not None:
        left, right = inline(reference, base.output), inline(reference, tuned.output)
    elif mode == "base":
        left, right = mark(base.output), inline(base.output, tuned.output)
    else:
        left, right = mark(base.output), mark(tuned.output)
    note = NOTES[mode]
    panes.append(Pane("base", left, note if mode == "reference" else _words(base.output), fold=True))
    panes.append(Pane("tuned", right, note or f"{_words(tuned.output)}  {one_line(name, 30)}"))
    return panes


def _words(text: str) -> str:
    count = len(text[:1_000_000].split())
    return f"{count:,} word{'' if count == 1 else 's'}"
