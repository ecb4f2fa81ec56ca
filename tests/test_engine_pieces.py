"""Batches drawn at random, padded in pieces: the fewest padded tokens; what is learnt is that of the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_model

from ftstudio.engine import pieces
from ftstudio.engine.order import LengthGrouped, Shuffled

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=9)


def cost_of(sizes: list[int], ordered: list[int], cost: float) -> float:
    found, start = 0.0, 0
    for size in sizes:
        found += size * max(ordered[start : start + size]) + cost
        start += size
    return found


def ways(count: int) -> Any:
    """All ways to cut so many rows."""
    if not count:
        yield []
    for first in range(1, count + 1):
        for rest in ways(count - first):
            yield [first, *rest]


@given(lengths, st.floats(0, 400))
@settings(max_examples=40, deadline=None)
def test_no_other_cut_costs_less(some: list[int], cost: float):
    ordered = sorted(some, reverse=True)
    found = pieces.cuts(ordered, cost)
    assert sum(found) == len(some)
    least = min(cost_of(way, ordered, cost) for way in ways(len(some)))
    assert cost_of(found, ordered, cost) == pytest.approx(least)


@given(
    st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=8), min_size=1, max_size=8),
    st.floats(0, 400),
    st.sampled_from([0.0, 0.5, 20.0]),
)
@settings(max_examples=60, deadline=None)
def test_the_heaviest_piece_is_found(several: list[list[int]], cost: float, worth: float):
    flat = [length for rows in several for length in rows]
    starts = [sum(map(len, several[:place])) for place in range(len(several))]
    batches = [list(range(start, start + len(rows))) for start, rows in zip(starts, several, strict=True)]

    asked = [(7 * length) % 50 for length in flat]

    def padded(rows: list[int]) -> float:
        return len(rows) * max(flat[row] for row in rows) + worth * sum(asked[row] for row in rows)

    batch, piece = pieces.heaviest(batches, flat, cost, asked if worth else None, worth)
    every = [one for rows in batches for one in pieces.parted(rows, flat.__getitem__, cost)]
    assert padded(piece) == pytest.approx(max(map(padded, every)))
    assert set(piece) <= set(batch)


def test_a_pass_is_dear_for_a_small_model_on_a_gpu_alone():
    assert pieces.dear("cpu", 22_000_000) == pieces.dear("cpu", 8_000_000_000) < 100
    assert pieces.dear("cuda", 22_000_000) > 10_000 > 100 > pieces.dear("cuda", 8_000_000_000)


def test_a_token_of_a_short_row_counts_as_much_as_one_of_a_long_row():
    """What grouping by length is not used for: the weight of a token in a step is 1 over the tokens of its batch."""
    sizes = [4, 64] * 320
    weight = {}
    for kind in (Shuffled, LengthGrouped):
        each: dict[int, list[float]] = {4: [], 64: []}
        for epoch in range(1, 4):
            for rows in kind(sizes, 16, 0).batches(epoch):
                total = sum(sizes[row] for row in rows)
                for row in rows:
                    each[sizes[row]].append(1 / total)
        weight[kind] = (sum(each[4]) / len(each[4])) / (sum(each[64]) / len(each[64]))
    assert weight[Shuffled] == pytest.approx(1, abs=0.15)
    assert weight[LengthGrouped] > 10


def test_the_heaviest_batch_of_the_first_epoch_comes_first():
    sizes = [(7 * place) % 97 + 1 for place in range(400)]
    order = Shuffled(sizes, 8, 3)
    sums = [sum(sizes[row] for row in rows) for rows in order.batches(0)]
    assert sums[0] == max(sums)
    assert sorted(order.order(0)) == sorted(order.order(1)) == list(range(400))
    assert order.order(0) != order.order(1)


ROWS = [
    {"input_ids": [3 + (place * number) % 250 for number in range(1, size)], "row": place}
    for place, size in enumerate((60, 4, 9, 31, 33, 5, 58, 7))
]


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_pieces_teach_what_the_whole_batch_teaches(tmp_path: Path, parts: int):
    """Losses, rows and gradients of a batch in pieces, and of those cut further where memory won't do."""
    import torch
    from transformers import AutoModelForCausalLM

    from ftstudio.engine.collate import Collator, split, trained
    from ftstudio.engine.loss import Objective
    from ftstudio.engine.row_losses import RowLosses, numbered

    rows = [{**row, "labels": row["input_ids"]} for row in ROWS]
    model = AutoModelForCausalLM.from_pretrained(make_model(tmp_path), attn_implementation="sdpa").eval()
    objective = Objective("mask")

    def learnt(batch: dict[str, Any]) -> tuple[dict[int, float], torch.Tensor]:
        losses, done = RowLosses(), 0
        model.zero_grad()
        for part in split(batch, parts):
            each: list[torch.Tensor] = []
            part["rows"] = batch["rows"][done : done + len(part["lengths"])]
            done += len(part["rows"])
            (objective(model, part, each) / trained(batch)).backward()
            losses.add(part, each)
        numbers, _, sums = losses.sums()
        gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
        return dict(zip(numbers, sums, strict=True)), gradient

    whole = numbered(Collator(258))(rows)
    cut = pieces.pieced(numbered(Collator(258)), 8.0)(rows)
    assert 2 <= len(cut["pieces"]) < 8
    assert sum(piece["input_ids"].numel() for piece in cut["pieces"]) < 0.7 * whole["input_ids"].numel()
    assert sorted(cut["lengths"]) == sorted(whole["lengths"])
    assert (cut["tokens"], int(trained(cut))) == (whole["tokens"], int(trained(whole)))
    (losses, gradient), (wanted, exact) = learnt(cut), learnt(whole)
    assert losses == pytest.approx(wanted, abs=1e-4)
    assert torch.allclose(gradient, exact, atol=1e-6, rtol=1e-4)
    assert "pieces" not in pieces.pieced(Collator(258), 1e9)(rows)  # where one more pass costs more than it saves
