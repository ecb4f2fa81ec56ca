"""Makes the demo's base model again: `python -m ftstudio.demo.make_model [--minutes 20] [--out FOLDER]`.

Trains a byte-level BPE tokenizer and a Llama of about one million parameters on the text of `corpus`, from scratch, on
the CPU, in plain torch. Everything is seeded; the figures of the bundled model stand in its README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.files import write, write_json
from ftstudio.demo import GENERAL, MODEL
from ftstudio.demo.corpus import documents, general, texts

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

SEED = 1
VOCABULARY = 1_536
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
CONTEXT = 512
PEAK = 4e-3
TOLD = 0.25
# Every size is a multiple of 64, the block of NF4, so that every linear layer can be quantised
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
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


def batches(tokenizer: Tokenizer, rows: int, length: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of ROWS × LENGTH token ids and how much each counts.

    Documents stand end to end, each between a begin and an end token. What is told first is made of random names, which
    nobody can foresee: it counts little, so that what follows from it, where copying pays, is what is learnt from.
    """
    import torch

    begin, end = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    ids: list[int] = []
    counts: list[float] = []
    endless = documents(seed)
    while True:
        while len(ids) < rows * length:
            some = list(islice(endless, 64))
            told = tokenizer.encode_batch([told and told + "\n" for told, _ in some], add_special_tokens=False)
            then = tokenizer.encode_batch([then for _, then in some], add_special_tokens=False)
            for first, second in zip(told, then, strict=True):
                ids += [begin, *first.ids, *second.ids, end]
                counts += [TOLD] * (1 + len(first.ids)) + [1.0] * (len(second.ids) + 1)
        size = rows * length
        yield torch.tensor(ids[:size]).view(rows, length), torch.tensor(counts[:size]).view(rows, length)
        ids, counts = ids[size:], counts[size:]


def make_model(tokenizer: Tokenizer) -> Any:
    """The untrained model."""
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
    return LlamaForCausalLM(config)


def rate(step: int, steps: int) -> float:
    """Warm-up over 2 % of the steps, then a cosine down to 2 % of the peak."""
    warm = max(1, steps // 50)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def pretrain(tokenizer: Tokenizer, steps: int, rows: int = 8, length: int = 256) -> Any:
    """The model after STEPS batches of ROWS × LENGTH tokens; progress is printed."""
    import torch

    model = make_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {steps * rows * length:,} tokens", flush=True)
    adam = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.01)
    started, smooth = time.monotonic(), math.nan
    for step, (ids, counts) in enumerate(islice(batches(tokenizer, rows, length, SEED), steps)):
        adam.param_groups[0]["lr"] = PEAK * rate(step, steps)
        logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
        losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
        loss = (losses * counts[:, 1:].flatten()).sum() / counts[:, 1:].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        smooth = loss.item() if math.isnan(smooth) else 0.97 * smooth + 0.03 * loss.item()
        if step % 50 == 0 or step == steps - 1:
            spent = time.monotonic() - started
            speed = (step + 1) * rows * length / spent
            print(f"step {step + 1}/{steps}  loss {smooth:.3f}  {speed:,.0f} tokens/s  {spent:.0f} s", flush=True)
    return model.eval()


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
    parser.add_argument("--steps", type=int, default=2_500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=MODEL)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(asked.threads)
    tokenizer = make_tokenizer(list(islice(texts(SEED), 12_000)))
    save_tokenizer(tokenizer, asked.out)
    text = general()
    if asked.out == MODEL:
        write(GENERAL, text)
    model = pretrain(tokenizer, asked.steps)
    save(model, asked.out)
    print(f"bits per byte on the general text: {bits_per_byte(model, tokenizer, text):.4f}")


if __name__ == "__main__":
    main()
