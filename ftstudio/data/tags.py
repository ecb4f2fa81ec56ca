"""Tags of words: read from cells, brought into BIO, and surveyed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import number, one_line
from ftstudio.data.dataset import Cancel, Dataset, Row
from ftstudio.data.example import BadRow, Example, text_of
from ftstudio.data.mix import SOURCE, MixedShape
from ftstudio.data.read_conll import Evidence, as_bio
from ftstudio.data.shape import Shape

MOST = 1000  # tags; more of them are rather free texts
OUTSIDE = "O"
SLIPS = 0.01  # of the tags may mark no entity where the others do


@dataclass(frozen=True)
class Tags:
    """What the tags of a dataset are. `names` in the order of a head's outputs: O first, then B-X and I-X of each type;
    or as they are, by name, where they mark no entities. `counts` of each, in BIO; `scheme` is what the file has
    (bio, iob1, bioes, or plain); `types` are the entities' types."""

    names: tuple[str, ...]
    counts: tuple[int, ...]
    scheme: str
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaggedShape(Shape):
    """Maps rows with tags of another scheme than BIO as BIO: what is read as any other scheme stays as it is then."""

    scheme: str = "bio"

    def example(self, row: Row) -> Example:
        """ROW as an example with its tags in BIO. Raises BadRow."""
        found = super().example(row)
        return replace(found, fields={**found.fields, "tags": in_bio(found.fields["tags"], self.scheme)})


def brought_to_bio(dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> tuple[Shape, str]:
    """(SHAPE, or what maps the rows of DATASET as BIO where their tags are of another scheme; the scheme they have)."""
    scheme = scheme_of(dataset, shape, cancel=cancel)
    if scheme in ("bio", "plain"):
        return shape, scheme
    why = f"{shape.why}, {scheme.upper()} read as BIO"
    return TaggedShape(shape.name, shape.columns, why, shape.unused, scheme), scheme


def tags_of(value: Sequence[Any]) -> list[str]:
    """The tags in a cell as names; blanks in them become underscores, so that a line of tags can be parted again.
    Raises BadRow for an empty one."""
    found = []
    for place, part in enumerate(value, 1):
        name = "_".join(text_of(part).split())
        if not name:
            raise BadRow(f"the tag of word {place} is empty")
        found.append(name)
    return found


def in_bio(value: Sequence[Any], scheme: str) -> list[str]:
    """The tags in a cell, of SCHEME, in BIO (plain ones as they are). Raises BadRow."""
    return as_bio(tags_of(value), scheme)


def _marks(name: str) -> bool:
    return name == OUTSIDE or (name[1:2] == "-" and name[:1] in "BIESLU" and len(name) > 2)


def _entities(counts: Counter[str]) -> bool:
    """Whether tags, with how often each occurs, mark entities: all of them but a few slips."""
    marks = sum(count for name, count in counts.items() if _marks(name) and name != OUTSIDE)
    other = sum(count for name, count in counts.items() if not _marks(name))
    return marks > 0 and other <= min(SLIPS * sum(counts.values()), marks / 2)


def slip(names: Sequence[str]) -> tuple[int, str] | None:
    """(place, tag) of the first of NAMES, tags of a dataset that marks entities, that marks none."""
    return next(((place, name) for place, name in enumerate(names, 1) if not _marks(name)), None)


def scheme_of(dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> str:
    """The scheme of the tags of DATASET: bio, iob1, bioes; plain where they mark no entities."""
    evidence, counts = Evidence(), Counter[str]()
    for tags in _read(dataset, shape, cancel):
        evidence.add(tags)
        counts.update(tags)
    return evidence.scheme if _entities(counts) else "plain"


def first_of(dataset: Dataset, shape: Shape, marks: bool) -> tuple[int, str] | None:
    """(row, tag) of the first tag beside O that marks an entity, or that marks none; the row as its file counts it."""
    for index in range(len(dataset)):
        try:
            tags = tags_of(shape.example(dataset[index]).fields.get("tags") or ())
        except BadRow:
            continue
        for tag in tags:
            if tag != OUTSIDE and _marks(tag) == marks:
                return dataset.origin_of(index) + 1, tag
    return None


def types_by_source(dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> dict[str, list[str]]:
    """The types of entities that the tags of each source of a mix mark; empty where DATASET is none."""
    found: dict[str, set[str]] = {}
    for index in range(len(dataset)) if isinstance(shape, MixedShape) else ():
        if cancel is not None and index % 4096 == 0 and cancel():
            raise Stopped("Stopped while reading tags.")
        row = dataset[index]
        try:
            tags = tags_of(shape.example(row).fields.get("tags") or ())
        except BadRow:
            continue
        found.setdefault(str(row.get(SOURCE)), set()).update(tag[2:] for tag in tags if tag != OUTSIDE and _marks(tag))
    return {name: sorted(types) for name, types in found.items()} if len(found) > 1 else {}


def _read(dataset: Dataset, shape: Shape, cancel: Cancel | None) -> Iterator[list[str]]:
    """The tags of every row that can be read."""
    for index in range(len(dataset)):
        if cancel is not None and index % 4096 == 0 and cancel():
            raise Stopped("Stopped while reading tags.")
        try:
            yield tags_of(shape.example(dataset[index]).fields.get("tags") or ())
        except BadRow:
            continue


def survey(dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> Tags:
    """The tags that DATASET holds. Rows that can't be read, and those with one of a few tags that mark no entity where
    all others do, are left for whoever encodes them to count.

    Raises StudioError where nothing can be learnt: no tags at all, one tag only, or as many as words.
    """
    column = shape.columns["tags"]
    where = f"{one_line(dataset.source)}: column {one_line(column)!r}"
    evidence, rows = Evidence(), list(_read(dataset, shape, cancel))
    words = sum(map(len, rows))
    names = {name for tags in rows for name in tags}
    if not names:
        raise StudioError(f"{where} holds no tag in any row.", "Map other columns: data.columns.tokens and .tags.")
    scheme = "plain"
    if _entities(Counter(name for tags in rows for name in tags)):
        for tags in rows:
            evidence.add(tags)
        scheme = evidence.scheme
        rows = [tags for tags in rows if all(map(_marks, tags))]
    counts = Counter(name for tags in rows for name in as_bio(tags, scheme))
    if len(counts) < 2:
        only = next(iter(counts))
        raise StudioError(
            f"{where} holds only one tag ({one_line(only, 40)!r}): there is nothing to tell apart.",
            "Add rows with other tags, or map another column: data.columns.tags.",
        )
    if len(counts) > MOST or (words > 200 and len(counts) > 0.5 * words):
        raise StudioError(
            f"{where} holds {number(len(counts))} tags for {number(words)} words: they are no classes.",
            "Map another column: data.columns.tags.",
        )
    types = tuple(sorted({name[2:] for name in counts if name != OUTSIDE})) if scheme != "plain" else ()
    ordered = tuple([OUTSIDE, *(f"{mark}-{kind}" for kind in types for mark in "BI")] if types else sorted(counts))
    return Tags(ordered, tuple(counts[name] for name in ordered), scheme, types)
