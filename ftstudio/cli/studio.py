"""The studio's screens, and the demo with or without them."""

from __future__ import annotations

import argparse
from typing import Any

from ftstudio.cli.output import Out
from ftstudio.cli.train import load, workspace
from ftstudio.core.errors import UsageError


def studio(arguments: argparse.Namespace, out: Out) -> int:
    """Open the studio on the workspace."""
    if getattr(arguments, "json", False):
        raise UsageError("The studio has no JSON.", "Name a command, such as `ftstudio runs --json`.")
    from ftstudio.ui.run import open_studio

    return open_studio(workspace(arguments), mouse=arguments.mouse)


def demo(arguments: argparse.Namespace, out: Out) -> int:
    """The bundled model and data: on screen, or headless where there is no terminal."""
    from ftstudio.ui.run import open_studio, usable_terminal

    recipe = load("demo", [])
    if not (arguments.headless or out.json) and usable_terminal():
        return open_studio(
            workspace(arguments), recipe=recipe, source="presets/demo.yaml", start="data", mouse=arguments.mouse
        )
    return headless_demo(workspace(arguments), recipe, out)


def headless_demo(place: Any, recipe: Any, out: Out) -> int:
    """Errors of the base model, training, comparison, report."""
    import time

    from ftstudio.cli.follow import EXIT, Headless
    from ftstudio.cli.inspect import error_report, read_report
    from ftstudio.cli.train import training_summary
    from ftstudio.core import files
    from ftstudio.core.jobs import Answer, Compare, Train
    from ftstudio.core.run import Story
    from ftstudio.engine.answer import base_folder
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.evaluation import report

    began = time.monotonic()
    out.say("ftstudio demo: a tiny bundled model learns to turn support mails into one-line tickets.\n")
    run = prepare_run(recipe, place)
    from ftstudio.engine.recipes import load_recipe

    resolved = load_recipe(run.recipe_path)
    folder = base_folder(place, resolved)
    with Headless(out) as headless:
        headless.expect(run)
        out.say("1 Errors: what does the base model get wrong on the held-out rows?")
        last = headless.run(Answer(folder.path, resolved), folder.path)
        if last["kind"] != "done":
            return _ended(last, out)
        errors, _ = error_report(folder, resolved, place.path)
        out.say("\n" + report.errors_text(errors) + "\n")
        if not headless.expects(run):
            return _ended({"kind": "stopped", "text": f"{run.name} was taken out before it began."}, out)
        out.say(f"2 Train: {resolved.method.name} on the training rows")
        last = headless.run(Train(run.path), run.path)
        if last["kind"] != "done":
            return _ended(last, out)
        out.say("\n3 Compare: base and tuned on the same held-out rows")
        last = headless.run(Compare(run.compare.path, (run.path,)), run.compare.path)
        if last["kind"] != "done":
            return _ended(last, out)
    story = Story()
    story.feed(files.read_lines(run.events_path))
    comparison = read_report(run.compare)
    value = {
        "errors": errors,
        "train": training_summary(run, story),
        "compare": comparison,
        "seconds": time.monotonic() - began,
    }
    text = (
        "\n"
        + report.compare_text(comparison)
        + f"\n\nAll of it took {value['seconds']:.0f} s; the run is in {run.path}"
    )
    out.result(value, text)
    return EXIT[last["kind"]]


def _ended(last: dict[str, Any], out: Out) -> int:
    """Tell why the loop ended early."""
    from ftstudio.cli.follow import EXIT

    code = EXIT.get(last["kind"], 1)
    out.error(last.get("text") or f"The demo {last['kind']}.", last.get("hint") or "", code)
    return code
