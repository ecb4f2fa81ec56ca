"""A few layers tell of all: where they differ, where experts are in 32 bits, where rows are padded, computed again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from held_bytes import held
from tiny_models import WORDS, make_model, make_tokenizer, recipe_values

from ftstudio import methods
from ftstudio.core.recipe import Recipe
from ftstudio.engine.hardware import Hardware
from ftstudio.engine.recipes import check_recipe

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WIDE = {
    "vocab_size": 260, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 12, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "bos_token_id": 256, "eos_token_id": 257,
    "pad_token_id": 258,
}  # fmt: skip
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 48}
LATENT = {
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 12, "v_head_dim": 16,
    "n_group": 1, "topk_group": 1, "num_key_value_heads": 4, "n_routed_experts": 16,
}  # fmt: skip
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "a few dense layers before experts": (
        "DeepseekV3",
        {"first_k_dense_replace": 3, **EXPERTS, **LATENT, "num_experts_per_tok": 8, "intermediate_size": 432},
    ),
    "experts in every other layer": (
        "Qwen3Moe",
        {"decoder_sparse_step": 2, "num_experts": 8, "head_dim": 16, **EXPERTS},
    ),
    "attention in every sixth layer": (
        "GraniteMoeHybrid",
        {"layer_types": [*["mamba"] * 5, "attention"] * 2, "num_local_experts": 0, "num_experts_per_tok": 0,
         "shared_intermediate_size": 128, **MAMBA},
    ),
    "states, attention and experts": (
        "Jamba",
        {"attn_layer_period": 3, "attn_layer_offset": 2, "expert_layer_period": 2, "expert_layer_offset": 1,
         "num_experts": 4, "mamba_d_state": 8, "mamba_dt_rank": 8, "use_mamba_kernels": False,
         "num_hidden_layers": 36},
    ),
    "windows in five of six layers": ("Gemma3Text", {"sliding_window": 32, "head_dim": 16}),
    "all alike": ("Llama", {}),
    "scores that live until the next layer has its own": ("Bloom", {"n_layer": 12, "n_head": 4}),
}  # fmt: skip


def told(config: Any, apart: bool, lengths: tuple[int, ...] = (64, 30), **training: Any) -> dict[str, Any]:
    """What is told of LoRA on CONFIG's model; APART: by all of its layers."""
    from ftstudio.engine.memory import Loads, estimate
    from ftstudio.engine.memory_fake import Method

    values = {"model": "x", "data": {"train": "x"}, "method": {"name": "lora", "dropout": 0.0}, "training": training}
    recipe, lora = Recipe.model_validate(values), methods.get("lora")
    settings = lora.settings({"dropout": 0.0})
    changes = Method(lambda model: lora.apply(model, settings), lambda _: (), True, "lora", apart=apart)
    counted = dict.fromkeys(("weights", "adapter", "gradients", "optimizer"), 0)
    machine = Hardware("cpu", training.get("precision", "fp32"), 1, "")
    return estimate(config, recipe, changes, machine, counted, Loads(lengths, 40, lengths, 40, (20, 10), 8))


QUICK = [
    ("a few dense layers before experts", False),
    ("scores that live until the next layer has its own", True),
]


@pytest.mark.parametrize(
    ("model", "again"),
    [
        pytest.param(model, again, marks=[] if (model, again) in QUICK else [pytest.mark.slow])
        for model in MODELS
        for again in (False, True)
    ],
)
def test_a_few_layers_hold_what_all_of_them_hold(model: str, again: bool):
    """AGAIN: activations are computed again."""
    name, changes = MODELS[model]
    config = getattr(transformers, f"{name}Config")(**WIDE | changes)
    few, every = (told(config, apart, precision="bf16", gradient_checkpointing=again) for apart in (False, True))
    for moment in every["moments"]:
        assert few["moments"][moment] == pytest.approx(every["moments"][moment], rel=0.005), moment
    for part in ("activations", "gradients"):
        assert few["parts"][part] == pytest.approx(every["parts"][part], rel=0.01), part


def test_as_few_layers_are_followed_as_there_are_kinds(monkeypatch: pytest.MonkeyPatch):
    """Of 60 layers, 3 of them without experts, three and twice four."""
    from ftstudio.engine import memory_fake
    from ftstudio.engine.memory_layers import few

    config = transformers.DeepseekV3Config(
        **WIDE | MODELS["a few dense layers before experts"][1] | {"num_hidden_layers": 60}
    )
    kinds = memory_fake.kinds(config)
    assert kinds == (0, 0, 0, *[1] * 57)
    found = few(kinds)
    assert found.base == (0, 2, 59)
    assert [(one.places, one.times) for one in found.more] == [((0, 0, 2, 59), 1), ((0, 3, 2, 59), 56)]
    assert few((0,) * 80).more[0].times == 78
    for kinds in ((0,), (0, 0, 0), (0, 1, 0, 1)):  # all of them cost no more
        assert (few(kinds).base, few(kinds).more) == (tuple(range(len(kinds))), ())


def rows_of(path: Path, count: int, longest: int) -> Path:
    draw = random.Random(0)

    def words() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, longest)))

    lines = [json.dumps({"prompt": f"{row}: {words()}", "completion": words()}) for row in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def real(
    folder: Path, name: str, changes: dict[str, Any], longest: int = 8, method: str = "lora", **training: Any
) -> tuple[int, int]:
    """`held` of a training of a tiny model of kind NAME."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**WIDE | {"num_hidden_layers": 6} | changes)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    make_tokenizer(folder / "model")
    values = recipe_values(folder / "model", rows_of(folder / "rows.jsonl", 12, longest), method, **training)
    values["data"]["max_length"] = 1500
    if method == "lora":
        values["method"]["dropout"] = 0.0
    return held(check_recipe(values))


@pytest.mark.parametrize(
    ("name", "method", "training"),
    [
        ("Mixtral", "lora", {}),
        pytest.param("Mixtral", "full", {"precision": "bf16"}, marks=pytest.mark.slow),
        pytest.param("Qwen3Moe", "full", {}, marks=pytest.mark.slow),
    ],
)
def test_experts_in_32_bits_hold_what_is_told(name: str, method: str, training: dict[str, Any], tmp_path: Path):
    """torch follows their products without numbers in bf16 alone."""
    experts = {"Mixtral": {"num_local_experts": 4}, "Qwen3Moe": {"num_experts": 8, "head_dim": 16, **EXPERTS}}[name]
    found, estimated = real(tmp_path, name, experts, method=method, **training)
    assert estimated == pytest.approx(found, rel=0.01)


@pytest.mark.parametrize(
    ("name", "longest"),
    [
        ("Gemma2", 8),
        pytest.param("Gemma2", 100, marks=pytest.mark.slow),
        pytest.param("GptOss", 8, marks=pytest.mark.slow),
    ],
)
def test_a_batch_that_is_padded_for_its_attention_holds_what_is_told(name: str, longest: int, tmp_path: Path):
    """Capped scores and sinks: no batch without padding but with flash kernels, and pieces of it at once."""
    changes = {"head_dim": 16, "sliding_window": 64} | ({"num_local_experts": 4} if name == "GptOss" else {})
    found, estimated = real(tmp_path, name, changes, longest)
    assert estimated == pytest.approx(found, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("longest", [8, 100])
@pytest.mark.parametrize("model", ["a few dense layers before experts", "attention in every sixth layer"])
def test_layers_that_differ_hold_what_is_told(model: str, longest: int, tmp_path: Path):
    name, changes = MODELS[model]
    found, estimated = real(tmp_path, name, {"num_hidden_layers": 12, **changes}, longest)
    assert estimated == pytest.approx(found, rel=0.02)


@pytest.mark.slow
def test_of_layers_computed_again_what_overlaps_once_is_counted_once(tmp_path: Path):
    found, estimated = real(tmp_path, "Bloom", {"n_layer": 8, "n_head": 4}, 100, gradient_checkpointing=True)
    assert estimated == pytest.approx(found, rel=0.01)


def test_of_a_loss_in_several_pieces_one_is_there_at_a_time(tmp_path: Path):
    """8,000 words: 65 labels a piece."""
    from ftstudio.engine.loss import PIECES, SummedCrossEntropy
    from ftstudio.engine.memory_track import Tracker

    make_model(tmp_path / "model", layers=2, hidden_size=64, vocab_size=8000)
    values = recipe_values(tmp_path / "model", rows_of(tmp_path / "rows.jsonl", 24, 8), "lora")
    found, estimated = held(check_recipe(values))
    assert estimated == pytest.approx(found, rel=0.01)
    logits = torch.zeros(500, 8000, requires_grad=True)
    tracker = Tracker()
    tracker.ignore([logits])
    with tracker:
        SummedCrossEntropy.apply(logits, torch.zeros(500, dtype=torch.long)).backward()
    piece = 4 * PIECES["cpu"]
    assert max(tracker.peaks.values()) == pytest.approx(logits.nbytes + piece, rel=0.01)


@pytest.mark.parametrize("kind", ["DeepseekV2", "DeepseekV3", "Llama"])
def test_answering_keeps_of_earlier_tokens_what_is_told(kind: str):
    from ftstudio.engine.memory import cache_bytes

    latent = {"first_k_dense_replace": 1, **EXPERTS, **LATENT} if kind != "Llama" else {}
    config = getattr(transformers, f"{kind}Config")(**WIDE | latent | {"num_hidden_layers": 2})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        cache = model(input_ids=torch.zeros(3, 20, dtype=torch.long), use_cache=True).past_key_values
    kept = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert cache_bytes(config, Hardware("cpu", "fp32", 1, ""), 3, 20) == kept
