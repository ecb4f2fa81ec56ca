"""Expressions over a row that a person types: `words(output) > 200 and "sorry" in lower(output)`.

Python's syntax, but nothing of it is executed as Python: the tree is checked against what is known here and turned
into functions, so an expression from somebody else's file can neither call nor reach anything. It can't run away
either: there are no loops, texts don't grow without bound, and patterns are given up after a quarter of a second.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.core.text import one_line

LONGEST = 2_000  # characters of an expression
_LARGEST = 1_000_000  # characters of a text that an expression makes
_DEEPEST = 40
_TIMEOUT = 0.25  # seconds for one pattern on one text

Row = Mapping[str, Any]
_Step = Callable[[Row], Any]


class CannotJudge(ValueError):
    """The expression has no value on this row: a column is missing there, or holds another kind of value."""


class Expression:
    """TEXT as a function of a row. NAMES are the columns there are; None takes any name.

    Raises UsageError that says what is wrong and where, for what isn't Python, isn't allowed, or names no column.
    """

    def __init__(self, text: str, names: Collection[str] | None = None) -> None:
        self.text = text.strip()
        if not self.text:
            raise UsageError("The expression is empty.", 'Give one such as: words(output) > 50 and "sorry" in output')
        if len(self.text) > LONGEST:
            raise UsageError(f"The expression is longer than {LONGEST} characters.", "Shorten it.")
        try:
            tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = getattr(error, "offset", None)
            place = f" near character {where}" if where else ""
            raise UsageError(
                f"{one_line(self.text, 60)} is no expression{place}.",
                "Write it like Python: and, or, not, ==, <, in, and functions such as words(output).",
            ) from None
        self._names = None if names is None else frozenset(names)
        self.columns: frozenset[str] = frozenset()
        self._run = self._compile(tree, 0)

    def __call__(self, row: Row) -> Any:
        """The value on ROW. Raises CannotJudge where it has none."""
        try:
            return self._run(row)
        except CannotJudge:
            raise
        except (TypeError, ValueError, LookupError, ArithmeticError, TimeoutError) as error:
            raise CannotJudge(one_line(error, 120) or type(error).__name__) from None

    def holds(self, row: Row) -> bool:
        """Whether it is true on ROW. Raises CannotJudge."""
        return bool(self(row))

    # -- compiling -------------------------------------------------------------------------------------------------
    def _compile(self, node: ast.expr, depth: int) -> _Step:
        if depth > _DEEPEST:
            raise UsageError("The expression is nested too deep.", "Shorten it.")
        build = getattr(self, f"_{type(node).__name__.lower()}", None)
        if build is None:
            raise self._refused(node)
        step: _Step = build(node, depth + 1)
        return step

    def _refused(self, node: ast.expr, what: str = "") -> UsageError:
        part = one_line(what or ast.get_source_segment(self.text, node) or type(node).__name__, 40)
        return UsageError(
            f"`{part}` isn't allowed in an expression.",
            f"Use columns, numbers, texts, and, or, not, comparisons, in, and {', '.join(sorted(FUNCTIONS))}.",
        )

    def _constant(self, node: ast.Constant, depth: int) -> _Step:
        value = node.value
        if not isinstance(value, str | int | float | bool | None):
            raise self._refused(node)
        return lambda row: value

    def _name(self, node: ast.Name, depth: int) -> _Step:
        return self._column(node.id)

    def _column(self, name: str) -> _Step:
        if self._names is not None and name not in self._names:
            near = get_close_matches(name, self._names, 1)
            known = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(self._names)[:12])}."
            raise UsageError(f"There is no column {one_line(name, 40)}.", known)
        self.columns |= {name}

        def step(row: Row) -> Any:
            if name not in row:
                raise CannotJudge(f"no {name} here")
            return row[name]

        return step

    def _boolop(self, node: ast.BoolOp, depth: int) -> _Step:
        parts = [self._compile(part, depth) for part in node.values]
        if isinstance(node.op, ast.And):
            return lambda row: all(part(row) for part in parts)
        return lambda row: any(part(row) for part in parts)

    def _unaryop(self, node: ast.UnaryOp, depth: int) -> _Step:
        inner = self._compile(node.operand, depth)
        if isinstance(node.op, ast.Not):
            return lambda row: not inner(row)
        if isinstance(node.op, ast.USub):
            return lambda row: -_number(inner(row))
        raise self._refused(node)

    def _binop(self, node: ast.BinOp, depth: int) -> _Step:
        work = _ARITHMETIC.get(type(node.op))
        if work is None:
            raise self._refused(node)
        left, right = self._compile(node.left, depth), self._compile(node.right, depth)
        return lambda row: work(left(row), right(row))

    def _ifexp(self, node: ast.IfExp, depth: int) -> _Step:
        test, then, other = (self._compile(part, depth) for part in (node.test, node.body, node.orelse))
        return lambda row: then(row) if test(row) else other(row)

    def _compare(self, node: ast.Compare, depth: int) -> _Step:
        parts = [self._compile(part, depth) for part in (node.left, *node.comparators)]
        tests = [_COMPARISONS.get(type(op)) for op in node.ops]
        if None in tests:
            raise self._refused(node)

        def step(row: Row) -> bool:
            left = parts[0](row)
            for test, part in zip(tests, parts[1:], strict=True):
                right = part(row)
                if not test(left, right):  # type: ignore[misc]  # None was refused above
                    return False
                left = right
            return True

        return step

    def _list(self, node: ast.List | ast.Tuple | ast.Set, depth: int) -> _Step:
        parts = [self._compile(part, depth) for part in node.elts]
        return lambda row: [part(row) for part in parts]

    _tuple = _set = _list

    def _subscript(self, node: ast.Subscript, depth: int) -> _Step:
        if isinstance(node.value, ast.Name) and node.value.id == "row":  # row["a name with spaces"]
            if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
                return self._column(node.slice.value)
            raise self._refused(node)
        inner = self._compile(node.value, depth)
        if isinstance(node.slice, ast.Slice):
            ends = [
                None if end is None else self._compile(end, depth)
                for end in (node.slice.lower, node.slice.upper, node.slice.step)
            ]
            return lambda row: inner(row)[slice(*(None if end is None else end(row) for end in ends))]
        key = self._compile(node.slice, depth)
        return lambda row: inner(row)[key(row)]

    def _call(self, node: ast.Call, depth: int) -> _Step:
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._refused(node)
        arguments = list(node.args)
        if isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS:  # output.lower() is lower(output)
            name = node.func.attr
            arguments.insert(0, node.func.value)
        elif isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            name = node.func.id
        else:
            raise self._refused(node)
        work, least, most = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            raise UsageError(f"{name}() takes {count} values, not {len(arguments)}.", "Correct the expression.")
        steps = [self._compile(argument, depth) for argument in arguments]
        if name == "matches" and isinstance(node.args[-1], ast.Constant):
            _pattern(str(node.args[-1].value))  # a faulty pattern is told before any row is looked at
        return lambda row: work(*(step(row) for step in steps))


def _number(value: Any) -> Any:
    if isinstance(value, int | float) and not (isinstance(value, int) and abs(value) > 1 << 256):
        return value
    raise CannotJudge(f"{one_line(value, 40)} is no number")


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > _LARGEST:
            raise CannotJudge("the text grows too long")
        return left + right
    return _number(left) + _number(right)


def _on_numbers(work: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda left, right: work(_number(left), _number(right))


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _add,
    ast.Sub: _on_numbers(operator.sub),
    ast.Mult: _on_numbers(operator.mul),
    ast.Div: _on_numbers(operator.truediv),
    ast.FloorDiv: _on_numbers(operator.floordiv),
    ast.Mod: _on_numbers(operator.mod),
}


def _in(left: Any, right: Any) -> bool:
    return False if right is None else left in right


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: lambda left, right: left is right if right is None or isinstance(right, bool) else left == right,
    ast.IsNot: lambda left, right: left is not right if right is None or isinstance(right, bool) else left != right,
    ast.In: _in,
    ast.NotIn: lambda left, right: not _in(left, right),
}


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _pattern(pattern: str) -> Any:
    import regex  # its matching can be stopped by a timeout, re's can't

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise UsageError(f"{one_line(pattern, 40)} is no regular expression: {error}.", "Correct it.") from None


def _matches(text: Any, pattern: Any) -> bool:
    return _pattern(_text(pattern)).search(_text(text), timeout=_TIMEOUT) is not None


def _to_number(value: Any) -> float | None:
    try:
        return float(_text(value).replace(",", ""))
    except ValueError:
        return None


_DIGITS = 15  # to which a number can be rounded: Python would take for ever to make 10 to the power of a billion


def _rounded(value: Any, digits: Any = 0) -> Any:
    if abs(_number(digits)) > _DIGITS:
        raise CannotJudge(f"round can't go to {digits} digits: at most {_DIGITS}")
    return round(_number(value), int(digits))


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "len": (lambda value: 0 if value is None else len(value), 1, 1),
    "words": (lambda value: len(_text(value).split()), 1, 1),
    "lines": (lambda value: len(_text(value).splitlines()), 1, 1),
    "text": (_text, 1, 1),
    "number": (_to_number, 1, 1),
    "lower": (lambda value: _text(value).lower(), 1, 1),
    "upper": (lambda value: _text(value).upper(), 1, 1),
    "strip": (lambda value: _text(value).strip(), 1, 1),
    "startswith": (lambda value, part: _text(value).startswith(_text(part)), 2, 2),
    "endswith": (lambda value, part: _text(value).endswith(_text(part)), 2, 2),
    "count": (lambda value, part: _text(value).count(_text(part)), 2, 2),
    "matches": (_matches, 2, 2),
    "abs": (lambda value: abs(_number(value)), 1, 1),
    "round": (_rounded, 1, 2),
    "min": (lambda *values: min(values), 2, 8),
    "max": (lambda *values: max(values), 2, 8),
}
"""What an expression can call: the function, and how many values it takes at least and at most."""
