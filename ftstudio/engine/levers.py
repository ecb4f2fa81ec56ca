"""What makes this training fast, decided for the model and machine at hand, each with the reason for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftstudio.core.text import number
from ftstudio.engine import attention, dropout
from ftstudio.engine.collate import Collate, Collator, PaddingFree, Row
from ftstudio.engine.loss import Objective, head_of
from ftstudio.engine.parity import Parity, choose_rows, out_of_memory, probe

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.hardware import Hardware

MULTIPLE = 8  # a GPU's matrix units like widths of whole eights


@dataclass
class Levers:
    """How batches are laid out and their loss computed. `told`: what each lever resolved to and why, for people."""

    collator: Collate
    objective: Objective
    told: dict[str, str] = field(default_factory=dict)

    @property
    def padding_free(self) -> bool:
        """Whether rows lie one after another."""
        return isinstance(self.collator, PaddingFree)


def choose(
    model: Any, rows: Sequence[Row], lengths: Sequence[int], machine: Hardware, recipe: Recipe, pad_id: int
) -> Levers:
    """The levers for training MODEL (as the method made it) on ROWS of LENGTHS tokens. The model is changed for it:
    see `release`."""
    import torch

    half = machine.dtype if machine.precision != "fp32" else None
    objective = Objective(head_of(model), machine.device, half)
    told = {"precision": f"{machine.precision}: {machine.why}"}
    _checkpoint(model, recipe)
    found = _without_padding(model, rows, lengths, objective, pad_id, half or torch.float32)
    if found is None or not found[1].same:
        why = "its architecture brings attention of its own" if found is None else found[1].why
        told["batches"] = f"padded, rows of like length together: {why}"
        told["attention"] = attention.implementation(model)
        collator: Collate = Collator(pad_id, MULTIPLE if machine.device == "cuda" else 1)
    else:
        name, parity = found
        told["batches"] = (
            f"no padding: two rows the same as padded (loss {parity.loss:.0e}, gradients {parity.gradients:.0e} apart)"
        )
        told["attention"] = attention.NAMES[name]
        collator = PaddingFree()
    share = _trained_share(rows)
    told["head"] = {
        "mask": f"only where labels are ({share:.0%} of the tokens)",
        "places": "only at places where a row of the batch has a label",
        "all": "everywhere: the architecture takes no logits_to_keep",
    }[objective.head]
    told["loss"] = "in pieces, no copy of the logits in 32 bits"
    _adapters(model, machine, told)
    told["memory"] = "activations recomputed on the way back" if recipe.training.gradient_checkpointing else "plain"
    return Levers(collator, objective, told)


def release(model: Any) -> None:
    """Put back what `choose` changed in MODEL, so that it can be called by anyone."""
    attention.release(model)
    for layer in _layers(model):
        layer.cast_input_dtype_enabled = True


def _layers(model: Any) -> list[Any]:
    """The layers of peft in MODEL."""
    return [module for module in model.modules() if hasattr(module, "cast_input_dtype_enabled")]


def in_words(told: dict[str, Any]) -> str:
    """The levers in one line."""
    return " · ".join(f"{name} {what}" for name, what in told.items())


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


def _without_padding(
    model: Any, rows: Sequence[Row], lengths: Sequence[int], objective: Objective, pad_id: int, dtype: Any
) -> tuple[str, Parity] | None:
    """The fastest attention that passes the probe, or the last with what spoke against it; None: not to be tried."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(inner, "_supports_attention_backend", False):
        return None
    window = getattr(inner.config.get_text_config(), "sliding_window", None)
    two = choose_rows(rows, lengths, window)
    name, parity = "", Parity()
    for name in attention.kernels(objective.device, dtype):
        try:
            attention.use(model, name)
            parity = probe(model, two, objective, pad_id)
        except (ValueError, ImportError) as error:
            parity = Parity(why=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            parity = Parity(why="there was not enough memory to try without")
        if parity.same:
            return name, parity
    attention.release(model)
    return name, parity


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
        told["adapters"] = ", ".join(done)
