"""A tiny random Llama with a byte tokenizer, and rows to train it on: everything is made here, in milliseconds."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

WORDS = ("red", "green", "blue", "seven", "nine", "cats", "dogs", "birds", "run", "sleep", "eat", "quickly", "slowly")


def make_model(folder: Path, *, layers: int = 2, seed: int = 0, **changes: Any) -> Path:
    """A Llama of about 30,000 parameters in FOLDER, in Hugging Face form. CHANGES go into its configuration."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    values: dict[str, Any] = {
        "vocab_size": 260,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 258,
        "tie_word_embeddings": False,
    }
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**(values | changes)))
    torch.random.set_rng_state(state)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return folder


def make_tokenizer(folder: Path) -> None:
    """One token a byte; <s> 256, </s> 257, <pad> 258."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: place for place, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def make_rows(path: Path, count: int = 40, seed: int = 0) -> Path:
    """COUNT rows of prompt and completion, of very different lengths, as JSONL."""
    draw = random.Random(seed)
    lines = []
    for number in range(count):
        words = [draw.choice(WORDS) for _ in range(draw.randint(1, 12))]
        lines.append(json.dumps({"prompt": f"{number}: {' '.join(words)}", "completion": " ".join(reversed(words))}))
    path.write_text("\n".join(lines) + "\n")
    return path


def recipe_values(model: Path, rows: Path, method: str = "lora", **training: Any) -> dict[str, Any]:
    """A recipe for a training of seconds."""
    settings: dict[str, Any] = {"name": method}
    if method != "full":
        settings |= {"r": 4, "alpha": 8, "dropout": 0.1}
    return {
        "task": "sft",
        "model": str(model),
        "method": settings,
        "data": {"train": str(rows), "eval": 0.2, "max_length": 128},
        "training": {
            "steps": 8, "batch_size": 4, "save_steps": 3, "save_best": False, "learning_rate": 1e-3, "device": "cpu",
            **training,
        },
        "evaluation": {"every": 4, "rows": 8, "samples": 2, "max_new_tokens": 8, "forgetting": False},
    }  # fmt: skip


def make_encoder(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A BERT of some thousand parameters over the words of `WORDS`, in Hugging Face form, with its masked head."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    words = make_word_tokenizer(folder)
    values: dict[str, Any] = {
        "vocab_size": words, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0,
    }  # fmt: skip
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = BertForMaskedLM(BertConfig(**(values | changes)))
    torch.random.set_rng_state(state)
    model.save_pretrained(folder)
    return folder


def make_word_tokenizer(folder: Path) -> int:
    """A WordPiece tokenizer that frames texts as BERT's does: each of `WORDS` a token, all else letter by letter; its
    size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:!?-"
    pieces = [*special, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(special)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ("pad", "unk", "cls", "sep", "mask")
    config = {f"{name}_token": text for name, text in zip(names, special, strict=True)}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    return len(vocabulary)


def make_labelled(path: Path, kind: str = "single", count: int = 160, seed: int = 0) -> Path:
    """COUNT texts with what can be told from their words: a colour (single), all colours (multi), or how many words are
    animals (regression)."""
    draw = random.Random(seed)
    colours, animals = WORDS[:3], ("cats", "dogs", "birds")
    lines = []
    for _ in range(count):
        words = [draw.choice(WORDS[3:]) for _ in range(draw.randint(2, 9))]
        mine = sorted(draw.sample(colours, draw.randint(1, 2) if kind == "multi" else 1))
        words = [*words, *mine]
        draw.shuffle(words)
        number = sum(word in animals for word in words) + 0.5
        label = mine[0] if kind == "single" else mine if kind == "multi" else number
        lines.append(json.dumps({"text": " ".join(words), "label": label}))
    path.write_text("\n".join(lines) + "\n")
    return path


def make_sentence_encoder(folder: Path, *, seed: int = 0, dense: int | None = None, **changes: Any) -> Path:
    """A sentence-transformers model over that tokenizer: a BERT without a head, its mean over tokens, a DENSE layer of
    that width, normalised; it reads 32 tokens of a text. CHANGES go into its configuration."""
    import torch
    from sentence_transformers.sentence_transformer import modules as parts
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=make_word_tokenizer(folder), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, pad_token_id=0, **changes,
    )  # fmt: skip
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    made: list[Any] = [("1_Pooling", parts.Pooling(32, "mean"))]
    made += [("2_Dense", parts.Dense(32, dense))] if dense else []
    made.append((f"{len(made) + 1}_Normalize", parts.Normalize()))
    torch.random.set_rng_state(state)
    entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for place, (path, part) in enumerate(made, 1):
        (folder / path).mkdir(exist_ok=True)
        part.save(str(folder / path))
        kind = f"sentence_transformers.models.{type(part).__name__}"
        entries.append({"idx": place, "name": str(place), "path": path, "type": kind})
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": False}))
    return folder
