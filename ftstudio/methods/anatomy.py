"""The parts of any transformers model: layer stacks, embeddings, head, norms, linear layers. By type and by name.

No family is named here: a stack is a list of equal layers, a head is what comes after the stacks, attention is what is
called so. Works on models without weights (torch's meta device) too. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

Side = Literal["language", "vision"]
# parts of the names of what looks at pictures or listens, and of what hands it to the language model
_SENSES = ("vision", "visual", "image", "vit", "pixel", "audio", "speech", "projector", "connector", "merger")
_ATTENTION = ("attn", "attention", "attend")


@dataclass(frozen=True)
class Stack:
    """A list of equal layers: its dotted `name`, the `layers`, and which side of the model it is on."""

    name: str
    layers: tuple[Any, ...]
    side: Side

    @property
    def names(self) -> list[str]:
        """The dotted name of each layer."""
        return [f"{self.name}.{place}" for place in range(len(self.layers))]


def side(name: str) -> Side:
    """Which side of a model the module NAME is on."""
    return (
        "vision" if any(part.startswith(_SENSES) or part.endswith(_SENSES) for part in name.split(".")) else "language"
    )


def is_linear(module: Any) -> bool:
    """A linear layer: plain, quantised, or GPT-2's Conv1D."""
    from torch import nn

    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def is_norm(module: Any) -> bool:
    """A normalisation layer, of whichever make."""
    return "norm" in type(module).__name__.lower()


def is_attention(name: str) -> bool:
    """Whether the module NAME lies in attention."""
    return any(word in part.lower() for part in name.split(".") for word in _ATTENTION)


def is_4bit(module: Any) -> bool:
    """Whether MODULE's weight is stored in 4 bits."""
    return type(module).__name__ == "Linear4bit"


def is_quantised(module: Any) -> bool:
    """Whether MODULE's weight is stored in 4 or 8 bits."""
    return type(module).__name__ in ("Linear4bit", "Linear8bitLt")


def on_meta(model: nn.Module) -> bool:
    """Whether MODEL has shapes and no weights."""
    return next(model.parameters()).device.type == "meta"


def widths(module: Any) -> tuple[int, int]:
    """(inputs, outputs) of a linear MODULE."""
    if type(module).__name__ == "Conv1D":
        return int(module.weight.shape[0]), int(module.nf)
    return int(module.in_features), int(module.out_features)


def head_widths(config: Any) -> tuple[int, int]:
    """Numbers of a token's (query or key, value) in one head of attention, by the text CONFIG of a model. With latent
    attention (DeepSeek) the two differ, and `head_dim` is but the part that turns with the place."""
    plain = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(getattr(config, "qk_head_dim", None) or plain), int(getattr(config, "v_head_dim", None) or plain)


def stacks(model: nn.Module) -> list[Stack]:
    """The layer stacks of MODEL, outermost ones only, in order: one for a decoder, two for an encoder-decoder, …"""
    from torch import nn

    found: list[Stack] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or not len(module):
            continue
        if any(name.startswith(f"{stack.name}.") for stack in found):
            continue
        if len({type(layer) for layer in module}) == 1 and any(is_linear(part) for part in module[0].modules()):
            found.append(Stack(name, tuple(module), side(name)))
    # a lone list of plain linear layers (such as a classifier's) is no stack
    return [stack for stack in found if not is_linear(stack.layers[0])]


def input_embeddings(model: nn.Module) -> Any:
    """The token embeddings; None where there are none."""
    try:
        return model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None


def output_embeddings(model: nn.Module) -> Any:
    """The layer that scores every token of the vocabulary; None for classifiers and bare bodies."""
    try:
        return model.get_output_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None


def tied(model: nn.Module) -> bool:
    """Whether the head shares the embedding matrix."""
    first, last = input_embeddings(model), output_embeddings(model)
    weights = getattr(first, "weight", None), getattr(last, "weight", None)
    if weights[0] is not None and weights[0] is weights[1]:
        return True
    return bool(last is not None and getattr(getattr(model, "config", None), "tie_word_embeddings", False))


def head(model: nn.Module) -> dict[str, nn.Module]:
    """What comes after the body: children of MODEL that hold weights, but no stack and no token embeddings."""
    names = [stack.name for stack in stacks(model)]
    first, last = input_embeddings(model), output_embeddings(model)
    body = getattr(model, str(getattr(model, "base_model_prefix", "") or "-"), None)
    if body is None and last is None and not any(type(model).__name__.endswith(end) for end in _HEADED):
        return {}  # a bare body: what follows its layers (a norm, a pooler) belongs to it
    return {
        name: child
        for name, child in model.named_children()
        if child is not body
        and not any(stack == name or stack.startswith(f"{name}.") for stack in names)
        and not any(part is first for part in child.modules())
        and (any(True for _ in child.parameters()) or child is last)
        and side(name) == "language"
    }


_HEADED = ("Classification", "QuestionAnswering", "LM", "LMHeadModel", "Generation")


def new_parts(model: nn.Module) -> list[str]:
    """Modules that must learn whatever the method, because no pretrained weight is in them: a task's new head, and
    what the loader found in no file."""
    found = dict.fromkeys(name for name in head(model) if output_embeddings(model) is None)
    there = dict(model.named_modules())
    for key in getattr(model, "ftstudio_missing", ()) or ():
        owner = key.rpartition(".")[0]
        if owner in there and not any(owner == name or owner.startswith(f"{name}.") for name in found):
            found[owner] = None
    return list(found)


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of the body by name: not the head, whether it scores tokens or classes."""
    last = output_embeddings(model)
    outside = [*new_parts(model), "ftstudio_sentence"]  # what makes a vector of tokens isn't the transformer's own
    return {
        name: module
        for name, module in model.named_modules()
        if module is not last
        and is_linear(module)
        and not any(name == top or name.startswith(f"{top}.") for top in outside)
    }


def outputs(model: nn.Module) -> Iterator[tuple[str, nn.Module, int, bool]]:
    """Where a layer's sublayers hand their result on: (name, module, width, whether it is attention's).

    In each layer the last linear layer of each attention, and of what is no attention, that gives back the layer's own
    width: what the residual is added to. Fused experts have no such layer; there it is the experts' block itself.
    """
    for stack in stacks(model):
        for top, layer in zip(stack.names, stack.layers, strict=True):
            linear = [(name, module) for name, module in layer.named_modules() if is_linear(module)]
            if not linear:
                continue
            width = widths(linear[0][1])[0]
            last: dict[str, tuple[str, Any]] = {}
            for name, module in linear:
                if widths(module)[1] == width:
                    last[_sublayer(name)] = (name, module)
            if "" not in last:
                block = next(((name, child) for name, child in layer.named_children() if _experts(name, child)), None)
                if block is not None:
                    last[""] = block
            for group, (name, module) in last.items():
                yield f"{top}.{name}", module, width, bool(group)


def _sublayer(name: str) -> str:
    """The attention that the linear layer NAME belongs to, up to the part that is called so; "" for none."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if any(word in part.lower() for word in _ATTENTION):
            return ".".join(parts[: place + 1])
    return ""


def _experts(name: str, module: nn.Module) -> bool:
    """Whether the child NAME of a layer is a mixture of experts."""
    words = f"{name} {type(module).__name__}".lower()
    return "moe" in words or "expert" in words or any("expert" in part for part, _ in module.named_modules())


def task_type(model: nn.Module) -> str | None:
    """peft's word for what MODEL does; None where it has none (masked language models, pictures to text)."""
    name = type(model).__name__
    for end, kind in (
        ("ForSequenceClassification", "SEQ_CLS"),
        ("ForTokenClassification", "TOKEN_CLS"),
        ("ForQuestionAnswering", "QUESTION_ANS"),
        ("ForMaskedLM", None),
    ):
        if name.endswith(end):
            return kind
    if getattr(getattr(model, "config", None), "vision_config", None) is not None:
        return None
    if output_embeddings(model) is None:
        return "FEATURE_EXTRACTION"
    if getattr(model.config, "is_encoder_decoder", False):
        return "SEQ_2_SEQ_LM"
    return "CAUSAL_LM"
