"""The checkable answer in a text: a number, what stands after GSM8K's ####, a label."""

from __future__ import annotations

import re

from ftstudio.evaluation.facts import number

KINDS = ("marker", "number", "label", "exact")
# U+2212 is a minus, too; commas stand between thousands only; 1e3 and 1/2 are one number each
_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?[$€£]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+\b)?(?:/\d+\b)?"
)
_TAIL = 20_000  # characters in which the last number is looked for


def answer(text: str, kind: str) -> str | None:
    """The answer in TEXT, normalised, as KIND says; None where there is none.

    `marker`: the number after the last `####`, or the last number where the mark is missing, so that a right answer
    in the wrong format is right here and a breach of format there. `number`: the last number. `label` and `exact`:
    the whole text without case, extra white space and closing punctuation.
    """
    if kind in ("marker", "number"):
        _, mark, rest = text.rpartition("####")
        marked = bool(mark) and kind == "marker"
        found = _NUMBER.findall(rest[:200] if marked else text[-_TAIL:])
        return number(re.sub(r"[$€£+]", "", found[0 if marked else -1]).replace("−", "-")) if found else None
    plain = " ".join(text.lower().split()).strip(" .!\"'")
    return plain or None


def right(output: str, reference: str, kind: str = "exact") -> bool:
    """Whether OUTPUT gives the answer of REFERENCE."""
    wanted = answer(reference, kind)
    if wanted is None and kind != "exact":  # a reference without a number: its text is the answer
        return right(output, reference)
    return answer(output, kind) == wanted
