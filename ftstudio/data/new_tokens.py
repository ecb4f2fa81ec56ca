"""Tokens that a recipe adds to a model's vocabulary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError


def extend(inner: Any, new: Sequence[str], name: str) -> None:
    """Give INNER (of `tokenizers`), the tokenizer of model NAME, the tokens NEW: plain text that is never cut, and that
    stays in answers. Raises StudioError where one of them is a token already."""
    from tokenizers import AddedToken

    known = next((text for text in new if inner.token_to_id(text) is not None), None)
    if known is not None:
        raise StudioError(
            f"architecture.new_tokens: {known!r} is a token of {name} already.", "Leave it out: it works as it is."
        )
    inner.add_tokens([AddedToken(text, special=False, normalized=False) for text in new])


def save_extended(model: str | os.PathLike[str], new: Sequence[str], path: Path) -> None:
    """Write MODEL's tokenizer with the tokens NEW as the tokenizer.json PATH."""
    from ftstudio.data.tokenizer import load_tokenizer

    load_tokenizer(model, new=new).backend.inner.save(str(path))  # type: ignore[attr-defined]
