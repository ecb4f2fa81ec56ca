"""Words with their tags as one marked text: entities in brackets, and what is wrong with each, readable without colour.

```
[Ann Lee]PER        as in the reference          [Hamport]LOC+   not in the reference
[Hamport]ORG≠LOC    of another type              {Vorka}PROD−    in the reference, and missed
[Ann]PER~           of other words than there    [Ann]ORG~≠PER   both
```

A tag that breaks BIO stands behind its word, `Lee‹I-PER›`. Tags that mark no entities (parts of speech) stand behind
all words, `runs/NOUN≠VERB` where the reference says VERB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftstudio.evaluation.tagging import Entity, broken, entities
from ftstudio.ui.text.marked import Marked, assemble

LEGEND = "+ spurious  ≠ other type  ~ other words  {missed}−"
_Piece = tuple[int, int, str, str]  # first word, word after the last, text, ink


def spans(words: Sequence[str], tags: Sequence[str], reference: Sequence[str] | None = None) -> Marked:
    """WORDS with the entities of their TAGS (BIO), held against those of the REFERENCE where there is one.

    Words beyond the tags have none.
    """
    if not any(tag.startswith(("B-", "I-")) for tag in (*tags, *(reference or ()))):
        return assemble(_joined(_by_word(words, tags, reference)))
    given = entities(tags)
    wanted = entities(reference) if reference is not None else []
    pieces: list[_Piece] = []
    for entity in given:
        sign, ink = ("", "mark") if reference is None else _verdict(entity, wanted)
        pieces.append((entity.start, entity.end, f"[{_said(words, entity)}]{entity.type}{sign}", ink))
    missed = [entity for entity in wanted if not any(entity.overlaps(other) for other in given)]
    pieces += [(one.start, one.end, f"{{{_said(words, one)}}}{one.type}−", "warn") for one in missed]
    taken = {place for start, end, _, _ in pieces for place in range(start, end)}
    faulty = set(broken(tags))
    for place, word in enumerate(words):
        if place not in taken:
            text, ink = (f"{word}‹{tags[place]}›", "bad") if place in faulty else (word, "")
            pieces.append((place, place + 1, text, ink))
    return assemble(_joined([(text, ink) for _, _, text, ink in sorted(pieces)]))


def _said(words: Sequence[str], entity: Entity) -> str:
    return " ".join(words[entity.start : entity.end])


def _joined(pieces: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for place, piece in enumerate(pieces):
        if place:
            yield " ", ""
        yield piece


def _verdict(entity: Entity, wanted: Sequence[Entity]) -> tuple[str, str]:
    """(sign, ink) of a given ENTITY: against the wanted one of the same words, else the first it shares one with."""
    touching = [other for other in wanted if entity.overlaps(other)]
    if not touching:
        return "+", "bad"
    best = next((other for other in touching if entity.same_place(other)), touching[0])
    sign = ("" if entity.same_place(best) else "~") + ("" if entity.type == best.type else f"≠{best.type}")
    return sign, "bad" if sign else "good"


def _by_word(words: Sequence[str], tags: Sequence[str], reference: Sequence[str] | None) -> list[tuple[str, str]]:
    found = []
    for place, word in enumerate(words):
        tag = tags[place] if place < len(tags) else "–"
        right = reference[place] if reference is not None and place < len(reference) else tag
        found.append((f"{word}/{tag}", "") if tag == right else (f"{word}/{tag}≠{right}", "bad"))
    return found
