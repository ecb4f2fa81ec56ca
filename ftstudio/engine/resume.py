"""Checkpoints that can be trusted: written beside, sealed with the hashes of their files, then renamed into place."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.engine import same_rows

SEAL = "complete.json"
SAVING = ".saving"
ASIDE = "aside-"  # with its step: a checkpoint that isn't gone on from any more
_NAME = re.compile(r"checkpoint-(\d+)$")


def seal(folder: Path, **facts: Any) -> None:
    """Write `complete.json` into FOLDER: size and hash of every file, all on the disk by then. FACTS go along."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEAL:
            found[str(path.relative_to(folder))] = {"size": path.stat().st_size, "blake2b": _digest(path, sync=True)}
    files.write_json(folder / SEAL, {**facts, "files": found})


def add_judgement(folder: Path, told: Mapping[str, Any]) -> None:
    """Let the seal of FOLDER tell its held-out loss, as `seal` would have been TOLD it: its files stay as they are.
    Raises StudioError where it can't be written."""
    value = files.read_json(folder / SEAL)
    if isinstance(value, dict) and _finite(told.get("eval_loss")) and {**value, **told} != value:
        files.write_json(folder / SEAL, {**value, **told})


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


def has_any(folder: Path) -> bool:
    """Whether FOLDER holds a checkpoint, or one that was being put in place when its process was killed."""
    return bool(checkpoints(folder)) or (folder / SAVING).is_dir()


def newest(folder: Path, below: int | None = None) -> Path | None:
    """The newest checkpoint in FOLDER whose files are all intact, with BELOW of those before that step; None where
    there is none."""
    return next((path for path in checkpoints(folder) if _before(path, below) and is_complete(path)), None)


def _before(path: Path, step: int | None) -> bool:
    return step is None or step_of(path) < step


def facts(folder: Path) -> dict[str, Any]:
    """What was said at sealing beside the files."""
    value = files.read_json(folder / SEAL)
    return {key: item for key, item in value.items() if key != "files"} if isinstance(value, dict) else {}


def settle(saving: Path, target: Path) -> None:
    """Move the sealed SAVING to TARGET. What stood there before (the same step, saved again) goes once it is there."""
    old = _put_aside(target) if target.exists() else None
    os.replace(saving, target)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _put_aside(path: Path) -> Path:
    aside = path.with_name(f"{ASIDE}{step_of(path)}")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(path, aside)
    return aside


def adopt(folder: Path) -> None:
    """Put in place what a process wrote whole and sealed in FOLDER, but was killed before it had moved it there."""
    for path in (folder / SAVING).glob("checkpoint-*"):
        target = folder / path.name
        if step_of(path) >= 0 and is_complete(path) and not is_complete(target):
            settle(path, target)


def set_aside(folder: Path, after: int) -> list[Path]:
    """Checkpoints in FOLDER of steps beyond AFTER are none any more: damaged, or of a way that wasn't gone on. Where
    they were left in place, they would pass for newer than those that the run is about to write.

    They stay beside, as `aside-<n>`, until the run has come as far again (see `prune`) or the disk is short of room.
    """
    return [_put_aside(path) for path in checkpoints(folder) if step_of(path) > after]


def drop_aside(folder: Path, until: int | None = None) -> bool:
    """Remove what was set aside in FOLDER, with UNTIL up to that step. Whether there was any."""
    found = [path for path in folder.glob(f"{ASIDE}*") if until is None or _aside_step(path) <= until]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return bool(found)


def _aside_step(path: Path) -> int:
    number = path.name.removeprefix(ASIDE)
    return int(number) if number.isdecimal() else sys.maxsize


def size(folder: Path) -> int:
    """Bytes of the newest checkpoint in FOLDER, as its seal says; 0 where there is none."""
    for path in checkpoints(folder)[:1]:
        value = files.read_json(path / SEAL)
        if isinstance(value, dict) and isinstance(value.get("files"), dict):
            return sum(int(facts.get("size") or 0) for facts in value["files"].values())
    return 0


def best(folder: Path, below: int | None = None, *, hashes: bool = False, on: str = "") -> Path | None:
    """The whole checkpoint in FOLDER with the lowest held-out loss, of those that were evaluated (with BELOW: before
    that step) on the rows that ON stands for (see `same_rows`; empty: as the newest of them); None where none was. With
    HASHES contents are read, too."""
    told = [(facts(path), path) for path in checkpoints(folder) if _before(path, below)]
    judged = [(told, path) for told, path in told if _finite(told.get("eval_loss"))]
    on = on or next((str(told[same_rows.KEY]) for told, _ in judged if told.get(same_rows.KEY)), "")
    known = [(told["eval_loss"], path) for told, path in judged if same_rows.alike(told, on)]
    known.sort(key=lambda pair: pair[0])
    return next((path for _, path in known if is_complete(path, hashes=hashes)), None)


def _finite(loss: Any) -> bool:
    return isinstance(loss, (int, float)) and math.isfinite(loss)


def good(folder: Path, step: int, *, rising: bool, on: str = "") -> Path | None:
    """The checkpoint in FOLDER to go back to from STEP, where something went wrong; None where there is none.

    One that was written at STEP holds what is wrong. Where the held-out loss (ON: see `best`) was RISING, so do those
    since it was best.
    """
    lowest = best(folder, below=step, hashes=True, on=on) if rising else None
    return lowest or newest(folder, below=step)


def prune(folder: Path, keep: int, written: Path | None = None) -> None:
    """Remove all but the newest KEEP checkpoints, the best one and the one just WRITTEN; what was set aside and is
    made up for by that; and what an interrupted save left."""
    kept = {best(folder), written}
    for path in checkpoints(folder)[keep:]:
        if path in kept:
            continue
        (path / SEAL).unlink(missing_ok=True)  # first: half a checkpoint must not pass as a whole one
        shutil.rmtree(path, ignore_errors=True)
    if written is not None:
        drop_aside(folder, step_of(written))
    shutil.rmtree(folder / SAVING, ignore_errors=True)
