"""Changes to a loaded model beside the method: layers taken out, embeddings grown by new tokens, a head begun anew.

All of them work on models without weights (torch's meta device) too, and leave a configuration from which the same
model is built again: what is saved reloads as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.core.architecture import Architecture, LayerWords
from ftstudio.core.architecture import layers as chosen_layers
from ftstudio.core.errors import StudioError
from ftstudio.methods.refusals import Facts, Refusal

if TYPE_CHECKING:
    import torch

NEW_ROWS = "ftstudio_new_rows"
"""Attribute of a model whose embeddings grew: the ids of the new rows."""
_COUNTS = {
    "encoder": ("encoder_layers", "num_encoder_layers", "num_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers"),
    "only": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
}
_CLASSIFY = ("text-classification", "token-classification")


@dataclass(frozen=True)
class Change:
    """One kind of change for people: `key` in the recipe, what it `changes`, what it `costs`, when to `choose` it."""

    key: str
    title: str
    changes: str
    costs: str
    choose: str

    @property
    def help(self) -> str:
        """All of it."""
        return f"{self.changes} {self.costs} {self.choose}"


CHANGES = (
    Change(
        "new_tokens", "new tokens",
        "Words that would be cut into pieces become tokens, each with a row that learns in embeddings and head.",
        "Every pass with lora copies the embeddings once.",
        "For marks of your own format or terms that fill your data; they learn from rows that hold them.",
    ),
    Change(
        "drop_layers", "layers left out",
        "Takes whole layers out of the model before it learns.",
        "It gets smaller and faster, and loses skill that training has to bring back.",
        "With thousands of rows; those after the middle are missed least (Gromov et al. 2024).",
    ),
    Change(
        "new_head", "new head",
        "The head that a classifier or tagger brings for its labels is thrown away and drawn anew.",
        "What it had learnt of labels is lost; the body keeps all.",
        "Where it knows your labels, but learnt them from rows that shouldn't count.",
    ),
)  # fmt: skip


def refusals(wanted: Architecture, facts: Facts, method: str) -> list[Refusal]:
    """What of the changes WANTED can't go with FACTS and METHOD, as far as names and configuration tell."""
    found = []
    if wanted.new_tokens:
        key = "architecture.new_tokens"
        if method in ("adapter", "prompt"):
            text = f"the rows of new tokens must learn, and nothing of the model does with method {method}."
            found.append(Refusal(key, text, "Use method lora, qlora, full, or freeze with embeddings: true."))
        if facts.task == "image-text-to-text":
            text = "the processor of a vision-language model brings a vocabulary of its own."
            found.append(Refusal(key, text, "Leave out architecture.new_tokens."))
    if wanted.drop_encoder_layers and not facts.encoder_decoder:
        text = "the model is no encoder-decoder: it has one stack of layers."
        found.append(Refusal("architecture.drop_encoder_layers", text, "Use architecture.drop_layers."))
    if wanted.new_head and facts.task not in _CLASSIFY:
        text = (
            f"the task {facts.task} has no head for labels; the one that scores the vocabulary is the model's language."
        )
        found.append(
            Refusal("architecture.new_head", text, "Leave it out, or let it learn: method freeze, head: true.")
        )
    return found


def layer_refusals(wanted: Architecture, config: Mapping[str, Any], facts: Facts) -> list[Refusal]:
    """What of the layers to leave out isn't in the model of CONFIG (its config.json), where that counts them."""
    text = config.get("text_config")
    text = text if isinstance(text, Mapping) else config
    decoder = _COUNTS["decoder"] if facts.encoder_decoder else ()
    found = []
    for key, words, names in (
        ("drop_layers", wanted.drop_layers, (*decoder, *_COUNTS["only"])),
        ("drop_encoder_layers", wanted.drop_encoder_layers, _COUNTS["encoder"] if facts.encoder_decoder else ()),
    ):
        count = next((text[name] for name in names if isinstance(text.get(name), int)), None)
        if not words or count is None:
            continue
        try:
            chosen_layers(words, count)
        except ValueError as error:
            found.append(Refusal(f"architecture.{key}", f"{error}.", f"The layers are 0 to {count - 1}."))
    return found


# -- layers ------------------------------------------------------------------------------------------------------------
def drop(model: Any, wanted: Architecture) -> dict[str, tuple[int, ...]]:
    """Take the layers WANTED out of MODEL, which is changed: stack → the numbers of those that are gone.

    Raises StudioError where a layer isn't there, or where the model can't be built again without it.
    """
    gone: dict[str, tuple[int, ...]] = {}
    for key, words, side in (
        ("drop_layers", wanted.drop_layers, "decoder"),
        ("drop_encoder_layers", wanted.drop_encoder_layers, "encoder"),
    ):
        if not words:
            continue
        stack, kind = _stack(model, side, key)
        count = len(stack.layers)
        out = _chosen(words, count, key)
        kept = [place for place in range(count) if place not in out]
        _take_out(model, stack.name, kept)
        _configure(model, stack.name, kind, count, kept, key)
        gone[stack.name] = out
    return gone


def _chosen(words: LayerWords, count: int, key: str) -> tuple[int, ...]:
    try:
        return chosen_layers(words, count)
    except ValueError as error:
        raise StudioError(f"architecture.{key}: {error}.", f"The layers are 0 to {count - 1}.") from None


def _stack(model: Any, side: str, key: str) -> tuple[Any, str]:
    """(the stack of MODEL's language side that is meant, `only`, `encoder` or `decoder`)."""
    from ftstudio.methods import anatomy

    own = [stack for stack in anatomy.stacks(model) if stack.side == "language"]
    if len(own) == 1 and side == "decoder":
        return own[0], "only"
    if len(own) == 2 and getattr(model.config, "is_encoder_decoder", False):
        return own[0] if side == "encoder" else own[1], side
    raise StudioError(f"architecture.{key}: the layers of {type(model).__name__} can't be told.", "Leave it out.")


def _take_out(model: Any, name: str, kept: Sequence[int]) -> None:
    from torch import nn

    owner, _, last = name.rpartition(".")
    there = model.get_submodule(name)
    left = nn.ModuleList([there[place] for place in kept])
    for place, layer in enumerate(left):  # by these numbers a layer finds its part of the cache
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = place
    setattr(model.get_submodule(owner), last, left)


def _configure(model: Any, name: str, kind: str, count: int, kept: Sequence[int], key: str) -> None:
    """Bring MODEL's configuration up to the layers that are KEPT of COUNT, and hold a model built from it beside it."""
    config = model.config.get_text_config() if kind == "only" else model.config
    owner = getattr(model.get_submodule(name.rpartition(".")[0]), "config", None)
    for part in [config] if owner is None or owner is config else [config, owner]:
        shrink(part, kind, count, kept)
    _same_again(model, key)


def shrink(config: Any, kind: str, count: int, kept: Sequence[int]) -> None:
    """Make CONFIG one of a stack (`only`, `encoder` or `decoder`) of which KEPT of COUNT layers are left."""
    lists = {
        name: value
        for name, value in vars(config).items()
        if isinstance(value, (list, tuple)) and len(value) == count and not name.startswith("_")
    }
    for name, value in lists.items():
        if name not in ("architectures", "eos_token_id"):
            setattr(config, name, type(value)(value[place] for place in kept))
    for name in _COUNTS[kind]:
        if getattr(config, name, None) == count:
            setattr(config, name, len(kept))
    if kind == "encoder" and getattr(config, "num_hidden_layers", None) == count:
        config.num_hidden_layers = len(kept)


def _same_again(model: Any, key: str) -> None:
    """Raise StudioError where a model built from MODEL's configuration is another one."""
    import copy

    import torch

    from ftstudio.methods import anatomy

    try:
        with torch.device("meta"):
            again = type(model)(copy.deepcopy(model.config))
    except Exception as error:  # a configuration that doesn't hold together any more
        raise _not_again(model, key, " ".join(str(error).split())[:120]) from error
    first, second = anatomy.stacks(model), anatomy.stacks(again)
    if [(stack.name, len(stack.layers)) for stack in first] != [(stack.name, len(stack.layers)) for stack in second]:
        raise _not_again(model, key, "its config.json has no count of them")
    for mine, other in zip(first, second, strict=True):
        for one, two in zip(mine.layers, other.layers, strict=True):
            differs = next(_differences(one, two), None)
            if differs is not None:
                raise _not_again(model, key, f"{differs} would be another")


def _differences(one: Any, two: Any) -> Iterator[str]:
    """What tells two layers apart: modules, the shapes of weights, plain settings such as a window or a number."""
    from ftstudio.methods import anatomy

    mine, other = dict(one.named_modules()), dict(two.named_modules())
    if mine.keys() != other.keys():
        yield next(iter(mine.keys() ^ other.keys()))
        return
    for name, module in mine.items():
        if not anatomy.is_quantised(module):
            shapes = {key: tuple(weight.shape) for key, weight in module.named_parameters(recurse=False)}
            if shapes != {key: tuple(weight.shape) for key, weight in other[name].named_parameters(recurse=False)}:
                yield name
        for key, value in vars(module).items():
            plain = isinstance(value, (bool, int, float, str)) and key not in ("training",) and not key.startswith("_")
            if plain and not anatomy.is_quantised(module) and vars(other[name]).get(key, value) != value:
                yield f"{name}.{key}".lstrip(".")


def _not_again(model: Any, key: str, why: str) -> StudioError:
    return StudioError(
        f"architecture.{key}: {type(model).__name__} can't be built again without these layers ({why}).",
        "Choose others: the first layer often holds what all of them need, and kinds of layers take turns.",
    )


# -- tokens ------------------------------------------------------------------------------------------------------------
def grow(model: Any, pieces: dict[int, Sequence[int]], begin: str = "pieces") -> None:
    """Give MODEL's embeddings a row for each id in PIECES: id → the ids of the text's old pieces.

    A row BEGINs as the mean of its pieces' rows, or of all rows; the head's as the mean of all of its own, so that at
    first the token is about as likely as any (Hewitt 2021). Rows that were there and unused are written over.
    """
    import torch

    from ftstudio.methods import anatomy

    table = anatomy.input_embeddings(model)
    old = min(pieces)
    before, head = table.num_embeddings, anatomy.output_embeddings(model)
    bias = getattr(head, "bias", None) is not None
    if max(pieces) >= before:
        model.resize_token_embeddings(max(pieces) + 1, mean_resizing=False)
        table, head = anatomy.input_embeddings(model), anatomy.output_embeddings(model)
    setattr(model, NEW_ROWS, tuple(sorted(pieces)))
    if anatomy.on_meta(model):
        return
    with torch.no_grad():
        rows = table.weight[:old].float()
        for place, parts in pieces.items():
            some = [part for part in parts if part < old]
            row = rows[some].mean(0) if some and begin == "pieces" else rows.mean(0)
            table.weight[place] = row.to(table.weight.dtype)
        if head is None or getattr(head, "weight", None) is None:
            return
        if head.weight is not table.weight:
            mean = head.weight[:old].float().mean(0).to(head.weight.dtype)
            for place in pieces:
                head.weight[place] = mean
        if bias and head.bias is not None:
            mean = head.bias[:old].float().mean().to(head.bias.dtype)
            for place in pieces:
                head.bias[place] = mean


def new_rows(model: Any) -> tuple[int, ...]:
    """The ids of the rows that MODEL's embeddings were given."""
    return tuple(getattr(model, NEW_ROWS, ()))


def trainable_rows(model: Any, whole: Sequence[str] = ()) -> dict[str, list[int]] | None:
    """The new rows of MODEL in the words of peft's `trainable_token_indices`; None where there are none, or all lie in
    modules that learn WHOLE: those learn with the rest of their table.

    Raises StudioError where the head learns whole and is one with a table that doesn't: peft can't train the rows of
    that one apart. And where the head adds a bias, which peft's layer would leave out, and where encoder and decoder of
    a classifier look tokens up in one table, which peft doesn't know of: the rows would learn nothing.
    """
    from ftstudio.methods import anatomy

    rows = list(new_rows(model))
    if not rows:
        return None
    table, head = anatomy.input_embeddings(model), anatomy.output_embeddings(model)
    if head is not None and getattr(head, "bias", None) is not None:
        raise StudioError(
            f"architecture.new_tokens: the head of {type(model).__name__} adds a bias, which an adapter's rows lose.",
            "Use method full, or freeze with embeddings: true.",
        )
    there = [part for _, part in model.named_modules(remove_duplicate=False)]  # the same one may stand in two places
    if head is None and sum(getattr(part, "weight", None) is table.weight for part in there) > 1:
        raise StudioError(
            f"architecture.new_tokens: encoder and decoder of {type(model).__name__} look tokens up in one table, and "
            "an adapter would train a copy that neither asks.",
            "Use method full, or freeze with embeddings: true.",
        )
    found = {_name(model, table): rows}
    if head is not None and not anatomy.tied(model):
        found[_name(model, head)] = rows
    elif head is not None and _name(model, head) in whole and not found.keys() & set(whole):
        names = [_name(model, part).rpartition(".")[2] for part in (table, head)]
        raise StudioError(
            f"method.modules_to_save: {names[1]} is one with {names[0]}, whose rows of new tokens can't learn apart "
            "from a head that learns whole.",
            f"Name both, [{', '.join(names)}], or leave {names[1]} out.",
        )
    return {name: ids for name, ids in found.items() if name not in whole} or None


def _name(model: Any, wanted: Any) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)


def check_learning(model: Any) -> None:
    """Raise StudioError where the rows of MODEL's new tokens wouldn't learn."""
    from ftstudio.methods import anatomy

    if not new_rows(model):
        return
    table, head = anatomy.input_embeddings(model), anatomy.output_embeddings(model)
    if not table.weight.requires_grad:
        raise StudioError(
            "method.embeddings: the rows of new tokens must learn, and the embeddings are frozen.",
            "Set method.embeddings to true.",
        )
    if head is not None and getattr(head, "weight", None) is not None and not head.weight.requires_grad:
        raise StudioError(
            "method.head: the rows of new tokens in the head must learn, and it is frozen.", "Set method.head to true."
        )


# -- head --------------------------------------------------------------------------------------------------------------
def fresh_head(model: Any, seed: int) -> None:
    """Draw MODEL's head for labels anew, by SEED."""
    from ftstudio.methods import anatomy

    if not anatomy.on_meta(model):
        draw(model, anatomy.head(model).values(), seed)


def draw(model: Any, parts: Iterable[Any], seed: int) -> None:
    """Draw the weights of the PARTS of MODEL anew, by SEED."""
    import torch

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for module in parts:
            for part in module.modules():
                _draw(part, float(getattr(model.config, "initializer_range", 0.02) or 0.02))


def _draw(module: Any, spread: float) -> None:
    """MODULE's own weights as transformers begins them: normal by SPREAD, biases zero, norms one."""
    import torch

    from ftstudio.methods import anatomy

    weight: torch.Tensor | None = getattr(module, "weight", None)
    bias: torch.Tensor | None = getattr(module, "bias", None)
    if anatomy.is_linear(module) and weight is not None:
        weight.normal_(0.0, spread)
    elif anatomy.is_norm(module) and weight is not None:
        weight.fill_(1.0)
    if bias is not None and isinstance(bias, torch.Tensor):
        bias.zero_()
