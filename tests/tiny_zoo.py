"""Tiny random models of many architectures, each with a batch of its own kind: made from configurations, no files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

VOCABULARY = 96


def _decoder(model: Any, **batch: Any) -> tuple[Any, dict[str, Any]]:
    import torch

    ids = torch.arange(3 * 11).reshape(3, 11) % 80 + 8
    return model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone(), **batch}


def _sizes(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, **more,
    }  # fmt: skip


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return _decoder(LlamaForCausalLM(LlamaConfig(**_sizes())))


def qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return _decoder(Qwen3ForCausalLM(Qwen3Config(**_sizes(head_dim=8, tie_word_embeddings=True))))


def gemma() -> Any:
    from transformers import GemmaConfig, GemmaForCausalLM

    return _decoder(GemmaForCausalLM(GemmaConfig(**_sizes(head_dim=8))))


def gemma3() -> Any:
    """Sliding windows in every other layer."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    sizes = _sizes(head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"])
    return _decoder(Gemma3ForCausalLM(Gemma3TextConfig(**sizes)))


def gpt2() -> Any:
    """Conv1D, fused queries, keys and values, biases, learnt positions, a shared head."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, pad_token_id=0,
                        bos_token_id=1, eos_token_id=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)  # fmt: skip
    return _decoder(GPT2LMHeadModel(config))


def phi() -> Any:
    from transformers import PhiConfig, PhiForCausalLM

    return _decoder(PhiForCausalLM(PhiConfig(**_sizes(num_key_value_heads=4))))


def mixtral() -> Any:
    """Fused experts."""
    from transformers import MixtralConfig, MixtralForCausalLM

    return _decoder(MixtralForCausalLM(MixtralConfig(**_sizes(num_local_experts=2, num_experts_per_tok=1))))


def opt() -> Any:
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(vocab_size=VOCABULARY, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
                       max_position_embeddings=64, word_embed_proj_dim=32, dropout=0, pad_token_id=0)  # fmt: skip
    return _decoder(OPTForCausalLM(config))


def _bert(kind: str) -> Any:
    import torch
    import transformers

    sizes = _sizes(hidden_dropout_prob=0, attention_probs_dropout_prob=0, num_labels=3)
    del sizes["num_key_value_heads"]
    config = transformers.BertConfig(**sizes)
    labels = {"ForSequenceClassification": torch.tensor([0, 1, 2]), "ForTokenClassification": torch.arange(33) % 3}
    model = getattr(transformers, f"Bert{kind}")(config)
    if kind == "ForTokenClassification":
        return _decoder(model, labels=labels[kind].reshape(3, 11))
    return _decoder(model, **({"labels": labels[kind]} if kind in labels else {}))


def bert_classifier() -> Any:
    return _bert("ForSequenceClassification")


def bert_tagger() -> Any:
    return _bert("ForTokenClassification")


def bert_masked() -> Any:
    return _bert("ForMaskedLM")


def t5() -> Any:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2,
                      num_heads=4, dropout_rate=0, decoder_start_token_id=0)  # fmt: skip
    return _decoder(T5ForConditionalGeneration(config), labels=torch.arange(15).reshape(3, 5) + 8)


def bart() -> Any:
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(vocab_size=VOCABULARY, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64,
                        decoder_ffn_dim=64, encoder_attention_heads=4, decoder_attention_heads=4, dropout=0,
                        max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                        decoder_start_token_id=2, forced_eos_token_id=2)  # fmt: skip
    return _decoder(BartForConditionalGeneration(config), labels=torch.arange(15).reshape(3, 5) + 8)


def _classifier(name: str, config: Any) -> Any:
    """A sequence classifier of three labels; its rows end with the end token, as an encoder-decoder's must."""
    import torch
    import transformers

    config.num_labels = 3
    model = getattr(transformers, f"{name}ForSequenceClassification")(config)
    model, batch = _decoder(model, labels=torch.tensor([0, 1, 2]))
    batch["input_ids"][:, -1] = config.eos_token_id
    return model, batch


def llama_classifier() -> Any:
    return _classifier("Llama", llama()[0].config)


def t5_classifier() -> Any:
    return _classifier("T5", t5()[0].config)


def bart_classifier() -> Any:
    return _classifier("Bart", bart()[0].config)


def llava() -> Any:
    """A picture of four patches before each text."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                              image_size=16, patch_size=8, projection_dim=32)  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(**_sizes()), image_token_index=95,
                         vision_feature_layer=-1, image_seq_length=4)  # fmt: skip
    model, batch = _decoder(LlavaForConditionalGeneration(config))
    for name in ("input_ids", "labels"):
        batch[name][:, 1:5] = 95
    batch["labels"][:, 1:5] = -100
    pixels = torch.linspace(-1, 1, 3 * 3 * 16 * 16).reshape(3, 3, 16, 16)
    return model, {**batch, "pixel_values": pixels}


ZOO: dict[str, Callable[[], Any]] = {
    maker.__name__: maker
    for maker in (
        llama, qwen3, gemma, gemma3, gpt2, phi, mixtral, opt, bert_classifier, bert_tagger, bert_masked, t5, bart,
        llava, llama_classifier, t5_classifier, bart_classifier,
    )
}  # fmt: skip


def make(name: str, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    """(model in evaluation mode, batch) of the architecture NAME; the same weights for the same SEED."""
    import torch

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model, batch = ZOO[name]()
    torch.random.set_rng_state(state)
    return model.eval(), batch
