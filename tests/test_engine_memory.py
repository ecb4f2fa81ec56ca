"""Memory from the configuration alone, against the bytes a real step holds; whether it fits; how it gets smaller."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from held_bytes import held
from tiny_models import (
    WORDS,
    make_encoder,
    make_labelled,
    make_model,
    make_rows,
    make_sentence_encoder,
    recipe_values,
)

from ftstudio import methods
from ftstudio.core.recipe import Recipe
from ftstudio.engine import fit, loads
from ftstudio.engine.recipes import check_recipe

torch = pytest.importorskip("torch")

LAYERS, BATCH = 5, 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    make_model(folder / "model", layers=LAYERS, hidden_size=64)
    make_model(folder / "deep", layers=7, hidden_size=64)
    make_rows(folder / "rows.jsonl", 60)
    return folder


def changed(base: Path, method: str, **training: Any) -> Recipe:
    values = recipe_values(base / "model", base / "rows.jsonl", method, **training)
    return check_recipe(values)


@pytest.mark.parametrize(
    ("method", "training"),
    [
        pytest.param("full", {}, marks=pytest.mark.slow),
        ("full", {"gradient_accumulation": 2}),
        pytest.param("lora", {}, marks=pytest.mark.slow),
        pytest.param("lora", {"gradient_checkpointing": True}, marks=pytest.mark.slow),
        pytest.param("lora", {"attention": "eager"}, marks=pytest.mark.slow),
        pytest.param("lora", {"batch_tokens": 400}, marks=pytest.mark.slow),
        pytest.param("qlora", {"precision": "bf16", "gradient_checkpointing": True}, marks=pytest.mark.slow),
    ],
)
def test_a_few_layers_tell_what_seven_hold(base: Path, method: str, training: dict[str, Any]):
    values = recipe_values(base / "deep", base / "rows.jsonl", method, **training)
    real, estimated = held(check_recipe(values))
    assert estimated == pytest.approx(real, rel=0.04)


@pytest.mark.parametrize(
    ("settings", "training"),
    [
        ({"name": "freeze"}, {}),  # the default: the last two of five
        pytest.param({"name": "freeze", "layers": 1}, {"gradient_accumulation": 2}, marks=pytest.mark.slow),
        pytest.param({"name": "freeze", "layers": 4}, {"gradient_checkpointing": True}, marks=pytest.mark.slow),
        pytest.param({"name": "freeze", "layers": 5}, {}, marks=pytest.mark.slow),
        pytest.param({"name": "freeze", "layers": 2, "embeddings": True}, {}, marks=pytest.mark.slow),
        pytest.param({"name": "freeze", "layers": 2}, {"precision": "bf16"}, marks=pytest.mark.slow),
        pytest.param({"name": "freeze", "train": "all-but-first", "layers": 1}, {}, marks=pytest.mark.slow),
        ({"name": "freeze", "train": "all-but-first", "layers": 3}, {}),
        ({"name": "lora", "targets": r".*layers\.[3-4]\..*"}, {}),
        pytest.param({"name": "lora", "targets": ["layers.2.mlp.up_proj", "q_proj"]}, {}, marks=pytest.mark.slow),
        pytest.param({"name": "qlora", "targets": r".*\.[13]\..*"}, {"precision": "bf16"}, marks=pytest.mark.slow),
    ],
)
def test_a_method_that_tells_layers_apart_holds_what_is_told(
    base: Path, settings: dict[str, Any], training: dict[str, Any]
):
    """One or two layers can't tell: there the last two are all, or there is no layer of that number."""
    values = recipe_values(base / "model", base / "rows.jsonl", "lora", **training)
    real, estimated = held(check_recipe(values | {"method": settings}))
    assert estimated == pytest.approx(real, rel=0.04)


def test_frozen_layers_below_the_lowest_that_learns_keep_nothing(base: Path):
    """And whether activations are to be computed again can be told, which took an estimate."""
    from ftstudio.engine.plan import plan

    found = []
    for settings in ({"layers": 1}, {"layers": 4}, {"train": "all-but-first", "layers": 4}):
        values = recipe_values(base / "model", base / "rows.jsonl", "lora")
        told = plan(check_recipe(values | {"method": {"name": "freeze", **settings}}))
        assert not [problem for problem in told["problems"] if "estimated" in problem["text"]]
        found.append(told["memory"])
    last, four, same = (memory["parts"]["activations"] for memory in found)
    assert four > 2 * last
    assert same < last < 1.1 * same  # the last norm learns too, or it doesn't
    assert all(memory["checkpointing"]["why"].startswith("not needed") for memory in found)


def test_activations_of_frozen_layers_are_computed_again_by_itself_where_memory_asks_so(base: Path):
    """What can't be estimated is left off, whatever is free."""
    from ftstudio.engine import room
    from ftstudio.engine.plan import weights_of
    from ftstudio.engine.plan_memory import estimated
    from ftstudio.engine.prepare import resolve
    from ftstudio.engine.tokenised import tokenised

    values = recipe_values(base / "model", base / "rows.jsonl", "lora")
    recipe, materials = resolve(check_recipe(values | {"method": {"name": "freeze", "layers": 4}}))
    recipe = recipe.with_changes({"training.gradient_checkpointing": None})
    rows, counted = tokenised(materials), weights_of(recipe, [])[1]

    def ask(asked: Recipe) -> int:
        return int(estimated(asked, materials, rows, counted)["estimated_bytes"])

    needed = ask(recipe.with_changes({"training.gradient_checkpointing": False}))
    assert room.decide(recipe, sys.maxsize, "cpu", ask, 2 * needed)[0] is False
    on, why = room.decide(recipe, sys.maxsize, "cpu", ask, needed)
    assert on
    assert why.startswith("by itself")


def test_a_model_of_one_layer_is_told_of_too(tmp_path: Path):
    from ftstudio.engine.plan import plan

    make_model(tmp_path / "model", layers=1)
    make_rows(tmp_path / "rows.jsonl", 12)
    values = recipe_values(tmp_path / "model", tmp_path / "rows.jsonl")
    told = plan(check_recipe(values))
    assert set(told["memory"]["moments"]) == {"training", "evaluating", "answering"}


def of_task(name: str, folder: Path) -> Recipe:
    """A recipe of task NAME on tiny rows and a tiny model in FOLDER."""
    import tiny_encoders

    values: dict[str, Any] = {"task": name, "method": "full", "training": {"device": "cpu", "batch_size": BATCH}}
    if name == "seq2seq":
        model = tiny_encoders.make_seq2seq(folder / "seq2seq", "T5")
        tiny_encoders.save_unigram(model)
        rows = tiny_encoders.make_pairs(folder / "pairs.jsonl")
    elif name == "embedding":
        model = make_sentence_encoder(folder / "sentences")
        rows = folder / "near.jsonl"
        lines = [{"sentence1": f"red cats {word}", "sentence2": f"seven dogs {word} run"} for word in WORDS * 3]
        rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        model = make_encoder(folder / "encoder")
        rows = make_labelled(folder / "labelled.jsonl", count=60)
    if name == "masked-lm":
        rows = folder / "text.txt"
        rows.write_text(
            "\n".join(" ".join(WORDS[(at * place) % 13] for place in range(9 + at % 20)) for at in range(60))
        )
    if name == "token-classification":
        model = tiny_encoders.make_encoder(folder / "tagger")
        rows = tiny_encoders.make_tagged(folder / "tagged.jsonl")
    return check_recipe(values | {"model": str(model), "data": {"train": str(rows)}})


@pytest.mark.parametrize(
    "task",
    [
        "text-classification",
        pytest.param("token-classification", marks=pytest.mark.slow),
        pytest.param("masked-lm", marks=pytest.mark.slow),
        pytest.param("embedding", marks=pytest.mark.slow),
        pytest.param("seq2seq", marks=pytest.mark.slow),
    ],
)
def test_other_tasks_hold_what_is_told(task: str, tmp_path: Path):
    real, estimated = held(of_task(task, tmp_path))
    assert estimated == pytest.approx(real, rel=0.04)


@pytest.mark.slow
def test_a_new_head_beside_an_adapter_in_half_precision_holds_what_is_told(tmp_path: Path):
    recipe = of_task("text-classification", tmp_path)
    half = recipe.with_changes({"method": {"name": "lora", "r": 4, "dropout": 0.0}, "training.precision": "bf16"})
    real, estimated = held(half)
    assert estimated == pytest.approx(real, rel=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["text-classification", "seq2seq", "embedding"])
def test_other_tasks_are_measured_too(task: str, tmp_path: Path):
    from ftstudio.engine.plan import plan

    value = plan(of_task(task, tmp_path), measure=True)
    memory = value["memory"]
    assert memory["measured_bytes"] == pytest.approx(memory["estimated_bytes"], rel=0.1), value["problems"]
    assert set(memory["measured"]["moments"]) >= set(memory["moments"]) >= {"training", "evaluating"}
    assert value["seconds_estimated"] > 0


@pytest.mark.parametrize("settings", [{}, pytest.param({"modules_to_save": ["lm_head"]}, marks=pytest.mark.slow)])
def test_on_a_gpu_logits_that_are_never_whole_are_not_counted(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """A vocabulary far wider than the model: head and loss in one hold a chunk of logits, where the head is plain."""
    from transformers import LlamaConfig

    from ftstudio.engine import fused
    from ftstudio.engine.hardware import Hardware
    from ftstudio.engine.memory import Loads, estimate
    from ftstudio.engine.memory_fake import Method, _followed

    monkeypatch.setattr(fused, "LARGE", large := 1 << 26)
    vocabulary, width, labels = 32_000, 64, 1_000
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    recipe = Recipe.model_validate({"model": "x", "data": {"train": "x"}, "method": {"name": "lora"} | settings})
    lora = methods.get("lora")
    changes = Method(lambda model: lora.apply(model, lora.settings(settings)), lambda _: (), True, str(settings))
    counted = dict.fromkeys(("weights", "adapter", "gradients", "optimizer"), 0)
    told = {}
    for names, asked in (({"it": fused.by_torch}, labels), ({}, labels), ({"it": fused.by_torch}, 500), ({}, 500)):
        _followed.clear()
        monkeypatch.setattr(fused, "candidates", lambda device, names=names: names)
        loads = Loads((600, 600), asked, (600, 600), asked)
        told[bool(names), asked] = estimate(config, recipe, changes, Hardware("cuda", "bf16", 1, ""), counted, loads)
    _followed.clear()
    whole = labels * vocabulary * 2
    many, few = (told[True, labels], told[False, labels]), (told[True, 500], told[False, 500])
    assert many[1]["parts"]["logits"] == 2 * whole  # and their gradient
    assert 500 * vocabulary * 4 < large < labels * vocabulary * 4
    assert few[0] == few[1]  # too few to be worth reading the head again
    if settings:  # the head does more than a product
        assert many[0] == many[1]
        return
    assert many[0]["parts"]["logits"] == fused.CHUNK * vocabulary * (4 + 2)
    for moment, kept in (("training", 2), ("evaluating", 1)):
        less = many[1]["moments"][moment] - many[0]["moments"][moment]
        assert less > kept * whole - fused.CHUNK * vocabulary * (4 + 2)


def test_what_is_fused_looks_at_as_many_places_at_once_as_is_counted(monkeypatch: pytest.MonkeyPatch):
    from torch import nn

    from ftstudio.engine import fused

    if not hasattr(nn, "LinearCrossEntropyOptions"):
        pytest.skip("torch has its function from 2.13 on")
    seen: list[Any] = []
    function = nn.functional.linear_cross_entropy

    def watched(hidden: Any, weight: Any, *args: Any, options: Any, **named: Any) -> Any:
        seen.append(options._adjust(*hidden.shape, len(weight), torch.bfloat16, torch.device("cuda")).batch_chunk_size)
        return function(hidden, weight, *args, options=options, **named)

    monkeypatch.setattr(nn.functional, "linear_cross_entropy", watched)
    head = nn.Linear(8, 4096, bias=False)
    for places in (3, 1300):
        fused.by_torch(torch.zeros(places, 8), head, torch.zeros(places, dtype=torch.long))
        assert seen.pop() == fused.chunk_rows(fused.TORCH, places, 8, 4096) == min(512, places)
    # of Qwen3-0.6B's vocabulary in bf16: not a thousand labels, but some thousand
    assert fused.worth_from(151_936, 2) == 1767


@pytest.mark.parametrize(("device", "a_value"), [("cuda", 3), ("cpu", 4)])
def test_on_a_gpu_dropout_keeps_a_byte_a_value_and_attention_no_scores(device: str, a_value: int):
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.checkpoint import checkpoint
    from transformers import BertConfig, BertModel

    from ftstudio.engine.memory_fake import fake
    from ftstudio.engine.memory_gpu import on_gpu
    from ftstudio.engine.memory_track import Tracker

    def held(made: Any, *shape: int) -> float:
        """Bytes a value of SHAPE that wait for the way back, what MADE gives of it among them."""
        x = torch.empty(shape, dtype=torch.bfloat16, requires_grad=True)
        with Tracker() as tracker:
            tracker.ignore([x])
            result = made(x)
            found = tracker.live / x.numel()
            result.sum().backward()
        assert x.grad is not None
        return found

    with torch.device("meta"):
        layers = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Dropout(0.0))
        sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
        bert = BertModel(BertConfig(**sizes, vocab_size=9, hidden_dropout_prob=0.0, max_position_embeddings=2000)).to(
            torch.bfloat16
        )
    for model in (layers, bert) if device == "cuda" else ():
        on_gpu(model)
    with FakeTensorMode():
        fake(bert)
        assert held(layers.train(), 100, 100) == a_value
        assert held(lambda x: checkpoint(layers, x, use_reentrant=False), 100, 100) == 2  # drawn again
        assert held(layers.eval(), 100, 100) == 0
        states = held(lambda x: bert.train()(inputs_embeds=x).last_hidden_state, 1, 1000, 16)
        assert (states > 2 * 2 * 1000 / 16) == (device == "cpu")  # two heads' scores of each token, 1,000 in 16 bits


def test_what_fits_is_told_for_each_device():
    there = [{"name": "a", "total": 100, "free": 90}, {"name": "b", "total": 100, "free": 40}]
    assert [found["fits"] for found in fit.verdicts(50, there, "cuda")] == ["yes", "busy"]
    assert [found["fits"] for found in fit.verdicts(85, there, "cuda")] == ["tight", "busy"]
    assert [found["fits"] for found in fit.verdicts(101, there, "cuda")] == ["no", "no"]
    assert fit.devices("cpu")[0]["total"] > 0


@pytest.mark.parametrize("batch", [8, 6, 9, 7, 1])
def test_shrinking_keeps_the_rows_of_a_step(batch: int):
    recipe = changed(Path("any"), "lora", batch_size=batch, gradient_accumulation=3)
    seen = 0
    while (less := fit.shrink(recipe)) is not None:
        assert fit.smaller(recipe)
        before, after = recipe.training, less.training
        assert after.batch_size * after.gradient_accumulation == 3 * batch
        assert after.batch_size < before.batch_size or (after.gradient_checkpointing, after.batch_size) == (True, 1)
        recipe, seen = less, seen + 1
    assert recipe.training.batch_size == 1
    assert recipe.training.gradient_checkpointing
    assert seen >= 1


def test_shrinking_leaves_a_batch_whose_rows_are_held_against_each_other():
    """Half of it were half as many negatives."""
    recipe = check_recipe(
        {"task": "embedding", "model": "any", "data": {"train": "p.csv"}, "training": {"batch_size": 6}}
    )
    seen = []
    while (less := fit.shrink(recipe)) is not None:
        seen.append(fit.smaller(recipe).split(":")[0])
        recipe = less
        assert (recipe.training.batch_size, recipe.training.gradient_accumulation) == (6, 1)
    assert seen == ["options.chunk 3", "options.chunk 1", "training.gradient_checkpointing"]
    scored = check_recipe(
        {"task": "embedding", "model": "any", "data": {"train": "p.csv"}, "options": {"loss": "cosine"}}
    )
    assert "training.batch_size 4" in fit.smaller(scored)
    assert "training.batch_size 3" in fit.smaller(recipe, divisible=True)
    rows, lengths = [0, 1, 2, 3, 4], [3, 9, 4, 8, 5]
    assert [loads.at_once(rows, lengths, chunk) for chunk in (3, 8, None)] == [[1, 3, 4], rows, rows]


@pytest.mark.slow
def test_measured_steps_stand_beside_the_estimate(base: Path):
    from ftstudio.core.workspace import Workspace
    from ftstudio.engine.plan import plan

    space = base / "space"
    value = plan(changed(base, "lora"), measure=True, workspace=Workspace(space))
    assert value["memory"]["measured"]["saving_seconds"] > 0
    assert value["seconds"]["saving"] > 0
    assert not space.exists()
    assert not list(base.glob(".measured-*"))
    memory = value["memory"]
    assert memory["measured_bytes"] == pytest.approx(memory["estimated_bytes"], rel=0.1), memory
    assert value["seconds_estimated"] > 0
    assert memory["fits"][0]["fits"] == "yes"


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measured steps are taken here, where what they run into can be made."""
    from ftstudio.engine import measure

    def here(recipe: Recipe, batches: Any, cancel: Any = None, place: Path | None = None) -> dict[str, Any]:
        return measure._measured(json.loads(json.dumps(measure._request(recipe, batches))))

    monkeypatch.setattr(measure, "measure", here)


@pytest.mark.slow
def test_a_batch_that_only_goes_through_in_parts_doesnt_fit(base: Path, monkeypatch: pytest.MonkeyPatch):
    from ftstudio.engine import loss
    from ftstudio.engine.plan import plan

    call, refused = loss.Objective.__call__, []

    def short(self: Any, model: Any, batch: Any, each: Any = None) -> Any:
        if model.training and torch.is_grad_enabled() and len(batch["lengths"]) > 1:
            refused.append(len(batch["lengths"]))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return call(self, model, batch, each)

    in_this_process(monkeypatch)
    monkeypatch.setattr(loss.Objective, "__call__", short)
    recipe = changed(base, "lora", batch_size=4).with_changes({"data.eval": None, "evaluation.samples": 0})
    value = plan(recipe, measure=True)
    assert refused[:2] == [4, 2]
    assert set(refused[2:]) <= {2}  # of usual batches, each found out by itself
    memory = value["memory"]
    assert (memory["measured"]["parts"], memory["measured"]["recomputes"]) == (4, False)
    assert memory["fits"][0]["fits"] == "no"
    assert "only in 4 parts" in memory["fits"][0]["text"]
    warned = next(one for one in value["problems"] if one["key"] == "training.batch_size")
    assert "training.batch_size 2 and gradient_accumulation 2" in warned["hint"]
    assert value["compatible"]  # it trains, in parts


@pytest.mark.slow
def test_no_room_for_a_measured_step_is_no_reason_not_to_start(base: Path, monkeypatch: pytest.MonkeyPatch):
    from ftstudio.engine import measure
    from ftstudio.engine.plan import plan

    line = measure.RESULT + json.dumps({"error": "There is not enough GPU memory.", "hint": "", "no_room": True})
    monkeypatch.setattr(measure, "measure", lambda *_: measure._read(line, "", 0))
    value = plan(changed(base, "lora"), measure=True)
    assert value["compatible"]
    assert value["memory"]["fits"][0]["fits"] == "no"
    assert "While measuring: There is not enough GPU memory." in [one["text"] for one in value["problems"]]

    there = [{"name": "GPU 0", "total": 1 << 20, "free": 1 << 20}]  # not even an empty one would do
    monkeypatch.setattr(fit, "there", lambda *_: there)
    assert not plan(changed(base, "lora"), measure=True)["compatible"]


def test_what_the_studio_itself_holds_on_a_gpu_counts_as_free(monkeypatch: pytest.MonkeyPatch):
    from ftstudio.engine.memory import CONTEXT

    gib = 1 << 30
    card = {"name": "GPU 0", "total": 80 * gib, "free": 20 * gib}
    monkeypatch.setattr(fit, "devices", lambda _: [dict(card), dict(card)])
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert fit.there("cuda", 0) == [card, card]  # nothing is held, and no context is made to ask
    for name, value in {"memory_reserved": 50 * gib, "memory_allocated": 40 * gib}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (20 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    store = 10 * gib + CONTEXT["cuda"]
    assert [one["free"] for one in fit.there("cuda", 16 * gib)] == [36 * gib + store, 20 * gib]
    assert fit.there("cuda", None)[0]["free"] == 60 * gib + store


def test_measuring_lets_go_of_the_worker_s_models_first(base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from ftstudio.core.workspace import Workspace
    from ftstudio.engine import plan
    from ftstudio.ui.recipe.draft import Draft
    from ftstudio.ui.recipe.step_review import ReviewPanel
    from ftstudio.ui.shell.session import Session

    told: list[Any] = []

    class Store:
        def holds(self, recipe: Recipe) -> int:
            return 123

        def unload(self) -> None:
            told.append("unloaded")

    session = Session(Workspace(tmp_path))
    session.worker._models = Store()  # type: ignore[assignment]
    panel = ReviewPanel(Draft(), session)
    monkeypatch.setattr(plan, "plan", lambda recipe, **named: told.append((named["measure"], named["held"])))
    monkeypatch.setattr(panel, "_tell", lambda: None)
    monkeypatch.setattr(
        panel.background, "start", lambda group, text, work, *_: work(SimpleNamespace(progress=None, cancel=None))
    )
    for measure in (False, True):
        panel._plan(changed(base, "lora"), "", measure)
    assert told == [(False, 123), "unloaded", (True, 123)]


def _followed_twice(config: Any, method: str, **training: Any) -> tuple[Any, Any]:
    """What a step of CONFIG's model holds, by hollow tensors and by torch's own fake ones."""
    from ftstudio.engine import hardware, memory_fake
    from ftstudio.engine.plan import quantised_layers

    family = methods.get(method)
    settings = family.settings({})
    packed = family.quantisation(settings) is not None
    changes = memory_fake.Method(
        lambda model: family.apply(model, settings), lambda model: quantised_layers(model) if packed else (),
        family.adapter, method,
    )  # fmt: skip
    recipe = check_recipe({"model": "demo", "data": {"train": "demo"}, "method": method, "training": training})
    device = training.get("device", "cpu")
    machine = hardware.Hardware(device, training.get("precision", "fp32"), 1, "")
    load, still = memory_fake.Load((40, 31, 7), 25), [memory_fake.Load((30, 30), 9), memory_fake.Load((12,) * 4, 4)]
    return tuple(  # type: ignore[return-value]
        memory_fake._follow(config, (0, 1), recipe, changes, machine, load, still, hollow) for hollow in (True, False)
    )


TINY = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ARCHITECTURES = {
    "Llama": TINY | {"num_key_value_heads": 2},
    "Qwen3": TINY | {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True},
    "Gemma": TINY | {"num_key_value_heads": 2, "head_dim": 16},
    "Gemma3Text": TINY | {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8},
    "Gemma2": TINY | {"num_key_value_heads": 2, "head_dim": 16},
    "GPT2": {"vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "Phi3": TINY | {"num_key_value_heads": 2, "pad_token_id": 0},
    "OPT": {"vocab_size": 96, "hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "word_embed_proj_dim": 64},
    "Falcon": {"vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "Bloom": {"vocab_size": 96, "hidden_size": 64, "n_layer": 2, "n_head": 4},
}  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "method", "training"),
    [
        ("Llama", "qlora", {"precision": "bf16", "gradient_checkpointing": True}),
        *(
            pytest.param(name, method, more, marks=pytest.mark.slow)
            for name in ARCHITECTURES
            for method, more in (
                ("full", {}),
                ("lora", {"precision": "bf16"}),
                ("lora", {"precision": "bf16", "device": "cuda", "gradient_checkpointing": True}),
            )
        ),
    ],
)
def test_hollow_tensors_hold_what_torchs_fake_ones_hold(architecture: str, method: str, training: dict[str, Any]):
    import transformers

    config = getattr(transformers, f"{architecture}Config")(**ARCHITECTURES[architecture])
    light, whole = _followed_twice(config, method, **training)
    assert light == whole


@pytest.mark.slow
@pytest.mark.parametrize("part", ["", "language", "vision", "both"])
@pytest.mark.parametrize("kind", ["idefics3", "llava", "qwen2_vl", "gemma3"])
def test_a_model_that_sees_holds_what_is_told(kind: str, part: str, tmp_path: Path):
    recipe = seeing(tmp_path, kind, part)
    real, estimated = held(recipe)
    assert estimated == pytest.approx(real, rel=0.02 if part else 0.01)


@pytest.mark.slow
def test_a_plan_of_a_model_that_sees_estimates_its_memory(tmp_path: Path):
    from ftstudio.engine.plan import plan

    value = plan(seeing(tmp_path, "llava", "both"), measure=False)
    memory = value["memory"]
    assert memory["estimated_bytes"] > 0, value["problems"]
    assert set(memory["moments"]) == {"training", "evaluating", "answering"}
    assert not any("can't be estimated" in problem["text"] for problem in value["problems"])


def seeing(folder: Path, kind: str, part: str) -> Recipe:
    """Pictures of several sizes, one or two a row, for a tiny model of KIND; LoRA on its PART, all weights for none."""
    from tiny_pictures import make_picture, make_vlm

    lines = []
    for row in range(12):
        path = make_picture(folder / f"{row}.png", (20 * row % 255, 90, 200 - 10 * row), (40 + 7 * row, 30 + 3 * row))
        images = [path.name] * (1 if row % 3 else 2)
        lines.append(
            {"image": images, "prompt": f"What is it {'really ' * (row % 4)}?", "completion": f"A shoe {row}."}
        )
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    values: dict[str, Any] = {"task": "image-text-to-text", "model": str(make_vlm(folder / "model", kind))}
    values["method"] = {"name": "lora", "part": part} if part else "full"
    values |= {"data": {"train": str(rows), "eval": 0.25}, "training": {"device": "cpu", "batch_size": BATCH}}
    return check_recipe(values)


def test_the_last_step_of_an_epoch_takes_the_batches_that_are_left():
    from ftstudio.engine import plan_memory

    values = {"model": "demo", "data": {"train": "demo"}, "training": {"gradient_accumulation": 8}}
    some: Any = SimpleNamespace(tokens=[200] * 10, held_out=[])  # two steps an epoch, of eight batches and of two
    found = {"tokens": 200, "step_seconds": 4.0, "usual": [(100, 2.0)], "load_seconds": 0.0,
             "evaluation_seconds": 0.0, "answering_seconds": 0.0, "gauge_seconds": 0.0}  # fmt: skip
    seconds = plan_memory.seconds_of(check_recipe(values), some, found, 7)
    assert seconds["training"] == pytest.approx(0.5 * (3 * 10 + 8))  # not 7 steps of eight


@pytest.mark.parametrize(("every", "told"), [(10, "41% of the time, 3m24s"), (1000, "")])
def test_evaluations_that_would_take_much_of_the_time_are_told_before_it_begins(every: int, told: str):
    from ftstudio.engine import plan_memory

    recipe = check_recipe({"model": "demo", "data": {"train": "demo"}, "evaluation": {"every": every}})
    some: Any = SimpleNamespace(tokens=[100, 300], held_out=[{}])
    found = {"tokens": 200, "step_seconds": 0.5, "usual": [(100, 0.25)], "load_seconds": 40.0,
             "evaluation_seconds": 2.0, "answering_seconds": 1.5, "gauge_seconds": 0.5}  # fmt: skip
    seconds = plan_memory.seconds_of(recipe, some, found, 500)
    assert seconds["training"] == pytest.approx(250)
    assert seconds["evaluating"] == 4.0 * (1 + 500 / every if every < 500 else 2)
    problem = next(plan_memory._much(seconds), None)
    assert (told in problem.text and problem.key == "evaluation.every") if problem else not told


@pytest.mark.parametrize(
    ("settings", "saves"),
    [
        ({"save_steps": 100, "save_best": False}, 5 + 1),  # the last one of a run is the tuned model
        ({"save_steps": 120, "save_best": False}, 4 + 1 + 1),  # and one at the last step
        ({"save_steps": 100, "save_best": True}, 5 + 1 + 20 / 2),  # of 20 evaluations with none of the rhythm half
    ],
)
def test_checkpoints_count_in_the_time_of_a_run(settings: dict[str, Any], saves: float):
    from ftstudio.engine import pace, plan_memory

    values: dict[str, Any] = {"model": "demo", "data": {"train": "demo"}, "training": settings}
    recipe = check_recipe(values | {"evaluation": {"every": 20}})
    some: Any = SimpleNamespace(tokens=[100, 300], held_out=[{}])
    found = {"tokens": 200, "step_seconds": 0.5, "usual": [(100, 0.25)], "load_seconds": 4.0, "evaluation_seconds": 2.0,
             "answering_seconds": 0.0, "gauge_seconds": 0.0, "saving_seconds": 0.5}  # fmt: skip
    seconds = plan_memory.seconds_of(recipe, some, found, 500)
    assert seconds["saving"] == pytest.approx(0.5 * saves)
    assert pace.beside_training(seconds) == f"; evaluations 52s and checkpoints {0.5 * saves:.0f}s of it"
    unknown = plan_memory.seconds_of(recipe, some, found | {"saving_seconds": None}, 500)
    assert "saving" not in unknown
    assert pace.beside_training(unknown) == "; evaluations 52s of it; checkpoints not counted"
    slow = plan_memory.seconds_of(recipe, some, found | {"saving_seconds": 60.0, "evaluation_seconds": 0.0}, 500)
    assert slow["saving"] >= 60.0 * 6
    assert [problem.key for problem in plan_memory._much(slow)] == ["training.save_steps"]


def test_of_a_large_checkpoint_a_part_is_written_and_all_of_it_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    from ftstudio.engine import measure_saving

    model = torch.nn.Linear(1 << 10, 1 << 10, bias=False)  # 4 MiB
    optimizer = torch.optim.AdamW(model.parameters())
    trainer: Any = SimpleNamespace(model=model, optimizer=optimizer, args=SimpleNamespace(device="cpu"))
    model(torch.ones(1, 1 << 10)).sum().backward()
    trainer.optimizer.step()
    assert measure_saving.sizes_of(trainer) == (4 << 20, pytest.approx(8 << 20, rel=1e-3))  # two states a weight
    written = []
    monkeypatch.setattr(measure_saving, "MOST", 3 << 20)
    monkeypatch.setattr(measure_saving, "_written", lambda folder, *some: written.append(some[:2]) or 1.0)
    assert measure_saving.seconds(trainer, tmp_path) == pytest.approx(4.0, rel=1e-3)
    [(weights, states)] = written
    assert (weights + states, weights) == (3 << 20, pytest.approx(1 << 20, rel=1e-3))
    full = SimpleNamespace(free=8 << 20)
    monkeypatch.setattr(measure_saving.shutil, "disk_usage", lambda folder: full)
    assert measure_saving.seconds(trainer, tmp_path) is None  # it isn't filled up to find out


def test_what_is_written_to_be_measured_lies_on_the_disk_of_the_workspace_and_goes(tmp_path: Path):
    from ftstudio.engine import measure_saving

    place = measure_saving.place_of(tmp_path / "not" / "yet")
    assert place == tmp_path
    kept = measure_saving.folder_in(place)
    assert kept is not None
    with kept as folder:
        assert Path(folder).parent == tmp_path
        assert measure_saving._written(Path(folder), 1 << 20, 2 << 20) > 0
        files = {path.name: path.stat().st_size >> 20 for path in (Path(folder) / "sample").iterdir()}
        assert files == {"model.safetensors": 1, "optimizer.pt": 2, "complete.json": 0}
    assert not list(tmp_path.iterdir())
    assert measure_saving.folder_in(None) is None
    assert measure_saving.folder_in(tmp_path / "gone") is None
