"""Is it worth it, how does the model go with it, which rows are left out: told from files, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftstudio.core.workspace import Workspace
from ftstudio.engine import suits, task_fit, worth
from ftstudio.engine.answer import base_folder
from ftstudio.engine.hub_cache import cached_models
from ftstudio.engine.left_out import left_out
from ftstudio.engine.recipes import check_recipe

RECIPE = {"model": "demo", "data": {"train": "demo"}}


def test_rows_left_out_are_told_by_reason_with_their_numbers() -> None:
    rows = [(1, "2 tokens but 3 tags"), (4, "2 tokens but 3 tags"), (0, "the label is empty")]
    assert left_out(rows) == "2 tokens but 3 tags (rows 2, 5); the label is empty (row 1)"
    assert left_out([(row, "x") for row in range(9)]) == "x (rows 1, 2, 3, 4, 5, 6 and 3 more)"


def compared(folder: Path, arms: list[dict[str, Any]]) -> Workspace:
    """A workspace with a comparison of the demo's run in it."""
    workspace = Workspace(folder)
    run = workspace.runs_path / "demo-lora-1"
    (run / "compare").mkdir(parents=True)
    (run / "recipe.yaml").write_text(json.dumps(RECIPE))
    (run / "compare" / "report.json").write_text(json.dumps({"rows": 100, "arms": arms}))
    return workspace


def arm(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "base", "metrics": {"rougeL": value, "exact_match": value}, **more}


def test_known_scores_of_the_base_speak_for_or_against_training(tmp_path: Path) -> None:
    recipe = check_recipe(RECIPE)
    unknown = worth.told(recipe, Workspace(tmp_path / "none"), 40, 984_192)
    assert "isn't known yet" in unknown[0].text
    assert [said.sign for said in unknown] == ["note", "warn"]  # about 40 tokens a row want more than a million weights
    room = [said.text for said in worth.told(recipe, compared(tmp_path / "a", [arm("base", 0.2)]))]
    assert room[0] == "Exact match 0.200: the base as it is, on 100 held-out rows (comparison of demo-lora-1)."
    assert "fine-tuning is worth a try" in room[1]
    shots = compared(tmp_path / "b", [arm("base", 0.2), arm("base+3shot", 0.6, shots={"count": 3})])
    assert "+0.40 without any training" in worth.told(recipe, shots)[-1].text
    done = worth.told(recipe, compared(tmp_path / "c", [arm("base", 0.97)]))
    assert "little left to gain" in done[-1].text
    other = check_recipe({**RECIPE, "data": {"train": "demo", "eval": "other.jsonl"}})
    assert "isn't known yet" in worth.told(other, compared(tmp_path / "d", [arm("base", 0.97)]))[0].text


def test_answers_that_errors_kept_count_where_no_comparison_is_known(tmp_path: Path) -> None:
    recipe, workspace = check_recipe({**RECIPE, "evaluation": {"metrics": ["exact"]}}), Workspace(tmp_path)
    folder = base_folder(workspace, recipe).path
    folder.mkdir(parents=True)
    rows = [{"row": n, "prompt": f"p{n}", "reference": "yes", "output": "yes" if n < 3 else "no"} for n in range(12)]
    (folder / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [said.text for said in worth.told(recipe, workspace)] == [
        "Exact match 0.250: the base as it is, on 12 held-out rows (answers in Errors).",
        "The base leaves room to learn; base+3shot would tell if examples do: fine-tuning is worth a try.",
    ]
    (folder / "outputs.jsonl").write_text("no JSON\n")
    assert "isn't known yet" in worth.told(recipe, workspace)[0].text


def test_scores_of_other_rows_are_not_this_ones(tmp_path: Path) -> None:
    workspace = compared(tmp_path, [arm("base", 0.2)])
    run = workspace.runs()[0]
    for theirs, mine, known in (
        ({}, {}, True),
        ({"training": {"seed": 1}}, {"training": {"seed": 2}}, False),  # draws another share
        ({"data": {**RECIPE["data"], "test": 0.1}}, {"data": {**RECIPE["data"], "test": 0.2}}, False),
    ):  # fmt: skip
        run.recipe_path.write_text(json.dumps({**RECIPE, **theirs}))
        assert bool(worth.scores(check_recipe({**RECIPE, **mine}), workspace)) == known, theirs


def test_more_kinds_of_work_ask_for_a_larger_model() -> None:
    two = check_recipe({**RECIPE, "data": {"train": [{"path": "a.jsonl"}, {"path": "b.jsonl"}]}})
    assert "1 billion weights or more" in worth.told(two, None, 40)[-1].text
    assert "500 million weights or more" in worth.told(check_recipe(RECIPE), None, 40)[-1].text


def model(folder: Path, config: dict[str, Any], card: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if card:
        (folder / "README.md").write_text(card)
    return folder


def test_a_model_is_told_of_from_its_files(tmp_path: Path) -> None:
    config = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "max_position_embeddings": 512,
              "num_local_experts": 8, "quantization_config": {"quant_method": "awq"}}  # fmt: skip
    folder = model(tmp_path / "m", config, "---\nlicense: cc-by-nc-4.0\n---\n# m")
    told = {said.about: said for said in suits.told(str(folder), "sft", [10, 600, 30, 40])}
    assert "a decoder" in told["kind"].text
    assert "the longest 600: 25 % are longer and would be cut" in told["context"].text
    assert (told["licence"].sign, "cc-by-nc-4.0" in told["licence"].text) == ("warn", True)
    assert "quantised already (awq)" in told["quantise"].text
    assert "experts are fused" in told["misfit"].text
    assert told["tokenizer"].sign == "bad"


def test_models_in_the_hubs_cache_are_found(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--Qwen--Qwen3-0.6B" / "snapshots" / "abc"
    model(snapshot, {"architectures": ["Qwen3ForCausalLM"]})
    (snapshot / "model.safetensors").write_bytes(bytes(2048))
    (tmp_path / "models--no--config" / "snapshots" / "x").mkdir(parents=True)
    (tmp_path / "datasets--a--b").mkdir()
    [found] = cached_models(tmp_path)
    assert (found.name, found.folder, found.told) == ("Qwen/Qwen3-0.6B", snapshot, "Qwen3ForCausalLM, 2.0 KiB")
    assert cached_models(tmp_path / "nowhere") == []


def test_the_rows_named_are_held_against_every_task(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    path.write_text("".join(json.dumps({"body": f"lift {n} stuck", "queue": "ab"[n % 2]}) + "\n" for n in range(20)))
    found = task_fit.fits(str(path))
    assert found.best[0] == "text-classification"
    fit = found.by_task["text-classification"]
    assert (fit.columns, fit.row) == (
        {"text": "body", "label": "queue"}, (("text", "lift 0 stuck"), ("label", "a")),
    )  # fmt: skip
    assert found.by_task["token-classification"].problem == "no columns for tokens and tags among body, queue"
    assert task_fit.fits(str(tmp_path / "no.jsonl")).problem


def test_the_rows_named_are_read_as_the_recipe_says(tmp_path: Path) -> None:
    for name, word in (("en", "bird"), ("de", "Vogel")):
        (tmp_path / f"{name}.txt").write_text("".join(f"{word} {n}\n" for n in range(20)))
    english, reading = str(tmp_path / "en.txt"), {"pair": str(tmp_path / "de.txt")}
    assert task_fit.fits(english).by_task["seq2seq"].problem
    for data in (
        {"train": english, "reading": reading},
        {"train": [{"path": english, "reading": reading}]},
    ):
        values = {"data": data}
        source = task_fit.source_of(values)
        assert source == english
        found = task_fit.fits(source, task_fit.read_as(values)).by_task["seq2seq"]
        assert [text for _, text in found.row] == ["bird 0", "Vogel 0"]
    assert task_fit.fits(english, {"reading": {"nosuch": 1}}).problem


def test_labels_with_too_few_rows_are_named() -> None:
    from ftstudio import tasks
    from ftstudio.engine.plan_rows import rare_labels

    task = tasks.get("text-classification").bound({}, {"labels": ["a", "b", "c"], "counts": [90, 2, 3]})
    [found] = rare_labels(task)
    assert found.text == "2 of 3 labels have under 5 rows ('b' 2, 'c' 3): they are hardly learnt."
    few = tasks.get("few-shot-classification").bound({"shots": 4}, {"examples": {"a": [1, 2, 3, 4], "b": [7]}})
    assert "'b' 1" in rare_labels(few)[0].text
    assert rare_labels(tasks.get("sft")) == []
