"""Selective fine-tuning: some of the model's own weights learn, the others are frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftstudio.core.errors import StudioError
from ftstudio.methods.base import Encode, Method, Settings, refuse_quantised

if TYPE_CHECKING:
    from torch import nn

Chosen = Literal["last-layers", "all-but-first", "head", "bias", "norm", "embeddings"]
_LAYERS = ("last-layers", "all-but-first")


class FreezeSettings(Settings):
    """Settings of selective fine-tuning."""

    train: Chosen = Field(
        "last-layers",
        description="what learns: last-layers, all-but-first, head, bias (BitFit), norm, embeddings",
    )
    layers: int = Field(
        2, ge=1, description="how many layers learn (last-layers), or how many stay frozen (all-but-first)"
    )
    embeddings: bool = Field(False, description="the token embeddings learn too, such as for a new alphabet or domain")
    head: bool = Field(False, description="the output head learns too; a new one always does")

    def idle(self) -> Mapping[str, str]:
        """See Settings."""
        return {} if self.train in _LAYERS else {"layers": "train: last-layers or all-but-first"}


class Freeze(Method):
    """Chosen parts of the model learn."""

    name = "freeze"
    title = "Selective: some layers learn, the others are frozen"
    changes = "Changes some of the model's own weights: its last layers, its head, or only its biases or norms."
    choose = (
        "For a middle way between full and LoRA: the last layers for encoders and small data, biases or norms for "
        "very few weights, embeddings for a new alphabet."
    )
    costs = (
        "Gradients and optimiser states only for what learns; nothing is computed on the way back below the lowest "
        "layer that learns. Every run saves a whole copy of the model."
    )
    limits = (
        "The tuned model is a whole copy: comparing it with the base loads both.",
        "Quantised weights can't learn, so the base is loaded in 32 bits.",
        "bias needs a model with biases (GPT-2, BERT, OPT; Llama, Mistral and T5 have none).",
        "Where the head shares the embedding matrix, both learn or neither.",
        "Of a model with eyes or ears only the language side learns.",
    )
    learning_rate = 5e-5
    adapter = False
    forgets = "some"
    model = FreezeSettings

    def rate(self, settings: Any) -> float:
        """Few weights need a higher one (Ben Zaken et al. 2022 search 1e-4 to 1e-3 for biases)."""
        return 5e-4 if settings.train in ("bias", "norm", "head") else self.learning_rate

    def tells_layers_apart(self, settings: Any) -> bool:
        """The last ones learn, or all but the first."""
        return settings.train in _LAYERS

    def apply(self, model: nn.Module, settings: Any, encode: Encode | None = None) -> nn.Module:
        """MODEL with only the chosen weights set to learn. Raises StudioError where it has none of the kind."""
        from ftstudio.methods import architecture

        refuse_quantised(model, "Selective fine-tuning")
        chosen = {id(parameter): parameter for parameter in _chosen(model, settings)}
        if not chosen:
            raise StudioError(*_nothing(model, settings.train))
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in chosen)
        architecture.check_learning(model)
        return model


def _chosen(model: nn.Module, settings: FreezeSettings) -> Iterator[nn.Parameter]:
    """The weights of MODEL that SETTINGS let learn, some perhaps twice."""
    from ftstudio.methods import anatomy

    own = list(_own(model, settings))
    yield from own
    if not own:
        return
    extra = anatomy.head(model) if settings.head else {}
    there = dict(model.named_modules())
    for module in (*extra.values(), *(there[name] for name in anatomy.new_parts(model))):
        yield from module.parameters()
    embeddings = anatomy.input_embeddings(model)
    if settings.embeddings and embeddings is not None:
        yield from embeddings.parameters()


def _own(model: nn.Module, settings: FreezeSettings) -> Iterator[nn.Parameter]:
    from ftstudio.methods import anatomy

    if settings.train in _LAYERS:
        for layer in _layers(model, settings):
            yield from layer.parameters()
        if settings.train == "last-layers":
            yield from _final_norms(model)
    elif settings.train == "head":
        for module in anatomy.head(model).values():
            yield from module.parameters()
    elif settings.train == "bias":
        yield from (
            parameter
            for name, parameter in model.named_parameters()
            if name.rpartition(".")[2] == "bias" and anatomy.side(name) == "language"
        )
    elif settings.train == "norm":
        for name, module in model.named_modules():
            if anatomy.is_norm(module) and anatomy.side(name) == "language":
                yield from module.parameters()
    else:
        embeddings = anatomy.input_embeddings(model)
        yield from embeddings.parameters() if embeddings is not None else ()


def _layers(model: nn.Module, settings: FreezeSettings) -> Iterator[nn.Module]:
    """The layers that learn, of every stack on the language side (an encoder-decoder has two)."""
    from ftstudio.methods import anatomy

    found = anatomy.stacks(model)
    own = [stack for stack in found if stack.side == "language"] or found
    for stack in own:
        count = len(stack.layers)
        if settings.layers > count or (settings.layers == count and settings.train == "all-but-first"):
            more = " and at least one of them must learn" if settings.layers == count else ""
            raise StudioError(
                f"method.layers: {type(model).__name__} has {count} layers in {stack.name}{more}.",
                f"Set method.layers to {max(1, count - 1)} or less"
                + (", or use method full." if count > 1 else ": use method full."),
            )
        first = count - settings.layers if settings.train == "last-layers" else settings.layers
        yield from stack.layers[first:]


def _final_norms(model: nn.Module) -> Iterator[nn.Parameter]:
    """The norms right behind a language stack, which see only its last layer. One of the embeddings is none of them,
    though Bart names it there: where it learns, gradients flow through all layers."""
    from ftstudio.methods import anatomy

    there = dict(model.named_modules())
    for stack in anatomy.stacks(model):
        owner = there[stack.name.rpartition(".")[0]]
        behind = False
        for name, child in owner.named_children():
            if behind and stack.side == "language" and anatomy.is_norm(child) and "emb" not in name:
                yield from child.parameters()
            behind = behind or child is there[stack.name]


def _nothing(model: nn.Module, chosen: str) -> tuple[str, str]:
    """Why nothing of MODEL would learn, and the way out."""
    name = type(model).__name__
    return {
        "bias": (
            f"method.train: {name} has no biases on its language side.",
            "Use train: norm or last-layers, or method lora.",
        ),
        "head": (f"method.train: {name} has no head of its own.", "Use train: last-layers."),
        "norm": (
            f"method.train: the norms of {name}'s language side hold no weights.",
            "Use train: last-layers, or method lora.",
        ),
        "embeddings": (f"method.train: {name} has no token embeddings.", "Use train: last-layers."),
    }.get(chosen, (f"method.train: no layer stack was found in {name}.", "Use method lora or full."))
