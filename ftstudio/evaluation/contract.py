"""The format that outputs are to keep: a pattern, a JSON schema, a set of labels, or a closing line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.core.text import one_line

KINDS = ("regex", "json_schema", "labels", "json", "last_line")
_LONGEST = 200_000  # characters of an output that a pattern is tried on
_TIMEOUT = 0.25  # seconds for one pattern on one output: a person's pattern may explode


@dataclass(frozen=True)
class Contract:
    """What format an output must have.

    `kind` and `value`: `regex` (a pattern that must match the whole output), `json_schema` (a schema that the output,
    as JSON, must satisfy), `labels` (the allowed outputs), `json` (any JSON value of the types in `value`),
    `last_line` (what the last line must begin with). `inferred` is True where it was read off the references.
    """

    kind: str
    value: Any
    inferred: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"The format `{one_line(self.kind, 40)}` is unknown.", f"Known are {', '.join(KINDS)}.")
        if self.kind == "regex":
            _ = self._pattern
        if self.kind == "json_schema":
            _ = self._validator

    @property
    def text(self) -> str:
        """The contract in words."""
        source = " (as all references have it)" if self.inferred else ""
        words = {
            "regex": f"matches {one_line(self.value, 60)}",
            "json_schema": "JSON that satisfies the schema",
            "labels": "one of the labels",
            "json": "JSON",
            "last_line": f"a last line that begins with {one_line(self.value, 30)}",
        }[self.kind]
        return words + source

    @cached_property
    def _pattern(self) -> Any:
        import regex  # its matching can be stopped by a timeout, re's can't

        try:
            return regex.compile(self.value, regex.DOTALL)
        except (regex.error, TypeError) as error:
            raise UsageError(f"The format's pattern is no regular expression: {error}.", "Correct it.") from None

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry

        try:
            kind = validator_for(self.value)
            kind.check_schema(self.value)
            return kind(self.value, registry=Registry())  # an empty registry never fetches a remote $ref
        except (SchemaError, AttributeError, TypeError) as error:
            reason = one_line(getattr(error, "message", error), 120)
            raise UsageError(f"The format's JSON schema is invalid: {reason}.", "Correct it.") from None

    @cached_property
    def labels(self) -> frozenset[str]:
        """The allowed outputs; empty where the contract is no set of labels."""
        return frozenset(str(label).strip() for label in self.value) if self.kind == "labels" else frozenset()

    def breach(self, output: str) -> str | None:
        """How OUTPUT breaks the contract, in words; empty where it keeps it, None where that can't be judged."""
        text = output.strip()
        if self.kind == "labels":
            return "" if text in self.labels else f"“{one_line(text, 40)}” is none of the {len(self.labels)} labels"
        if self.kind == "last_line":
            last = text.rsplit("\n", 1)[-1].strip()
            return "" if last.startswith(self.value) else f"the last line doesn't begin with {one_line(self.value, 30)}"
        if self.kind == "regex":
            try:
                matched = self._pattern.fullmatch(text[:_LONGEST], timeout=_TIMEOUT)
            except TimeoutError:
                return None
            return "" if matched and len(text) <= _LONGEST else f"doesn't match {one_line(self.value, 60)}"
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            if text.startswith("```"):
                return "JSON inside a code fence" if _fenced(text) else "a code fence, not JSON"
            return f"isn't JSON: {getattr(error, 'msg', 'nested too deep')}"
        if self.kind == "json":
            return "" if type(value).__name__ in self.value else f"JSON of another kind ({type(value).__name__})"
        from referencing.exceptions import Unresolvable

        try:
            broken = next(self._validator.iter_errors(value), None)
        except (RecursionError, Unresolvable):
            return None
        if broken is None:
            return ""
        where = "/".join(str(step) for step in broken.absolute_path)
        return one_line(f"{where}: {broken.message}" if where else broken.message, 120)


def _fenced(text: str) -> bool:
    inner = text.split("\n", 1)[-1].rstrip("`")
    try:
        json.loads(inner)
    except (ValueError, RecursionError):
        return False
    return True


def infer(references: Sequence[str], least: int = 20) -> Contract | None:
    """The format that all REFERENCES have in common, if there is one so plain that breaking it is an error.

    Labels: few different short answers, each often. JSON: every reference parses as an object or list. Closing line:
    every reference has several lines, and the last begins with the same mark (`#### 72`, `Answer: …`). LEAST
    references are needed; fewer say nothing.
    """
    texts = [reference.strip() for reference in references]
    if len(texts) < least:
        return None
    if all(text.startswith(("{", "[")) for text in texts):
        kinds = set()
        for text in texts:
            try:
                kinds.add(type(json.loads(text)).__name__)
            except (ValueError, RecursionError):
                return None
        return Contract("json", tuple(sorted(kinds)), inferred=True)
    counts = Counter(texts)
    often = len(counts) * 5 <= len(texts) and min(counts.values()) >= 2
    if often and all(text and len(text.split()) <= 4 and "\n" not in text for text in counts):
        return Contract("labels", sorted(counts), inferred=True)
    marks = {_mark(text) for text in texts}
    if len(marks) == 1 and (mark := marks.pop()):
        return Contract("last_line", mark, inferred=True)
    return None


def _mark(text: str) -> str:
    """What marks the last line of TEXT: its first word, if that is no ordinary word (`####`, `Answer:`)."""
    lines = text.split("\n")
    if len(lines) < 2:
        return ""
    match = re.match(r"\s*([^\w\s\"'“‘(\[{]{2,8}(?=\s)|[A-Z]\w{2,20}(?: \w{2,20}){0,3}:)", lines[-1])
    return match.group(1) if match else ""
