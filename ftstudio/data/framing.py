"""Texts and pairs of texts as an encoder reads them: framed by its special tokens, cut without losing the frame."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from ftstudio.core.errors import UsageError
from ftstudio.data.tokenizer import Tokenizer

# how languages are marked: en_XX (mBART), eng_Latn (NLLB), __en__ (M2M100)
_LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}|__[a-z]{2,3}__")


class Frame(NamedTuple):
    """Special ids before and behind a text; `language` is the one among them that marks its language, if any does."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    language: int | None = None

    def around(self, ids: list[int], most: int | None) -> tuple[list[int], int]:
        """(IDS in this frame, cut to MOST with it, how many were cut)."""
        room = None if most is None else max(0, most - len(self.prefix) - len(self.suffix))
        return [*self.prefix, *ids[:room], *self.suffix], len(ids) - len(ids[:room])

    @property
    def start(self) -> int | None:
        """The language, where a decoder begins with it although it stands behind the text (mBART)."""
        return self.language if self.language in self.suffix else None

    @property
    def forced(self) -> int | None:
        """The language, where it is the first token that is written (mBART-50, NLLB, M2M100)."""
        return self.language if self.language in self.prefix else None


def languages_of(tokenizer: Tokenizer) -> list[str]:
    """The languages that TOKENIZER marks texts with, the one it is set to first; empty where it marks none."""
    own = frame_of(tokenizer).language
    if own is None:
        return []
    usual = tokenizer.backend.piece(own) or ""
    return [usual, *sorted(text for text in tokenizer.special_texts if _LANGUAGE.fullmatch(text) and text != usual)]


def frame_of(tokenizer: Tokenizer, language: str | None = None, key: str = "the language") -> Frame:
    """What TOKENIZER puts around a text in LANGUAGE (None: the one it is set to). Raises UsageError naming KEY where it
    doesn't know that language, or marks none."""
    frame = (tokenizer.prefix, tokenizer.suffix)
    pieces = {token: tokenizer.backend.piece(token) or "" for part in frame for token in part}
    marks = [token for token, piece in pieces.items() if _LANGUAGE.fullmatch(piece)]
    if language is None:
        return Frame(*frame, marks[0] if marks else None)
    if not marks:
        raise UsageError(
            f"{key}: {tokenizer.name} marks no languages.", "Leave it out; some models take a prefix: options.prefix."
        )
    wanted = next((name for name in (language, f"__{language}__") if tokenizer.backend.id_of(name) is not None), None)
    token = None if wanted is None else tokenizer.backend.id_of(wanted)
    if wanted is None or token is None or not _LANGUAGE.fullmatch(wanted) or token == tokenizer.unk_id:
        known = sorted(text for text in tokenizer.special_texts if _LANGUAGE.fullmatch(text))
        near = difflib.get_close_matches(language, known, 3, 0.3) or known[:8]
        raise UsageError(f"{key}: {tokenizer.name} knows no language {language!r}.", f"Such as: {', '.join(near)}.")
    prefix, suffix = (tuple(token if one in marks else one for one in part) for part in frame)
    return Frame(prefix, suffix, token)


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
