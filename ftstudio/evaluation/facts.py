"""Numbers and names in a text, to be looked up in its source."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

_NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
# A capitalised word inside a sentence: after a small letter, a digit or a comma, never at its start.
_NAME = re.compile(r"(?<=[a-z0-9,;)] )[A-Z][\w’'-]*[a-z][\w’'-]*")
_SPELT = {
    **{"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8"},
    **{"nine": "9", "ten": "10", "eleven": "11", "twelve": "12"},
}
_TRIVIAL = frozenset(map(str, range(11)))  # counts and list numbers, no facts of a source
_ALWAYS = re.compile(r"(?:Jan|Febr)uary|March|April|May|June|July|August|(?:Septem|Octo|Novem|Decem)ber")
_WORD = re.compile(r"\w+")


def number(text: str) -> str:
    """TEXT of a number in one form: `1,200.50` and `1200.5` are equal, so are `0.5` and `.5`, `1e3` and `1000`."""
    plain = text.replace(",", "").strip("$€£% ").rstrip(".").lstrip("+")
    if "e" in plain.lower() and "/" not in plain:
        with contextlib.suppress(ValueError, OverflowError):
            plain = f"{float(plain):f}"
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    sign = "-" if plain.startswith("-") else ""
    rest = plain.lstrip("-").lstrip("0")
    return f"{sign}{rest}" if rest else "0"


def found(text: str) -> list[tuple[str, int, int]]:
    """The numbers and names in TEXT: (as written, start, end)."""
    places = [(match.group(), *match.span()) for match in _NUMBER.finditer(text)]
    places += [(match.group(), *match.span()) for match in _NAME.finditer(text) if not _ALWAYS.fullmatch(match.group())]
    return [place for place in places if number(place[0]) not in _TRIVIAL]


class Source:
    """What a prompt holds: its numbers and words, made once a prompt."""

    def __init__(self, prompt: str) -> None:
        lower = prompt.lower()
        self.words = frozenset(_WORD.findall(lower))
        numbers = {number(match.group()) for match in _NUMBER.finditer(prompt)}
        numbers |= {number(digits) for digits in re.findall(r"\d+(?:[.,]\d+)*", prompt)}  # also `20th`, `v2`
        numbers |= {digits for word, digits in _SPELT.items() if word in self.words}
        self.numbers = frozenset(numbers)
        self.letters = re.sub(r"\W", "", lower)

    def holds(self, fact: str) -> bool:
        """Whether FACT (a number or a name) stands in the prompt; a name also as a part of another form of it."""
        if fact[0].isdigit():
            return number(fact) in self.numbers
        name = fact.lower().removesuffix("'s").removesuffix("’s")
        parts = _WORD.findall(name)
        if all(part in self.words for part in parts):
            return True
        return re.sub(r"\W", "", name).rstrip("s") in self.letters  # plural, hyphen, joined


def unsupported(text: str, source: Source) -> list[tuple[str, int, int]]:
    """The numbers and names in TEXT that SOURCE doesn't hold: (as written, start, end)."""
    return [place for place in found(text) if not source.holds(place[0])]


def grounded(pairs: Sequence[tuple[str, str]], fewest: int) -> tuple[bool, str]:
    """Whether answers of these (prompt, reference) PAIRS keep to the facts in the prompt, and why not if they don't.

    It takes FEWEST references, a fact in at least 10 % of them, and 97 % of the references without any that the prompt
    lacks: only then is an unsupported fact the model's.
    """
    if len(pairs) < fewest:
        return False, f"fewer than {fewest} references: can't tell whether the prompts hold the source"
    sample = pairs[:1000]
    with_facts = without = 0
    for prompt, reference in sample:
        places = found(reference[:20_000])
        if places:
            with_facts += 1
            source = Source(prompt[:200_000])
            without += any(not source.holds(place[0]) for place in places)
    if with_facts < 0.1 * len(sample):
        return False, "the references hold too few numbers and names"
    if without > 0.03 * len(sample):
        return False, "the references themselves hold facts that their prompts don't"
    return True, ""
