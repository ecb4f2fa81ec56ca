"""Spelling: the words of a language, which words of a text are unknown, and what they were meant to be.

The words are those of pyspellchecker, read straight from the file it ships (0.07 s; the package itself is never
imported). English there is American; British spellings are accepted by the rules that lead from one to the other.
"""

from __future__ import annotations

import gzip
import importlib.util
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path

# The commonest small words: they tell the language of a text well enough to choose a word list.
_SMALL = {
    "en": "the of and to in is that for it with as was on are be this by have not from at you",
    "de": "der die und das ist nicht ein eine zu den von mit sich auf für als auch dem wie wird",
    "es": "el la de que y en los se del las un por con una su para es al como más pero",
    "fr": "le la les de des et est en un une du que qui dans pour pas sur au par plus avec",
    "it": "il di che la e un una per è non in con del della sono si da le come più anche",
    "nl": "de het een en van is dat niet op te zijn voor met die aan er maar om ook als",
    "pt": "o a de que e do da em um para com não uma os no se na por mais as dos como",
}
_SMALL_WORDS = {language: frozenset(words.split()) for language, words in _SMALL.items()}

# How a British spelling becomes the American one of the list. Wider rules would pardon misspellings (`numbre`).
_BRITISH: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), american)
    for pattern, american in (
        (r"is(?=e$|es$|ed$|er|ing$|ation|able)", "iz"),  # organise, organisation
        (r"ys(?=e$|es$|ed$|er|ing$)", "yz"),  # analyse
        (r"(?<=[aeiou])ll(?=ed$|ing$|ings$|er$|ers$|or$|ors$|ous)", "l"),  # travelled, marvellous
    )
)
_LIGATURE = re.compile(
    r"paed|haem|anaest|anaem|archae|aesth|palae|mediaev|gynae|aemia|oestr|foet|oedem|rrhoea|noeuv|amoeb|oesoph|hyaen"
)
_PREFIXES = tuple(
    """anti auto bio co counter cross cyber de dis eco electro extra fore geo hydro hyper immuno inter intra macro mega
    meta micro mid mini mis mono multi nano neuro non out over photo physio poly post pre pro pseudo psycho quasi radio
    re retro self semi socio sub super tele thermo trans ultra un under uni up""".split()  # noqa: SIM905
)

# Not prose: code, markup, formulas, addresses. Checked only where their mark occurs.
_NOT_PROSE: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("`", re.compile(r"```[^`]*(?:```|\Z)|`[^`\n]{1,200}`")),
    ("<", re.compile(r"</?[a-zA-Z][^<>]{0,300}>")),
    ("$", re.compile(r"\$\$[^$]{1,500}\$\$|\$(?![\s\d])[^$\n]{1,200}(?<!\s)\$(?!\d)")),  # never between two prices
    ("\\", re.compile(r"\\[a-zA-Z]+")),
    ("/", re.compile(r"\b(?:https?|ftp)://\S{1,500}|\bwww\.\S{1,300}|(?<![\w.~-])(?:[\w.~-]{1,60}/){2,}[\w.-]{0,60}")),
    ("@", re.compile(r"(?<![\w.+-])[\w.+-]{1,60}@[\w-]{1,60}(?:\.[\w-]{1,30}){1,4}")),
)
# Whole words in small letters. Parts of hyphenated words, names with digits, `a.b`, `x_y` and #tags are no prose words.
_ASCII_WORD = re.compile(r"(?<![\w'’&@#/\\.$%-])[a-z]{3,}(?:['’][a-z]{1,3})?(?![\w/\\-]|[.'’]\w|\()")
_LETTER_WORD = re.compile(r"(?<![\w'’&@#/\\.$%-])[^\W\d_A-Z]{3,}(?:['’][^\W\d_]{1,3})?(?![\w/\\-]|[.'’]\w|\()")


def languages() -> tuple[str, ...]:
    """Codes of the languages whose words are known, English first."""
    return tuple(language for language in _SMALL if _file(language) is not None)


def _file(language: str) -> Path | None:
    spec = importlib.util.find_spec("spellchecker")  # finds the folder, imports nothing
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "resources" / f"{language}.json.gz"
    return path if path.is_file() else None


def _text(language: str) -> str:
    path = _file(language)
    if path is None:
        return ""
    with gzip.open(path) as file:
        return file.read().decode()


@cache
def dictionary(language: str = "en") -> frozenset[str]:
    """The words of LANGUAGE in small letters; empty where no word list is installed."""
    # the file is one JSON object of word: count; a pattern reads its keys in half the time json takes
    words = frozenset(re.findall(r'"([^"\\]+)":', _text(language)))
    return words | _extra("recent") if language == "en" and words else words


@cache
def _extra(name: str) -> frozenset[str]:
    """Words that good text uses and the list lacks: `recent` ones, and `british` ones that no rule leads to."""
    lines = (Path(__file__).parent / "word_lists" / f"{name}.txt").read_text(encoding="utf-8")
    return frozenset(lines.split())


@cache
def _frequencies(language: str) -> dict[str, int]:
    """How often each word of LANGUAGE was counted in the corpus behind the list (50 is its floor)."""
    import json

    return dict(json.loads(_text(language) or "{}"))


def language_of(texts: Iterable[str], least: float = 0.08) -> str | None:
    """The language of TEXTS among those with a word list; None where their small words fit none of them.

    Counts the share of each language's twenty commonest words and takes the greatest; below LEAST, or from fewer than
    three of them, it is none.
    """
    words: list[str] = []
    for text in texts:
        words += re.findall(r"[^\W\d_]+", text[:2000].lower())
        if len(words) > 20_000:
            break
    if not words:
        return None
    shares = {language: sum(word in small for word in words) for language, small in _SMALL_WORDS.items()}
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] >= max(3, least * len(words)) and _file(best) is not None else None


def prose(text: str) -> str:
    """TEXT with code, markup, formulas and addresses blanked out; every character left keeps its place."""
    for mark, pattern in _NOT_PROSE:
        if mark in text:
            text = pattern.sub(lambda match: " " * len(match.group()), text)
    return text


def candidates(text: str, language: str = "en") -> list[str]:
    """The words of TEXT that can be judged: those wholly in small letters (names and acronyms can't)."""
    if language == "en":
        return _ASCII_WORD.findall(prose(text))
    return [word for word in _LETTER_WORD.findall(prose(text)) if word.islower()]  # the pattern bars only A to Z


def find(text: str, words: Collection[str], language: str = "en", most: int = 50) -> list[tuple[int, int]]:
    """Where WORDS stand among the candidates of TEXT: (start, end) in characters, MOST places at most."""
    wanted = frozenset(words)
    places = []
    for match in (_ASCII_WORD if language == "en" else _LETTER_WORD).finditer(prose(text)):
        if match.group() in wanted:
            places.append(match.span())
            if len(places) == most:
                break
    return places


_LONGEST_WORD = 45  # letters; what is longer is no word


@lru_cache(maxsize=100_000)
def known(word: str, language: str = "en", british: bool = True) -> bool:
    """Whether WORD (small letters) is a word of LANGUAGE, as it stands or by how words are formed.

    English also takes British spellings (unless BRITISH is False) and words made of common ones (`photovoltaics`,
    `blockchain`).
    """
    words = dictionary(language)
    if not words:
        return True
    if len(word) > _LONGEST_WORD:
        return False
    plain = word.replace("’", "'")
    if plain in words:
        return True
    if plain.endswith("'s") and plain[:-2] in words:
        return True
    if language != "en":
        return False
    if british and (plain in _extra("british") or _american(plain, words)):
        return True
    return _formed(plain)


def _american(word: str, words: frozenset[str]) -> bool:
    """Whether a British WORD is in WORDS once it is spelt the American way."""
    spelt = [pattern.sub(american, word, count=1) for pattern, american in _BRITISH]
    if _LIGATURE.search(word):
        spelt.append(word.replace("ae", "e").replace("oe", "e"))
    for changed in spelt:
        if changed != word and (changed in words or (changed.endswith("s") and changed[:-1] in words)):
            # doubled after an unstressed syllable only: `travelled`, never `failled`
            return "ll" not in word or "ll" in changed or len(re.findall("[aeiouy]+", word.split("ll")[0])) > 1
    return False


def _formed(word: str) -> bool:
    """Whether WORD is made of common ones: prefixed (`photovoltaics`), plural, adverb, or two in one (`blockchain`)."""
    common = _common(50)
    for prefix in _PREFIXES:
        if word.startswith(prefix) and len(word) >= len(prefix) + 5 and word[len(prefix) :] in common:
            return True
    if len(word) >= 6:
        if word.endswith("s") and not word.endswith(("ss", "es")) and word[:-1] in common:
            return True
        if word.endswith(("ches", "shes", "sses", "xes", "zes", "oes")) and word[:-2] in common:
            return True
        if word.endswith("ly") and not word.endswith("lly") and word[:-2] in common:
            return True
        if word.endswith(("ness", "less", "like", "wise")) and word[:-4] in common:
            return True
    frequent = _common(2000)
    return len(word) >= 9 and any(word[:cut] in frequent and word[cut:] in frequent for cut in range(4, len(word) - 3))


@cache
def _common(count: int) -> frozenset[str]:
    """English words of four letters or more that the list counted more than COUNT times; 50 is its floor."""
    return frozenset(word for word, counted in _frequencies("en").items() if counted > count and len(word) >= 4)


def suggestions(word: str, language: str = "en", extra: Sequence[str] = (), most: int = 3) -> list[str]:
    """What WORD may have been meant to be: known words at most two edits away, the nearest and commonest first.

    Edits are those of the optimal string alignment distance (insert, delete, replace, swap neighbours). EXTRA are
    words known besides the dictionary, e.g. those of the training answers. About 20 ms a word, by rapidfuzz over the
    whole list: symspellpy answers faster but needs 6 s to build its index first.
    """
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    if not word or len(word) > 40:
        return []
    counts = _frequencies(language)
    near = 1 if len(word) < 4 else 2
    found = process.extract(word, _list(language), scorer=OSA.distance, score_cutoff=near, limit=None)
    found += process.extract(word, list(extra), scorer=OSA.distance, score_cutoff=near, limit=None)
    ranked = sorted({(distance, -counts.get(match, 0), match) for match, distance, _ in found})
    return [match for _, _, match in ranked[:most] if match != word]


@cache
def _list(language: str) -> list[str]:
    return list(_frequencies(language))
