"""Soft prompts in the engine: a run goes on exactly, whatever kind of method it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.soft_prompts import NETWORK
from ftstudio.engine.worker import Worker

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and rows."""
    folder = tmp_path_factory.mktemp("soft")
    return make_model(folder / "model"), make_rows(folder / "rows.jsonl")


def trained(made: tuple[Path, Path], method: dict[str, Any], folder: Path) -> RunFolder:
    """Four steps of METHOD with a checkpoint after two."""
    values = recipe_values(*made, steps=4, save_steps=2, learning_rate=1e-2)
    values |= {"method": method, "evaluation": {"every": 9, "samples": 0, "rows": 4, "forgetting": False}}
    run = prepare_run(check_recipe(values), Workspace(folder))
    Worker().execute(Train(run.path))
    assert run.state() == "done"
    return RunFolder(run.path)


def cut_off(run: RunFolder, step: int) -> None:
    """RUN as it lay on the disk right after its checkpoint of STEP."""
    shutil.rmtree(run.model)
    for path in (run.path / "checkpoints").iterdir():
        if path.name != f"checkpoint-{step}":
            shutil.rmtree(path)
    lines = (run.path / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    last = next(n for n, event in enumerate(events) if event["kind"] == "checkpoint" and event["step"] == step)
    (run.path / "events.jsonl").write_text("\n".join(lines[: last + 1]) + "\n")


def weights(run: RunFolder) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(next(run.model.glob("*model.safetensors")))


METHODS = {
    "p-tuning": {"name": "prompt", "kind": "p-tuning", "tokens": 4},
    "projected": {"name": "prompt", "kind": "prefix", "tokens": 4, "projection": True},
    "lstm": {"name": "prompt", "kind": "p-tuning", "tokens": 4, "encoder": "lstm"},
    "prefix": {"name": "prompt", "kind": "prefix", "tokens": 4},
    "prompt": {"name": "prompt", "tokens": 4},
    "full": {"name": "full"},
    "freeze": {"name": "freeze", "layers": 1},
    "lora+": {"name": "lora", "r": 4, "lora_plus": 16, "modules_to_save": ["lm_head"]},
    "dora": {"name": "lora", "r": 4, "dora": True},
    "pissa": {"name": "lora", "r": 4, "init": "pissa"},
    "qlora": {"name": "qlora", "r": 4},
    "houlsby": {"name": "adapter", "kind": "houlsby"},
    "ia3": {"name": "adapter", "kind": "ia3"},
}
QUICK = ("p-tuning", "projected")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=slow) for name in METHODS])
def test_a_run_goes_on_as_if_it_had_never_been_cut_off(made: tuple[Path, Path], tmp_path: Path, name: str):
    run = trained(made, METHODS[name], tmp_path)
    straight = weights(run)
    assert not (run.model / NETWORK).exists()  # to answer with, the vectors are enough
    cut_off(run, 2)
    Worker().execute(Train(run.path, resume=True))
    again = RunFolder(run.path)
    assert again.state() == "done", again.events()[-1]
    assert [event["step"] for event in again.events() if event["kind"] == "step"] == [1, 2, 3, 4]
    for key, value in weights(again).items():
        assert float((value.float() - straight[key].float()).abs().max()) == 0, key
