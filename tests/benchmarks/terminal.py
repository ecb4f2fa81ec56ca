"""What the studio costs a terminal and a training: `python tests/benchmarks/terminal.py [--no-training]`.

Prints figures, asserts nothing. Each figure is measured on a real pty: first paint, bytes, key to screen; and steps a
second with the studio against headless, the two taking turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_runs
from terminal import Terminal, ftstudio

from ftstudio.core.files import read_lines
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace

SIZES = ((80, 24), (160, 48))
TRAINING = ["training.steps=120", "evaluation.every=1000", "evaluation.samples=0", "training.save_steps=1000"]


def row(name: str, *values: str, budget: str = "") -> None:
    """One line of the table."""
    print(f"{name:<34}" + "".join(f"{value:>14}" for value in values) + (f"   {budget}" if budget else ""), flush=True)


def opened(workspace: Workspace, size: tuple[int, int], *words: str) -> Terminal:
    """The studio on WORKSPACE in a terminal of SIZE (columns, lines)."""
    return Terminal(ftstudio(*words, "--workspace", str(workspace.path)), columns=size[0], lines=size[1])


def percentiles(values: list[float]) -> str:
    """`p50 / p95`."""
    ordered = sorted(values)
    return f"{statistics.median(ordered):.0f} / {ordered[int(len(ordered) * 0.95)]:.0f}"


def echoes(terminal: Terminal, keys: str, count: int) -> list[float]:
    """Milliseconds from key to screen, each at another moment of the screen's own clock."""
    found = []
    for index in range(count):
        terminal.pump(0.11 + 0.037 * (index % 7))
        found.append(terminal.answer(keys[index % len(keys)]))
    return found


def first_paint(place: Path) -> None:
    """From the command to the first screen, and what it writes until it is quiet."""
    workspace = Workspace(place / "paint")
    for index in range(12):
        made_runs.finished(workspace, f"run{index}", ("done", "failed", "stopped")[index % 3])
    paint, frame = [], []
    for size in SIZES:
        seconds, written = [], []
        for _ in range(5):
            with opened(workspace, size) as terminal:
                seconds.append(terminal.wait("run11"))
                terminal.pump(0.5)
                written.append(terminal.bytes)
        paint.append(f"{statistics.median(seconds):.2f} s")
        frame.append(f"{statistics.median(written) / 1000:.1f} kB")
    row("first paint (Runs, 12 runs)", *paint, budget="≤ 0.5 s")
    row("first frame", *frame, budget="≤ 25 kB")


def idle(place: Path) -> None:
    """Bytes a second with nothing going on, and how quickly keys are answered."""
    workspace = Workspace(place / "idle")
    for index in range(12):
        made_runs.finished(workspace, f"run{index}")
    for name, keys in (("Runs", ()), ("Train", ("enter",))):
        found = []
        for size in SIZES:
            with opened(workspace, size) as terminal:
                terminal.wait("run11")
                terminal.key(*keys)
                terminal.pump(2.5)
                found.append(f"{terminal.rate(6):.0f} B/s")
        row(f"idle, {name}", *found, budget="0")
    found = []
    for size in SIZES:
        with opened(workspace, size) as terminal:
            terminal.wait("run11")
            terminal.key("enter")
            terminal.pump(2)
            found.append(percentiles(echoes(terminal, "m", 60)))
    row("key to screen, idle, p50/p95 ms", *found, budget="p95 ≤ 50")


def monitoring(place: Path) -> None:
    """Bytes a second while watching a run that takes five steps a second."""
    for cards in (0, 1):
        found = []
        for size in SIZES:
            workspace = Workspace(place / f"watch{cards}{size[0]}")
            run = made_runs.begin(workspace, total=1200, owned=True)
            made_runs.steps(run, 1, 300, 1200)
            end = threading.Event()
            thread = threading.Thread(target=_stream, args=(run, cards, end))
            thread.start()
            try:
                with opened(workspace, size) as terminal:
                    terminal.wait(r"step \d+/1200")
                    terminal.pump(3)
                    found.append(f"{terminal.rate(20) / 1024:.2f} KiB/s")
            finally:
                end.set()
                thread.join()
                run.release()
        row(f"watching 5 steps/s, {cards} GPU", *found, budget="≤ 4 / ≤ 8 KiB/s")


def _stream(run: RunFolder, cards: int, end: threading.Event) -> None:
    step = 300
    while not end.wait(0.2):
        step += 1
        made_runs.steps(run, step, step, 1200)
        if step % 10 == 0:
            made_runs.reading(run, cards, 40 + step % 30)
        if step % 50 == 0:
            made_runs.evaluation(run, step)


def training(place: Path) -> None:
    """With a real training in the studio's process: keys, bytes; and its speed against headless."""
    found, rates = [], []
    for size in SIZES:
        workspace = Workspace(place / f"train{size[0]}")
        with opened(workspace, size, "train", "demo", "training.steps=2000", *TRAINING[1:], "--watch") as terminal:
            terminal.wait(r"step [1-9]\d*/2000", 120)
            terminal.pump(2)
            rates.append(f"{terminal.rate(8) / 1024:.2f} KiB/s")
            found.append(percentiles(echoes(terminal, "m", 60)))
            terminal.key("q", "s")
            terminal.ended(60)
    row("watching own training", *rates, budget="≤ 4 / ≤ 8 KiB/s")
    row("key to screen, training, p50/p95 ms", *found, budget="p95 ≤ 50")
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(6):
        studio = turn % 2 == 1
        workspace = Workspace(place / f"speed{turn}")
        words = ["train", "demo", *TRAINING, *(["--watch"] if studio else [])]
        with opened(workspace, SIZES[0], *words) as terminal:
            began = time.monotonic()
            while time.monotonic() - began < 300 and not _last(workspace):
                terminal.pump(0.2)
            terminal.pump(0.5)
            if studio:
                terminal.key("q")
            terminal.ended(30)
        speeds[studio].append(_last(workspace) or float("nan"))
    with_studio, headless = max(speeds[True]), max(speeds[False])
    row("steps/s headless, best of 3", f"{headless:.2f}")
    row("steps/s with the studio, best of 3", f"{with_studio:.2f}")
    row("studio / headless", f"{with_studio / headless:.3f}", budget="≥ 0.98")


def _last(workspace: Workspace) -> float | None:
    """Steps a second of training time of the one run there, once it is done; its first ten steps warm up."""
    events = [event for run in workspace.runs() for event in read_lines(run.events_path)]
    if not any(event["kind"] in ("done", "failed") for event in events):
        return None
    taken = [event for event in events if event["kind"] == "step" and event["step"] >= 10]
    if len(taken) < 2:
        return float("nan")
    return float((taken[-1]["step"] - taken[0]["step"]) / (taken[-1]["seconds"] - taken[0]["seconds"]))


def main() -> None:
    """Everything, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-training", action="store_true", help="leave out what trains the demo (about 4 minutes)")
    arguments = parser.parse_args()
    row("", *(f"{columns}×{lines}" for columns, lines in SIZES), budget="budget")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        first_paint(place)
        idle(place)
        monitoring(place)
        if not arguments.no_training:
            training(place)


if __name__ == "__main__":
    main()
