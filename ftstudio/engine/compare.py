"""Base and tuned on the same held-out rows: answers from one load of the weights, scores, report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Compare
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.data.example import Example
from ftstudio.engine import forgetting, judging
from ftstudio.engine.answer import NAME as ANSWERS
from ftstudio.engine.answer import base_folder
from ftstudio.engine.answering import Answering, decoding_of, pad_token, questions, versions_alert
from ftstudio.engine.arms import BASE, Arms, Tuned
from ftstudio.engine.context import JobContext
from ftstudio.engine.generation import Decoding
from ftstudio.engine.materials import Materials
from ftstudio.engine.outputs import Outputs, settings_of
from ftstudio.engine.prepare import resolve, versions
from ftstudio.engine.recipes import load_recipe
from ftstudio.evaluation import comparison, own, similarity

REPORT = "report.json"


def run(job: Compare, context: JobContext) -> None:
    """Do JOB: `<folder>/base.jsonl` and `<folder>/<run>.jsonl` grow batch by batch in turn, then `<folder>/report.json`
    is written whole. Answers made before under the same settings are kept. Raises Stopped and StudioError."""
    began = time.monotonic()
    context.phase("preparing data", "")
    tuned, recipe, materials, examples = _gather(job)
    arms = Arms(context.models, recipe, tuned)
    decoding = decoding_of(recipe)
    asked, left_out = questions(examples, materials)
    if not asked:
        raise StudioError(f"No held-out row can be answered: {left_out[0][1]}.", "Look at the rows: ftstudio data.")
    folder = context.folder
    folder.emit(
        "start",
        rows=len(asked),
        arms=arms.names,
        model=recipe.model,
        tokens_limit=decoding.max_new_tokens,
        decoding=decoding.signature(),
        device=arms.spec.device,
    )
    if left_out:
        text = f"{len(left_out)} held-out rows are left out (row {left_out[0][0]}: {left_out[0][1]})."
        folder.emit("alert", level="warning", text=text)
    versions_alert(recipe, folder)
    context.phase("loading model", recipe.model)
    checks = arms.check([question.prompts[BASE] for question in asked], pad_token(materials[BASE]))
    outputs = _outputs(folder, arms, materials, decoding)
    _borrow(outputs[BASE], recipe, materials[BASE], arms, decoding, tuned[0].run)
    answering = Answering(context, arms, materials, outputs, decoding)
    rows = sorted(answering.run(asked))
    forgotten = _forgetting(context, arms, materials) if recipe.evaluation.forgetting else None
    context.check()
    context.phase("scoring", "metrics, similarity, error categories")
    report = _score(context, recipe, materials[BASE], outputs, rows, forgotten)
    report |= {
        "run": tuned[0].name,
        "runs": [{"name": arm.name, "path": str(arm.run.path), "method": arm.recipe.method.name} for arm in tuned],
        "model": recipe.model,
        "data": recipe.data.source,
        "decoding": decoding.signature(),
        "device": arms.spec.device,
        "dtype": arms.spec.dtype,
        "answering": {"tokens_per_second": answering.speed.rate, "seconds": answering.speed.seconds},
        "checks": {
            name: {"base_logit_difference": check.base, "tuned_logit_difference": check.tuned}
            for name, check in checks.items()
        },
        "versions": versions(),
        "time": time.time(),
    }
    files.write_json(folder.path / REPORT, report)
    for pair in report["identical"]:
        folder.emit("alert", level="warning", text=f"{pair[0]} and {pair[1]} give the same answer to every row.")
    folder.emit(
        "done",
        rows=len(rows),
        headline=headline(report),
        differences=[entry for entry in report["differences"] if entry["a"] == BASE],
        seconds=time.monotonic() - began,
        path=str(folder.path / REPORT),
    )


def _gather(job: Compare) -> tuple[list[Tuned], Recipe, dict[str, Materials], list[tuple[int, Example]]]:
    """(tuned arms, the first run's recipe, materials by arm, held-out examples)."""
    if not job.runs:
        raise UsageError("There is no run to compare.", "Name a run; `ftstudio runs` lists them.")
    tuned: list[Tuned] = []
    materials: dict[str, Materials] = {}
    examples: list[tuple[int, Example]] = []
    for path in job.runs:
        run = RunFolder(Path(path))
        recipe, own = resolve(load_recipe(run.recipe_path))
        name = _unused(run.name, {BASE, *materials})
        count = job.rows or (tuned[0].recipe if tuned else recipe).evaluation.rows
        if not tuned:
            materials[BASE] = own
            examples = own.examples(count)
        elif own.examples(count) != examples:
            raise StudioError(
                f"{run.name} was trained with other held-out rows than {tuned[0].name}.",
                "Compare runs of the same data, data.eval and training.seed.",
            )
        materials[name] = own
        tuned.append(Tuned(name, run, recipe))
    return tuned, tuned[0].recipe, materials, examples


def _unused(name: str, taken: set[str]) -> str:
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found


def _outputs(
    folder: JobFolder, arms: Arms, materials: Mapping[str, Materials], decoding: Decoding
) -> dict[str, Outputs]:
    found = {}
    for name in arms.names:
        own = materials[name]
        weights = arms.tuned[name].run.model if name in arms.tuned else None
        settings = settings_of(own, own.recipe, arms.specification(name), decoding, weights)
        found[name] = Outputs(folder.path, name, settings)
    return found


def _borrow(
    outputs: Outputs, recipe: Recipe, materials: Materials, arms: Arms, decoding: Decoding, run: RunFolder
) -> None:
    """Take the base's answers from where Errors or an earlier comparison wrote them."""
    settings = settings_of(materials, recipe, arms.spec, decoding, None)
    workspace = Workspace(run.path.parent.parent)
    outputs.borrow(base_folder(workspace, recipe).path, ANSWERS, settings, BASE)
    for other in workspace.runs():
        if other.path != run.path:
            outputs.borrow(other.compare.path, BASE, settings, BASE)


def _score(
    context: JobContext,
    recipe: Recipe,
    materials: Materials,
    outputs: Mapping[str, Outputs],
    rows: Sequence[int],
    forgotten: dict[str, Any] | None,
) -> dict[str, Any]:
    """The comparison's report of the answers to ROWS. Without its embedding the rest is scored all the same."""
    predictions = {name: kept.chosen(rows) for name, kept in outputs.items()}
    metrics = judging.metrics_of(recipe)
    embedder = None
    if "similarity" in metrics:
        try:
            embedder = similarity.load_embedder(recipe.evaluation.similarity)
        except StudioError as error:
            context.folder.emit("alert", level="warning", text=f"Similarity isn't measured: {error}")
    return comparison.compare(
        [comparison.Arm(name, chosen) for name, chosen in predictions.items()],
        judging.context_of(materials, predictions[BASE], _own(context.folder)),
        embedder,
        metrics,
        forgetting=forgotten,
        seed=recipe.training.seed,
    )


def _own(folder: JobFolder) -> tuple[own.OwnCategory, ...]:
    """The categories of the workspace that FOLDER, a run's `compare`, lies in; a faulty file costs only them."""
    try:
        return own.load(folder.path.parents[2])
    except StudioError as error:
        folder.emit("alert", level="warning", text=f"Your own categories are left out: {error}")
        return ()


def _forgetting(context: JobContext, arms: Arms, materials: Mapping[str, Materials]) -> dict[str, Any] | None:
    """Bits a byte on the general text that ftstudio ships, of the base and of every tuned arm."""
    from ftstudio import demo

    context.phase("scoring", "forgetting: bits a byte on general text")
    try:
        texts = forgetting.documents(demo.GENERAL)
    except OSError as error:  # a broken installation must not cost the comparison
        context.folder.emit(
            "alert", level="warning", text=f"Forgetting isn't measured: {files.explain(error, demo.GENERAL)}"
        )
        return None
    found: dict[str, forgetting.Bits] = {}
    for group in arms.groups:
        for name in group:
            context.check()
            with arms.use(name) as model:
                found[name] = forgetting.bits_per_byte(
                    model, materials[name].tokenizer, texts, should_stop=context.should_stop
                )
    base, first = found[BASE], found[next(iter(arms.tuned))]
    return {
        "base_bits_per_byte": base.per_byte,
        "tuned_bits_per_byte": first.per_byte,
        "change": first.per_byte - base.per_byte,
        "text": "general text of ftstudio",
        "bytes": base.bytes,
        "tokens": base.tokens,
        "arms": {name: bits.per_byte for name, bits in found.items()},
    }


def headline(report: Mapping[str, Any]) -> str:
    """The report in one line: each main metric's difference with its interval, base against the first run."""
    from ftstudio.evaluation.metrics import TITLES

    parts = [
        f"{TITLES.get(entry['metric'], entry['metric'])} {entry['difference']:+.3f} "
        f"[{entry['low']:+.3f}, {entry['high']:+.3f}]"
        for entry in report["differences"]
        if entry["a"] == BASE
        and entry["b"] == report["run"]
        and entry["metric"] in ("rougeL", "similarity", "exact_match")
    ]
    forgotten = report.get("forgetting")
    if forgotten:
        parts.append(f"general text {forgotten['change']:+.3f} bits a byte")
    return " · ".join(parts)
