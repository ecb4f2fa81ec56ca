"""`doctor`."""

from __future__ import annotations

import argparse

from ftstudio.cli.output import Out
from ftstudio.cli.train import workspace
from ftstudio.core.text import clean


def doctor(arguments: argparse.Namespace, out: Out) -> int:
    """Look at GPU, libraries, disk and terminal."""
    from ftstudio.engine.doctor import doctor as examine

    value = examine(workspace(arguments))
    lines = []
    for check in value["checks"]:
        mark = {"ok": "✓", "warning": "▲", "error": "✗"}.get(check["status"], "·")
        lines.append(f"{mark} {check['name']:<20} {clean(check['text'])}")
        if check.get("hint"):
            lines.append(f"  {'':<20} → {clean(check['hint'])}")
    out.result(value, "\n".join(lines))
    return 1 if any(check["status"] == "error" for check in value["checks"]) else 0
