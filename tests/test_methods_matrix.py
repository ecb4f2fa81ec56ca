"""Every method on every kind of model: it trains, saves, reloads as the same model, and comes off without a trace.

What doesn't go together is refused with a reason, and which pairs that are stands here.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from tiny_zoo import ZOO, make

from ftstudio import methods
from ftstudio.core.errors import StudioError
from ftstudio.methods import anatomy

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "freeze-last": ("freeze", {"layers": 1}),
    "freeze-first": ("freeze", {"train": "all-but-first", "layers": 1, "embeddings": True}),
    "freeze-bias": ("freeze", {"train": "bias"}),
    "freeze-norm": ("freeze", {"train": "norm"}),
    "freeze-head": ("freeze", {"train": "head"}),
    "freeze-embeddings": ("freeze", {"train": "embeddings"}),
    "lora": ("lora", {"r": 4, "dropout": 0}),
    "lora-attention": ("lora", {"r": 4, "targets": "attention", "rslora": True, "lora_plus": 16}),
    "lora-dora": ("lora", {"r": 4, "targets": "attention", "dora": True}),
    "lora-pissa": ("lora", {"r": 4, "targets": "attention", "init": "pissa"}),
    "lora-olora": ("lora", {"r": 4, "targets": "attention", "init": "olora", "rslora": True}),
    "qlora-nf4": ("qlora", {"r": 4, "targets": "attention"}),
    "qlora-fp4-dora": (
        "qlora",
        {"r": 4, "targets": "attention", "quantisation": "fp4", "dora": True},
    ),
    "qlora-int8": ("qlora", {"r": 4, "targets": "attention", "quantisation": "int8"}),
    "adapter-pfeiffer": ("adapter", {"reduction": 4}),
    "adapter-houlsby": ("adapter", {"kind": "houlsby", "reduction": 4, "activation": "gelu"}),
    "adapter-ia3": ("adapter", {"kind": "ia3"}),
    "prompt": ("prompt", {"tokens": 4}),
    "prompt-prefix": ("prompt", {"kind": "prefix", "tokens": 4}),
    "prompt-projected": ("prompt", {"kind": "prefix", "tokens": 4, "projection": True}),
    "prompt-p-tuning": ("prompt", {"kind": "p-tuning", "tokens": 4}),
}
TASKS = {
    "bert_classifier": "text-classification", "bert_tagger": "token-classification", "bert_masked": "masked-lm",
    "t5": "seq2seq", "bart": "seq2seq", "llava": "image-text-to-text", "llama_classifier": "text-classification",
    "t5_classifier": "text-classification", "bart_classifier": "text-classification",
}  # fmt: skip
PROMPTS = tuple(case for case in CASES if case.startswith("prompt"))
REFUSED = {
    *((zoo, "freeze-bias") for zoo in ("llama", "qwen3", "gemma", "gemma3", "mixtral", "t5", "llava")),  # have none
    ("llama_classifier", "freeze-bias"),
    *((zoo, case) for zoo in ("t5_classifier", "bart_classifier") for case in PROMPTS),
    ("gpt2", "lora-olora"),
    ("bert_tagger", "prompt"),
    ("bert_tagger", "prompt-p-tuning"),
    *(("bert_masked", case) for case in PROMPTS),
    *(("llava", case) for case in PROMPTS),
}
SLICE = [
    ("llama", "lora-pissa"), ("gpt2", "adapter-houlsby"), ("t5", "prompt-prefix"), ("bert_classifier", "prompt"),
    ("bert_classifier", "freeze-last"), ("mixtral", "adapter-pfeiffer"), ("llava", "lora"), ("llama", "freeze-bias"),
    ("bart_classifier", "prompt-prefix"), ("llava", "freeze-bias"),
]  # fmt: skip


def trained(zoo: str, case: str, folder: Path) -> None:
    """Three steps of CASE on the model ZOO, saved into FOLDER and read back."""
    import torch

    from ftstudio.engine.adapters import kind_of, off, take_off
    from ftstudio.engine.saving import save_weights
    from ftstudio.methods.from_weights import off_is_base

    name, values = CASES[case]
    method = methods.get(name)
    settings = method.settings(values)
    model, batch = loaded(zoo, method, settings, folder / "base")
    facts = methods.Facts.of(TASKS.get(zoo, "sft"), model.config.to_dict())
    found = methods.refuse(method, settings, facts)
    if found:
        raise StudioError(found[0].text, found[0].hint)
    before = says(model, batch)
    torch.manual_seed(1)
    model = method.apply(model, settings)
    learning = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
    first = {key: weight.detach().clone() for key, weight in learning.items()}
    begins = says(model, batch)
    if name != "prompt" and TASKS.get(zoo) not in ("text-classification", "token-classification", "masked-lm"):
        assert apart(begins, before) < 1e-4, "it doesn't begin as the base"
    model.train()
    optimizer = torch.optim.AdamW(learning.values(), lr=1e-2)
    losses = []
    for _ in range(3):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    assert all(torch.isfinite(torch.tensor(losses)))
    moved = [key for key, weight in learning.items() if not torch.equal(weight.detach(), first[key])]
    assert moved, "nothing learnt"
    after = says(model, batch)
    assert apart(after, before) > 0
    save_weights(model, folder / "saved")
    method.finish(model, settings, folder / "saved")
    if not method.adapter:
        again = type(model).from_pretrained(folder / "saved", dtype=torch.float32).eval()
        assert apart(says(again, batch), after) < 1e-5
        return
    from peft import PeftModel

    if off_is_base(model):
        model.eval()
        with off(model):
            assert apart(says(model, batch), before) == 0
    assert kind_of(folder / "saved", "it")
    again, _ = loaded(zoo, method, settings, folder / "base")
    again = PeftModel.from_pretrained(again, str(folder / "saved")).eval()
    assert apart(says(again, batch), after) < 1e-4
    with off(again):
        assert apart(says(again, batch), before) == 0
    assert apart(says(take_off(again), batch), before) == 0


def loaded(zoo: str, method: methods.Method, settings: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    import torch

    from ftstudio.engine.loading import _keep_unpacked, bits

    model, batch = make(zoo)
    wanted = method.quantisation(settings)
    if wanted is None:
        return model, batch
    from transformers import BitsAndBytesConfig

    if not folder.exists():
        model.save_pretrained(folder)
    skip = anatomy.new_parts(model) if zoo.endswith(("classifier", "tagger")) else None
    config = BitsAndBytesConfig(**bits(wanted, "float32"), llm_int8_skip_modules=skip)
    model = type(model).from_pretrained(folder, quantization_config=config, dtype=torch.float32, device_map={"": "cpu"})
    _keep_unpacked(model)
    return model.eval(), batch


def says(model: Any, batch: dict[str, Any]) -> Any:
    """The logits of MODEL, without those of a soft prompt; dropout off."""
    import torch

    training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(**batch).logits
    model.train(training)
    return logits[:, -batch["labels"].shape[-1] :] if logits.dim() == 3 else logits


def apart(a: Any, b: Any) -> float:
    return float((a - b).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("zoo", ZOO)
def test_every_method_on_every_model(zoo: str, case: str, tmp_path: Path) -> None:
    check(zoo, case, tmp_path)


@pytest.mark.parametrize(("zoo", "case"), SLICE)
def test_some_methods_on_some_models(zoo: str, case: str, tmp_path: Path) -> None:
    check(zoo, case, tmp_path)


def check(zoo: str, case: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (zoo, case) in REFUSED:
            with pytest.raises(StudioError) as raised:
                trained(zoo, case, folder)
            assert raised.value.hint
        else:
            trained(zoo, case, folder)
