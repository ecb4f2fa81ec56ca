"""What a name stands for: a file, several, two that belong together, a folder, a stream, or none of these."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.files import explain

KNOWN = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".txt": "text", ".text": "text", ".md": "text",
    ".conll": "conll", ".bio": "conll", ".iob": "conll", ".iob2": "conll",
    ".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite",
}  # fmt: skip
PACKED = (".gz", ".zst", ".zstd", ".bz2")
SPLITS = {
    "train": ("train", "training"),
    "eval": ("eval", "valid", "validation", "dev", "val", "test", "heldout", "held_out"),
    "validation": ("valid", "validation", "dev", "val", "eval"),
    "test": ("test",),
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?")
_FILE_END = re.compile(r"\.(jsonl?|ndjson|csv|tsv|tab|parquet|arrow|feather|txt|md|gz|zst|zip|xlsx?|conll)$", re.I)
_ASIDE = ("dataset_info.json", "dataset_dict.json", "state.json")
_PAPERS = ("license", "licence", "readme", "source", "copying", "notice", "changelog", "citation", "data_license")
_MOST = 10_000  # files that one name may stand for


def looks_like_hub_id(name: str) -> bool:
    """Whether NAME can be `owner/name` (or `owner/name:configuration`) on the hub rather than a file."""
    return bool(_HUB_ID.fullmatch(name)) and not _FILE_END.search(name)


def kind_of(path: Path) -> str | None:
    """The format that PATH's ending tells, packed or not."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return KNOWN.get(suffixes[-1]) if suffixes else None


def find_file(name: str, relative_to: Path | None = None) -> Path | None:
    """The file or folder NAME stands for, from RELATIVE_TO or from here; None where there is none."""
    try:
        path = Path(name).expanduser()
        places = [path] if path.is_absolute() or relative_to is None else [relative_to / path, path]
        return next((place for place in places if place.exists()), None)
    except (OSError, ValueError, RuntimeError):
        return None


def matches(name: str, relative_to: Path | None = None) -> list[Path]:
    """The files that the pattern NAME (`*`, `?`, `[…]`, `**`, `{a,b}`) stands for, in order; empty where it is none."""
    if not any(sign in name for sign in "*?[{") or "\x00" in name:
        return []
    try:
        where = Path(name).expanduser()
        roots = [None] if where.is_absolute() or relative_to is None else [relative_to, None]
        for root in roots:
            found: dict[str, None] = {}
            for pattern in _braces(str(where)):
                for number, path in enumerate(sorted(glob.iglob(pattern, root_dir=root, recursive=True))):
                    if number >= _MOST:
                        raise StudioError(f"{name} stands for more than {_MOST:,} files.", "Name fewer.")
                    found.setdefault(path)
            files = [path if root is None else root / path for path in map(Path, found)]
            files = [path for path in files if path.is_file() and not path.name.startswith(".")]
            if files:
                return [path for path in files if _may_hold_rows(path)] or files
    except (OSError, ValueError, RuntimeError, re.error):
        return []
    return []


def _braces(pattern: str) -> list[str]:
    """`a.{en,de}` as `a.en` and `a.de`."""
    match = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    parts = match[1].split(",")[:20]
    return [found for part in parts for found in _braces(head + part + tail)][:200]


def stem_of(path: Path) -> str:
    """What stands before the first dot of PATH's name."""
    return path.name.split(".")[0]


def language_of(path: Path) -> str:
    """What tells PATH from its counterpart: the last part of its name that is no format (`en` of `train.en.gz`)."""
    parts = [part for part in path.name.split(".") if f".{part.lower()}" not in (*PACKED, *KNOWN)]
    return parts[-1] if parts else path.name


def counterparts(stem: Path) -> tuple[Path, Path] | None:
    """The two files of parallel text that the missing file STEM stands for: `train` for train.en and train.de."""
    try:
        names = sorted(entry for entry in stem.parent.iterdir() if entry.is_file())
    except OSError:
        return None
    found = [path for path in names if path.name.startswith(f"{stem.name}.") and _is_language(path)]
    return in_order(found) if are_counterparts(found) else None


def in_order(files: Sequence[Path]) -> tuple[Path, Path]:
    """The two FILES with the likelier source language first: English, or what is called a source."""
    first, second = sorted(
        files, key=lambda path: (language_of(path).lower() not in ("en", "src", "source"), path.name)
    )
    return first, second


def text_pairs(entries: Sequence[Path]) -> dict[str, tuple[Path, Path]]:
    """The pairs of parallel text among ENTRIES, by what their names share."""
    groups: dict[str, list[Path]] = {}
    for path in entries:
        groups.setdefault(stem_of(path), []).append(path)
    return {stem: in_order(paths) for stem, paths in groups.items() if are_counterparts(paths)}


def are_counterparts(files: Sequence[Path]) -> bool:
    """Whether FILES are two texts of one name in two languages (train.en.gz, train.de.gz)."""
    if len(files) != 2 or not all(_is_language(path) for path in files):
        return False
    first, second = files
    if {language_of(first), language_of(second)} == {"aa", "ab"} or any(map(_is_json, files)):  # x.aa, x.ab: `split`
        return False
    names = [path.name.replace(f".{language_of(path)}", ".", 1) for path in files]
    return names[0] == names[1] and language_of(first) != language_of(second)


def _is_json(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return bool(re.match(rb'\s*(\{\s*"|\[\s*\{)', file.read(64)))
    except OSError:
        return False


def _is_language(path: Path) -> bool:
    if kind_of(path) not in (None, "text"):
        return False
    return bool(re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?|src|tgt|source|target", language_of(path)))


def data_files(folder: Path) -> list[Path]:
    """The files directly in FOLDER that may hold rows, in order. Raises StudioError."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    except OSError as error:
        raise explain(error, folder) from error
    return [entry for entry in entries if _may_hold_rows(entry)]


def _may_hold_rows(path: Path) -> bool:
    """Whether PATH isn't called like what is written about data."""
    return path.name.lower() not in _ASIDE and stem_of(path).lower() not in _PAPERS


def of_split(entries: Sequence[Path], split: str) -> list[Path]:
    """Those of ENTRIES that are called like SPLIT: train.jsonl, else the shards train-00000-of-00003.parquet, else the
    only one with the word in its name (stsb-en-train.csv)."""
    words = SPLITS.get(split, (split,))
    for form in (r"{}", r"{}[-_]\d+[-_]of[-_]\d+"):
        for word in words:
            found = [path for path in entries if re.fullmatch(form.format(re.escape(word)), stem_of(path).lower())]
            if found:
                return found
    for form in (r"(?<![a-z]){}(?![a-z])", r"{}"):
        for word in words:
            found = [path for path in entries if re.search(form.format(re.escape(word)), path.name.lower())]
            if len({kind_of(path) for path in found}) == 1 and len(found) == 1:
                return found
    return []


def not_of_others(entries: Sequence[Path], split: str) -> list[Path]:
    """ENTRIES without those that are called like another split than SPLIT."""
    mine = SPLITS.get(split, (split,))
    others = {word for words in SPLITS.values() for word in words} - set(mine)
    return [path for path in entries if not others & set(re.split(r"[^a-z]+", path.name.lower()))]


def missing(name: str, relative_to: Path | None) -> StudioError:
    """There is no NAME: what was probably meant."""
    path = Path(name).expanduser() if "\x00" not in name else Path("?")
    folder = path.parent if path.is_absolute() or relative_to is None else relative_to / path.parent
    if any(sign in name for sign in "*?["):
        return UsageError(
            f"No file matches {name!r}.", "Check the pattern; quote it, so that the shell leaves it alone."
        )
    hint = "Check the path; it is relative to where you are."
    try:
        near = difflib.get_close_matches(path.name, os.listdir(folder), n=1, cutoff=0.6)
        if near:
            hint = f"Did you mean {path.parent / near[0]}?"
    except OSError:
        pass
    return StudioError(f"There is no file {name!r}.", hint)
