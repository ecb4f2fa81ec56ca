"""`compare` of runs: which arms, held against which, and what the exit status says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ftstudio.cli.follow import Headless
from ftstudio.cli.output import Out
from ftstudio.core import arm as arms
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Compare
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace


def compare(arguments: argparse.Namespace, place: Workspace, out: Out) -> int:
    """Compare the arms that ARGUMENTS name, print the report."""
    from ftstudio.cli.inspect import read_report
    from ftstudio.evaluation import report

    runs = _runs(arguments, place)
    if arguments.votes:
        from ftstudio.cli.votes import votes

        return votes(arguments, [run.compared_on(arguments.on) for run in runs], out)
    job = job_of(arguments, runs)
    folder = runs[0].compared_on(arguments.on)
    with Headless(out) as headless:
        out.say(f"Comparing in {folder.path}")
        last = headless.run(job, folder.path)
    if last["kind"] == "failed":
        raise StudioError(last.get("text") or "Comparing failed.", last.get("hint") or "")
    if last["kind"] != "done":
        out.error("Stopped; the answers so far are kept.", f"`ftstudio compare {runs[0].name}` goes on.", 130)
        return 130
    value = read_report(folder)
    where = "" if out.json else f"\n\nTo hand on: {folder.path / 'report.html'} (also .md, .json)"
    out.result(value, report.compare_text(value) + where)
    return status(value, arguments.fail_if_worse, out)


def status(report: dict[str, Any], strict: bool, out: Out) -> int:
    """The exit status of a comparison with this REPORT: 1 where STRICT and what it is about is worse."""
    overall = main_verdict(report)
    if strict and overall is not None and overall["verdict"] == "worse":
        out.say(f"ftstudio: {overall['words']}")
        return 1
    return 0


def main_verdict(report: dict[str, Any]) -> dict[str, Any] | None:
    """The overall verdict on the run that REPORT is about (else the last arm), against the reference."""
    names = [arm["name"] for arm in report["arms"]]
    reference, run = report.get("reference", names[0]), report.get("run")
    about = run if run in names and run != reference else names[-1]
    return next((entry for entry in report["overall"] if (entry["a"], entry["b"]) == (reference, about)), None)


def _runs(arguments: argparse.Namespace, place: Workspace) -> list[RunFolder]:
    """The runs that are named, `last` where a baseline alone is; `key=value` among them are overrides."""
    arguments.overrides += [word for word in arguments.runs if "=" in word]
    names = [word for word in arguments.runs if "=" not in word]
    if not names and not (arguments.baseline or arguments.arms):
        raise UsageError("Compare which run?", "Name a run, `last`, or --predictions A B.")
    runs = [place.run(name) for name in names or ["last"]]
    if len({run.path for run in runs}) < len(runs):
        raise UsageError("A run is named twice.", "Name each run once; the base is compared anyway.")
    for run in runs:
        marks = (f"{run.name}@", *((f"{arms.TUNED}@",) if run is runs[0] else ()))
        asked = any(mark in (arguments.arms or "") for mark in marks)  # for a checkpoint of it
        if not run.model.is_dir() and not arguments.votes and not asked:
            hint = "Train it to its end first, or compare a checkpoint: --arms base,tuned@STEP."
            raise StudioError(f"{run.name} has no trained model; it is {run.state()}.", hint)
    return runs


def job_of(arguments: argparse.Namespace, runs: list[RunFolder]) -> Compare:
    """What the worker is asked. Raises UsageError."""
    chosen = tuple(text.strip() for text in arguments.arms.split(",") if text.strip()) if arguments.arms else None
    reference = None
    if arguments.baseline:
        spec = arms.parse(arguments.baseline)
        if spec.kind == "run" and spec.target in (runs[0].name, arms.TUNED) and spec.step is None and not spec.shots:
            raise UsageError(f"{runs[0].name} can't be held against itself.", "Name another run, or `base`.")
        if chosen is None:
            chosen = (spec.text, arms.TUNED, *(run.name for run in runs[1:]))
        elif spec.text not in chosen:
            chosen = (spec.text, *chosen)
        reference = spec.text
    overrides = list(arguments.overrides)
    if arguments.judge:
        overrides.append(f"evaluation.judge={json.dumps(_judge(arguments.judge))}")
    return Compare(
        runs[0].compared_on(arguments.on).path,
        tuple(run.path for run in runs),
        rows=arguments.rows,
        part=arguments.on,
        arms=chosen,
        reference=reference,
        overrides=tuple(overrides),
        benchmarks=tuple(name.strip() for name in (arguments.benchmark or "").split(",") if name.strip()),
        benchmark_path=Path(arguments.benchmark_path).absolute() if arguments.benchmark_path else None,
        benchmark_limit=arguments.benchmark_limit,
    )


def _judge(text: str) -> dict[str, str]:
    """The judge that TEXT names, as a recipe has it."""
    if not text.startswith(("http://", "https://")):
        return {"model": text}
    spec = arms.parse(text)
    return {"url": spec.target, "model": spec.model}
