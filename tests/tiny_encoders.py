"""Tiny random encoders and encoder-decoders with real tokenizers made on the spot."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

NAMES = {"PER": ("Anna", "Bert", "Clara Jones", "David Smith"), "LOC": ("Paris", "Rome", "New York", "Berlin")}
_TEXT = [
    "Anna Smith visited Paris. Bert and Clara Jones live in New York.",
    "David Smith likes Berlin and Rome, nothing unbelievable here: red green blue seven nine cats dogs birds run.",
    "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 é ' - _ , ; ! ?",
]


def save_word_pieces(folder: Path, size: int = 200) -> Path:
    """A BERT tokenizer of about SIZE pieces in FOLDER."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=False)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.train_from_iterator(
        _TEXT * 3, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    )
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    config = {"tokenizer_class": "TokenizersBackend", **dict(zip(names, special, strict=True))}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def make_encoder(folder: Path, kind: str = "BertModel", seed: int = 0, **changes: Any) -> Path:
    """A tiny BERT of class KIND in FOLDER."""
    import torch
    import transformers

    values: dict[str, Any] = {
        "vocab_size": 200,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, kind)(transformers.BertConfig(**(values | changes)))
    model.save_pretrained(folder)
    return save_word_pieces(folder)


def make_tagged(path: Path, count: int = 60, seed: int = 0) -> Path:
    """COUNT sentences with names in them, tagged, as JSONL."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        words: list[str] = []
        tags: list[str] = []
        for _ in range(draw.randint(1, 3)):
            kind = draw.choice(sorted(NAMES))
            for place, word in enumerate(draw.choice(NAMES[kind]).split()):
                words.append(word)
                tags.append(f"{'I' if place else 'B'}-{kind}")
            for word in draw.choice(("visited", "likes cats and", "and")).split():
                words.append(word)
                tags.append("O")
        lines.append(json.dumps({"tokens": words, "tags": tags}))
    path.write_text("\n".join(lines) + "\n")
    return path
