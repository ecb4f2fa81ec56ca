"""Copying from a terminal: OSC 52 for the person's own clipboard, and a file for terminals that ignore it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ftstudio.core import files

if TYPE_CHECKING:
    from ftstudio.ui.shell.app import StudioApp

LONGEST = 74_000  # bytes: what common terminals take in one OSC 52 sequence


def copy(app: StudioApp, text: str, folder: Path) -> Path:
    """Put TEXT on the clipboard and into FOLDER/copied.txt, say so, give back the path. Raises StudioError."""
    path = folder / "copied.txt"
    files.write(path, text.encode("utf-8", "replace"))
    short = len(text.encode("utf-8", "replace")) <= LONGEST
    if short:
        app.copy_to_clipboard(text.encode("utf-8", "replace").decode())
    what = "Copied, and kept in" if short else "Too long for the clipboard: it is in"
    app.tell(f"{what} {shown(path)}")
    return path


def shown(path: Path) -> str:
    """PATH as a person would type it: relative to here where it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
