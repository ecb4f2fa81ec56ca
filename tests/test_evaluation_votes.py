"""Blind votes: fair sides, a stop rule that looking doesn't spoil, a file that keeps everything."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ftstudio.cli import main
from ftstudio.core import files
from ftstudio.evaluation.statistics import wilson
from ftstudio.evaluation.votes.ballot import Ballot, mark
from ftstudio.evaluation.votes.book import NAME, Book, pairs
from ftstudio.evaluation.votes.evalue import ENOUGH, e_value, log_e, more_votes
from ftstudio.evaluation.votes.report import tally_text
from ftstudio.evaluation.votes.tally import tally

OUTPUTS = {row: (f"base says {row}", f"tuned says {row}") for row in range(40)}


def voted(path: Path, choices: dict[int, str], who: str = "ann", outputs: dict[int, tuple[str, str]] = OUTPUTS) -> Book:
    """A book in which WHO found the arm (`a`, `b`) or `tie`, `bad` of CHOICES by row."""
    book = Book(path, "base", "run", who)
    for row, choice in choices.items():
        left, _ = book.ballot.sides(row)
        side = choice if choice in ("tie", "bad") else "left" if left == {"a": "base", "b": "run"}[choice] else "right"
        book.vote(row, side, outputs)
    return book


# -- the stop rule ----------------------------------------------------------------------------------------------------
def table(most: int) -> np.ndarray:
    """log e of every number of wins (rows) and losses (columns) up to MOST together."""
    found = np.full((most + 1, most + 1), -np.inf)
    for wins in range(most + 1):
        for losses in range(most + 1 - wins):
            found[wins, losses] = log_e(wins, losses)
    return found


def paths(known: np.ndarray, chance: float, runs: int, seed: int = 0) -> np.ndarray:
    """log e after every vote of RUNS people whose votes are won with CHANCE: (runs, votes)."""
    most = len(known) - 1
    wins = (np.random.default_rng(seed).random((runs, most)) < chance).cumsum(axis=1)
    return known[wins, np.arange(1, most + 1) - wins]


def test_the_e_value_is_the_mixed_likelihood() -> None:
    for wins, losses in ((0, 0), (1, 0), (3, 2), (14, 5)):
        rates = (np.arange(200_000) + 0.5) / 200_000
        wanted = np.mean(rates**wins * (1 - rates) ** losses) * 2 ** (wins + losses)
        assert e_value(wins, losses) == pytest.approx(wanted, rel=1e-6)


def test_looking_after_every_vote_is_wrong_in_at_most_one_of_twenty() -> None:
    known = table(300)
    null = paths(known, 0.5, 8000)
    wrong = (null >= math.log(ENOUGH)).any(axis=1).mean()
    assert 0.01 < wrong <= 0.05
    # the same looks at a p-value: that is what the e-value is for
    wins = (np.random.default_rng(0).random((8000, 300)) < 0.5).cumsum(axis=1)
    n = np.arange(1, 301)
    peeked = (np.abs(2 * wins - n)[:, 19:] > 1.96 * np.sqrt(n[19:])).any(axis=1).mean()
    assert peeked > 3 * wrong


def test_a_clear_preference_is_found_soon() -> None:
    reached = paths(table(200), 0.7, 2000) >= math.log(ENOUGH)
    assert reached.any(axis=1).mean() > 0.98
    assert 40 <= np.median(reached.argmax(axis=1) + 1) <= 54


def test_who_always_votes_left_is_no_evidence() -> None:
    wrong = 0
    for seed in range(200):
        ballot, wins = Ballot("base", "run", seed), 0
        for count, row in enumerate(range(150), 1):
            wins += ballot.sides(row)[0] == "run"
            if e_value(wins, count - wins) >= ENOUGH:
                wrong += 1
                break
    assert wrong <= wilson(10, 200)[1] * 200  # 5 %, and what chance does to 200 of them


def test_more_votes_are_those_that_are_missing() -> None:
    for wins, losses in ((6, 3), (14, 6), (5, 0), (30, 20)):
        more = more_votes(wins, losses)
        assert more is not None
        share = wins / (wins + losses)
        total = wins + losses + more
        assert log_e(share * total, (1 - share) * total) >= math.log(ENOUGH)
        assert log_e(share * (total - 1), (1 - share) * (total - 1)) < math.log(ENOUGH)
    assert more_votes(40, 10) == 0
    assert more_votes(10, 10) is None
    assert more_votes(0, 0) is None


# -- sides and order --------------------------------------------------------------------------------------------------
def test_sides_and_order_follow_from_the_seed_alone() -> None:
    ballot, other = Ballot("base", "run", 7), Ballot("base", "run", 8)
    rows = list(range(400))
    lefts = [ballot.sides(row)[0] for row in rows]
    assert lefts == [Ballot("base", "run", 7).sides(row)[0] for row in rows]
    assert abs(lefts.count("base") - 200) < 60
    assert 120 < sum(a != other.sides(row)[0] for row, a in zip(rows, lefts, strict=True)) < 280
    assert ballot.order(rows) == ballot.order(reversed(rows)) != other.order(rows)
    assert Ballot.new("base", "run").seed != Ballot.new("base", "run").seed


# -- the file ---------------------------------------------------------------------------------------------------------
def test_votes_are_appended_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / NAME
    book = Book(path, "base", "run", "ann")
    assert not path.exists()  # looking writes nothing
    first, second, *_ = book.waiting(OUTPUTS)
    book.vote(first, "left", OUTPUTS)
    book.vote(second, "tie", OUTPUTS)
    before = path.read_bytes()
    again = Book(path, "base", "run", "ann")
    assert again.ballot == book.ballot
    assert again.waiting(OUTPUTS) == [row for row in book.ballot.order(OUTPUTS) if row not in (first, second)]
    assert again.undo() == second
    assert again.undo() == first
    assert again.undo() is None
    assert path.read_bytes().startswith(before)
    assert len(Book(path, "base", "run", "ann").waiting(OUTPUTS)) == 40
    lines = files.read_lines(path)
    assert [line["kind"] for line in lines] == ["ballot", "vote", "vote", "undo", "undo"]
    assert all(line["who"] == "ann" and line["time"] > 0 for line in lines)


def test_a_torn_line_or_a_foreign_one_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / NAME
    voted(path, {1: "b", 2: "a"})
    with path.open("ab") as file:
        file.write(b'{"kind":"vote","row":"x","choice":"left","a":"base","b":"run"}\n{"kind":"vote","row":3,"cho')
    book = Book(path, "base", "run", "ann")
    assert {row for _, row in book.votes} == {1, 2}
    book.vote(5, "bad", OUTPUTS)
    assert {row for _, row in Book(path, "base", "run").votes} == {1, 2, 5}
    assert pairs(path) == [("base", "run")]
    assert not Book(path, "base", "another").votes


def test_a_tally_counts_rows_and_keeps_ties_apart(tmp_path: Path) -> None:
    path = tmp_path / NAME
    voted(path, {0: "b", 1: "b", 2: "b", 3: "a", 4: "tie", 5: "bad", 6: "b"})
    book = voted(path, {0: "a", 1: "b", 6: "b"}, "bob")
    outputs = {**OUTPUTS, 6: ("changed since", "tuned says 6"), 7: ("equal", "equal")}
    scores = {
        row: {"base": {"rougeL": 0.5, "length": 3.0}, "run": {"rougeL": value, "length": 2.0}}
        for row, value in ((1, 0.9), (2, 0.1), (3, 0.1), (4, 0.9))
    }
    found = tally(book, outputs, scores)
    assert (found.wins, found.losses, found.ties, found.bad) == (2, 1, 2, 1)  # on row 0 the two disagree
    assert (found.votes, found.people, found.outdated, found.alike) == (8, 2, 2, 1)
    assert found.waiting == 40 - 1 - 6  # row 6 must be asked anew, row 7 needn't be
    assert found.rate == pytest.approx(2 / 3)
    assert (found.low, found.high) == pytest.approx(wilson(2, 3))
    assert found.e_value == pytest.approx(e_value(2, 1))
    assert found.verdict == "can't tell"
    by_metric = {item.metric: item for item in found.agreement}
    assert (by_metric["rougeL"].agree, by_metric["rougeL"].against) == (2, 1)
    assert (by_metric["length"].agree, by_metric["length"].against) == (1, 2)  # people like these long answers less
    assert found.agreement[0].metric == "rougeL"
    assert "Can't tell yet" in tally_text(found)


def test_votes_count_whichever_arm_is_held_against_the_other(tmp_path: Path) -> None:
    path = tmp_path / NAME
    voted(path, {0: "b", 1: "b", 2: "a"})
    turned = {row: (b, a) for row, (a, b) in OUTPUTS.items()}
    book = Book(path, "run", "base", "ann")
    found = tally(book, turned)
    assert (found.wins, found.losses, found.outdated, found.waiting) == (1, 2, 0, 37)
    assert not {0, 1, 2} & set(book.waiting(turned))


def test_answers_that_only_look_alike_are_told_apart() -> None:
    assert mark("ab", "c") != mark("a", "bc")
    assert mark("a", "b") != mark("b", "a")
    assert mark("\ud800", "b") == mark("\ud800", "b")


# -- headless ---------------------------------------------------------------------------------------------------------
def test_compare_votes_prints_the_tally(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "studio" / "runs" / "run"
    files.write(run / "recipe.yaml", "task: sft\nmodel: demo\ndata:\n  train: demo\n")
    words = ["compare", "run", "--votes", "--workspace", str(tmp_path / "studio")]
    assert main(words) == 1
    assert "Nobody has voted yet. Open the studio" in capfd.readouterr().err
    for arm, place in (("base", 0), ("run", 1)):
        files.write_lines(
            run / "compare" / f"{arm}.jsonl",
            ({"row": row, "prompt": "p", "output": pair[place]} for row, pair in OUTPUTS.items()),
        )
    voted(run / "compare" / NAME, {row: "b" if row % 5 else "a" for row in range(30)} | {30: "tie"})
    assert main([*words, "--json"]) == 0
    (value,) = json.loads(capfd.readouterr().out)["pairs"]
    assert (value["a"], value["b"], value["wins"], value["losses"], value["ties"]) == ("base", "run", 24, 6, 1)
    assert value["enough"]
    assert value["verdict"] == "better"
    assert main(words) == 0
    text = capfd.readouterr().out
    assert "run is preferred to base." in text
    assert "80 % of 30 decided rows" in text
