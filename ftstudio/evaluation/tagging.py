"""Scores of tagged words: entities as seqeval counts them (strict, IOB2), and nervaluate's five kinds of outcome.

An answer is the tags of a row's words in BIO, parted by blanks. An entity is a `B-X` with the `I-X` that follow it; an
`I-` without its beginning is none: so says seqeval's strict mode. All counts add up over rows, so that resampled
corpora cost no new counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

CATEGORIES = ("missed", "spurious", "boundary", "type", "boundary_type", "invalid_bio", "cut")
KINDS = ("correct", "incorrect", "partial", "missed", "spurious")
SCHEMAS = ("strict", "exact", "partial", "type")
_NAMES = ("entity_f1", "entity_precision", "entity_recall", "entity_f1_macro", "tag_accuracy", "masked_accuracy")
_BY_WORD = ("tag_accuracy", "masked_accuracy")  # the same count, of tags and of hidden words


class Entity(NamedTuple):
    """An entity: its type and its words from `start` up to `end` (not included)."""

    type: str
    start: int
    end: int

    def overlaps(self, other: Entity) -> bool:
        """Whether both share a word."""
        return self.start < other.end and other.start < self.end

    def same_place(self, other: Entity) -> bool:
        """Whether both are of the same words."""
        return (self.start, self.end) == (other.start, other.end)


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities in TAGS (BIO), in order, as seqeval's strict IOB2 finds them."""
    found, at = [], 0
    while at < len(tags):
        if not tags[at].startswith("B-"):
            at += 1
            continue
        kind, end = tags[at][2:], at + 1
        while end < len(tags) and tags[end] == f"I-{kind}":
            end += 1
        found.append(Entity(kind, at, end))
        at = end
    return found


def broken(tags: Sequence[str]) -> list[int]:
    """Places of the I- tags that don't go on from a B- or I- of their type."""
    return [
        place
        for place, tag in enumerate(tags)
        if tag.startswith("I-") and (place == 0 or tags[place - 1] not in (f"B-{tag[2:]}", tag))
    ]


def outcomes(wanted: Sequence[Entity], given: Sequence[Entity]) -> dict[str, dict[str, int]]:
    """How many of the entities GIVEN for those WANTED came out as which of KINDS, under each of SCHEMAS.

    As nervaluate 1.2 pairs them: `strict` place and type, `exact` place alone, `partial` any overlap, `type` type and
    any overlap. Each wanted entity serves one given one.
    """
    return {schema: _outcomes(wanted, given, schema) for schema in SCHEMAS}


def _outcomes(wanted: Sequence[Entity], given: Sequence[Entity], schema: str) -> dict[str, int]:
    count = dict.fromkeys(KINDS, 0)
    taken: set[int] = set()
    for entity in given:
        free = [place for place, other in enumerate(wanted) if place not in taken]
        touching = [place for place in free if entity.overlaps(wanted[place])]
        if schema == "type":
            right = [place for place in touching if wanted[place].type == entity.type]
            right.sort(key=lambda at: abs(wanted[at].start - entity.start) + abs(wanted[at].end - entity.end))
            touching = right or touching
        else:
            right = [place for place in touching if entity.same_place(wanted[place])]
            if schema == "strict":
                right = [place for place in right if wanted[place].type == entity.type]
        if right:
            kind = "correct"
        elif touching:
            kind = "partial" if schema == "partial" else "incorrect"
        else:
            kind = "spurious"
        count[kind] += 1
        if right or touching:
            taken.add((right or touching)[0])
    count["missed"] = len(wanted) - len(taken)
    return count


def totals(answers: Sequence[str], references: Sequence[str]) -> dict[str, dict[str, int]]:
    """`outcomes` of whole texts of tags, added up over rows."""
    found = {schema: dict.fromkeys(KINDS, 0) for schema in SCHEMAS}
    for answer, reference in zip(answers, references, strict=True):
        for schema, counts in outcomes(entities(reference.split()), entities(answer.split())).items():
            for kind, count in counts.items():
                found[schema][kind] += count
    return found


class TagMetric:
    """`entity_f1`, `entity_precision`, `entity_recall` (micro), `entity_f1_macro` (mean over the types that occur) or
    `tag_accuracy` of a corpus, from counts of its rows: of each type how many entities were given rightly, given, and
    wanted; of the words how many have the right tag, and how many there are."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.types: tuple[str, ...] = ()

    def statistics(self, systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[np.ndarray]:
        """Counts of each row, (rows, 3 · types) or (rows, 2), for each of SYSTEMS' outputs."""
        import numpy as np

        if self.name in _BY_WORD:
            wanted = [text.split() for text in references]
            return [
                np.array(
                    [_right(text.split(), tags) for text, tags in zip(outputs, wanted, strict=True)], dtype=np.float64
                ).reshape(-1, 2)
                for outputs in systems
            ]
        right = [entities(text.split()) for text in references]
        made = [[entities(text.split()) for text in outputs] for outputs in systems]
        self.types = tuple(sorted({one.type for rows in (right, *made) for row in rows for one in row}))
        return [_counts(rows, right, self.types) for rows in made]

    def score(self, totals: np.ndarray) -> np.ndarray:
        """The scores of corpora whose summed counts are the rows of TOTALS; 0 where nothing can be right."""
        import numpy as np

        if self.name in _BY_WORD:
            return totals[:, 0] / np.maximum(totals[:, 1], 1)
        right, given, wanted = np.split(totals, 3, axis=1)
        if self.name == "entity_f1_macro":
            both = given + wanted
            each = np.where(both > 0, 2 * right / np.maximum(both, 1), 0.0)
            mean: np.ndarray = each.sum(axis=1) / np.maximum((both > 0).sum(axis=1), 1)
            return mean
        right, given, wanted = right.sum(axis=1), given.sum(axis=1), wanted.sum(axis=1)
        if self.name == "entity_precision":
            return right / np.maximum(given, 1)
        if self.name == "entity_recall":
            return right / np.maximum(wanted, 1)
        return 2 * right / np.maximum(given + wanted, 1)

    @property
    def signature(self) -> str:
        """What the number depends on."""
        if self.name in _BY_WORD:
            return f"share of {'words with the right tag' if self.name == 'tag_accuracy' else 'hidden tokens found'}"
        which = {"entity_f1": "F1, micro", "entity_f1_macro": "F1, macro over the types that occur"}
        return f"{which.get(self.name, 'micro')}|seqeval's strict mode|scheme:IOB2"


def _right(given: Sequence[str], wanted: Sequence[str]) -> tuple[int, int]:
    return sum(a == b for a, b in zip(given, wanted, strict=False)), len(wanted)


def _counts(made: Sequence[list[Entity]], right: Sequence[list[Entity]], types: Sequence[str]) -> np.ndarray:
    import numpy as np

    places, size = {name: place for place, name in enumerate(types)}, len(types)
    found = np.zeros((len(made), 3 * size))
    for index, (given, wanted) in enumerate(zip(made, right, strict=True)):
        known = set(wanted)
        for entity in given:
            found[index, size + places[entity.type]] += 1
            found[index, places[entity.type]] += entity in known
        for entity in wanted:
            found[index, 2 * size + places[entity.type]] += 1
    return found


def by_type(answers: Sequence[str], references: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of each type of entity its `precision`, `recall`, `f1` and `support` (how many were wanted)."""
    import numpy as np

    metric = TagMetric("entity_f1")
    [counts] = metric.statistics([answers], references)
    right, given, wanted = np.split(counts.sum(axis=0), 3)
    return {
        name: {
            "precision": float(right[at] / max(given[at], 1)),
            "recall": float(right[at] / max(wanted[at], 1)),
            "f1": float(2 * right[at] / max(given[at] + wanted[at], 1)),
            "support": int(wanted[at]),
        }
        for at, name in enumerate(metric.types)
    }


def summary(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """What an evaluation tells: strict F1, precision and recall, F1 of each type, and the accuracy of tags. Where the
    tags mark no entities (parts of speech, say) only their accuracy."""
    if not answers:
        return {}
    found: dict[str, float] = {}
    wanted = ("entity_f1", "entity_precision", "entity_recall") if any("B-" in text for text in references) else ()
    for name in (*wanted, "tag_accuracy"):
        metric = TagMetric(name)
        [counts] = metric.statistics([answers], references)
        found[name] = float(metric.score(counts.sum(axis=0, keepdims=True))[0])
    if wanted:
        found |= {f"f1_{name}": told["f1"] for name, told in by_type(answers, references).items() if told["support"]}
    return found


def account(answers: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """What stands behind the scores of an arm: `types` (see `by_type`) and `outcomes` (see `totals`)."""
    return {"types": by_type(answers, references), "outcomes": totals(answers, references)}


METRICS = dict.fromkeys(_NAMES, TagMetric)
