"""What makes this training fast, decided for the model and machine at hand, each with the reason for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftstudio.core.text import number
from ftstudio.engine import attention, dropout
from ftstudio.engine.collate import Collate, Collator, PaddingFree, Row
from ftstudio.engine.loss import Head, Objective, head_of, soft_prompt
from ftstudio.engine.objective import TaskCollator, TaskObjective
from ftstudio.engine.parity import Parity, choose_rows, out_of_memory, probe

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.hardware import Hardware
    from ftstudio.tasks.base import Task

ORDER: tuple[Head, ...] = ("mask", "places", "all")
HEADS: dict[Head, str] = {
    "mask": "only at labels: {:.0%} of the tokens",
    "places": "at places where a row of the batch has a label: {:.0%} of the tokens have one",
    "all": "everywhere: the architecture can't narrow it",
}
MULTIPLE = 8  # a GPU's matrix units like widths of whole eights


@dataclass
class Levers:
    """How batches are laid out and their loss computed. `told`: what each lever resolved to and why, for people."""

    collator: Collate
    objective: Objective | TaskObjective
    told: dict[str, str] = field(default_factory=dict)
    texts: Sequence[Sequence[int]] | None = None
    """Where the loss holds the rows of a batch against each other: the texts of each (`order.Mixed`), maybe none."""

    @property
    def padding_free(self) -> bool:
        """Whether rows lie one after another."""
        return isinstance(self.collator, PaddingFree)


def choose(
    model: Any, rows: Any, lengths: Sequence[int], machine: Hardware, recipe: Recipe, pad_id: int, task: Task
) -> Levers:
    """The levers for training MODEL (as the method made it) on TASK's ROWS of LENGTHS tokens. The model is changed for
    it: see `release`."""
    half = machine.dtype if machine.precision != "fp32" else None
    _checkpoint(model, recipe)
    if task.kind != "causal-lm":
        return _of_task(model, task, machine, recipe, pad_id, rows)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    two = choose_rows(rows, lengths, getattr(inner.config.get_text_config(), "sliding_window", None))
    objective = Objective(head_that_works(model, two[0], machine.device, half, pad_id), machine.device, half)
    told = {"precision": f"{machine.precision}: {machine.why}"}
    parity = Parity(why="its architecture brings attention of its own")
    if soft_prompt(model):
        parity = Parity(why="soft prompts stand before each row by itself")
    elif getattr(inner, "_supports_attention_backend", False):
        parity = _without_padding(model, two, objective, pad_id)
    collator: Collate
    if parity.same:
        collator = PaddingFree()
        told["batches"] = (
            f"no padding: two rows are the same as padded (loss {parity.loss:.0e} apart, "
            f"gradients {parity.gradients:.0e})"
        )
        told["attention"] = attention.NAMES[attention.implementation(model)]
    else:
        collator = Collator(pad_id, MULTIPLE if machine.device == "cuda" else 1)
        told["batches"] = f"padded, rows of like length together: {parity.why}"
        told["attention"] = attention.implementation(model)
    told["head"] = HEADS[objective.head].format(_trained_share(rows))
    told["loss"] = "in pieces: no copy of the logits in 32 bits"
    _adapters(model, machine, told)
    _always_told(recipe, told)
    return Levers(collator, objective, told)


def _of_task(model: Any, task: Task, machine: Hardware, recipe: Recipe, pad_id: int, rows: Any) -> Levers:
    """The levers of a task with batches and a loss of its own: rows of like length together, padded; mixed where the
    loss holds them against each other."""
    half = machine.dtype if machine.precision != "fp32" else None
    told = {
        "precision": f"{machine.precision}: {machine.why}",
        "batches": f"padded, rows of like length together: {task.name} has batches of its own",
    }
    if "training" in task.phases():
        told["task"] = task.phases()["training"]
    texts = None if task.divisible else task.texts_apart(rows)
    if texts is not None:
        told["batches"] = "padded, mixed at random: the loss holds the rows of a batch against each other"
        told["batch size"] = "part of what is learnt: more rows at once are told apart from more"
    if texts:
        told["batches"] += ", and rows that share a text stay apart"
    if task.chunk:
        told["chunk"] = f"{number(task.chunk)} rows are looked at at once, with the gradients of the whole batch"
    _adapters(model, machine, told)
    _always_told(recipe, told)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(inner, "ftstudio_head", None):
        told["head"] = "new: drawn by the seed, it learns whole"
    collator = TaskCollator(task, pad_id, MULTIPLE if machine.device == "cuda" else 1)
    return Levers(collator, TaskObjective(task, machine.device, half), told, texts)


def _always_told(recipe: Recipe, told: dict[str, str]) -> None:
    fused = " fused" if recipe.training.optimizer == "adamw" else ""
    told["optimizer"] = recipe.training.optimizer + fused
    if recipe.training.gradient_checkpointing:
        told["memory"] = "checkpointing: activations are computed again on the way back"


def head_that_works(model: Any, row: Row, device: str, half: Any, pad_id: int) -> Head:
    """The narrowest head that says on ROW what the whole head says there: not every architecture keeps its word."""
    import torch

    batch = Collator(pad_id)([row])
    batch["keep"][:] = False
    batch["keep"][0, : max(1, len(row["input_ids"]) // 2)] = True
    batch = {key: item.to(device) if torch.is_tensor(item) else item for key, item in batch.items()}
    training = model.training
    model.eval()
    found = head_of(model)
    try:
        with torch.no_grad():
            wanted = Objective("all", device, half).logits(model, batch).float()
            near = (1e-4 if half is None and model.dtype == torch.float32 else 5e-2) * max(
                1.0, float(wanted.abs().max())
            )
            for head in ORDER[ORDER.index(found) :]:
                try:
                    said = Objective(head, device, half).logits(model, batch).float()
                except (TypeError, ValueError, IndexError, RuntimeError) as error:
                    if out_of_memory(error):
                        raise
                    continue
                if said.shape == wanted.shape and float((said - wanted).abs().max()) <= near:
                    return head
    finally:
        model.train(training)
    return "all"


def release(model: Any) -> None:
    """Put back what `choose` changed in MODEL, so that it can be called by anyone."""
    attention.release(model)
    for layer in _layers(model):
        layer.cast_input_dtype_enabled = True


def _layers(model: Any) -> list[Any]:
    """The layers of peft in MODEL."""
    return [module for module in model.modules() if hasattr(module, "cast_input_dtype_enabled")]


def _trained_share(rows: Sequence[Row]) -> float:
    some = range(0, len(rows), max(1, len(rows) // 500))
    labels = [label >= 0 for row in some for label in rows[row]["labels"]]
    return sum(labels) / max(1, len(labels))


def _checkpoint(model: Any, recipe: Recipe) -> None:
    """Recompute activations already in the probe: it must fit where the training does."""
    if recipe.training.gradient_checkpointing:
        if hasattr(model, "activation_checkpointing_enable"):  # renamed in transformers 5
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _without_padding(model: Any, two: Sequence[Row], objective: Objective, pad_id: int) -> Parity:
    """Let MODEL attend by the fastest function that passes the probe; by none, with what spoke against the last."""
    import torch

    parity = Parity()
    for name in attention.kernels(objective.device, objective.autocast or torch.float32):
        try:
            attention.use(model, name)
            parity = probe(model, two, objective, pad_id)
        except (ValueError, ImportError) as error:
            parity = Parity(why=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            parity = Parity(why="there was not enough memory to try without")
        if parity.same:
            return parity
    attention.release(model)
    return parity


def _adapters(model: Any, machine: Hardware, told: dict[str, str]) -> None:
    """What peft's layers do in vain: a copy of every input to 32 bits that autocast takes back, a slow dropout."""
    done = []
    if machine.precision != "fp32":
        layers = _layers(model)
        for layer in layers:
            layer.cast_input_dtype_enabled = False
        if layers:
            done.append(f"inputs stay in {machine.precision}")
    if machine.device == "cpu":
        share = dropout.speed_up(model)
        if share:
            done.append(f"dropout draws the {number(100 * share)} % that fall out")
    if done:
        told["adapters"] = "lean: " + ", ".join(done)
