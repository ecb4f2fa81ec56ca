"""Small real tokenizers made on the spot, for tests that need no shared files."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from ftstudio.data.tokenizer import Tokenizer, load_tokenizer

_TEXT = [
    "Hello the world, the answer is again and again.\nUser: how many apples? Assistant: the answer is 72\n",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "What is the capital of France? Paris is the capital. ### Instruction: ### Response:",
] * 30


def save_byte_level(
    folder: Path,
    *,
    eos: str = "<|end|>",
    bos: str | None = None,
    extra: tuple[str, ...] | list[str] = (),
    chat_template: str | None = None,
    size: int = 400,
) -> Path:
    """A byte-level BPE of about SIZE tokens in FOLDER, with the special tokens given."""
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = [token for token in (eos, bos, *extra) if token]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(_TEXT, trainer)
    if bos:
        frame = [(bos, inner.token_to_id(bos))]
        inner.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=frame)
    folder.mkdir(parents=True, exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "TokenizersBackend", "eos_token": eos, "pad_token": eos}
    if bos:
        config["bos_token"] = bos
    if chat_template:
        config["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@functools.cache
def byte_level(bos: str | None = None, extra: tuple[str, ...] = (), chat_template: str | None = None) -> Tokenizer:
    """The same, loaded."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return load_tokenizer(save_byte_level(Path(folder) / "m", bos=bos, extra=extra, chat_template=chat_template))
