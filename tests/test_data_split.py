"""Splits: parts that share no row, keep together what belongs together, and are the same every time."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.data.dataset import Dataset, Row, from_rows
from ftstudio.data.normal import normal
from ftstudio.data.shape import recognise
from ftstudio.data.split import split_rows
from ftstudio.data.split_near import likeness, near_groups
from ftstudio.data.split_parts import By, split_parts, without_leaks

WORDS = (
    "river", "stone", "winter", "seven", "market", "candle", "engine", "yellow", "garden", "letter", "window", "coffee",
    "number", "silver", "people",
)  # fmt: skip


def sentence(draw: random.Random, words: int = 25) -> str:
    return " ".join(f"{draw.choice(WORDS)}{draw.randint(0, 99)}" for _ in range(words))


def rows_of(count: int, seed: int = 0) -> list[Row]:
    draw = random.Random(seed)
    return [
        {"prompt": sentence(draw), "completion": "yes", "label": "ab"[n % 4 == 0], "user": f"u{draw.randint(0, 30)}"}
        for n in range(count)
    ]


ROW = st.fixed_dictionaries(
    {"prompt": st.sampled_from("abcdefgh"), "completion": st.just("x"), "g": st.sampled_from(["", "1", "2", "3"]),
     "s": st.sampled_from(["p", "q", "r", None])}
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, min_size=4, max_size=40), st.integers(0, 5), st.booleans(), st.booleans(), st.booleans())
def test_parts_share_nothing_and_keep_groups(rows: list[Row], seed: int, group: bool, strata: bool, near: bool) -> None:
    dataset = from_rows(rows)
    shape = recognise(dataset)
    by = By("s" if strata else None, "g" if group else None, near)
    try:
        parts = split_parts(dataset, {"eval": 0.2, "test": 0.3}, seed, shape=shape, by=by)
    except StudioError:
        linked = {frozenset((row["prompt"], row["g"] if group else "")) for row in rows}
        assert len({row["prompt"] for row in rows}) <= 2 or group, linked
        return
    assert sorted(parts.train + parts.eval + parts.test) == list(range(len(rows)))
    assert parts.train
    assert parts.eval
    assert parts.test
    side = {row: name for name in ("train", "eval", "test") for row in getattr(parts, name)}
    for one in range(len(rows)):
        for other in range(one):
            same_prompt = rows[one]["prompt"] == rows[other]["prompt"]
            same_group = group and rows[one]["g"] and rows[one]["g"] == rows[other]["g"]
            if same_prompt or same_group:
                assert side[one] == side[other]
    again = split_parts(dataset, {"eval": 0.2, "test": 0.3}, seed, shape=shape, by=by)
    assert (again.train, again.eval, again.test) == (parts.train, parts.eval, parts.test)
    assert (parts.report["train"], parts.report["eval"]) == (len(parts.train), len(parts.eval))


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=3, max_size=40), st.integers(0, 3), st.sampled_from([0.1, 0.25, 0.5]))
def test_without_wishes_the_held_out_rows_are_the_usual_ones(rows: list[Row], seed: int, fraction: float) -> None:
    dataset = from_rows(rows)
    shape = recognise(dataset)
    try:
        train, held = split_rows(dataset, fraction, seed, shape=shape)
    except StudioError:
        return
    parts = split_parts(dataset, {"eval": fraction}, seed, shape=shape)
    assert (parts.train, parts.eval, parts.test) == (train, held, [])


def test_a_test_part_leaves_the_held_out_rows_as_they_are() -> None:
    dataset = from_rows(rows_of(200))
    usual = split_rows(dataset, 0.1, 3, shape=recognise(dataset))[1]
    parts = split_parts(dataset, {"eval": 0.1, "test": 0.2}, 3, shape=recognise(dataset))
    assert parts.eval == usual
    assert len(parts.test) == 40


def test_strata_have_their_shares_in_every_part() -> None:
    rows = rows_of(400)
    dataset = from_rows(rows)
    parts = split_parts(dataset, {"eval": 0.1, "test": 0.1}, 1, shape=recognise(dataset), by=By(stratify="label"))
    for name in ("eval", "test"):
        assert Counter(rows[row]["label"] for row in getattr(parts, name)) == {"a": 30, "b": 10}
    assert parts.report["strata"] == {"a": {"train": 240, "eval": 30, "test": 30},
                                      "b": {"train": 80, "eval": 10, "test": 10}}  # fmt: skip
    assert "in the shares of 'label'" in parts.note


@pytest.mark.parametrize("together", ["group", "prompt"])
def test_a_rare_label_isn_t_held_out_whole(together: str) -> None:
    """Units of 13 rows leave a gap that only the few rows of a rare label fit into."""
    groups = [n // 13 for n in range(500)] + [900, 901, 902]
    labels = ["common"] * 500 + ["rare", "rare", "once"]
    prompts = [f"p{group if together == 'prompt' else n}" for n, group in enumerate(groups)]
    rows = [
        {"prompt": prompt, "completion": "x", "g": f"g{group}", "label": label}
        for prompt, group, label in zip(prompts, groups, labels, strict=True)
    ]
    by = By(stratify="label", group="g" if together == "group" else None)
    dataset = from_rows(rows)
    for seed in range(8):
        parts = split_parts(dataset, {"eval": 0.1, "test": 0.1}, seed, shape=recognise(dataset), by=by)
        trained = Counter(labels[row] for row in parts.train)
        assert trained["rare"] >= 1
        assert trained["once"] == 1
        assert len(parts.eval) > 30


def test_strata_that_are_single_rows_are_still_held_out() -> None:
    rows: list[Row] = [{"prompt": f"p{n}", "completion": "x", "label": f"l{n}"} for n in range(100)]
    parts = split_parts(from_rows(rows), {"eval": 0.1}, by=By(stratify="label"))
    assert len(parts.eval) == 10


def test_a_users_rows_stay_on_one_side() -> None:
    rows = rows_of(300)
    parts = split_parts(from_rows(rows), {"eval": 0.2}, by=By(group="user"))
    users = [{rows[row]["user"] for row in part} for part in (parts.train, parts.eval)]
    assert not users[0] & users[1]
    assert 40 <= len(parts.eval) <= 60


def test_wrong_wishes_are_told() -> None:
    dataset = from_rows(rows_of(20))
    for sizes, by, what in (
        ({"eval": 0.1}, By(stratify="lable"), "no column 'lable'"),
        ({"eval": 1.5}, By(), "no fraction"),
        ({"eval": 0.5, "test": 0.5}, By(), "no rows to train on"),
    ):
        with pytest.raises(UsageError, match=what):
            split_parts(dataset, sizes, by=by)
    one_user = from_rows([{**row, "user": "me"} for row in rows_of(20)])
    with pytest.raises(StudioError, match="belong together"):
        split_parts(one_user, {"eval": 0.1}, by=By(group="user"))


# -- near duplicates -------------------------------------------------------------------------------------------------
def edited(draw: random.Random, text: str, share: float) -> str:
    words = text.split()
    for _ in range(max(1, round(len(words) * share))):
        words[draw.randrange(len(words))] = draw.choice(WORDS)
    return " ".join(words)


def grams(text: str) -> set[str]:
    text = normal(text).ljust(5, "\0")
    return {text[at : at + 5] for at in range(len(text) - 4)}


def test_likeness_is_that_of_the_sets_of_five_characters() -> None:
    draw = random.Random(5)
    for share in (0.02, 0.1, 0.3):
        one = sentence(draw)
        other = edited(draw, one, share)
        shared, either = grams(one) & grams(other), grams(one) | grams(other)
        assert likeness(one, other) == pytest.approx(len(shared) / len(either), abs=0.01)
    assert likeness("Straße  A", "strasse a") == 1


def test_what_is_found_is_what_comparing_all_pairs_finds() -> None:
    draw = random.Random(1)
    texts = [sentence(draw) for _ in range(60)]
    texts += [edited(draw, text, draw.choice([0.02, 0.05, 0.1, 0.4])) for text in texts]
    texts += [f"  {texts[0].upper()} ", "ab", "ab", ""]
    found = near_groups(texts)
    sets = list(range(len(texts)))
    for one in range(len(texts)):  # the oracle: every pair
        for other in range(one):
            a, b = grams(texts[one]), grams(texts[other])
            if len(a & b) >= 0.7 * len(a | b):
                low, high = sorted((sets[one], sets[other]))
                sets = [low if value == high else value for value in sets]
    assert found == sets
    assert len(set(found)) < 100


def test_an_instruction_that_all_share_makes_nothing_alike() -> None:
    draw = random.Random(2)
    head = "You are given a sentence in English. Translate it into French and answer with nothing but the translation: "
    texts = [head + sentence(draw, 4) for _ in range(100)]
    assert likeness(texts[0], texts[1]) > 0.6
    assert near_groups(texts, 0.6) == list(range(100))
    texts.append(f"{texts[7]}.")
    assert near_groups(texts, 0.6)[100] == 7


def planted(draw: random.Random) -> tuple[Dataset, list[tuple[int, int]]]:
    rows = [{"prompt": sentence(draw), "completion": "x"} for _ in range(300)]
    pairs = []
    for number in range(50):
        rows.append({"prompt": edited(draw, str(rows[number]["prompt"]), 0.03), "completion": "y"})
        pairs.append((number, len(rows) - 1))
    return from_rows(rows), pairs


def test_lightly_edited_rows_stay_on_one_side() -> None:
    dataset, pairs = planted(random.Random(3))
    shape = recognise(dataset)

    def torn(by: By) -> int:
        parts = split_parts(dataset, {"eval": 0.3}, shape=shape, by=by)
        held = set(parts.eval)
        return sum((one in held) != (other in held) for one, other in pairs)

    assert torn(By()) > 10
    assert torn(By(leak_aware=True)) == 0
    parts = split_parts(dataset, {"eval": 0.3}, shape=shape, by=By(leak_aware=True))
    assert parts.report["together"]["near_duplicates"] == 50
    assert len(parts.eval) == 105
    with pytest.raises(Stopped):
        split_parts(dataset, {"eval": 0.3}, shape=shape, by=By(leak_aware=True), cancel=lambda: True)


def test_what_leaks_into_a_held_out_file_is_found() -> None:
    dataset, pairs = planted(random.Random(4))
    train, held = dataset.select(range(300)), dataset.select([other for _, other in pairs])
    kept, leaks = without_leaks(train, held, shape=recognise(dataset))
    assert leaks == list(range(50))
    assert kept == list(range(50, 300))
