"""Held-out rows that are trained: looked for in every epoch, in every run that is compared, and in the base's own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_tokenizer

from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Compare, Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.accepting import errors_of_rows, refuse
from ftstudio.engine.drawn import draw_more
from ftstudio.engine.every_epoch import every_epoch
from ftstudio.engine.leaking import leaks_of
from ftstudio.engine.materials import Materials, open_materials
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.tokenised import tokenised
from ftstudio.engine.worker import Worker
from ftstudio.evaluation.predictions import Prediction

WORDS = "red green blue cats dogs birds run sleep eat house tree river stone cloud lamp chair music paper glass"


def made(count: int, seed: int) -> list[dict[str, str]]:
    draw = random.Random(seed)
    words = WORDS.split()
    said = [" ".join(draw.choice(words) for _ in range(12)) for _ in range(2 * count)]
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
    assert "They stand in other" in check.text
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


@pytest.mark.parametrize("part", ["eval", "test"])
def test_a_replay_of_what_a_split_holds_out_is_found_before_the_start(folder: Path, part: str) -> None:
    replay = {"path": str(folder / "copy.jsonl"), "share": 0.5}  # the training rows under other names
    sizes = {"eval": None, "test": None} | {part: 0.25}
    materials = open_materials(recipe(folder, replay=replay, **sizes))
    kept = materials.held_out if part == "eval" else materials.test
    assert kept is not None
    asked = {materials.shape.example(row).prompt for row in kept.iter()}
    trained = {materials.shape.example(row).prompt for row in every_epoch(materials).iter()}
    assert asked <= trained
    (check,) = errors_of_rows(materials)
    assert (check.name, check.count) == ("exact_leak", len(asked))
    assert check.text.endswith(" They stand in copy (the replay, which no split parts).")
    with pytest.raises(StudioError, match=r"exact_leak: 12 rows .* They stand in copy"):
        refuse(materials.recipe, [check])
    refuse(materials.recipe.with_changes({"data.accepted": ["exact_leak"]}), [check])
    other = open_materials(recipe(folder, replay={**replay, "path": str(folder / "other.jsonl")}, **sizes))
    assert errors_of_rows(other) == []


def test_several_sources_that_a_split_parts_need_no_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [{"path": str(folder / name)} for name in ("train.jsonl", "copy.jsonl")]
    materials = open_materials(recipe(folder, train=both, eval=0.25))
    told = leaks_of(materials, answers(materials))
    assert (told["exact"], told["near"]) == (0, 0)  # equal prompts of both stand on one side
    monkeypatch.setattr("ftstudio.engine.accepting.run_checks", lambda *_, **__: pytest.fail("rows were read again"))
    assert errors_of_rows(materials) == []


def test_a_row_of_much_weight_is_no_ones_usual_wording(folder: Path) -> None:
    train, held = made(48, 1), made(12, 2)
    near = {"prompt": "Now " + held[0]["prompt"], "completion": held[0]["completion"], "_weight": 9}
    path = written(folder / "weighty.jsonl", [*train, near])  # type: ignore[list-item]
    materials = open_materials(recipe(folder, train=path, eval=str(folder / "held.jsonl")))
    assert len(materials.train) == 57
    told = leaks_of(materials, answers(materials))
    assert (told["near"], told["pairs"][0]["training"]) == (1, 48)


def trained(folder: Path, name: str, train: str, *, model: str = "", method: str = "lora", **data: Any) -> RunFolder:
    values = {
        "task": "sft", "model": model or str(folder / "weights"), "name": name, "method": {"name": method},
        "data": {"train": train, "max_length": 160, **data},
        "training": {"device": "cpu", "batch_size": 4, "steps": 3, "learning_rate": 1e-2, "save_best": False},
        "evaluation": {"every": 9, "samples": 0, "rows": 40, "forgetting": False, "max_new_tokens": 2,
                       "metrics": ["exact"]},
    }  # fmt: skip
    run = prepare_run(check_recipe(values), Workspace(folder / "studio"))
    Worker().execute(Train(run.path))
    assert run.state() == "done", run.events()[-1]
    return run


def compared(*runs: RunFolder, arms: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """(the leak as the report has it, the report in words)."""
    place = runs[0].compare
    Worker().execute(Compare(place.path, tuple(run.path for run in runs), arms=arms or None))
    assert place.state() == "done", place.events()[-1]
    report = json.loads((place.path / "report.json").read_text())
    return report["leak"], (place.path / "report.md").read_text()


def test_the_training_rows_of_every_run_compared_are_looked_through(folder: Path) -> None:
    make_model(folder / "weights", layers=1)
    held = folder / "held.jsonl"
    both = written(folder / "both.jsonl", [*made(48, 1), *made(12, 2)[:7]])
    clean = trained(folder, "clean", str(folder / "train.jsonl"), eval=str(held))
    dirty = trained(folder, "dirty", both, eval=str(held), accepted=["exact_leak"])
    alone, _ = compared(clean)
    assert (alone["rows"], "runs" in alone) == ([], False)
    words = "7 of 12 held-out rows stand in the training rows of dirty-1 (7 exactly)"
    for runs in ((clean, dirty), (dirty, clean)):
        leak, text = compared(*runs)
        assert (leak["rows"], leak["exact"], leak["near"]) == (list(range(7)), 7, 0)
        assert leak["words"] == f"{words}: on those a good score proves nothing; none stands in those of clean-1"
        assert words in text
        assert {one["run"]: one["rows"] for one in leak["runs"]} == {"clean-1": [], "dirty-1": list(range(7))}
        assert {pair["run"] for pair in leak["pairs"]} == {"dirty-1"}
    mine, _ = compared(clean, arms=("base", "dirty-1"))  # the run whose rows are asked is no arm itself
    assert (mine["rows"], "runs" in mine) == (list(range(7)), False)


def test_rows_that_the_base_was_trained_on_are_found_along_the_chain(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTSTUDIO_WORKSPACE", str(folder / "studio"))
    make_model(folder / "weights", layers=1)
    old = written(folder / "old.jsonl", [*made(20, 4), *made(12, 2)[:5]])
    trained(folder, "a", old, method="full", eval=None)
    trained(folder, "b", str(folder / "train.jsonl"), model="run:a-1", method="full", eval=None)
    last = trained(folder, "c", str(folder / "train.jsonl"), model="run:b-1", eval=str(folder / "held.jsonl"))
    leak, text = compared(last)
    words = "5 of 12 held-out rows stand in the training rows of a-1, which another is built on (5 exactly)"
    assert (leak["rows"], leak["unseen"]) == (list(range(5)), [])
    assert words in leak["words"]
    assert words in text
    assert [(one["run"], one["base"]) for one in leak["runs"]] == [("c-1", False), ("b-1", True), ("a-1", True)]
    written(folder / "old.jsonl", made(3, 9))
    leak, text = compared(last)
    assert leak["rows"] == []
    assert [one["run"] for one in leak["unseen"]] == ["a-1"]
    assert "no held-out row stands in the training rows; those of a-1" in leak["words"]
    assert "can't be looked into" in text
    assert "has changed since" in text
