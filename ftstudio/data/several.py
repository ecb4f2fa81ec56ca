"""Several files as one dataset, one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.data.aside import Aside
from ftstudio.data.dataset import Column, Dataset, Row, Store


class ChainStore:
    """The rows of STORES in order."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(stores)
        self.starts = [0]
        for store in stores:
            self.starts.append(self.starts[-1] + len(store))

    def __len__(self) -> int:
        return self.starts[-1]

    def row(self, index: int) -> Row:
        number = bisect_right(self.starts, index) - 1
        return self.stores[number].row(index - self.starts[number])


def chain(parts: Sequence[Dataset], source: str) -> Dataset:
    """PARTS (one a file) as one dataset: all columns that any of them has; what could not be read names its file."""
    if len(parts) == 1:
        return parts[0]
    aside = Aside()
    for part in parts:
        if part.aside is not None:
            aside.take(part.aside, part.path.name if part.path is not None else "")
    formats = {part.format: None for part in parts}
    details: dict[str, Any] = {"files": len(parts)}
    same = {key: value for key, value in parts[0].details.items() if all(p.details.get(key) == value for p in parts)}
    details |= same
    encodings = {part.encoding: None for part in parts}
    return Dataset(
        store=ChainStore([part.store for part in parts]),
        columns=_columns(parts),
        format=" + ".join(formats),
        encoding=" + ".join(encodings),
        source=source,
        details=details,
        problems=tuple(aside.problems),
        files=tuple(path for part in parts for path in (part.files or (part.path,)) if path is not None),
        aside=aside,
    )


def _columns(parts: Sequence[Dataset]) -> tuple[Column, ...]:
    kinds: dict[str, set[str]] = {}
    for part in parts:
        for column in part.columns:
            kinds.setdefault(column.name, set()).add(column.type)
    return tuple(Column(name, _one(types)) for name, types in kinds.items())


def _one(types: set[str]) -> str:
    seen = types - {"empty"}
    if seen == {"integer", "number"}:
        return "number"
    return (seen or types).pop() if len(seen) <= 1 else "mixed"


def must_be_alike(parts: Sequence[Dataset], where: Path) -> None:
    """Raise StudioError where the files of the folder WHERE have different columns: they are different datasets."""
    first = set(parts[0].names)
    for part in parts[1:]:
        if set(part.names) != first:
            names = ", ".join(p.path.name for p in parts[:6] if p.path) + (", …" if len(parts) > 6 else "")
            message = f"{where} is a folder with {len(parts)} data files with different columns: {names}."
            raise StudioError(message, f"Name one of them, or a pattern such as {where.name}/*.jsonl.")


def side_by_side(left: Dataset, right: Dataset, names: tuple[str, str], source: str) -> Dataset:
    """Two texts, line by line, as the columns NAMES. Lines of the longer one without a counterpart are put aside."""
    aside = Aside()
    for part in (left, right):
        if part.aside is not None:
            aside.take(part.aside, part.path.name if part.path is not None else "")
    count = min(len(left), len(right))
    longer = left if len(left) > len(right) else right
    short = right if longer is left else left
    for index in range(count, len(longer)):
        reason = f"no line {index + 1:,} in {short.path.name if short.path else short.source}"
        aside.add(index + 1, reason, _text(longer.store.row(index)), file=longer.path.name if longer.path else "")
    paths = tuple(part.path for part in (left, right) if part.path is not None)
    details: dict[str, Any] = {"files": [path.name for path in paths]}
    if len(left) != len(right):
        details["lines"] = [len(left), len(right)]
    if not count:
        raise StudioError(f"{source} has no pair of lines.", "Name two files with as many lines each.")
    return Dataset(
        store=PairStore(left.store, right.store, names, count),
        columns=(Column(names[0], "text"), Column(names[1], "text")),
        format="parallel",
        encoding=left.encoding if left.encoding == right.encoding else f"{left.encoding} + {right.encoding}",
        source=source,
        details=details,
        problems=tuple(aside.problems),
        files=paths,
        aside=aside,
    )


def _text(row: Row) -> str:
    return str(row.get("text", ""))


class PairStore:
    """Row i: line i of two stores of lines."""

    def __init__(self, left: Store, right: Store, names: tuple[str, str], count: int) -> None:
        self.left, self.right, self.names, self.count = left, right, names, count

    def __len__(self) -> int:
        return self.count

    def row(self, index: int) -> Row:
        return {self.names[0]: _text(self.left.row(index)), self.names[1]: _text(self.right.row(index))}
