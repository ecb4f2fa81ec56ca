"""Tiny vision-language models of four kinds with their processors, and pictures: everything is made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CHAT = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{ line['text'] }}{% else %}{{ MARK }}{% endif %}{% endfor %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 258, "bos_token_id": 256,
    "eos_token_id": 257,
}  # fmt: skip
_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_LOOK = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_resize": True, "do_rescale": True, "do_normalize": True}
KINDS = ("idefics3", "llava", "qwen2_vl", "gemma3")


def make_vlm(folder: Path, kind: str, seed: int = 0) -> Path:
    """A model of KIND with random weights in FOLDER, in Hugging Face form."""
    import torch

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model, processor, pictures = _made(folder, kind)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not bool(weight.any()) and name.endswith("input_projection_weight"):
                weight.normal_(std=0.1)  # of Gemma 3: zeros would hide the picture
    torch.random.set_rng_state(state)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**_LOOK, **pictures}))
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


def make_shell(folder: Path, kind: str) -> Any:
    """A model of KIND without weights; FOLDER takes its tokenizer."""
    import torch

    with torch.device("meta"):
        return _made(folder, kind)[0]


def _made(folder: Path, kind: str) -> Any:
    return {"idefics3": _idefics3, "llava": _llava, "qwen2_vl": _qwen2_vl, "gemma3": _gemma3}[kind](folder)


def make_picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    """A picture of one colour with a darker corner."""
    from PIL import Image

    image = Image.new("RGB", size, colour)
    image.paste(tuple(part // 2 for part in colour), (0, 0, size[0] // 2, size[1] // 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def _tokens(folder: Path, special: list[str], mark: str, **names: Any) -> tuple[int, dict[str, int]]:
    """A byte tokenizer with SPECIAL tokens, and a chat template that writes MARK for a picture; (size, their ids)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: place for place, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>", *special])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": special, "chat_template": _CHAT.replace("MARK", repr(mark)), **names,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer.get_vocab_size(), {name: tokenizer.token_to_id(name) for name in special}


def _idefics3(folder: Path) -> Any:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    special = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tiles]
    size, ids = _tokens(folder, special, "<image>")
    config = Idefics3Config(
        text_config={"model_type": "llama", "vocab_size": size, **_TEXT},
        vision_config={**_VISION, "image_size": 32, "patch_size": 8}, scale_factor=2, image_token_id=ids["<image>"],
        pad_token_id=258,
    )  # fmt: skip
    pictures = {
        "image_processor_type": "Idefics3ImageProcessor", "do_image_splitting": True, "size": {"longest_edge": 64},
        "max_image_size": {"longest_edge": 32}, "do_pad": True, "do_convert_rgb": True,
    }  # fmt: skip
    processor = {"processor_class": "Idefics3Processor", "image_seq_len": 4}
    return Idefics3ForConditionalGeneration(config), processor, pictures


def _llava(folder: Path) -> Any:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    size, ids = _tokens(folder, ["<image>"], "<image>")
    vision = {"model_type": "clip_vision_model", **_VISION, "image_size": 32, "patch_size": 8, "projection_dim": 32}
    config = LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": size, **_TEXT}, vision_config=vision,
        image_token_index=ids["<image>"], image_token_id=ids["<image>"], pad_token_id=258,
    )  # fmt: skip
    sizes = {"height": 32, "width": 32}
    pictures = {
        "image_processor_type": "CLIPImageProcessor", "size": sizes, "crop_size": sizes, "do_center_crop": True,
    }  # fmt: skip
    processor = {
        "processor_class": "LlavaProcessor", "patch_size": 8, "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    }  # fmt: skip
    return LlavaForConditionalGeneration(config), processor, pictures


def _qwen2_vl(folder: Path) -> Any:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    special = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    size, ids = _tokens(folder, special, "<|vision_start|><|image_pad|><|vision_end|>")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    config = Qwen2VLConfig(
        text_config={"vocab_size": size, "rope_parameters": rope, **_TEXT},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 8,
                       "spatial_merge_size": 2, "temporal_patch_size": 2},
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    pictures = {
        "image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 256, "max_pixels": 1600, "patch_size": 8,
        "temporal_patch_size": 2, "merge_size": 2,
    }  # fmt: skip
    return Qwen2VLForConditionalGeneration(config), {"processor_class": "Qwen2VLProcessor"}, pictures


def _gemma3(folder: Path) -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    special = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    names = {"image_token": special[2], "boi_token": special[0], "eoi_token": special[1]}
    size, ids = _tokens(folder, special, "<start_of_image>", extra_special_tokens=names)
    layers = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 8}
    config = Gemma3Config(
        text_config={"vocab_size": size, **layers, **_TEXT},
        vision_config={**_VISION, "image_size": 32, "patch_size": 8},
        mm_tokens_per_image=4, image_token_index=ids[special[2]], boi_token_index=ids[special[0]],
        eoi_token_index=ids[special[1]],
    )  # fmt: skip
    sizes = {"height": 32, "width": 32}
    processor = {"processor_class": "Gemma3Processor", "image_seq_length": 4}
    return Gemma3ForConditionalGeneration(config), processor, {
        "image_processor_type": "Gemma3ImageProcessor", "size": sizes,
    }  # fmt: skip
