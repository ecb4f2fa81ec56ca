"""One row: prompt, reference, and what each arm made of it, with what differs marked word by word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import Category, named
from ftstudio.evaluation.metrics import TITLES
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.rows import Rows, pair, score, signed, signs
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.marked import Marked, mark
from ftstudio.ui.text.panes import Pane, Panes
from ftstudio.ui.text.said import Said, fitting
from ftstudio.ui.text.spans import LEGEND, spans
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
NOTES = {"off": "", "base": "[-in {a}-] {{+in {b}+}}", "reference": "[-missing-] {{+not in the reference+}}"}
WIDTHS = ((160, 4), (118, 3), (0, 2))  # cells of the screen from which so many arms stand beside each other


def arms_shown(arms: Arms, width: int) -> list[str]:
    """The arms shown at WIDTH cells: the two in view, and as many of the others as there is room for."""
    most = next(count for least, count in WIDTHS if width >= least)
    others = [name for name in arms.names if name not in (arms.a, arms.b)]
    return [arms.a, arms.b, *others[: most - 2]]


class CompareDetail(Vertical):
    """A row in full. `show` is told everything; the keys are the screen's."""

    DEFAULT_CSS = "CompareDetail { height: 1fr; } CompareDetail > #compare-row { height: 3; }"

    def compose(self) -> ComposeResult:
        yield Said(id="compare-row")
        yield Panes(id="compare-panes")

    def show(self, arms: Arms, rows: Rows, row: int, place: str, mode: str, *, stay: bool = False) -> None:
        """Show ROW as ARMS answered and ROWS scored it.

        PLACE says where one is among the rows, MODE (of MODES) what is marked. STAY keeps the scroll.
        """
        width = self.app.size.width
        scores = rows.scores.get(row, {})
        a, b = scores.get(arms.a, {}), scores.get(arms.b, {})
        self.query_one("#compare-row", Said).say(
            fitting(_head(row, place, a, b, rows.metric), width - 3),
            fitting(_metrics(arms, a, b), width - 3),
            _errors(a, b, width - 3),
        )
        names = [name for name in arms_shown(arms, width) if row in arms.answered[name].known]
        answers = [(name, arms.answered[name].known[row]) for name in names]
        self.query_one(Panes).show(_panes(arms, answers, scores, rows.metric, mode), stay=stay)


def _head(row: int, place: str, a: Mapping[str, Any], b: Mapping[str, Any], metric: str) -> list[Part]:
    parts: list[Part] = [(f"row {row}", "title"), (f"  {place}", "dim")]
    if metric in a and metric in b:
        parts += [(f"  {TITLES.get(metric, metric)} ", ""), signed(b[metric] - a[metric])]
    return parts


def _metrics(arms: Arms, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Part]:
    """Every metric of the row, before → after; the words, which the panes tell too, last."""
    known = {name: (title, form) for name, title, form in METRICS}
    others = [name for name in b if name not in known and isinstance(b[name], int | float)]
    order = [*(name for name in known if name != "length"), *others, "length"]
    parts: list[Part] = []
    for metric in order:
        title, form = known.get(metric, (arms.title(metric, 16), "{:.2f}"))
        if text := pair(a.get(metric), b.get(metric), form).replace(" → ", "→"):
            parts.append((f"{'  ' if parts else ''}{title} {text}", ""))
    return parts


def _errors(a: Mapping[str, Any], b: Mapping[str, Any], width: int) -> Line:
    """Which errors went, stayed and came, in WIDTH cells: with marks and names, names alone, or marks alone."""
    if not a and not b:
        return (("not scored yet", "dim"),)
    before, after = (set(scores.get("categories", ())) for scores in (a, b))
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
                text = joint.join(way(known) for known in named(names))
                parts += [("   " if parts else "", ""), (word, ink), (text, "")]
        if sum(cell_len(text) for text, _ in parts) <= width:
            break
    return tuple(parts) or (("✓ no check found anything in either", "good"),)


def _panes(
    arms: Arms, answers: Sequence[tuple[str, Prediction]], scores: Mapping[str, Any], metric: str, mode: str
) -> list[Pane]:
    """Prompt, reference, and the ANSWERS, the first being the one that the others are held against."""
    first = answers[0][1]
    several = len(answers) > 2
    reference = first.reference
    if arms.recipe is not None and arms.recipe.task == "token-classification":
        return _tagged(arms, answers)
    panes = [Pane("prompt", mark(first.prompt), fold=True, broad=True)]
    if reference is not None:
        panes.append(Pane("reference", mark(reference), _words(reference), fold=True, broad=several))
    for place, (name, answer) in enumerate(answers):
        body: Marked
        if mode == "reference" and reference is not None:
            body = inline(reference, answer.output)
        elif mode == "base" and place:
            body = inline(first.output, answer.output)
        else:
            body = mark(answer.output)
        label = arms.label(name)
        note = NOTES[mode].format(a=arms.label(arms.a, 12), b=arms.label(name, 12))
        own = scores.get(name, {})
        if several:
            figures = [_words(answer.output)]
            figures += [f"{TITLES.get(metric, metric)} {score(own[metric])}"] if metric in own else []
            figures += [signs(own)] if own else []
            note = "  ".join(filter(None, figures)) if not note or (mode == "base" and not place) else note
        elif mode == "off" or (mode == "base" and not place):
            note = "  ".join(filter(None, (_words(answer.output), one_line(name, 30) if label != name else "")))
        panes.append(Pane(label, body, note, fold=place < len(answers) - 1))
    return panes


def _tagged(arms: Arms, answers: Sequence[tuple[str, Prediction]]) -> list[Pane]:
    """The words with the reference's entities, and with those of each of ANSWERS, held against it."""
    first = answers[0][1]
    told = first.extra.get("words")
    words = [str(word) for word in told] if isinstance(told, list) else first.prompt.split()
    right = first.reference.split() if first.reference is not None else None
    panes = [Pane("reference", spans(words, right), _words(first.prompt), broad=True)] if right is not None else []
    for name, answer in answers:
        body = spans(words, answer.output.split(), right)
        panes.append(Pane(arms.label(name), body, LEGEND if right is not None and not panes[1:] else ""))
    return panes


def _words(text: str) -> str:
    """How many words TEXT has; of one, which a label is, nothing."""
    count = len(text[:1_000_000].split())
    return "" if count == 1 else f"{count:,} words"
