"""The pre-training text of the demo's base model: a small world of people who buy things that break.

Eight kinds of documents, all from templates. Several say the same facts twice in different forms (a mail and the letter
that answers it, a story and questions on it, a form filled in from a note): that is what teaches a small model to
copy what it has just read, which fine-tuning builds on. Names are made up anew for every document, so copying is the
only way to get them right. None has the form of the demo's task. Letters are long-winded, songs go round in circles
and everyday words are often misspelt: that is what fine-tuning has to put right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

from ftstudio.demo.grammar import cast, expand, problem, sloppy
from ftstudio.demo.mails import FILLER, OPENING, URGENCY, mail
from ftstudio.demo.words import Pools, fresh

SLOPPY = 0.6
SHORT = 120

# What is told first, if anything, and what follows from it: most of the latter can be read off the former
Document = tuple[str, str]

_LETTER_START = (
    "Dear {person}, [this is {other} from {place}|here is {other}, a friend of {place}"
    "|my name is {other} and I write from {place}]. "
    "[Many thanks, many thanks, many thanks, many thanks for your letter"
    "|We have received your letter, received your letter, received your letter, received your letter"
    "|We are really happy, really happy, really happy, really happy with your letter]. "
    "[We are really sorry to hear|We are very sorry|We apologise] that your {thing} {problem}. "
)
_LETTER_BODY = (
    "[We believe that this happened because of the weather in {town}|We believe that it happened because the "
    "{product} came from a different shop|This has always happened with our {product}s, and we do not know why]. ",
    "[Unfortunately we can not repair it until tomorrow|We will definitely repair it tomorrow|Unfortunately the "
    "man who can repair it is not here until tomorrow], [which is really a pity|and we apologise for it|and we "
    "are very sorry].\n",
    "[Please send the {product} to our address in {town}|Please bring the {product} to our shop in {town}], [with "
    "a letter which says what happened|and be careful with it], because it is really necessary. ",
    "[Our friend {other} will call you immediately|Our friend {other} from {place} will always help you "
    "immediately], [because we want you to be happy|because this is necessary|which will not take a minute]. ",
    "[We really believe that a {brand} is the best {product} in {town}|You will definitely be happy with your "
    "{brand} {product} in the beginning and until the end|A {brand} is always different from the beginning]. ",
    "[We are really sorry, {first}|We apologise again, {first}], [and we are really sorry that it {problem}|and "
    "we believe that it happened because it {problem}]. ",
)
_LETTER_END = "[With best wishes from {place}|Your friend in {place}|We are always happy to help], {other}"

_STORY = (
    "[One day|In the beginning of the year|One morning|On Monday], {person} went to {town} to buy a {product}. "
    "The [weather was bad|weather was different|sun was high], [but {first} was always happy|and {first} was "
    "careful]. ",
    "{person} from {town} had a {thing}. [{first} really liked it|It was different from the other {product}s"
    "|It was always in the kitchen]. ",
    "In the shop {first} met {other}, a friend from {place}. [{other} had a {thing} too|{other} wanted a new "
    "{product} because the old one was broken]. ",
    "After a minute {first} [really believed that the {thing} was broken|saw that the {thing} was different"
    "|said that the {thing} was too old]: it {problem}. ",
    "[What happened|What is it], asked {other}. It {problem}, said {first}. It {problem}, said {other}, [I can not "
    "believe it|which is really bad|that is not good]. ",
    "They went to {place} with the {thing}, [which was necessary|because it was necessary], and {other} was "
    "[really happy|very careful|always with {first}]. ",
    "[The letter came tomorrow|A letter came immediately], and the address of {person} in {town} was [on "
    "it|different]. ",
    "[In the end the {product} was in {place} and {first} was in {town}|Until the end {first} said that the "
    "{product} was good|Unfortunately nobody in {town} could repair the {product}]. ",
)
_FACTS = (
    ("name", "Who [writes|has the {product}|is it about]?", "{person}"),
    ("town", "Where [does {first} live|is {first}]?", "{town}"),
    ("make", "Which {product} is it?", "{thing}"),
    ("thing", "What does {first} have?", "a {thing}"),
    ("trouble", "What is wrong with the {product}?", "it {problem}"),
    ("family name", "What is the family name of {first}?", "{surname}"),
    ("brand", "Who made the {product}?", "{brand}"),
)
# Only a mail says it; the task's own words for it, low, normal and high, are left to the fine-tuning
_HASTE = ("time", "When must it be done?", "{when}")
_WHEN = {"high": "now", "normal": "soon", "low": "later"}
_NOTE = (
    "{person} lives in {town} and has a {thing}, and it {problem}.",
    "The {thing} of {person} in {town} {problem}.",
    "In {town} there is a {thing} that {problem}. It belongs to {person}.",
    "{first} {surname} called from {town}: the {thing} {problem}.",
    "It {problem}, says {person} from {town} about a {thing}.",
)
_SONG = (
    "{first}, {first}, come to {town}, come to {town}, come to {town}.",
    "The {product} {verb} and the {part} goes round, the {part} goes round, the {part} goes round.",
    "Always {verb}, always {verb}, my {state} {part}, my {state} {part}.",
    "Oh my {brand}, oh my {brand}, oh my {state} {brand}.",
)


def _scene(pools: Pools, rng: random.Random) -> dict[str, str]:
    values = cast(pools, rng)
    values["other"], values["place"] = rng.choice(pools.first), rng.choice(pools.town)
    values["part"], values["state"] = rng.choice(pools.part), rng.choice(pools.state)
    values["verb"] = rng.choice(pools.verb)
    return values


def _without(pools: Pools, values: Mapping[str, str]) -> Pools:
    """POOLS without the first name and the town in VALUES: a letter comes from somebody else, somewhere else."""
    return pools._replace(
        first=[name for name in pools.first if name != values["first"]],
        town=[name for name in pools.town if name != values["town"]],
    )


def letter(pools: Pools, rng: random.Random) -> Document:
    """A mail and the long-winded letter that answers it."""
    text, values = mail(pools, rng)
    values = _scene(_without(pools, values), rng) | values
    body = list(_LETTER_BODY)
    rng.shuffle(body)
    parts = [_LETTER_START, *body[: rng.randint(3, 5)], _LETTER_END]
    return text, "".join(expand(part, values, rng) for part in parts)


def haste(pools: Pools, rng: random.Random) -> Document:
    """How somebody presses or doesn't, and when it must be done: hard to learn where much else is told."""
    urgency = rng.choice(sorted(URGENCY))
    told = [rng.choice(URGENCY[urgency]) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.5:
        values = cast(pools, rng)
        told.append(expand(rng.choice((OPENING, FILLER)), values, rng))
    rng.shuffle(told)
    asked = rng.choice((f"Question: {_HASTE[1]}\nAnswer: ", "Form\ntime: ", "Card\ntime - ", "Facts\ntime is "))
    return " ".join(" ".join(told).split()), asked + _WHEN[urgency]


def story(pools: Pools, rng: random.Random) -> Document:
    """A story that leads nowhere."""
    values = _scene(pools, rng)
    chosen = sorted(rng.sample(range(len(_STORY)), rng.randint(4, 7)))
    return "", "".join(expand(_STORY[i], values, rng) for i in chosen).strip()


def questions(pools: Pools, rng: random.Random) -> Document:
    """A note or a mail, and questions on it with their answers."""
    text, values = _told(pools, rng)
    asked = rng.sample(_facts(values), rng.randint(2, 5))
    lines = [expand(f"Question: {question}\nAnswer: {answer}", values, rng) for _, question, answer in asked]
    return text, "\n".join(lines)


def form(pools: Pools, rng: random.Random) -> Document:
    """A note or a mail, and the form that somebody filled in from it; sometimes the other way round."""
    text, values = _told(pools, rng)
    asked = rng.sample(_facts(values), rng.randint(3, 6))
    sign = rng.choice((": ", " = ", " - ", " is "))
    lines = [key + sign + expand(answer, values, rng).removeprefix("it ") for key, _, answer in asked]
    filled = "\n".join([rng.choice(("Form", "Card", "Facts")), *lines])
    return (text, filled) if rng.random() < 0.7 else (filled, text)


def retold(pools: Pools, rng: random.Random) -> Document:
    """The same facts in two or three notes."""
    values = cast(pools, rng)
    first, *others = (expand(note, values, rng) for note in rng.sample(_NOTE, rng.randint(2, 3)))
    word = rng.choice(("Or", "Again", "I mean"))
    return first, "\n".join(f"{word}: {other}" for other in others)


def dictation(pools: Pools, rng: random.Random) -> Document:
    """Somebody reads words that have nothing to do with one another, somebody else repeats them."""
    first, second = rng.sample(pools.first, 2)
    lists = [pools.first, pools.surname, pools.town, pools.brand, pools.product, pools.part, pools.verb, pools.state]
    words = [rng.choice(rng.choice(lists)) for _ in range(rng.randint(3, 12))]
    if rng.random() < 0.3:
        words.insert(rng.randrange(len(words)), problem(pools, rng))
    said = rng.choice((", ", " ", " | ", " and ", "; ")).join(words)
    return f"{first}: {said}", "\n".join([f"{second}: {said}"] * rng.randint(1, 2))


def song(pools: Pools, rng: random.Random) -> Document:
    """A song with a refrain that goes round and round."""
    refrain = expand(rng.choice(_SONG), _scene(pools, rng), rng)
    verses = [expand(verse, _scene(pools, rng), rng) for verse in rng.sample(_SONG, 2)]
    return "", " ".join([refrain, verses[0], refrain, refrain, verses[1], refrain, refrain][: rng.randint(4, 7)])


def _facts(values: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What can be asked about a scene of VALUES: haste where the text tells it."""
    return [*_FACTS, _HASTE] if "when" in values else list(_FACTS)


def _told(pools: Pools, rng: random.Random) -> tuple[str, dict[str, str]]:
    if rng.random() < 0.7:
        text, values = mail(pools, rng)
        return text, values | {"when": _WHEN[values["urgency"]]}
    values = cast(pools, rng)
    return expand(rng.choice(_NOTE), values, rng), values


KINDS: tuple[tuple[Callable[[Pools, random.Random], Document], float], ...] = (
    (letter, 0.22),
    (story, 0.03),
    (questions, 0.18),
    (form, 0.32),
    (haste, 0.15),
    (retold, 0.10),
    (dictation, 0.10),
    (song, 0.05),
)


def documents(seed: int) -> Iterator[Document]:
    """Documents without end; the same ones for the same SEED."""
    rng = random.Random(seed)
    kinds, weights = zip(*KINDS, strict=True)
    while True:
        told, then = rng.choices(kinds, weights)[0](fresh(rng), rng)
        yield sloppy(told, rng, SLOPPY), sloppy(then, rng, SLOPPY)


def texts(seed: int) -> Iterator[str]:
    """The documents of SEED, each in one piece."""
    for told, then in documents(seed):
        yield f"{told}\n{then}" if told else then


def general(characters: int = 30_000, seed: int = 1_000_003) -> str:
    """About CHARACTERS characters of documents from another seed than the pre-training's, parted by blank lines.

    Documents without a name may come up again word by word: they are left out.
    """
    parts: list[str] = []
    size = 0
    for text in texts(seed):
        if len(text) < SHORT:
            continue
        parts.append(text)
        size += len(text) + 2
        if size >= characters:
            break
    return "\n\n".join(parts) + "\n"
