"""A hundred questions that have nothing to do with any task and whose answers can be checked: eighty with one right
option among four, twenty that ask for a form. What a base model could do and its tuned one can't was forgotten.

Written for ftstudio; English, general knowledge and the simplest forms.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "canaries.json"
CHANCE = 0.25  # of the right option


@dataclass(frozen=True)
class Question:
    """A question with its options; the first is the right one."""

    text: str
    options: tuple[str, ...]

    @property
    def context(self) -> str:
        """What the options are continuations of."""
        return f"Question: {self.text}\nAnswer:"


@dataclass(frozen=True)
class Form:
    """A prompt whose whole answer must match `pattern`."""

    text: str
    pattern: str

    def kept(self, answer: str) -> bool:
        """Whether ANSWER has the form."""
        return re.fullmatch(self.pattern, answer.strip()) is not None


@cache
def questions() -> tuple[Question, ...]:
    """All questions."""
    return tuple(Question(item["question"], (item["right"], *item["wrong"])) for item in _read()["choices"])


@cache
def forms() -> tuple[Form, ...]:
    """All prompts that ask for a form."""
    return tuple(Form(item["prompt"], item["pattern"]) for item in _read()["formats"])


def chosen(logs: list[float], options: tuple[str, ...]) -> int:
    """The option that a model with these log-likelihoods (nats) chooses: the likeliest a byte (lm_eval's acc_norm)."""
    each = [value / len(option.encode()) for value, option in zip(logs, options, strict=True)]
    return max(range(len(each)), key=each.__getitem__)


@cache
def version() -> str:
    """Which canaries these are."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()[:12]


@cache
def _read() -> dict[str, list[dict[str, Any]]]:
    value: dict[str, list[dict[str, Any]]] = json.loads(_FILE.read_text("utf-8"))
    return value
