"""gzip, zstd and bzip2 files: unpacked into an unnamed temporary file, within bounds."""

from __future__ import annotations

import bz2
import errno
import gzip
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

from ftstudio.core import text
from ftstudio.core.errors import StudioError
from ftstudio.core.files import explain
from ftstudio.data.watch import NOBODY, Watch

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
_BLOCK = 1 << 20
_ALWAYS = 256 << 20  # bytes that may always come out
_RATIO = 500  # beyond that, at most so many times what goes in: text packs 3 to 100 times, bombs 1,000 times and more


def packing(handle: int) -> str | None:
    """How the open file HANDLE is packed: gzip, zstd, bzip2, or None."""
    head = os.pread(handle, 6, 0)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def unpack(path: Path, kind: str, watch: Watch = NOBODY, most: int | None = None) -> int:
    """A file descriptor on what PATH, packed by KIND, holds (its first MOST bytes; None: all).

    Raises StudioError where it is damaged, or unpacks to far more than it could honestly hold.
    """
    size = path.stat().st_size
    try:
        with _stream(path, kind) as packed, tempfile.TemporaryFile() as plain:
            done = 0
            allowed = min(max(_ALWAYS, _RATIO * size), shutil.disk_usage(tempfile.gettempdir()).free * 3 // 4)
            while block := packed.read(_BLOCK if most is None else min(_BLOCK, max(0, most - done))):
                done += len(block)
                if done > allowed:
                    raise _too_much(path, kind, size, allowed)
                plain.write(block)
                watch.at(min(size, done // 4), size)  # how far in the packed file is not known: a quarter is usual
            plain.flush()
            return os.dup(plain.fileno())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, kind, error) from error
    except OSError as error:
        if error.errno is None or error.errno == errno.EINVAL:  # how zstd and bzip2 say so
            raise _damaged(path, kind, error) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Set TMPDIR to a folder on a bigger disk, or unpack it yourself."
            raise StudioError(f"{path} does not fit into {tempfile.gettempdir()} unpacked.", hint) from error
        raise explain(error, path) from error


def _stream(path: Path, kind: str) -> Any:
    if kind == "gzip":
        return gzip.open(path, "rb")
    if kind == "bzip2":
        return bz2.open(path, "rb")
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


def _damaged(path: Path, kind: str, error: Exception) -> StudioError:
    return StudioError(f"{path} is a damaged {kind} file ({error}).", "Copy or download it again.")


def _too_much(path: Path, kind: str, size: int, allowed: int) -> StudioError:
    message = f"{path} ({text.size(size)}) unpacks to more than {text.size(allowed)}: no honest {kind} file of rows."
    return StudioError(message, "If you trust it, unpack it yourself and name what comes out.")
