"""Models that keep a state answer a row in a batch as they answer it alone."""

from __future__ import annotations

from typing import Any

import pytest

WORDS = 64
SMALL: dict[str, Any] = {"vocab_size": WORDS, "hidden_size": 32}
KINDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "rwkv": ("RwkvConfig", {"num_hidden_layers": 2, "attention_hidden_size": 32, "intermediate_size": 64}, "none"),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {"num_hidden_layers": 3, "intermediate_size": 64, "num_attention_heads": 4, "lru_width": 32},
        "equal",
    ),
    "mamba": ("MambaConfig", {"num_hidden_layers": 2, "state_size": 8}, "any"),
    "llama": ("LlamaConfig", {"num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 4}, "any"),
}


def model_of(kind: str) -> Any:
    import torch
    import transformers

    name, settings, _ = KINDS[kind]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**SMALL, **settings)).eval()
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(std=0.3)  # as initialised it would say much the same to everything
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_answered_in_a_batch_as_alone(kind: str) -> None:
    from ftstudio.engine.beside_others import company
    from ftstudio.engine.generation import Decoding, generate

    model = model_of(kind)
    prompts = [[5, 6, 7], [9] * 5 + [11, 12, 13, 14] * 5, [8, 4, 9], [8, 4] * 4]
    decoding = Decoding(max_new_tokens=12)
    together = {
        answer.index: answer.token_ids
        for batch in generate(model, prompts, decoding, [2], pad_token=0)
        for answer in batch
    }
    for index, prompt in enumerate(prompts):
        [[alone]] = generate(model, [prompt], decoding, [2], pad_token=0)
        assert together[index] == alone.token_ids
    assert company(model) == KINDS[kind][2]
