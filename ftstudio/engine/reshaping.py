"""A recipe's changes to the model itself, made where models are loaded or drawn; and what they mean, in sentences."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftstudio import tasks
from ftstudio.core.architecture import Architecture
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import number, one_line
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.methods import architecture
from ftstudio.tasks.base import Head

NOTHING = Architecture()


def tokenizer_of(recipe: Recipe) -> Tokenizer:
    """The tokenizer of RECIPE's model with the tokens that the recipe adds. Raises StudioError."""
    return load_tokenizer(recipe.model, new=recipe.architecture.new_tokens)


def untouched(recipe: Recipe) -> Recipe:
    """RECIPE on the base as it is: what its base arm answers by."""
    return recipe.model_copy(update={"architecture": NOTHING}) if recipe.architecture.changes else recipe


def change(model: Any, folder: str | os.PathLike[str], wanted: Architecture, head: Head) -> Any:
    """MODEL, which came from FOLDER with HEAD, changed as WANTED. Raises StudioError naming the key."""
    if wanted.drop_layers or wanted.drop_encoder_layers:
        architecture.drop(model, wanted)
    if wanted.new_tokens:
        architecture.grow(model, pieces(folder, wanted.new_tokens), wanted.new_tokens_begin)
    if wanted.new_head:
        architecture.fresh_head(model, head.seed)
    return model


def pieces(folder: str | os.PathLike[str], new: Sequence[str]) -> dict[int, Sequence[int]]:
    """Id of each token of NEW → the ids that the tokenizer in FOLDER cuts its text into without it."""
    plain, extended = load_tokenizer(Path(folder)), load_tokenizer(Path(folder), new=new)
    found: dict[int, Sequence[int]] = {}
    for text in new:
        place = extended.backend.id_of(text)
        assert place is not None
        unknown = plain.unk_id
        found[place] = [token for token in plain.encode(text.strip()) if token != unknown]
    return found


def config_of(config: Any, recipe: Recipe) -> Any:
    """CONFIG (transformers') as it is after RECIPE's changes, as far as sizes go: for estimates without a model."""
    wanted = recipe.architecture
    if not wanted.changes:
        return config
    text = config.get_text_config()
    if wanted.drop_layers and not getattr(config, "is_encoder_decoder", False):
        count = int(text.num_hidden_layers)
        gone = architecture.chosen_layers(wanted.drop_layers, count)
        architecture.shrink(text, "only", count, [place for place in range(count) if place not in gone])
    if wanted.new_tokens:
        text.vocab_size = max(int(text.vocab_size), tokenizer_of(recipe).vocab_size)
    return config


def told(recipe: Recipe, before: int | None = None, after: int | None = None) -> list[str]:
    """What RECIPE changes in the model, a sentence each; BEFORE and AFTER count its weights where they are known."""
    wanted, found = recipe.architecture, []
    for words, which in ((wanted.drop_layers, ""), (wanted.drop_encoder_layers, "encoder ")):
        if words:
            which_ones = words if isinstance(words, str) else ", ".join(map(str, words))
            text = f"{which}layers left out: {which_ones}"
            if before and after and after < before:
                text += f" ({number(before)} → {number(after)} weights, {100 * (1 - after / before):.0f} % fewer)"
            found.append(f"{text}. What they knew is gone until training brings it back; the base arm keeps them.")
    if wanted.new_tokens:
        some = ", ".join(one_line(token, 20) for token in wanted.new_tokens[:4])
        more = f" and {len(wanted.new_tokens) - 4} more" if len(wanted.new_tokens) > 4 else ""
        begin = "the mean of their old pieces" if wanted.new_tokens_begin == "pieces" else "the mean of all rows"
        found.append(f"{len(wanted.new_tokens)} new tokens ({some}{more}): their rows begin as {begin}, and learn.")
    if wanted.new_head and tasks.get(recipe.task).kind in ("sequence-classification", "token-classification"):
        found.append("the head begins anew: what the model's own had learnt of labels is left aside.")
    return [f"{text[0].upper()}{text[1:]}" for text in found]
