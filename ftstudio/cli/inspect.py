"""`data`, `errors` and `compare`: looking at rows and answers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.cli.follow import EXIT, Headless
from ftstudio.cli.output import Out
from ftstudio.cli.train import load, recipe_path, workspace
from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Answer
from ftstudio.core.text import clean, number

if TYPE_CHECKING:
    from ftstudio.core.run import RunFolder
    from ftstudio.engine.materials import Materials
    from ftstudio.evaluation.context import Context
    from ftstudio.evaluation.predictions import Prediction
    from ftstudio.evaluation.tags import Tags


def data(arguments: argparse.Namespace, out: Out) -> int:
    """Profile and checks of a dataset; or its versions."""
    from ftstudio.cli import versions

    if versions.wanted(arguments):
        return versions.versions(arguments, out)
    from ftstudio.core import reading
    from ftstudio.data.aside import keep_aside
    from ftstudio.data.profile import profile_dataset
    from ftstudio.data.read import open_dataset
    from ftstudio.data.tokenizer import load_tokenizer
    from ftstudio.tasks.checked import by_name, encode_by

    how = reading.parse(arguments.reading)
    known_task(arguments.task)
    dataset = open_dataset(arguments.dataset, split=arguments.split, reading=how)
    if not len(dataset):
        raise StudioError(f"{clean(arguments.dataset)} holds no rows.", "Name a file with rows in it.")
    held_out = open_dataset(arguments.eval, reading=how) if arguments.eval else None
    unread = keep_aside(dataset, workspace(arguments).unread_path)
    value = profile_dataset(
        dataset,
        columns=columns_of(arguments.column),
        tokenizer=load_tokenizer(arguments.model) if arguments.model else None,
        template=arguments.template,
        max_length=arguments.max_length,
        held_out=held_out,
        checks=arguments.checks,
        task=arguments.task,
        by_task=by_name,
        encode=encode_by,
    )
    value |= {"reading": how.set, "unread_file": None if unread is None else str(unread)}
    out.result(value, data_text(value))
    return 1 if any(check["severity"] == "error" and check["count"] for check in value["checks"]) else 0


def known_task(name: str | None) -> None:
    """Raise UsageError where there is no task NAME."""
    from ftstudio import tasks

    if name is not None:
        tasks.get(name)


def columns_of(words: list[str]) -> dict[str, str | None] | None:
    """Role → column as --column WORDS map them; None where there are none. Raises UsageError."""
    found: dict[str, str | None] = {}
    for word in words:
        role, equals, name = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} maps no column.", "Write --column prompt=question --column completion=answer.")
        found[role] = name
    return found or None


def data_text(value: dict[str, Any]) -> str:
    """A profile for people."""
    from ftstudio.engine.left_out import numbered

    mapping = ", ".join(f"{role} ← {name}" for role, name in value["mapping"].items())
    lines = [
        f"{clean(value['source'])}: {number(value['rows'])} rows, {value['format']}, {value['encoding'] or 'binary'}",
        *([f"  read as     {clean(read_as(value), 300)}"] if value["details"] else []),
        f"  recognised  {value['shape'] or 'nothing'}: {clean(value['why'].removeprefix(value['source'] + ': '))}",
        *([f"  mapping     {clean(mapping)}"] if mapping else []),
        *([f"  template    {clean(value['template'], 60)}"] if value["template"] and _templated(value["task"]) else []),
    ]
    lines += [f"  column      {clean(column['name'], 40)} ({column['type']})" for column in value["columns"]]
    parted = value["shape"] != "text" and bool(value["lengths"].get("prompt", {}).get("max"))
    for name, found in value["lengths"].items():
        if name != "total" and not parted:
            continue  # running text and tagged words have no prompts: all of it is the one length
        unit, told = found.get("unit", "tokens"), name if parted else "length"
        lines.append(
            f"  {told:<11} median {number(found['p50'], 0)}, 95 % under {number(found['p95'], 0)}, "
            f"longest {number(found['max'], 0)} {unit}"
        )
    if value["tokens"]:
        tokens = value["tokens"]
        words = {"kept": "windows"} if value["task"] in ("causal-lm", "masked-lm") else {}
        words |= {"trained": "to be filled in, others in each epoch"} if value["task"] == "masked-lm" else {}
        told_tokens = (f"{number(n)} {words.get(k, k.replace('_', ' '))}" for k, n in tokens.items() if n)
        lines.append(f"  tokens      {', '.join(told_tokens)}")
    for side, mix in value["mixture"]["languages"].items():
        shares = ", ".join(f"{code} {100 * count / max(1, sum(mix.values())):.0f} %" for code, count in mix.items())
        lines.append(f"  language    {side}: {clean(shares, 120)}")
    if value["mixture"]["evenness"] is not None:
        made = value["mixture"]
        top = ", ".join(f"{label} {count:,}" for label, count in list(made["labels"].items())[:5])
        lines.append(
            f"  labels      {made['labels_total']:,}, even to {100 * made['evenness']:.0f} %: {clean(top, 160)}"
        )
    others = [one["task"] for one in value["tasks"] if one["task"] != value["task"]]
    if others:
        lines.append(f"  also suits  {', '.join(others)}")
    if value["unread"]:
        where = f", kept in {clean(value['unread_file'])}" if value["unread_file"] else ""
        lines.append(f"  ▲ {number(value['unread'])} rows could not be read{where}")
    for check in value["checks"]:
        mark = {"error": "✗", "warning": "▲"}.get(check["severity"], "·") if check["count"] else "✓"
        text = clean(check.get("text") or number(check["count"]))
        if check["name"] in ("unusable", "empty") and check["rows"]:  # of `unreadable` the text names lines
            text = f"{text.rstrip('.')} ({numbered([row + 1 for row in check['rows']])})."
        lines.append(f"  {mark} {check['name'].replace('_', ' ')}: {text}")
    lines += [f"  · {name} left out: {why}" for name, why in value["left_out"].items()]
    if not any(check["count"] for check in value["checks"]) and not value["unread"]:
        lines.append(f"  {_nothing(value)}")
    return "\n".join(lines)


def _templated(task: str | None) -> bool:
    """Whether rows of TASK are written out by a template before a model sees them."""
    from ftstudio import tasks

    return task is not None and bool(tasks.get(task).templates)


def _nothing(value: dict[str, Any]) -> str:
    """What is said where no check found anything: that is worth as much as was looked for."""
    from ftstudio.data.checks import CHECKS

    made = [name for name in value["checked"] if name not in value["left_out"]]
    if not made:
        return "· no checks were made"
    if len(value["checked"]) == len(CHECKS):
        return "✓ nothing wrong was found"
    return f"✓ none of the {len(made)} checks asked for found anything" if made[1:] else "✓ the check found nothing"


_SIGNS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "space"}


def read_as(value: dict[str, Any]) -> str:
    """How a file was read, in words."""
    parts = []
    for name, found in value["details"].items():
        shown = _SIGNS.get(found, repr(found)) if name == "delimiter" else found
        if isinstance(found, bool):
            shown = "yes" if found else "no"
        elif isinstance(found, list):
            shown = ", ".join(map(str, found))
        parts.append(f"{name.replace('_', ' ')} {shown}")
    told = f" (told: {', '.join(value['reading'])})" if value.get("reading") else ""
    return " · ".join(parts) + told


def errors(arguments: argparse.Namespace, out: Out) -> int:
    """What a model gets wrong on held-out rows, by category."""
    from ftstudio.cli import circle
    from ftstudio.evaluation import before_after, report

    wanted = circle.asked(arguments.repair) if arguments.repair else []
    if arguments.train and not wanted:
        raise UsageError("Train on what?", "--train goes with --repair CATEGORY.")
    if arguments.predictions:
        if arguments.what or wanted:
            raise UsageError("Stored predictions need no run or recipe.", "Leave out one of the two.")
        value = stored_errors(Path(arguments.predictions), workspace(arguments).path)
        out.result(value, report.errors_text(value))
        return 0
    if not arguments.what:
        raise UsageError("Errors of what?", "Name a run, a recipe, or --predictions FILE.")
    place = workspace(arguments)
    now: RunFolder | None = None
    path = recipe_path(arguments.what)
    if path.is_file():
        from ftstudio.engine.answer import base_folder
        from ftstudio.engine.prepare import resolve

        recipe, _ = resolve(load(arguments.what, arguments.overrides))
        folder = base_folder(place, recipe)
        job = Answer(folder.path, recipe, rows=arguments.rows)
    else:
        run = place.run(arguments.what)
        recipe, folder = load(str(run.recipe_path), arguments.overrides), run.errors
        now = run
        job = Answer(folder.path, recipe, run=run.path, rows=arguments.rows)
    with Headless(out) as headless:
        out.say(f"Answering held-out rows in {folder.path}")
        last = headless.run(job, folder.path)
    if last["kind"] == "failed":
        raise StudioError(last.get("text") or "Answering failed.", last.get("hint") or "")
    value, context = error_report(folder, recipe, place.path)
    texts = [report.errors_text(value)]
    if wanted and last["kind"] == "done":
        version, done = circle.repair(recipe, context, wanted, place, arguments.why)
        value |= {"repairs": done, "version": version.name if version is not None else None}
        texts.append(circle.told(version, done, recipe, arguments.train))
        if version is not None and arguments.train:
            now = circle.train_on(recipe, version, arguments.rows, place, out)
            value["run"] = now.name
    if now is not None:
        from ftstudio.engine import trail

        try:
            found = trail.report(place, now)
        except StudioError as error:  # what was answered is told all the same
            found = None
            value["before_after_reason"] = str(error)
            texts.append(f"No before and after: {error}")
        if found is not None:
            value["before_after"] = found
            texts.append(before_after.text(found, found["earlier"], found["run"]))
    out.result(value, "\n\n".join(texts))
    return EXIT[last["kind"]]


def stored_errors(path: Path, workspace: Path) -> dict[str, Any]:
    """The categories of stored predictions, WORKSPACE's own among them; no model, no torch."""
    from ftstudio.evaluation import own
    from ftstudio.evaluation.context import of_predictions
    from ftstudio.evaluation.predictions import read_predictions

    predictions = read_predictions(path)
    if not predictions:
        raise StudioError(f"{path} holds no predictions.", "One JSON line a row: prompt, reference, output.")
    return _table(predictions, of_predictions(predictions, own=own.load(workspace)), path)


def error_report(folder: JobFolder, recipe: Any, workspace: Path) -> tuple[dict[str, Any], Context]:
    """(table of categories, what they were judged by) of the answers in FOLDER, judged as RECIPE says, WORKSPACE's own
    categories among them, a person's tags above the detectors' findings."""
    from ftstudio.engine.judging import context_of
    from ftstudio.engine.materials import open_materials
    from ftstudio.evaluation import own
    from ftstudio.evaluation.predictions import read_predictions
    from ftstudio.evaluation.tags import Tags

    path = folder.path / "outputs.jsonl"
    predictions = read_predictions(path)
    materials: Materials = open_materials(recipe)
    context = context_of(materials, predictions, own.load(workspace))
    return _table(predictions, context, path, Tags.load(folder.path / "tags.jsonl")), context


def _table(predictions: list[Prediction], context: Context, source: Path, tags: Tags | None = None) -> dict[str, Any]:
    from ftstudio.evaluation.categories import categorise
    from ftstudio.evaluation.corrected import corrected
    from ftstudio.evaluation.similarity import load_embedder
    from ftstudio.evaluation.summary import category_table

    try:
        embedder = load_embedder("static", allow_torch=False)
    except StudioError:
        embedder = None  # the table says which category that costs
    categorised = categorise(predictions, context, embedder=embedder)
    if tags is not None:
        tags.see(predictions)
        categorised = corrected(categorised, tags)
    return {
        "rows": len(predictions),
        "reviewed": len(tags.decided) if tags is not None else 0,
        "outdated": len(tags.outdated) if tags is not None else 0,
        "categories": category_table(categorised),
        "predictions": str(source),
    }


def compare(arguments: argparse.Namespace, out: Out) -> int:
    """Base and tuned side by side, scored."""
    from ftstudio.cli import comparing
    from ftstudio.evaluation import report

    if arguments.predictions:
        if arguments.runs:
            raise UsageError("Stored predictions need no run.", "Leave out one of the two.")
        paths = [Path(path) for path in arguments.predictions]
        value = stored_comparison(paths, arguments.similarity, workspace(arguments).path)
        if arguments.report:
            from ftstudio.evaluation import publish

            folder = Path(arguments.report)
            files.write_json(folder / "report.json", value)
            publish.write(value, folder)
        out.result(value, report.compare_text(value))
        return comparing.status(value, arguments.fail_if_worse, out)
    if arguments.similarity is not None:
        raise UsageError(
            "--similarity is for stored predictions.", "A run is scored as its recipe says: evaluation.similarity."
        )
    return comparing.compare(arguments, workspace(arguments), out)


def read_report(folder: JobFolder) -> dict[str, Any]:
    """The report of a finished comparison."""
    value = files.read_json(folder.path / "report.json")
    if not isinstance(value, dict):
        raise StudioError(f"{folder.path} holds no report.", "Compare again.")
    return value


def stored_comparison(paths: list[Path], similarity: str | None, workspace: Path) -> dict[str, Any]:
    """Two files of predictions on the same rows, WORKSPACE's own categories among those compared; the static embedding
    unless another is named, so no torch."""
    from ftstudio.evaluation import own
    from ftstudio.evaluation.comparison import Arm
    from ftstudio.evaluation.comparison import compare as score
    from ftstudio.evaluation.context import of_predictions
    from ftstudio.evaluation.predictions import read_predictions
    from ftstudio.evaluation.similarity import load_embedder

    names = [path.stem for path in paths]
    if names[0] == names[1]:
        names = [str(path) for path in paths]
    arms = [Arm(name, read_predictions(path)) for name, path in zip(names, paths, strict=True)]
    try:
        embedder = load_embedder(similarity or "static", allow_torch=similarity is not None)
    except StudioError:
        if similarity is not None:
            raise
        embedder = None  # the report says that similarity is left out
    context = of_predictions(arms[0].predictions, own=own.load(workspace))
    return json.loads(json.dumps(score(arms, context, embedder)))  # type: ignore[no-any-return]
