"""Outputs that break the format, answer wrongly, or state what their source doesn't hold."""

from __future__ import annotations

from ftstudio.core.text import one_line
from ftstudio.evaluation import facts
from ftstudio.evaluation.answer import answer
from ftstudio.evaluation.categories import UNJUDGED, Category, Detector, Finding, Verdict
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import LONGEST, Row


def _format(row: Row, context: Context) -> Verdict:
    assert context.contract is not None
    if len(row.prediction.output) > LONGEST and context.contract.kind in ("json", "json_schema"):
        return UNJUDGED  # cut, it would be no JSON; whole, it may hold the thread for seconds
    breach = context.contract.breach(row.prediction.output if context.contract.kind == "last_line" else row.text)
    if breach is None:
        return UNJUDGED
    return Finding("format", breach) if breach else None


def _format_ready(context: Context) -> str:
    return "" if context.contract else "no format is declared, and the references share none"


def _wrong_answer(row: Row, context: Context) -> Verdict:
    assert context.answer is not None
    reference = row.prediction.reference
    right = answer(reference, context.answer) if reference is not None else None
    if right is None:
        return UNJUDGED
    given = answer(row.prediction.output, context.answer)
    if given == right:
        return None
    shown = "no answer" if given is None else one_line(given, 30)
    return Finding("wrong_answer", f"{shown}, not {one_line(right, 30)}")


def _answer_ready(context: Context) -> str:
    return "" if context.answer else "the references are no checkable answers (number, label, ####)"


def _unsupported(row: Row, context: Context) -> Verdict:
    missing = facts.unsupported(row.text, row.prompt.source)
    if not missing:
        return None
    shown = list(dict.fromkeys(one_line(text, 24) for text, _, _ in missing))
    why = "not in the prompt: " + ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")
    return Finding("unsupported_fact", why, tuple((start, end) for _, start, end in missing[:50]))


def _grounded(context: Context) -> str:
    return "" if context.grounded else context.grounded_reason or "the prompts hold no source"


FORMAT = Detector(
    Category("format", "f", "#", "bright_red", "Format", "Breaks the declared format: pattern, JSON schema or labels."),
    _format,
    _format_ready,
    none=lambda context: (
        "the format can't be checked on these outputs: they are too long, or its pattern takes too long"
    ),
)
WRONG_ANSWER = Detector(
    Category("wrong_answer", "a", "×", "red", "Wrong answer", "Another number or label than the reference."),
    _wrong_answer,
    _answer_ready,
)
UNSUPPORTED_FACT = Detector(
    Category(
        "unsupported_fact",
        "x",
        "?",
        "bright_cyan",
        "Unsupported fact",
        "A number or name that the prompt doesn't hold, where the prompts hold the source.",
    ),
    _unsupported,
    _grounded,
)
