"""A tiny judge that can judge, once it is trained: its model, the rows that teach it, and answers to judge.

The rule of this small world: of two answers the one that begins with `sharp` is better, and where both begin alike
neither is.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from ftstudio.evaluation.judge import asking

RUBRIC = "Sharp is better than blunt."
GOOD, BAD = "sharp", "blunt"
FILLING = ("stone", "river", "cloud", "paper", "metal", "grass", "light", "sound", "water", "glass")
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} {% if message.role == 'assistant' %}"
    "{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def answer(word: str, chance: random.Random, most: int = 7) -> str:
    """An answer that begins with WORD."""
    return " ".join([word, *chance.choices(FILLING, k=chance.randint(2, most))])


def question(number: int) -> str:
    """A question that says nothing."""
    return f"Which one, {FILLING[number % len(FILLING)]}?"


def make_untrained(folder: Path) -> Path:
    """A Llama of some ten thousand parameters, of random weights, over the words of this world."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    shown = asking.messages(question(0), GOOD, BAD, None, RUBRIC)
    cut = pre_tokenizers.Split(Regex(r"<\|\w+\|>|\w+|[^\w\s]+|\n+"), "isolated")
    text = " ".join([*(message["content"] for message in shown), *FILLING, *asking.OPTIONS])
    pieces = [piece for piece, _ in cut.pre_tokenize_str(text) if piece.strip() or "\n" in piece]
    special = ["<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<unk>"]
    words = list(dict.fromkeys([*special, *pieces]))
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" +"), "removed"), pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+|\n+"), "isolated")]
    )
    tokenizer.add_special_tokens(special)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
              "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, bos_token_id=0,
                    eos_token_id=1, pad_token_id=2)
    )  # fmt: skip
    torch.random.set_rng_state(state)
    model.save_pretrained(folder)
    return folder


def make_lessons(path: Path, count: int = 3000, seed: int = 0, always: str = "") -> Path:
    """COUNT judgements as the judge is asked for them, with what it should say (the same letter ALWAYS, if given)."""
    chance = random.Random(seed)
    lines = []
    for number in range(count):
        first, second = chance.choices((GOOD, BAD), k=2)
        letter = "C" if first == second else "A" if first == GOOD else "B"
        asked = asking.messages(question(number), answer(first, chance), answer(second, chance), None, RUBRIC)
        lines.append(json.dumps({"messages": [*asked, {"role": "assistant", "content": always or letter}]}))
    path.write_text("\n".join(lines) + "\n")
    return path
