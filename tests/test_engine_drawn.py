"""A source that an epoch holds a part of: each epoch draws other rows of it, the same again for the same recipe."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from ftstudio.data.mix import SOURCE
from ftstudio.engine.drawn import Drawn, draw_more
from ftstudio.engine.materials import Materials, open_materials
from ftstudio.engine.order import Mixed, Shuffled
from ftstudio.engine.prepare import resolve
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.tokenised import tokenised


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Twenty rows of one source and ninety of another, as many of each an epoch; and a text that is trained along."""
    folder = tmp_path_factory.mktemp("mixed")
    sources = []
    for name, count in (("few", 20), ("many", 90)):
        rows = [{"prompt": f"{name} {n}?", "completion": f"it is {n}" + " so" * (n % 7)} for n in range(count)]
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources.append({"path": str(path), "weight": 1})
    (folder / "general.txt").write_text("\n".join(f"Sentence number {n} of a text." for n in range(30)))
    replay = {"path": str(folder / "general.txt"), "share": 0.1}
    return {"model": "demo", "data": {"train": sources, "eval": None, "replay": replay}, "training": {"epochs": 5}}


def opened(values: dict[str, Any], **more: Any) -> tuple[Materials, Drawn, list[int]]:
    """(the materials, what is drawn of them, the number in the data of each row that is trained)."""
    recipe = check_recipe({**values, **more})
    materials = open_materials(recipe)
    train = tokenised(materials, keep=False)
    drawn, later, told = draw_more(materials, train)
    assert drawn is not None
    assert not told
    return materials, drawn, [*(materials.train.origin_of(row) for row in train.rows), *later]


def test_each_epoch_draws_other_rows_until_all_were_seen(mixed: dict[str, Any]) -> None:
    materials, drawn, numbers = opened(mixed)
    assert "many, general: each epoch draws other rows" in materials.notes[-1]
    sources = [materials.whole[number][SOURCE] for number in numbers]
    first = [sources[at] for at in drawn.numbers(0)]
    assert Counter(first) == {"few": 20, "many": 20, "general": 4}
    seen: Counter[int] = Counter()
    for epoch in range(5):
        here = drawn.numbers(epoch)
        assert [sources[at] for at in here] == first  # a place belongs to its source
        seen.update(numbers[at] for at in here)
        if epoch == 3:
            assert {seen[row] for row in range(20, 110)} == {0, 1}  # 80 of the 90, none twice
    assert [seen[row] for row in range(20)] == [5] * 20
    assert set(Counter(seen[row] for row in range(20, 110)).items()) == {(1, 80), (2, 10)}
    assert sum(seen[row] for row in range(110, 140)) == len({row for row in seen if row >= 110}) == 20


def test_what_stands_where_follows_from_the_epoch_alone(mixed: dict[str, Any]) -> None:
    _, one, numbers = opened(mixed)
    _, other, again = opened(mixed)
    assert numbers == again
    order = Shuffled(one.longest, 4, 0, one.at)
    order.set_epoch(3)
    late = [one[place] for place in order]
    resumed = Shuffled(other.longest, 4, 0, other.at)  # in another process, without the epochs before
    resumed.set_epoch(3)
    assert [other[place] for place in resumed] == late
    assert late != list(one.all.parts[0])
    _, different, others = opened(mixed, training={"epochs": 5, "seed": 1})
    assert [others[at] for at in different.numbers(1)] != [numbers[at] for at in one.numbers(1)]


def test_batches_keep_about_their_size_and_rows_their_texts(mixed: dict[str, Any]) -> None:
    _, drawn, _ = opened(mixed)
    sizes = np.array([[len(drawn.all[at]["input_ids"]) for at in drawn.numbers(epoch)] for epoch in range(5)])
    assert (sizes.max(0) == drawn.longest).all()
    assert np.abs(sizes.sum(1) / sizes[0].sum() - 1).max() < 0.1
    texts = [(at,) for at in range(len(drawn.all))]
    asked: list[int] = []
    order = Mixed(drawn.longest, 4, 0, texts=lambda epoch: asked.append(epoch) or drawn.texts(texts, epoch))
    assert sorted(order.order(2)) == list(range(len(drawn)))
    assert asked == [0, 2] or asked == [2]
    assert drawn.texts(texts, 2) == [(at,) for at in drawn.numbers(2)]


def test_a_run_that_began_without_goes_on_without(mixed: dict[str, Any]) -> None:
    recipe = check_recipe(mixed)
    resolved, materials = resolve(recipe, check=False)
    assert materials.spare
    assert open_materials(resolved).spare == materials.spare
    facts = resolved.resolved or {}
    before = {**facts, "data": {key: value for key, value in facts["data"].items() if key != "drawn"}}
    old = open_materials(resolved.model_copy(update={"resolved": before}))
    assert not old.spare
    assert old.train.origin == materials.train.origin
    assert "the same rows in every epoch" in old.notes[-1]
    few = {**mixed, "data": {**mixed["data"], "limit": 10}}
    assert not open_materials(check_recipe(few)).spare
    once, _, _ = draw_more(materials, tokenised(materials, keep=False))
    assert once is not None
    short = resolved.with_changes({"training.epochs": 1})
    alone = Materials(**{**materials.__dict__, "recipe": short})
    assert draw_more(alone, tokenised(materials, keep=False)) == (None, (), [])
