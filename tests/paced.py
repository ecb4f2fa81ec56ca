"""A tiny recipe on the bundled model, trained at a pace that a test can follow, by a process that prints a lot."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nursery import Nursery
from terminal import Terminal

from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace

RECIPE = """\
task: sft
model: demo
method: {{name: lora, r: 4, dropout: 0.1}}
data: {{train: {place}/rows.jsonl, eval: {place}/held.jsonl, max_length: 64}}
training: {{steps: {steps}, batch_size: 2, save_steps: 10, learning_rate: 1.0e-3}}
evaluation: {{every: 1000, samples: 0, rows: 4, max_new_tokens: 6, metrics: [rouge], similarity: static,
  forgetting: false}}
"""

# ftstudio, but every step is told and takes PACE seconds longer; with NOISE it prints in all the ways there are;
# with HOLD it waits after the fifth step until there is a file of that name
PROGRAM = """\
import ctypes, os, subprocess, sys, time
from ftstudio.engine import callback, report
report.INTERVAL = 0.0
stepped = callback.RunDirector.stepped
def noise():
    print("NOISE python")
    print("NOISE python error", file=sys.stderr)
    os.write(1, b"NOISE raw\\n")
    os.write(2, b"NOISE raw error\\n")
    ctypes.CDLL(None).puts(b"NOISE stdio")
    ctypes.CDLL(None).fflush(None)
def paced(self, trainer, logs):
    stepped(self, trainer, logs)
    if os.environ.get("NOISE"):
        noise()
        if trainer.state.global_step == 3:
            subprocess.run(["sh", "-c", "echo NOISE child; echo NOISE child error >&2"])
    time.sleep(float(os.environ.get("PACE", "0")))
    held = time.monotonic()
    while trainer.state.global_step == 5 and not os.path.exists(os.environ.get("HOLD", ".")):
        if time.monotonic() > held + 60:
            raise SystemExit("nobody lets it go on")
        time.sleep(0.02)
callback.RunDirector.stepped = paced
from ftstudio.cli import main
raise SystemExit(main())
"""
SCREENS = {"1": "Data", "2": "Errors", "3": "Recipe", "4": "Train", "5": "Compare", "6": "Runs"}
KINDS = ("python", "python error", "raw", "raw error", "stdio", "child", "child error")


@dataclass(frozen=True)
class Place:
    """A folder with rows, a recipe and a workspace. Its processes come from NURSERY, where there is one."""

    path: Path
    nursery: Nursery | None = None

    @classmethod
    def make(cls, path: Path, steps: int, nursery: Nursery | None = None) -> Place:
        """In PATH, with a recipe of STEPS steps, which is a preset of the workspace too."""
        for name, numbers in (("rows", range(32)), ("held", range(40, 44))):
            rows = [
                {"prompt": f"Ticket {n}: the lamp is broken", "completion": f"lamp | broken | {n % 3}"} for n in numbers
            ]
            (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (path / "tiny.yaml").write_text(RECIPE.format(place=path, steps=steps))
        (path / "studio" / "presets").mkdir(parents=True)
        (path / "studio" / "presets" / "tiny.yaml").write_text(RECIPE.format(place=path, steps=steps))
        (path / "program.py").write_text(PROGRAM)
        return cls(path, nursery)

    @property
    def workspace(self) -> Workspace:
        """Its workspace."""
        return Workspace(self.path / "studio")

    @property
    def last(self) -> RunFolder:
        """The newest run."""
        return self.workspace.runs()[0]

    def command(self, *words: str) -> list[str]:
        """ftstudio with WORDS on this workspace, paced."""
        return [sys.executable, str(self.path / "program.py"), *words, "--workspace", str(self.workspace.path)]

    def terminal(self, *words: str, pace: float = 0.05, env: Mapping[str, str] | None = None) -> Terminal:
        """That command on a terminal of its own."""
        env = {"PACE": str(pace), **(env or {})}
        return Terminal(self.command(*words), cwd=self.path, env=env, nursery=self.nursery)

    def asked(self, *words: str) -> subprocess.CompletedProcess[str]:
        """That command without a terminal, to its end."""
        return subprocess.run(
            self.command(*words), cwd=self.path, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )


def at(screen: str) -> str:
    """What line 1 says while SCREEN is in view."""
    return f"▸{next(key for key, name in SCREENS.items() if name == screen)} {screen}◂"


def losses(run: RunFolder) -> dict[int, float]:
    """The loss of every step told; of steps that were taken twice, the later."""
    return {event["step"]: event["loss"] for event in run.events() if event["kind"] == "step"}


def last_step(run: RunFolder) -> int:
    """How far RUN has come."""
    return max(losses(run), default=0)


def until(holds: Any, what: str, seconds: float = 60.0, terminal: Terminal | None = None) -> None:
    """Wait until HOLDS() is true; meanwhile TERMINAL is read. Raises AssertionError naming WHAT."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not {what} after {seconds} s" + (f":\n{terminal.text}" if terminal else ""))
        if terminal is not None and terminal.descriptor >= 0:
            terminal.pump(0.05)
        else:
            time.sleep(0.05)
