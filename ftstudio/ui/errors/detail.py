"""One row: prompt, reference, output, why each detector fired and where, and the keys that tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical

from ftstudio.core.text import clean, counted, one_line
from ftstudio.evaluation.categories import Finding
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.tagged_text import RIGHT, pieces
from ftstudio.ui.errors.marks import PEN, Known, ink, palette
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.marked import assemble, mark
from ftstudio.ui.text.panes import Pane, Panes
from ftstudio.ui.text.said import Said, fitting, wrapped
from ftstudio.ui.text.worddiff import inline

TITLE = 16  # cells of a category's title


class Detail(Vertical):
    """A row in full. `show` is told everything; the keys are the screen's."""

    DEFAULT_CSS = "Detail { height: 1fr; }"

    def compose(self) -> ComposeResult:
        yield Said(id="detail-head")
        yield Said(id="detail-why", grow=True)
        yield Panes(id="detail-panes")
        yield Said(id="detail-keys", grow=True)

    def show(
        self,
        prediction: Prediction,
        findings: Sequence[Finding],
        names: set[str],
        decisions: Mapping[str, str],
        scores: Mapping[str, float],
        known: Known,
        place: str,
        progress: str,
        *,
        note: str = "",
        meant: Mapping[str, Sequence[str]] | None = None,
        correction: str | None = None,
        difference: bool = False,
        stay: bool = False,
    ) -> None:
        """Show PREDICTION, in the categories NAMES, of which the detectors gave FINDINGS and the person DECISIONS.

        SCORES are its metrics against the reference, KNOWN the categories there are. PLACE says where one is among the
        rows, PROGRESS how far one is with reviewing them. DIFFERENCE marks what differs from the reference instead of
        what the detectors saw. NOTE is the person's, MEANT what unknown words may have been meant to be. CORRECTION is
        the answer that the person has given. STAY keeps the scroll.
        """
        width = max(40, self.app.size.width - 3)
        self.query_one("#detail-head", Said).say(fitting(_head(prediction, scores, place, progress), width))
        self.query_one("#detail-why", Said).say(*_why(findings, names, decisions, known, width, meant or {}, note))
        self.query_one("#detail-keys", Said).say(*palette(names, decisions, known, width))
        panes = _panes(prediction, findings, known, difference)
        if correction is not None:
            panes.append(Pane("your answer", mark(correction), f"{PEN} kept for pairs and new rows"))
        self.query_one(Panes).show(panes, stay=stay)


def _head(prediction: Prediction, scores: Mapping[str, float], place: str, progress: str) -> list[Part]:
    facts = []
    if "rougeL" in scores:
        facts.append("ROUGE-1/2/L " + " ".join(f"{scores[name]:.2f}" for name in ("rouge1", "rouge2", "rougeL")))
    if prediction.tokens:
        facts.append(f"{prediction.tokens} tokens")
    if prediction.ended is not None and (prediction.tokens or "rougeL" in scores):  # else nothing was written
        facts.append("ended" if prediction.ended else "cut by the limit")
    parts: list[Part] = [(f"row {prediction.row}", "title"), (f"  {place}", "")]
    if progress:
        parts.append((f"  {progress}", "key"))
    return [*parts, *((f"{' · ' if order else '  '}{fact}", "dim") for order, fact in enumerate(facts))]


def _why(
    findings: Sequence[Finding],
    names: set[str],
    decisions: Mapping[str, str],
    known: Known,
    width: int,
    meant: Mapping[str, Sequence[str]],
    note: str,
) -> list[Line]:
    """A line of WIDTH cells for each category: what the detector saw, or what the person said."""
    lines: list[Line] = []
    by_name = {finding.category: finding for finding in findings}
    for name, category in known.items():
        finding, decided = by_name.get(name), decisions.get(name)
        if finding is None and decided is None:
            continue
        parts: list[Part] = [
            (f"{category.mark} ", ink(category)),
            (category.title, "strong" if name in names else "del"),
            (" " * (TITLE + 2 - len(category.title)), ""),
        ]
        if decided == "add":
            parts.append((f"{PEN} you say so  " if finding is None else f"{PEN} you agree  ", "key"))
        elif decided == "remove":
            parts.append((f"{PEN} you say no  ", "key"))
        if finding is not None:
            left = width - sum(cell_len(text) for text, _ in parts)
            why = finding.why
            if name == "misspelling" and meant:
                why += "; meant: " + ", ".join(f"{word} → {' or '.join(found[:2])}" for word, found in meant.items())
            parts.append((one_line(why, max(1, left)), ""))
        lines.append(tuple(parts))
    if not lines:
        lines.append((("✓ no check found anything", "good"), ("  which doesn't make it right", "dim")))
    if note:
        lines += wrapped(f"{PEN} {clean(note, 600)}", width, "key", 2)
    return lines


def _panes(prediction: Prediction, findings: Sequence[Finding], known: Known, difference: bool) -> list[Pane]:
    tagged = "missed" in known and "boundary" in known
    prompt = _in_text(prediction, known) if tagged else Pane("prompt", mark(prediction.prompt), fold=True)
    reference = prediction.reference
    if difference and reference is not None:
        output = Pane("output", inline(reference, prediction.output), "[-missing-] {+not in the reference+}")
    else:
        spans = [(start, end, "mark") for finding in findings for start, end in finding.spans]
        note = "what the checks saw is underlined" if spans else ""
        output = Pane("output", mark(prediction.output, spans), note)
    if reference is None:
        return [prompt, output]
    return [prompt, Pane("reference", mark(reference), counted(len(reference.split()), "word"), fold=True), output]


def _in_text(prediction: Prediction, known: Known) -> Pane:
    """The words with the entities given and wanted where they stand; signs and words tell them apart without colour."""
    told = prediction.extra.get("words")
    words = [str(word) for word in told] if isinstance(told, list) else prediction.prompt.split()
    reference, cut = prediction.reference, prediction.extra.get("cut")
    signs = {name: category.mark for name, category in known.items()}
    found = pieces(
        words,
        prediction.output.split(),
        reference.split() if reference is not None else None,
        signs,
        cut if isinstance(cut, int) else 0,
    )
    inks = {name: ink(category) for name, category in known.items()} | {RIGHT: "good", "": ""}
    note = "[right/type]  [sign given/type, not what is right]"
    return Pane("in the text", assemble((piece.text, inks.get(piece.kind, "")) for piece in found), note, broad=True)
