"""Is a batch without padding the same to this model as a padded one? Tried on two rows before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ftstudio.engine import attention
from ftstudio.engine.collate import Collator, PaddingFree, Row
from ftstudio.engine.loss import Objective
from ftstudio.engine.objective import TaskObjective
from ftstudio.engine.trouble import out_of_memory

ENOUGH = 512  # tokens of the longer row, where no sliding window asks for more

# The most that two ways of computing the same may differ by: loss of a token (nats, on the mean) and gradients
# (relative, all of them together); and the most a row may change by when the row before it is another.
# In half precision a token's loss is rounded like its logits, to some 2^-8 of them, whichever way it is computed.
EXACT, HALF = (1e-4, 1e-3, 1e-5), (5e-2, 1e-1, 1e-2)


@dataclass(frozen=True)
class Parity:
    """What the probe found: how far a token's loss lies apart (nats, on the mean), all gradients (relative), and how
    far a row's loss moves with the row before it (nats); `why` is empty where nothing speaks against it."""

    loss: float = 0.0
    gradients: float = 0.0
    leak: float = 0.0
    why: str = ""

    @property
    def same(self) -> bool:
        """Whether batches without padding may be used."""
        return not self.why


def choose_rows(rows: Sequence[Row], lengths: Sequence[int], window: int | None) -> list[Row]:
    """Two rows with labels: a long one (longer than WINDOW, where there is such a row) and a short one before it."""
    limit = max(ENOUGH, 2 * window) if window and max(lengths) > window else ENOUGH
    order = sorted(range(len(lengths)), key=lambda row: abs(limit - lengths[row]) + (lengths[row] > limit) * 2**40)
    longest = next((row for row in order if _trained(rows[row])), order[0])
    some = range(0, len(lengths), max(1, len(lengths) // 64))
    shorter = [row for row in some if row != longest and 4 <= lengths[row] <= lengths[longest] and _trained(rows[row])]
    short = min(shorter, key=lambda row: lengths[row], default=longest)
    return [rows[short], rows[longest]]


def _trained(row: Row) -> bool:
    return any(label >= 0 for label in row["labels"][1:])


def probe(model: Any, rows: Sequence[Row], objective: Objective, pad_id: int) -> Parity:
    """Compare ROWS (two) padded and one after the other; MODEL attends padding-free already. Dropout is off.

    Gradients are left empty. Running out of memory is raised: it says nothing about the architecture.
    """
    training = model.training
    model.eval()
    try:
        with attention.plain(model):
            wanted, slope = _passed(model, Collator(pad_id)(rows), objective)
        found, ours = _passed(model, PaddingFree()(rows), objective)
        with torch.no_grad():
            other = {"input_ids": list(reversed(rows[0]["input_ids"])), "labels": rows[0]["labels"]}
            again = _losses(model, PaddingFree()([other, rows[1]]), objective)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ImportError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        text = " ".join(str(error).split())[:120]
        return Parity(why=text if isinstance(error, attention.Unsupported) else f"{type(error).__name__}: {text}")
    finally:
        model.train(training)
        model.zero_grad(set_to_none=True)
    second = sum(label >= 0 for label in rows[1]["labels"][1:])
    return judged(
        float((found - wanted).abs().mean()),
        _apart(slope, ours),
        float((again - found)[-second:].abs().max()),
        EXACT if objective.autocast is None and found.dtype == torch.float32 else HALF,
    )


Passed = tuple[torch.Tensor, list[torch.Tensor]]
"""A pass there and back: the loss of every target (or of all of them, on the mean), and the gradients."""


def passed(model: Any, batch: Mapping[str, Any], objective: Objective | TaskObjective) -> Passed:
    """What OBJECTIVE says of BATCH and learns from it, scaled as in training; gradients are left empty."""
    count, each = max(1, len(batch["targets"])), list[torch.Tensor]()
    loss = objective(model, batch, each) if isinstance(objective, Objective) else objective(model, batch)
    (loss / count).backward()
    return each[0].detach() if each else loss.detach() / count, learning_gradients(model)


def against(wanted: Passed, found: Passed, objective: Objective | TaskObjective) -> Parity:
    """How far FOUND lies from WANTED, two ways of computing OBJECTIVE."""
    exact = objective.autocast is None and all(item.dtype == torch.float32 for item in wanted[1])
    loss = float((wanted[0] - found[0]).abs().mean())
    return judged(loss, _apart(wanted[1], found[1]), 0.0, EXACT if exact else HALF)


def _apart(wanted: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> float:
    """How far the gradients FOUND lie from those WANTED, relative, all of them together."""
    return float(_norm([a - b for a, b in zip(found, wanted, strict=True)]) / _norm(wanted).clamp(min=1e-12))


def judged(loss: float, gradients: float, leak: float, allowed: tuple[float, float, float]) -> Parity:
    """The three differences held against what is ALLOWED; one that is no number is too much."""
    why = ""
    if not leak <= allowed[2]:
        why = f"a row changes with the row before it, by {leak:.1e} nats"
    elif not loss <= allowed[0]:
        why = f"the loss differs by {loss:.1e} nats"
    elif not gradients <= allowed[1]:
        why = f"the gradients differ by {gradients:.1e}"
    return Parity(loss, gradients, leak, why)


def _passed(model: Any, batch: dict[str, Any], objective: Objective) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The loss of every trained token of BATCH, and the gradients of their sum."""
    losses = _losses(model, batch, objective)
    losses.sum().backward()
    return losses.detach(), learning_gradients(model)


def learning_gradients(model: Any) -> list[torch.Tensor]:
    """The gradients of all of MODEL's weights that learn, zeros where there is none; they are left empty."""
    learning = [item for item in model.parameters() if item.requires_grad]
    gradients = [torch.zeros_like(item) if item.grad is None else item.grad for item in learning]
    model.zero_grad(set_to_none=True)
    return gradients


def _losses(model: Any, batch: dict[str, Any], objective: Objective) -> torch.Tensor:
    device = next(model.parameters()).device
    batch = {key: item.to(device) if torch.is_tensor(item) else item for key, item in batch.items()}
    logits = objective.logits(model, batch)
    return functional.cross_entropy(logits, batch["targets"], reduction="none")


def _norm(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([item.float().norm() for item in tensors]).norm()
