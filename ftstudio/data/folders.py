"""A folder as a dataset: the file of a split, its shards, files alike, parallel text, pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.reading import Reading
from ftstudio.data.dataset import Dataset
from ftstudio.data.pictures import class_folders, is_picture, picture_folders, with_pictures
from ftstudio.data.places import SPLITS, data_files, kind_of, language_of, not_of_others, of_split, text_pairs
from ftstudio.data.read_file import read_file, read_handle
from ftstudio.data.several import chain, must_be_alike, side_by_side
from ftstudio.data.watch import Watch


def read_folder(folder: Path, source: str, split: str, reading: Reading, watch: Watch) -> Dataset:
    """The rows of SPLIT in FOLDER. Raises StudioError where it can't be told which files are meant."""
    entries = [path for path in data_files(folder) if not is_picture(path.name)]
    known = [path for path in entries if kind_of(path) not in (None, "text")]
    texts = [path for path in entries if path not in known]
    table = next((path for path in known if path.name.split(".")[0].lower() == "metadata"), None)
    if table is None and len(known) == 1 and split == "train":
        table = known[0]
    if table is not None:
        found = read_file(table, source, split, reading, watch)
        if found.format in ("csv", "tsv", "jsonl", "json") and not reading.images:
            return with_pictures(found, picture_folders(folder, everywhere=True))
        return found
    if chosen := of_split(known, split):
        return _together(folder, chosen, source, split, reading, watch)
    if below := _folder_of(folder, split):
        return _inside(below, source, split, reading, watch)
    if sizes := _sizes_of(folder, split):  # the biggest, and it is said that there are others
        found = _inside(sizes[-1], source, split, reading, watch)
        others = {"others": ", ".join(path.name for path in sizes[:-1])} if len(sizes) > 1 else {}
        return replace(found, details={**found.details, "folder": sizes[-1].name, **others})
    rest = not_of_others(known, split)
    if split == "train" and len(rest) > 1:
        return _together(folder, rest, source, split, reading, watch)
    if split == "train" and len(rest) == 1:
        return read_file(rest[0], source, split, reading, watch)
    if not known and (found_text := _texts(folder, texts, source, split, reading, watch)) is not None:
        return found_text
    if not known and (found_images := class_folders(folder, source)) is not None:
        return found_images
    if known or any(kind_of(path) == "text" for path in texts):
        raise _many(folder, known or [path for path in texts if kind_of(path) == "text"], split)
    below_names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    hint = "Name a file (JSONL, JSON, CSV, TSV, Parquet, text)."
    if picture_folders(folder) == [folder]:
        message = f"{folder} holds pictures, and nothing that tells about them."
        raise StudioError(message, "Name the table with their file names (images=FOLDER says where they are), or put "
                          "one beside them; or a folder for each class.")  # fmt: skip
    if below_names:
        hint = f"It has the folders {', '.join(below_names[:6])}: name one."
    raise StudioError(f"{folder} is a folder without a data file.", hint)


def _many(folder: Path, files: Sequence[Path], split: str = "") -> StudioError:
    """Why none of FILES is taken: they are of other splits than SPLIT, or of several formats."""
    names = ", ".join(file.name for file in files[:6]) + (", …" if len(files) > 6 else "")
    count = "1 data file" if len(files) == 1 else f"{len(files)} data files"
    what = "" if not split else f", which isn't called {split}" if len(files) == 1 else f" and none is called {split}"
    return StudioError(
        f"{folder} is a folder with {count}: {names}{what}.",
        f"Name {'it' if len(files) == 1 else 'one of them, or a pattern'}: {folder}/{files[0].name}.",
    )


def _folder_of(folder: Path, split: str) -> Path | None:
    """The folder in FOLDER that is called like SPLIT, or `data`, as the hub has it."""
    for word in (*SPLITS.get(split, (split,)), "data"):
        below = folder / word
        if below.is_dir() and not below.is_symlink():
            return below
    return None


def _inside(below: Path, source: str, split: str, reading: Reading, watch: Watch) -> Dataset:
    """The rows of BELOW, which is called like SPLIT: its files need not be called so too."""
    try:
        return read_folder(below, source, split, reading, watch)
    except Stopped:
        raise
    except StudioError:
        if split == "train" or below.name == "data":
            raise
        return read_folder(below, source, "train", reading, watch)


def _sizes_of(folder: Path, split: str) -> list[Path]:
    """The folders in FOLDER that hold SPLIT in several sizes (train_5, train_10: few-shot sets), the biggest last."""
    for word in SPLITS.get(split, (split,)):
        found = [entry for entry in folder.iterdir() if re.fullmatch(rf"{re.escape(word)}[-_]?\d+\w*", entry.name)]
        found = [entry for entry in found if entry.is_dir() and not entry.is_symlink()]
        if found:
            return sorted(found, key=lambda path: (sum(file.stat().st_size for file in data_files(path)), path.name))
    return []


def _together(folder: Path, files: Sequence[Path], source: str, split: str, reading: Reading, watch: Watch) -> Dataset:
    """FILES, alike in format and columns, as one."""
    if len({kind_of(path) for path in files}) > 1:
        raise _many(folder, files)
    quiet = watch if len(files) == 1 else watch.quiet
    parts = [read_file(path, source, split, reading, quiet) for path in files]
    must_be_alike(parts, folder)
    return chain(parts, source)


def _texts(
    folder: Path, texts: Sequence[Path], source: str, split: str, reading: Reading, watch: Watch
) -> Dataset | None:
    """Text files of FOLDER: with a file of labels, parallel, or one after the other; None where there are none."""
    lines = reading.model_copy(update={"format": "text", "unit": "line", "label": False, "chunk": None, "overlap": 0})
    by_name = {path.name: path for path in texts}
    if {"seq.in", "label"} <= set(by_name):  # how sets of intents are kept (SNIPS, Few-Shot-Intent-Detection)
        left, right = (read_handle(by_name[n], by_name[n], source, split, lines, watch) for n in ("seq.in", "label"))
        return side_by_side(left, right, ("text", "label"), source)
    pairs = text_pairs(texts)
    stem = next((stem for word in SPLITS.get(split, (split,)) for stem in pairs if stem.lower().startswith(word)), None)
    if stem is None and len(pairs) == 1 and split == "train":
        stem = next(iter(pairs))
    if stem is not None:
        first, second = pairs[stem]
        left, right = (read_handle(path, path, source, split, lines, watch) for path in (first, second))
        return side_by_side(left, right, (language_of(first), language_of(second)), source)
    named = [path for path in texts if kind_of(path) == "text"]
    chosen = of_split(named, split) or (not_of_others(named, split) if split == "train" else [])
    if not chosen:
        return None
    quiet = watch if len(chosen) == 1 else watch.quiet
    parts = [read_file(path, source, split, reading, quiet) for path in chosen]
    found = chain(parts, source)
    return found if len(parts) == 1 else replace(found, details={**found.details, "files": len(parts)})
