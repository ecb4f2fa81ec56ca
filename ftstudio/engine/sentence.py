"""From an encoder's hidden states to one vector a text, as sentence-transformers does it: with its own modules.

What a model's folder says (modules.json) is what happens; a plain encoder's is the mean over its tokens. The modules
lie inside the loaded model as `ftstudio_sentence`, so that a dense layer among them learns with the rest, and are saved
in sentence-transformers' form beside the transformer's weights.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.data import sentence_files
from ftstudio.data.sentence_files import CONFIG, LENGTH, MODULES

NAME = "ftstudio_sentence"


class Sentence(nn.Module):
    """What follows the transformer: PARTS (folder, module of sentence-transformers), the pooling first."""

    def __init__(self, parts: list[tuple[str, nn.Module]], more: dict[str, Any], folder: Path) -> None:
        super().__init__()
        self.folder = folder
        """Where they come from."""
        self.paths = [path for path, _ in parts]
        self.parts = nn.ModuleList(module for _, module in parts)
        self.more = more
        """What the transformer is called with beside ids and mask."""

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The vectors [texts, width] in 32 bits of HIDDEN states [texts, tokens, width]; MASK is 0 at padding."""
        features: dict[str, Any] = {"token_embeddings": hidden.float(), "attention_mask": mask}
        for part in self.parts:
            features = part(features)
        found: torch.Tensor = features["sentence_embedding"]
        return found.float()

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        for part in reversed(self.parts):
            if hasattr(part, "out_features"):
                return int(part.out_features)
            if hasattr(part, "pooling_output_dimension"):
                return int(part.pooling_output_dimension)
        raise AttributeError("no module tells the width of a vector")


def attach(model: Any, folder: Path, pooling: str = "") -> None:
    """Give MODEL, loaded from FOLDER, the modules that its folder names; POOLING overrides how they pool. Raises
    StudioError for modules that aren't understood."""
    from sentence_transformers.sentence_transformer import modules as kinds

    why = sentence_files.fault(folder)
    if why:
        raise StudioError(f"{folder.name} can't be trained as an embedding model: {why}.", "Use another model.")
    parts: list[tuple[str, nn.Module]] = []
    width = model.config.get_text_config().hidden_size
    for module in sentence_files.modules(folder)[1:]:
        if module.kind == "Pooling" and pooling:
            parts.append((module.path or "1_Pooling", kinds.Pooling(width, pooling)))
            continue
        try:
            made = getattr(kinds, module.kind).load(str(folder), subfolder=module.path, local_files_only=True)
        except (OSError, ValueError, TypeError, KeyError) as error:
            text = " ".join(str(error).split())[:160]
            raise StudioError(
                f"{folder.name}: its module {module.kind} can't be read ({text}).", "Fetch the model again."
            ) from error
        parts.append((module.path, made))
    if not parts:
        parts = [("1_Pooling", kinds.Pooling(width, pooling or "mean"))]
    knows = inspect.signature(model.forward).parameters
    sentence = Sentence(parts, {"use_cache": False} if "use_cache" in knows else {}, folder)
    model.add_module(NAME, sentence.to(next(model.parameters()).device).eval())


def of(model: Any) -> Sentence | None:
    """The modules behind the transformer of MODEL, also of a wrapped one; None where it has none."""
    found = getattr(model, NAME, None)
    return found if isinstance(found, Sentence) else None


def own_weights(state: dict[str, Any]) -> dict[str, Any]:
    """Of a STATE dict what belongs to the transformer itself."""
    return {name: value for name, value in state.items() if not name.startswith(f"{NAME}.")}


def save(model: Any, folder: Path) -> None:
    """Write beside the weights in FOLDER what sentence-transformers needs to load them: the modules of MODEL, and the
    settings that stand beside its base. A model of another kind has none."""
    sentence = of(model)
    if sentence is None:
        return
    source = sentence.folder
    from sentence_transformers.sentence_transformer.modules import Transformer

    entries = [{"idx": 0, "name": "0", "path": "", "type": _name(Transformer)}]
    for place, (path, part) in enumerate(zip(sentence.paths, sentence.parts, strict=True), 1):
        entries.append({"idx": place, "name": str(place), "path": path, "type": _name(type(part))})
        (folder / path).mkdir(parents=True, exist_ok=True)
        part.save(str(folder / path))
    files.write_json(folder / MODULES, entries)
    settings = files.read_json(source / LENGTH)
    settings = dict(settings) if isinstance(settings, dict) else {"do_lower_case": False}
    files.write_json(folder / LENGTH, settings)
    more = files.read_json(source / CONFIG)
    if isinstance(more, dict):
        (folder / CONFIG).write_text(json.dumps(more, indent=2), "utf-8")


def limit(folder: Path, max_length: int) -> None:
    """Let the model saved in FOLDER read MAX_LENGTH tokens of a text."""
    settings = files.read_json(folder / LENGTH)
    if isinstance(settings, dict):
        files.write_json(folder / LENGTH, {**settings, "max_seq_length": max_length})


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def restore(model: Any, folder: Path) -> list[str]:
    """Put the weights of the modules that were saved in FOLDER, a checkpoint, back into MODEL; those it lacks."""
    sentence = of(model)
    if sentence is None:
        return []
    from safetensors.torch import load_file

    lacking = []
    for path, part in zip(sentence.paths, sentence.parts, strict=True):
        weights = folder / path / "model.safetensors"
        if not any(True for _ in part.parameters()):
            continue
        if weights.is_file():
            part.load_state_dict(load_file(weights))
        else:
            lacking.append(f"{path}/{weights.name}")
    return lacking
