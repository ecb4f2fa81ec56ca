"""Rows that stay in their file: known by where they begin and end, parsed when they are asked for."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.data.dataset import Row
from ftstudio.data.encoding import Text

_PAGE = 64  # rows read at once: a screenful is one read, also while another thread indexes
_PAGE_BYTES = 1 << 20  # unless they are bigger than this together
_PAGES = 16
_SAMPLES, _SAMPLE = 16, 4096  # how many pieces of the file, and of how many bytes, tell whether it is another
_LOOK = 0.25  # seconds between two looks at whether the file has changed

Parse = Callable[[bytes, int], Row]  # (bytes of the row, its number); raises ValueError


class SpanStore:
    """Rows by their byte spans in an open file: 16 bytes of memory a row. Grows while a reader adds to it.

    Readers and indexer may be different threads.
    """

    def __init__(self, text: Text, path: Path, parse: Parse) -> None:
        self.text, self.path, self.parse = text, path, parse
        self.starts, self.ends = array("q"), array("q")
        self._pages: dict[int, tuple[int, bytes]] = {}
        self._lock = threading.Lock()
        self._looked, self._changed_at = time.monotonic(), os.fstat(text.handle).st_mtime_ns
        self._mark, self._is_another = self._sample(), False

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, start: int, end: int) -> None:
        """A row at the bytes START to END."""
        self.starts.append(start)
        self.ends.append(end)

    def raw(self, index: int) -> bytes:
        """The bytes of row INDEX. Raises StudioError where the file isn't what it was when it was opened."""
        start, end = self.starts[index], self.ends[index]
        number = index // _PAGE
        if time.monotonic() - self._looked > _LOOK:
            self._look()
        if self._is_another:
            raise self._changed()
        with self._lock:
            page = self._pages.get(number)
        if page is None or end > page[0] + len(page[1]):
            first = self.starts[number * _PAGE]
            last = self.ends[min(len(self.ends), (number + 1) * _PAGE) - 1]
            if last - first > _PAGE_BYTES:
                return self._whole(os.pread(self.text.handle, end - start, start), end - start)
            page = (first, os.pread(self.text.handle, last - first, first))
            with self._lock:
                while len(self._pages) >= _PAGES:
                    self._pages.pop(next(iter(self._pages)))
                self._pages[number] = page
        return self._whole(page[1][start - page[0] : end - page[0]], end - start)

    def _look(self) -> None:
        """See whether rows still stand where they did: they do where the file has only grown or was only touched. Not
        at every row: asking gives other threads the interpreter, and while a file is indexed they keep it for
        milliseconds."""
        self._looked = time.monotonic()
        facts = os.fstat(self.text.handle)
        if facts.st_mtime_ns != self._changed_at:
            with self._lock:
                self._pages.clear()
                self._changed_at = facts.st_mtime_ns
            self._is_another = facts.st_size < self.text.size or self._sample() != self._mark

    def _sample(self) -> bytes:
        """A hash of pieces from all over the file, its beginning and its end among them."""
        start, last = self.text.start, max(self.text.start, self.text.size - _SAMPLE)
        found = hashlib.blake2b(digest_size=16)
        for number in range(_SAMPLES):
            place = start + (last - start) * number // (_SAMPLES - 1)
            found.update(os.pread(self.text.handle, min(_SAMPLE, self.text.size - place), place))
        return found.digest()

    def row(self, index: int) -> Row:
        """Row INDEX. Raises StudioError where the file has changed."""
        try:
            return self.parse(self.raw(index), index)
        except (ValueError, LookupError, RecursionError, OSError) as error:
            raise self._changed() from error

    def _whole(self, data: bytes, wanted: int) -> bytes:
        if len(data) < wanted:
            raise self._changed()
        return data

    def _changed(self) -> StudioError:
        return StudioError(f"{self.path} has changed since it was opened.", "Open it again.")
