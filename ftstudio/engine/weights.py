"""Are a model's weight files whole? Told from their headers alone, in milliseconds and without torch.

A safetensors file is: 8 bytes, the header's length n (little endian); n bytes of JSON, name → {dtype, shape,
data_offsets}; the tensors, whose offsets count from there (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.text import size as bytes_text

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_LONGEST_HEADER = 100_000_000  # bytes: what the library itself accepts
_PIECES, _PIECE = 64, 16 << 10  # of each file, and bytes of each
_POINTER = b"version https://git-lfs"
_AGAIN = "Fetch the model again."


def weight_files(folder: Path, model: str) -> list[Path]:
    """The safetensors files that transformers reads from FOLDER, all there. Raises StudioError naming what is missing.

    MODEL is what the person calls it.
    """
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if (folder / INDEX).is_file():
        index = files.read_json(folder / INDEX)
        parts = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(parts, dict) or not parts:
            raise StudioError(f"{folder / INDEX} can't be read.", _AGAIN)
        names = sorted({str(name) for name in parts.values()})
        gone = [name for name in names if not (folder / name).is_file()]
        if gone:
            raise StudioError(f"{model} lacks {len(gone)} of its {len(names)} weight files ({gone[0]}).", _AGAIN)
        return [folder / name for name in names]
    others = sorted(entry.name for entry in folder.glob("*.safetensors"))
    if others:
        raise StudioError(
            f"{model} holds {others[0]}, but no {WHOLE}: which weights are meant can't be told.",
            f"Rename the file to {WHOLE}.",
        )
    pickled = [entry.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for entry in sorted(folder.glob(pattern))]
    if pickled:
        raise StudioError(
            f"{model} holds its weights as {pickled[0]}, a pickle that may run code when read.",
            "Use a model with .safetensors weights, or convert it first.",
        )
    raise StudioError(f"{model} holds no weights (*.safetensors).", _AGAIN)


def shapes(folder: Path, model: str) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor in FOLDER's weight files. Raises StudioError where one is missing or not whole."""
    found: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder, model):
        for name, facts in header(path).items():
            found[name] = tuple(int(length) for length in facts["shape"])
    return found


def whole(folder: Path) -> bool:
    """Whether FOLDER holds a saved model or adapter whose weight files are not cut off."""
    adapter = folder / "adapter_model.safetensors"
    try:
        for path in [adapter] if (folder / "adapter_config.json").exists() else weight_files(folder, str(folder)):
            header(path)
    except StudioError:
        return False
    return True


def mark(folder: Path, model: str) -> str:
    """Stands for the weights in FOLDER wherever it lies and whenever they were written: sizes, headers and pieces of
    the contents, so that it takes no time. Raises StudioError where files are missing."""
    found = hashlib.blake2b(digest_size=12)
    for path in weight_files(folder, model):
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                found.update(f"{path.name}\0{size}\0".encode())
                for piece in range(_PIECES):
                    file.seek(piece * max(_PIECE, size // _PIECES))
                    found.update(file.read(_PIECE))
                file.seek(max(0, size - _PIECE))
                found.update(file.read(_PIECE))
        except OSError as error:
            raise files.explain(error, path) from error
    return found.hexdigest()


def header(path: Path) -> dict[str, dict[str, Any]]:
    """The header of the safetensors file PATH. Raises StudioError where the file is cut off or something else."""
    try:
        with open(path, "rb") as file:
            there = os.fstat(file.fileno()).st_size
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if _POINTER.startswith(head) and len(head) == 8:
                raise StudioError(f"{path} is a pointer of Git LFS, not the weights.", "Run `git lfs pull` there.")
            if len(head) < 8 or not 2 <= length <= min(_LONGEST_HEADER, there - 8):
                raise StudioError(f"{path} holds no weights: it is empty, cut off or of another format.", _AGAIN)
            value = json.loads(file.read(length))
    except OSError as error:
        raise files.explain(error, path) from error
    except ValueError as error:
        raise StudioError(f"{path} holds no weights: its header can't be read.", _AGAIN) from error
    try:
        tensors = {str(name): facts for name, facts in value.items() if name != "__metadata__"}
        end = 8 + length + max((int(facts["data_offsets"][1]) for facts in tensors.values()), default=0)
        for facts in tensors.values():
            tuple(int(part) for part in facts["shape"])
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise StudioError(f"{path} holds no weights: its header can't be read.", _AGAIN) from error
    if end != there:
        raise StudioError(f"{path} is damaged: it has {bytes_text(there)} and should have {bytes_text(end)}.", _AGAIN)
    return tensors
