"""How this process was launched: alone, or as one of several by torchrun or accelerate. No torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

ELASTIC = "TORCHELASTIC_RUN_ID"


@dataclass(frozen=True)
class Place:
    """This process's `rank` (from 0) among the `count` that train one run; the same on this machine alone."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes the run and talks to people."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1


def place(environment: Mapping[str, str] | None = None) -> Place:
    """What a launcher says in the ENVIRONMENT (default: this process's); alone where there is none."""
    found = os.environ if environment is None else environment

    def number(name: str, otherwise: int) -> int:
        value = found.get(name, "")
        return int(value) if value.isdecimal() else otherwise

    count = max(1, number("WORLD_SIZE", 1))
    if count == 1:
        return Place()
    return Place(number("RANK", 0), count, number("LOCAL_RANK", 0), max(1, number("LOCAL_WORLD_SIZE", count)))


def line(recipe: str, gpus: int, workspace: str = "") -> str:
    """The command that trains RECIPE on a machine with so many GPUS; WORKSPACE where it isn't the default."""
    words = ["train", recipe, *(["--workspace", workspace] if workspace else [])]
    if gpus < 2:
        return shlex.join(["ftstudio", *words])
    return shlex.join(["torchrun", "--nproc-per-node", str(gpus), "-m", "ftstudio", *words])
