"""Benchmarks by lm_eval, in a process of its own: its libraries and its memory stay out of the studio's.

`report.benchmarks` is `{tasks, version, limit, complete, reason, differences}`: `differences` a list of
`{task, metric, a, b, value_a, value_b, difference, low, high, p, p_holm, n, verdict, needed}`, the reference against
every other arm, over the same questions (paired bootstrap; McNemar for right and wrong; Holm over all). What a model
scored is kept in `<folder>/benchmarks.jsonl` by weights, task and limit, and isn't measured again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.jobs import Compare
from ftstudio.core.text import one_line
from ftstudio.engine.arms import Arms
from ftstudio.engine.context import JobContext
from ftstudio.engine.gathering import Gathered
from ftstudio.engine.locate import locate
from ftstudio.engine.marks import texts_mark, weights_mark
from ftstudio.evaluation import statistics
from ftstudio.evaluation.directions import HIGHER_IS_BETTER
from ftstudio.evaluation.power import more_rows

FILE = "benchmarks.jsonl"
_OF_TASKS = (".yaml", ".yml", ".py", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet", ".arrow")
Values = dict[str, dict[str, dict[int, float]]]  # task to metric to question to value
Directions = Mapping[str, Mapping[str, bool]]  # task to metric to whether higher is better


def run(job: Compare, context: JobContext, found: Gathered, arms: Arms, reference: str) -> dict[str, Any]:
    """The report's part: JOB's benchmarks on all weights that are compared. A failure is told; Stopped is raised."""
    names = [name for name in found.specs if name in found.materials and name not in arms.views]
    told: dict[str, Any] = {"tasks": list(job.benchmarks), "version": _version(), "limit": job.benchmark_limit}
    try:
        scored, failure = _scored(job, context, found, arms, names)
    except Stopped:
        raise
    except StudioError as error:
        scored, failure = {}, str(error)
    if failure:
        context.folder.emit("alert", level="warning", text=f"Benchmarks: {failure}")
    ways = _directions(context.folder.path / FILE)
    first = reference if reference in scored else next(iter(scored), reference)
    differences = [entry for name in scored if name != first for entry in compared(first, name, scored, ways)]
    for entry, p in zip(differences, statistics.holm([entry["p"] for entry in differences]), strict=True):
        entry["p_holm"] = p
        if entry["n"] >= statistics.FEWEST and p >= statistics.ALPHA:
            entry["verdict"] = statistics.UNCLEAR
        clear = entry["verdict"] in ("better", "worse", "greater", "smaller")
        entry["needed"] = 0 if clear else more_rows(entry["difference"], entry["low"], entry["high"], entry["n"])
    return told | {"complete": not failure, "reason": failure, "differences": differences}


def compared(
    a: str, b: str, scored: Mapping[str, Values], directions: Directions | None = None
) -> list[dict[str, Any]]:
    """Arm B against A on every task and metric that both have, over the questions of both. DIRECTIONS are the tasks'
    own word on whether higher is better; where neither they nor `directions` know a metric, no end is the good one."""
    found = []
    for task, metrics in scored[a].items():
        for metric, before in metrics.items():
            after = scored[b].get(task, {}).get(metric, {})
            both = [question for question in before if question in after]
            if not both:
                continue
            x, y = [before[question] for question in both], [after[question] for question in both]
            difference, low, high, p = statistics.paired(x, y)
            if set(x) | set(y) <= {0.0, 1.0}:
                p = statistics.mcnemar(
                    sum(u > v for u, v in zip(x, y, strict=True)), sum(v > u for u, v in zip(x, y, strict=True))
                )
            name = metric.partition(",")[0]  # without the filter of the answer
            higher = (directions or {}).get(task, {}).get(name, HIGHER_IS_BETTER.get(name))
            found.append(
                {"task": task, "metric": metric, "a": a, "b": b, "value_a": sum(x) / len(x), "value_b": sum(y) / len(y),
                 "difference": difference, "low": low, "high": high, "p": p, "p_holm": None, "n": len(both),
                 "verdict": statistics.verdict(low, high, len(both), higher)}
            )  # fmt: skip
    return found


def _scored(
    job: Compare, context: JobContext, found: Gathered, arms: Arms, names: Sequence[str]
) -> tuple[dict[str, Values], str]:
    """(what every arm scored, why not all of it could be measured)."""
    tasks = _tasks_mark(job.benchmark_path) if job.benchmark_path is not None else None
    keys = {name: _key(job, found, arms, name, tasks) for name in names}
    path = context.folder.path / FILE
    texts = texts_mark(locate(found.recipe.model).folder)
    known = _known(path, keys, texts)
    missing = {name: [task for task in job.benchmarks if task not in known.get(name, {})] for name in names}
    missing = {name: wanted for name, wanted in missing.items() if wanted}
    failure = ""
    if missing:
        if importlib.util.find_spec("lm_eval") is None:
            raise StudioError("lm_eval isn't installed.", "pip install ftstudio[harness]")
        context.phase("benchmarks", f"lm_eval: {', '.join(job.benchmarks)}")
        context.models.unload()  # the other process needs the room
        failure = _child(job, context, missing, keys, path, texts)
        known = _known(path, keys, texts)
    groups = {name: {label: values for part in tasks.values() for label, values in part.items()}
              for name, tasks in known.items()}  # fmt: skip
    return {name: groups[name] for name in names if name in groups}, failure


def _child(
    job: Compare,
    context: JobContext,
    missing: Mapping[str, Sequence[str]],
    keys: Mapping[str, str],
    path: Path,
    texts: str,
) -> str:
    """Measure what is MISSING in another process, which appends it to PATH; why it failed, or nothing. TEXTS: the mark
    of the tokenizer."""
    place = job.benchmark_path.expanduser().absolute() if job.benchmark_path is not None else None
    if place is not None and not place.is_dir():
        raise StudioError(f"There is no folder of tasks {place}.", "Name the folder that holds the tasks' YAML files.")
    asked = {
        "folder": str(job.folder), "runs": [str(run) for run in job.runs], "arms": job.arms, "rows": job.rows,
        "overrides": list(job.overrides), "missing": {name: list(tasks) for name, tasks in missing.items()},
        "keys": dict(keys), "out": str(path), "include": str(place) if place is not None else None,
        "limit": job.benchmark_limit, "texts": texts,
    }  # fmt: skip
    command = [sys.executable, "-m", "ftstudio.engine.harness_child"]
    log = context.folder.path / "benchmarks.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w+", encoding="utf-8", errors="replace") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True, cwd=place
        )
        assert child.stdin is not None
        child.stdin.write(json.dumps(asked))
        child.stdin.close()
        while child.poll() is None:
            if context.should_stop():
                child.terminate()
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
                raise Stopped("Stopped while running benchmarks.", "What was measured is kept.")
            time.sleep(0.2)
    if child.returncode == 0:
        return ""
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    last = one_line(lines[-1], 300) if lines else f"exit status {child.returncode}"
    return f"lm_eval failed: {last} (see {log})"


def _known(path: Path, keys: Mapping[str, str], texts: str) -> dict[str, dict[str, Values]]:
    """What is measured already with the tokenizer of the mark TEXTS (older lines name none): arm, task that was asked
    for, then what it gave."""
    found: dict[str, dict[str, Values]] = {}
    for line in files.read_lines(path):
        for name, key in keys.items():
            same = line.get("key") == key and line.get("texts", texts) == texts
            if same and isinstance(line.get("values"), dict):
                found.setdefault(name, {})[str(line["task"])] = dict(_values(line["values"]))
    return found


def _directions(path: Path) -> dict[str, dict[str, bool]]:
    """What the tasks said of their metrics when they were measured."""
    found: dict[str, dict[str, bool]] = {}
    for line in files.read_lines(path):
        if isinstance(line.get("higher"), dict):
            for task, metrics in line["higher"].items():
                found.setdefault(task, {}).update(metrics)
    return found


def _values(tree: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, dict[int, float]]]]:
    for task, metrics in tree.items():
        yield task, {metric: {int(at): float(value) for at, value in rows.items()} for metric, rows in metrics.items()}


def _key(job: Compare, found: Gathered, arms: Arms, name: str, tasks: list[str] | None) -> str:
    """Stands for the weights of arm NAME and how they are asked; TASKS is the mark of a person's own."""
    tuned, spec = found.tuned.get(name), arms.specification(name)
    marks = [
        weights_mark(locate(found.recipe.model).folder),
        weights_mark(tuned.weights) if tuned is not None else None,
    ]
    return json.dumps([marks, spec.dtype, str(spec.quantisation), job.benchmark_limit, tasks, _version()])


def _tasks_mark(folder: Path) -> list[str]:
    """Which tasks lie in FOLDER: its path, and a hash of the names and contents of all files in it that tasks are made
    of. Questions are known by their number: after an edit they may be others."""
    found = hashlib.blake2b(digest_size=16)
    place = folder.expanduser().absolute()
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place)
        if path.suffix.lower() not in _OF_TASKS or not path.is_file():
            continue
        try:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "blake2b").hexdigest()
        except OSError as error:
            raise files.explain(error, path) from error
        found.update(f"{name.as_posix()}\0{content}\n".encode("utf-8", "surrogateescape"))
    return [str(place), found.hexdigest()]


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        return "not installed"
