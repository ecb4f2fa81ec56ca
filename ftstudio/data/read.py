"""`open_dataset`: any file, several of them, a folder, the bundled demo, standard input or a hub id as a `Dataset`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.files import explain
from ftstudio.core.reading import DETECT, Reading
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.folders import read_folder
from ftstudio.data.onehot import joined
from ftstudio.data.places import (
    KNOWN,
    are_counterparts,
    counterparts,
    find_file,
    in_order,
    language_of,
    looks_like_hub_id,
    matches,
    missing,
)
from ftstudio.data.read_file import read_file
from ftstudio.data.read_hub import read_hub
from ftstudio.data.several import chain, side_by_side
from ftstudio.data.stream import read_stream
from ftstudio.data.watch import Watch

__all__ = ["KNOWN", "find_file", "open_dataset"]


def open_dataset(
    source: str | Path,
    *,
    relative_to: Path | None = None,
    split: str | None = None,
    reading: Reading | None = None,
    delimiter: str | None = None,
    quoted: bool | None = None,
    header: bool | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    watch: Watch | None = None,
) -> Dataset:
    """The dataset that SOURCE names: a file, a folder, a pattern (`data/*.jsonl`), the common name of two files of
    parallel text, `demo`, `-` for standard input, or a hub id.

    A relative path is looked for from RELATIVE_TO (the recipe's folder) first, then from here. SPLIT names the part of
    a hub dataset, a folder or the demo (default `train`). READING overrides what is detected; DELIMITER, QUOTED and
    HEADER are short for its own. WATCH takes the place of PROGRESS and CANCEL. Whatever is wrong with the file raises
    StudioError (UsageError where the name is wrong).
    """
    name = os.fspath(source).strip()
    if not name:
        raise UsageError("No dataset is named.", "Name a file, a hub id or `demo`.")
    short = {"delimiter": delimiter, "quoted": quoted, "header": header}
    given = {key: value for key, value in short.items() if value is not None}
    how = (reading or DETECT).model_copy(update=given) if given else reading or DETECT
    look = watch or Watch(progress, cancel)
    if how.labels:
        look = Watch(look.progress, look.cancel)  # rows are shown once they have their labels
    try:
        found = _open(name, relative_to, split, how, look)
        return joined(found, how.labels) if how.labels else found
    except (StudioError, MemoryError):
        raise
    except OSError as error:
        raise explain(error, name) from error
    except Exception as error:  # a reader's library met bytes that nobody foresaw: still one sentence
        what = f"{type(error).__name__}: {error}"
        raise StudioError(f"{name} can't be read ({what[:200]}).", "Check the file, or convert it to JSONL.") from error


def _open(name: str, relative_to: Path | None, split: str | None, reading: Reading, watch: Watch) -> Dataset:
    wanted = split or "train"
    if name == "demo":
        from ftstudio import demo

        path: Path | None = Path(demo.EVAL if wanted in ("eval", "test", "validation") else demo.TRAIN)
    elif name == "-":
        return read_stream(None, reading, wanted, watch)
    else:
        path = find_file(name, relative_to)
    if path is None:
        if "@" in name and (version := _version(name, watch)) is not None:
            return version
        if pair := counterparts(_place(name, relative_to)):
            return _parallel(*pair, name, reading, watch)
        if files := matches(name, relative_to):
            return _several(files, name, wanted, reading, watch)
        if looks_like_hub_id(name):
            return read_hub(name, wanted, progress=watch.progress, cancel=watch.cancel)
        raise missing(name, relative_to)
    if path.is_dir():
        return read_folder(path, name, wanted, reading, watch)
    if path.is_fifo() and str(path).startswith(("/dev/", "/proc/")):
        return read_stream(path, reading, wanted, watch)
    if not path.is_file():
        raise StudioError(f"{path} is no regular file.", "Name a file (JSONL, JSON, CSV, TSV, Parquet, text).")
    if reading.pair is not None:
        other = find_file(reading.pair, path.parent) or find_file(reading.pair, relative_to)
        if other is None:
            raise missing(reading.pair, path.parent)
        return _parallel(path, other, name, reading, watch)
    return read_file(path, name, wanted, reading, watch)


def _version(name: str, watch: Watch) -> Dataset | None:
    """What NAME names where it is the address of a version, such as tickets@2; else None."""
    from ftstudio.data.versions import address

    place = address.parse(name)
    return address.open_address(place, progress=watch.progress, cancel=watch.cancel)[0] if place is not None else None


def _place(name: str, relative_to: Path | None) -> Path:
    """Where the file NAME would be."""
    path = Path(name.replace("\x00", "?")).expanduser()
    if path.is_absolute() or relative_to is None or not (relative_to / path.parent).is_dir():
        return path
    return relative_to / path


def _several(files: Sequence[Path], name: str, split: str, reading: Reading, watch: Watch) -> Dataset:
    if are_counterparts(files):
        ordered = tuple(files) if "{" in name else in_order(files)
        return _parallel(ordered[0], ordered[1], name, reading, watch)
    parts: list[Dataset] = []
    sizes = [path.stat().st_size for path in files]
    if any(sizes):  # empty ones among many hold no rows; alone they are told
        files = [path for path, size in zip(files, sizes, strict=True) if size > 1]
        sizes = [size for size in sizes if size > 1]
    for place, path in enumerate(files):
        before, size, total = sum(sizes[:place]), sizes[place], sum(sizes)
        parts.append(read_file(path, name, split, reading, _part(watch, parts, name, before, size, total)))
    return chain(parts, name)


def _part(watch: Watch, parts: list[Dataset], name: str, before: int, size: int, total: int) -> Watch:
    """WATCH for one file of several: those read before it count as done, and are shown with it."""
    done = list(parts)
    tell = watch.progress
    return Watch(
        progress=None if tell is None else lambda at, of: tell(before + size * at // max(1, of), total),
        cancel=watch.cancel,
        show=None if watch.show is None else lambda found: watch.found(lambda: chain([*done, found()], name)),
    )


def _parallel(first: Path, second: Path, name: str, reading: Reading, watch: Watch) -> Dataset:
    lines = reading.model_copy(update={"format": "text", "unit": "line", "label": False, "chunk": None, "overlap": 0})
    left = read_file(first, name, "train", lines, watch.quiet)
    right = read_file(second, name, "train", lines, watch.quiet)
    names = language_of(first), language_of(second)
    if names[0] == names[1]:
        names = "source", "target"
    return side_by_side(left, right, names, name)
