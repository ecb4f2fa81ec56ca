"""The disk that a run's checkpoints lie on: whether it takes another one, and whether it has got room since."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

from ftstudio.core import files
from ftstudio.core.errors import StudioError, chain
from ftstudio.core.text import size
from ftstudio.engine import resume

LOOK = 2.0  # seconds between two looks whether the disk has room again
WAITS = "It stops once there is room for its checkpoint; asked to stop once more, it stops without one."
SPARE = 1.05  # a checkpoint may be a little larger than the last one


class Disk:
    """Of the run in FOLDER. `owed`: a checkpoint that it didn't take; `alone`: no person paused it, so that it
    goes on by itself with `more` room."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        self.owed = False
        self.alone = True
        self._free, self._look_again = 0, 0.0

    def free(self) -> int:
        """Bytes."""
        return shutil.disk_usage(self.folder).free

    def needed(self) -> int:
        """Bytes of the last checkpoint; 0 where there is none."""
        return resume.size(self.checkpoints)

    def fits(self) -> bool:
        """Whether it takes another checkpoint, as big as the last one."""
        return self.free() > self.needed() * SPARE

    def short(self) -> str:
        """That it takes no other one, for a person."""
        needed = self.needed()
        if not needed:
            return f"The disk is full: {self.folder}."
        return f"The next checkpoint takes {size(needed)}, and the disk has {size(self.free())} left."

    def takes(self) -> bool:
        """The same, where what was set aside may go for it."""
        return self.fits() or (resume.drop_aside(self.checkpoints) and self.fits())

    def owes(self) -> None:
        """A checkpoint wasn't written for want of room."""
        self.owed, self._look_again = True, time.monotonic() + LOOK
        self._free = self.free()

    def more(self) -> bool:
        """Whether it has got room since it didn't take a checkpoint."""
        now = time.monotonic()
        if now < self._look_again or not self.alone:
            return False
        self._look_again = now + LOOK
        return self.free() > max(self.needed() * SPARE or 1, self._free + (64 << 10))


def disk_trouble(error: BaseException, path: Path) -> StudioError | None:
    """ERROR as a full disk, quota or permission on PATH; None where it is something else.

    torch and safetensors hide the operating system's error in theirs, so the text is read too.
    """
    for seen in chain(error):
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            return files.explain(seen, path)
    text = str(error)
    full = "No space left" in text or "PytorchStreamWriter failed" in text or "unexpected pos" in text
    if full or "os error 28" in text:
        return files.explain(OSError(errno.ENOSPC, "No space left on device"), path)
    return None
