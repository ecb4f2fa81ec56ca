"""Masked tokens: which are hidden from an encoder, and by what (Devlin et al. 2019, arXiv 1810.04805, section 3.1).

Which ones follows from a key alone: for training rows from seed, epoch and row, so that every epoch hides others and a
resumed training the very same; for held-out rows from their tokens, so that every model is asked the same.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.data.encode import IGNORED
from ftstudio.data.row_set import RowSet
from ftstudio.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Masking:
    """How tokens are hidden. `probability` of each; of those chosen `mask` become the mask token, `random` another
    token, the rest stays. `whole_words`: all tokens of a word or none. `vocabulary`: ids that may stand for others;
    `frame`: ids that are never chosen."""

    probability: float
    mask: float
    random: float
    whole_words: bool
    mask_id: int
    vocabulary: array[int]
    frame: frozenset[int]

    def apply(self, ids: Sequence[int], words: Sequence[int] | None, key: Sequence[int]) -> tuple[list[int], list[int]]:
        """(IDS with some hidden, labels: the token itself where one was chosen, else -100). WORDS tell the word of each
        id. The share is kept exactly (rounded, at least one token), as in BERT; KEY decides which."""
        import numpy as np

        draw = np.random.default_rng(list(key))
        places = [place for place, token in enumerate(ids) if token not in self.frame]
        units = [[place] for place in places]
        if self.whole_words and words is not None:
            units = _by_word(places, words)
        wanted = max(1, round(self.probability * len(places)))
        chosen: list[int] = []
        for at in draw.permutation(len(units)):
            if chosen and len(chosen) + len(units[at]) > wanted:
                continue
            chosen += units[at]
            if len(chosen) >= wanted:
                break
        hidden, labels = list(ids), [IGNORED] * len(ids)
        how, other = draw.random(len(chosen)), draw.integers(len(self.vocabulary), size=len(chosen))
        for place, share, random in zip(sorted(chosen), how, other, strict=True):
            labels[place] = ids[place]
            if share < self.mask:
                hidden[place] = self.mask_id
            elif share < self.mask + self.random:
                hidden[place] = self.vocabulary[int(random)]
        return hidden, labels

    def count(self, ids: Sequence[int]) -> int:
        """How many of IDS are chosen, where single tokens are."""
        return max(1, round(self.probability * sum(token not in self.frame for token in ids)))


def masking_of(tokenizer: Tokenizer, probability: float, mask: float, random: float, whole_words: bool) -> Masking:
    """How TOKENIZER's tokens are hidden. Raises UsageError where it has no mask token."""
    text = tokenizer.special_tokens.get("mask_token")
    mask_id = None if text is None else tokenizer.backend.id_of(text)
    if mask_id is None:
        raise UsageError(
            f"{tokenizer.name} has no mask token, so nothing can be hidden from it.",
            "Use an encoder such as a BERT or RoBERTa; decoders learn with the task causal-lm.",
        )
    usual = array("i", (token for token in range(tokenizer.vocab_size) if token not in tokenizer.special_ids))
    frame = frozenset(tokenizer.special_ids) - {tokenizer.unk_id}
    return Masking(probability, mask, random, whole_words, mask_id, usual, frozenset(t for t in frame if t is not None))


def fixed(ids: Sequence[int]) -> tuple[int, ...]:
    """The key of held-out IDS: the same tokens are always hidden in the same way."""
    return (zlib.crc32(array("i", ids).tobytes()),)


def _by_word(places: Sequence[int], words: Sequence[int]) -> list[list[int]]:
    units: list[list[int]] = []
    last = None
    for place in places:
        if units and words[place] >= 0 and words[place] == last and units[-1][-1] == place - 1:
            units[-1].append(place)
        else:
            units.append([place])
        last = words[place]
    return units


@dataclass
class MaskedSet(RowSet):
    """A `RowSet` whose rows are hidden anew in each epoch: see `at`."""

    masking: Masking | None = None
    key: tuple[int, int] = field(default=(0, 0))

    def at(self, seed: int, epoch: int) -> None:
        """From now on rows are as training with SEED sees them in EPOCH."""
        self.key = (seed, epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = super().__getitem__(index)
        assert self.masking is not None
        hidden, labels = self.masking.apply(row["input_ids"], row.get("words"), (*self.key, index % len(self)))
        return {"input_ids": hidden, "labels": labels}
