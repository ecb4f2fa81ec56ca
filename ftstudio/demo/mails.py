"""Customer mails: what the task's prompts are, and one of the things that the pre-training text is made of."""

from __future__ import annotations

import random

from ftstudio.demo.grammar import cast, expand
from ftstudio.demo.words import Pools

URGENCY = {
    "high": (
        "I need it today.",
        "Please hurry, I can not wait.",
        "This is urgent.",
        "I need it before tonight.",
        "Please help me at once.",
    ),
    "normal": (
        "Please tell me what to do.",
        "Can you look at it this week?",
        "I hope to hear from you soon.",
        "What should I do now?",
        "Please send me an answer.",
    ),
    "low": (
        "There is no hurry.",
        "Take your time.",
        "It can wait until next month.",
        "I only want you to know.",
        "I can live with it for now.",
    ),
}

OPENING = (
    "[My {thing} {problem}|My new {thing} {problem}|The {thing} that I bought {problem}|Our {thing} {problem}"
    "|I have a {thing} and it {problem}|I bought a {thing} and it {problem}|You sold me a {thing} and it {problem}"
    "|I write about my {thing}. It {problem}|This is about our {thing}. It {problem}]"
    "[| again| since [Monday|Friday|last week|yesterday]]."
)
FILLER = (
    "[|||I like it a lot.|We use it every day.|It was not cheap.|It is [two|three|six] months old.|It was a gift."
    "|My [sister|brother|neighbour] has the same one.|I tried everything.|It worked well at first.]"
)
SHAPES = (
    "{opening} {filler} {cue} {person}, {town}",
    "Hello, this is {person} from {town}. {opening} {filler} {cue}",
    "{opening} {filler} {cue} I live in {town}. {person}",
    "I am {person} and I live in {town}. {opening} {filler} {cue}",
    "Good [morning|evening]. {opening} {cue} {filler} Greetings from {town}, {person}",
    "{cue} {opening} {filler} My name is {person}, I live in {town}.",
    "Hello from {town}. {opening} {filler} {cue} Yours, {person}",
)


def mail(pools: Pools, rng: random.Random) -> tuple[str, dict[str, str]]:
    """One customer mail on one line, and the values that it was written from (`urgency` among them)."""
    values = cast(pools, rng)
    values["urgency"] = rng.choice(sorted(URGENCY))
    values["cue"] = rng.choice(URGENCY[values["urgency"]])
    values["opening"] = expand(OPENING, values, rng)
    values["filler"] = expand(FILLER, values, rng)
    text = expand(rng.choice(SHAPES), values, rng)
    return " ".join(text.split()), values
