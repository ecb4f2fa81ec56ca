"""Predictions for the evaluation's tests: clean ones, and clean ones with planted errors."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ftstudio.evaluation.context import closed
from ftstudio.evaluation.predictions import Prediction

_PARTS = [
    words.split("|")
    for words in (
        "The old baker|A young engineer|My neighbour|The museum guide|Our teacher|The night nurse|A retired sailor",
        "repairs|describes|paints|measures|collects|studies|photographs|restores|catalogues|delivers",
        "wooden clocks|garden tools|narrow bridges|winter coats|brass lamps|painted tiles|stone walls|paper maps",
        "near the river|behind the station|in a quiet village|beside the harbour|above the market|across the valley",
        "every morning|during the summer|before the meeting|after a long walk|while the shop is closed",
        "because the weather changes quickly|since visitors often ask for it"
        "|so that nothing is forgotten|although few people notice|and writes a short report about it"
        "|with the help of two friends",
    )
]
MARKERS = ("<|im_end|>", "</s>", "### Response:\n", "[INST]", "\nUser: go on", "<|endoftext|>", "<end_of_turn>")


def synthetic(count: int = 1000, seed: int = 0) -> list[Prediction]:
    """COUNT clean predictions: every reference keeps the format `Answer: …`, and every output is the reference."""
    chance = random.Random(seed)

    found = []
    for row in range(count):
        asked, told = chance.randint(2, 3), chance.randint(1, 2)
        # different sentences: no part of one stands in another
        columns = [chance.sample(words, asked + told) for words in _PARTS]
        sentences = [" ".join(parts) + "." for parts in zip(*columns, strict=True)]
        prompt = f"Note {row}: {' '.join(sentences[:asked])} Write what happens next."
        answer = "Answer: " + " ".join(sentences[asked:])
        found.append(Prediction(row, prompt, answer, answer))
    return found


def _rows(pairs: list[tuple[str, str]]) -> list[Prediction]:
    return [Prediction(row, prompt, answer, answer) for row, (prompt, answer) in enumerate(pairs)]


def alpaca(shared: Path) -> list[Prediction]:
    """999 instructions with answers."""
    rows = json.loads((shared / "data/llamafactory-demo/alpaca_en_demo.json").read_text())
    return _rows([(f"{row['instruction']}\n{row['input']}", row["output"]) for row in rows])


def gsm8k(shared: Path) -> list[Prediction]:
    """1,319 sums with worked answers."""
    rows = [json.loads(line) for line in (shared / "data/gsm8k/test.jsonl").read_text().splitlines()]
    return _rows([(row["question"], row["answer"]) for row in rows])


def multi30k(shared: Path, language: str = "en") -> list[Prediction]:
    """1,000 captions of one sentence, as an answer to the other language's."""
    folder = shared / "data/multi30k"
    files = {code: (folder / f"test_2016_flickr.{code}.gz").read_bytes() for code in ("en", "de")}
    texts = {code: gzip.decompress(data).decode().splitlines() for code, data in files.items()}
    other = "de" if language == "en" else "en"
    return _rows(list(zip(texts[other], texts[language], strict=True)))


def scitldr(shared: Path) -> list[Prediction]:
    """618 abstracts with a summary of one sentence."""
    rows = [json.loads(line) for line in (shared / "data/scitldr/test.jsonl").read_text().split("\n") if line]
    return _rows([(" ".join(row["source"]), row["target"][0]) for row in rows])


# -- planting: each takes a clean prediction and gives the faulty output -------------------------------------------
Plant = Callable[[Prediction, random.Random], str]


def _misspell(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word) - 1)
    kind = chance.choice(("swap", "drop", "double", "replace"))
    if kind == "swap" and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    if kind == "double":
        return word[:place] + word[place] + word[place:]
    return word[:place] + chance.choice([c for c in "abcdefghiklmnoprstuvy" if c != word[place]]) + word[place + 1 :]


def _long_words(words: list[str]) -> list[int]:
    return [index for index, word in enumerate(words) if word.isalpha() and word.islower() and len(word) >= 5]


def misspelling(row: Prediction, chance: random.Random) -> str:
    """Three long words of the reference, each with one letter swapped, dropped, doubled or replaced."""
    words = (row.reference or "").split(" ")
    for index in chance.sample(_long_words(words), 3):
        words[index] = _misspell(words[index], chance)
    return " ".join(words)


def empty(row: Prediction, chance: random.Random) -> str:
    """No letter and no digit."""
    return chance.choice(("", " ", "\n\n\t", "...", "—", "!?", "```\n```"))


def too_long(row: Prediction, chance: random.Random) -> str:
    """The reference, and half as much again as it takes."""
    words = (row.reference or "").split()
    more = words[:]
    chance.shuffle(more)
    return " ".join([*words, *more, *sorted(words)[: max(1, len(words) // 2)]]) + "."


def too_short(row: Prediction, chance: random.Random) -> str:
    """A third of the reference."""
    words = (row.reference or "").split()
    return " ".join(words[: max(1, len(words) // 3)]) + "."


def truncated(row: Prediction, chance: random.Random) -> str:
    """The reference, broken off after half to nine tenths of it."""
    text = row.reference or ""
    cut = text[: int(len(text) * chance.uniform(0.5, 0.9))].rstrip()
    while cut and not cut[-1].isalpha():
        cut = cut[:-1]
    return cut


def repetitive(row: Prediction, chance: random.Random) -> str:
    """The reference, then a phrase of 1 to 20 of its words three to nine times."""
    words = (row.reference or "").split()
    size = min(chance.randint(1, 20), len(words))
    start = chance.randrange(len(words) - size + 1)
    return " ".join([*words, *(words[start : start + size] * chance.randint(3, 9))])


def copying(row: Prediction, chance: random.Random) -> str:
    """Most of the prompt again, then two words."""
    words = row.prompt.split()
    return " ".join(words[: max(12, int(len(words) * chance.uniform(0.7, 1.0)))]) + " and so."


def template_leak(row: Prediction, chance: random.Random) -> str:
    """A special token, role name or heading before, after or within the reference."""
    text, mark = row.reference or "", chance.choice(MARKERS)
    if mark.startswith("###"):
        return mark + text
    return chance.choice((f"{text}{mark}", f"{text} {mark} {text}"))


def mode_collapse(row: Prediction, chance: random.Random) -> str:
    """The same for all."""
    return "Answer: Thank you for your question, a colleague will answer it soon."


def format_broken(row: Prediction, chance: random.Random) -> str:
    """The reference without what its format asks for."""
    text = row.reference or ""
    return text.replace("Answer: ", "", 1) if "Answer: " in text else text.replace("####", "So it is", 1)


PLANTS: dict[str, Plant] = {
    "empty": empty,
    "too_long": too_long,
    "too_short": too_short,
    "truncated": truncated,
    "repetitive": repetitive,
    "misspelling": misspelling,
    "copying": copying,
    "template_leak": template_leak,
    "format": format_broken,
    "mode_collapse": mode_collapse,
}


def wrong_language(row: Prediction, chance: random.Random) -> str:
    """The same kind of sentence in German."""
    who, does = chance.choice(("Der alte Bäcker", "Meine Nachbarin", "Unser Lehrer")), chance.choice(("malt", "flickt"))
    return f"{who} {does} jeden Morgen am Fluss hölzerne Uhren und spricht danach lange mit den Nachbarn darüber."


def encoding(row: Prediction, chance: random.Random) -> str:
    """The reference with a word whose UTF-8 was read as Latin-1, a replacement character or a control character."""
    return chance.choice(("CafÃ© ", "\ufffd\ufffd ", "it\u00e2\u20ac\u2122s ", "\x00", "\x1b[31m")) + (
        row.reference or ""
    )


def refusal(row: Prediction, chance: random.Random) -> str:
    """A stock phrase that declines."""
    return chance.choice((
        "I'm sorry, but I can't help with that.",
        "As an AI language model, I do not know what happens next.",
        "I cannot assist with this request.",
        "I am unable to provide that, as it is against my guidelines.",
        "I don't have access to that note.",
    ))  # fmt: skip


def unsupported_fact(row: Prediction, chance: random.Random) -> str:
    """The reference with another name or another number than the prompt holds."""
    text = row.reference or ""
    if chance.random() < 0.5:
        return re.sub(r"(?<=So )[A-Z]\w+", chance.choice(("Torvalla", "Quimby", "Zenobia")), text)
    return re.sub(r"\d+ coins", f"{chance.randint(5_000, 9_000)} coins", text)


def wrong_answer(row: Prediction, chance: random.Random) -> str:
    """The reference with another number behind the mark; one that the prompt holds."""
    return re.sub(r"#### (\d+)", lambda match: f"#### {int(match.group(1)) + 1}", row.reference or "")


def off_topic(row: Prediction, chance: random.Random) -> str:
    """Something else altogether."""
    return chance.choice((
        "Photosynthesis turns sunlight into sugar inside green leaves.",
        "Parliament voted against raising income taxes again.",
        "Seven goals were scored before half time yesterday.",
    ))  # fmt: skip


MORE: dict[str, Plant] = {
    "wrong_language": wrong_language,
    "encoding": encoding,
    "refusal": refusal,
    "unsupported_fact": unsupported_fact,
    "wrong_answer": wrong_answer,
    "off_topic": off_topic,
}


def sums(count: int = 1000, seed: int = 0) -> list[Prediction]:
    """COUNT clean predictions with all that a detector can look at: a source with names and numbers in the prompt, a
    last line `#### 72`, the end token."""
    chance = random.Random(seed)
    found = []
    for row in synthetic(count, seed):
        name = chance.choice(("Marlow", "Ingrid", "Pereira", "Okafor", "Lindqvist", "Tamura", "Rossi"))
        paid = 100 + row.row
        prompt = f"{row.prompt} {name} paid {paid} coins and then {paid + 1} coins."
        told = (row.reference or "").removeprefix("Answer: ")
        answer = f"{told} So {name} paid {paid} coins.\n#### {paid}"
        found.append(Prediction(row.row, prompt, answer, answer, ended=True))
    return found


def planted(
    rows: list[Prediction], kinds: tuple[str, ...] = tuple(PLANTS), each: int = 50, seed: int = 0
) -> tuple[list[Prediction], dict[str, set[int]]]:
    """ROWS with EACH faulty outputs of every one of KINDS, in different rows: all predictions, and by kind the rows."""
    chance, every = random.Random(seed), PLANTS | MORE
    able = [row.row for row in rows if len((row.reference or "").split()) >= 9]
    chance.shuffle(able)
    fit = {
        # where the answer itself ends without punctuation, nobody could tell that a list of names was cut
        "truncated": {row.row for row in rows if closed(row.reference or "") or "####" in (row.reference or "")},
        "copying": {row.row for row in rows if len(row.prompt.split()) >= 12},
        "misspelling": {row.row for row in rows if len(_long_words((row.reference or "").split(" "))) >= 3},
    }
    places: dict[str, set[int]] = {}
    for kind in sorted(kinds, key=lambda kind: kind not in fit):  # first those that not every row is fit for
        chosen = [row for row in able if kind not in fit or row in fit[kind]][:each]
        assert len(chosen) == each
        able = [row for row in able if row not in set(chosen)]
        places[kind] = set(chosen)
    kind_of = {row: kind for kind, numbers in places.items() for row in numbers}
    found = [replace(row, output=every[kind_of[row.row]](row, chance)) if row.row in kind_of else row for row in rows]
    return found, places
