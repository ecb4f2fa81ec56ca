"""What goes wrong in tagged words: entities missed, made up, of wrong words or type, broken tags, words cut off.

The spans of a finding are those of the tags in the output, which stand in the order of the row's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ftstudio.core.text import number, one_line
from ftstudio.evaluation.categories import UNJUDGED, Category, Detector, Finding, Span, Verdict
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import Row
from ftstudio.evaluation.tagging import Entity, broken, entities

_TAG = re.compile(r"\S+")
_SHOWN = 3  # entities named in the reason


def _words(row: Row) -> Sequence[str]:
    words = row.prediction.extra.get("words")
    return [str(word) for word in words] if isinstance(words, list) else row.prediction.prompt.split()


def _named(entity: Entity, words: Sequence[str]) -> str:
    return f"{one_line(' '.join(words[entity.start : entity.end]), 30)} ({one_line(entity.type, 20)})"


def _spans(row: Row, places: Sequence[tuple[int, int]]) -> tuple[Span, ...]:
    """PLACES of words (from, up to) as characters of the output."""
    tags = [match.span() for match in _TAG.finditer(row.text)]
    return tuple((tags[start][0], tags[end - 1][1]) for start, end in places if start < end <= len(tags))


def _pairs(row: Row) -> tuple[list[Entity], list[Entity]]:
    """(entities wanted and not given, entities given and not wanted)."""
    wanted = entities((row.prediction.reference or "").split())
    given = entities(row.text.split())
    return [one for one in wanted if one not in given], [one for one in given if one not in wanted]


def _finding(category: str, row: Row, found: Sequence[Entity], told: Sequence[str]) -> Verdict:
    if not found:
        return None
    why = ", ".join(told[:_SHOWN]) + (f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else "")
    return Finding(category, why, _spans(row, [(one.start, one.end) for one in found]))


def _alone(category: str, wanted_side: bool) -> Callable[[Row, Context], Verdict]:
    """Entities of one side that no entity of the other touches."""

    def judge(row: Row, context: Context) -> Verdict:
        if row.prediction.reference is None:
            return UNJUDGED
        sides = (entities(row.prediction.reference.split()), entities(row.text.split()))
        mine, others = sides if wanted_side else sides[::-1]
        found = [one for one in mine if not any(one.overlaps(other) for other in others)]
        words = _words(row)
        return _finding(category, row, found, [_named(one, words) for one in found])

    return judge


def _touching(category: str, same_place: bool, same_type: bool) -> Callable[[Row, Context], Verdict]:
    """Entities given that touch a wanted one, but are off in place, type or both."""

    def judge(row: Row, context: Context) -> Verdict:
        if row.prediction.reference is None:
            return UNJUDGED
        words = _words(row)
        missing, extra = _pairs(row)
        found, told = [], []
        for one in extra:
            other = next((other for other in missing if one.overlaps(other) and _alike(one, other)), None)
            if other is None:
                other = next((other for other in missing if one.overlaps(other)), None)
            if other is None:
                continue
            if one.same_place(other) == same_place and (one.type == other.type) == same_type:
                found.append(one)
                told.append(f"{_named(one, words)}, not {_named(other, words)}")
        return _finding(category, row, found, told)

    return judge


def _alike(one: Entity, other: Entity) -> bool:
    return one.same_place(other) or one.type == other.type


def _invalid(row: Row, context: Context) -> Verdict:
    places = broken(row.text.split())
    if not places:
        return None
    words, tags = _words(row), row.text.split()
    told = [f"{one_line(tags[at], 20)} at {one_line(words[at], 20)!r}" for at in places[:_SHOWN] if at < len(words)]
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return Finding("invalid_bio", ", ".join(told) + more, _spans(row, [(at, at + 1) for at in places]))


def _cut(row: Row, context: Context) -> Verdict:
    lost = row.prediction.extra.get("cut")
    if not isinstance(lost, int) or isinstance(lost, bool) or lost < 1:
        return None
    count = len(row.text.split())
    why = f"the last {number(lost)} words are beyond max_length and were never read"
    return Finding("cut", why, _spans(row, [(max(0, count - lost), count)]))


ALL: tuple[Detector, ...] = (
    Detector(
        Category(
            "missed", "m", "-", "bright_red", "Missed", "An entity of the reference that nothing in the answer touches."
        ),
        _alone("missed", True),
    ),
    Detector(
        Category(
            "spurious", "s", "+", "red", "Spurious", "An entity in the answer that none of the reference touches."
        ),
        _alone("spurious", False),
    ),
    Detector(
        Category("boundary", "b", "|", "bright_yellow", "Boundary", "The right type, but too many or too few words."),
        _touching("boundary", False, True),
    ),
    Detector(
        Category("type", "t", "≠", "bright_magenta", "Type", "The right words, but another type."),
        _touching("type", True, False),
    ),
    Detector(
        Category(
            "boundary_type", "o", "×", "magenta", "Boundary + type", "Touches an entity, but words and type are off."
        ),
        _touching("boundary_type", False, False),
    ),
    Detector(
        Category(
            "invalid_bio",
            "i",
            "!",
            "bright_cyan",
            "Invalid BIO",
            "An I- tag that goes on from nothing: it counts as no entity.",
        ),
        _invalid,
    ),
    Detector(
        Category("cut", "x", "…", "yellow", "Cut", "Words beyond max_length, which the model never read: raise it."),
        _cut,
    ),
)
