"""How cells of delimited text are told apart: delimiter, quoting and header, found from the text itself."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_SAMPLE = 1 << 17
NUMBER = re.compile(r"\s*[-+]?(\d[\d,]*)?\.?\d+([eE][-+]?\d+)?\s*%?")
_HEADERS = frozenset(
    ("text", "label", "labels", "prompt", "completion", "question", "answer", "instruction", "input", "output",
     "response", "system", "source", "target", "sentence", "sentence1", "sentence2", "score", "id", "category",
     "class", "title", "content", "messages", "query", "context", "review")
)  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """How cells are told apart. `quoted`: double quotes wrap cells (and may hold delimiters and line breaks).

    `escaped`: in these a quote is written as backslash and quote; `spaced`: blanks may stand before a cell.
    """

    delimiter: str
    quoted: bool
    escaped: bool = False
    spaced: bool = False

    def rows(self, lines: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
        """Rows of cells; blank lines give empty lists."""
        if self.quoted:
            lines = map(_doubled, lines) if self.escaped else lines
            return csv.reader(lines, delimiter=self.delimiter, strict=strict, skipinitialspace=self.spaced)
        return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)

    def cells(self, text: str) -> list[str]:
        """The cells of one row. Raises csv.Error where TEXT is not just one."""
        if not self.quoted or '"' not in text:
            return self.split(text)
        rows = [row for row in self.rows((text,)) if row]
        if len(rows) != 1:
            raise csv.Error(f"{len(rows)} rows where one stood")
        return rows[0]

    def split(self, text: str) -> list[str]:
        """The cells of one row without quotes."""
        cells = text.split(self.delimiter)
        return [cell.lstrip(" ") for cell in cells] if self.spaced and self.quoted else cells


_ESCAPED = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


def _doubled(line: str) -> str:
    """LINE with each escaped quote doubled, as the csv reader has it; other backslashes are text."""
    return _ESCAPED.sub(r'\1""', line) if '\\"' in line else line


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
            needed = 0.0 if delimiter == delimiters[0] else 0.8 if delimiters[0] in sample else 0.5
            score = share if width > 1 and share >= needed else 0.0
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
    odd = (
        None if proper and '\\"' not in text and f'{delimiter} "' not in text else _odd(text, delimiter, share, proper)
    )
    if odd is not None:
        return odd
    if proper:
        return with_quotes if share >= plain_share or width <= 1 < plain_width else without
    if plain_width <= 1 and delimiter == ",":
        return with_quotes
    return without if plain_share >= share else with_quotes


def _odd(text: str, delimiter: str, share: float, proper: bool) -> Dialect | None:
    """The dialect with escaped quotes or blanks before them by which the rows of TEXT come out as they should and, as
    they are usually quoted (SHARE of them equally wide, PROPER or not), don't; None where there is none."""
    begun, most = 0, False
    if delimiter != "\t":
        end = re.escape(delimiter)
        begun = len(re.findall(rf'{end} +"[^"\r\n]*"(?= *(?:{end}|[\r\n]|\Z))', text))
        most = begun > 0 and begun >= 0.9 * (text.count("\n") - 1)  # all lines but the header
    escaped = '\\"' in text and not proper
    for one, two in ((True, False), (False, True), (True, True)):
        if (one and not escaped) or (two and not begun):
            continue
        dialect = Dialect(delimiter, True, one, two)
        width, new, fits = _regularity(text, dialect)
        if fits and width > 1 and (new > share or (new == share and (one or most))):
            return dialect
    return None


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of ROWS names the columns: short, distinct, not numbers, and not values of their columns."""
    first = [cell.strip() for cell in rows[0]]
    named = [cell for cell in first if cell]
    if not named or _any_number(named):
        return False
    known = [cell.lower().replace(" ", "_") in _HEADERS for cell in first]
    body = [row for row in rows[1:1001] if [cell.strip() for cell in row] != first]  # a header may be repeated
    again = [sum(len(row) > place and row[place].strip() == cell for row in body) for place, cell in enumerate(first)]
    again = [count for count, cell in zip(again, first, strict=True) if cell]
    if sum(known) > 1 or (any(known) and max(again) <= len(body) // 100):  # a cell may say what its column is called
        return True
    if len(set(named)) < len(named) or any(len(cell) > 60 or len(cell.split()) > 6 for cell in named):
        return False
    return bool(body) and not any(again)


def _any_number(cells: Iterable[str]) -> bool:
    return any(NUMBER.fullmatch(cell) for cell in cells)


def names_of(header: Sequence[str]) -> list[str]:
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


def type_of(cells: Sequence[Sequence[str]], place: int) -> str:
    """The type of column PLACE by its first thousand cells that are not empty."""
    values = [row[place].strip() for row in cells[:1000] if row[place].strip()]
    if not values:
        return "empty"
    if all(value.lstrip("+-").isdecimal() for value in values):
        return "integer"
    return "number" if all(NUMBER.fullmatch(value) for value in values) else "text"
