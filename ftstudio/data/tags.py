"""Tags of words: read from cells, brought into BIO, and surveyed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import number, one_line
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow, text_of
from ftstudio.data.read_conll import Evidence, as_bio
from ftstudio.data.shape import Shape

MOST = 1000  # tags; more of them are rather free texts
OUTSIDE = "O"


@dataclass(frozen=True)
class Tags:
    """What the tags of a dataset are. `names` in the order of a head's outputs: O first, then B-X and I-X of each type;
    or as they are, by name, where they mark no entities. `counts` of each, in BIO; `scheme` is what the file has
    (bio, iob1, bioes, or plain); `types` are the entities' types."""

    names: tuple[str, ...]
    counts: tuple[int, ...]
    scheme: str
    types: tuple[str, ...] = ()


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


def survey(dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> Tags:
    """The tags that DATASET holds. Rows that can't be read are left for whoever encodes them to count.

    Raises StudioError where nothing can be learnt: no tags at all, one tag only, or as many as words.
    """
    column = shape.columns["tags"]
    where = f"{one_line(dataset.source)}: column {one_line(column)!r}"
    evidence, rows, words = Evidence(), [], 0
    for index in range(len(dataset)):
        if cancel is not None and index % 4096 == 0 and cancel():
            raise Stopped("Stopped while reading tags.")
        try:
            tags = tags_of(shape.example(dataset[index]).fields["tags"])
        except BadRow:
            continue
        rows.append(tags)
        words += len(tags)
    names = {name for tags in rows for name in tags}
    if not names:
        raise StudioError(f"{where} holds no tag in any row.", "Map other columns: data.columns.tokens and .tags.")
    marked = all(map(_marks, names))
    scheme = "plain"
    if marked and names != {OUTSIDE}:
        for tags in rows:
            evidence.add(tags)
        scheme = evidence.scheme
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
