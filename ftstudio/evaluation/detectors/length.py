"""Outputs of the wrong length: empty, too long, too short, cut off by the limit."""

from __future__ import annotations

import re

from ftstudio.core.text import counted
from ftstudio.evaluation.categories import UNJUDGED, Category, Detector, Finding, Verdict
from ftstudio.evaluation.context import CLOSING, FEWEST, Context, closed
from ftstudio.evaluation.rows import Row

CLOSED = 0.95  # share of references with closing punctuation from which its absence means something
# A last line of at least eight words, no list item, that ends in a word in small letters.
_RUNNING = re.compile(r"(?:^|\n)(?![ \t]*(?:[-*•#|]|\d+[.)]|\w[.)]))[^\n]*?(?:\S+[ \t]+){7}[a-z'’-]+$")


def _empty(row: Row, context: Context) -> Verdict:
    output = row.prediction.output
    if any(map(str.isalnum, output)):
        return None
    if not output.strip():
        return Finding("empty", "nothing but white space" if output else "no characters at all")
    return Finding("empty", "no letter and no digit", ((0, len(output)),))


def _too_long(row: Row, context: Context) -> Verdict:
    if row.reference_length is not None:
        if row.length > context.limits.too_long * row.reference_length:
            return Finding("too_long", f"{counted(row.length, 'word')}, the reference has {row.reference_length}")
        return None
    if context.longest is None:
        return UNJUDGED
    if row.length > context.longest:
        return Finding(
            "too_long", f"{counted(row.length, 'word')}, 99 % of the answers have at most {context.longest:.0f}"
        )
    return None


def _too_short(row: Row, context: Context) -> Verdict:
    if row.prediction.ended is False:
        return None  # our limit cut it: how long it would have become isn't known, and `truncated` tells of it
    if row.reference_length is None:
        return UNJUDGED
    if row.length < context.limits.too_short * row.reference_length:
        return Finding("too_short", f"{counted(row.length, 'word')}, the reference has {row.reference_length}")
    return None


def _truncated(row: Row, context: Context) -> Verdict:
    prediction = row.prediction
    if prediction.ended is not None:
        if prediction.ended:
            return None
        limit = f" of {prediction.tokens} tokens" if prediction.tokens else ""
        return Finding("truncated", f"no end token within the limit{limit}", _tail(row))
    if prediction.tokens is not None and context.max_new_tokens is not None:
        if prediction.tokens >= context.max_new_tokens:
            return Finding("truncated", f"all {context.max_new_tokens} allowed tokens used", _tail(row))
        return None
    if _unclosed_means_nothing(context):
        return UNJUDGED
    text = prediction.output.rstrip()
    if not text or text[-1] in CLOSING:
        return None
    if prediction.reference is None or closed(prediction.reference):
        return Finding("truncated", "ends without closing punctuation, which the references have", _tail(row))
    # The reference here ends like a list or a label: only what breaks off within a sentence is cut.
    if _RUNNING.search(text[-400:]):
        return Finding("truncated", "breaks off within a sentence", _tail(row))
    return None


def _tail(row: Row) -> tuple[tuple[int, int], ...]:
    text = row.prediction.output.rstrip()
    if not text:
        return ()
    start = len(text) - len(text[-60:].split()[-1])
    return ((start, len(text)),)


def _unclosed_means_nothing(context: Context) -> bool:
    return context.closing_share is None or context.closing_share < CLOSED


def _why_unjudged(context: Context) -> str:
    if context.closing_share is None:
        return f"whether the end token was reached is unknown, and there are fewer than {FEWEST} references"
    share = round(100 * context.closing_share)
    return f"whether the end token was reached is unknown, and only {share}% of the references end in punctuation"


EMPTY = Detector(
    Category("empty", "e", "∅", "bright_black", "Empty", "Nothing usable: no letter and no digit."),
    _empty,
)
TOO_LONG = Detector(
    Category(
        "too_long",
        "l",
        "▲",
        "yellow",
        "Too long",
        "More than twice the words of the reference; without one, more than 99 % of the answers have.",
    ),
    _too_long,
)
TOO_SHORT = Detector(
    Category("too_short", "s", "▼", "yellow", "Too short", "Fewer than half the words of the reference."),
    _too_short,
)
TRUNCATED = Detector(
    Category(
        "truncated",
        "t",
        "✂",
        "bright_yellow",
        "Truncated",
        "Stopped by the limit: no end token. Stored outputs: no closing punctuation where 95 % of references have it.",
    ),
    _truncated,
    none=_why_unjudged,
)
