"""`export`: a run's model as a folder others can use."""

from __future__ import annotations

import argparse
from pathlib import Path

from ftstudio.cli.output import Out
from ftstudio.cli.train import workspace


def export(arguments: argparse.Namespace, out: Out) -> int:
    """Write a run's adapter, merged model or card."""
    from ftstudio.engine import quiet
    from ftstudio.engine.export import export as write

    run = workspace(arguments).run(arguments.run)
    quiet.libraries()
    to = Path(arguments.to).expanduser() if arguments.to else None
    value = write(run, arguments.kind, to)
    checked = {
        "card": "the model's facts, from its run",
        "gguf": "by llama.cpp's converter, from the model merged and read back",
    }.get(value["kind"], "read back: it says the same")
    gap = f" (logits differ by {value['difference']:.2g})" if value["difference"] else ""
    note = f"\n  {value['note']}" if value["note"] else ""
    out.result(value, f"{value['kind']} of {run.name} in {value['path']}\n  {checked}{gap}{note}")
    return 0
