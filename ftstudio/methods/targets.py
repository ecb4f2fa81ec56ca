"""Which linear layers an adapter goes on: by words, by names, or by a regular expression."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Literal

from ftstudio.core.errors import StudioError

if TYPE_CHECKING:
    from torch import nn

Part = Literal["language", "vision", "both"]
WORDS = ("all-linear", "attention")


def read(value: Any) -> Any:
    """What a person typed as targets: `q_proj, v_proj` is a list; an expression must be one. Raises ValueError."""
    if isinstance(value, str):
        if re.fullmatch(r"[\w.-]+(\s*,\s*[\w.-]+)+,?", value.strip()):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if not value.strip():
            raise ValueError("name at least one layer, or all-linear")
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value.strip()
    if isinstance(value, (list, tuple)) and not value:
        raise ValueError("name at least one layer, or all-linear")
    return value


def tell_layers_apart(wanted: str | tuple[str, ...]) -> bool:
    """Whether WANTED may mean the layers of one number and not those of another: a whole dotted name does, and an
    expression may. A word, or the last part of a name, does not."""
    names = (wanted,) if isinstance(wanted, str) else wanted
    return not all(re.fullmatch(r"[\w-]+", name) for name in names)


def targets(model: nn.Module, wanted: str | tuple[str, ...], part: Part = "language") -> str | list[str]:
    """The full names of the linear layers of MODEL that WANTED means, on PART of it.

    `all-linear`: all but the head; peft's own word where no part is left out. `attention`: those in attention.
    Another
    text: the layers of that name, else a regular expression over whole dotted names. Raises StudioError naming the
    nearest layers.
    """
    from ftstudio.methods import anatomy

    linear = [name for name in anatomy.linear_layers(model) if _on(anatomy.side(name), part)]
    if not linear:
        where = "" if part == "both" else f" on its {part} side"
        hint = "Set method.part to both." if part != "both" else "Use method full or freeze."
        raise StudioError(f"method.part: {type(model).__name__} has no linear layer{where}.", hint)
    if wanted == "all-linear":
        # where that is all there is, peft's own word: it knows how to go on fused experts, too
        whole = anatomy.output_embeddings(model) is not None and len(linear) == len(anatomy.linear_layers(model))
        return wanted if whole else linear
    if wanted == "attention":
        found = [name for name in linear if anatomy.is_attention(name)]
        if not found:
            raise StudioError(
                f"No attention layers were found in {type(model).__name__}.", "Use targets: all-linear, or name layers."
            )
        return found
    if isinstance(wanted, tuple):
        return list(dict.fromkeys(layer for name in wanted for layer in _named(name, linear)))
    try:
        return _named(wanted, linear)
    except StudioError:
        found = [name for name in linear if re.fullmatch(wanted, name)]
        if found or re.fullmatch(r"[\w-]+", wanted):  # a plain word is a name, spelt wrong
            if not found:
                raise
            return found
        raise StudioError(
            f"method.targets: no linear layer of {type(model).__name__} matches {wanted!r} as a whole.",
            f"A layer's whole name looks like {linear[0]}.",
        ) from None


def _named(name: str, linear: list[str]) -> list[str]:
    """The layers called NAME: the last parts of their dotted name, or all of it."""
    found = [layer for layer in linear if layer == name or layer.endswith(f".{name}")]
    if not found:
        last = sorted({layer.rpartition(".")[2] for layer in linear})
        near = difflib.get_close_matches(name, last, 1, 0.4)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise StudioError(
            f"method.targets: the model has no linear layer {name!r}.", f"{hint}It has: {', '.join(last)}."
        )
    return found


def _on(side: str, part: Part) -> bool:
    return part in ("both", side)


def modules(model: nn.Module, wanted: tuple[str, ...]) -> list[str]:
    """The modules of MODEL that learn whole beside an adapter: those WANTED, and new ones. Raises StudioError."""
    from ftstudio.methods import anatomy

    there = dict(model.named_modules())
    found = dict.fromkeys(anatomy.new_parts(model))
    for name in wanted:
        meant = [key for key in there if key == name or key.endswith(f".{name}")]
        if not meant:
            last = sorted({key.rpartition(".")[2] for key in there if key and not key.rpartition(".")[2].isdigit()})
            near = difflib.get_close_matches(name, last, 1, 0.4)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(last[:20])}."
            raise StudioError(f"method.modules_to_save: the model has no module {name!r}.", hint)
        if any(anatomy.is_quantised(part) for key in meant for part in there[key].modules()):
            raise StudioError(
                f"method.modules_to_save: {name} is stored quantised, and can't learn.",
                "Leave it out, or use method lora.",
            )
        for key in meant:
            _check_called(model, key)
        found.update(dict.fromkeys(meant))
    return list(found)


def _check_called(model: nn.Module, name: str) -> None:
    """Raise StudioError where the embedding NAME only holds a weight that others read: T5's and BART's `shared` is
    never called itself, so a copy of it that learns would never be asked."""
    from torch import nn

    own = model.get_submodule(name)
    if not isinstance(own, nn.Embedding):
        return
    users = [
        key
        for key, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module is not own and module.weight is own.weight
    ]
    if users and all(key.count(".") > name.count(".") for key in users):
        word = name.rpartition(".")[2]
        raise StudioError(
            f"method.modules_to_save: {word} itself is never asked, it is read through {' and '.join(users)}: it would "
            "learn nothing.",
            f"Name {users[0].rpartition('.')[2]} instead.",
        )
