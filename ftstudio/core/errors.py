"""The errors a person sees: one sentence saying what and where, one saying the way out."""

from __future__ import annotations

from collections.abc import Iterator


class StudioError(Exception):
    """Something failed that the person can do something about.

    `message` says what and where, `hint` the way out. `code` is the exit status of the command.
    """

    code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(StudioError):
    """The command, recipe or setting was used wrongly (exit status 2)."""

    code = 2


class DiskFull(StudioError):
    """There was no room for what was to be written: the disk is full, or a quota used up."""


class Stopped(StudioError):
    """The person asked for it to stop (exit status 130)."""

    code = 130


def chain(error: BaseException) -> Iterator[BaseException]:
    """ERROR and what it came from, each once: a library's `raise error from error` is its own cause."""
    seen: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and not any(now is one for one in seen):
        seen.append(now)
        yield now
        now = now.__cause__ or now.__context__
