"""Measured, not guessed: a few real steps in a process of its own, on the heaviest batch and on usual ones.

`python -m ftstudio.engine.measure REQUEST` reads a JSON file that `measure` wrote, trains without saving anything, and
prints one line of JSON. A process of its own, because only so its memory is the training's alone, and because it may
run out of memory without harm.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio import tasks
from ftstudio.core.errors import Stopped, StudioError, chain
from ftstudio.core.text import one_line
from ftstudio.engine import measure_saving

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.loads import Batches

TIMEOUT = 1800.0  # seconds: a big model on a slow disk takes its time to load
WARM_UP = 25  # steps: by then the scaler's factor of 2^16 is below 1
RESULT = "ftstudio-measured "
BYTES = "ftstudio-bytes"
# glibc keeps freed blocks for later, up to two thirds as much as is in use: here they go back at once, so that what is
# resident is what is held
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "200000", "MALLOC_TRIM_THRESHOLD_": "100000"}


class NoRoom(StudioError):
    """Memory didn't do for the measured steps, not even for their smallest parts."""


def measure(
    recipe: Recipe, batches: Batches, cancel: Callable[[], bool] | None = None, place: Path | None = None
) -> dict[str, Any]:
    """`{bytes, moments, step_seconds, tokens, usual, evaluation_seconds, answering_seconds, saving_seconds,
    load_seconds, parts, recomputes}` of RECIPE. PLACE is the folder on whose disk a checkpoint is tried (see
    `measure_saving`; None: it isn't, and `saving_seconds` None). Where memory didn't do for the heaviest batch as the
    recipe has it, it was taken in `parts`, or activations were computed again (`recomputes`), as a training does by
    itself.

    Raises NoRoom where not even that did, StudioError where the steps fail, Stopped when CANCEL says so.
    """
    kept = measure_saving.folder_in(place)
    with tempfile.TemporaryDirectory(prefix="ftstudio-measure-") as folder, kept or contextlib.nullcontext():
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(_request(recipe, batches) | {"disk": kept.name if kept is not None else None}))
        words = [sys.executable, "-m", "ftstudio.engine.measure", str(path)]
        with (
            open(Path(folder) / "out", "w+") as out,
            open(Path(folder) / "err", "w+") as err,
            subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=_environment()) as child,
        ):
            try:
                _wait(child, cancel)
            except BaseException:
                child.kill()
                raise
            out.seek(0)
            err.seek(0)
            return _read(out.read(), err.read(), child.returncode)


def _request(recipe: Recipe, batches: Batches) -> dict[str, Any]:
    """What the child is told, as JSON takes it."""
    request = {
        "recipe": recipe.plain(defaults=True),
        "heaviest": [_plain(row) for row in batches.heaviest],
        "usual": [[_plain(row) for row in rows] for rows in batches.usual],
        "new": batches.new,
    }
    if tasks.get(recipe.task).kind == "causal-lm":  # other tasks open what they are judged on themselves
        request |= {"held_out": [_plain(row) for row in batches.held_out], "prompts": batches.prompts}
    return request


def _environment() -> dict[str, str]:
    """So that the child finds this very package, wherever it was started from."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, **RETURNED, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _wait(child: subprocess.Popen[Any], cancel: Callable[[], bool] | None) -> None:
    end = time.monotonic() + TIMEOUT
    while child.poll() is None:
        if cancel is not None and cancel():
            raise Stopped("Stopped while measuring.")
        if time.monotonic() > end:
            raise StudioError(f"Measuring took over {TIMEOUT / 60:.0f} minutes.", "Train without it.")
        time.sleep(0.05)


def _read(out: str, err: str, status: int) -> dict[str, Any]:
    for line in reversed(out.splitlines()):
        if line.startswith(RESULT):
            value: dict[str, Any] = json.loads(line.removeprefix(RESULT))
            if "error" in value:
                kind = NoRoom if value.get("no_room") else StudioError
                raise kind(str(value["error"]), str(value.get("hint") or ""))
            return value
    if status in (-9, 137):
        raise NoRoom("The system ended the measured step: there is not enough memory.", "Make the batch smaller.")
    said = one_line(err.strip().splitlines()[-1] if err.strip() else f"exit status {status}", 160)
    raise StudioError(f"The measured step failed: {said}.", "Train without measuring, or see `ftstudio doctor`.")


def _plain(value: Any) -> Any:
    """VALUE, a row or a part of one, as JSON takes it: pictures' bytes as text."""
    if isinstance(value, bytes):
        return {BYTES: base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return [item if isinstance(item, int) else _plain(item) for item in value]


def _again(value: Any) -> Any:
    """What `_plain` made VALUE of."""
    if isinstance(value, dict):
        if set(value) == {BYTES}:
            return base64.b64decode(value[BYTES])
        return {key: _again(item) for key, item in value.items()}
    nested = isinstance(value, list) and bool(value) and isinstance(value[0], (dict, list))
    return [_again(item) for item in value] if nested else value


# -- the child ---------------------------------------------------------------------------------------------------
def main(path: str) -> None:
    """Do what the request in the file PATH asks, and print the result."""
    try:
        value = _measured(json.loads(Path(path).read_text()))
    except BaseException as error:
        from ftstudio.engine import trouble
        from ftstudio.engine.parity import out_of_memory

        told = trouble.explain(error)
        no_room = any(out_of_memory(one) for one in chain(error))
        value = {"error": told.message, "hint": told.hint, "no_room": no_room}
    print(f"\n{RESULT}{json.dumps(value)}", flush=True)


def _measured(request: dict[str, Any]) -> dict[str, Any]:
    from ftstudio import methods
    from ftstudio.engine import hardware, levers, quiet
    from ftstudio.engine.recipes import check_recipe
    from ftstudio.engine.reshaping import tokenizer_of
    from ftstudio.tasks.base import Prompt

    quiet.libraries()
    hardware.apply_threads(hardware.threads())
    recipe = check_recipe(request["recipe"])
    machine = hardware.resolve(recipe)
    method = methods.get(recipe.method.name)
    from ftstudio.engine.models import ModelStore

    before = _resident()
    began = time.perf_counter()
    store = ModelStore()
    encode = tokenizer_of(recipe).encode
    model = method.apply(store.to_train(recipe), method.settings(recipe.method.settings), encode)
    loaded = time.perf_counter() - began
    request = _again(request)
    rows = [*request["heaviest"], *(row for batch in request["usual"] for row in batch)]
    lengths = [len(row["input_ids"]) for row in rows]
    task = tasks.of(recipe)
    asked: list[Any] = [Prompt(ids, "", None) for ids in request.get("prompts", ())]
    materials = None
    if task.kind != "causal-lm":
        materials, request["held_out"], asked = _judged(recipe)
        task = materials.task
    chosen = levers.choose(model, rows, lengths, machine, recipe, 0, task)
    probe = _Probe(model, recipe, method, machine, chosen, request, task, asked)
    found = {**probe.run(), "gauge_seconds": _gauged(recipe, probe.trainer, materials)}
    context = before if machine.device == "cpu" else None
    return {**found, "load_seconds": loaded, "libraries_bytes": context, "engine": chosen.told}


def _gauged(recipe: Recipe, trainer: Any, materials: Any) -> float:
    """Seconds that the gauge of forgetting takes at an evaluation of RECIPE; 0 where there is none."""
    from ftstudio.core.folder import JobFolder
    from ftstudio.engine import attention, drift
    from ftstudio.engine.reshaping import tokenizer_of

    if recipe.architecture.changes:
        return 0.0  # its base is another model, which isn't there
    with tempfile.TemporaryDirectory(prefix="ftstudio-gauge-") as folder:
        gauge = drift.of(
            JobFolder(Path(folder)), recipe, materials.tokenizer if materials is not None else tokenizer_of(recipe),
            materials, lambda: False,
        )  # fmt: skip
        if gauge is None:
            return 0.0
        try:
            with attention.plain(trainer.model), trainer.levers.objective.precision():  # as at an evaluation
                gauge(trainer, 0)  # measures the base, too, once in a run
                began = time.perf_counter()
                gauge(trainer, 1)
        except Exception:  # as while training: what isn't needed for it stops nothing
            return 0.0
        return time.perf_counter() - began


def _judged(recipe: Recipe) -> tuple[Any, list[Any], list[Any]]:
    """(What RECIPE trains on, held-out rows, prompts that are answered while training)."""
    from ftstudio.data.example import BadRow
    from ftstudio.engine.materials import open_materials
    from ftstudio.engine.rows import encoded_rows
    from ftstudio.engine.samples import spread

    materials = open_materials(recipe)
    if materials.held_out is None:
        return materials, [], []
    examples = materials.examples(recipe.evaluation.rows)
    asked = []
    for place in spread(len(examples), recipe.evaluation.samples):
        with contextlib.suppress(BadRow):
            asked.append(materials.prompt(examples[place][1]))
    return materials, [row for _, row in encoded_rows(materials, examples, recipe.data.max_length)], asked


class _Probe:
    """Steps, an evaluation batch and an answer, each with its time and the most memory it took."""

    def __init__(
        self, model: Any, recipe: Recipe, method: Any, machine: Any, chosen: Any, request: Any, task: Any, asked: Any
    ) -> None:
        from ftstudio.engine import room
        from ftstudio.engine.arguments import arguments
        from ftstudio.engine.meter import Meter
        from ftstudio.engine.trainer import StudioTrainer

        self.machine, self.request, self.levers = machine, request, chosen
        self.task, self.asked = task, asked
        self.folder = tempfile.mkdtemp(prefix="ftstudio-steps-")
        values = arguments(recipe, method, machine, Path(self.folder))
        rows = request["heaviest"]
        lengths = [len(row["input_ids"]) for row in rows]
        self.batch, self.budget = recipe.training.batch_size, recipe.training.batch_tokens
        self.said = _Nobody()
        self.trainer = StudioTrainer(model, values, rows, [], lengths, chosen, self.said, Meter(), keep=1)
        self.trainer.recomputes = self.recomputed = bool(recipe.training.gradient_checkpointing)
        self.trainer.may_recompute = room.can(recipe)
        self.accumulation = recipe.training.gradient_accumulation

    def run(self) -> dict[str, Any]:
        """All of it."""
        import shutil

        trainer = self.trainer
        trainer.create_optimizer_and_scheduler(num_training_steps=100)
        model, trainer.optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
        model.train()
        heaviest, usual = self.request["heaviest"], self.request["usual"]
        try:
            self._warm_up(model, heaviest)
            _reset_peak(self.machine.device)
            seconds = min(self._step(model, heaviest) for _ in range(2))
            moments = {"training": _peak(self.machine.device)}
            tokens = sum(len(row["input_ids"]) for row in heaviest)
            parts = len(trainer.held.parts_of(self._batch(heaviest))) if self.said.short else 1
            pairs = [
                (sum(len(row["input_ids"]) for row in rows), self._step(model, rows, 1) * self.accumulation)
                for rows in usual
            ]
            _reset_peak(self.machine.device)
            evaluation = self._evaluate(model)
            moments["evaluating"] = _peak(self.machine.device)
            _reset_peak(self.machine.device)
            answering = self._answer()
            moments["answering"] = _peak(self.machine.device)
            disk = self.request.get("disk")
            saving = measure_saving.seconds(trainer, Path(disk)) if disk else None
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        return {
            "bytes": max(moments.values()), "moments": moments, "step_seconds": seconds, "tokens": tokens,
            "usual": pairs, "evaluation_seconds": evaluation, "answering_seconds": answering,
            "saving_seconds": saving,
            "parts": parts, "recomputes": self.said.recomputes and not self.recomputed,
        }  # fmt: skip

    def _warm_up(self, model: Any, rows: list[Any]) -> None:
        """Steps until the optimiser has its states, and kernels are chosen: in fp16 the scaler leaves out those whose
        gradients overflow, and halves its factor each time."""
        for _ in range(WARM_UP):
            self._step(model, rows)
            if not self.trainer.optimizer.step_was_skipped:
                return

    def _batch(self, rows: list[Any]) -> dict[str, Any]:
        return self.levers.laid_out(self.levers.collator)(rows)

    def _step(self, model: Any, rows: list[Any], accumulation: int | None = None) -> float:
        """Seconds of an optimiser step whose micro-batches all are ROWS."""
        import torch

        from ftstudio.engine.collate import trained

        trainer = self.trainer
        self._wait()
        began = time.perf_counter()
        for _ in range(accumulation or self.accumulation):
            batch = trainer._prepare_inputs(self._batch(rows))
            count = torch.as_tensor(max(1, int(trained(batch))))
            trainer._taken, trainer._step = 0, [batch]
            trainer.training_step(model, batch, count * (accumulation or self.accumulation))
        trainer.accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
        trainer.optimizer.step()
        model.zero_grad(set_to_none=True)
        self._wait()
        return time.perf_counter() - began

    def _evaluate(self, model: Any) -> float:
        from ftstudio.engine.held_out import held_out_loss

        rows = self.request["held_out"]
        if not rows:
            return 0.0
        some = sorted(rows, key=lambda row: -len(row["input_ids"]))
        if self.budget is None:
            some = some[: 4 * self.batch]
        else:
            some = some[: max(4, 4 * self.budget // len(some[0]["input_ids"]))]
        self._wait()
        began = time.perf_counter()
        held_out_loss(model, some, self.levers, self.batch, budget=self.budget, missed=lambda error: None)
        self._wait()
        share = sum(len(row["input_ids"]) for row in rows) / sum(len(row["input_ids"]) for row in some)
        return (time.perf_counter() - began) * share

    def _answer(self) -> float:
        from ftstudio.engine import attention, generation, predicting

        if not self.asked:
            return 0.0
        began = time.perf_counter()
        decoding = generation.Decoding(self.request["new"])
        model = self.trainer.model
        with attention.plain(model), self.levers.objective.precision():
            task = self.task.fitted(model) if self.task.kind != "causal-lm" else self.task
            for _ in predicting.answers(task, model, self.asked, decoding, ()):
                pass
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.machine.device == "cuda":
            import torch

            torch.cuda.synchronize()


class _Nobody:
    """Directs nothing, and remembers whether memory didn't do as it was, and whether activations are computed again."""

    first_loss: float | None = None
    evaluated_at: tuple[int, float] | None = None
    short = recomputes = False

    def shrunk(self, rows: int, tokens: int, recomputes: bool) -> None:
        """See trainer.Director."""
        self.short, self.recomputes = True, self.recomputes or recomputes

    def __getattr__(self, name: str) -> Any:
        return lambda *_: set()


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _reset_peak(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # Linux: the resident peak begins anew (proc(5))


def _peak(device: str) -> int:
    """The most memory since the last reset, bytes: what the device held, CUDA's context included; or resident."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated()) + _context()
    for line in _status():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return _resident()


def _status() -> Iterator[str]:
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        yield from file


def _context() -> int:
    """What the driver says this process holds beyond torch's own; the usual size where it doesn't say."""
    import torch

    from ftstudio.engine.memory import CONTEXT

    with contextlib.suppress(Exception):
        import pynvml

        from ftstudio.engine import cards

        pynvml.nvmlInit()
        card = cards.visible(pynvml)[torch.cuda.current_device()]
        for process in pynvml.nvmlDeviceGetComputeRunningProcesses(card.handle):
            if process.pid == os.getpid() and process.usedGpuMemory:
                return max(0, int(process.usedGpuMemory) - int(torch.cuda.memory_reserved()))
    return CONTEXT["cuda"]


if __name__ == "__main__":
    main(sys.argv[1])
