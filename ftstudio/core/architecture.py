"""Changes to the model beside the method: tokens it doesn't have, layers it goes without, a head that begins anew."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LayerWords = str | tuple[int, ...] | None
_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_FEW = re.compile(r"(first|last)\s+(\d+)")
_EVERY = re.compile(r"every\s+(\d+)(?:st|nd|rd|th)?")
_HOW = "numbers from 0 such as [4, 5], or 4-7, last 2, every 2"


class Architecture(BaseModel):
    """What of the model itself is changed before it learns. Left out: nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    new_tokens: tuple[str, ...] = Field(
        (), description="tokens added to the vocabulary, such as [<call>, </call>]: the embeddings grow by a row each"
    )
    new_tokens_begin: Literal["pieces", "mean"] = Field(
        "pieces", description="what a new token's row begins as: the mean of its old pieces, or of all rows"
    )
    drop_layers: LayerWords = Field(None, description=f"layers left out (of an encoder-decoder: the decoder's): {_HOW}")
    drop_encoder_layers: LayerWords = Field(None, description="layers left out of an encoder-decoder's encoder")
    new_head: bool = Field(
        False, description="a classifier's or tagger's head begins anew, even where the model has one for these labels"
    )

    @field_validator("new_tokens", mode="before")
    @classmethod
    def _tokens(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if isinstance(value, (list, tuple)):
            texts = [str(part) for part in value]
            if any(not text.strip() for text in texts):
                raise ValueError("a token must not be empty")
            twice = next((text for text in texts if texts.count(text) > 1), None)
            if twice is not None:
                raise ValueError(f"{twice!r} stands there twice")
            return tuple(texts)
        return value

    @field_validator("drop_layers", "drop_encoder_layers", mode="before")
    @classmethod
    def _layers(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(_HOW)
        if isinstance(value, int):
            value = (value,)
        if isinstance(value, str):
            if not value.strip():
                return None
            if not _words(value):
                raise ValueError(_HOW)
            return value.strip()
        if isinstance(value, (list, tuple)):
            if not value:
                return None
            if any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in value):
                raise ValueError(_HOW)
            return tuple(sorted(set(value)))
        return value

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return bool(self.new_tokens or self.drop_layers or self.drop_encoder_layers or self.new_head)


def _words(text: str) -> bool:
    if _FEW.fullmatch(text.strip()) or _EVERY.fullmatch(text.strip()):
        return True
    return all(_RANGE.fullmatch(part.strip()) for part in text.split(","))


def layers(wanted: LayerWords, count: int) -> tuple[int, ...]:
    """Which of COUNT layers WANTED means, from 0 on. Raises ValueError where one isn't there, or none would be left.

    `every 2` leaves out the second of every two, so the first layer stays; of `every 2` of 12 these are 1, 3, … 11.
    """
    if not wanted:
        return ()
    if isinstance(wanted, str):
        text = wanted.strip()
        few, every = _FEW.fullmatch(text), _EVERY.fullmatch(text)
        if few:
            some = min(int(few[2]), count + 1)
            found = list(range(some)) if few[1] == "first" else list(range(count - some, count))
        elif every:
            step = int(every[1])
            if step < 2:
                raise ValueError("every 1 is all of them")
            found = list(range(step - 1, count, step))
        else:
            found = []
            for part in text.split(","):
                match = _RANGE.fullmatch(part.strip())
                assert match is not None
                first, last = int(match[1]), int(match[2] or match[1])
                if last < first or last > 100_000:
                    raise ValueError(f"{part.strip()} is no range of layers")
                found += range(first, last + 1)
    else:
        found = list(wanted)
    chosen = tuple(sorted(set(found)))
    if chosen and (chosen[0] < 0 or chosen[-1] >= count):
        gone = next(one for one in chosen if one < 0 or one >= count)
        raise ValueError(f"there is no layer {gone}: the model has layers 0 to {count - 1}")
    if len(chosen) >= count:
        raise ValueError(f"at least one of the {count} layers must stay")
    return chosen
