"""The tokenizer beside a saved model, so that transformers and peft load the folder as it stands."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ftstudio.data.new_tokens import save_extended
from ftstudio.data.tokenizer import TOOL_TEMPLATE

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    TOOL_TEMPLATE,
)


def copy_tokenizer(source: Path, folder: Path, new_tokens: Sequence[str]) -> None:
    """The tokenizer's files of the model in SOURCE into FOLDER, with NEW_TOKENS. Raises OSError."""
    for name in TOKENIZER:
        if (source / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)
    if new_tokens:
        save_extended(source, new_tokens, folder / "tokenizer.json")
