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
