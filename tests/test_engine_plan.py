"""Plans against the real thing: parameters and bytes of loaded models, tokens of encoded rows, steps of Trainer."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core.recipe import Recipe
from ftstudio.engine.materials import open_materials
from ftstudio.engine.plan import nf4_bytes, optimizer_bytes, plan, steps_of
from ftstudio.engine.recipes import check_recipe

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("plan") / "model")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rows(tmp_path_factory.mktemp("plan") / "rows.jsonl", 120)


def changed(model: Path, rows: Path, method: str = "lora", /, **changes: Any) -> Recipe:
    return check_recipe(recipe_values(model, rows, method)).with_changes(changes)


def of(value: dict[str, Any], severity: str) -> list[str]:
    return [f"{p['key']}: {p['text']}" for p in value["problems"] if p["severity"] == severity]


@pytest.fixture(scope="module")
def gpt2(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2, whose layers are Conv1D instead of linear ones, with the tokenizer of MODEL."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("plan") / "gpt2"
    shutil.copytree(model, folder)
    GPT2LMHeadModel(GPT2Config(vocab_size=260, n_embd=64, n_layer=2, n_head=4, n_positions=256)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "method"), [("model", "lora"), ("model", "qlora"), ("model", "full"), ("gpt2", "qlora")]
)
def test_counts_and_bytes_are_those_of_the_loaded_model(
    request: pytest.FixtureRequest, rows: Path, kind: str, method: str
) -> None:
    model: Path = request.getfixturevalue(kind)
    from ftstudio import methods
    from ftstudio.engine import loading
    from ftstudio.engine.models import ModelStore

    recipe = changed(model, rows, method)
    value = plan(recipe)
    assert value["compatible"], value["problems"]
    chosen = methods.get(method)
    store = ModelStore()
    loaded = chosen.apply(store.to_train(recipe), chosen.settings(recipe.method.settings))
    assert value["parameters"] == loading.parameters(loaded)
    parts = value["memory"]["parts"]
    base = adapter = 0
    for name, parameter in loaded.named_parameters():
        if "lora_" in name:
            adapter += parameter.numel() * parameter.element_size()
        else:
            base += parameter.numel() * parameter.element_size()
            state = getattr(parameter, "quant_state", None)
            if state is not None:
                tensors = [state.absmax, state.code, state.state2.absmax, state.state2.code, state.offset]
                base += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert parts["weights"] == base
    assert parts["adapter"] == adapter
    learning = [p for p in loaded.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning)
    for parameter in learning:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = [v for state in optimizer.state.values() for k, v in state.items() if k != "step"]
    assert parts["optimizer"] == sum(tensor.numel() * tensor.element_size() for tensor in states)
    assert 0 <= parts["gradients"] <= sum(p.numel() * 4 for p in learning)  # those that lie there when most is held
    assert value["memory"]["moments"]["training"] == sum(parts.values())
    assert value["memory"]["estimated_bytes"] == max(value["memory"]["moments"].values())


@given(st.integers(1, 300_000), st.booleans())
def test_bytes_of_four_bit_weights_grow_with_their_blocks(count: int, double: bool) -> None:
    exact = count / 2 + (count / 64) * (1 + 4 / 256 if double else 4)
    assert exact <= nf4_bytes(count, double) <= exact + 1024 + 4 + 64 + 8


def test_bytes_of_eight_bit_states_are_bitsandbytes_own() -> None:
    import bitsandbytes as bnb

    for count in (100, 4095, 4096, 70_000):
        weight = torch.nn.Parameter(torch.zeros(count))
        optimizer = bnb.optim.AdamW8bit([weight], lr=1e-3)
        weight.grad = torch.ones(count)
        optimizer.step()
        state = optimizer.state[weight]
        names = [name for name in ("state1", "state2", "absmax1", "absmax2") if name in state]
        assert optimizer_bytes(count, "adamw_8bit") == sum(state[n].numel() * state[n].element_size() for n in names)


def test_tokens_are_those_that_are_trained(model: Path, rows: Path) -> None:
    recipe = changed(model, rows, **{"data.max_length": 48})
    value = plan(recipe)
    materials = open_materials(recipe)
    total = trained = lost = usable = 0
    for index in range(len(materials.train)):
        example = materials.shape.example(materials.train[index])
        encoded = materials.task.encode(example, materials.template, materials.tokenizer, 48)
        lost += encoded.lost
        if encoded.trained:
            usable += 1
            total += len(encoded.input_ids)
            trained += encoded.trained
    assert lost > 0
    assert 0 < usable < 96
    assert (value["tokens"]["total"], value["tokens"]["trained"], value["tokens"]["lost"]) == (total, trained, lost)
    assert value["rows"] == {"train": usable, "eval": 24, "test": 0, "excluded": 96 - usable}
    warnings = of(value, "warning")
    assert any("longer than 48 tokens" in text for text in warnings)
    assert any(f"{96 - usable} rows that would train nothing" in text for text in of(value, "error"))
    accepted = plan(changed(model, rows, **{"data.max_length": 48, "data.accepted": ["all_labels_masked"]}))
    assert accepted["compatible"]
    assert any("accepted: all_labels_masked" in text for text in of(accepted, "note"))


@given(st.integers(1, 500), st.integers(1, 9), st.integers(1, 7), st.sampled_from([0.5, 1.0, 1.3, 3.0]))
def test_steps_are_counted_as_trainer_does(rows: int, batch: int, accumulation: int, epochs: float) -> None:
    recipe = check_recipe(
        {
            "model": "demo",
            "data": {"train": "demo"},
            "training": {"epochs": epochs, "batch_size": batch, "gradient_accumulation": accumulation},
        }
    )
    batches = math.ceil(rows / batch)  # transformers.Trainer.set_initial_training_values
    updates = max(batches // accumulation + int(batches % accumulation > 0), 1)
    assert steps_of(recipe, [9] * rows) == math.ceil(epochs * updates)


def test_planned_steps_are_taken(model: Path, rows: Path, tmp_path: Path) -> None:
    from ftstudio.core.jobs import Train
    from ftstudio.core.workspace import Workspace
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.worker import Worker

    recipe = changed(
        model, rows, **{"training.steps": None, "training.epochs": 1.5, "training.gradient_accumulation": 5}
    )
    value = plan(recipe)
    run = prepare_run(recipe, Workspace(tmp_path / "studio"))
    Worker().execute(Train(run.path))
    start = next(event for event in run.events() if event["kind"] == "start")
    assert value["steps"] == start["total_steps"] == 8
    assert value["parameters"] == start["parameters"]
    for name in ("total", "trained", "lost"):
        assert value["tokens"][name] == start["tokens"][name]


CASES: list[tuple[dict[str, Any], str]] = [
    ({"data.max_length": 400}, "data.max_length: 400 tokens a row are more than the 256"),
    ({"training.device": "cuda"}, "training.device: the recipe asks for a GPU"),
    ({"training.precision": "fp16"}, "training.precision: fp16 needs a GPU"),
    ({"evaluation.max_new_tokens": 256}, "evaluation.max_new_tokens"),
    ({"model": "/nowhere/model"}, "model: "),
    ({"data.train": "/nowhere/rows.jsonl"}, "data.train: There is no file"),
    (
        {"method": {"name": "lora", "targets": ["q_prj"]}},
        "method.targets: the model has no linear layer 'q_prj'",
    ),
]


@pytest.mark.parametrize(("changes", "words"), CASES, ids=[next(iter(case[0])) for case in CASES])
def test_what_cant_work_is_an_error_with_a_way_out(
    model: Path, rows: Path, changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftstudio.engine.compatibility.gpu_present", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    value = plan(changed(model, rows, **changes))
    assert not value["compatible"]
    errors = [problem for problem in value["problems"] if problem["severity"] == "error"]
    assert [f"{p['key']}: {p['text']}" for p in errors if f"{p['key']}: {p['text']}".startswith(words)], errors
    assert all(problem["hint"] for problem in errors)
    assert len(errors) == 1, errors


def edited(model: Path, tmp_path: Path, file: str, **changes: Any) -> Path:
    """A copy of MODEL with CHANGES in one of its JSON files."""
    copy = tmp_path / "edited"
    shutil.copytree(model, copy)
    values = json.loads((copy / file).read_text()) | changes
    (copy / file).write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return copy


def test_layers_that_an_adapter_cant_go_on_are_an_error(model: Path, rows: Path, tmp_path: Path) -> None:
    """Fused experts allow no dropout, Mamba's kernels no adapter on some of their layers: peft knows, and so do we."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"vocab_size": 260, "hidden_size": 64, "num_hidden_layers": 1, "max_position_embeddings": 256}
    for kind, own, key in (
        ("mixtral", {"intermediate_size": 64, "num_attention_heads": 4, "num_local_experts": 2}, "method.dropout"),
        ("mamba", {"state_size": 8}, "method.targets"),
    ):
        folder = tmp_path / kind
        shutil.copytree(model, folder)
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **own))
        made.save_pretrained(folder)
        value = plan(changed(folder, rows))
        assert not value["compatible"]
        [problem] = [problem for problem in value["problems"] if problem["severity"] == "error"]
        assert problem["key"] == key
        assert problem["hint"]
        fix = {"method.dropout": 0} if kind == "mixtral" else {"method.targets": ["in_proj"]}
        assert plan(changed(folder, rows, **fix))["compatible"]


def test_a_tokenizer_of_another_model_is_an_error(model: Path, rows: Path, tmp_path: Path) -> None:
    value = plan(changed(edited(model, tmp_path, "config.json", vocab_size=100), rows))
    assert not value["compatible"]
    assert any("but the model has only 100 tokens" in text for text in of(value, "error"))


def test_a_tokenizer_without_an_end_is_a_warning(model: Path, rows: Path, tmp_path: Path) -> None:
    copy = edited(model, tmp_path, "tokenizer_config.json", eos_token=None)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    (copy / "generation_config.json").unlink(missing_ok=True)
    value = plan(changed(copy, rows))
    assert any("no end token" in text for text in of(value, "warning"))


def test_an_encoder_decoder_is_refused(model: Path, rows: Path, tmp_path: Path) -> None:
    value = plan(changed(edited(model, tmp_path, "config.json", is_encoder_decoder=True), rows))
    assert any("encoder-decoder" in text for text in of(value, "error"))


def test_too_few_rows_to_judge_by_is_a_warning(model: Path, tmp_path: Path) -> None:
    value = plan(changed(model, make_rows(tmp_path / "few.jsonl", 20)))
    assert value["compatible"]
    assert any("under 20, no verdict" in text for text in of(value, "warning"))


def test_weights_that_cant_fit_are_refused(model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftstudio.engine.telemetry import Telemetry

    monkeypatch.setattr(Telemetry, "read", lambda self: {"ram_total": 10_000, "gpus": []})
    value = plan(changed(model, rows, **{"training.device": "cpu"}))
    assert any("alone take" in text for text in of(value, "error"))


def test_running_text_is_told_to_be_trained_whole(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"a line of text {n}"}) for n in range(60)))
    value = plan(changed(model, path))
    assert value["compatible"]
    assert value["tokens"]["trained"] == value["tokens"]["total"]
    assert any("all of its text is trained" in text for text in of(value, "note"))


def test_a_plan_beside_a_loading_worker_counts_right_and_disturbs_nothing() -> None:
    """transformers builds models under settings of the whole process; a thread that loads must not leak them here."""
    import threading

    from ftstudio.engine import loading, quiet
    from ftstudio.engine.locate import locate
    from ftstudio.engine.skeleton import skeleton, weight_problems

    quiet.libraries()
    recipe = check_recipe({"model": "demo", "data": {"train": "demo"}})
    counted = sum(parameter.numel() for parameter in skeleton(recipe).parameters())
    over, loads = threading.Event(), []

    def load() -> None:
        while not over.is_set():
            loads.append(loading.load(locate("demo"), loading.ModelSpec("demo", "bfloat16", "cpu")).dtype)

    worker = threading.Thread(target=load)
    worker.start()
    try:
        found = []
        while len(found) < 15 or len(loads) < 3:
            found.append((weight_problems(recipe), sum(p.numel() for p in skeleton(recipe).parameters())))
    finally:
        over.set()
        worker.join()
    assert all(entry == ([], counted) for entry in found)
    assert set(loads) == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32
