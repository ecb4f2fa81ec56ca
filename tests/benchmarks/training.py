"""How fast the engine is beside others, on the same rows and weights: `python tests/benchmarks/training.py`.

Each training runs in a process of its own, one after the other, the engines in turn and over again: the best of them
counts, since a shared machine only ever makes one slower. Prints real tokens (no padding) a CPU-second (with
`--device cuda` a second), the ratio to transformers' padded batches, the difference of the loss, and the most memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from training_engine import MODELS, SETTINGS, make_model

ENGINES = ("hf padded", "hf grouped", "hf flash", "trl packed", "studio")
HEAD = f"{'ratio':>8}{'batch loss':>13}{'held-out loss':>16}{'peak memory':>14}"


def measured(engine: str, setting: str, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What the process of ENGINE found; `{absent: why}` where it couldn't run."""
    command = [sys.executable, str(Path(__file__).with_name("training_engine.py")), engine, setting, str(model)]
    for name in ("rows", "steps", "batch", "threads", "device"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"absent": (done.stderr.strip().splitlines() or ["it failed"])[-1][:150]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def table(setting: str, model: Path, options: argparse.Namespace) -> None:
    """One setting: all engines in turn, and their figures."""
    best: dict[str, dict[str, Any]] = {}
    for _ in range(options.repeats):
        for engine in options.engines:
            found = measured(engine, setting, model, options)
            if engine not in best or found.get("rate", 0) > best[engine].get("rate", 0):
                best[engine] = found
    unit = "tokens/CPU-s" if options.device == "cpu" else "tokens/s"
    print(f"\n{setting}\n{'':<14}{unit:>14}{HEAD}", flush=True)
    plain = best.get("hf padded", {})
    for engine, found in best.items():
        if "absent" in found:
            print(f"{engine:<14}  not measured: {found['absent']}")
            continue
        differences = [found[name] - plain.get(name, found[name]) for name in ("batch_loss", "held_out_loss")]
        print(
            f"{engine:<14}{found['rate']:>14,.0f}{found['rate'] / plain.get('rate', found['rate']):>8.2f}"
            f"{differences[0]:>+13.1e}{differences[1]:>+16.1e}{found['peak'] / 2**20:>10,.0f} MiB",
            flush=True,
        )
        for name, why in (found["levers"] or {}).items():
            print(f"    {name}: {why}")


def main() -> None:
    """All settings that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="heavy")
    parser.add_argument(
        "--settings", nargs="+", choices=SETTINGS, default=[name for name in SETTINGS if "lora" in name]
    )
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="default: all that can run on the device")
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="a tiny model, once: only to see that it runs")
    options = parser.parse_args()
    options.engines = options.engines or [name for name in ENGINES if name != "hf flash" or options.device == "cuda"]
    if options.quick:
        options.model, options.repeats, options.steps, options.rows = "quick", 1, 4, 32
    print(f"{options.model} model, {options.rows} rows, batches of {options.batch}, {options.threads} thread(s)")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        make_model(options.model, folder)
        for setting in options.settings:
            table(setting, folder, options)


if __name__ == "__main__":
    main()
