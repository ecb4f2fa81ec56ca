"""Personal data and secrets in texts: found by their form, told apart from look-alikes by their check digits, masked.

Patterns only, so names and postal addresses are not found; what is found is nearly always what it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

MOST = 200_000  # characters of a text that are looked at
PERSONAL = ("e-mail", "phone", "card", "account", "address")
SECRET = ("private key", "access key", "token", "password")

_PATTERNS: tuple[tuple[str, str], ...] = (
    (
        "private key",
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?:[\s\S]{0,8000}?-----END [A-Z ]{0,20}PRIVATE KEY-----)?",
    ),
    ("access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    (
        "token",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}|glpat-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}"
        r"|sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|[rs]k_live_[A-Za-z0-9]{20,}|xox[abprs]-[A-Za-z0-9-]{20,}"
        r"|AIza[A-Za-z0-9_-]{35}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})",
    ),
    (
        "password",
        r"(?i:\b(?:api[_-]?key|secret[_-]?key|access[_-]?token|auth[_-]?token|passwd|password)\b['\"]?\s{0,3}[:=]\s{0,3}"
        r"['\"]?)(?P<value>[^\s'\",;]{8,})",
    ),
    ("e-mail", r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.){1,8}[A-Za-z]{2,24}\b"),
    ("account", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    ("card", r"\b(?:\d[ -]?){12,18}\d\b"),
    ("address", r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}\b(?!\.\d)"),
    (
        "phone",
        r"(?<![\w.+/=-])(?:\+\d{1,3}[ .()/-]{0,2}(?:\d{2,5}[ .()/-]{0,2}){2,5}\d{2,4}"
        r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[-.]\d{3}[-.]\d{4})(?![\w-])",
    ),
)
_ALL = re.compile("|".join(f"(?P<k{number}>{pattern})" for number, (_, pattern) in enumerate(_PATTERNS)))
_HINT = re.compile(r"\d{3}|\d\.\d|@|-----BEGIN|[A-Za-z0-9_]{20}|(?i:passw|api.?key|secret|token)")


@dataclass(frozen=True)
class Hit:
    """What stands from START to STOP of a text."""

    kind: str
    start: int
    stop: int

    @property
    def secret(self) -> bool:
        """A key or a password, no personal data."""
        return self.kind in SECRET


def hits(text: str) -> Iterator[Hit]:
    """Personal data and secrets in (the first 200,000 characters of) TEXT, in order."""
    if len(text) > MOST:
        text = text[:MOST]
    if _HINT.search(text) is None:  # nearly every text: one quick look
        return
    for match in _ALL.finditer(text):
        kind = (
            _PATTERNS[int((match.lastgroup or "k0").removeprefix("k"))][0] if match.lastgroup != "value" else "password"
        )
        start, stop = match.span("value") if match["value"] is not None else match.span()
        if _real(kind, text[start:stop]):
            yield Hit(kind, start, stop)


def masked(text: str) -> str:
    """TEXT with dots for personal data and secrets; a letter or two at the front are left to tell them apart."""
    parts: list[str] = []
    at = 0
    for hit in hits(text):
        value = text[hit.start : hit.stop]
        shown = value[: _open(hit)]
        parts += [text[at : hit.start], shown, "•" * min(8, max(3, len(value) - len(shown)))]
        at = hit.stop
    return "".join([*parts, text[at:]]) if parts else text


def masked_pieces(pieces: Sequence[str], texts: Iterable[str]) -> list[str]:
    """PIECES, tokens in reading order of the TEXTS of a row, with a dot for the part of each that is personal.

    What is personal is looked for in TEXTS, and found again in the tokens whatever a tokenizer does to spaces and to
    capitals.
    """
    joined = "".join(pieces)
    wanted = {(_squeezed(text[hit.start : hit.stop])[0], _open(hit)) for text in texts for hit in hits(text)}
    if not wanted:
        return list(pieces)
    plain, places = _squeezed(joined)
    hidden = bytearray(len(joined))
    for value, shown in wanted:
        at = plain.find(value) if value else -1
        while at >= 0:
            for place in places[at + shown : at + len(value)]:
                hidden[place] = 1
            at = plain.find(value, at + 1)
    starts = [0, *accumulate(map(len, pieces))]
    return [_dotted(piece, hidden[start : start + len(piece)]) for piece, start in zip(pieces, starts, strict=False)]


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a row or a cell, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(part)


def _open(hit: Hit) -> int:
    """How many characters of HIT are shown."""
    return 0 if hit.kind in ("private key", "password") else 1 if hit.kind == "e-mail" else 2


def _squeezed(text: str) -> tuple[str, list[int]]:
    """(TEXT without spaces and capitals, where each of its characters stood)."""
    kept = [(place, low) for place, char in enumerate(text) if not char.isspace() for low in char.lower()]
    return "".join(low for _, low in kept), [place for place, _ in kept]


def _dotted(piece: str, hidden: bytearray) -> str:
    """PIECE with one dot for each run of its characters that is HIDDEN."""
    parts = [
        "•" if gone and not (place and hidden[place - 1]) else "" if gone else char
        for place, (char, gone) in enumerate(zip(piece, hidden, strict=True))
    ]
    return "".join(parts)


def _real(kind: str, value: str) -> bool:
    """Whether VALUE is one, not a number that only looks like it."""
    if kind == "card":
        return _luhn(re.sub(r"\D", "", value))
    if kind == "account":
        return _iban(value.replace(" ", ""))
    if kind == "address":
        parts = [int(part) for part in value.split(".")]
        return all(part < 256 for part in parts) and parts[0] not in (0, 10, 127) and parts[:2] != [192, 168]
    if kind == "password":
        return any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
    if kind == "phone":
        return 9 <= sum(char.isdigit() for char in value) <= 15
    return True


def _luhn(digits: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812)."""
    if not 13 <= len(digits) <= 19 or digits[0] not in "3456" or len(set(digits)) < 2:
        return False
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _iban(value: str) -> bool:
    """The check digits of bank account numbers (ISO 13616)."""
    if not 15 <= len(value) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in value[4:] + value[:4])) % 97 == 1
