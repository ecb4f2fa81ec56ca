"""Where a model's files are: the bundled one, a folder, or the hub. No torch."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.workspace import in_trash
from ftstudio.demo import MODEL as DEMO
from ftstudio.engine.weights import header, weight_files

_HUB_ID = re.compile(r"^[\w.\-]+/[\w.\-]+$|^[\w.\-]+$")
# what a model needs; weights as safetensors only: a pickle may run code when it is read
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class Located:
    """A model's folder on this machine, and the name under which others find it (hub id, or the folder)."""

    folder: Path
    name: str


def locate(model: str, *, weights: bool = True) -> Located:
    """The folder that holds MODEL: `demo`, a folder, or a hub id (fetched when it isn't here yet).

    With WEIGHTS false only configuration and tokenizer are asked for. Raises StudioError: no such model, offline,
    access refused, weights missing, damaged or pickled.
    """
    if model == "demo":
        return Located(_checked(DEMO, model, weights), str(DEMO))
    path = Path(model).expanduser()
    if path.is_dir():
        return Located(_checked(path.absolute(), model, weights), str(path.absolute()))
    if path.is_file():
        raise StudioError(f"{model} is a file, not a model.", "Name the folder that holds its config.json.")
    if model.startswith((".", "/", "~")) or not _HUB_ID.match(model):
        if (lies := in_trash(path.absolute())) is not None:
            run = lies.parent if lies.name == "model" else lies
            raise StudioError(
                f"There is no model at {model}: its run was deleted, and lies in {run}.",
                f"Move that folder back to {path.parent if lies.name == 'model' else path}.",
            )
        raise StudioError(f"There is no model at {model}.", _near(path))
    folder = _from_hub(model, weights)
    return Located(_checked(folder, model, weights), model)


def state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, bytes and last change of each file in FOLDER: what was found out of them holds while these do."""
    found = []
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(OSError):  # gone by now
            if path.is_file():
                seen = path.stat()
                found.append((path.name, seen.st_size, seen.st_mtime_ns))
    return tuple(found)


def _near(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return "Check the path; it is relative to where you are. `demo` is the bundled model."
    near = difflib.get_close_matches(path.name, names, 1, 0.5)
    if near:
        return f"Did you mean {path.parent / near[0]}?"
    return "Check the path; it is relative to where you are. `demo` is the bundled model."


def _checked(folder: Path, model: str, weights: bool) -> Path:
    config = folder / "config.json"
    if not config.is_file():
        raise StudioError(f"{model} holds no model: there is no config.json.", "Name a model's folder, or a hub id.")
    try:
        json.loads(config.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StudioError(f"{config} can't be read as JSON.", "Fetch the model again.") from error
    if weights:
        for path in weight_files(folder, model):
            header(path)
    return folder


def _from_hub(model: str, weights: bool) -> Path:
    """The snapshot of MODEL in the hub's cache; fetched first where the hub may be asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    patterns = [pattern for pattern in _WANTED if weights or not pattern.endswith("safetensors")]
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    local = "Name a folder that holds the model; `demo` is the bundled one."
    if not offline:
        try:
            return Path(snapshot_download(model, allow_patterns=patterns))
        except GatedRepoError as error:
            raise StudioError(
                f"Access to {model} must be asked for on its hub page.", "Then log in with `hf auth login`."
            ) from error
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise StudioError(
                f"There is no model {model!r}: no such folder here, and the hub knows none (or it is private).", local
            ) from error
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
            pass  # no network: what an earlier fetch left may do
    try:
        return Path(snapshot_download(model, allow_patterns=patterns, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        why = "the hub is switched off (HF_HUB_OFFLINE)" if offline else "the hub can't be reached"
        raise StudioError(
            f"There is no model {model!r}: no such folder here, it was never fetched, and {why}.", local
        ) from error
