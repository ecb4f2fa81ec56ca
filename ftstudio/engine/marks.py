"""What tells the files of a model from others: so that nothing that was read or answered before passes for theirs."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from ftstudio.data.sentence_files import CONFIG, LENGTH, MODULES
from ftstudio.data.tokenizer import FILES as READ
from ftstudio.demo import MODEL as DEMO
from ftstudio.engine import hub_cache
from ftstudio.tasks.picture_reader import FILES as PICTURES

_WEIGHTS = ("*.safetensors", "adapter_config.json", "config.json")
_VECTORS = (MODULES, LENGTH, CONFIG, "[0-9]*_*/*.json", "[0-9]*_*/*.safetensors")  # small: a layer at most
_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")

Stamp = tuple[tuple[str, int, int], ...]
"""The folder, and of each of its files the name, size and time of writing (ns)."""


def weights_mark(folder: Path) -> list[list[Any]]:
    """Which files of weights lie in FOLDER: name, size, time of writing (ns)."""
    found = []
    for pattern in _WEIGHTS:
        for path in sorted(folder.glob(pattern)):
            stat = path.stat()
            found.append([path.name, stat.st_size, stat.st_mtime_ns])
    return found


def texts_mark(folder: Path, tuned: Path | None = None) -> str:
    """A hash of what makes ids of texts and numbers of pictures in the model's FOLDER, of what makes one vector of a
    text, and of what says where an answer ends, there and in the folder of the TUNED model: tokenizer, chat template,
    processor, modules of an embedding model, generation settings."""
    found = hashlib.blake2b(digest_size=10)
    names = [name for name in READ if name != "config.json"]  # that one goes with the weights
    paths = {path for name in (*names, *PICTURES, *_VECTORS) for path in folder.glob(name)}
    for path in [*sorted(paths), *([tuned / "generation_config.json"] if tuned is not None else [])]:
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            found.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def stamp(model: str | Path) -> Stamp:
    """The files of MODEL (as a recipe names it, or a folder) as they lie on this machine now; the hub isn't asked, and
    nothing is read. Empty where it isn't here."""
    folder = folder_of(model)
    if folder is None:
        return ()
    found = [(str(folder), 0, 0)]
    # the modules of an embedding model lie in folders of their own: 1_Pooling, 2_Dense
    for pattern in _FILES:
        for path in (*folder.glob(pattern), *folder.glob(f"[0-9]*_*/{pattern}")):
            with contextlib.suppress(OSError):
                stat = path.stat()
                found.append((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def folder_of(model: str | Path) -> Path | None:
    """Where the files of MODEL lie on this machine; None where they don't. The hub isn't asked."""
    if model == "demo":
        return DEMO
    path = Path(model).expanduser()
    return path if path.is_dir() else hub_cache.snapshot_of(str(model))
