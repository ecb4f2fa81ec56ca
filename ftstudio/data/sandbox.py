"""Jinja templates from models and people, rendered in a sandbox; and what their generation marks enclose."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import secrets
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ftstudio.core.errors import UsageError

_START, _END = (f"\ue000{secrets.token_hex(8)}{side}\ue001" for side in "<>")  # what no text can foresee
_BOUNDS = re.compile(f"({_START}|{_END})")
_marking = threading.local()
_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


@functools.lru_cache(maxsize=64)
def compile_template(source: str) -> Any:
    """SOURCE as a jinja2 template in the sandbox that transformers uses too (`chat_template_utils.py`): immutable,
    blocks trimmed, loop controls, `tojson`, `raise_exception`, `strftime_now`, `{% generation %}`.

    Raises UsageError where it is no valid template.
    """
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """`{% generation %}…{% endgeneration %}` marks what an assistant says; its body is written as it is, between
        bounds while `marking`."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

        def _said(self, caller: Any) -> str:
            text = str(caller())
            return f"{_START}{text}{_END}" if getattr(_marking, "on", False) else text

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, **rest: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **rest)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        message = f"The template is not valid Jinja: {error.message} (line {error.lineno})."
        raise UsageError(message, "Check braces and tags, e.g. {{ prompt }}.") from error


def variables_of(source: str) -> frozenset[str]:
    """The names that the template SOURCE uses but doesn't set itself."""
    import jinja2.meta

    environment = compile_template(source).environment
    return frozenset(jinja2.meta.find_undeclared_variables(environment.parse(source))) - set(environment.globals)


def has_marks(source: str) -> bool:
    """Whether the template SOURCE marks what the assistant says."""
    return _MARK.search(source) is not None


@contextlib.contextmanager
def marking() -> Iterator[None]:
    """While this lasts, what this thread renders has bounds around what `{% generation %}` marks: see `unmarked`."""
    _marking.on = True
    try:
        yield
    finally:
        _marking.on = False


def unmarked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """(TEXT without its bounds, the places in it that they enclose: from, to)."""
    spans: list[tuple[int, int]] = []
    found, place, start, depth = [], 0, 0, 0
    for piece in _BOUNDS.split(text):
        if piece == _START:
            start, depth = (start if depth else place), depth + 1
        elif piece == _END:
            depth -= 1
            if not depth and place > start:
                spans.append((start, place))
        else:
            found.append(piece)
            place += len(piece)
    return "".join(found), spans
