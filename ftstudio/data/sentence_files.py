"""What a sentence-transformers folder says of its model: which modules make one vector of a text. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core import files

MODULES, LENGTH, CONFIG = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
AFTER = ("Pooling", "Dense", "Normalize", "LayerNorm", "Dropout")
"""Modules behind the transformer that are understood here."""


@dataclass(frozen=True)
class Module:
    """One module: its `kind` (the class, such as Pooling) and the folder it keeps its files in (empty: the model's)."""

    kind: str
    path: str


def modules(folder: Path) -> list[Module]:
    """The modules of the model in FOLDER, in order; empty where it is no sentence-transformers folder."""
    found = files.read_json(folder / MODULES)
    entries = (
        sorted((entry for entry in found if isinstance(entry, dict)), key=_place) if isinstance(found, list) else []
    )
    return [Module(str(entry.get("type", "")).rpartition(".")[2], str(entry.get("path", ""))) for entry in entries]


def _place(entry: dict[str, Any]) -> int:
    place = entry.get("idx", 0)
    return place if isinstance(place, int) else 0


def fault(folder: Path) -> str:
    """Why the model in FOLDER can't be trained as it is, as the end of a sentence; empty where it can."""
    parts = modules(folder)
    if not parts:
        return ""
    if parts[0].kind != "Transformer":
        return f"its first module is a {parts[0].kind}, not a transformer"
    if parts[0].path:
        return f"its transformer lies in the folder {parts[0].path} and not beside modules.json"
    odd = [part.kind for part in parts[1:] if part.kind not in AFTER]
    if odd:
        return f"it has a module {odd[0]}, and only {', '.join(AFTER)} are understood behind the transformer"
    outside = [part.path for part in parts if Path(part.path).is_absolute() or ".." in Path(part.path).parts]
    if outside:
        return f"a module of it lies outside its folder ({outside[0]})"
    if not any(part.kind == "Pooling" for part in parts):
        return "it has no pooling: it gives a vector a token, not one a text"
    return ""


def longest(folder: Path) -> int | None:
    """How many tokens of a text the model in FOLDER reads, as its own settings say; None where they don't."""
    found = files.read_json(folder / LENGTH)
    value = found.get("max_seq_length") if isinstance(found, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
