"""The methods side by side for one model: what learns, what it takes, what it risks, and which one to begin with.

Counted on one model without weights, method after method. Importing this imports no torch; calling it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ftstudio import methods
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line, size
from ftstudio.data.dataset import Cancel
from ftstudio.engine.compatibility import method_problems, model_config
from ftstudio.engine.structure import Row, rows_of

ROOM = 0.8  # of a device's memory for weights, gradients and optimiser: activations need the rest
SMALL = 1_000_000_000  # weights up to which a model with a new head is best trained whole, where it fits
MUCH = 20_000  # rows from which a small model learns more by all of its weights
WHOLE = 500_000_000


@dataclass(frozen=True)
class Choice:
    """A method for the model at hand. `memory`: bytes of weights, gradients and optimiser, without activations;
    `saved`: bytes of a run's model; `work`: arithmetic of a step against full fine-tuning's (1.0); `refused`: why it
    can't be, else empty; `tree`: the model's parts with what learns; `needs`: settings without which it can't be."""

    name: str
    total: int = 0
    trainable: int = 0
    memory: int = 0
    saved: int = 0
    forgets: str = ""
    work: float = 0.0
    refused: str = ""
    tree: tuple[Row, ...] = ()
    needs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choices:
    """All methods, the `recommended` one and `why`."""

    methods: tuple[Choice, ...]
    recommended: str
    why: str

    def of(self, name: str) -> Choice | None:
        """The choice called NAME."""
        return next((choice for choice in self.methods if choice.name == name), None)


def choices(recipe: Recipe, rows: int | None = None, cancel: Cancel | None = None) -> Choices:
    """The methods for RECIPE's model and task, the recipe's own with its settings, the others with their defaults.

    ROWS to train on, where known. Raises StudioError where the model can't be read.
    """
    from ftstudio.engine import hardware
    from ftstudio.engine.skeleton import skeleton

    config = model_config(recipe.model)
    model = skeleton(recipe)
    try:
        precision = hardware.resolve(recipe).precision
    except StudioError:
        precision = "fp32"
    found = []
    for name in methods.names():
        if cancel is not None and cancel():
            break
        own = name == recipe.method.name
        wanted = recipe if own else recipe.with_changes({"method": {"name": name}})
        model, choice = _choice(model, wanted, config, precision)
        if choice.refused.startswith("method.dropout") and "dropout" not in wanted.method.settings:
            needs = {"dropout": 0.0}  # fused experts take none, and the default has some
            changed = wanted.with_changes({"method": {"name": name, **wanted.method.settings, **needs}})
            model, other = _choice(model, changed, config, precision)
            choice = choice if other.refused else replace(other, needs=needs)
        found.append(choice)
    best, why = recommend(found, rows, *_device(recipe))
    needs = next((choice.needs for choice in found if choice.name == best), {})
    more = "".join(f" Set its {key} to {value:g}: layers of this model allow no other." for key, value in needs.items())
    return Choices(tuple(found), best, why + more)


def _choice(model: Any, recipe: Recipe, config: dict[str, Any], precision: str) -> tuple[Any, Choice]:
    """(MODEL as it was, or one like it; RECIPE's method on it)."""
    from ftstudio.engine import adapters
    from ftstudio.engine.plan import weigh
    from ftstudio.engine.skeleton import skeleton

    method = methods.get(recipe.method.name)
    settings = method.settings(recipe.method.settings)
    for problem in method_problems(recipe, config):
        return model, Choice(method.name, refused=problem.text)
    try:
        weight = weigh(model, method, settings, precision, recipe.training.optimizer)
    except StudioError as error:  # peft may have been half through with it
        return skeleton(recipe), Choice(method.name, refused=error.message)
    except Exception as error:  # an architecture that peft or we don't know: the others may work
        return skeleton(recipe), Choice(method.name, refused=one_line(error, 120))
    choice = Choice(
        method.name,
        weight.total,
        weight.trainable,
        sum(weight.parts.values()),
        weight.saved,
        method.forgets,
        work(weight.model),
        tree=tuple(rows_of(weight.model)),
    )
    return adapters.take_off(weight.model) if hasattr(weight.model, "peft_config") else weight.model, choice


def work(model: Any) -> float:
    """The arithmetic of a training step of MODEL against one in which every weight learns.

    For each token a weight costs 2 operations forward, 2 for the gradient of its inputs where anything before it
    learns, and 2 for its own gradient where it learns (Kaplan et al. 2020, appendix B). Embeddings are looked up.
    """
    from ftstudio.methods import anatomy

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    table = anatomy.input_embeddings(base)
    looked_up = {id(weight) for weight in table.parameters()} if table is not None else set()
    soft = hasattr(model, "peft_config") and model.active_peft_config.is_prompt_learning
    reached = soft or any(weight.requires_grad for weight in (table.parameters() if table is not None else ()))
    done = whole = 0
    for weight in base.parameters():
        if id(weight) in looked_up:
            continue
        count = weight.numel()
        reached = reached or weight.requires_grad
        done += count * (2 + 2 * reached + 2 * weight.requires_grad)
        whole += 6 * count
    return done / whole if whole else 1.0


def recommend(found: Sequence[Choice], rows: int | None, there: int, device: str) -> tuple[str, str]:
    """(name, why) of the method of FOUND to begin with, with ROWS of data and THERE bytes of memory on DEVICE."""
    by_name = {choice.name: choice for choice in found if not choice.refused}
    full, lora, qlora = (by_name.get(name) for name in ("full", "lora", "qlora"))
    room = there * ROOM

    def fits(choice: Choice | None) -> bool:
        return choice is not None and (not there or choice.memory <= room)

    if full is not None and fits(full):
        new_head = any(row.new for row in full.tree)
        if new_head and full.total <= SMALL:
            return "full", f"its head is new, and all of it takes only {size(full.memory)}: let every weight learn."
        if rows is not None and rows >= MUCH and full.total <= WHOLE:
            return "full", f"{rows:,} rows are much for a model of this size, and all of it takes {size(full.memory)}."
    if lora is not None and fits(lora):
        return "lora", f"it takes {size(lora.memory)} of {device}'s {size(there)}, and keeps what the base knows."
    if qlora is not None and (fits(qlora) or lora is None or qlora.memory < lora.memory):
        more = "" if lora is None else f": with lora the weights alone take {size(lora.memory)} of {size(there)}"
        tight = "" if fits(qlora) else f"; even so it takes {size(qlora.memory)}, so a smaller model may be needed"
        return "qlora", f"{device} is small for this model{more}{tight}."
    if lora is not None:
        return "lora", "it is the smallest that works here."
    first = next(iter(by_name), "lora")
    return first, "lora can't go on this model." if by_name else "no method was found to work: see what each says."


def _device(recipe: Recipe) -> tuple[int, str]:
    """(bytes of memory, name) of what RECIPE would train on."""
    from ftstudio.engine import hardware
    from ftstudio.engine.telemetry import Telemetry

    telemetry = Telemetry()
    reading = telemetry.read()
    telemetry.close()
    try:
        device = hardware.resolve(recipe).device
    except StudioError:
        device = "cpu"
    if device == "cuda" and reading.get("gpus"):
        return int(reading["gpus"][0]["memory_total"]), str(reading["gpus"][0]["name"])
    return int(reading.get("ram_total") or 0), "this machine"
