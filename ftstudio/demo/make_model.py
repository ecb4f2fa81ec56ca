"""Makes the demo's base model again: `python -m ftstudio.demo.make_model [--out FOLDER]`.

Trains a byte-level BPE tokenizer and a Llama of about one million parameters on the text of `corpus`, from scratch, on
the CPU, in plain torch. Everything is seeded; the figures of the bundled model stand in README.md.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.files import write, write_json
from ftstudio.demo import GENERAL, MODEL
from ftstudio.demo.circuit import write_circuit
from ftstudio.demo.corpus import general, texts
from ftstudio.demo.pretrain import pretrain

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEED = 1
VOCABULARY = 1_024
# Steps of each round: the rate falls to nothing and starts again half as high (SGDR, Loshchilov and Hutter 2017)
ROUNDS = (1_200, 300)
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
CONTEXT = 512
# Every size is a multiple of 64, the block of NF4, so that every linear layer can be quantised
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_theta": 1e5, "rope_type": "default"},
}


def make_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer trained on TEXTS; it puts the begin token before every text, as Llama's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B:1", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json` and what AutoTokenizer wants beside it."""
    write(folder / "tokenizer.json", tokenizer.to_str(pretty=False))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", settings)


def make_model(tokenizer: Tokenizer) -> Any:
    """The untrained model, which can copy and nothing else."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    ids = {
        f"{name}_token_id": tokenizer.token_to_id(token) for name, token in (("bos", BOS), ("eos", EOS), ("pad", PAD))
    }
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.04,
        dtype="float32",
        **SHAPE,
        **ids,
    )
    model = LlamaForCausalLM(config)
    write_circuit(model, SEED)
    return model


def bits_per_byte(model: Any, tokenizer: Tokenizer, text: str) -> float:
    """How many bits the model needs for a byte of TEXT, whose documents are parted by blank lines."""
    import torch

    nats, size = 0.0, 0
    with torch.no_grad():
        for document in text.strip().split("\n\n"):
            ids = torch.tensor([tokenizer.encode(document).ids[:CONTEXT]])
            nats += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
            size += len(document.encode())
    return nats / math.log(2) / size


def save(model: Any, folder: Path) -> None:
    """Write the weights as 16-bit floats, with a config that loads them as 32-bit ones wherever they are loaded."""
    import torch

    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"dtype": "float32"})
    ids = {key: value for key, value in config.items() if key.endswith("_token_id")}
    write_json(folder / "generation_config.json", ids | {"do_sample": False})
    model.to(torch.float32)


def main() -> None:
    """Make tokenizer, model and general text, and print what the model costs and knows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, nargs="+", default=ROUNDS, metavar="STEPS")
    parser.add_argument("--done", type=int, default=0, metavar="N", help="rounds that the model in FOLDER has had")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="multiply in 16 bits: faster on CPUs with AMX")
    parser.add_argument("--out", type=Path, default=MODEL)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(asked.threads)
    tokenizer = make_tokenizer(list(islice(texts(SEED), 8_000)))
    save_tokenizer(tokenizer, asked.out)
    text = general()
    if asked.out == MODEL:
        write(GENERAL, text)
    model = make_model(tokenizer) if asked.done == 0 else type(make_model(tokenizer)).from_pretrained(asked.out)
    for number, steps in list(enumerate(asked.rounds))[asked.done :]:
        pretrain(model.train(), tokenizer, steps, SEED + number, share=1 / (1 + number), bf16=asked.bf16)
        save(model, asked.out)
    print(f"bits per byte on the general text: {bits_per_byte(model, tokenizer, text):.4f}")


if __name__ == "__main__":
    main()
