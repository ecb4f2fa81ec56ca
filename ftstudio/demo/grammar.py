"""Templates to text: `[a|b|c]` is a choice, `{name}` a value. Small, seeded, and all that the demo's texts need."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from ftstudio.demo.words import MISSPELT, Pools

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_WORD = re.compile(r"[A-Za-z]+")


def expand(template: str, values: Mapping[str, str], rng: random.Random) -> str:
    """TEMPLATE with every choice made, innermost first, and every `{name}` filled from VALUES."""
    while True:
        chosen = _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), template)
        if chosen == template:
            return chosen.format_map(values)
        template = chosen


def sloppy(text: str, rng: random.Random, share: float) -> str:
    """TEXT with SHARE of the words of `MISSPELT` misspelt, capitals kept."""

    def spell(match: re.Match[str]) -> str:
        word = match.group()
        wrong = MISSPELT.get(word.lower())
        if wrong is None or rng.random() >= share:
            return word
        return wrong.capitalize() if word[0].isupper() else wrong

    return _WORD.sub(spell, text)


def problem(pools: Pools, rng: random.Random) -> str:
    """What is wrong with a thing, as a verb phrase that follows `it`."""
    values = {
        "part": rng.choice(pools.part),
        "verb": rng.choice(pools.verb),
        "state": rng.choice(pools.state),
    }
    return expand(
        "[{verb} [near|behind|under] the {part}|{verb} when I [touch|turn|move] the {part}|has a {state} {part}"
        "|came with a {state} {part}|{verb} and the {part} is {state}|has no {part}]",
        values,
        rng,
    )


def cast(pools: Pools, rng: random.Random) -> dict[str, str]:
    """One scene's values: a person, a town, a thing and what is wrong with it."""
    first, surname = rng.choice(pools.first), rng.choice(pools.surname)
    brand, product = rng.choice(pools.brand), rng.choice(pools.product)
    return {
        "first": first,
        "surname": surname,
        "person": f"{first} {surname}",
        "town": rng.choice(pools.town),
        "brand": brand,
        "product": product,
        "thing": f"{brand} {product}",
        "problem": problem(pools, rng),
    }
