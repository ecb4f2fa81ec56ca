"""Folders of pictures, with a table that tells about them or a folder a class; rows that name their picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.data.aside import Aside
from ftstudio.data.dataset import Column, Dataset, ListStore, Row, Store

ENDS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
_NAMES = (
    "file_name",
    "filename",
    "image",
    "image_path",
    "image_file",
    "img",
    "img_path",
    "picture",
    "path",
    "file",
    "id",
)
_LOOK = 50
_MOST_ENTRIES, _MOST_FOLDERS = 20_000, 500


def is_picture(name: object) -> bool:
    """Whether NAME ends like a picture's."""
    return isinstance(name, str) and name.lower().endswith(ENDS)


def pictures_in(folder: Path) -> dict[str, Path]:
    """The pictures of FOLDER (not below) by name, and by name without its end (the first of that name)."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if is_picture(entry.name) and entry.name[0] != ".")
    except OSError:
        return {}
    found = {name: folder / name for name in names}
    for name in names:
        found.setdefault(Path(name).stem, found[name])
    return found


def picture_folders(folder: Path, everywhere: bool = False) -> list[Path]:
    """FOLDER and the folders in it that hold pictures; in a crowded folder (/tmp, a home) only if EVERYWHERE."""
    below: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if not everywhere and (number >= _MOST_ENTRIES or len(below) >= _MOST_FOLDERS):
                    break
                if not entry.name.startswith(".") and entry.is_dir():
                    below.append(folder / entry.name)
    except OSError:
        return []
    below.sort()
    return [place for place in (folder, *below) if any(is_picture(name) for name in _some_names(place))]


def _some_names(folder: Path) -> list[str]:
    names = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= 200:
                    break
                names.append(entry.name)
    except OSError:
        return []
    return names


class PictureStore:
    """Rows of another store with the picture that a column names, as `image`: its full path; the name as it stands
    there where there is no such picture."""

    def __init__(self, store: Store, column: str, known: dict[str, Path], folder: Path) -> None:
        self.store, self.column, self.known, self.folder = store, column, known, folder

    def __len__(self) -> int:
        return len(self.store)

    def row(self, index: int) -> Row:
        row = self.store.row(index)
        value = row.get(self.column)
        found = self.find(value)
        named = isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
        return {**row, "image": str(found) if found is not None else str(value) if named else None}

    def find(self, value: object) -> Path | None:
        """The picture that VALUE names."""
        name = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
        if not name or "\x00" in name:
            return None
        if name in self.known:
            return self.known[name]
        path = self.folder / name
        return path if is_picture(name) and path.is_file() else None


def with_pictures(dataset: Dataset, folders: Sequence[Path], wanted: bool = False) -> Dataset:
    """DATASET with the column `image` where one of its columns names pictures in FOLDERS, else as it is.

    Rows whose picture is missing keep its name there and are told as problems. WANTED: raise StudioError where no
    column does.
    """
    if dataset.path is None or any(column.type == "image" for column in dataset.columns):
        return dataset
    known: dict[str, Path] = {}
    for folder in folders:
        for name, path in pictures_in(folder).items():
            known.setdefault(name, path)
            known.setdefault(f"{folder.name}/{name}", path)
    column = _column(dataset, known) if known else None
    if column is None:
        if wanted:
            message = f"No column of {dataset.path} names the pictures in {', '.join(map(str, folders))}."
            raise StudioError(message, "A column has to hold their file names (file_name, image, or id).")
        return dataset
    store = PictureStore(dataset.store, column, known, dataset.path.parent)
    aside = Aside()
    if dataset.aside is not None:
        aside.take(dataset.aside, "")
    for index in range(len(dataset)):
        value = dataset.store.row(index).get(column)
        if store.find(value) is None:
            aside.add(index + 1, f"no picture {value!r}"[:120] + " (row number, not line)", str(value), kept=True)
    columns = (*(c for c in dataset.columns if c.name != "image"), Column("image", "image"))
    details = {**dataset.details, "pictures": f"by {column}"}
    return replace(dataset, store=store, columns=columns, details=details, problems=tuple(aside.problems), aside=aside)


def _column(dataset: Dataset, known: dict[str, Path]) -> str | None:
    """The column whose first values nearly all name a picture."""
    rows = [dataset[index] for index in range(min(_LOOK, len(dataset)))]
    order = sorted(dataset.names, key=lambda name: (_rank(name), dataset.names.index(name)))
    for name in order:
        store = PictureStore(ListStore(rows), name, known, dataset.path.parent if dataset.path else Path())
        hits = sum(store.find(row.get(name)) is not None for row in rows)
        if hits >= max(1, 0.8 * len(rows)):
            return name
    return None


def _rank(name: str) -> int:
    key = name.strip().lower()
    return _NAMES.index(key) if key in _NAMES else len(_NAMES)


def class_folders(folder: Path, source: str) -> Dataset | None:
    """A folder with a folder of pictures for each class: rows with `image` and `label`; None where it is none."""
    places = [place for place in picture_folders(folder, everywhere=True) if place != folder]
    if len(places) < 2:
        return None
    rows: list[Row] = []
    for place in places:
        names = sorted(set(pictures_in(place).values()))
        rows += [{"image": str(path), "label": place.name} for path in names]
    columns = (Column("image", "image"), Column("label", "text"))
    files = tuple(Path(row["image"]) for row in rows)
    return Dataset(
        ListStore(rows), columns, "images", "binary", source, None, {"classes": len(places)}, files=files
    )  # fmt: skip
