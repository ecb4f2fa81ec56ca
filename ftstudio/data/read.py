"""`open_dataset`: any file, the bundled demo or a hub id as a `Dataset`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.files import explain
from ftstudio.data.dataset import Cancel, CellStore, Column, Dataset, Progress
from ftstudio.data.encoding import Text, open_bytes, text_of
from ftstudio.data.read_arrow import read_arrow, read_parquet
from ftstudio.data.read_delimited import read_delimited, split_lines
from ftstudio.data.read_hub import looks_like_hub_id, read_hub
from ftstudio.data.read_json import read_json, read_jsonl

KNOWN = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".txt": "text", ".text": "text", ".md": "text",
}  # fmt: skip
_SPLITS = {
    "train": ("train", "training"),
    "eval": ("eval", "valid", "validation", "dev", "test", "heldout", "held_out"),
    "validation": ("valid", "validation", "dev", "eval"),
    "test": ("test",),
}


def open_dataset(
    source: str | Path,
    *,
    relative_to: Path | None = None,
    split: str | None = None,
    delimiter: str | None = None,
    quoted: bool | None = None,
    header: bool | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Dataset:
    """The dataset that SOURCE names: a file, a folder with one (or a `train.*`), `demo`, or a hub id.

    A relative path is looked for from RELATIVE_TO (the recipe's folder) first, then from here. SPLIT names the part of
    a hub dataset, a folder or the demo (default `train`). DELIMITER, QUOTED and HEADER override what is detected in
    delimited text. Whatever is wrong with the file raises StudioError (UsageError where the name is wrong).
    """
    name = os.fspath(source).strip()
    if not name:
        raise UsageError("No dataset is named.", "Name a file, a hub id or `demo`.")
    if name == "demo":
        from ftstudio import demo

        wanted = "EVAL" if split in ("eval", "test", "validation") else "TRAIN"
        path: Path | None = Path(getattr(demo, wanted))
    else:
        path = find_file(name, relative_to)
    if path is None:
        if looks_like_hub_id(name):
            return read_hub(name, split or "train", progress=progress, cancel=cancel)
        raise _missing(name, relative_to)
    if path.is_dir():
        path = _file_in(path, split or "train")
    if not path.is_file():
        raise StudioError(f"{path} is no regular file.", "Name a file (JSONL, JSON, CSV, TSV, Parquet, text).")
    try:
        return _open_file(path, name, delimiter, quoted, header, progress, cancel)
    except (StudioError, MemoryError):
        raise
    except OSError as error:
        raise explain(error, path) from error
    except Exception as error:  # a reader's library met bytes that nobody foresaw: still one sentence
        what = f"{type(error).__name__}: {error}"
        raise StudioError(f"{path} can't be read ({what[:200]}).", "Check the file, or convert it to JSONL.") from error


def find_file(name: str, relative_to: Path | None = None) -> Path | None:
    """The file or folder NAME stands for, from RELATIVE_TO or from here; None where there is none."""
    try:
        path = Path(name).expanduser()
        places = [path] if path.is_absolute() or relative_to is None else [relative_to / path, path]
        return next((place for place in places if place.exists()), None)
    except (OSError, ValueError, RuntimeError):
        return None


def _missing(name: str, relative_to: Path | None) -> StudioError:
    path = Path(name).expanduser() if "\x00" not in name else Path("?")
    folder = path.parent if path.is_absolute() or relative_to is None else relative_to / path.parent
    hint = "Check the path; it is relative to where you are."
    try:
        near = difflib.get_close_matches(path.name, os.listdir(folder), n=1, cutoff=0.6)
        if near:
            hint = f"Did you mean {path.parent / near[0]}?"
    except OSError:
        pass
    return StudioError(f"There is no file {name!r}.", hint)


def _file_in(folder: Path, split: str) -> Path:
    """The data file in FOLDER for SPLIT: `train.*`, or the only one there is."""
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.is_file() and _kind_of(entry) not in (None, "text"))
    except OSError as error:
        raise explain(error, folder) from error
    files = [file for file in files if not file.name.startswith(".") and file.name != "dataset_info.json"]
    if len(files) == 1 and split == "train":
        return files[0]
    for stem in _SPLITS.get(split, (split,)):
        for file in files:
            if file.name.split(".")[0].lower() == stem:
                return file
    if not files:
        raise StudioError(f"{folder} is a folder without a data file.", "Name a file (JSONL, JSON, CSV, TSV, Parquet).")
    names = ", ".join(file.name for file in files[:6]) + (", …" if len(files) > 6 else "")
    raise StudioError(f"{folder} is a folder with {len(files)} data files: {names}.", "Name one of them.")


def _kind_of(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return KNOWN.get(suffixes[-1]) if suffixes else None


def _open_file(
    path: Path,
    source: str,
    delimiter: str | None,
    quoted: bool | None,
    header: bool | None,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Dataset:
    handle = open_bytes(path)
    head = os.pread(handle, 8, 0)
    if head.startswith(b"PAR1"):
        return read_parquet(handle, path, source)
    kind = _kind_of(path)
    if head.startswith(b"ARROW1") or kind == "arrow":
        return read_arrow(handle, path, source)
    if kind == "parquet":
        os.close(handle)
        raise StudioError(f"{path} is no Parquet file.", "Check the file, or copy it again.")
    text = text_of(handle, path, strict_utf8=kind in ("json", "jsonl"))
    first = os.pread(text.handle, 4096, text.start).lstrip()[:1]
    if kind == "jsonl" or (kind is None and first == b"{"):
        if first == b"[":
            return read_json(text, path, source, progress, cancel)
        return read_jsonl(text, path, source, progress, cancel)
    if kind == "json" or (kind is None and first == b"["):
        return read_json(text, path, source, progress, cancel)
    if kind in ("csv", "tsv") or delimiter is not None or _is_table(text):
        order = ",;\t|" if kind == "csv" else "\t" if kind != "tsv" else "\t,;|"
        return read_delimited(
            text, path, source, delimiters=order, delimiter=delimiter, quoted=quoted, header=header,
            progress=progress, cancel=cancel,
        )  # fmt: skip
    return _read_text(text, path, source)


def _is_table(text: Text) -> bool:
    """Whether plain text is a table with tabs: nearly all of at least two lines have equally many, at least one."""
    sample = os.pread(text.handle, min(1 << 17, text.size - text.start), text.start).decode("utf-8", "replace")
    lines = [line.rstrip("\r\n") for line in split_lines(sample)]
    if text.size - text.start > 1 << 17:
        lines.pop()
    lines = [line for line in lines if line]
    if len(lines) < 2 or "\t" not in lines[0]:
        return False
    tabs = lines[0].count("\t")
    return sum(line.count("\t") == tabs for line in lines) >= 0.95 * len(lines)


def _read_text(text: Text, path: Path, source: str) -> Dataset:
    """Plain text: every line is a row with a `text` column; blank lines stay rows, so row and line numbers agree."""
    whole = text.read()
    cells = [(line.rstrip("\r\n"),) for line in split_lines(whole)]
    return Dataset(CellStore(("text",), cells), (Column("text", "text"),), "text", text.encoding, source, path)
