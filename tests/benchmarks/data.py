"""How fast and small the reading of big files is: `python tests/benchmarks/data.py [ROWS [FORMAT …]]`
(default: 1,000,000 rows in every format).

Makes its files (about 1 GB each) in a temporary folder and removes them. Each format is opened in a process of its own,
so that peak memory is that of this one alone. Each line: what, measured, what the design asks for.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftstudio.data.dataset import Cancel, Dataset

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FORMATS = ("jsonl", "csv", "txt", "parquet")
WORDS = (
    "the customer asked whether the invoice could be corrected because the amount differs from the order naïvely put …"
)
PAGE = 40
LIMIT = 8.0  # seconds for each of the works over all rows


def line(what: str, measured: str, wanted: str = "") -> None:
    """Print one figure."""
    print(f"{what:<52}{measured:>22}   {wanted}", flush=True)


def rows(count: int) -> list[tuple[str, str]]:
    """COUNT pairs of prompts and completions of about 480 characters each, made of a pool."""
    generator = random.Random(0)
    pool = [" ".join(generator.choices(WORDS.split(), k=80)) for _ in range(2000)]
    return [(generator.choice(pool), generator.choice(pool)) for _ in range(count)]


def make(folder: Path, count: int) -> None:
    """The same rows in every format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = rows(count)
    with (
        open(folder / "a.jsonl", "w") as jsonl,
        open(folder / "a.csv", "w") as csv,
        open(folder / "a.txt", "w") as text,
    ):
        csv.write("id,prompt,completion\n")
        for number, (prompt, completion) in enumerate(pairs):
            value = {"id": number, "prompt": prompt, "completion": completion}
            jsonl.write(json.dumps(value, ensure_ascii=False) + "\n")
            gap = "\n" if number % 10 == 0 else " "  # every tenth row has two lines
            csv.write(f'{number},"{number}{gap}{prompt}","{completion}"\n')
            text.write(f"{number} {prompt} {completion}\n")
    table = {"id": range(count), "prompt": [pair[0] for pair in pairs], "completion": [pair[1] for pair in pairs]}
    pq.write_table(pa.table(table), folder / "a.parquet", use_dictionary=False)


def peak() -> float:
    """The most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pages(dataset: object, count: int) -> list[float]:
    """Milliseconds for each of COUNT screenfuls from anywhere."""
    generator, found = random.Random(1), []
    for _ in range(count):
        at = generator.randrange(max(1, len(dataset) - PAGE))  # type: ignore[arg-type]
        started = time.perf_counter()
        for index in range(at, min(at + PAGE, len(dataset))):  # type: ignore[arg-type]
            dataset[index]  # type: ignore[index]
        found.append(1000 * (time.perf_counter() - started))
    return found


def spread(values: list[float]) -> str:
    """The median, 95th percentile and maximum of VALUES in milliseconds."""
    ordered = sorted(values)
    return f"{statistics.median(ordered):.1f} / {ordered[int(0.95 * (len(ordered) - 1))]:.1f} / {ordered[-1]:.1f} ms"


def ours(path: Path) -> None:
    """Open PATH as the studio does, page through it, search in it."""
    from ftstudio.data.opening import Opening
    from ftstudio.data.search import find

    name = path.suffix[1:]
    sys.setswitchinterval(0.001)  # as the studio does (ui/run.py)
    started = time.perf_counter()
    opening = Opening(path)
    first = opening.first(60)
    assert first is not None
    shown = [first[index] for index in range(PAGE)]
    line(f"{name}: first {len(shown)} rows on screen", f"{time.perf_counter() - started:.2f} s", "≤ 1 s")
    during: list[float] = []
    while not opening.done:
        part = opening.now()
        assert part is not None
        during += pages(part, 1)
        time.sleep(0.05)
    dataset = opening.result()
    line(f"{name}: all {len(dataset):,} rows counted", f"{time.perf_counter() - started:.1f} s")
    if during:
        line(f"{name}: a page meanwhile (p50/p95/max)", spread(during), "≤ 30 ms")
    line(f"{name}: a page afterwards (p50/p95/max)", spread(pages(dataset, 300)), "≤ 30 ms")
    started = time.perf_counter()
    hits = find(dataset, "customer")
    next(hits)
    line(f"{name}: first hit of a search", f"{1000 * (time.perf_counter() - started):.1f} ms")
    asked: list[float] = []

    def cancel() -> bool:
        asked.append(time.perf_counter())
        return len(asked) > 40

    for _ in find(dataset, "no such words anywhere", cancel=cancel):
        pass
    gaps = [1000 * (after - before) for before, after in pairwise(asked)]
    line(f"{name}: a search can be stopped every (p50/p95/max)", spread(gaps))
    looking(name, dataset)
    line(f"{name}: peak memory", f"{peak():.0f} MB", "≤ 500 MB")


def looking(name: str, dataset: Dataset) -> None:
    """What the Data screen does off its thread with all rows: the time it takes, and how often it can be stopped."""
    from ftstudio.core.errors import Stopped
    from ftstudio.data.frequency import frequencies
    from ftstudio.data.profile import column_stats
    from ftstudio.data.search import find, where
    from ftstudio.data.selected import Selected

    column = dataset.names[-1]
    works: dict[str, Callable[[Cancel], object]] = {
        "values of a column": lambda cancel: frequencies(dataset, column, cancel=cancel),
        "figures of all columns": lambda cancel: column_stats(dataset, cancel=cancel),
        "an expression on all rows": lambda cancel: list(
            find(dataset, where(f"words({column}) > 300", dataset.names), cancel=cancel)
        ),
    }
    for what, work in works.items():
        asked: list[float] = []
        until = time.perf_counter() + LIMIT

        def cancel(asked: list[float] = asked, until: float = until) -> bool:
            asked.append(time.perf_counter())
            return asked[-1] > until

        with contextlib.suppress(Stopped):
            work(cancel)
        rate = 256 * (len(asked) - 1) / max(1e-9, asked[-1] - asked[0])
        gaps = [1000 * (after - before) for before, after in pairwise(asked)]
        line(f"{name}: {what}", f"{rate:,.0f} rows/s", f"can be stopped every {spread(gaps)}")
    started = time.perf_counter()
    Selected(len(dataset)).put(range(len(dataset)), "toggle")
    line(f"{name}: all rows selected", f"{1000 * (time.perf_counter() - started):.1f} ms", "≤ 50 ms")


def theirs(path: Path) -> None:
    """Open the same JSONL with `datasets`, as every training script does."""
    started = time.perf_counter()
    import datasets

    datasets.disable_progress_bars()
    cache = path.parent / "cache"
    data = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
    shown = [data[index] for index in range(PAGE)]
    line(f"datasets: first {len(shown)} rows (of {len(data):,})", f"{time.perf_counter() - started:.2f} s")
    line("datasets: a page afterwards (p50/p95/max)", spread(pages(data, 300)))
    line("datasets: peak memory", f"{peak():.0f} MB")
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    line("datasets: written to disk beside the file", f"{size / 1e6:.0f} MB")


def main() -> None:
    """All figures, in one run."""
    if len(sys.argv) > 2 and not sys.argv[1].isdigit():
        {"ours": ours, "theirs": theirs}[sys.argv[1]](Path(sys.argv[2]))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="ftstudio-benchmark-") as folder:
        subprocess.run([sys.executable, __file__, "make", folder, str(count)], check=True)
        formats = sys.argv[2:] or FORMATS
        for form in formats:
            path = Path(folder) / f"a.{form}"
            line(f"{form}: the file", f"{path.stat().st_size / 1e6:.0f} MB")
            subprocess.run([sys.executable, __file__, "ours", str(path)], check=True)
        if formats is FORMATS:
            subprocess.run([sys.executable, __file__, "theirs", str(Path(folder) / "a.jsonl")], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
