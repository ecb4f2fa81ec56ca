"""What the studio costs a terminal and a training: `python tests/benchmarks/terminal.py [--no-training]`.

Prints figures, asserts nothing. Each figure is measured on a real pty: first paint, bytes of keys and of watching, key
to screen; and steps a second with the studio against headless, the two taking turns of a few seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_runs
import psutil
from terminal import Terminal, ftstudio

from ftstudio.core.files import read_lines
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace

SIZES = ((80, 24), (160, 48))
TRAINING = ["training.steps=2000", "evaluation.every=100000", "evaluation.samples=0", "training.save_steps=100000"]

# what a person does, and its keys
ACTIONS = (
    ("another screen", list("456364")), ("help opened", ["?"]), ("help closed", ["escape"]),
    ("palette opened", ["ctrl+p"]), ("palette, a letter", ["r"]), ("palette closed", ["escape"]),
    ("the screen Recipe", ["3"]), ("a step of the wizard", ["enter", "enter"]), ("the wizard left", ["escape"]),
)  # fmt: skip


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
            found.append(percentiles(echoes(terminal, "w", 60)))
    row("key to screen, idle, p50/p95 ms", *found, budget="p95 ≤ 50")


def actions(place: Path) -> None:
    """Bytes that one key leads to, on a finished run: a whole frame of 80×24 is 3 to 5 kB."""
    workspace = Workspace(place / "actions")
    for index in range(12):
        made_runs.finished(workspace, f"run{index}")
    found: dict[str, list[str]] = {}
    for size in SIZES:
        with opened(workspace, size) as terminal:
            terminal.wait("run11")
            for key in "123456":  # each screen once: what follows is without imports
                terminal.key(key)
                terminal.pump(2)
            for name, keys in ACTIONS:
                before = terminal.bytes
                for key in keys:
                    terminal.key(key)
                    terminal.pump(1)
                found.setdefault(name, []).append(f"{(terminal.bytes - before) / len(keys) / 1000:.1f} kB")
    for name, values in found.items():
        row(name, *values)


def monitoring(place: Path) -> None:
    """Bytes a second while watching a run that takes five steps a second: one chart, many, one over a baseline."""
    for name, cards, keys in (("", 0, ""), ("", 1, ""), (", many charts", 1, "G"), (", a baseline", 1, "ob\x1b")):
        found = []
        for size in SIZES:
            workspace = Workspace(place / f"watch{cards}{keys.strip()}{size[0]}")
            made_runs.finished(workspace, "before")
            run = made_runs.begin(workspace, total=1200, owned=True)
            made_runs.steps(run, 1, 300, 1200)
            made_runs.evaluation(run, 300)
            made_runs.forgotten(run, 300, 0.01)
            end = threading.Event()
            thread = threading.Thread(target=_stream, args=(run, cards, end))
            thread.start()
            try:
                with opened(workspace, size) as terminal:
                    terminal.wait(r"step \d+/1200")
                    terminal.key("4")
                    for key in keys:
                        terminal.pump(0.5)
                        terminal.key(key)
                    terminal.pump(3)
                    found.append(f"{terminal.rate(20) / 1024:.2f} KiB/s")
            finally:
                end.set()
                thread.join()
                run.release()
        row(f"watching 5 steps/s, {cards} GPU{name}", *found, budget="≤ 4 / ≤ 8 KiB/s")


def _stream(run: RunFolder, cards: int, end: threading.Event) -> None:
    step = 300
    while not end.wait(0.2):
        step += 1
        made_runs.steps(run, step, step, 1200)
        if step % 10 == 0:
            made_runs.reading(run, cards, 40 + step % 30)
        if step % 50 == 0:
            made_runs.evaluation(run, step)
            made_runs.forgotten(run, step, step / 20_000)


def training(place: Path) -> None:
    """With a real training in the studio's process: keys, bytes; and its speed against headless."""
    found, rates = [], []
    for size in SIZES:
        workspace = Workspace(place / f"train{size[0]}")
        with opened(workspace, size, "train", "demo", *TRAINING, "--watch") as terminal:
            terminal.wait(r"step [1-9]\d*/2000", 120)
            terminal.pump(2)
            rates.append(f"{terminal.rate(8) / 1024:.2f} KiB/s")
            found.append(percentiles(echoes(terminal, "w", 60)))
            terminal.key("q", "s")
            terminal.ended(60)
    row("watching own training", *rates, budget="≤ 4 / ≤ 8 KiB/s")
    row("key to screen, training, p50/p95 ms", *found, budget="p95 ≤ 50")
    turns(place)


def turns(place: Path, count: int = 12, seconds: float = 4.0) -> None:
    """Steps a second with the studio against headless: both are loaded, and train in turns while the other is paused.

    So both see the same machine, however busy it is; what a run counts as training time leaves its pauses out. Both
    take the same steps on the same rows, so their speeds are those over the steps that both have taken.
    """
    rates: tuple[list[float], list[float]] = ([], [])
    drawing = watched = 0.0  # seconds of the studio's main thread, and of the clock, while it trains
    with ExitStack() as stack:
        sides = []
        for name, words in (("headless", ()), ("studio", ("--watch",))):
            workspace = Workspace(place / name)
            command = ["train", "demo", "training.steps=100000", *TRAINING[1:], *words]
            terminal = stack.enter_context(opened(workspace, SIZES[0], *command))
            until(terminal, lambda workspace=workspace: workspace.runs() and _taken(workspace.runs()[0])[0] >= 10)
            run = workspace.runs()[0]
            turn(terminal, run, "pause")
            sides.append((terminal, run))
        for number in range(count):
            for side in (0, 1) if number % 2 else (1, 0):
                terminal, run = sides[side]
                before, spent, began = _taken(run), _main_thread(terminal), time.monotonic()
                turn(terminal, run, "resume")
                terminal.pump(seconds)
                turn(terminal, run, "pause")
                after = _taken(run)
                if side:
                    drawing += _main_thread(terminal) - spent
                    watched += time.monotonic() - began
                rates[side].append((after[0] - before[0]) / (after[1] - before[1]))
        for terminal, run in sides:
            run.request("stop")
            until(terminal, lambda run=run: run.state() == "stopped")
    ratios = [studio / headless for headless, studio in zip(*rates, strict=True)]
    told = [_seconds(run) for _, run in sides]
    common = sorted(told[0].keys() & told[1].keys() - set(range(12)))
    steps = common[-1] - common[0]
    headless, studio = (steps / (seconds[common[-1]] - seconds[common[0]]) for seconds in told)
    row("steps/s headless", f"{headless:.2f}", f"{steps} steps")
    row("steps/s with the studio", f"{studio:.2f}", "the same")
    row("the screen's share of a core", f"{drawing / watched:.1%}")
    spread = f"turns {min(ratios):.2f}…{max(ratios):.2f}"
    row("studio / headless", f"{studio / headless:.3f}", spread, budget="≥ 0.98")


def turn(terminal: Terminal, run: RunFolder, request: str) -> None:
    """Pause or resume RUN and wait until it has."""
    run.request(request)
    until(terminal, lambda: run.state() == ("paused" if request == "pause" else "running"))


def until(terminal: Terminal, holds: Callable[[], object], seconds: float = 180) -> None:
    """Read TERMINAL until HOLDS()."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end or terminal.ended():
            raise SystemExit(f"it did not come to that:\n{terminal.text}")
        terminal.pump(0.05)


def _main_thread(terminal: Terminal) -> float:
    """Seconds that the program's main thread, which draws the screen, has computed."""
    threads = psutil.Process(terminal.process).threads()
    return sum(thread.user_time + thread.system_time for thread in threads if thread.id == terminal.process)


def _seconds(run: RunFolder) -> dict[int, float]:
    """Seconds of training until each step that was told."""
    return {int(e["step"]): float(e["seconds"]) for e in read_lines(run.events_path) if e["kind"] == "step"}


def _taken(run: RunFolder) -> tuple[int, float]:
    """Steps taken, and seconds of training they took."""
    step = next((event for event in reversed(read_lines(run.events_path)) if event["kind"] == "step"), None)
    return (int(step["step"]), float(step["seconds"])) if step is not None else (0, 0.0)


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
        actions(place)
        monitoring(place)
        if not arguments.no_training:
            training(place)


if __name__ == "__main__":
    main()
