"""A real disk of a fixed size, that can be filled to its last byte."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A file system of its own at `path`."""

    path: Path

    def fill(self, leave: int = 0) -> None:
        """Leave so many bytes."""
        with open(self.path / "ballast", "ab", buffering=0) as file:
            status = os.statvfs(self.path)
            file.write(b"x" * (status.f_bavail * status.f_frsize - leave))
        assert os.statvfs(self.path).f_bavail * status.f_frsize <= leave + status.f_frsize

    def free(self) -> None:
        """Give back what `fill` took."""
        (self.path / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """One of 8 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("this machine doesn't let us mount")
    yield Disk(mount)
    subprocess.run(["umount", "-l", str(mount)], check=False)
