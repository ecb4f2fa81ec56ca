"""How fast repairs, versions and splits are: `python tests/benchmarks/versions.py [ROWS]` (default 100,000).

CPU seconds on this machine, one thread, and the process's peak memory so far. Rows are made: 40 + 40 words, every tenth
prompt a copy of the one before with one word edited.
"""

# ruff: noqa: E402 (the path comes first)
from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise
from ftstudio.data.split_parts import By, split_parts
from ftstudio.data.versions import store
from ftstudio.data.versions.actions import drop, set_cell
from ftstudio.data.versions.diff import diff
from ftstudio.data.versions.export import export
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.repairs import repair
from ftstudio.data.versions.replace import find_and_replace
from ftstudio.data.versions.shelf import Shelf

T = TypeVar("T")


def measured(name: str, work: Callable[[], T]) -> T:
    """Do WORK and tell what it took."""
    began, cpu = time.perf_counter(), time.process_time()
    found = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    print(f"{name:<44} {cpu:7.2f} s CPU  {wall:7.2f} s  peak {peak:5.0f} MiB", flush=True)
    return found


def make(path: Path, count: int) -> list[str]:
    """COUNT rows in PATH; the words they are made of."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(8000)]
    before: list[str] = []
    with open(path, "w", encoding="utf-8") as out:
        for number in range(count):
            prompt = draw.choices(words, k=40)
            if number % 10 == 9:
                prompt = [*before[:3], "edited", *before[4:]]
            before = prompt
            answer = f" {' '.join(draw.choices(words, k=40))} "
            out.write(json.dumps({"id": number, "prompt": " ".join(prompt), "completion": answer}) + "\n")
    return words


def main(count: int, folder: Path) -> None:
    """Everything, in FOLDER."""
    path = folder / "rows.jsonl"
    words = make(path, count)
    print(f"{count:,} rows, {path.stat().st_size / 1e6:.0f} MB")
    dataset = measured("open", lambda: open_dataset(path))
    pending = measured("the edits on it", lambda: Pending.of_source(Shelf(folder / "shelf"), dataset))
    measured("100 cells, each on the disk", lambda: [
        pending.do(lambda working, n=n: set_cell(working, n, "prompt", "x")) for n in range(100)
    ])  # fmt: skip
    preview = measured("strip: preview of every row", lambda: repair(pending.working, "strip", range(count)))
    measured("strip: do it", lambda: pending.do(preview.edit))
    found = measured("find and replace: preview", lambda: find_and_replace(pending.working, words[0], "new"))
    measured(f"find and replace: {found.rows:,} rows", lambda: pending.do(found.edit))
    measured("drop a tenth", lambda: pending.do(lambda working: drop(working, range(0, count, 10))))
    measured("undo", pending.undo)
    measured("redo", pending.redo)
    version = measured("save", pending.save)
    rows, keys = measured("open the version", lambda: store.open_version(version))
    measured("difference, by key", lambda: diff(dataset, rows, range(count), keys))
    measured("difference, by content", lambda: diff(dataset, rows))
    for suffix in ("jsonl", "csv", "parquet"):
        measured(f"export to {suffix}", lambda suffix=suffix: export(rows, folder / f"out.{suffix}"))  # type: ignore[misc]
    shape = recognise(dataset)
    measured("split", lambda: split_parts(dataset, {"eval": 0.1}, shape=shape))
    by = By(leak_aware=True)
    parts = measured(
        "split, near duplicates on one side", lambda: split_parts(dataset, {"eval": 0.1}, shape=shape, by=by)
    )
    print(f"near duplicates found: {parts.report['together']['near_duplicates']:,} of {count // 10:,} planted")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, Path(place))
