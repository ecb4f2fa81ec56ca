"""Texts and pairs of texts as an encoder reads them: framed by its special tokens, cut without losing the frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ftstudio.data.tokenizer import Tokenizer


class Framed(NamedTuple):
    """Ids of a text or pair with its frame; `types` tell the second text of a pair (None where all are 0); `lost`
    tokens were cut off."""

    ids: list[int]
    types: list[int] | None
    lost: int


def frame(tokenizer: Tokenizer, texts: Sequence[tuple[str, ...]], max_length: int | None = None) -> list[Framed]:
    """TEXTS (one or two each) as the tokenizer frames them, at most MAX_LENGTH ids: of a pair the longer is cut first,
    as transformers' `longest_first` does."""
    parts = tokenizer.encode_batch([part for text in texts for part in text])
    found, at = [], 0
    for text in texts:
        ids = parts[at : at + len(text)]
        at += len(text)
        found.append(
            _single(tokenizer, ids[0], max_length) if len(ids) == 1 else _pair(tokenizer, ids[0], ids[1], max_length)
        )
    return found


def _single(tokenizer: Tokenizer, ids: list[int], max_length: int | None) -> Framed:
    room = None if max_length is None else max(0, max_length - len(tokenizer.prefix) - len(tokenizer.suffix))
    return Framed([*tokenizer.prefix, *ids[:room], *tokenizer.suffix], None, len(ids) - len(ids[:room]))


def _pair(tokenizer: Tokenizer, first: list[int], second: list[int], max_length: int | None) -> Framed:
    head, middle, tail = tokenizer.pair_frame
    before = len(first) + len(second)
    if max_length is not None:
        a, b = _kept(len(first), len(second), max(0, max_length - len(head) - len(middle) - len(tail)))
        first, second = first[:a], second[:b]
    pieces = ((head, None), (first, 0), (middle, None), (second, tokenizer.second_type), (tail, None))
    ids = [part if isinstance(part, int) else part[0] for piece, _ in pieces for part in piece]
    types = [part[1] if isinstance(part, tuple) else kind or 0 for piece, kind in pieces for part in piece]
    return Framed(ids, types if any(types) else None, before - len(first) - len(second))


def _kept(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts of FIRST and SECOND tokens stay in ROOM, as `tokenizers` has it: the shorter one
    whole where it takes less than half, else half for each, an odd one for the longer."""
    if first + second <= room:
        return first, second
    short, long = min(first, second), max(first, second)
    long = max(short, room - short)
    if short + long > room:
        short = room // 2
        long = short + room % 2
    return (short, long) if first <= second else (long, short)
