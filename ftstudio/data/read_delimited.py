"""CSV, TSV and other delimited text: delimiter, quoting and header are detected, recorded and can be overridden."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, CellStore, Column, Dataset, Problem, Progress
from ftstudio.data.encoding import Text

_SAMPLE = 1 << 17
_NUMBER = re.compile(r"\s*[-+]?(\d[\d,]*)?\.?\d+([eE][-+]?\d+)?\s*%?")
_HEADERS = frozenset(
    ("text", "label", "labels", "prompt", "completion", "question", "answer", "instruction", "input", "output",
     "response", "system", "source", "target", "sentence", "sentence1", "sentence2", "score", "id", "category",
     "class", "title", "content", "messages", "query", "context", "review")
)  # fmt: skip
_MOST_PROBLEMS = 10_000


@dataclass(frozen=True)
class Dialect:
    """How cells are told apart. `quoted`: double quotes wrap cells (and may hold delimiters and line breaks)."""

    delimiter: str
    quoted: bool

    def rows(self, lines: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
        """Rows of cells; blank lines give empty lists."""
        if self.quoted:
            return csv.reader(lines, delimiter=self.delimiter, strict=strict)
        return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)


def split_lines(text: str) -> Iterator[str]:
    """Lines with their ends, at \\n, \\r\\n and \\r only (U+0085, form feeds and the like are text)."""
    return iter(io.StringIO(text, newline=""))


def detect(text: str, delimiters: str) -> Dialect:
    """The most regular way to read TEXT: among DELIMITERS (best first), the one by which most rows are equally wide."""
    sample = text[:_SAMPLE]
    if len(text) > _SAMPLE and (cut := max(sample.rfind("\n"), sample.rfind("\r"))) > 0:
        sample = sample[: cut + 1]
    best, best_score = Dialect(delimiters[0], '"' in text), 0.0
    for delimiter in delimiters:
        for quoted in (True, False) if '"' in sample else (True,):
            width, share, _ = _regularity(sample, Dialect(delimiter, quoted))
            score = share if width > 1 and (delimiter == delimiters[0] or share >= 0.8) else 0.0
            if score > best_score + 1e-9:
                best, best_score = Dialect(delimiter, quoted), score
    if '"' not in text:
        return Dialect(best.delimiter, False)
    return _quoting(text, best.delimiter)


def _regularity(text: str, dialect: Dialect) -> tuple[int, float, bool]:
    """(most frequent width, share of rows that have it, whether quotes are used properly)."""
    widths: Counter[int] = Counter()
    proper = True
    try:
        widths.update(len(row) for row in dialect.rows(split_lines(text)) if row)
        if dialect.quoted:
            try:
                for _ in dialect.rows(split_lines(text), strict=True):
                    pass
            except csv.Error:
                proper = False
    except csv.Error:
        return 0, 0.0, False
    if not widths:
        return 0, 0.0, proper
    width, count = widths.most_common(1)[0]
    return width, count / sum(widths.values()), proper


def _quoting(text: str, delimiter: str) -> Dialect:
    """Whether quotes wrap cells: yes where they are used properly and rows come out no less regular than without."""
    with_quotes, without = Dialect(delimiter, True), Dialect(delimiter, False)
    width, share, proper = _regularity(text, with_quotes)
    plain_width, plain_share, _ = _regularity(text, without)
    if proper:
        return with_quotes if share >= plain_share or width <= 1 < plain_width else without
    if plain_width <= 1 and delimiter == ",":
        return with_quotes
    return without if plain_share >= share else with_quotes


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of ROWS names the columns: short, distinct, not numbers, and not values of their columns."""
    first = [cell.strip() for cell in rows[0]]
    named = [cell for cell in first if cell]
    if not named:
        return False
    if any(cell.lower().replace(" ", "_") in _HEADERS for cell in named) and not _any_number(named):
        return True
    if _any_number(named) or len(set(named)) < len(named):
        return False
    if any(len(cell) > 60 or len(cell.split()) > 6 for cell in named):
        return False
    body = rows[1:1001]
    if not body:
        return False
    for column, cell in enumerate(first):
        again = sum(1 for row in body if column < len(row) and cell and row[column].strip() == cell)
        if again > max(1, len(body) // 100):
            return False
    return True


def _any_number(cells: Iterable[str]) -> bool:
    return any(_NUMBER.fullmatch(cell) for cell in cells)


def read_delimited(
    text: Text,
    path: Path,
    source: str,
    *,
    delimiters: str = ",;\t|",
    delimiter: str | None = None,
    quoted: bool | None = None,
    header: bool | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Dataset:
    """A table of text cells. What is None is detected; what was found stands in `details`.

    Rows with more cells than the table has columns become `problems`; shorter ones are filled up with empty cells
    and noted as problems that were `kept`. Blank lines are no rows.
    """
    whole = text.read()
    csv.field_size_limit(1 << 30)
    found = detect(whole, delimiter or delimiters)
    dialect = Dialect(delimiter or found.delimiter, found.quoted if quoted is None else quoted)
    rows, lines, problems = _parse(whole, dialect, progress, cancel)
    if not rows:
        raise StudioError(f"{path} has no rows.", "Name a file with at least one row.")
    named = has_header(rows) if header is None else header
    names = _names(rows[0]) if named else None
    body, body_lines = (rows[1:], lines[1:]) if named else (rows, lines)
    width = len(names) if names else Counter(map(len, rows)).most_common(1)[0][0]
    names = names or [f"column_{number}" for number in range(1, width + 1)]
    cells = []
    for row, line in zip(body, body_lines, strict=True):
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            problem = Problem(line, f"{len(row)} cells where the table has {width} columns", _show(row))
            problems.append(problem)
            continue
        if len(row) < width:
            problems.append(Problem(line, f"{len(row)} of {width} cells", _show(row), kept=True))
            row = row + [""] * (width - len(row))
        cells.append(tuple(row[:width]))
    if not cells:
        why = f" that fits its header ({problems[0].reason} in line {problems[0].line})" if problems else ""
        raise StudioError(f"{path} has a header but no row{why}.", "Name a file with at least one row.")
    form = "tsv" if dialect.delimiter == "\t" else "csv"
    details = {"delimiter": dialect.delimiter, "quoted": dialect.quoted, "header": named}
    if len(problems) > _MOST_PROBLEMS:
        gone = problems[_MOST_PROBLEMS:]
        details["more_problems"] = sum(not problem.kept for problem in gone)
    columns = tuple(Column(name, _type(cells, place)) for place, name in enumerate(names))
    kept = tuple(problems[:_MOST_PROBLEMS])
    return Dataset(CellStore(names, cells), columns, form, text.encoding, source, path, details, kept)


def _show(row: Sequence[str]) -> str:
    return one_line(" | ".join(row[:20]), 120)


def _parse(
    whole: str, dialect: Dialect, progress: Progress | None, cancel: Cancel | None
) -> tuple[list[list[str]], list[int], list[Problem]]:
    rows, lines, problems = [], [], []
    reader = dialect.rows(split_lines(whole))
    total = whole.count("\n") or whole.count("\r")
    before = 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            problems.append(Problem(reader.line_num, str(error)))  # type: ignore[attr-defined]
            continue
        number = reader.line_num  # type: ignore[attr-defined]
        if row:
            rows.append(row)
            lines.append(before + 1)
        before = number
        if len(rows) % 4096 == 0:
            if cancel is not None and cancel():
                raise Stopped("Stopped while reading the file.")
            if progress is not None:
                progress(number, total)
    return rows, lines, problems


def _names(header: Sequence[str]) -> list[str]:
    """Column names: blank ones are numbered, repeated ones get a number; blank columns at the end are dropped later."""
    names: list[str] = []
    for place, cell in enumerate(header, 1):
        name = " ".join(cell.split()) or f"column_{place}"
        number = 2
        base = name
        while name in names:
            name = f"{base}_{number}"
            number += 1
        names.append(name)
    return names


def _type(cells: Sequence[Sequence[str]], place: int) -> str:
    """The type of column PLACE by its first thousand cells that are not empty."""
    values = [row[place].strip() for row in cells[:1000] if row[place].strip()]
    if not values:
        return "empty"
    if all(value.lstrip("+-").isdecimal() for value in values):
        return "integer"
    return "number" if all(_NUMBER.fullmatch(value) for value in values) else "text"
