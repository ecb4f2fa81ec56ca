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


def save_unigram(folder: Path, size: int = 120, languages: tuple[str, ...] = (), frame: str = "$A </s>") -> Path:
    """A T5-like tokenizer of about SIZE pieces in FOLDER; LANGUAGES are tokens of their own, FRAME stands around."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    special = ["<pad>", "</s>", "<unk>", "<s>", *languages]
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.train_from_iterator(
        _TEXT * 3,
        trainers.UnigramTrainer(
            vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False, n_sub_iterations=1
        ),
    )
    used = [(token, inner.token_to_id(token)) for token in special if token in frame]
    inner.post_processor = processors.TemplateProcessing(single=frame, special_tokens=used)
    folder.mkdir(parents=True, exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "TokenizersBackend", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
    }  # fmt: skip
    if languages:
        config["additional_special_tokens"] = list(languages)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def make_seq2seq(folder: Path, kind: str = "T5", seed: int = 0, **changes: Any) -> Path:
    """A tiny encoder-decoder of KIND (T5, Bart, MBart, Marian) with its configuration's own beginnings, in FOLDER."""
    import torch
    import transformers

    common: dict[str, Any] = {"vocab_size": 140, "pad_token_id": 0, "eos_token_id": 1}
    if kind == "T5":
        common |= {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    else:
        common |= {
            "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "bos_token_id": 3,
            "max_position_embeddings": 64, "forced_eos_token_id": None, "decoder_start_token_id": 1,
        }  # fmt: skip
    name = {"T5": "T5ForConditionalGeneration", "Marian": "MarianMTModel"}.get(kind, f"{kind}ForConditionalGeneration")
    config = getattr(transformers, f"{kind}Config")(**(common | changes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, name)(config)
        for parameter in model.parameters():  # far from zero, so that answers differ
            parameter.data.mul_(3)
    model.save_pretrained(folder)
    return folder


def make_pairs(path: Path, count: int = 40, seed: int = 0) -> Path:
    """COUNT sources and targets (the source's words turned round), as JSONL."""
    draw = random.Random(seed)
    words = ["red", "green", "blue", "seven", "nine", "cats", "dogs", "birds", "run"]
    lines = []
    for _ in range(count):
        some = [draw.choice(words) for _ in range(draw.randint(1, 8))]
        lines.append(json.dumps({"source": " ".join(some), "target": " ".join(reversed(some))}))
    path.write_text("\n".join(lines) + "\n")
    return path
