"""Runs written by hand, as a worker would write them: for screens that only read."""

from __future__ import annotations

import math
import os
import random
import socket
from typing import Any

from ftstudio.core import turn
from ftstudio.core.files import write_json
from ftstudio.core.owner import _process_began
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace

RECIPE = "task: sft\nmodel: demo\nmethod:\n  name: qlora\n  r: 8\ndata:\n  train: demo\n"
CARD = {"name": "NVIDIA H200", "use": 87.0, "memory_used": 41 << 30, "memory_total": 139 << 30, "temperature": 61.0}


def begin(
    workspace: Workspace, name: str = "tickets", *, total: int | None = 200, owned: bool = False, text: str = RECIPE
) -> RunFolder:
    """A run that has begun; OWNED by this process."""
    run = workspace.new_run(name)
    run.recipe_path.write_text(text)
    if owned:
        run.claim()
    run.emit("phase", phase="loading libraries", text="torch, transformers, peft")
    run.emit(
        "start", run=run.name, task="sft", method="qlora", model="demo", device="cpu", precision="fp32", threads=1,
        total_steps=total, epochs=4, steps_per_epoch=(total or 200) // 4, rows={"train": 400, "eval": 100},
        tokens={"total": 23018, "trained": 8329, "lost": 0}, parameters={"total": 1_213_568, "trainable": 163_840},
        resumed_from=None,
    )  # fmt: skip
    run.emit("phase", phase="training", text="")
    return run


def waits_elsewhere(run: RunFolder) -> str:
    """RUN waits for its turn in another process that lives; that process in words."""
    process = os.getppid()
    claim = {"process": process, "host": socket.gethostname(), "began": _process_began(process), "heartbeat": 0.0}
    write_json(run.path / turn.FILE, {**claim, "token": "another"})
    return f"process {process}"


def loss_at(step: int) -> float:
    """A loss that falls, with noise that is the same every time."""
    return 2.2 * math.exp(-step / 40) + 1.1 + 0.2 * (random.Random(step).random() - 0.5)


def steps(run: RunFolder, first: int, last: int, total: int = 200) -> None:
    """Steps FIRST to LAST, as events."""
    for step in range(first, last + 1):
        run.emit(
            "step", step=step, epoch=step / (total / 4), loss=loss_at(step), lr=2e-4 * (1 - step / total),
            grad_norm=0.7 + 0.2 * random.Random(-step).random(), tokens=step * 60,
            tokens_per_second=1800.0 + step % 50, seconds=step * 0.2, eta=(total - step) * 0.2,
        )  # fmt: skip


def evaluation(run: RunFolder, step: int, samples: int = 2, **texts: Any) -> None:
    """An evaluation at STEP, with SAMPLES samples; TEXTS replace prompt, base, output, reference."""
    loss = loss_at(step) + 0.1
    run.emit("eval", step=step, loss=loss, perplexity=math.exp(loss), rows=100, tokens=2000)
    for index in range(samples):
        run.emit("sample", **{
            "step": step, "index": index, "row": index * 10, "prompt": f"Prompt {index}: my lamp is broken",
            "reference": "lamp | broken | low", "base": "Dear customer we are are are",
            "output": f"lamp | broken | step {step}", **texts,
        })  # fmt: skip


def forgotten(run: RunFolder, step: int, change: float, kl: float = 0.2) -> None:
    """How much was forgotten at STEP: CHANGE in bits a byte."""
    run.emit(
        "forgetting", step=step, change=change, bits_per_byte=1.1 + change, base_bits_per_byte=1.1, kl=kl, bytes=4096,
        tokens=1300, seconds=0.4,
    )  # fmt: skip


def reading(run: RunFolder, cards: int = 0, cpu: float = 45.0) -> None:
    """A reading of the machine with CARDS GPUs."""
    run.emit(
        "telemetry", cpu=cpu, ram_used=12 << 30, ram_total=64 << 30, process_ram=3 << 30,
        gpus=[{**CARD, "power": 512.0}] * cards,
    )  # fmt: skip


def ended(run: RunFolder, kind: str = "done", **fields: Any) -> None:
    """The end of a run: `done`, `failed` or `stopped`."""
    usual: dict[str, dict[str, Any]] = {
        "done": {
            "step": 200, "loss": {"first": 3.3, "last": 1.1}, "eval": {"loss": 1.2}, "tokens_per_second": 1800.0,
            "peak_memory_bytes": 1 << 30, "seconds": 192.0, "path": "model", "ran": 192.0,
        },
        "failed": {"text": "The GPU ran out of memory.", "hint": "Lower training.batch_size.", "step": 12},
        "stopped": {"step": 100, "text": ""},
    }  # fmt: skip
    run.emit(kind, **{**usual[kind], **fields})


def finished(workspace: Workspace, name: str = "tickets", kind: str | None = "done", upto: int = 200) -> RunFolder:
    """A run with a history that ended as KIND; None: its process is gone."""
    run = begin(workspace, name)
    evaluation(run, 0)
    for step in range(0, upto, 50):
        steps(run, step + 1, min(step + 50, upto))
        evaluation(run, min(step + 50, upto))
        reading(run)
    if kind is not None:
        ended(run, kind)
    return run


def row_losses(run: RunFolder, losses: list[list[float]]) -> None:
    """The LOSSES of every row in every epoch, as a run keeps them; row n is row n of the data."""
    import json

    import numpy as np

    from ftstudio.core import dynamics

    folder = run.path / dynamics.FOLDER
    folder.mkdir()
    count = len(losses[0])
    (folder / dynamics.ABOUT).write_text(json.dumps({"version": dynamics.VERSION, "rows": count, "sources": []}))
    np.arange(count, dtype="<i4").tofile(folder / dynamics.ROWS)
    for epoch, values in enumerate(losses):
        records = np.zeros(count, dtype=dynamics.RECORD)
        records["step"], records["place"], records["tokens"] = epoch + 1, np.arange(count), 30
        records["loss"] = values
        records.tofile(folder / dynamics.epoch_name(epoch))
