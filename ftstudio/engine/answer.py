"""Answer held-out rows with a base model or a run's tuned one: the Errors screen's job."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Answer
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace, slug
from ftstudio.engine.answering import Answering, decoding_of, questions, versions_alert
from ftstudio.engine.arms import BASE, Arms, Tuned
from ftstudio.engine.cache import AnswerCache, lasting
from ftstudio.engine.context import JobContext
from ftstudio.engine.outputs import Outputs, settings_of
from ftstudio.engine.prepare import resolve
from ftstudio.engine.reshaping import untouched

NAME = "outputs"


def base_folder(workspace: Workspace, recipe: Recipe) -> JobFolder:
    """Where the base model's answers to RECIPE's held-out rows are kept: one folder for a model (quantised or not) and
    held-out rows. RECIPE as the run resolved it. Never opens data or model."""
    method = recipe.method.settings.get("quantisation") if recipe.method.name == "qlora" else None
    resolved = (recipe.resolved or {}).get("data") or {}
    key = [
        recipe.model,
        str(method),
        _data(recipe),
        str(recipe.data.eval),
        str((resolved.get("train") or {}).get("sha256")),
        str((resolved.get("eval") or {}).get("sha256")),
        str(recipe.rows_seed),
        *([json.dumps(recipe.options, sort_keys=True)] if recipe.options else []),
    ]
    mark = hashlib.blake2b("\n".join(key).encode(), digest_size=4).hexdigest()
    names = (Path(recipe.model).name, Path(recipe.data.first).parent.name, Path(recipe.data.first).stem)
    return workspace.base_errors("-".join([slug("-".join(name for name in names if name))[:38], mark]))


def _data(recipe: Recipe) -> str:
    """What tells the rows of RECIPE's data from others: the path, or all that a mix says."""
    return recipe.data.train if isinstance(recipe.data.train, str) else recipe.data.model_dump_json()


def run(job: Answer, context: JobContext) -> None:
    """Do JOB: `<folder>/outputs.jsonl` grows by the answers, in batches; rows answered before under the same settings
    are kept. Raises Stopped and StudioError."""
    began = time.monotonic()
    context.phase("preparing data", "")
    recipe, materials = resolve(job.recipe if job.run is not None else untouched(job.recipe))
    examples = materials.examples(job.rows or recipe.evaluation.rows)
    name = BASE if job.run is None else RunFolder(job.run).name
    tuned = [] if job.run is None else [Tuned(name, RunFolder(job.run), recipe)]
    arms = Arms(context.models, recipe, tuned, task=materials.task)
    decoding = decoding_of(recipe)
    asked, left_out = questions(examples, {name: materials})
    folder = context.folder
    folder.emit(
        "start",
        rows=len(asked),
        arms=[name],
        model=recipe.model,
        tokens_limit=decoding.max_new_tokens,
        decoding=decoding.signature(),
        device=arms.spec.device,
        stored=arms.specification(name).stored,
    )
    if left_out:
        text = f"{len(left_out)} held-out rows are left out (row {left_out[0][0]}: {left_out[0][1]})."
        folder.emit("alert", level="warning", text=text)
    if job.run is not None:
        versions_alert(recipe, folder, arms)
    weights = RunFolder(job.run).model if job.run is not None else None
    settings = settings_of(materials, recipe, arms.specification(name), decoding, weights)
    outputs = Outputs(folder.path, NAME, settings)
    # the folder is <workspace>/runs/<run>/errors or <workspace>/errors/<base>
    place = Workspace(folder.path.parents[2 if job.run is not None else 1]).answers_path
    cache = AnswerCache(place, lasting(settings, stop=None))
    answering = Answering(context, arms, {name: materials}, {name: outputs}, decoding, cache={name: cache})
    rows = answering.run(asked)
    chosen = outputs.chosen(rows)
    folder.emit(
        "done",
        rows=len(chosen),
        ended=sum(bool(row.ended) for row in chosen),
        tokens_per_second=answering.speed.rate,
        seconds=time.monotonic() - began,
        path=str(outputs.path),
    )
