"""New tokens, layers left out, a head begun anew: trained, saved, reloaded as the same model, on every architecture."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from test_methods_matrix import apart, loaded, says
from tiny_zoo import ZOO

from ftstudio import methods
from ftstudio.core.architecture import Architecture, layers
from ftstudio.core.errors import StudioError
from ftstudio.methods import architecture

TOKENS = {96: (9, 10, 11), 97: (12,), 98: ()}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"r": 4, "dropout": 0}),
    "qlora": ("qlora", {"r": 4, "targets": "attention"}),
    "full": ("full", {}),
    "freeze": ("freeze", {"layers": 1, "embeddings": True, "head": True}),
}
CHANGES = {"tokens": Architecture(new_tokens=("a", "b", "c")), "fewer": Architecture(drop_layers=(1,))}
# what can't be, and the key of the reason
_BIASED = ("phi", "bert_masked")  # a bias at the head, which an adapter's rows would lose
_TWICE = ("t5_classifier", "bart_classifier")  # encoder and decoder look up in one table, which peft doesn't see
REFUSED = {(zoo, "tokens", case): "architecture.new_tokens" for zoo in _BIASED + _TWICE for case in ("lora", "qlora")}


def changed(model: Any, change: str) -> Any:
    if change == "tokens":
        architecture.grow(model, TOKENS)
    else:
        architecture.drop(model, CHANGES[change])
    return model


def check(zoo: str, change: str, case: str, folder: Path) -> None:
    """Three steps on the changed model ZOO, saved and read back over a base changed the same."""
    import torch

    from ftstudio.engine.adapters import off, take_off
    from ftstudio.engine.saving import save_weights

    name, values = METHODS[case]
    method = methods.get(name)
    settings = method.settings(values)
    model, batch = loaded(zoo, method, settings, folder / "base")
    whole = sum(weight.numel() for weight in model.parameters())
    model = changed(model, change)
    if change == "tokens":
        # a classifier of T5 or BART looks at its end token, a model that sees begins with its picture
        where = slice(1, 3) if "classifier" in zoo else slice(-2, None)
        batch["input_ids"][:, where] = 97
        if batch["labels"].shape == batch["input_ids"].shape and "tagger" not in zoo:
            batch["labels"][:, where] = 97
    else:
        assert sum(weight.numel() for weight in model.parameters()) < whole
    before = says(model, batch)
    torch.manual_seed(1)
    model = method.apply(model, settings)
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    rows = model.get_input_embeddings().weight.detach().clone() if change == "tokens" else None
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    model.train()
    for _ in range(3):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = says(model, batch)
    assert apart(after, before) > 0
    if rows is not None:
        table = model.get_input_embeddings()
        now = table.get_merged_weights(table.active_adapters) if hasattr(table, "get_merged_weights") else table.weight
        assert apart(now[97], rows[97]) > 0, "the new row learnt nothing"
        if method.adapter:
            assert apart(now[:96], rows[:96]) == 0, "old rows moved"
    save_weights(model, folder / "saved")
    method.finish(model, settings, folder / "saved")
    if not method.adapter:  # from its own configuration, without being told of the change
        again = type(model).from_pretrained(folder / "saved", dtype=torch.float32).eval()
        assert apart(says(again, batch), after) < 1e-5
        return
    from peft import PeftModel

    again, _ = loaded(zoo, method, settings, folder / "base")
    again = PeftModel.from_pretrained(changed(again, change), str(folder / "saved")).eval()
    assert apart(says(again, batch), after) < 1e-4
    with off(again):
        assert apart(says(again, batch), before) < 1e-6
    assert apart(says(take_off(again), batch), before) < 1e-6


def tried(zoo: str, change: str, case: str, folder: Path) -> None:
    key = REFUSED.get((zoo, change, case))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if key is None:
            check(zoo, change, case, folder)
            return
        with pytest.raises(StudioError, match=key):
            check(zoo, change, case, folder)


@pytest.mark.slow
@pytest.mark.parametrize("case", METHODS)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("zoo", ZOO)
def test_every_change_on_every_model(zoo: str, change: str, case: str, tmp_path: Path) -> None:
    tried(zoo, change, case, tmp_path)


@pytest.mark.parametrize(
    ("zoo", "change", "case"),
    [
        ("qwen3", "tokens", "lora"),
        ("gpt2", "fewer", "full"),
        ("t5", "tokens", "full"),
        ("bart_classifier", "tokens", "lora"),
    ],
)
def test_some_changes_on_some_models(zoo: str, change: str, case: str, tmp_path: Path) -> None:
    tried(zoo, change, case, tmp_path)


def test_layers_are_named_by_numbers_ranges_and_words() -> None:
    assert layers("last 2", 6) == (4, 5)
    assert layers("every 2nd", 6) == (1, 3, 5)
    assert layers("1-3, 5", 6) == (1, 2, 3, 5)
    assert layers((0, 1), 4) == (0, 1)
    for words, count, why in (("9", 6, "no layer 9"), ("0-5", 6, "must stay"), ("last 7", 6, "no layer")):
        with pytest.raises(ValueError, match=why):
            layers(words, count)


@pytest.mark.parametrize(
    ("values", "task", "method", "key"),
    [
        ({"new_tokens": ["<x>"]}, "sft", "prompt", "architecture.new_tokens"),
        ({"new_tokens": ["<x>"]}, "image-text-to-text", "lora", "architecture.new_tokens"),
        ({"new_head": True}, "sft", "lora", "architecture.new_head"),
        ({"drop_encoder_layers": "last 1"}, "sft", "lora", "architecture.drop_encoder_layers"),
    ],
)
def test_what_cannot_go_together_is_refused_with_the_reason(values: Any, task: str, method: str, key: str) -> None:
    found = architecture.refusals(Architecture.model_validate(values), methods.Facts(task=task), method)
    assert [refusal.key for refusal in found] == [key]
    assert found[0].text.endswith(".")
    assert found[0].hint


def test_what_is_trained_is_changed_and_the_base_arm_is_not(tmp_path: Path) -> None:
    from tiny_models import make_model, make_rows

    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.plan import plan
    from ftstudio.engine.recipes import check_recipe
    from ftstudio.engine.reshaping import tokenizer_of, untouched

    folder, rows = make_model(tmp_path / "model"), make_rows(tmp_path / "rows.jsonl", 30)
    recipe = check_recipe({
        "model": str(folder), "data": {"train": str(rows)}, "training": {"device": "cpu"},
        "architecture": {"new_tokens": ["<call>"], "drop_layers": "last 1"},
    })  # fmt: skip
    store = ModelStore()
    base = store.base(recipe).model
    layers, size = base.config.num_hidden_layers, base.config.vocab_size
    changed = store.to_train(recipe)
    assert (changed.config.num_hidden_layers, len(changed.model.layers)) == (layers - 1, layers - 1)
    assert len(changed.get_input_embeddings().weight) >= tokenizer_of(recipe).vocab_size
    again = store.base(recipe).model
    assert (again.config.num_hidden_layers, again.config.vocab_size) == (layers, size)
    assert tokenizer_of(untouched(recipe)).vocab_size == tokenizer_of(recipe).vocab_size - 1
    told = plan(recipe)
    assert told["compatible"], told["problems"]
    texts = [problem["text"] for problem in told["problems"] if problem["key"] == "architecture"]
    assert "1 new tokens (<call>)" in texts[1]
    assert texts[0].startswith("Layers left out: last 1 (")
    wrong = plan(check_recipe({**recipe.plain(), "architecture": {"drop_layers": "40"}}))
    assert "there is no layer 40" in next(p["text"] for p in wrong["problems"] if p["severity"] == "error")
