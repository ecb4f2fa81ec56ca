"""What a half-typed path can become: the shell's completion, for data files and model folders. No widgets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ftstudio.data.places import counterparts, looks_like_hub_id

DATA_SUFFIXES = frozenset(
    {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet", ".arrow", ".feather", ".ipc", ".txt", ".text",
     ".md", ".gz", ".zst"}
)  # fmt: skip
MOST = 2_000  # entries looked at in one folder: completion must stay quick on a folder of a million images

Wanted = Callable[[os.DirEntry[str]], bool]


@dataclass(frozen=True)
class Completion:
    """`value` is what the field should hold now; `options` are the paths it can still become, folders with a slash."""

    value: str
    options: tuple[str, ...] = ()


def is_data(entry: os.DirEntry[str]) -> bool:
    """A folder, or a file whose name looks like rows."""
    return entry.is_dir() or os.path.splitext(entry.name)[1].lower() in DATA_SUFFIXES


def is_folder(entry: os.DirEntry[str]) -> bool:
    """A folder: models are folders."""
    return entry.is_dir()


def is_recipe(entry: os.DirEntry[str]) -> bool:
    """A folder, or a YAML file."""
    return entry.is_dir() or entry.name.endswith((".yaml", ".yml"))


def options(text: str, wanted: Wanted = is_data) -> tuple[str, ...]:
    """The paths that TEXT is the beginning of, as they would stand in the field, folders first, sorted.

    A name without a match is looked for within names too (`mult` finds `data/my-multi.csv` in `data/`).
    """
    folder, name = os.path.split(text)
    try:
        place = Path(folder or ".").expanduser()
        found: list[tuple[bool, str]] = []
        with os.scandir(place) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST:
                    break
                if entry.name.startswith(".") and not name.startswith("."):
                    continue
                try:
                    if wanted(entry):
                        found.append((not entry.is_dir(), entry.name))
                except OSError:
                    continue
    except (OSError, ValueError, RuntimeError):  # no such folder, a NUL in it, no such home
        return ()
    begun = [part for part in found if part[1].startswith(name)]
    if not begun and name:
        begun = [part for part in found if name.lower() in part[1].lower()]
    return tuple(os.path.join(folder, entry) + ("" if file else os.sep) for file, entry in sorted(begun))


def complete(text: str, wanted: Wanted = is_data) -> Completion:
    """TEXT with as much added as all its options share."""
    if text in ("~", ".", ".."):
        return Completion(text + os.sep, options(text + os.sep, wanted))
    found = options(text, wanted)
    if not found:
        return Completion(text)
    common = found[0]
    while not all(option.startswith(common) for option in found):
        common = common[:-1]
    if not common.startswith(text):  # found within names: the only one is taken, several are shown
        common = found[0] if len(found) == 1 else text
    return Completion(common, found)


def absent(text: str, wanted: Wanted = is_data) -> str:
    """What a person should know of TEXT while it is typed, where nothing here is called so; empty where something is.

    Data may be rows of the hub, two files of parallel text, a pattern or a version; a model any name that the hub has.
    """
    if text in ("", "-", "demo") or any(mark in text for mark in "*?[@\0"):
        return ""
    folder, name = os.path.split(text)
    try:
        if Path(text).expanduser().exists() or (wanted is is_data and counterparts(Path(text).expanduser())):
            return ""
        there = Path(folder or ".").expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return ""
    if looks_like_hub_id(text) or (wanted is is_folder and not folder and not text.startswith((".", "~"))):
        return f"nothing here is called {text}: enter looks for it on the hub"
    return f"there is no {name} in {folder or 'this folder'}" if there and name else f"there is no folder {folder}"


def shown(path: str | os.PathLike[str]) -> str:
    """PATH as a person would type it: relative to here where it lies below, `~` for home."""
    text = os.fspath(path)
    try:
        here, home = os.getcwd(), os.path.expanduser("~")
    except OSError:
        return text
    if text.startswith(here.rstrip(os.sep) + os.sep):
        return text[len(here.rstrip(os.sep)) + 1 :]
    if home not in ("", "/") and text.startswith(home.rstrip(os.sep) + os.sep):
        return "~" + text[len(home.rstrip(os.sep)) :]
    up = os.path.relpath(text, here) if os.path.isabs(text) else text
    return up if len(up) < len(text) else text
