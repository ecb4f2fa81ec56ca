"""Finding and ordering rows: a query becomes a predicate, hits come as they are found."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from ftstudio.core.errors import Stopped, UsageError
from ftstudio.data.dataset import Cancel, Dataset, Row
from ftstudio.data.expression import CannotJudge, Expression

Predicate = Callable[[int, Row], bool]

HELP = (
    "text · column:text · /regular expression/ · column=value · column!=value · column>3 · length>200 · "
    "column.length<20 · row>100 · -text (not) · several in a row must all hold · quotes keep blanks together"
)
_PART = re.compile(r"(?P<column>[^\s:=<>!\"/]+)(?P<sign>!=|>=|<=|:|=|>|<)(?P<value>.*)", re.DOTALL)
_SIGNS = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
}


def find(dataset: Dataset, query: str | Predicate, *, cancel: Cancel | None = None) -> Iterator[int]:
    """The rows for which QUERY holds, in order, as they are found. The empty query finds all.

    QUERY is text as in `HELP` (letter case counts nowhere) or a function of (row number, row). CANCEL is asked every
    256 rows and ends the search. Raises UsageError for a faulty query at once.
    """
    holds = parse(query, dataset.names) if isinstance(query, str) else query
    return _hits(dataset, holds, cancel)


def _hits(dataset: Dataset, holds: Predicate, cancel: Cancel | None) -> Iterator[int]:
    for index in range(len(dataset)):
        if cancel is not None and index % 256 == 0 and cancel():
            return
        if holds(index, dataset[index]):
            yield index


def parse(query: str, names: list[str]) -> Predicate:
    """QUERY as a predicate over rows with columns NAMES. Raises UsageError where it is faulty."""
    query = query.strip()
    terms = split_terms(query)
    if terms is None or not any(_is_special(term, names) for term in terms):
        return _contains(None, query)  # nothing but words: looked for as they stand
    tests = [_term(term, names) for term in terms]
    return lambda index, row: all(test(index, row) for test in tests)


class Where:
    """The expression TEXT (see `expression`) as a predicate over rows with columns NAMES; rows on which it has no value
    don't meet it, and are counted.

    `index` is the row's number unless a column has that name. Raises UsageError where it is faulty.
    """

    def __init__(self, text: str, names: list[str]) -> None:
        self.expression = Expression(text, [*names, "index"])
        self.unjudged, self.reason = 0, ""  # how many rows it had no value on; why not on the first of them
        self._numbered = "index" in self.expression.columns and "index" not in names

    def __call__(self, index: int, row: Row) -> bool:
        try:
            return self.expression.holds({**row, "index": index} if self._numbered else row)
        except CannotJudge as error:
            self.unjudged += 1
            self.reason = self.reason or str(error)
            return False

    @property
    def told(self) -> str:
        """What a person must know of the rows that were passed over; empty where there were none."""
        if not self.unjudged:
            return ""
        reason = self.reason
        if "not supported between" in reason and "'str'" in reason:  # Python's words for "7" > 1
            reason = "text can't be compared with a number; number(column) makes one of it"
        return f"{self.unjudged:,} row{'s' if self.unjudged > 1 else ''} couldn't be judged: {reason}."


def split_terms(query: str) -> list[str] | None:
    """QUERY at its blanks, but not inside "…" or /…/ (at the start of a term or after a sign); None where one stays
    open."""
    terms, term, closing = [], "", ""
    escaped = False
    for char in query:
        if closing:
            term += char
            if char == closing and not escaped:
                closing = ""
            escaped = char == "\\" and not escaped
        elif char.isspace():
            terms.append(term)
            term = ""
        else:
            if char in '"/' and (not term or term[-1] in ":=-"):
                closing = char
            term += char
    return None if closing else [part for part in (*terms, term) if part]


def _is_special(term: str, names: list[str]) -> bool:
    return term.startswith(('"', "/")) or (term.startswith("-") and len(term) > 1) or _is_part(term, names)


def _is_part(term: str, names: list[str]) -> bool:
    match = _PART.fullmatch(term.lstrip("-"))
    if match is None:
        return False
    column = match["column"]
    base = column.removesuffix(".length")
    known = {name.lower() for name in names} | {"length", "row"}
    return base.lower() in known or match["sign"] != ":"


def _term(term: str, names: list[str]) -> Predicate:
    if term.startswith("-") and len(term) > 1:
        inner = _term(term[1:], names)
        return lambda index, row: not inner(index, row)
    match = _PART.fullmatch(term) if _is_part(term, names) else None
    if match is None:
        return _text_test(None, term)
    column, sign, value = match["column"], match["sign"], match["value"]
    if sign == ":":
        return _text_test(_column(column, names), value)
    return _compared(column, sign, _bare(value), names)


def _bare(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _text_test(column: str | None, value: str) -> Predicate:
    body = value.removesuffix("i") if value.endswith("/i") else value
    if len(body) > 2 and body.startswith("/") and body.endswith("/"):
        try:
            pattern = re.compile(body[1:-1], re.IGNORECASE | re.MULTILINE)
        except (re.error, OverflowError, RecursionError) as error:
            hint = "Escape special characters with \\, or search for plain text."
            raise UsageError(f"{body} is no regular expression: {error}.", hint) from error
        return lambda index, row: pattern.search(_text(row, column)) is not None
    return _contains(column, _bare(value))


def _contains(column: str | None, value: str) -> Predicate:
    needle = value.lower()
    return lambda index, row: needle in _text(row, column).lower()


def _column(name: str, names: list[str]) -> str:
    for known in names:
        if known.lower() == name.lower():
            return known
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names[:12])}."
    raise UsageError(f"There is no column {name!r}.", hint)


def _compared(column: str, sign: str, value: str, names: list[str]) -> Predicate:
    lower = {name.lower() for name in names}
    compare = _SIGNS[sign]
    measure: Callable[[int, Row], Any]
    if column.lower() == "row" and "row" not in lower:
        measure = lambda index, row: index  # noqa: E731
    elif column.lower() == "length" and "length" not in lower:
        measure = lambda index, row: len(_text(row, None))  # noqa: E731
    elif column.lower().endswith(".length") and column.lower() not in lower:
        name = _column(column[: -len(".length")], names)
        measure = lambda index, row: len(_text(row, name))  # noqa: E731
    else:
        return _value_test(_column(column, names), sign, value)
    number = _number(value)
    if number is None:
        raise UsageError(f"{column}{sign}{value} compares with no number.", f"Write e.g. {column}{sign}200.")
    return lambda index, row: compare(measure(index, row), number)


def _value_test(name: str, sign: str, value: str) -> Predicate:
    compare, number = _SIGNS[sign], _number(value)
    if sign in ("=", "!="):
        wanted = value.strip().lower()

        def equals(index: int, row: Row) -> bool:
            text = _text(row, name).strip()
            same = text.lower() == wanted or (number is not None and _number(text) == number)
            return same == (sign == "=")

        return equals
    if number is None:
        raise UsageError(f"{name}{sign}{value} compares with no number.", f"Write e.g. {name}{sign}200.")

    def compares(index: int, row: Row) -> bool:
        found = _number(row.get(name))
        return found is not None and bool(compare(found, number))

    return compares


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(row: Row, column: str | None) -> str:
    """The text of a cell, or of the whole row; nested values by their leaves."""
    if column is not None:
        value = row.get(column)
        return value if isinstance(value, str) else "\n".join(_leaves(value))
    return "\n".join(_leaves(list(row.values())))


def text_of_cell(row: Row, column: str) -> str:
    """The text of a cell; nested values by their leaves."""
    return _text(row, column)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _leaves(part)
    elif value is not None:
        yield str(value)


def sort_rows(
    dataset: Dataset,
    column: str,
    *,
    descending: bool = False,
    by_length: bool = False,
    rows: list[int] | None = None,
    cancel: Cancel | None = None,
) -> list[int]:
    """ROWS (default all) ordered by COLUMN: numbers by value before texts, empty cells last; BY_LENGTH by text length.

    Ties keep their order. Raises UsageError for an unknown column, Stopped when CANCEL says so.
    """
    name = _column(column, dataset.names)
    filled: list[tuple[Any, int]] = []
    empty: list[int] = []
    for place, index in enumerate(range(len(dataset)) if rows is None else rows):
        if cancel is not None and place % 256 == 0 and cancel():
            raise Stopped("Stopped while sorting.")
        row = dataset[index]
        text = _text(row, name)
        if not text.strip() and not by_length:
            empty.append(index)
            continue
        number = float(len(text)) if by_length else _number(row.get(name))
        known = number is not None and number == number
        filled.append(((0, number, "") if known else (1, 0.0, text.casefold()), index))
    filled.sort(key=lambda pair: pair[0], reverse=descending)
    return [index for _, index in filled] + empty
