"""Tagged words as a text: every entity in brackets where it stands, what is wrong with it in signs and words.

`[Paris/location]` is right; a wrong one bears its category's sign, then what was given and, behind `not`, what is
right: `[≠ Paris/person, not location]`. Where the words are off, those given stand between ‹ ›.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ftstudio.evaluation.tagging import Entity, broken, entities

RIGHT = "right"
KEEP = "\u00a0"  # between a sign and its first word, so that no line ends in between


class Piece(NamedTuple):
    """A piece of the text: `kind` is the error category, RIGHT for an entity without error, empty between entities."""

    text: str
    kind: str = ""


def pieces(
    words: Sequence[str], given: Sequence[str], wanted: Sequence[str] | None, signs: Mapping[str, str], unread: int = 0
) -> list[Piece]:
    """WORDS with the entities of the tags GIVEN and WANTED (None: nobody knows) in BIO, as pieces in a row.

    SIGNS are the marks of the categories by name. The last UNREAD words were beyond max_length.
    """
    made = [one for one in entities(given) if one.end <= len(words)]
    right = made if wanted is None else [one for one in entities(wanted) if one.end <= len(words)]
    loose = [at for at in broken(given) if at < len(words)]
    found: list[Piece] = []
    at, unread_from = 0, len(words) - unread if unread else -1

    def plain(upto: int) -> None:
        nonlocal at
        while at < upto:
            if at == unread_from:
                found.append(Piece(f"{signs.get('cut', '…')} never read from here: ", "cut"))
            if at in loose:
                found.append(Piece(f"[{signs.get('invalid_bio', '!')}{KEEP}{words[at]}/{given[at]}]", "invalid_bio"))
                found.append(Piece(" "))
            else:
                found.append(Piece(words[at] + " "))
            at += 1

    for group in _touching(made, right):
        start = min(one.start for side in group for one in side)
        plain(start)
        if unread_from >= 0 and start <= unread_from < max(one.end for side in group for one in side):
            found.append(Piece(f"{signs.get('cut', '…')} never read from here: ", "cut"))
        found += [_bracket(words, *group, signs), Piece(" ")]
        at = max(one.end for side in group for one in side)
    plain(len(words))
    return [*found[:-1], found[-1]._replace(text=found[-1].text.rstrip())] if found else []


def _touching(made: Sequence[Entity], right: Sequence[Entity]) -> list[tuple[list[Entity], list[Entity]]]:
    """Entities (given, wanted) that overlap, put together, in the order of the text."""
    groups: list[tuple[list[Entity], list[Entity]]] = []
    end = -1
    every = [(one.start, one.end, side, one) for side, those in enumerate((made, right)) for one in those]
    for start, _, side, one in sorted(every):
        if start >= end:
            groups.append(([], []))
        groups[-1][side].append(one)
        end = max(end, one.end)
    return groups


def _bracket(words: Sequence[str], made: list[Entity], right: list[Entity], signs: Mapping[str, str]) -> Piece:
    kind = _kind(made, right)
    every = [*made, *right]
    start, end = min(one.start for one in every), max(one.end for one in every)
    whole = len(made) == 1 and (made[0].start, made[0].end) == (start, end)
    shown = [
        ("‹" if not whole and any(one.start == at for one in made) else "")
        + words[at]
        + ("›" if not whole and any(one.end == at + 1 for one in made) else "")
        for at in range(start, end)
    ]
    types = ", ".join(dict.fromkeys(one.type for one in made or right))
    told = f"{' '.join(shown)}/{types}"
    if kind == RIGHT:
        return Piece(f"[{told}]", kind)
    if kind == "type":
        told += f", not {right[0].type}"
    elif made and right:
        told += ", not " + " and ".join(f"{' '.join(words[one.start : one.end])}/{one.type}" for one in right)
    return Piece(f"[{signs.get(kind, '?')}{KEEP}{told}]", kind)


def _kind(made: list[Entity], right: list[Entity]) -> str:
    """What the entities that touch each other are, as the categories have it; of several the first error."""
    if made == right:
        return RIGHT
    if not made or not right:
        return "spurious" if made else "missed"
    for one in made:
        if one in right:
            continue
        others = [other for other in right if other not in made and one.overlaps(other)]
        if not others:
            return "spurious"
        same = [other for other in others if one.same_place(other)]
        if same:
            return "type"
        return "boundary" if any(one.type == other.type for other in others) else "boundary_type"
    return "missed"
