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


def with_prompt(model: Any, **settings: Any) -> Any:
    """MODEL with a soft prompt that says something, and no dropout."""
    import torch

    from ftstudio import methods

    torch.manual_seed(1)
    for weight in model.parameters():  # far from what it is drawn as: else all that it says is nearly the same
        weight.data.mul_(4)
    method = methods.get("prompt")
    return method.apply(model, method.settings({"tokens": 4, **settings})).eval()


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
@pytest.mark.parametrize("zoo", ["gpt2", "gemma3", "llama"])
def test_rows_in_a_batch_are_answered_as_each_alone(zoo: str, kind: str):
    """gpt2 has learnt positions, gemma3 windows of 4 tokens."""
    from tiny_zoo import make

    from ftstudio.engine.adapters import off
    from ftstudio.engine.generation import Decoding, generate

    model = with_prompt(make(zoo)[0], kind=kind)
    prompts = [[9, 30, 51], [12, 13, 70, 40, 22, 61, 33, 9, 10], [77], [18, 60, 60, 41, 30]]

    def answers(asked: list[list[int]]) -> dict[int, tuple[int, ...]]:
        found = generate(model, asked, Decoding(max_new_tokens=8), [], limits=(999, 9))
        return {answer.index: answer.token_ids for batch in found for answer in batch}

    together = answers(prompts)
    assert [together[place] for place in range(4)] == [answers([prompt])[0] for prompt in prompts]
    import torch

    for place, prompt in enumerate(prompts):  # and as what the loss is taken of: prompt, row and answer in one
        ids = torch.tensor([[*prompt, *together[place]]])
        with torch.no_grad():
            said = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -9:-1].argmax(-1)
        assert tuple(said.tolist()) == together[place]
    with off(model):
        assert answers(prompts) != together


@pytest.mark.parametrize("kind", ["prompt", "p-tuning", "prefix"])
def test_an_encoder_decoder_with_a_soft_prompt_is_watched_while_it_writes(kind: str):
    """peft copies what it is to generate by: a lock can't be, and a copy would tell nobody."""
    from threading import Event

    from tiny_zoo import make

    from ftstudio.engine.generation import Decoding, generate

    model, stop, told = with_prompt(make("t5")[0], kind=kind), Event(), []
    found = generate(
        model, [[9, 30, 51], [12, 13, 70, 40]], Decoding(max_new_tokens=5), [], should_stop=stop.is_set,
        tick=told.append,
    )  # fmt: skip
    assert [len(answer.token_ids) for batch in found for answer in batch] == [5, 5]
    assert told == [2] * 5


@pytest.mark.parametrize("zoo", ["GPT2", "Llama"])
def test_a_decoder_that_classifies_reads_a_rows_own_last_token(zoo: str):
    import torch
    import transformers
    from tiny_zoo import make

    from ftstudio.engine.last_token import find_without_ids
    from ftstudio.tasks.padding import padded_inputs

    config = make(zoo.lower())[0].config
    config.num_labels = 3
    base = getattr(transformers, f"{zoo}ForSequenceClassification")(config).eval()
    find_without_ids(base)
    model = with_prompt(base)
    rows = [{"input_ids": [9, 30, 51]}, {"input_ids": list(range(20, 40))}, {"input_ids": [77]}]
    together = model(**padded_inputs(rows, 0)).logits
    alone = torch.cat([model(**padded_inputs([row], 0)).logits for row in rows])
    assert float((together - alone).detach().abs().max()) < 1e-5
    soft = model.prompt_encoder["default"].embedding.weight
    slopes = [torch.autograd.grad(said.sum(), soft)[0] for said in (together, alone)]
    assert float((slopes[0] - slopes[1]).abs().max()) < 1e-4 * float(slopes[1].abs().max())
