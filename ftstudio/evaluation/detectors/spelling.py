"""Words that are in no dictionary, not in the prompt and not in the training answers."""

from __future__ import annotations

from ftstudio.core.text import one_line
from ftstudio.evaluation import spelling
from ftstudio.evaluation.categories import Category, Detector, Finding, Verdict
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import Row


def unknown(row: Row, context: Context) -> list[str]:
    """The misspelt words of ROW's output, each once, in order of appearance."""
    language = context.dictionary_language
    words = spelling.dictionary(language)
    vocabulary = context.vocabulary
    found = []
    for word in dict.fromkeys(row.candidates(language)):
        if word in words or word in vocabulary or spelling.known(word, language, context.british):
            continue
        if word not in row.prompt.vocabulary and word not in row.prompt.text.lower():
            found.append(word)
    return found


def _misspelling(row: Row, context: Context) -> Verdict:
    found = unknown(row, context)
    if not found or (row.length >= context.limits.short_text and len(found) < 2):
        return None
    shown = ", ".join(one_line(word, 24) for word in found[:5]) + (", …" if len(found) > 5 else "")
    noun = "unknown word" if len(found) == 1 else f"{len(found)} unknown words"
    return Finding(
        "misspelling",
        f"{noun}: {shown}",
        tuple(spelling.find(row.text, found, context.dictionary_language)),
    )


def _ready(context: Context) -> str:
    return "" if context.locale else context.locale_reason


MISSPELLING = Detector(
    Category(
        "misspelling",
        "m",
        "~",
        "cyan",
        "Misspelling",
        "Words in no dictionary, prompt or training answer: one in a short text, two in a long one.",
    ),
    _misspelling,
    _ready,
)
