"""What the decoder of a saved encoder-decoder begins with, in the files that transformers' own `generate` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.data.framing import Frame

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"


def save(model: Any, folder: Path, after: Frame, languages: dict[str, str | None]) -> None:
    """Write into FOLDER that MODEL begins an answer as it was trained to: with the language of AFTER as the decoder's
    start (mBART) or as the first token it must write (mBART-50, NLLB, M2M100); LANGUAGES (`src_lang`, `tgt_lang`) into
    the tokenizer's settings. Beside an adapter, the base's settings of generation stand with that changed.
    """
    changed = {"decoder_start_token_id": after.start, "forced_bos_token_id": after.forced}
    changed = {name: token for name, token in changed.items() if token is not None}
    own = getattr(model, "generation_config", None)
    if changed and own is not None:
        there = files.read_json(folder / GENERATION) or json.loads(own.to_json_string())
        files.write_json(folder / GENERATION, {**there, **changed})
    into_config(folder)
    named = {name: language for name, language in languages.items() if language is not None}
    there = files.read_json(folder / TOKENIZER)
    if named and isinstance(there, dict):
        files.write_json(folder / TOKENIZER, {**there, **named})


def into_config(folder: Path) -> None:
    """Let config.json of the whole model in FOLDER say of the decoder's beginning what its settings of generation say;
    nothing where one of them isn't there."""
    config, wanted = files.read_json(folder / CONFIG), files.read_json(folder / GENERATION)
    if not isinstance(config, dict) or not isinstance(wanted, dict) or not config.get("is_encoder_decoder"):
        return
    start = wanted.get("decoder_start_token_id")  # what must be written first is a setting of generation alone
    if start is not None and config.get("decoder_start_token_id") != start:
        files.write_json(folder / CONFIG, {**config, "decoder_start_token_id": start})
