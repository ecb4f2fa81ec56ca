"""What makes this training fast, decided for the model and machine at hand, each with the reason for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.launch import place
from ftstudio.core.text import number
from ftstudio.engine import asked_head, attention, compiling, dropout, fused, masters, pieces
from ftstudio.engine.budget import TokenBudget
from ftstudio.engine.collate import Collate, Collator, PaddingFree, Row
from ftstudio.engine.drawn import Drawn
from ftstudio.engine.fused_probe import PIECES, from_places, tried
from ftstudio.engine.loss import Head, Objective, head_of, soft_prompt
from ftstudio.engine.objective import TaskCollator, TaskObjective
from ftstudio.engine.order import Texts
from ftstudio.engine.parity import Parity, choose_rows, probe
from ftstudio.engine.predicting import moved
from ftstudio.engine.trouble import out_of_memory

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.hardware import Hardware
    from ftstudio.tasks.base import Task

SHARDED = "weights, gradients and optimiser states in parts on the processes (FSDP), whole to be evaluated and saved"
ORDER: tuple[Head, ...] = ("mask", "places", "all")
HEADS: dict[Head, str] = {
    "mask": "only at labels: {:.0%} of the tokens",
    "places": "at places where a row of the batch has a label: {:.0%} of the tokens have one",
    "all": "everywhere: the architecture can't narrow it",
}
MUCH = 0.25  # of the tokens are padding: it is told how to spare it
MULTIPLE = 8  # a GPU's matrix units like widths of whole eights


@dataclass
class Levers:
    """How batches are laid out and their loss computed. `told`: what each lever resolved to and why, for people."""

    collator: Collate
    objective: Objective | TaskObjective
    told: dict[str, str] = field(default_factory=dict)
    texts: Texts | None = None
    """Where the loss holds the rows of a batch against each other: the texts of each (`order.Mixed`), maybe none."""
    alike: bool = False
    """Whether rows of like length share a batch (`order.LengthGrouped`)."""
    piece: float | None = None
    """Where batches may be cut into pieces of like length: what one more costs, in tokens (`pieces`)."""

    def laid_out(self, collate: Collate) -> Collate:
        """COLLATE (of this collator) as batches are trained on."""
        return collate if self.piece is None else pieces.pieced(collate, self.piece)

    @property
    def padding_free(self) -> bool:
        """Whether rows lie one after another."""
        return isinstance(self.collator, PaddingFree)


def choose(
    model: Any,
    rows: Any,
    lengths: Sequence[int],
    machine: Hardware,
    recipe: Recipe,
    pad_id: int,
    task: Task,
    why_checkpointing: str = "",
) -> Levers:
    """The levers for training MODEL (as the method made it) on TASK's ROWS of LENGTHS tokens. The model is changed for
    it: see `release`. WHY_CHECKPOINTING: why activations are computed again or not (see `room`). Raises StudioError for
    an attention that the recipe names and the model hasn't."""
    half = machine.dtype if machine.precision != "fp32" else None
    checkpoint(model, recipe)
    masters.widen(model)
    wanted = recipe.training.attention
    if task.kind != "causal-lm":
        return _of_task(model, rows, lengths, task, machine, recipe, pad_id, why_checkpointing)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    two = choose_rows(rows, lengths, getattr(inner.config.get_text_config(), "sliding_window", None))
    objective = Objective(head_that_works(model, two[0], machine.device, half, pad_id), machine.device, half)
    told = {"precision": _precision(machine)}
    parity = Parity(why="its architecture brings attention of its own")
    if soft_prompt(model):
        parity = Parity(why="soft prompts stand before each row by itself")
    elif wanted == "eager":
        parity = Parity(why="eager attention, as the recipe says, takes whole matrices")
    elif getattr(inner, "_is_stateful", False):  # in half precision two rows may look the same within rounding
        parity = Parity(why="it keeps a state, in which a row would find what the one before it left")
    elif getattr(inner, "_supports_attention_backend", False):
        parity = _without_padding(model, two, objective, pad_id, wanted)
    collator: Collate
    if parity.same:
        collator = PaddingFree()
        told["batches"] = (
            f"no padding: two rows are the same as padded (loss {parity.loss:.0e} apart, "
            f"gradients {parity.gradients:.0e})"
        )
        how = attention.implementation(model)
        told["attention"] = attention.NAMES.get(how, how)
    else:
        collator = Collator(pad_id, MULTIPLE if machine.device == "cuda" else 1)
        told["batches"] = f"{_padded(recipe, lengths, _piece(model, machine))}: {parity.why}"
        _attend(model, wanted)
        told["attention"] = attention.implementation(model)
    told["attention"] += ", as the recipe says" if wanted != "auto" else ""
    told["head"] = HEADS[objective.head].format(_trained_share(rows))
    objective, told["loss"] = _fused(model, objective, collator, two, recipe)
    lean_adapters(model, machine, told)
    if recipe.training.compile:
        told["compile"] = compiling.compile_layers(model, two, objective, collator)
    _always_told(recipe, machine, lengths, told, why_checkpointing)
    return Levers(collator, objective, told, piece=None if parity.same else _piece(model, machine))


def _precision(machine: Hardware) -> str:
    """The precision and why; in 32 bits on a GPU, whether its matrix units round what they multiply."""
    told = f"{machine.precision}: {machine.why}"
    if machine.device != "cuda" or machine.precision != "fp32":
        return told
    import torch

    if torch.get_float32_matmul_precision() != "highest":
        return f"{told}; products by TF32 (rounded to 10 bits), as it was set outside of ftstudio"
    return f"{told}; products in full, without TF32: exact, but several times slower than bf16 where the GPU has it"


def _padded(recipe: Recipe, lengths: Sequence[int], piece: float | None) -> str:
    """How rows of LENGTHS come together where they are padded; PIECE as `Levers` have it."""
    training = recipe.training
    if training.batch_tokens is not None:
        return "padded, rows of like length together"
    cut, left = pieces.shares(lengths, training.batch_size, training.seed, piece)
    told = f", {cut:.0%} of the batches in pieces of like length" if cut else ""
    spared = "; training.batch_tokens, rows of like length together, spares it" if left >= MUCH else ""
    return f"random rows, padded{told} ({left:.0%} of the tokens are padding{spared})"


def _piece(model: Any, machine: Hardware) -> float | None:
    """See `Levers.piece`. Not among several processes: each would wait for the others' pieces."""
    weights = sum(weight.numel() for weight in model.parameters())
    return pieces.dear(machine.device, weights) if place().alone else None


def _fused(
    model: Any, objective: Objective, collator: Collate, rows: Sequence[Row], recipe: Recipe
) -> tuple[Objective, str]:
    """OBJECTIVE fused with the head where that is the same on ROWS, and what was decided."""
    if recipe.training.shard and not place().alone:
        return objective, f"{PIECES}; not fused with the head: its weight lies in parts on several GPUs"
    name, why = tried(model, objective, collator, rows)
    head = fused.head_under(model)
    if not name or isinstance(head, str):
        return objective, why
    return replace(objective, fused=name, fused_from=from_places(objective, head)), why


def _attend(model: Any, wanted: str) -> None:
    """Let MODEL attend to padded rows as the recipe says. Raises StudioError where it can't."""
    if wanted == "auto":
        return
    try:
        attention.use(model, wanted)
    except (ValueError, ImportError, OSError) as error:
        raise StudioError(
            f"training.attention: {type(error).__name__} with {wanted}: {' '.join(str(error).split())[:160]}",
            "Set training.attention to auto.",
        ) from error


def _of_task(
    model: Any,
    rows: Any,
    lengths: Sequence[int],
    task: Task,
    machine: Hardware,
    recipe: Recipe,
    pad_id: int,
    why_checkpointing: str,
) -> Levers:
    """The levers of a task with batches and a loss of its own, padded: rows of like length together where each counts
    the same; mixed where the loss holds them against each other."""
    half = machine.dtype if machine.precision != "fp32" else None
    told = {"precision": _precision(machine)}
    piece = None if task.rows_alike else _piece(model, machine)
    apart = None if task.divisible else task.texts_apart(getattr(rows, "all", rows))
    # where later epochs have other rows, those of the epoch
    texts: Texts | None = partial(rows.texts, apart) if apart and isinstance(rows, Drawn) else apart
    if texts is not None:
        told["batches"] = "padded, mixed at random: the loss holds the rows of a batch against each other"
        told["batch size"] = "part of what is learnt: more rows at once are told apart from more"
    elif task.rows_alike:
        told["batches"] = "padded, rows of like length together: each row counts the same"
    else:
        told["batches"] = f"{_padded(recipe, lengths, piece)}: {task.name} has batches of its own"
    if texts:
        told["batches"] += ", and rows that share a text stay apart"
    if "training" in task.phases():
        told["task"] = task.phases()["training"]
    if task.chunk:
        told["chunk"] = f"{number(task.chunk)} rows are looked at at once, with the gradients of the whole batch"
    _attend(model, recipe.training.attention)
    told["attention"] = attention.implementation(model)
    told["attention"] += ", as the recipe says" if recipe.training.attention != "auto" else ""
    lean_adapters(model, machine, told)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(inner, "ftstudio_head", None):
        told["head"] = "new: drawn by the seed, it learns whole"
    collator = TaskCollator(task, pad_id, MULTIPLE if machine.device == "cuda" else 1)
    objective = TaskObjective(task, machine.device, half)
    if task.kind == "masked-lm":
        objective, told["head"] = _filled_in(model, objective, collator, rows)
    if recipe.training.compile:
        order = sorted(range(len(lengths)), key=lambda row: lengths[row])
        two = [rows[row] for row in order[len(order) // 2 :][:2]]
        told["compile"] = compiling.compile_layers(model, two, objective, collator)
    _always_told(recipe, machine, lengths, told, why_checkpointing)
    return Levers(collator, objective, told, texts, task.rows_alike, None if texts is not None else piece)


def _filled_in(model: Any, objective: TaskObjective, collator: TaskCollator, rows: Any) -> tuple[TaskObjective, str]:
    """OBJECTIVE with the head at hidden tokens alone where that is the same on two rows, and what was decided."""
    batch = moved(collator([rows[row] for row in range(min(2, len(rows)))]), objective.device)
    name = asked_head.that_works(model, objective, batch)
    share = _trained_share(rows)
    if not name:
        return objective, f"at every token, though {share:.0%} are to be filled in: narrowed it says something else"
    return replace(objective, head=name), f"only at the {share:.0%} of tokens that are to be filled in"


def _always_told(recipe: Recipe, machine: Hardware, lengths: Sequence[int], told: dict[str, str], why: str) -> None:
    training = recipe.training
    paged = "moved to main memory where the GPU is full" if machine.device == "cuda" else "paging does nothing here"
    told["optimizer"] = {
        "adamw": "adamw, fused: one pass over all weights",
        "adamw_8bit": "adamw with states in 8 bits (bitsandbytes), as the recipe says",
        "paged_adamw_8bit": f"adamw with states in 8 bits (bitsandbytes), {paged}",
    }[training.optimizer]
    if training.batch_tokens is not None:
        order = TokenBudget(lengths, training.batch_tokens, training.seed, place().count)
        batches = len(order)
        fill = sum(lengths) / max(1, batches * training.batch_tokens)
        told["batch size"] = (
            f"by tokens: {number(batches)} batches an epoch of up to {number(training.batch_tokens)}, "
            f"{fill:.0%} full, {len(lengths) / max(1, batches):.1f} rows each on the mean"
        )
    reason = f": {why}" if why else ""
    if training.gradient_checkpointing:
        told["memory"] = f"checkpointing{reason or ': activations are computed again on the way back'}"
    else:
        told["memory"] = f"no checkpointing{reason}"
    if training.shard:
        told["sharding"] = SHARDED if not place().alone else "none: training.shard needs several processes"
    if not training.compile:
        told["compile"] = "off: training.compile isn't set"


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
    compiling.release(model)
    attention.release(model)
    masters.narrow(model)
    for layer in _layers(model):
        layer.cast_input_dtype_enabled = True


def _layers(model: Any) -> list[Any]:
    """The layers of peft in MODEL."""
    return [module for module in model.modules() if hasattr(module, "cast_input_dtype_enabled")]


def _trained_share(rows: Sequence[Row]) -> float:
    some = range(0, len(rows), max(1, len(rows) // 500))
    labels = [label >= 0 for row in some for label in rows[row]["labels"]]
    return sum(labels) / max(1, len(labels))


def checkpoint(model: Any, recipe: Recipe) -> None:
    """Recompute activations already in the probe: it must fit where the training does."""
    if recipe.training.gradient_checkpointing:
        recompute(model)


def recompute(model: Any) -> None:
    """Let MODEL compute activations again on the way back. Raises StudioError where its architecture can't."""
    try:
        if hasattr(model, "activation_checkpointing_enable"):  # renamed in transformers 5
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise StudioError(
            "training.gradient_checkpointing: this architecture can't compute its activations again.",
            "Set it to false.",
        ) from error


def _without_padding(model: Any, two: Sequence[Row], objective: Objective, pad_id: int, wanted: str) -> Parity:
    """Let MODEL attend by the fastest function (the one that is WANTED) that passes the probe; by none, with what spoke
    against the last."""
    import torch

    parity = Parity()
    for name in attention.kernels(objective.device, objective.autocast or torch.float32, wanted):
        try:
            attention.use(model, name)
            parity = probe(model, two, objective, pad_id)
        except Exception as error:  # kernels fail in ways of their own: a file that isn't there, a version, a symbol
            if out_of_memory(error):
                parity = Parity(why="there was not enough memory to try without")
            elif isinstance(error, StudioError) or "CUDA error" in str(error):  # after that one nothing works any more
                raise
            else:
                parity = Parity(why=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
        if parity.same:
            return parity
    attention.release(model)
    return parity


def lean_adapters(model: Any, machine: Hardware, told: dict[str, str]) -> None:
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
