"""Methods: what they tell about themselves, and what they do to a loaded model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model

from ftstudio import methods
from ftstudio.core.errors import StudioError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def fresh(folder: Path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_importing_the_methods_imports_no_torch():
    heavy = ("torch", "peft", "transformers")
    code = f"import sys, ftstudio.methods as m; m.models(); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_method_tells_what_a_form_needs():
    assert set(methods.names()) == {"full", "freeze", "lora", "qlora", "adapter", "prompt"} == set(methods.models())
    for name in methods.names():
        method = methods.get(name)
        assert method.name == name
        assert all((method.title, method.changes, method.choose, method.costs, method.limits))
        assert 0 < method.learning_rate < 1
        for key, field in method.model.model_fields.items():
            assert field.description, f"{name}.{key} has no description"
        assert method.settings().model_dump() == method.settings({}).model_dump()


def test_unknown_names_and_settings_are_refused_with_the_way_out():
    with pytest.raises(UsageError, match="qlora"):
        methods.get("qlor")
    with pytest.raises(UsageError, match=r"method\.rank"):
        methods.get("lora").settings({"rank": 4})
    with pytest.raises(UsageError, match=r"method\.r\b"):
        methods.get("lora").settings({"r": 0})
    with pytest.raises(UsageError):
        methods.get("full").settings({"r": 8})


def test_full_trains_every_weight(folder: Path):
    model = fresh(folder)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    method = methods.get("full")
    assert all(parameter.requires_grad for parameter in method.apply(model, method.settings()).parameters())


@pytest.mark.parametrize(
    "extra", [{}, {"rslora": True}, {"targets": "attention"}, {"targets": ["q_proj", "down_proj"]}]
)
def test_lora_starts_as_the_base_and_comes_off_without_a_trace(folder: Path, extra: dict):
    import torch

    ids = torch.arange(20)[None]
    model = fresh(folder)
    with torch.no_grad():
        before = model(ids).logits
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    method = methods.get("lora")
    settings = method.settings({"r": 4, **extra})
    wrapped = method.apply(model, settings)
    learning = [name for name, parameter in wrapped.named_parameters() if parameter.requires_grad]
    assert learning
    assert all("lora_" in name for name in learning)
    wrapped.eval()
    with torch.no_grad():
        assert torch.equal(wrapped(ids).logits, before)
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
        assert not torch.equal(wrapped(ids).logits, before)
        with wrapped.disable_adapter():
            assert torch.equal(wrapped(ids).logits, before)
    base = wrapped.unload()
    after = base.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in after.items())


def test_targets_choose_the_layers(folder: Path):
    def layers(targets: object) -> set[str]:
        method = methods.get("lora")
        wrapped = method.apply(fresh(folder), method.settings({"r": 2, "targets": targets}))
        return {
            name.split(".lora_A")[0].rpartition(".")[2] for name, _ in wrapped.named_parameters() if "lora_A" in name
        }

    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert layers("attention") == attention
    assert layers("all-linear") == attention | {"gate_proj", "up_proj", "down_proj"}
    assert layers(["v_proj"]) == {"v_proj"}


def test_a_layer_that_is_not_there_is_named_with_the_nearest(folder: Path):
    method = methods.get("lora")
    with pytest.raises(StudioError, match="q_proj"):
        method.apply(fresh(folder), method.settings({"targets": ["q_pro"]}))


def test_qlora_refuses_a_base_that_holds_no_4_bit_layer(folder: Path):
    method = methods.get("qlora")
    assert method.quantisation(method.settings()) == methods.Quantisation(kind="nf4", double=True)
    with pytest.raises(StudioError, match="lora"):
        method.apply(fresh(folder), method.settings())


@pytest.mark.parametrize("kind", ["sequence-classification", "encoder"])
def test_a_pooler_that_no_file_holds_is_not_quantised(tmp_path: Path, kind: Any) -> None:
    """Drawn weights have no scales: bitsandbytes fails at the first pass, with an assertion that says nothing."""
    import torch
    from tiny_encoders import make_encoder

    from ftstudio.engine import loading
    from ftstudio.engine.locate import Located
    from ftstudio.tasks.base import Head

    base = make_encoder(tmp_path / "masked", "BertForMaskedLM")
    head = Head(kind, ("a", "b") if kind != "encoder" else ())
    spec = loading.ModelSpec(str(base), "float32", "cpu", methods.Quantisation(), head)
    model: Any = loading.load(Located(base, "masked"), spec)
    quantised = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    assert any("attention" in name for name in quantised)
    assert not any("pooler" in name for name in quantised)
    with torch.no_grad():
        model(input_ids=torch.arange(5, 15)[None])


def test_a_pooler_that_no_file_holds_learns_beside_the_adapter_and_is_saved(tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from tiny_encoders import make_encoder

    from ftstudio.engine import loading
    from ftstudio.engine.locate import Located
    from ftstudio.engine.plan import weigh
    from ftstudio.engine.recipes import check_recipe
    from ftstudio.engine.saving import save_weights
    from ftstudio.engine.skeleton import skeleton
    from ftstudio.tasks.base import Head

    base = make_encoder(tmp_path / "masked", "BertForMaskedLM")  # a masked model has no pooler
    spec = loading.ModelSpec(str(base), "float32", "cpu", None, Head("sequence-classification", ("a", "b", "c")))
    method = methods.get("lora")
    settings = method.settings({"r": 2, "dropout": 0})
    model = method.apply(loading.load(Located(base, "masked"), spec), settings)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert any("pooler" in name and "lora" not in name for name in learning)
    assert not any("pooler" in name and "lora" in name for name in learning)
    ids = torch.arange(20).reshape(2, 10) + 5
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(2):
        model(input_ids=ids, labels=torch.tensor([0, 2])).loss.backward()
        optimizer.step()
    said = model.eval()(input_ids=ids).logits
    save_weights(model, tmp_path / "saved")
    other = loading.ModelSpec(
        str(base), "float32", "cpu", None, Head("sequence-classification", ("a", "b", "c"), seed=9)
    )
    again = PeftModel.from_pretrained(loading.load(Located(base, "masked"), other), str(tmp_path / "saved")).eval()
    assert float((again(input_ids=ids).logits - said).abs().max()) < 1e-5  # whatever the base's pooler was drawn as
    recipe = check_recipe({"task": "text-classification", "model": str(base), "data": {"train": "demo"}})
    counted = weigh(skeleton(recipe), method, settings, "fp32", "adamw")  # before the labels are known: one output
    assert counted.trainable == sum(w.numel() for w in model.parameters() if w.requires_grad) - 2 * 33


@pytest.mark.parametrize(("name", "values", "key"), [
    ("prompt", {"encoder": "lstm"}, "encoder"),
    ("prompt", {"kind": "prefix", "width": 64}, "width"),
    ("adapter", {"kind": "ia3", "dropout": 0.5}, "dropout"),
    ("freeze", {"train": "bias", "layers": 1}, "layers"),
    ("qlora", {"quantisation": "int8", "compute": "bf16"}, "compute"),
])  # fmt: skip
def test_a_setting_that_would_do_nothing_is_refused(name: str, values: dict, key: str):
    method = methods.get(name)
    found = methods.refuse(method, method.settings(values), methods.Facts())
    assert [refusal.key for refusal in found] == [f"method.{key}"]
    assert "do nothing" in found[0].text
    assert found[0].hint
    plain = method.settings({field: value for field, value in values.items() if field != key})
    assert not methods.refuse(method, plain, methods.Facts())  # a resolved recipe writes defaults out
    assert not methods.refuse(method, method.settings(plain.model_dump()), methods.Facts())


def test_what_is_only_read_through_others_cant_learn_whole():
    from tiny_zoo import bart

    model = bart()[0]
    method = methods.get("lora")
    settings = {"r": 2, "targets": "attention"}
    with pytest.raises(StudioError, match=r"encoder\.embed_tokens") as raised:
        method.apply(model, method.settings({**settings, "modules_to_save": ["shared"]}))
    assert "Name embed_tokens" in raised.value.hint
    wrapped = method.apply(model, method.settings({**settings, "modules_to_save": ["embed_tokens", "lm_head"]}))
    assert sum("modules_to_save" in key for key, weight in wrapped.named_parameters() if weight.requires_grad) == 3


def test_only_the_language_side_of_what_sees_learns():
    from tiny_zoo import llava

    from ftstudio.methods import anatomy

    method = methods.get("freeze")
    model = method.apply(llava()[0], method.settings({"train": "norm"}))
    learning = [key for key, weight in model.named_parameters() if weight.requires_grad]
    assert learning
    assert {anatomy.side(key) for key in learning} == {"language"}
    with pytest.raises(StudioError, match="no biases on its language side"):
        method.apply(llava()[0], method.settings({"train": "bias"}))


def test_the_norm_of_barts_embeddings_stays_frozen_below_frozen_layers():
    """It is named behind the layers, and lies before them: gradients would flow through all of them."""
    from tiny_zoo import bart

    method = methods.get("freeze")
    model = method.apply(bart()[0], method.settings({"layers": 1}))
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert not [name for name in learning if "layernorm_embedding" in name]
    assert {name.rpartition(".layers.")[2].partition(".")[0] for name in learning} == {"1"}
