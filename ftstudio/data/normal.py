"""When two texts count as the same: white space, letter case and Unicode form set aside."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable

from ftstudio.data.dataset import Row
from ftstudio.data.example import BadRow, Example, text_of
from ftstudio.data.shape import Shape


def normal(text: str) -> str:
    """TEXT in NFKC, case folded, runs of white space as one blank."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def digest(parts: Iterable[str]) -> bytes:
    """16 bytes that stand for the normalised PARTS, in order."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(normal(part).encode("utf-8", "replace") + b"\x00")
    return found.digest()


def prompt_key(example: Example) -> bytes:
    """Stands for what is asked: all turns before the last answer and the pictures; for running text, all of it."""
    pictures = example.fields.get("images")
    seen = [text_of(pictures)] if pictures else []
    if example.is_text:
        return digest([*(turn.content for turn in example.messages), *seen])
    return digest([*(f"{turn.role} {turn.content}" for turn in example.messages[: example.answer_at]), *seen])


def row_key(row: Row, shape: Shape | None) -> bytes:
    """What rows must share to stay on one side of a split: the same prompt; the same content where that fails."""
    if shape is not None:
        try:
            return prompt_key(shape.example(row))
        except BadRow:
            pass
    return digest([json.dumps(row, sort_keys=True, default=str)])
