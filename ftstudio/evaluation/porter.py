"""The Porter stemmer, in the very variant that rouge-score uses (nltk's default, with its extensions).

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the deviations of
nltk.stem.porter.PorterStemmer. Importing nltk for it costs a second; the tests hold this one against nltk's on every
word of the dictionary.
"""

from __future__ import annotations

from functools import lru_cache

_IRREGULAR = {
    "sky": "sky",
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}
_STEP_2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
    ("logi", "log"),
)
_STEP_3 = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
# the order counts: the first that fits decides
_STEP_4 = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent"),
    *("ion", "ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


def _shape(word: str) -> str:
    """WORD as consonants `c` and vowels `v`: a y is a vowel after a consonant, a consonant elsewhere."""
    shape = []
    last = "v"
    for letter in word:
        last = "v" if letter in "aeiou" or (letter == "y" and last == "c") else "c"
        shape.append(last)
    return "".join(shape)


def _measure(stem: str) -> int:
    """Porter's m: how often a vowel is followed by a consonant."""
    return _shape(stem).count("vc")


def _short(stem: str) -> bool:
    """Porter's *o: ends consonant, vowel, consonant other than w, x, y; or is vowel and consonant alone (nltk)."""
    shape = _shape(stem)
    return (shape.endswith("cvc") and stem[-1] not in "wxy") or shape == "vc"


def _first_b(word: str) -> str:
    """Step 1b: -eed, -ed, -ing."""
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        if word.endswith(suffix) and "v" in _shape(word[: -len(suffix)]):
            stem = word[: -len(suffix)]
            break
    else:
        return word
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if len(stem) >= 2 and stem[-1] == stem[-2] and _shape(stem)[-1] == "c":
        return stem if stem[-1] in "lsz" else stem[:-1]
    return stem + "e" if _measure(stem) == 1 and _short(stem) else stem


def _second(word: str) -> str:
    """Step 2: double suffixes to single ones."""
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _second(word[:-2])
    for suffix, replacement in _STEP_2:
        if word.endswith(suffix):
            # the l of -logi counts as part of the stem, so that geo- and theo- fare like archaeo-
            stem = word[:-3] if suffix == "logi" else word[: -len(suffix)]
            return word[: -len(suffix)] + replacement if _measure(stem) > 0 else word
    return word


def _third(word: str) -> str:
    """Step 3: -icate, -ful, -ness and the like."""
    for suffix, replacement in _STEP_3:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            return stem + replacement if _measure(stem) > 0 else word
    return word


def _fourth(word: str) -> str:
    """Step 4: single suffixes off longer stems."""
    for suffix in _STEP_4:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            whole = _measure(stem) > 1 and (suffix != "ion" or stem[-1] in "st")
            return stem if whole else word
    return word


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """The stem of WORD, which must be in small letters."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    if word.endswith("ies"):  # step 1a
        word = word[:-1] if len(word) == 4 else word[:-2]
    elif word.endswith("sses"):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    word = _first_b(word)
    if word.endswith("y") and len(word) > 2 and _shape(word[:-1])[-1] == "c":  # step 1c
        word = word[:-1] + "i"
    word = _fourth(_third(_second(word)))
    if word.endswith("e"):  # step 5a
        rest = word[:-1]
        measure = _measure(rest)
        if measure > 1 or (measure == 1 and not _short(rest)):
            word = rest
    if word.endswith("ll") and _measure(word[:-1]) > 1:  # step 5b
        word = word[:-1]
    return word
