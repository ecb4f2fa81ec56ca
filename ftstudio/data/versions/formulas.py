"""Cells that a spreadsheet would run as formulas, made harmless, and the way back (OWASP, CSV injection).

A text that begins with =, +, -, @, a tab or a line break gets a ' in front; so does one that begins with ' and would be
taken for such a one on the way back. A plain number (-5, +1.5e3) is none and stays.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


def neutral(text: str) -> str:
    """TEXT with a ' in front where a spreadsheet would run it."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def original(text: str) -> str:
    """What `neutral` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
