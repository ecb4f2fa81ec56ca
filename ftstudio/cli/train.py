"""`train` and `plan`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.cli.follow import EXIT, Headless
from ftstudio.cli.output import Out
from ftstudio.core import files, launch
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story, state_word, trained_text
from ftstudio.core.text import clean, duration, number, size
from ftstudio.core.turn import holder
from ftstudio.core.workspace import PRESETS, Workspace

WHY = {
    "eval_rising": " early (the held-out loss got no better)",
    "collapsed": ", as the model had collapsed,",
    "resume_fault": " before a step was taken (it would have gone on otherwise)",
}
SIGNS = {"good": "✓", "note": "·", "warn": "▲", "bad": "✗"}

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe  # pydantic takes a tenth of a second; the studio's first paint can't wait


def workspace(arguments: argparse.Namespace) -> Workspace:
    """The workspace the command line names."""
    return Workspace(getattr(arguments, "workspace", None))


def recipe_path(name: str) -> Path:
    """The file of the recipe called NAME: `demo` (whatever lies around), a path, or the name of a shipped preset."""
    path = Path(name).expanduser()
    preset = PRESETS / f"{name}.yaml"
    return preset if preset.is_file() and (name == "demo" or not path.is_file()) else path


def load(name: str, overrides: list[str]) -> Recipe:
    """The recipe called NAME with OVERRIDES."""
    from ftstudio.engine.recipes import load_recipe

    return load_recipe(recipe_path(name), overrides)


def train(arguments: argparse.Namespace, out: Out) -> int:
    """Train a recipe, or go on with a run."""
    place = workspace(arguments)
    spread = launch.take_sharding()
    if spread == "DeepSpeed":
        raise StudioError(
            "accelerate was told to use DeepSpeed, which isn't supported: weights in parts are FSDP's here.",
            "Set training.shard to true and launch by torchrun, or set accelerate's distributed_type to FSDP.",
        )
    if not launch.place().alone:
        _under_launcher(arguments)
        if not launch.place().first:
            from ftstudio.engine.follow import follow

            return follow()
    if arguments.resume:
        # `--resume RUN` leaves no recipe to name; a word in its place is an override that can't apply any more
        total = _steps_of(arguments)
        named, _, step = arguments.resume.rpartition("@")
        if named and step.isdecimal():
            from ftstudio.engine.branch import branch
            from ftstudio.engine.more_steps import more_than

            if total is not None:  # before there is a run that nothing comes of
                more_than(total, int(step), f"The checkpoint of step {int(step):,}")
            run = branch(place, place.run(named), int(step))
        else:
            run = place.run(arguments.resume)
        owner = run.owner()
        if owner is not None:
            raise StudioError(
                f"{run.name} is being trained by process {owner.process} on {owner.host}.", "Watch it with `ftstudio`."
            )
        if (waits := holder(run.path)) is not None:
            hint = f"It is trained there; `ftstudio stop {run.name}` takes it out of that queue."
            raise StudioError(f"{run.name} waits for its turn in {waits.named}.", hint)
        from ftstudio.engine.recipes import load_recipe
        from ftstudio.engine.weights import whole

        if spread and not load_recipe(run.recipe_path).training.shard:
            raise StudioError(
                f"accelerate was told to use FSDP, but {run.name} keeps its own recipe, of whole weights.",
                "Launch it by torchrun, or set accelerate's distributed_type to MULTI_GPU.",
            )
        from ftstudio.engine.more_steps import lengthen, longer

        if total is not None:
            lengthen(run, total)
        elif run.state() == "done" and whole(run.model) and not longer(run):
            hint = f"`ftstudio compare {run.name}` shows what it learnt; `ftstudio train --resume {run.name} "
            hint += "training.steps=N` trains it on to N steps."
            raise StudioError(f"{run.name} is done: there is nothing to go on with.", hint)
    else:
        if not arguments.recipe:
            raise UsageError("Which recipe?", "Name a recipe file, such as presets/sft-lora.yaml, or `demo`.")
        more = [word for word in arguments.overrides if "=" not in word and recipe_path(word).is_file()]
        if more or arguments.sweep:
            if arguments.watch:
                raise UsageError("--watch shows one run.", "Leave it out; look with `ftstudio` from another terminal.")
            from ftstudio.cli.queue import train_all

            changes = [word for word in arguments.overrides if word not in more]
            return train_all(arguments, [arguments.recipe, *more], changes, out)
        recipe = load(arguments.recipe, [*arguments.overrides, *(["training.shard=true"] if spread else [])])
        if arguments.watch:
            from ftstudio.ui.run import require_terminal

            require_terminal()
        from ftstudio.engine.prepare import prepare_run

        run = prepare_run(recipe, place)
    job = Train(run.path, resume=bool(arguments.resume))
    if arguments.watch:
        from ftstudio.ui.run import open_studio

        return open_studio(place, start="train", run=run.name, job=job)
    try:
        with Headless(out) as headless:
            out.say(f"Training {run.name} in {run.path}")
            last = headless.run(job, run.path)
    except StudioError as error:
        _leave_nothing(run, job, error.hint)
        raise
    if last["kind"] == "failed":
        _leave_nothing(run, job, str(last.get("hint") or ""))
    return finish(run, last, out)


def _steps_of(arguments: argparse.Namespace) -> int | None:
    """How many steps a resumed run is to have; None: as many as it was to. Raises UsageError for other words."""
    words = [arguments.recipe, *arguments.overrides] if arguments.recipe else []
    if not words:
        return None
    key, _, value = words[0].partition("=")
    if len(words) > 1 or key != "training.steps":
        hint = "Leave out the recipe and the overrides, but for training.steps=N, which makes it longer."
        raise UsageError("A resumed run keeps its own recipe.", hint)
    if not value.isdecimal() or not 0 < int(value) < 10**9:
        raise UsageError(f"training.steps must be a number of steps, not {value!r}.", "Such as training.steps=400.")
    return int(value)


def _under_launcher(arguments: argparse.Namespace) -> None:
    """Raise UsageError for what several processes can't do together."""
    if arguments.watch:
        raise UsageError(
            "--watch opens the studio in a process of its own.",
            "Leave it out; `ftstudio` in another terminal shows it.",
        )
    several = [word for word in arguments.overrides if "=" not in word and recipe_path(word).is_file()]
    if several or arguments.sweep:
        raise UsageError("torchrun and accelerate launch train one recipe at a time.", "Launch once for each of them.")


def _leave_nothing(run: RunFolder, job: Train, hint: str) -> None:
    """A new run that failed before it began to train goes again."""
    if not job.resume:
        from ftstudio.engine.prepare import withdraw

        withdraw(run, hint)


def finish(run: RunFolder, last: dict[str, Any], out: Out) -> int:
    """Tell how training ended."""
    story = Story()
    story.feed(files.read_lines(run.events_path))
    value = training_summary(run, story)
    if last["kind"] == "failed":
        out.error(last.get("text", "Training failed."), last.get("hint", ""), 1)
        return 1
    early = last.get("by") == "eval_rising"  # as the recipe wished: there is a model, of the best checkpoint kept
    word = state_word(value["state"], story.collapsed)
    if value["state"] == "stopped":
        word += WHY.get(str((story.last_state or {}).get("by")), "")
    lines = [
        f"{run.name}: {word} after {value['steps']} steps in {duration(story.seconds)}",
        f"  loss {number(value['loss']['first'])} → {number(value['loss']['last'])}"
        + (f", held-out {number(story.judged_loss)}" if story.judged_loss is not None else ""),
        f"  {number(value['tokens_per_second'], 0)} tokens/s, peak memory {size(value['peak_memory_bytes'])}",
    ]
    through = story.step == story.total_steps  # but for its last evaluation
    if last["kind"] == "stopped" and last.get("text") and (through or not run.model.is_dir()):
        lines.append(f"  {clean(last['text'])}")
    lines += next_lines(run, story)
    out.result(value, "\n".join(lines))
    return 0 if early else EXIT.get(last["kind"], 1)


def next_lines(run: RunFolder, story: Story) -> list[str]:
    """The best held-out loss of RUN where its model isn't as good, where that model lies, and what to type next."""
    from ftstudio.engine.sweep import lowest

    lines: list[str] = []
    compare = [f"ftstudio compare {run.name}"]
    if story.best is not None:
        step, loss = story.best
        own = story.trained["step"] if story.trained is not None else story.step
        low = lowest(run, story)
        told = ": the model's" if step == own else ""
        if low is not None and not low["kept"]:
            told = ": the base, before training" if step == 0 else ": that checkpoint wasn't kept"
        lines.append(f"  best held-out {number(loss)} at step {step}{told}")
        if low is not None and low["kept"]:
            compare.append(f"ftstudio compare {run.name} --arms base,tuned,tuned@{step}   (the best step beside it)")
    ended = story.last_state is not None and story.last_state["kind"] == "done"
    if not run.model.is_dir():
        return [*lines, f"  next: ftstudio train --resume {run.name}"]
    told = trained_text(story.trained)
    lines.append(f"  model in {run.model}{f': {told}' if told else ''}")
    begins = "" if story.resumes_from is None else f" from step {story.resumes_from}: no checkpoint of what came after"
    resume = [] if ended else [f"ftstudio train --resume {run.name}   (goes on{begins})"]
    return [*lines, *(f"  {'next: ' if not at else '  or: '}{line}" for at, line in enumerate([*compare, *resume]))]


def training_summary(run: RunFolder, story: Story) -> dict[str, Any]:
    """What `train --json` holds."""
    end = story.done or story.saved or {}
    evaluation = {k: v for k, v in story.judged.items() if k not in ("kind", "time", "step")}
    return {
        "run": run.name,
        "path": str(run.path),
        "state": run.state(story.last_state),
        "steps": story.step,
        "loss": {"first": story.first_loss, "last": story.loss},
        "eval": evaluation or end.get("eval") or {},
        "tokens_per_second": end.get("tokens_per_second", story.last_step.get("tokens_per_second")),
        "peak_memory_bytes": end.get("peak_memory_bytes"),
        "parameters": story.start.get("parameters") or {},
        "tokens": story.start.get("tokens") or {},
        "seconds": story.seconds,
        "model": str(run.model) if run.model.is_dir() else None,
        "model_step": story.model_step,
        "trained": story.trained,
        "best": {"step": story.best[0], "loss": story.best[1]} if story.best is not None else None,
        "collapsed": story.collapsed,
    }


def plan(arguments: argparse.Namespace, out: Out) -> int:
    """What a recipe would do, without doing it."""
    recipe = load(arguments.recipe, arguments.overrides)
    from ftstudio.engine.plan import plan as make

    value = make(recipe, measure=arguments.measure, workspace=workspace(arguments))
    out.result(value, plan_text(recipe, value))
    return 0 if value["compatible"] else 1


def plan_text(recipe: Recipe, value: dict[str, Any]) -> str:
    """A plan for people."""

    weights, tokens, rows = value["parameters"], value["tokens"], value["rows"]
    lines = [f"{recipe.task} · {recipe.method.name} · {clean(recipe.model)}"]
    if weights.get("total"):
        share = 100 * (weights.get("trainable") or 0) / weights["total"]
        lines.append(
            f"  parameters  {number(weights['trainable'])} of {number(weights['total'])} learn ({share:.2f} %)"
        )
    if rows.get("train") is not None:
        left = f", {number(rows['excluded'])} left out" if rows.get("excluded") else ""
        left = f", {number(rows['test'])} for the test{left}" if rows.get("test") else left
        lines.append(f"  rows        {number(rows['train'])} trained, {number(rows['eval'])} held out{left}")
    if value.get("labels"):
        lines.append(f"  learns      {clean(value['labels']['text'], 200)}")
    if tokens.get("total") is not None:
        lines.append(
            f"  tokens      {number(tokens['total'])} a pass, {number(tokens['trained'])} trained, "
            f"{number(tokens['lost'])} lost to max_length"
        )
    if value.get("steps"):
        lines.append(f"  steps       {number(value['steps'])}")
    from ftstudio.engine.pace import beside_training
    from ftstudio.engine.plan_memory import text_of

    lines += [f"  {'memory' if not place else '':<12}{line}" for place, line in enumerate(text_of(value["memory"]))]
    if value.get("seconds_estimated"):
        part = beside_training(value["seconds"])
        lines.append(f"  time        about {duration(value['seconds_estimated'])}, from measured steps{part}")
    for about, key in (("model", "model"), ("worth it?", "worth")):
        for place, said in enumerate(value.get(key) or ()):
            lines.append(f"  {about if not place else '':<12}{SIGNS[said['sign']]} {clean(said['text'])}")
    if (value.get("gpus") or 0) > 1:
        lines.append(f"  GPUs        {value['gpus']}: `ftstudio launch` gives the command that trains on all of them")
    for problem in value["problems"]:
        mark = {"error": "✗", "warning": "▲"}.get(problem["severity"], "·")
        key = f"{problem['key']}: " if problem.get("key") else ""
        lines.append(f"  {mark} {problem['severity']}: {key}{clean(problem['text'])}")
        if problem.get("hint"):
            lines.append(f"    → {clean(problem['hint'])}")
    lines.append("  fits together" if value["compatible"] else "  can't run as it is")
    return "\n".join(lines)


def launch_line(arguments: argparse.Namespace, out: Out) -> int:
    """The command that trains a recipe on all GPUs of this machine, or a batch script for many machines."""
    from ftstudio.engine.fit import gpus

    count = arguments.gpus if arguments.gpus is not None else gpus()
    place = getattr(arguments, "workspace", None)
    recipe = recipe_path(arguments.recipe)
    name = arguments.recipe if arguments.recipe == "demo" else str(recipe)
    if arguments.slurm:
        where = str(workspace(arguments).path.absolute())
        text = launch.slurm(name if name == "demo" else str(recipe.absolute()), count, arguments.nodes, where)
        out.result({"gpus": count, "nodes": arguments.nodes, "script": text}, text.rstrip("\n"))
        return 0
    load(arguments.recipe, [])  # what can't be trained is said here, not by each process
    command = launch.line(name, count, place or "")
    out.result({"gpus": count, "command": command}, command)
    return 0
