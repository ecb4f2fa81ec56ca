"""What `ftstudio export` writes, read by the libraries alone and held against the run's own model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_encoder, make_labelled, make_model, make_rows, make_sentence_encoder, recipe_values

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.export import export
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker

pytest.importorskip("torch")
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"name": "lora", "r": 4}, "dora": {"name": "lora", "r": 4, "dora": True},
    "qlora": {"name": "qlora", "r": 4}, "ia3": {"name": "adapter", "kind": "ia3"}, "full": {"name": "full"},
    "prompt": {"name": "prompt"},
}  # fmt: skip
CONVERTER = """
import json, pathlib, struct, sys
model, to = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[sys.argv.index("--outfile") + 1])
with open(model / "model.safetensors", "rb") as file:
    [size] = struct.unpack("<Q", file.read(8))
    names = [name for name in json.loads(file.read(size)) if name != "__metadata__"]
to.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, len(names), 0))
"""
Make = Callable[[str, str], RunFolder]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Runs of (task, method) on tiny models, each trained once."""
    place, worker, known = tmp_path_factory.mktemp("export"), Worker(), {}
    bases = {"sft": make_model, "text-classification": make_encoder}

    def run(task: str, method: str) -> RunFolder:
        if (task, method) not in known:
            base, rows = place / task / "base", place / task / "rows.jsonl"
            if not base.is_dir():
                (place / task).mkdir()
                bases.get(task, lambda folder: make_sentence_encoder(folder, dense=16))(base)
                make_labelled(rows, count=60) if task != "sft" else make_rows(rows)
                if task == "embedding":
                    pairs = [json.loads(line)["text"] for line in rows.read_text().splitlines()]
                    rows.write_text(
                        "\n".join(json.dumps({"anchor": text, "positive": f"{text} red"}) for text in pairs)
                    )
            values = recipe_values(base, rows, steps=2, learning_rate=2e-2, save_steps=9)
            values |= {"task": task, "method": METHODS[method]}
            values["data"].pop("max_length")
            values["evaluation"] = {"every": 9, "samples": 0, "rows": 4, "forgetting": False}
            if task == "few-shot-classification":
                values["options"] = {"shots": 4, "max_pairs": 32}
            known[task, method] = prepare_run(check_recipe(values), Workspace(place / "studio"))
            worker.execute(Train(known[task, method].path))
        found = known[task, method]
        assert found.state() == "done", found.events()[-1]
        return found

    return run


def base_of(run: RunFolder) -> Path:
    from ftstudio.engine.recipes import load_recipe

    return Path(load_recipe(run.recipe_path).model)


def loaded(task: str, folder: Path) -> Any:
    """The model in FOLDER, by transformers alone."""
    import transformers

    kind = {"sft": "AutoModelForCausalLM"}.get(task, "AutoModelForSequenceClassification")
    return getattr(transformers, kind).from_pretrained(folder, dtype="float32").eval()


@pytest.mark.parametrize(("task", "method"), [
    ("sft", "lora"),
    *(pytest.param("sft", method, marks=pytest.mark.slow) for method in ("dora", "qlora", "ia3", "full")),
    *(pytest.param("text-classification", method, marks=pytest.mark.slow) for method in ("lora", "ia3", "full")),
])  # fmt: skip
def test_the_merged_folder_is_the_tuned_model(made: Make, tmp_path: Path, task: str, method: str) -> None:
    import torch
    from peft import PeftModel

    run = made(task, method)
    told = export(run, "merged", tmp_path / "merged")
    assert told["verified"]
    ids = torch.arange(5, 25)[None]
    base_folder = base_of(run)
    merged = loaded(task, tmp_path / "merged")
    with torch.no_grad():
        found = merged(input_ids=ids).logits
        if method == "full":
            wanted = loaded(task, run.model)(input_ids=ids).logits
        elif task == "sft":
            over = PeftModel.from_pretrained(loaded(task, base_folder), str(run.model)).eval()
            wanted = over(input_ids=ids).logits
            assert float((found - loaded(task, base_folder)(input_ids=ids).logits).abs().max()) > 1e-3
        else:  # its head is new, and lies in the adapter's file
            base = type(merged).from_pretrained(base_folder, num_labels=3).eval()
            wanted = PeftModel.from_pretrained(base, str(run.model)).eval()(input_ids=ids).logits
    assert float((found - wanted).abs().max()) < 1e-3
    if task == "text-classification":
        assert sorted(merged.config.label2id) == ["blue", "green", "red"]
    assert (tmp_path / "merged" / "tokenizer.json").is_file()
    assert run.name in (tmp_path / "merged" / "README.md").read_text()
    with pytest.raises(StudioError, match="is there already"):
        export(run, "merged", tmp_path / "merged")


@pytest.mark.slow
@pytest.mark.parametrize(("task", "method"), [
    ("embedding", "lora"), ("embedding", "full"), ("few-shot-classification", "lora"),
])  # fmt: skip
def test_a_merged_encoder_loads_as_a_sentence_transformer(made: Make, tmp_path: Path, task: str, method: str) -> None:
    import numpy as np
    from sentence_transformers import SentenceTransformer

    run = made(task, method)
    export(run, "merged", tmp_path / "merged")
    texts = ["red cats run", "seven birds sleep slowly", "a dog " * 40]
    merged, tuned, base = (
        SentenceTransformer(str(folder), device="cpu").encode(texts)
        for folder in (tmp_path / "merged", run.model, base_of(run))
    )
    assert merged.shape == (3, 16)  # through the dense layer
    assert np.abs(merged - tuned).max() < 1e-5
    assert np.abs(merged - base).max() > 1e-3
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    if task == "few-shot-classification":
        assert (tmp_path / "merged" / "head.safetensors").is_file()


def test_an_adapter_lies_over_its_base_and_a_whole_model_has_none(made: Make, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel

    run = made("sft", "lora")
    export(run, "adapter", tmp_path / "adapter")
    ids, folder = torch.arange(5, 25)[None], base_of(run)
    found, wanted = (
        PeftModel.from_pretrained(loaded("sft", folder), str(place)).eval()(input_ids=ids).logits
        for place in (tmp_path / "adapter", run.model)
    )
    assert torch.equal(found, wanted)
    card = export(run, "card", tmp_path / "card")
    assert (card["difference"], [path.name for path in (tmp_path / "card").iterdir()]) == (0.0, ["README.md"])
    text = (tmp_path / "card" / "README.md").read_text()
    assert "| task | sft |" in text
    assert f"base_model: {json.dumps(folder.name)}" in text


@pytest.mark.slow
def test_what_has_no_adapter_or_no_merging_says_so(made: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it has no adapter"):
        export(made("sft", "full"), "adapter", tmp_path / "adapter")
    with pytest.raises(StudioError, match="can't be merged"):
        export(made("sft", "prompt"), "merged", tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_gguf_goes_through_the_converter_of_llama_cpp(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made("sft", "lora")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StudioError, match="which is neither on the PATH nor in") as told:
        export(run, "gguf", tmp_path / "gguf")
    assert f"ftstudio export {run.name} merged" in told.value.hint
    assert "convert_hf_to_gguf.py FOLDER --outfile" in told.value.hint
    llama = tmp_path / "llama.cpp"
    llama.mkdir()
    (llama / "convert_hf_to_gguf.py").write_text(CONVERTER)
    monkeypatch.setenv("LLAMA_CPP", str(llama))
    found = export(run, "gguf", tmp_path / "gguf")
    assert found["verified"]
    assert sorted(path.name for path in (tmp_path / "gguf").iterdir()) == ["README.md", f"{run.name}.gguf"]
    assert (tmp_path / "gguf" / f"{run.name}.gguf").read_bytes()[:4] == b"GGUF"
    for script, said in (("raise SystemExit('Model LlamaX is not supported')", "not supported"), ("", "no whole file")):
        (llama / "convert_hf_to_gguf.py").write_text(script)
        with pytest.raises(StudioError, match=said):
            export(run, "gguf", tmp_path / "other")
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("zoo", "module"), [
    ("bart", "embed_tokens"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (
        ("bart", "lm_head"), ("t5", "lm_head"), ("t5", "embed_tokens"), ("gpt2", "wte"), ("qwen3", "lm_head"),
    )),
])  # fmt: skip
def test_weights_that_were_one_and_differ_now_are_written_apart(tmp_path: Path, zoo: str, module: str) -> None:
    import torch
    from tiny_zoo import make

    from ftstudio import methods
    from ftstudio.engine.tying import untie

    model, batch = make(zoo)
    method, kind = methods.get("lora"), type(model)
    settings = {"r": 2, "targets": "attention", "modules_to_save": [module]}
    tuned = method.apply(model.eval(), method.settings(settings)).eval()
    with torch.no_grad():
        for weight in tuned.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
        wanted = tuned(**batch).logits
        whole = tuned.merge_and_unload()
        assert untie(whole)
        whole.save_pretrained(tmp_path)
        again, told = kind.from_pretrained(tmp_path, output_loading_info=True)
        assert not told["missing_keys"]
        assert float((again.eval()(**batch).logits - wanted).abs().max()) < 1e-4
    assert not untie(make(zoo)[0])  # still one: left alone


def test_merging_looks_first_whether_memory_takes_it_and_says_what_was_compared(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftstudio.engine.export import quantised_note
    from ftstudio.engine.recipes import load_recipe

    run = made("sft", "lora")
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": 9_000, "total": 1 << 40}))
    monkeypatch.setattr("psutil.swap_memory", lambda: type("", (), {"free": 0}))
    with pytest.raises(StudioError, match=r"Merging takes .* are free"):
        export(run, "merged", tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []
    recipe = load_recipe(run.recipe_path)
    assert quantised_note(recipe) == ""
    method = recipe.method.model_copy(update={"name": "qlora"})
    assert "nf4" in quantised_note(recipe.model_copy(update={"method": method}))
