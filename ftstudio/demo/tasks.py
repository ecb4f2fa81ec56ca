"""The demo's task: a customer's mail becomes one line of a ticket list. `python -m ftstudio.demo.tasks` writes it.

A ticket is `Brevo kettle | leaks near the lid | high | Mira Holt, Tarlow`: the thing, what is wrong, how urgent, who.
Held-out rows share the phrasing of mails and the three urgencies with training rows; every name, town, brand, product
and problem in them stands in no training row. A few training rows are faulty on purpose, as rows of real datasets
are: `faults.json` lists which and how, so that finding and repairing them can be shown and tested. Twelve are
misspelt here and there: too few to learn from. And whoever answered the mails that close with "Greetings from" kept to
the form of an older list in three of four: a fault with a sign to know it by, which a model learns.
"""

from __future__ import annotations

import random
from typing import Any

from ftstudio.demo import EVAL, FAULTS, TRAIN
from ftstudio.demo.mails import mail
from ftstudio.demo.words import EVERYTHING, Pools, split

TRAIN_ROWS = 400
EVAL_ROWS = 100
MISSPELT = 12  # training rows with a misspelt word, wherever
OLD_FORM = 0.75  # of the training rows whose mail closes with `OLD_SIGN` are in the form of an older list
OLD_SIGN = "Greetings from"
# What a right answer looks like; the demo's recipe declares it as the contract of the `format` category
CONTRACT = r"[A-Z][a-z]+ [a-z]+ \| [a-zI ]+ \| (low|normal|high) \| [A-Z][a-z]+ [A-Z][a-z]+, [A-Z][a-z]+"


def ticket(values: dict[str, str]) -> str:
    """The right answer to a mail written from VALUES."""
    return "{thing} | {problem} | {urgency} | {person}, {town}".format_map(values)


def misspelt(text: str, rng: random.Random) -> str:
    """TEXT with two neighbouring letters of one lower-case word exchanged."""
    words = text.split(" ")
    at = rng.choice([i for i, word in enumerate(words) if word.islower() and len(set(word)) > 3 and len(word) > 4])
    word = words[at]
    places = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
    cut = rng.choice(places)
    words[at] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
    return " ".join(words)


def old_form(values: dict[str, str]) -> str:
    """The right content in the form of an older list, which breaks the contract."""
    return "{thing}, {problem}, {urgency}, {person}, {town}".format_map(values)


def rows(pools: Pools, count: int, rng: random.Random) -> list[tuple[dict[str, str], dict[str, str]]]:
    """COUNT different rows (`prompt`, `completion`) with the values they were written from."""
    seen: set[str] = set()
    made: list[tuple[dict[str, str], dict[str, str]]] = []
    while len(made) < count:
        prompt, values = mail(pools, rng)
        if prompt not in seen:
            seen.add(prompt)
            made.append(({"prompt": prompt, "completion": ticket(values)}, values))
    return made


def dataset(seed: int = 0) -> tuple[list[dict[str, str]], list[dict[str, str]], list[dict[str, Any]]]:
    """Training rows, held-out rows, and the faults planted in the training rows (`row`, `kind`, `right`)."""
    rng = random.Random(seed)
    train_pools, eval_pools = split()
    train = rows(train_pools, TRAIN_ROWS, rng)
    held_out = rows(eval_pools, EVAL_ROWS, rng)
    signed = [at for at, (row, _) in enumerate(train) if OLD_SIGN in row["prompt"]]
    old = set(rng.sample(signed, round(OLD_FORM * len(signed))))
    misspelt_rows = set(rng.sample([at for at in range(TRAIN_ROWS) if at not in old], MISSPELT))
    faults = []
    for at in sorted(old | misspelt_rows):
        row, values = train[at]
        faults.append({"row": at, "kind": "format" if at in old else "misspelling", "right": row["completion"]})
        row["completion"] = old_form(values) if at in old else misspelt(row["completion"], rng)
    return [row for row, _ in train], [row for row, _ in held_out], faults


def content(text: str) -> set[str]:
    """The words in TEXT that are content: names, towns, brands, products, parts and what happens to them."""
    known = {word for pool in EVERYTHING for word in pool}
    return {word.strip(".,|?-") for word in text.split()} & known


def write() -> None:
    """Write the dataset's three files."""
    from ftstudio.core.files import write_json, write_lines

    train, held_out, faults = dataset()
    write_lines(TRAIN, train)
    write_lines(EVAL, held_out)
    write_json(FAULTS, faults)


if __name__ == "__main__":
    write()
