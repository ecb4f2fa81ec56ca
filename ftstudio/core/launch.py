"""How this process was launched: alone, or as one of several by torchrun or accelerate. No torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, MutableMapping
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


_SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


def take_sharding(environment: MutableMapping[str, str] | None = None) -> str:
    """What `accelerate launch` asked for that spreads one model over the processes: FSDP or DeepSpeed; else empty.

    It is taken out of the ENVIRONMENT: the parts are made here, for accelerate the model is to be whole.
    """
    found = os.environ if environment is None else environment
    asked = [name for key, name in _SHARDED.items() if found.pop(key, "").lower() in ("true", "1")]
    return asked[0] if asked else ""


def line(recipe: str, gpus: int, workspace: str = "", *, resume: bool = False) -> str:
    """The command that trains RECIPE on a machine with so many GPUS; WORKSPACE where it isn't the default. With RESUME
    it goes on with the run called RECIPE.

    Several processes are torchrun's. Of the signals it hands on and ends by, a hang-up is left out: then the processes,
    which have sessions of their own, go on without it when the connection drops, as a single one does.
    """
    words = ["train", *(["--resume"] if resume else []), recipe, *(["--workspace", workspace] if workspace else [])]
    if gpus < 2:
        return shlex.join(["ftstudio", *words])
    return f"{SIGNALS} " + shlex.join(["torchrun", "--nproc-per-node", str(gpus), "-m", "ftstudio", *words])


def again(run: str, workspace: str, where: Place) -> str:
    """In words, how to go on with RUN in WORKSPACE in as many processes as WHERE says: where all of them are on this
    machine, the command as it is typed."""
    if where.local_count == where.count:
        return f"Go on from the last checkpoint: {line(run, where.count, workspace, resume=True)}"
    what = shlex.join(["train", "--resume", run, *(["--workspace", workspace] if workspace else [])])
    return f"Go on from the last checkpoint: launch it on these machines again, with `{what}`."


SIGNALS = "PET_SIGNALS_TO_HANDLE=SIGINT,SIGTERM"


def slurm(recipe: str, gpus: int, nodes: int, workspace: str) -> str:
    """A batch script for SLURM that trains RECIPE on NODES with so many GPUS each, in WORKSPACE on a shared disk."""
    return SLURM.format(
        recipe=shlex.quote(recipe), gpus=max(1, gpus), nodes=nodes, workspace=shlex.quote(workspace), name="ftstudio"
    )


SLURM = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1        # one torchrun a node; it starts a process for each GPU
#SBATCH --gpus-per-node={gpus}
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300          # five minutes before the end: a checkpoint, then stop
#SBATCH --requeue                  # a job that is taken off its nodes comes back, and goes on with its run
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.txt

# The workspace, the recipe's data and the model must lie on a disk that all nodes share. Follow and steer the run from
# the login node: ftstudio --workspace {workspace}
set -e
recipe={recipe}
workspace={workspace}
mkdir -p "$workspace"
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
run="job-$SLURM_JOB_ID"
what=("$recipe" "name=$run")
if [ -f "$workspace/runs/$run-1/recipe.yaml" ]; then what=(--resume "$run-1"); fi   # requeued
port=$((20000 + SLURM_JOB_ID % 20000))           # of this job alone, where jobs share a node
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240       # seconds for the last checkpoint, before torchrun kills
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node {gpus} \\
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:$port" \\
    -m ftstudio train "${{what[@]}}" --workspace "$workspace"
"""
