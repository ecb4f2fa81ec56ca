"""One row: prompt, reference, and what base and tuned made of it, with what differs marked word by word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import Category, categories
from ftstudio.evaluation.metrics import TITLES
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.compare.arms import BASE
from ftstudio.ui.compare.rows import pair, signed
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.marked import Marked, mark
from ftstudio.ui.text.panes import Pane, Panes
from ftstudio.ui.text.said import Said, fitting
from ftstudio.ui.text.worddiff import inline

METRICS = (
    ("rouge1", "ROUGE-1", "{:.2f}"),
    ("rouge2", "-2", "{:.2f}"),
    ("rougeL", "-L", "{:.2f}"),
    ("similarity", "similarity", "{:.2f}"),
    ("exact_match", "right", "{:.0f}"),
    ("length", "words", "{:.0f}"),
)
MODES = ("off", "base", "reference")
NOTES = {"off": "", "base": "[-in base-] {+in tuned+}", "reference": "[-missing-] {+not in the reference+}"}


class CompareDetail(Vertical):
    """A row in full. `show` is told everything; the keys are the screen's."""

    DEFAULT_CSS = "CompareDetail { height: 1fr; } CompareDetail > #compare-row { height: 3; }"

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
        head = fitting(_head(tuned.row, place, scores, name, metric), width)
        self.query_one("#compare-row", Said).say(
            head, fitting(_metrics(scores, name), width), _errors(scores, name, width)
        )
        self.query_one(Panes).show(_panes(base, tuned, name, mode), stay=stay)


def _head(row: int, place: str, scores: Mapping[str, Any], name: str, metric: str) -> list[Part]:
    a, b = scores.get(BASE, {}), scores.get(name, {})
    parts: list[Part] = [(f"row {row}", "title"), (f"  {place}", "dim")]
    if metric in a and metric in b:
        parts += [(f"  {TITLES.get(metric, metric)} ", ""), signed(b[metric] - a[metric])]
    return parts


def _metrics(scores: Mapping[str, Any], name: str) -> list[Part]:
    """Every metric of the row, base → tuned; the words, which the panes tell too, last."""
    a, b = scores.get(BASE, {}), scores.get(name, {})
    parts: list[Part] = []
    for metric, title, form in METRICS:
        if text := pair(a.get(metric), b.get(metric), form).replace(" → ", "→"):
            parts.append((f"{'  ' if parts else ''}{title} {text}", ""))
    return parts


def _errors(scores: Mapping[str, Any], name: str, width: int) -> Line:
    """Which errors went, stayed and came, in WIDTH cells: with marks and names, names alone, or marks alone."""
    if not scores:
        return (("not scored yet", "dim"),)
    before, after = (set(scores.get(arm, {}).get("categories", ())) for arm in (BASE, name))
    groups = (("fixed ", before - after, "good"), ("broke ", after - before, "bad"), ("still ", before & after, "warn"))
    ways: tuple[tuple[Callable[[Category], str], str], ...] = (
        (lambda known: f"{known.mark} {known.title}", ", "),
        (lambda known: known.title, ", "),
        (lambda known: known.mark, ""),
    )
    parts: list[Part] = []
    for way, joint in ways:
        parts = []
        for word, names, ink in groups:
            if names:
                text = joint.join(way(known) for known in categories().values() if known.name in names)
                parts += [("   " if parts else "", ""), (word, ink), (text, "")]
        if sum(cell_len(text) for text, _ in parts) <= width:
            break
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
