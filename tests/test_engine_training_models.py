"""Finding and loading models: what is wrong with one is said in one sentence with the way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model

from ftstudio.core.architecture import Architecture
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.engine import hardware, loading
from ftstudio.engine.loading import ModelSpec
from ftstudio.engine.locate import Located, locate
from ftstudio.engine.models import ModelStore
from ftstudio.methods import Quantisation
from ftstudio.tasks.base import Head


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("sound"), hidden_size=64)


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "model"))


def recipe(model: Path | str, method: str = "lora", **training: Any) -> Recipe:
    return Recipe.model_validate(
        {"model": str(model), "method": method, "data": {"train": "x"}, "training": {"device": "cpu", **training}}
    )


def test_a_folder_and_the_demo_are_found(sound: Path, monkeypatch: pytest.MonkeyPatch):
    assert locate(str(sound)) == Located(sound, str(sound))
    monkeypatch.chdir(sound.parent)
    assert locate(f"./{sound.name}").folder == sound
    from ftstudio.demo import MODEL

    if (MODEL / "config.json").is_file():
        assert locate("demo").folder == MODEL


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("/nowhere/at/all", "no model at", "path"),
        ("./modle", "no model at", "path"),
        ("owner/never-fetched", "switched off", "demo"),
        ("a/b/c", "no model at", "path"),
        ("what is this?", "no model at", "path"),
    ],
)
def test_a_model_that_is_not_there(name: str, text: str, hint: str):
    with pytest.raises(StudioError) as caught:
        locate(name)
    assert text in caught.value.message
    assert hint in caught.value.hint


def test_a_misspelt_folder_gets_the_nearest_named(sound: Path):
    with pytest.raises(StudioError, match=f"Did you mean {sound}"):
        locate(str(sound)[:-1] + "x")


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def torn_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 200)


def half(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def shard_gone(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (without_config, "no config.json"),
        (torn_config, "can't be read as JSON"),
        (pickled, "a pickle that may run code"),
        (without_weights, "holds no weights"),
        (damaged, "holds no weights: it is empty, cut off or of another format"),
        (half, "is damaged: it has"),
        (pointer, "a pointer of Git LFS"),
        (shard_gone, "lacks 1 of its 2 weight files (model-00002-of-00002.safetensors)"),
    ],
)
def test_a_folder_that_is_no_model(folder: Path, harm: Callable[[Path], None], text: str):
    harm(folder)
    with pytest.raises(StudioError) as caught:
        locate(str(folder))
    assert text in caught.value.message
    assert caught.value.hint


def test_a_file_is_no_model(folder: Path):
    with pytest.raises(StudioError, match="is a file"):
        locate(str(folder / "config.json"))


def changed(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def unknown(folder: Path) -> None:
    changed(folder, model_type="no_such_architecture", architectures=["NoSuch"])


def own_code(folder: Path) -> None:
    changed(folder, model_type="own", auto_map={"AutoConfig": "a.B", "AutoModelForCausalLM": "a.C"})
    (folder / "a.py").write_text("raise SystemExit('model code was run')")


def incomplete(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (unknown, "no causal language model that this transformers knows"),
        (own_code, "program code of its own"),
        (damaged, "can't be"),
        (half, "can't be"),
        (incomplete, "up_proj"),
    ],
)
@pytest.mark.parametrize("quantised", [False, True])
def test_a_model_that_can_not_be_loaded(folder: Path, harm: Callable[[Path], None], text: str, quantised: bool):
    harm(folder)
    spec = ModelSpec("its name", "float32", "cpu", Quantisation() if quantised else None)
    with pytest.raises(StudioError) as caught:
        loading.load(Located(folder, "its name"), spec)
    assert caught.value.message.startswith("its name")
    assert text in caught.value.message
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_another_kind_of_model_is_refused(tmp_path: Path):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(StudioError, match="no causal language model"):
        loading.load(locate(str(tmp_path)), ModelSpec("t5", "float32", "cpu"))


def test_a_gpu_that_is_not_there_is_refused(sound: Path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(StudioError, match="auto or cpu"):
        hardware.resolve(recipe(sound, device="cuda"))
    with pytest.raises(StudioError, match="fp16 needs a GPU"):
        hardware.resolve(recipe(sound, precision="fp16"))


def test_threads_leave_a_core_to_the_screen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for there, wanted in ((1, 1), (2, 1), (16, 15)):
        monkeypatch.setattr(hardware, "cores", lambda there=there: there)
        assert hardware.threads() == wanted
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert hardware.threads() == 3


def test_the_base_stays_loaded_until_another_is_wanted(sound: Path):
    store = ModelStore()
    first = store.base(recipe(sound)).model
    assert store.loaded == str(sound.resolve())
    assert store.base(recipe(f"{sound}/")).model is first
    four_bits = store.base(recipe(sound, "qlora")).model
    assert four_bits is not first
    assert four_bits.get_memory_footprint() < first.get_memory_footprint()
    store.unload()
    assert store.loaded is None


def test_counting_weights_counts_4_bit_ones_once(sound: Path):
    store = ModelStore()
    plain = loading.parameters(store.base(recipe(sound)).model)
    packed = loading.parameters(store.base(recipe(sound, "qlora")).model)
    assert plain["total"] == packed["total"]


def test_a_run_without_a_model_says_so(sound: Path, tmp_path: Path):
    with pytest.raises(StudioError, match="no tuned model yet"):
        ModelStore().tuned_from(tmp_path / "model", recipe(sound), "my-run")


def test_a_4_bit_base_says_the_same_and_passes_gradients_on_after_an_evaluation(sound: Path):
    """On CPUs with AVX512-BF16 bitsandbytes repacks the weights at an evaluating pass unless it is kept from it."""
    import torch

    model = ModelStore().base(recipe(sound, "qlora")).model
    inputs = torch.randn(1, 5, 64)

    def gradient() -> torch.Tensor:
        given = inputs.clone().requires_grad_()
        model.train()(inputs_embeds=given, use_cache=False).logits.square().sum().backward()
        assert given.grad is not None
        return given.grad

    with torch.no_grad():
        trained = model.train()(inputs_embeds=inputs, use_cache=False).logits
    before = gradient()
    with torch.no_grad():
        evaluated = model.eval()(inputs_embeds=inputs, use_cache=False).logits
    torch.testing.assert_close(evaluated, trained)
    torch.testing.assert_close(gradient(), before)


def test_for_a_gpu_weights_never_lie_whole_in_main_memory_first(sound: Path, monkeypatch: pytest.MonkeyPatch):
    import torch
    from transformers import AutoModelForCausalLM

    asked: list[Any] = []
    read = AutoModelForCausalLM.from_pretrained

    def spied(*arguments: Any, **named: Any) -> Any:
        asked.append(named.get("device_map"))
        return read(*arguments, **named)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", spied)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: "cpu")  # what is loaded "there" can be looked at here
    where = Located(sound, "model")
    found = loading.load(where, ModelSpec("model", "float32", "cuda"))
    assert asked == [{"": "cpu"}]
    expected = loading.load(where, ModelSpec("model", "float32", "cpu")).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())
    for drawn in ({"head": Head("sequence-classification")}, {"architecture": Architecture(new_head=True)}):
        assert not loading._straight(ModelSpec("model", "float32", "cuda", **drawn))  # on the CPU, as everywhere
