"""How right the time to the end is, on a real run: `python tests/benchmarks/eta.py [RECIPE] [key=value …]`.

Trains the bundled demo (or RECIPE) from the command line as a person would, and holds what the run told at 5, 10, 25,
50 and 75 % of its steps against what was really left then: further steps, evaluations, samples, forgetting,
checkpoints, and the tuned model saved and read back. Exit code 1 where it is off by over 10 % at or after 5 %.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from ftstudio.core.run import RunFolder

ROOT = Path(__file__).resolve().parents[2]
AT = (0.05, 0.10, 0.25, 0.50, 0.75)
MOST = 0.10


def main(words: list[str]) -> int:
    """Train, and print the table."""
    with tempfile.TemporaryDirectory(prefix="ftstudio-eta-") as place:
        recipe = words or [str(ROOT / "presets" / "demo.yaml")]
        command = [sys.executable, "-m", "ftstudio", "train", *recipe, "--workspace", place, "--json"]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if said.returncode:
            print(said.stdout)
            return said.returncode
        events = RunFolder(Path(json.loads(said.stdout)["path"])).events()
    return told(events)


def told(events: list[dict[str, object]]) -> int:
    """Print what EVENTS of a finished run say of its time to the end; 1 where it was wrong."""
    steps = [event for event in events if event["kind"] == "step" and event.get("eta") is not None]
    start = next(event for event in events if event["kind"] == "start")
    end = next(float(event["time"]) for event in events if event["kind"] == "done")  # type: ignore[arg-type]
    total = int(start["total_steps"])  # type: ignore[call-overload]
    took = end - float(start["time"])  # type: ignore[arg-type]
    print(f"{total} steps, {took:.0f} s from the first phase of training to the end")
    print(f"{'at':>6} {'told':>8} {'left':>8} {'off by':>8}")
    wrong = False
    for share in AT:
        step = next(event for event in steps if int(event["step"]) >= share * total)  # type: ignore[call-overload]
        left = end - float(step["time"])  # type: ignore[arg-type]
        said = float(step["eta"])  # type: ignore[arg-type]
        off = (said - left) / left
        wrong |= abs(off) > MOST
        print(f"{share:>6.0%} {said:>7.1f}s {left:>7.1f}s {off:>+8.1%}")
    return int(wrong)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
