"""A cell's value as text to edit and back, in the studio or in an editor of one's own. No widgets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.text import clean, one_line
from ftstudio.data.dataset import Row

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def editable(value: Any) -> tuple[str, bool]:
    """(VALUE as text, whether that is JSON). Text stays as it is, unless it holds what no screen should be sent."""
    if isinstance(value, str) and not _UNSAFE.search(value):
        return value, False
    indent = 2 if isinstance(value, (list, dict)) else None
    return json.dumps(value, ensure_ascii=_has_unsafe(value), indent=indent, default=str), True


def _has_unsafe(value: Any) -> bool:
    return _UNSAFE.search(json.dumps(value, ensure_ascii=False, default=str)) is not None


def parsed(text: str, is_json: bool) -> Any:
    """The value that TEXT stands for. Raises UsageError where it is no JSON and should be."""
    if not is_json:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"That is no JSON: {one_line(error, 120)}."
        raise UsageError(message, 'Text stands in quotes, as in "so"; null is nothing.') from None


def row_as_text(row: Row) -> str:
    """ROW as JSON, without the cells that JSON can't write."""
    shown = {name: value for name, value in row.items() if _writable(value)}
    return json.dumps(shown, ensure_ascii=_has_unsafe(shown), indent=2)


def parsed_row(text: str, row: Row) -> Row:
    """The row that TEXT stands for, with the cells of ROW that JSON can't write. Raises UsageError."""
    value = parsed(text, True)
    if not isinstance(value, dict) or not value:
        raise UsageError("A row is a JSON object.", 'Write its columns, as in {"prompt": "Hi", "completion": "Hello"}.')
    return {**{name: cell for name, cell in row.items() if not _writable(cell)}, **value}


def _writable(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def editor() -> list[str]:
    """The command of the person's editor. Raises UsageError where none is named."""
    for name in ("VISUAL", "EDITOR"):
        try:
            if words := shlex.split(os.environ.get(name, "")):
                return words
        except ValueError:
            continue
    raise UsageError("No editor is named.", "Set EDITOR, such as EDITOR=nano, or edit here with e.")


def edited_outside(text: str, is_json: bool) -> str:
    """TEXT after the person's editor; waits for it, the terminal must be its own. Raises StudioError."""
    command = editor()
    handle, name = tempfile.mkstemp(prefix="ftstudio-cell-", suffix=".json" if is_json else ".txt")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(text.encode())
        with contextlib.ExitStack() as stack:
            streams: dict[str, Any] = {}
            with contextlib.suppress(OSError):  # the studio's own streams go to its log: the editor wants the terminal
                terminal = stack.enter_context(open("/dev/tty", "r+b", buffering=0))
                streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
            done = subprocess.run([*command, name], check=False, **streams)
        if done.returncode:
            raise StudioError(f"{clean(command[0], 80)} ended with {done.returncode}; nothing was changed.", "Try e.")
        new = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise StudioError(f"{clean(command[0], 80)} can't be run: {error.strerror}.", "Check EDITOR.") from error
    except UnicodeDecodeError as error:
        raise StudioError("What the editor wrote isn't UTF-8; nothing was changed.", "Save it as UTF-8.") from error
    finally:
        path.unlink(missing_ok=True)
    if not text.endswith("\n") and new.endswith("\n"):  # editors end the last line
        new = new[:-1]
    return new
