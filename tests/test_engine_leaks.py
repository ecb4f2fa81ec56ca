"""Held-out rows that are trained: looked for in every epoch, in every run that is compared, and in the base's own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_tokenizer

from ftstudio.core.errors import StudioError
from ftstudio.engine.accepting import errors_of_rows, refuse
from ftstudio.engine.drawn import draw_more
from ftstudio.engine.every_epoch import every_epoch
from ftstudio.engine.judging import leaks_of
from ftstudio.engine.materials import Materials, open_materials
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.tokenised import tokenised
from ftstudio.evaluation.predictions import Prediction

WORDS = "red green blue cats dogs birds run sleep eat house tree river stone cloud lamp chair music paper glass".split()


def made(count: int, seed: int) -> list[dict[str, str]]:
    draw = random.Random(seed)
    said = [" ".join(draw.choice(WORDS) for _ in range(12)) for _ in range(2 * count)]
    return [{"prompt": f"{seed} {a}?", "completion": b} for a, b in zip(said[::2], said[1::2], strict=True)]


def written(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's configuration and tokenizer, no weights: `model`; rows: `train`, `held`, `other` with those held out at
    its end, `copy` of the training rows under other names."""
    make_tokenizer(tmp_path / "model")
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 260, "hidden_size": 32,
              "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
              "max_position_embeddings": 256}  # fmt: skip
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    train, held = made(48, 1), made(12, 2)
    written(tmp_path / "train.jsonl", train)
    written(tmp_path / "held.jsonl", held)
    written(tmp_path / "other.jsonl", [*made(200, 3), *held])
    turned = [{"instruction": row["prompt"], "input": "", "output": row["completion"]} for row in train]
    written(tmp_path / "copy.jsonl", turned)
    return tmp_path


def recipe(folder: Path, training: dict[str, Any] | None = None, **data: Any) -> Any:
    values = {
        "task": "sft", "model": str(folder / "model"), "method": {"name": "lora", "r": 4},
        "data": {"train": str(folder / "train.jsonl"), "max_length": 160, **data},
        "training": {"device": "cpu", "batch_size": 4, "epochs": 45, **(training or {})},
    }  # fmt: skip
    return check_recipe(values)


def answers(materials: Materials) -> list[Prediction]:
    return [Prediction(row, one.prompt, one.reference or "", "x") for row, one in materials.examples()]


def replayed(folder: Path, **training: Any) -> Any:
    replay = {"path": str(folder / "other.jsonl"), "share": 0.1}
    return recipe(folder, training, eval=str(folder / "held.jsonl"), replay=replay)


def test_rows_that_only_later_epochs_draw_are_looked_through(folder: Path) -> None:
    materials = open_materials(replayed(folder))
    first = {materials.shape.example(row).prompt for row in materials.train.iter()}
    held = {row.prompt for row in answers(materials)}
    assert not held & first  # the first epoch alone is clean
    drawn, more, _ = draw_more(materials, tokenised(materials, keep=False))
    assert drawn is not None
    trained = {materials.shape.example(materials.whole[row]).prompt for row in more}
    assert len(held & trained) == 12
    (check,) = errors_of_rows(materials)
    assert (check.name, check.count) == ("exact_leak", 12)
    with pytest.raises(StudioError, match="exact_leak: 12 rows"):
        refuse(materials.recipe, [check])
    told = leaks_of(materials, answers(materials))
    assert (len(told["rows"]), told["exact"]) == (12, 12)
    for pair in told["pairs"]:  # numbered as all rows are
        same = materials.held_out_shape.example(materials.held_out[pair["row"]])  # type: ignore[index]
        assert materials.shape.example(materials.whole[pair["training"]]).prompt == same.prompt


def test_what_no_epoch_draws_is_no_leak(folder: Path) -> None:
    for epochs in (1, 2, 5):
        materials = open_materials(replayed(folder, epochs=epochs))
        rows = every_epoch(materials)
        _, more, _ = draw_more(materials, tokenised(materials, keep=False))
        assert [rows.origin_of(place) for place in range(len(rows))] == [*materials.train.origin, *more]  # type: ignore[misc]
    once = open_materials(replayed(folder, epochs=1))
    assert errors_of_rows(once) == []
    assert leaks_of(once, answers(once))["rows"] == []
    counted = open_materials(replayed(folder, epochs=None, steps=400))  # how many epochs these are isn't known yet
    assert len(every_epoch(counted)) == 48 + 212


def test_a_row_of_much_weight_is_no_ones_usual_wording(folder: Path) -> None:
    train, held = made(48, 1), made(12, 2)
    near = {"prompt": "Now " + held[0]["prompt"], "completion": held[0]["completion"], "_weight": 9}
    path = written(folder / "weighty.jsonl", [*train, near])  # type: ignore[list-item]
    materials = open_materials(recipe(folder, train=path, eval=str(folder / "held.jsonl")))
    assert len(materials.train) == 57
    told = leaks_of(materials, answers(materials))
    assert (told["near"], told["pairs"][0]["training"]) == (1, 48)
