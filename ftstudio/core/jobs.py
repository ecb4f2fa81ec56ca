"""What the worker is asked. Each job works in a folder of its own and tells all it does there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the recipe brings pydantic, a fifth of the time in which the studio opens
    from ftstudio.core.recipe import Recipe


@dataclass(frozen=True)
class Train:
    """Train the recipe in the run folder; RESUME goes on from its last checkpoint."""

    folder: Path
    resume: bool = False


@dataclass(frozen=True)
class Answer:
    """Answer held-out rows with the recipe's base model (RUN None) or a run's tuned model: `<folder>/outputs.jsonl`.

    Rows already answered in the folder are kept and skipped.
    """

    folder: Path
    recipe: Recipe
    run: Path | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Compare:
    """Answer held-out rows with base and tuned from one load of the weights, score both, report.

    Writes `<folder>/base.jsonl`, `<folder>/<run>.jsonl` as answers come and `<folder>/report.json` at the end. RUNS
    after the first are further arms and may be of other recipes over the same base model and held-out rows. ARMS, as
    `core.arm` tells them, say what is compared instead (runs that they don't name come behind); None: what the recipe's
    `evaluation.arms` says where there is one run, else the base and RUNS. The first arm is the one that others are
    held against, unless REFERENCE names another. PART says on which rows: those held out (`eval`), or those kept apart
    for the last word (`test`). OVERRIDES (`evaluation.temperature=0.7`) change the recipe's evaluation for this
    comparison. BENCHMARKS are tasks of lm_eval, those in the folder BENCHMARK_PATH where one is
    named (offline), BENCHMARK_LIMIT questions of each at most.
    """

    folder: Path
    runs: tuple[Path, ...]
    rows: int | None = None
    arms: tuple[str, ...] | None = None
    reference: str | None = None
    part: Literal["eval", "test"] = "eval"
    overrides: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    benchmark_path: Path | None = None
    benchmark_limit: int | None = None


@dataclass(frozen=True)
class Chat:
    """Answer the last turn of the conversation in the folder (see `core.chatlog`) with the base and the tuned models of
    RUNS, from as few loads of the weights as can be."""

    folder: Path
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class Unload:
    """Free the base model that is kept loaded between jobs."""


Job = Train | Answer | Compare | Chat | Unload
