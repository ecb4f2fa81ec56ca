"""Fine-tuning written by hand on transformers alone, as its own examples do it: what `tasks.py` holds the studio
against. Each of `BUILD` gives a model, a collator, the rows of both parts, and how held-out rows are scored."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

Built = tuple[Any, Any, Any, Any]


def adapted(model: Any, task: str, settings: dict[str, Any]) -> Any:
    """MODEL with peft's LoRA."""
    from peft import LoraConfig, TaskType, get_peft_model

    kinds = {
        "text-classification": TaskType.SEQ_CLS, "regression": TaskType.SEQ_CLS, "seq2seq": TaskType.SEQ_2_SEQ_LM,
        "token-classification": TaskType.TOKEN_CLS, "causal-lm": TaskType.CAUSAL_LM,
    }  # fmt: skip
    config = LoraConfig(
        task_type=kinds.get(task), r=settings["r"], lora_alpha=settings["alpha"], lora_dropout=settings["dropout"],
        target_modules=settings["targets"],
    )  # fmt: skip
    return get_peft_model(model, config)


def losses(model: Any, rows: list[Any], collator: Any) -> Iterator[tuple[float, Any, Any]]:
    """(loss summed over labels, logits, labels) of batches of ROWS."""
    import torch

    for start in range(0, len(rows), 16):
        batch = collator(rows[start : start + 16])
        with torch.no_grad():
            found = model(**batch)
        yield float(found.loss) * int((batch["labels"] != -100).sum()), found.logits, batch["labels"]


def mean_loss(model: Any, rows: list[Any], collator: Any) -> float:
    found = [(loss, int((labels != -100).sum())) for loss, _, labels in losses(model, rows, collator)]
    return sum(loss for loss, _ in found) / sum(count for _, count in found)


def classifier(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> Built:
    """A sequence classifier scored by accuracy."""
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding

    names = sorted({str(row["label"]) for row in parts[0]})
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=len(names))

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        found = tokenizer(row["text"], truncation=True, max_length=options.length)
        return {**found, "label": names.index(str(row["label"]))}

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        found = list(losses(model, rows, collator))
        right = sum(int((logits.argmax(-1) == labels).sum()) for _, logits, labels in found)
        return {"loss": sum(loss for loss, _, _ in found) / len(rows), "accuracy": right / len(rows)}

    return model, DataCollatorWithPadding(tokenizer), [list(map(encode, part)) for part in parts], score


def regressor(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> Built:
    """A number for a pair of sentences, scored by Spearman's correlation."""
    from scipy.stats import spearmanr
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding

    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=1, problem_type="regression")

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        found = tokenizer(row["sentence1"], row["sentence2"], truncation=True, max_length=options.length)
        return {**found, "label": float(row["score"])}

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        found = list(losses(model, rows, collator))
        given = [value for _, logits, _ in found for value in logits.squeeze(-1).tolist()]
        wanted = [value for _, _, labels in found for value in labels.tolist()]
        loss = sum(loss for loss, _, _ in found) / len(rows)
        return {"loss": loss, "spearman": float(spearmanr(given, wanted).statistic)}

    return model, DataCollatorWithPadding(tokenizer), [list(map(encode, part)) for part in parts], score


def tagger(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> Built:
    """A token classifier, first sub-tokens labelled, scored by seqeval in strict mode."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2
    from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification

    names = sorted({tag for row in parts[0] for tag in row["tags"]})
    known = {name: place for place, name in enumerate(names)}
    model = AutoModelForTokenClassification.from_pretrained(options.model, num_labels=len(names))

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        found = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=options.length)
        owners = found.word_ids()
        labels = [
            -100 if owner is None or owner == owners[at - 1] else known[row["tags"][owner]]
            for at, owner in enumerate(owners)
        ]
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"], "labels": labels}

    usable = [row for row in parts[1] if set(row["tags"]) <= known.keys()]
    wanted = [row["tags"] for row in usable]

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        total, count, given = 0.0, 0, []
        for loss, logits, labels in losses(model, rows, collator):
            total += loss
            count += int((labels != -100).sum())
            for best, row in zip(logits.argmax(-1).tolist(), labels.tolist(), strict=True):
                given.append([names[tag] for tag, label in zip(best, row, strict=True) if label != -100])
        given = [tags + ["O"] * (len(right) - len(tags)) for tags, right in zip(given, wanted, strict=True)]
        right = sum(a == b for x, y in zip(given, wanted, strict=True) for a, b in zip(x, y, strict=True))
        f1 = f1_score(wanted, given, mode="strict", scheme=IOB2)
        return {"loss": total / count, "entity_f1": f1, "tag_accuracy": right / sum(map(len, wanted))}

    collator = DataCollatorForTokenClassification(tokenizer)
    return model, collator, [list(map(encode, part)) for part in (parts[0], usable)], score


def filler(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> Built:
    """A masked language model with transformers' own masking."""
    import torch
    from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling

    model = AutoModelForMaskedLM.from_pretrained(options.model)

    def encode(rows: list[Any]) -> list[Any]:
        found = tokenizer([row["text"] for row in rows], add_special_tokens=False)["input_ids"]
        size = options.length - 2
        windows = [ids[at : at + size] for ids in found for at in range(0, len(ids), size)]
        return [{"input_ids": [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]} for ids in windows]

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        torch.manual_seed(1)
        total, count, right = 0.0, 0, 0
        for loss, logits, labels in losses(model, rows, collator):
            total += loss
            count += int((labels != -100).sum())
            right += int((logits.argmax(-1) == labels).sum())
        return {"loss": total / count, "masked_accuracy": right / count}

    return model, DataCollatorForLanguageModeling(tokenizer), [encode(part) for part in parts], score


def writer(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> Built:
    """A causal language model on documents with begin and end token, in windows that share one token."""
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq

    model = AutoModelForCausalLM.from_pretrained(options.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def encode(rows: list[Any]) -> list[Any]:
        found = []
        for row in rows:
            ids = [tokenizer.bos_token_id, *tokenizer(row["text"], add_special_tokens=False)["input_ids"]]
            ids.append(tokenizer.eos_token_id)
            for start in range(0, max(1, len(ids) - 1), options.length - 1):
                window = ids[start : start + options.length]
                found.append({"input_ids": window, "attention_mask": [1] * len(window), "labels": window})
        return found

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        total = sum(
            float(model(**batch).loss) * int((batch["labels"][:, 1:] != -100).sum())
            for batch in (collator(rows[at : at + 16]) for at in range(0, len(rows), 16))
        )
        return {"loss": total / sum(len(row["labels"]) - 1 for row in rows)}

    return model, DataCollatorForSeq2Seq(tokenizer), [encode(part) for part in parts], score


ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{}\n\n### Response:\n"
)


def instructor(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> Built:
    """A causal language model that learns answers and their end, as Stanford Alpaca's train.py does it."""
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq

    model = AutoModelForCausalLM.from_pretrained(options.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        prompt = ALPACA.format(row["prompt"])
        ids = [*tokenizer(prompt + row["completion"])["input_ids"], tokenizer.eos_token_id][: options.length]
        asked = len(tokenizer(prompt)["input_ids"])
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * asked + ids[asked:]}

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        return {"loss": mean_loss(model, rows, collator)}

    sets = [[row for row in map(encode, part) if len(row["labels"]) == len(row["input_ids"])] for part in parts]
    sets = [[row for row in part if row["labels"][-1] != -100] for part in sets]
    return model, DataCollatorForSeq2Seq(tokenizer), sets, score


# the turns of an assistant and their ends are what is learnt, by transformers' own marks
CHAT = (
    "{% for turn in messages %}{{ turn['role'] + ':\n' }}{% if turn['role'] == 'assistant' %}{% generation %}"
    "{{ turn['content'] + eos_token }}{% endgeneration %}{% else %}{{ turn['content'] + '\n' }}{% endif %}{% endfor %}"
)


def talker(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> Built:
    """A causal language model that learns each turn of the assistant, by its chat template's generation marks."""
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq

    model = AutoModelForCausalLM.from_pretrained(options.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        found = tokenizer.apply_chat_template(
            row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, learnt = found["input_ids"], found["assistant_masks"]
        labels = [token if on else -100 for token, on in zip(ids, learnt, strict=True)]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        return {"loss": mean_loss(model, rows, collator)}

    sets = [[row for row in map(encode, part) if len(row["input_ids"]) <= options.length] for part in parts]
    return model, DataCollatorForSeq2Seq(tokenizer), sets, score


def translator(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> Built:
    """An encoder-decoder with labels from `text_target`, scored by its loss and by BLEU of greedy translations."""
    import sacrebleu
    import torch
    from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq

    model = AutoModelForSeq2SeqLM.from_pretrained(options.model)

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        cut = {"truncation": True, "max_length": options.length}
        found = tokenizer(row["source"], **cut)
        labels = tokenizer(text_target=row["target"], **cut)["input_ids"]
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"], "labels": labels}

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        written = []
        for start in range(0, len(rows), 32):
            batch = collator(rows[start : start + 32])
            for name in ("labels", "decoder_input_ids"):  # the collator lays out the references there, too
                batch.pop(name, None)
            with torch.no_grad():
                found = model.generate(**batch, do_sample=False, num_beams=1, max_new_tokens=options.length)
            written += tokenizer.batch_decode(found, skip_special_tokens=True)
        bleu = sacrebleu.corpus_bleu(written, [[row["target"] for row in parts[1]]]).score
        return {"loss": mean_loss(model, rows, collator), "bleu": bleu}

    return model, DataCollatorForSeq2Seq(tokenizer, model=model), [list(map(encode, part)) for part in parts], score


BUILD = {
    "token-classification": tagger, "masked-lm": filler, "seq2seq": translator, "text-classification": classifier,
    "regression": regressor, "causal-lm": writer, "sft": instructor,
    "chat": talker,
}  # fmt: skip
