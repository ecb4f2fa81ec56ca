"""`data --replay`: the steps of a log of the Data screen, done again without one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.cli.output import Out
from ftstudio.core.text import clean, number, one_line, size

if TYPE_CHECKING:
    from ftstudio.data.dataset import Dataset
    from ftstudio.data.versions.identity import Key


def replay(dataset: Dataset, keys: Sequence[Key] | None, arguments: argparse.Namespace, out: Out) -> int:
    """Do the steps on DATASET and tell what each came to; with --export write the rows that are in view at the end."""
    from ftstudio.data.steps import Replay, read_steps

    table = Replay(dataset, keys)
    table.run(read_steps(Path(arguments.replay).expanduser()))
    result = table.result
    value: dict[str, Any] = {"rows": len(result), "selected": len(table.selected), "steps": table.told}
    lines = [f"{arguments.dataset}: {number(len(result))} rows in view, {len(table.selected):,} selected"]
    for count, step in enumerate(table.told, 1):
        what = {key: one for key, one in step.items() if key not in ("do", "in_view", "selected", "values", "columns")}
        said = " ".join(str(one) for one in what.values())
        lines.append(f"  {count:>4}  {step['do']:<10} {one_line(said, 44):<44} {step['in_view']:>11,} rows")
        lines += [f"{'':>16} {found['count']:>9,}  {one_line(found['value'], 60)}" for found in step.get("values", ())]
    if arguments.export:
        from ftstudio.data.versions.export import export

        written = export(result, Path(arguments.export).expanduser(), force=arguments.force)
        value["export"] = written.plain()
        lines.append(f"{written.path}: {number(written.rows)} rows, {size(written.bytes)}, {written.format}")
    out.result(value, "\n".join(clean(line) for line in lines))
    return 0
