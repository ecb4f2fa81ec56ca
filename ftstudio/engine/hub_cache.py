"""Models that lie in the hub's cache on this machine: found by looking at folders, without the network.

The cache is `models--OWNER--NAME/snapshots/COMMIT/…`, the files being links into `blobs/` (huggingface_hub, "Understand
caching").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.text import one_line, size

MOST = 500  # models looked at: a shared cache may hold thousands
_PREFIX = "models--"


@dataclass(frozen=True)
class Cached:
    """A model in the cache: its hub id `name`, `folder` of the newest snapshot, `architecture` as its config.json names
    it, `bytes` of its weights here (0 where they were never fetched)."""

    name: str
    folder: Path
    architecture: str
    bytes: int

    @property
    def told(self) -> str:
        """What stands beside its name."""
        return f"{self.architecture}, {size(self.bytes) if self.bytes else 'weights not fetched'}"


def cache_folder() -> Path:
    """Where the hub's cache is on this machine, by the hub's own variables."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def cached_models(folder: Path | None = None) -> list[Cached]:
    """The models in the cache FOLDER (default: this machine's) that have a config.json, by name. Never raises."""
    folder = folder or cache_folder()
    found = []
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.name.startswith(_PREFIX))
    except OSError:
        return []
    for entry in entries[:MOST]:
        snapshot = _snapshot(entry)
        if snapshot is None:
            continue
        config = files.read_json(snapshot / "config.json")
        if isinstance(config, dict):
            name = "/".join(entry.name.removeprefix(_PREFIX).split("--"))
            found.append(Cached(name, snapshot, _architecture(config), _weights(snapshot)))
    return found


def snapshot_of(name: str) -> Path | None:
    """The folder of the model with the hub id NAME in the cache; None where it was never fetched."""
    return _snapshot(cache_folder() / (_PREFIX + name.replace("/", "--")))


def _snapshot(entry: Path) -> Path | None:
    """The snapshot that `main` points at, else the newest."""
    try:
        commit = (entry / "refs" / "main").read_text("utf-8").strip()
        if (entry / "snapshots" / commit / "config.json").is_file():
            return entry / "snapshots" / commit
    except (OSError, UnicodeDecodeError):
        pass
    try:
        there = [one for one in (entry / "snapshots").iterdir() if (one / "config.json").is_file()]
        return max(there, key=lambda one: one.stat().st_mtime, default=None)
    except OSError:
        return None


def _architecture(config: dict[str, Any]) -> str:
    names = config.get("architectures")
    return one_line(names[0] if isinstance(names, list) and names else config.get("model_type", "unknown"), 40)


def _weights(folder: Path) -> int:
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            total += path.stat().st_size
        except OSError:  # a link to a blob that was deleted
            continue
    return total
