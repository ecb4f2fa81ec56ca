"""What a model's own files tell of it, without loading it: kind, parameters, how much it can read. No torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line, size
from ftstudio.data.tokenizer import model_folder
from ftstudio.engine.compatibility import model_config, model_limit

LONGEST_HEADER = 100 << 20  # bytes: safetensors' own limit


@dataclass(frozen=True)
class Facts:
    """`parameters` is None where the weights aren't here yet (a hub id that was never fetched)."""

    architecture: str
    parameters: int | None
    context: int | None
    layers: int | None
    width: int | None
    vocabulary: int | None
    bytes: int
    chat: bool
    note: str = ""

    @property
    def lines(self) -> list[tuple[str, str]]:
        """(name, value) of what is known."""
        found = [("kind", self.architecture)]
        if self.parameters is not None:
            found.append(("parameters", f"{self.parameters:,}  ({size(self.bytes)} on disk)"))
        else:
            found.append(("parameters", "not known before the weights are fetched"))
        if self.context:
            found.append(("reads", f"{self.context:,} tokens at once (its context)"))
        if self.layers and self.width:
            found.append(("layers", f"{self.layers} of width {self.width:,}"))
        if self.vocabulary:
            found.append(("vocabulary", f"{self.vocabulary:,} tokens"))
        found.append(("chat format", "its own" if self.chat else "none: plain text"))
        return found


def facts(model: str) -> Facts:
    """What is known of MODEL (a folder, `demo` or a hub id). Raises StudioError: no such model, offline, no config."""
    config = model_config(model)
    folder, _ = model_folder(model)
    parameters, weight = _weights(folder)
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    names = config.get("architectures")
    kind = names[0] if isinstance(names, list) and names else config.get("model_type", "unknown")
    chat = (folder / "chat_template.jinja").is_file() or _mentions_chat(folder)
    return Facts(
        one_line(kind, 60),
        parameters,
        model_limit(config),
        _whole(text, "num_hidden_layers", "n_layer", "num_layers"),
        _whole(text, "hidden_size", "n_embd", "d_model"),
        _whole(text, "vocab_size"),
        weight,
        chat,
    )


def _whole(config: Any, *names: str) -> int | None:
    for name in names:
        value = (config or {}).get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _mentions_chat(folder: Path) -> bool:
    try:
        return '"chat_template"' in (folder / "tokenizer_config.json").read_text("utf-8", "replace")
    except OSError:
        return False


def _weights(folder: Path) -> tuple[int | None, int]:
    """(parameters, bytes) of the safetensors files in FOLDER, from their headers alone."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        return None, 0
    parameters = weight = 0
    try:
        for path in found:
            header = _header(path)
            weight += path.stat().st_size
            for name, tensor in header.items():
                if name != "__metadata__":
                    parameters += math.prod(tensor["shape"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, weight
    return parameters, weight


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: 8 bytes of its length, then JSON (the format's own description)."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError("no safetensors file")
        value = json.loads(file.read(length))
    if not isinstance(value, dict):
        raise ValueError("no safetensors file")
    return value


def explain(error: BaseException) -> str:
    """ERROR for a person."""
    return str(error) if isinstance(error, StudioError) else f"{type(error).__name__}: {error}"
