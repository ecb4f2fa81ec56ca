"""Files of a model that change while the studio is open: what is kept in memory never answers for others."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_engine_one_load import adapted
from tiny_models import make_model

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.engine import hub_cache, marks, reloading
from ftstudio.engine.arms import BASE, Arms, Tuned
from ftstudio.engine.loading import ModelSpec
from ftstudio.engine.models import Loaded, ModelStore
from ftstudio.engine.recipes import load_recipe

torch = pytest.importorskip("torch")


def recipe(model: Path | str, method: str = "lora") -> Recipe:
    training = {"device": "cpu", "precision": "fp32"}
    return Recipe.model_validate({"model": str(model), "method": method, "data": {"train": "x"}, "training": training})


def said(model: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[1, 2, 3, 4]])).logits


def test_a_base_whose_files_have_changed_is_read_again(tmp_path: Path):
    folder, store = make_model(tmp_path / "model"), ModelStore()
    before = store.base(recipe(folder)).model
    assert store.base(recipe(folder)).model is before
    whole = store.tuned_from(folder, recipe(folder, "full"), "it").model  # a copy of the same
    old = said(before)
    assert torch.equal(said(whole), old)
    other = make_model(tmp_path / "other", seed=1)
    (other / "model.safetensors").rename(folder / "model.safetensors")
    assert not torch.allclose(said(store.base(recipe(folder)).model), old)
    assert not torch.allclose(said(store.tuned_from(folder, recipe(folder, "full"), "it").model), old)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"repetition_penalty": 1.5}))
    assert store.base(recipe(folder)).model.generation_config.repetition_penalty == 1.5


@pytest.mark.slow
def test_weights_that_change_while_they_answer_end_the_job(tmp_path: Path):
    """Its settings name the weights that it began with. The next job reads the new ones, of an adapter too."""
    run, store = adapted(tmp_path, 5.0), ModelStore()
    settings = load_recipe(run.recipe_path)

    def job() -> tuple[Arms, Any]:
        arms = Arms(store, settings, [Tuned(run.name, run, settings)])
        with arms.use(run.name) as model:
            found = said(model)
        with arms.use(BASE), arms.use(run.name):
            return arms, found

    arms, old = job()
    weights = next(Path(settings.model).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes())
    with pytest.raises(StudioError, match="changed while"), arms.use(run.name):
        pass
    arms, found = job()
    assert torch.equal(found, old)
    path = run.model / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 32}))
    with pytest.raises(StudioError, match="changed while"), arms.use(run.name):
        pass
    assert not torch.allclose(job()[1], old)


def test_a_model_of_the_hub_is_known_by_the_snapshot_that_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_cache, "cache_folder", lambda: tmp_path)
    entry = tmp_path / "models--owner--name"
    for commit in ("one", "two"):
        make = entry / "snapshots" / commit
        make.mkdir(parents=True)
        (make / "config.json").write_text("{}")
    (entry / "refs").mkdir()
    found = []
    for commit in ("one", "two", "one"):
        (entry / "refs" / "main").write_text(commit)
        found.append(marks.stamp("owner/name"))
    assert found[0] == found[2] != found[1]


class Changed:
    """Models whose base was other files when it was trained."""

    def __init__(self, files: marks.Stamp) -> None:
        self.trained_on: marks.Stamp = (("old", 0, 0),)
        self.loaded = Loaded(None, "cpu", ModelSpec("m", "float32", "cpu"), "adapter", files)

    def tuned(self, run: RunFolder, recipe: Recipe) -> Any:
        return SimpleNamespace(**vars(self.loaded), shares_base=True, as_tuned=lambda: nullcontext(None))


def test_a_base_that_changed_while_it_was_trained_is_why_the_adapter_says_something_else(tmp_path: Path):
    run = RunFolder(tmp_path)
    for files, why in (((("new", 0, 0),), "changed while it was trained"), ((("old", 0, 0),), "differs from")):
        with pytest.raises(StudioError, match=why):
            reloading.check(Changed(files), run, recipe("m"), lambda _: torch.ones(3), torch.zeros(3))  # type: ignore[arg-type]
    assert reloading.check(Changed((("new", 0, 0),)), run, recipe("m"), lambda _: torch.ones(3), torch.ones(3)) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_a_saved_model_that_can_not_be_read_back_for_want_of_memory_is_told_of(tmp_path: Path, error: Exception):
    """Nothing else that may be wrong with it is taken for that."""
    run, freed = RunFolder(tmp_path), []

    class Full(Changed):
        def tuned(self, run: RunFolder, recipe: Recipe) -> Any:
            raise StudioError("m can't be loaded.", "") from error

        def unload(self) -> None:
            freed.append(1)

    found = reloading.check(Full(()), run, recipe("m"), lambda _: torch.ones(3), torch.ones(3))  # type: ignore[arg-type]
    assert found is None
    [told] = run.events()
    assert (told["kind"], told["level"]) == ("alert", "warning")
    assert "was not read back" in told["text"]
    assert freed
    error = ZeroDivisionError("no such thing")
    with pytest.raises(StudioError, match="can't be loaded"):
        reloading.check(Full(()), run, recipe("m"), lambda _: torch.ones(3), torch.ones(3))  # type: ignore[arg-type]
