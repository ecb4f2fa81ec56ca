"""What is told of the labels of a task: which there are, and what of them may not be meant."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.text import number, one_line
from ftstudio.data.label_cells import SEPARATOR, mark_between, spelled_alike
from ftstudio.tasks.base import Doubt

_SHOWN = 6


def told_labels(names: Sequence[str], counts: Sequence[int], what: str = "labels") -> str:
    """NAMES with the rows that have each (COUNTS), the commonest first: `3 labels: a 14, b 13, c 13`."""
    known = dict(zip(names, counts, strict=False))
    first = sorted(names, key=lambda name: -known.get(name, 0))[:_SHOWN]
    some = ", ".join(f"{one_line(name, 24)} {number(known[name])}" if name in known else one_line(name, 24)
                     for name in first)  # fmt: skip
    more = f" and {number(len(names) - _SHOWN)} more" if len(names) > _SHOWN else ""
    return f"{number(len(names))} {what if len(names) != 1 else what.removesuffix('s')}: {some}{more}"


def joined_doubts(names: Sequence[str]) -> list[Doubt]:
    """Of labels that look like several in one text, each of which is learnt as a label of its own."""
    names = [name.replace(" ¦ ", SEPARATOR) for name in names if not _is_number(name)]  # as the cells had it
    mark = mark_between(names)
    if mark is None:
        return []
    some = [name for name in names if mark in name]
    return [
        Doubt(
            "options.problem",
            f"{number(len(some))} labels look like several with {mark!r} between them (such as "
            f"{one_line(some[0], 40)!r}): each is learnt as one label.",
            "If rows may have several labels: task text-classification with options.problem=multi.",
        )
    ]


def _is_number(name: str) -> bool:
    try:
        float(name.replace(",", "."))
    except ValueError:
        return False
    return True


def spelling_doubts(names: Sequence[str], counts: Sequence[int]) -> list[Doubt]:
    """Of labels that differ in case, space or form only."""
    groups = spelled_alike(names)
    if not groups:
        return []
    known = dict(zip(names, counts, strict=False))
    some = "; ".join(
        " and ".join(f"{one_line(name, 24)!r} {number(known[name]) if name in known else ''}".strip() for name in group)
        for group in groups[:3]
    )
    more = f"; {len(groups) - 3} more" if len(groups) > 3 else ""
    text = f"labels differ in case, space or form only, and are learnt as different ones: {some}{more}."
    return [Doubt("data.train", text, "Write them alike: screen Data, or `ftstudio data`.")]
