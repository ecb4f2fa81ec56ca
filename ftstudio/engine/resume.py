"""Checkpoints that can be trusted: written beside, sealed with the hashes of their files, then renamed into place."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ftstudio.core import files

SEAL = "complete.json"
SAVING = ".saving"
_NAME = re.compile(r"checkpoint-(\d+)$")


def seal(folder: Path, **facts: Any) -> None:
    """Write `complete.json` into FOLDER: size and hash of every file, all on the disk by then. FACTS go along."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEAL:
            found[str(path.relative_to(folder))] = {"size": path.stat().st_size, "blake2b": _digest(path, sync=True)}
    files.write_json(folder / SEAL, {**facts, "files": found})


def _digest(path: Path, sync: bool = False) -> str:
    digest = hashlib.blake2b(digest_size=20)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        if sync:
            os.fsync(file.fileno())
    return digest.hexdigest()


def step_of(folder: Path) -> int:
    """The step of a checkpoint, from its name; -1 where it is none."""
    match = _NAME.match(folder.name)
    return int(match.group(1)) if match else -1


def is_complete(folder: Path, *, hashes: bool = True) -> bool:
    """Whether all files that FOLDER's seal names are there, of the right size and, with HASHES, content."""
    value = files.read_json(folder / SEAL)
    if not isinstance(value, dict) or not isinstance(value.get("files"), dict):
        return False
    try:
        for name, facts in value["files"].items():
            path = folder / name
            if path.stat().st_size != facts["size"] or (hashes and _digest(path) != facts["blake2b"]):
                return False
    except (OSError, KeyError, TypeError):
        return False
    return True


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints in FOLDER that hold a seal, the newest first. Contents are not read."""
    try:
        found = [path for path in folder.iterdir() if step_of(path) >= 0 and (path / SEAL).is_file()]
    except OSError:
        return []
    return sorted(found, key=step_of, reverse=True)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint in FOLDER whose files are all intact; None where there is none."""
    return next((path for path in checkpoints(folder) if is_complete(path)), None)


def facts(folder: Path) -> dict[str, Any]:
    """What was said at sealing beside the files."""
    value = files.read_json(folder / SEAL)
    return {key: item for key, item in value.items() if key != "files"} if isinstance(value, dict) else {}


def settle(saving: Path, target: Path) -> None:
    """Move the sealed SAVING to TARGET; what stood there before (the same step, saved again) goes."""
    if target.exists():
        shutil.rmtree(target)
    os.replace(saving, target)


def size(folder: Path) -> int:
    """Bytes of the newest checkpoint in FOLDER, as its seal says; 0 where there is none."""
    for path in checkpoints(folder)[:1]:
        value = files.read_json(path / SEAL)
        if isinstance(value, dict) and isinstance(value.get("files"), dict):
            return sum(int(facts.get("size") or 0) for facts in value["files"].values())
    return 0


def best(folder: Path) -> Path | None:
    """The checkpoint in FOLDER with the lowest held-out loss, of those that were evaluated; None where none was."""
    judged = [(facts(path).get("eval_loss"), path) for path in checkpoints(folder)]
    known = [(loss, path) for loss, path in judged if isinstance(loss, (int, float))]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest KEEP checkpoints and the best one, and what an interrupted save left."""
    kept = best(folder)
    for path in checkpoints(folder)[keep:]:
        if path == kept:
            continue
        (path / SEAL).unlink(missing_ok=True)  # first: half a checkpoint must not pass as a whole one
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder / SAVING, ignore_errors=True)
