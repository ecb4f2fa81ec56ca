"""What a token costs, held against torch's own count of a step's multiplications and additions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ftstudio import methods

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

LENGTH, ROWS, LAYERS = 64, 2, 6


def counted(model: Any, step: Callable[[], Any], tokens: int) -> float:
    """FLOPs a token of STEP and its way back, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    model.train()
    with FlopCounterMode(display=False) as counter:
        step().loss.backward()
    return counter.get_total_flops() / tokens


def llama() -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=500, hidden_size=128, intermediate_size=384, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False, attn_implementation="eager",
    ))  # fmt: skip


def bert(kind: str = "ForSequenceClassification") -> Any:
    return getattr(transformers, f"Bert{kind}")(transformers.BertConfig(
        vocab_size=500, hidden_size=128, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=512,
        attn_implementation="eager",
    ))  # fmt: skip


def t5() -> Any:
    return transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=500, d_model=128, d_kv=32, d_ff=512, num_layers=LAYERS, num_heads=4, decoder_start_token_id=0,
    ))  # fmt: skip


def bart() -> Any:
    return transformers.BartForConditionalGeneration(transformers.BartConfig(
        vocab_size=500, d_model=128, encoder_layers=LAYERS, decoder_layers=3, encoder_ffn_dim=512, decoder_ffn_dim=512,
        encoder_attention_heads=4, decoder_attention_heads=4, decoder_start_token_id=2, attn_implementation="eager",
    ))  # fmt: skip


def put(model: Any, name: str, **settings: Any) -> Any:
    method = methods.get(name)
    return method.apply(model, method.settings(settings))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("full", {}),
        ("lora", {"r": 4}),
        ("lora", {"r": 4, "targets": r".*layers\.[45]\..*"}),
        ("freeze", {"layers": 1}),
        ("freeze", {"layers": 2}),
        ("freeze", {"layers": 2, "embeddings": True}),
        ("freeze", {"train": "all-but-first", "layers": 3}),
        ("freeze", {"train": "head"}),
        ("freeze", {"train": "norm"}),
        ("freeze", {"train": "embeddings"}),
        ("adapter", {"kind": "ia3"}),
        ("prompt", {"tokens": 40}),
        ("prompt", {"kind": "p-tuning", "tokens": 40}),
        ("prompt", {"kind": "prefix", "tokens": 8}),
    ],
)
def test_a_decoder_costs_what_is_told(name: str, settings: dict[str, Any]):
    from ftstudio.engine.flops import per_token

    model = put(llama(), name, **settings)
    ids = torch.randint(0, 500, (ROWS, LENGTH))
    real = counted(model, lambda: model(input_ids=ids, labels=ids), ROWS * LENGTH)
    assert per_token(model, LENGTH, 1.0) == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("made", [t5, bart])
@pytest.mark.parametrize(("source", "target"), [(64, 16), (32, 32), (16, 64)])
@pytest.mark.parametrize(
    ("name", "settings"), [("full", {}), ("lora", {"r": 4}), ("freeze", {"layers": 2}), ("freeze", {"train": "head"})]
)
def test_an_encoder_reads_the_source_and_a_decoder_the_target(
    made: Any, source: int, target: int, name: str, settings: dict[str, Any]
):
    from ftstudio.engine.flops import per_token

    model = put(made(), name, **settings)
    read, written = torch.randint(3, 500, (ROWS, source)), torch.randint(3, 500, (ROWS, target))
    tokens = source + target
    real = counted(model, lambda: model(input_ids=read, labels=written), ROWS * tokens)
    assert per_token(model, tokens, target / tokens) == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("length", [32, 512])
@pytest.mark.parametrize(("name", "settings"), [("full", {}), ("freeze", {"layers": 2})])
def test_an_encoder_looks_both_ways(length: int, name: str, settings: dict[str, Any]):
    """Of long rows half of what it costs is attention."""
    from ftstudio.engine.flops import per_token

    model = put(bert(), name, **settings)
    ids, labels = torch.randint(3, 500, (ROWS, length)), torch.zeros(ROWS, dtype=torch.long)
    real = counted(model, lambda: model(input_ids=ids, labels=labels), ROWS * length)
    assert per_token(model, length, 1 / length) == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("lengths", [[600, *[40] * 12], [64] * 4])
def test_attention_goes_by_the_rows_that_tokens_stand_in(lengths: list[int]):
    """Most tokens of uneven rows are in the long ones. torch counts both halves of what a causal model asks."""
    from ftstudio.engine.flops import context, per_token

    model = put(llama(), "full")

    def real(length: int) -> float:
        ids = torch.randint(0, 500, (1, length))
        return length * counted(model, lambda: model(input_ids=ids, labels=ids), length)

    tokens, mean, least = sum(lengths), sum(lengths) / len(lengths), 8
    attends = sum(real(length) for length in set(lengths) for _ in range(lengths.count(length))) / tokens
    attends -= real(least) / least
    told = per_token(model, mean, 1.0, context(lengths)) - per_token(model, least, 1.0)
    assert 2 * told == pytest.approx(attends, rel=0.02)


def test_latent_attention_asks_by_wider_heads_than_it_answers():
    """DeepSeek's head_dim is neither."""
    from ftstudio.engine.flops import per_token

    model = put(transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(
        vocab_size=500, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, first_k_dense_replace=2, kv_lora_rank=32, q_lora_rank=48, qk_rope_head_dim=16,
        qk_nope_head_dim=32, v_head_dim=24, n_group=1, topk_group=1, n_routed_experts=4, num_experts_per_tok=2,
        attn_implementation="eager",
    )), "full")  # fmt: skip
    costs = []
    for length in (32, 256):
        ids = torch.randint(0, 500, (1, length))
        costs.append(counted(model, lambda ids=ids: model(input_ids=ids, labels=ids), length))
    told = per_token(model, 256, 1.0) - per_token(model, 32, 1.0)
    assert 2 * told == pytest.approx(costs[1] - costs[0], rel=0.02)
