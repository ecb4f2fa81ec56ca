"""Two to four arms on the same held-out rows: answers from as few loads of the weights as can be, scores, report.

`report.json` is what `evaluation.comparison.compare` gives, and beside it: `run`, `runs`, `model`, `data`, `decoding`,
`device`, `dtype`, `answering`, `checks`, `versions`, `time`, and

- `arms[i].trained` of a run whose model isn't that of its last step: see `core.run.Story.trained`;
- `arms[i].kind` is `base`, `run`, `file` or `server`; `spec` the text that asked for it; `weights` whose weights answer
  (`base`, a run, `run@step`); `stored` `{weights, computes}` how they are stored (`nf4`, `float32`) and the precision
  they are unpacked to: the base of a QLoRA run is quantised, `dtype` being what it computes in; `step` of a
  checkpoint; `shots` `{count, choice, rows, cut, none}` where it is shown
  examples: `rows` the training rows that all questions are shown (None where every question has its own), `cut` the
  held-out rows that had room for fewer, `none` those for none; `prompt_tokens` `{mean, longest}`; `usage` of a server;
- `left_out` `[{row, reason}]`: held-out rows without an answer of every arm;
- `reference`: the arm that the others are held against, the first one unless another was asked for;
- `repeats`: how often every row was answered by every arm (sampled decoding alone), the scores being their means;
- `part`: which rows were answered: `eval`, those held out while training, or `test`, those kept apart;
- `leak`: held-out rows that stand in the training rows of a run among the arms or of one that its model is built on,
  see `evaluation.leaks.told_by_run`;
- `signature`: hashes of models, data and rows, the seed, see `engine.signing`; `digest`: SHA-256 of all else in it;
- `benchmarks`, see `engine.harness` (None where none was asked for);
- `forgetting`, see `engine.panel`; `judge`, see `engine.judge` (None where the recipe names none).

`report.md` and `report.html` say the same to people. The report is written once the answers are scored, and again with
what comes after: forgetting, the judge, benchmarks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Compare
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import harness, judging, outside, signing, text_likelihood
from ftstudio.engine.answer import NAME as ANSWERS
from ftstudio.engine.answer import base_folder
from ftstudio.engine.answering import (
    Answering,
    Question,
    decoding_of,
    pad_token,
    questions,
    repeats,
    versions_alert,
)
from ftstudio.engine.arms import BASE, Arms, Check
from ftstudio.engine.cache import AnswerCache, lasting
from ftstudio.engine.context import JobContext
from ftstudio.engine.gathering import Gathered, gather
from ftstudio.engine.generation import Decoding
from ftstudio.engine.judge import Judging
from ftstudio.engine.leaking import leaks_of
from ftstudio.engine.materials import Materials
from ftstudio.engine.outputs import Outputs, settings_of
from ftstudio.engine.panel import Panel
from ftstudio.engine.prepare import versions
from ftstudio.engine.shots import FewShot
from ftstudio.evaluation import comparison, extras, own, publish, similarity

REPORT = "report.json"


def run(job: Compare, context: JobContext) -> None:
    """Do JOB: `<folder>/<arm>.jsonl` of every arm grow batch by batch in turn, then `<folder>/report.json` is written
    whole. Answers made before under the same settings are kept. Raises Stopped and StudioError."""
    began = time.monotonic()
    context.phase("preparing data", "")
    found = gather(job, context.should_stop)
    reference = _reference(job, found)
    recipe, folder = found.recipe, context.folder
    arms = Arms(context.models, recipe, list(found.tuned.values()), found.views, found.own.task)
    decoding = decoding_of(recipe)
    asked, left_out = questions(found.examples, found.materials or {BASE: found.own})
    left_out = found.left_out + left_out
    if not asked:
        raise StudioError(f"No held-out row can be answered: {left_out[0][1]}.", "Look at the rows: ftstudio data.")
    folder.emit(
        "start",
        rows=len(asked),
        arms=list(found.specs),
        model=recipe.model,
        tokens_limit=decoding.max_new_tokens,
        decoding=decoding.signature(),
        device=arms.spec.device,
    )
    if left_out:
        text = f"{len(left_out)} held-out rows are left out (row {left_out[0][0]}: {left_out[0][1]})."
        folder.emit("alert", level="warning", text=text)
    versions_alert(recipe, folder, arms)
    checks: dict[str, Check] = {}
    if found.tuned:
        context.phase("loading model", recipe.model)
        as_base = next((name for name in found.materials if found.weights(name) == BASE), None)
        if as_base is not None or not recipe.architecture.changes:  # else they hold tokens that the base hasn't
            first = [question.prompts[as_base or next(iter(question.prompts))] for question in asked]
            checks = arms.check(first, pad_token(found.own))
    stored = {name: outside.stored(found.specs[name], asked, folder) for name in found.of("file")}
    answering = _answering(context, found, arms, decoding)
    answering.run(asked)
    usage = {}
    for name in found.of("server"):
        stored[name], usage[name] = outside.served(context, found, name, asked, decoding)
    known: dict[str, Mapping[int, Any]] = {name: outputs.known for name, outputs in answering.outputs.items()}
    known |= {name: rows for name, rows in stored.items() if rows}
    names = [name for name in found.specs if name in known]
    if len(names) < 2:
        raise StudioError("Fewer than two arms have answers.", "See the warnings above; start again to go on.")
    rows = sorted(question.row for question in asked if all(question.row in kept for kept in known.values()))
    answered = set(rows)
    left_out += [
        (question.row, f"{', '.join(name for name in known if question.row not in known[name])} has no answer")
        for question in asked
        if question.row not in answered
    ]
    if not rows:
        raise StudioError(f"No row has an answer of every arm: {left_out[0][1]}.", "Leave that arm out.")
    context.check()
    context.phase("scoring", "metrics, similarity, error categories")
    predictions: dict[str, list[Any]] = {name: [known[name][row] for row in rows] for name in names}
    if found.own.task.likelihood:
        mine = {name: predictions[name] for name in names if name in found.materials}
        writers = {
            name: part.materials if isinstance(part, FewShot) else part for name, part in found.materials.items()
        }
        predictions |= text_likelihood.told(context, arms, writers, asked, mine)
    more = [
        {name: answering.outputs[f"{name}.repeat-{number}"].chosen(rows) for name in found.materials}
        for number in range(2, len(repeats(decoding, recipe.evaluation.repeats)) + 1)
    ]
    report = _score(context, recipe, found, predictions, more, reference)
    for entry in report["arms"]:
        entry |= _told(found, arms, entry["name"], asked, rows, usage.get(entry["name"]))
    report |= {
        "run": found.run.name,
        "runs": [
            {"name": arm.name, "path": str(arm.run.path), "method": arm.recipe.method.name}
            for arm in found.tuned.values()
        ],
        "model": recipe.model,
        "data": recipe.data.source,
        "part": job.part,
        "decoding": decoding.signature(),
        "repeats": len(more) + 1,
        "left_out": [{"row": row, "reason": reason} for row, reason in left_out],
        "device": arms.spec.device,
        "dtype": arms.spec.dtype,
        "answering": {"tokens_per_second": answering.speed.rate, "seconds": answering.speed.seconds},
        "checks": {
            name: {"base_logit_difference": check.base, "tuned_logit_difference": check.tuned}
            for name, check in checks.items()
        },
        "versions": versions(),
        "signature": signing.signature(found, rows, arms),
        "time": time.time(),
        "judge": None,
        "benchmarks": None,
    }
    files.write_json(folder.path / REPORT, report)
    if recipe.evaluation.forgetting and found.tuned:
        report["forgetting"] = _forgetting(context, found, arms, report)
        files.write_json(folder.path / REPORT, report)
    if recipe.evaluation.judge is not None:
        report["judge"] = _judged(context, found, arms, predictions, reference)
        files.write_json(folder.path / REPORT, report)
    if job.benchmarks:
        report["benchmarks"] = harness.run(job, context, found, arms, reference)
    report["digest"] = signing.digest(report)
    files.write_json(folder.path / REPORT, report)
    publish.write(report, folder.path)
    for pair in report["identical"]:
        folder.emit("alert", level="warning", text=f"{pair[0]} and {pair[1]} give the same answer to every row.")
    folder.emit(
        "done",
        rows=len(rows),
        headline=headline(report),
        differences=[entry for entry in report["differences"] if entry["a"] == reference],
        seconds=time.monotonic() - began,
        path=str(folder.path / REPORT),
    )


def _reference(job: Compare, found: Gathered) -> str:
    """The name of the arm that the others are held against."""
    names = list(found.specs)
    if job.reference is None:
        return names[0]
    for name, spec in found.specs.items():
        if job.reference in (name, spec.text):
            return name
    raise UsageError(f"{job.reference} is no arm of this comparison.", f"Arms: {', '.join(names)}.")


def _answering(context: JobContext, found: Gathered, arms: Arms, decoding: Decoding) -> Answering:
    """What asks the arms that a model here answers, every repeat as an arm of its own."""
    recipe, folder = found.recipe, context.folder
    outputs: dict[str, Outputs] = {}
    copies: dict[str, str] = {}
    decodings: dict[str, Decoding] = {}
    cache: dict[str, AnswerCache] = {}
    place = Workspace(found.run.path.parent.parent).answers_path
    for number, one in enumerate(repeats(decoding, recipe.evaluation.repeats), 1):
        for name, materials in found.materials.items():
            weights = found.weights(name)
            tuned = found.tuned.get(weights)
            settings = settings_of(
                materials.materials if isinstance(materials, FewShot) else materials,
                materials.recipe,
                arms.specification(name),
                one,
                tuned.weights if tuned is not None else None,
            )
            lasts = lasting(settings, stop=materials.stop if isinstance(materials, FewShot) else None)
            if isinstance(materials, FewShot):
                settings |= {"shots": found.specs[name].text.partition("+")[2], "train": found.own.train.hash}
            key = name if number == 1 else f"{name}.repeat-{number}"
            outputs[key] = Outputs(folder.path, key, settings)
            cache[key] = AnswerCache(place, lasts)
            decodings[key] = one
            if key != name:
                copies[key] = name
                arms.view(key, weights)
    if BASE in outputs and not isinstance(found.materials[BASE], FewShot):
        _borrow(outputs[BASE], recipe, found.own, arms, decoding, found.run, found.part)
    return Answering(context, arms, found.materials, outputs, decoding, copies, decodings, cache)


def _borrow(
    outputs: Outputs, recipe: Recipe, materials: Materials, arms: Arms, decoding: Decoding, run: RunFolder, part: str
) -> None:
    """Take the base's answers from where Errors or an earlier comparison wrote them."""
    settings = settings_of(materials, recipe, arms.spec, decoding, None)
    workspace = Workspace(run.path.parent.parent)
    outputs.borrow(base_folder(workspace, recipe).path, ANSWERS, settings, BASE)
    for other in workspace.runs():
        if other.path != run.path:
            outputs.borrow(other.compared_on(part).path, BASE, settings, BASE)


def _told(
    found: Gathered, arms: Arms, name: str, asked: Sequence[Question], rows: Sequence[int], usage: Any
) -> dict[str, Any]:
    """What the report says of arm NAME beside its metrics; see the top of this file."""
    spec, chosen = found.specs[name], set(rows)
    told: dict[str, Any] = {"kind": spec.kind, "spec": spec.text}
    if usage is not None:
        told["usage"] = usage
    if name not in found.materials:
        return told
    told["weights"] = found.weights(name)
    told["stored"] = arms.specification(name).stored
    if spec.step is not None:
        told["step"] = spec.step
    elif (arm := found.tuned.get(found.weights(name))) is not None and arm.folder is None:
        story = Story()
        story.feed(arm.run.events())
        if story.trained is not None:
            told["trained"] = story.trained
    lengths = [len(question.ids[name]) for question in asked if question.row in chosen]
    told["prompt_tokens"] = {"mean": sum(lengths) / len(lengths), "longest": max(lengths)}
    if spec.shots:
        shown = {question.row: question.shots[name] for question in asked if question.row in chosen}
        whole = {rows for rows in shown.values() if len(rows) == spec.shots}
        told["shots"] = {
            "count": spec.shots,
            "choice": spec.choice,
            "rows": list(whole.pop()) if len(whole) == 1 else None,
            "cut": [row for row, rows in shown.items() if 0 < len(rows) < spec.shots],
            "none": [row for row, rows in shown.items() if not rows],
        }
    return told


def _score(
    context: JobContext,
    recipe: Recipe,
    found: Gathered,
    predictions: Mapping[str, Sequence[Any]],
    more: Sequence[Mapping[str, Sequence[Any]]],
    reference: str,
) -> dict[str, Any]:
    """The comparison's report of PREDICTIONS by arm and MORE repeats of them. Without its embedding the rest is scored
    all the same."""
    materials, metrics = found.own, judging.metrics_of(recipe)
    embedder = None
    if "similarity" in metrics:
        try:
            embedder = similarity.load_embedder(recipe.evaluation.similarity)
        except StudioError as error:
            context.folder.emit("alert", level="warning", text=f"Similarity isn't measured: {error}")
    names = [reference, *(name for name in predictions if name != reference)]
    return comparison.compare(
        [comparison.Arm(name, predictions[name], [part[name] for part in more if name in part]) for name in names],
        judging.context_of(materials, predictions[reference], _own(context.folder)),
        embedder,
        metrics,
        seed=recipe.training.seed,
        extras=_extras(context.folder, metrics),
        rows=judging.rows_of(materials, [row.row for row in predictions[reference]]),
        leak=leaks_of(materials, predictions[reference], context.should_stop, found.trained),
    ) | {"reference": reference}


def _extras(folder: JobFolder, metrics: Sequence[str]) -> list[extras.Extra]:
    """The person's own metrics among METRICS; one that can't be loaded costs itself alone."""
    found = []
    for name in filter(extras.is_extra, metrics):
        try:
            found.append(extras.load(name, folder.path.parents[2]))
        except StudioError as error:
            folder.emit("alert", level="warning", text=f"{name} isn't measured: {error}")
    return found


def _own(folder: JobFolder) -> tuple[own.OwnCategory, ...]:
    """The categories of the workspace that FOLDER, a run's `compare`, lies in; a faulty file costs only them."""
    try:
        return own.load(folder.path.parents[2])
    except StudioError as error:
        folder.emit("alert", level="warning", text=f"Your own categories are left out: {error}")
        return ()


def _judged(
    context: JobContext, found: Gathered, arms: Arms, predictions: Mapping[str, Sequence[Any]], reference: str
) -> dict[str, Any] | None:
    """What the recipe's judge finds, the reference against every other arm."""
    settings = found.recipe.evaluation.judge
    assert settings is not None
    if not found.own.task.generates:
        context.folder.emit("alert", level="warning", text="The judge is left out: these answers are no texts.")
        return None
    ordered = {reference: predictions[reference]} | dict(predictions)
    return Judging(context, found.recipe, settings, ordered).run(arms)


def _forgetting(context: JobContext, found: Gathered, arms: Arms, report: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the tuned weights lost off the task; a broken installation must not cost the comparison."""
    context.phase("scoring", "forgetting")
    try:
        return Panel(context, found, arms).run(report)
    except OSError as error:
        text = f"Forgetting isn't measured: {files.explain(error, str(error.filename or 'a file of ftstudio'))}"
        context.folder.emit("alert", level="warning", text=text)
        return None


def headline(report: Mapping[str, Any]) -> str:
    """The report in one line: the differences that decide, with their intervals, the reference against the run."""
    from ftstudio.evaluation.metrics import title
    from ftstudio.evaluation.pairing import decide

    pair = (report["reference"], _main(report))
    own = [entry for entry in report["differences"] if (entry["a"], entry["b"]) == pair]
    parts = [
        f"{title(entry['metric'], report.get('titles'))} {entry['difference']:+.3f} "
        f"[{entry['low']:+.3f}, {entry['high']:+.3f}]"
        for entry in decide(own).told[:2]
    ]
    forgotten = report.get("forgetting")
    if forgotten and forgotten["change"] is not None:
        parts.append(f"general text {forgotten['change']:+.3f} bits a byte")
    return " · ".join(parts)


def _main(report: Mapping[str, Any]) -> str:
    """The arm that a report is about: the run's own, else the last."""
    names = [arm["name"] for arm in report["arms"]]
    return str(report["run"] if report["run"] in names and report["run"] != report["reference"] else names[-1])
