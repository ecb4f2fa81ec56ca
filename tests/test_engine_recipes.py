"""Recipes as the engine reads them: names checked, paths found, presets valid."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ftstudio import methods, tasks
from ftstudio.core import recipe_file
from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import PRESETS
from ftstudio.engine.recipes import check_recipe, load_recipe, parse_recipe

PRESET_NAMES = ("sft-lora", "sft-qlora", "sft-adapter", "sft-prompt", "sft-freeze", "sft-full")


def written(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n", "utf-8")
    return path


def test_paths_are_seen_from_the_recipe_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        touched(folder / "data/rows.jsonl")
    touched(here / "only-here.jsonl")
    (there / "models/tiny").mkdir(parents=True)
    monkeypatch.chdir(here)
    text = "model: models/tiny\ndata: {train: data/rows.jsonl, eval: only-here.jsonl}\nmethod: full\n"
    recipe = load_recipe(written(there, text))
    assert recipe.data.train == str(there / "data/rows.jsonl")
    assert recipe.data.eval == str(here / "only-here.jsonl")
    assert recipe.model == str(there / "models/tiny")


def test_paths_in_overrides_are_seen_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "he: re", tmp_path / "there"
    for folder in (here, there):
        touched(folder / "rows.jsonl")
    monkeypatch.chdir(here)
    path = written(there, "model: demo\ndata: {train: rows.jsonl}\n")
    assert load_recipe(path).data.train == str(there / "rows.jsonl")
    assert load_recipe(path, ["data.train=rows.jsonl"]).data.train == str(here / "rows.jsonl")
    assert load_recipe(path, ["data.eval=0.2"]).data.eval == 0.2


def test_a_path_with_dots_becomes_short_but_links_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = touched(tmp_path / "real/deep/rows.jsonl")
    (tmp_path / "link").symlink_to(real.parent)
    touched(tmp_path / "a/rows.jsonl")
    monkeypatch.chdir(tmp_path)
    recipe = parse_recipe("model: demo\ndata: {train: a/../link/rows.jsonl}\n")
    assert recipe.data.train == str(tmp_path / "link/rows.jsonl")
    touched(tmp_path / "real/other.jsonl")  # through the link, `..` is real/, not the folder the link lies in
    recipe = parse_recipe("model: demo\ndata: {train: link/../other.jsonl}\n")
    assert Path(recipe.data.train).samefile(tmp_path / "real/other.jsonl")


def test_what_is_ours_or_on_the_hub_stays_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "static").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = parse_recipe("model: demo\ndata: {train: demo}\nevaluation: {similarity: static}\n", folder=tmp_path)
    assert (recipe.model, recipe.data.train, recipe.evaluation.similarity) == ("demo", "demo", "static")
    assert parse_recipe("model: owner/name\ndata: {train: owner/rows}\n").model == "owner/name"


def test_finding_paths_sets_nothing_else(tmp_path: Path) -> None:
    touched(tmp_path / "rows.jsonl")
    recipe = parse_recipe("model: demo\ndata: {train: rows.jsonl}\n", folder=tmp_path)
    assert recipe.model_fields_set == {"model", "data", "method"}
    assert recipe.data.model_fields_set == {"train"}
    assert check_recipe(recipe.plain()) == recipe


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("model: demo\ndata: {train: x}\ntask: stf\n", ("recipe.yaml, line 3: task", "'stf'", "sft")),
        ("model: demo\ndata: {train: x}\nmethod: qlra\n", ("method", "'qlra'", "Did you mean 'qlora'")),
        ("model: demo\ndata: {train: x}\nmethod:\n  name: lora\n  rr: 8\n", ("line 5: method.rr", "no such key")),
        ("model: demo\ndata: {train: x}\nmethod: {name: full, r: 8}\n", ("method.r", "no such key")),
        ("model: demo\ndata: {train: x}\nmethod: {name: lora, r: 0}\n", ("method.r", "at least 1")),
        ("model: demo\n", ("data", "missing")),
        ("- a\n- b\n", ("no recipe",)),
        ("model: [demo\n", ("line 2",)),
    ],
)
def test_faults_are_named_with_place_and_way_out(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe(written(tmp_path, text))
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.code == 2


@pytest.mark.parametrize("name", ["missing.yaml", "bytes.yaml", "."])
def test_a_file_that_is_no_recipe(tmp_path: Path, name: str) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"model: \xff\xfe\n")
    with pytest.raises(UsageError) as caught:
        load_recipe(tmp_path / name)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_presets_are_valid_and_say_what_to_change(name: str) -> None:
    path = PRESETS / f"{name}.yaml"
    recipe = load_recipe(path, ["model=demo", "data.train=demo"])
    assert recipe.method.name == name.removeprefix("sft-")
    text = path.read_text("utf-8")
    changes = [line.split(":")[0].strip() for line in text.splitlines() if "CHANGE ME" in line]
    assert changes == ["model", "train"]


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_presets_name_every_key_with_a_comment(name: str) -> None:
    text = (PRESETS / f"{name}.yaml").read_text("utf-8")
    lines = text.splitlines()
    recipe = load_recipe(PRESETS / f"{name}.yaml")
    settings = methods.get(recipe.method.name).model.model_fields
    known = {"task", "model", "name", *settings}
    for section in ("data", "training", "evaluation"):
        known |= set(Recipe.model_fields[section].annotation.model_fields)  # type: ignore[union-attr]
    known -= {"steps", "name"}  # steps is named beside epochs; a name is for one run, not for a preset
    for key in known:
        found = [line for line in lines if line.strip().removeprefix("# ").startswith(f"{key}:")]
        assert found, f"{name}: {key} is not shown"
        assert all("#" in line.split(":", 1)[1] for line in found), f"{name}: {key} has no comment"
    defaults = recipe_file.check(
        {"model": "m", "data": {"train": "t"}, "method": recipe.method.name}, "", methods.models(), tasks.models()
    )
    # every key that is left as a comment shows what the default means, so switching it on must be valid too
    on = "\n".join(line.replace("# ", "", 1) if line.startswith("  # ") else line for line in lines)
    assert parse_recipe(on).data.columns is not None
    assert defaults.method.name == recipe.method.name


def test_reading_recipes_imports_neither_torch_nor_a_screen(tmp_path: Path) -> None:
    path = written(tmp_path, "model: demo\ndata: {train: demo}\n")
    code = (
        "import sys, json; from ftstudio.engine.recipes import load_recipe; import ftstudio.engine.prepare;"
        f"load_recipe({str(path)!r}); print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "datasets", "textual"} & set(json.loads(out))


TASK_PRESETS = sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem not in (*PRESET_NAMES, "demo"))


@pytest.mark.parametrize("name", TASK_PRESETS)
def test_presets_of_tasks_are_valid_and_every_key_has_a_comment(name: str) -> None:
    lines = (PRESETS / f"{name}.yaml").read_text("utf-8").splitlines()
    recipe = load_recipe(PRESETS / f"{name}.yaml")
    assert recipe.task == name
    changes = [line.split(":")[0].strip() for line in lines if "CHANGE ME" in line]
    assert changes == ["model", "train"]
    for line in lines:
        key, colon, value = line.strip().partition(":")
        if colon and value.strip() and not key.startswith("#"):
            assert " # " in value, f"{name}: {key} has no comment"
    shown = {line.strip().split(":")[0] for line in lines}
    assert set(tasks.get(name).options_model.model_fields) <= {key.removeprefix("# ") for key in shown}
    on = "\n".join(line.replace("# ", "", 1) if line.startswith("  # ") else line for line in lines)
    assert parse_recipe(on).task == name  # keys that are left as comments are valid too


def test_every_task_and_method_has_a_preset() -> None:
    names = {path.stem for path in PRESETS.glob("*.yaml")}
    assert {name for name in tasks.names() if name != "sft"} <= names
    assert {f"sft-{name}" for name in methods.names()} <= names
