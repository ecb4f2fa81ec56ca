"""Row metrics of texts beside ROUGE: numbers that agree, words in common, edits."""

from __future__ import annotations

import re
import string
from collections import Counter

from ftstudio.evaluation.answer import answer

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
LONGEST = 20_000  # characters that are compared


def numeric_match(output: str, reference: str) -> float | None:
    """1 where the answer's number is the reference's (after the last `####`, else the last number), 0 where it isn't;
    None where the reference has none."""
    wanted = answer(reference, "marker")
    return None if wanted is None else float(answer(output, "marker") == wanted)


def token_f1(output: str, reference: str) -> float:
    """F1 of the words that both have, as SQuAD's (Rajpurkar et al. 2016, evaluate-v1.1.py): without case, articles,
    punctuation. 1 where both are empty then."""
    given, wanted = _words(output), _words(reference)
    if not given or not wanted:
        return float(given == wanted)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted))


def edit_similarity(output: str, reference: str) -> float:
    """1 minus the Levenshtein distance in characters over the longer length."""
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_similarity(output[:LONGEST], reference[:LONGEST]))


def _words(text: str) -> list[str]:
    plain = text[:LONGEST].lower().translate(_PUNCTUATION)
    return _ARTICLES.sub(" ", plain).split()
