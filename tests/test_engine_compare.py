"""The loop on a tiny model: train, answer with the base, compare, report; each arm held against its own load."""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import Faulty, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Answer, Compare, Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.data.example import Example
from ftstudio.engine import judging
from ftstudio.engine.answer import base_folder
from ftstudio.engine.answering import Question, _chunks
from ftstudio.engine.arms import BASE, Arms, Tuned
from ftstudio.engine.gathering import _unused, gather
from ftstudio.engine.materials import open_materials
from ftstudio.engine.outputs import Outputs
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker
from ftstudio.evaluation.predictions import Prediction, read_predictions
from ftstudio.evaluation.report import compare_text
from ftstudio.tasks.base import Prompt

pytest.importorskip("torch")
METHODS = ("lora", "qlora", "full")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with one trained run of every method, over one model and one file."""
    folder = tmp_path_factory.mktemp("compare")
    model = make_model(folder / "model")
    rows = make_rows(folder / "rows.jsonl", 60)
    workspace = Workspace(folder / "studio")
    worker = Worker()
    for method in METHODS:
        values = recipe_values(model, rows, method, steps=4, learning_rate=0.05 if method != "full" else 5e-3)
        values["evaluation"] = {
            "every": 4,
            "rows": 10,
            "samples": 0,
            "max_new_tokens": 10,
            "similarity": "static",
            "forgetting": method == "lora",  # it takes a second an arm: once is enough
        }
        run = prepare_run(check_recipe(values), workspace)
        worker.execute(Train(run.path))
        assert run.state() == "done", run.events()[-1]
    return workspace


@pytest.fixture
def studio(place: Workspace, tmp_path: Path) -> Workspace:
    """A copy of that workspace for one test."""
    copy = Workspace(tmp_path / "studio")
    shutil.copytree(place.path, copy.path)
    return copy


def run_of(studio: Workspace, method: str) -> RunFolder:
    return studio.run(f"rows-{method}-1")


def compared(run: RunFolder, *others: RunFolder, rows: int | None = None) -> dict[str, Any]:
    Worker().execute(Compare(run.compare.path, (run.path, *(other.path for other in others)), rows))
    assert run.compare.state() == "done", run.compare.events()[-1]
    return json.loads((run.compare.path / "report.json").read_text())  # type: ignore[no-any-return]


def fresh_answers(model: Any, run: RunFolder) -> dict[int, str]:
    """The oracle: transformers alone, one prompt at a time, greedy."""
    import torch

    recipe = load_recipe(run.recipe_path)
    materials = open_materials(recipe)
    found = {}
    for row, example in materials.examples(10):
        ids = torch.tensor([materials.prompt(example).ids])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=10,
            eos_token_id=list(materials.end_tokens),
            pad_token_id=258,
        )[0, ids.shape[1] :].tolist()
        if out and out[-1] in materials.end_tokens:
            out.pop()
        found[row] = materials.tokenizer.decode(out, skip_special=False)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_each_arm_answers_like_a_load_of_its_own(studio: Workspace, method: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    run = run_of(studio, method)
    report = compared(run)
    recipe = load_recipe(run.recipe_path)
    quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    arguments: dict[str, Any] = {"dtype": "float32", "attn_implementation": "sdpa"}
    if method == "qlora":
        arguments |= {"quantization_config": quantised, "device_map": {"": "cpu"}}
    base = AutoModelForCausalLM.from_pretrained(recipe.model, **arguments)
    for module in base.modules():  # bitsandbytes repacks 4-bit weights on some CPUs; widths like these break it there
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    expected_base = fresh_answers(base, run)
    if method == "full":
        tuned = AutoModelForCausalLM.from_pretrained(run.model, **arguments)
    else:
        tuned = PeftModel.from_pretrained(base, str(run.model))
    expected = fresh_answers(tuned, run)
    assert expected != expected_base
    for name, answers in ((BASE, expected_base), (run.name, expected)):
        kept = {p.row: p.output for p in read_predictions(run.compare.path / f"{name}.jsonl")}
        assert kept == answers
    check = report["checks"][run.name]
    assert check["tuned_logit_difference"] > 0.01
    if method == "full":
        assert check["base_logit_difference"] is None
    else:
        assert check["base_logit_difference"] == 0.0


def test_the_report_holds_what_the_design_promises(studio: Workspace) -> None:
    from ftstudio import demo

    run = run_of(studio, "lora")
    report = compared(run)
    assert report["rows"] == 10
    assert [arm["name"] for arm in report["arms"]] == [BASE, run.name]
    for arm in report["arms"]:
        assert {"rouge1", "rouge2", "rougeL", "similarity", "length"} <= set(arm["metrics"])
    for entry in report["differences"]:
        assert {"a", "b", "metric", "difference", "low", "high", "p", "n", "verdict"} <= set(entry)
        assert "10 more needed" in entry["verdict"]  # under 20 rows no verdict
    for entry in report["categories"]:
        assert {"name", "a", "b", "difference", "low", "high"} <= set(entry)
    assert {"truncated", "empty", "repetitive", "too_long"} <= {entry["name"] for entry in report["categories"]}
    assert report["similarity"]["name"]
    assert len(report["per_row"]) == 10
    forgotten = report["forgetting"]
    assert forgotten["change"] == pytest.approx(forgotten["tuned_bits_per_byte"] - forgotten["base_bits_per_byte"])
    assert forgotten["bytes"] <= demo.GENERAL.stat().st_size
    assert forgotten["words"].startswith(f"{run.name} forgot ")
    check_the_panel(run, forgotten["panel"][run.name])
    # a random model of 260 tokens, all but bytes themselves: about log2(260) bits a byte
    assert 7 < forgotten["base_bits_per_byte"] < 10
    end = run.compare.events()[-1]
    assert end["kind"] == "done"
    assert "ROUGE-L" in end["headline"]
    assert "bits a byte" in end["headline"]
    starts = [event for event in run.compare.events() if event["kind"] == "start"]
    assert starts[0]["rows"] == 10
    assert starts[0]["arms"] == [BASE, run.name]
    assert starts[0]["tokens_limit"] == 10


def check_the_panel(run: RunFolder, panel: dict[str, Any]) -> None:
    """The panel's figures against transformers and peft alone, one text at a time."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from ftstudio.data.tokenizer import load_tokenizer
    from ftstudio.engine.neutral import PROMPTS
    from ftstudio.evaluation import canaries

    recipe = load_recipe(run.recipe_path)
    tokenizer = load_tokenizer(recipe.model)
    plain = AutoModelForCausalLM.from_pretrained(recipe.model, dtype="float32")
    tuned = PeftModel.from_pretrained(plain, str(run.model))
    total, count = 0.0, 0
    right = {"base": 0, "tuned": 0}
    with torch.no_grad():
        for ids in tokenizer.encode_batch(PROMPTS):
            new = tuned(torch.tensor([ids])).logits[0].log_softmax(-1)
            with tuned.disable_adapter():
                old = tuned(torch.tensor([ids])).logits[0].log_softmax(-1)
            total += float((old.exp() * (old - new)).sum())
            count += len(ids)
        for question in canaries.questions()[:4]:
            context = [*tokenizer.prefix] or [257]
            context += tokenizer.encode_batch([question.context])[0]
            options = tokenizer.encode_batch([f" {option}" for option in question.options])
            for arm in right:
                with tuned.disable_adapter() if arm == "base" else contextlib.nullcontext():
                    logs = []
                    for ids in options:
                        said = tuned(torch.tensor([[*context, *ids]])).logits[0].log_softmax(-1)
                        logs.append(sum(float(said[len(context) - 1 + at, one]) for at, one in enumerate(ids)))
                right[arm] += canaries.chosen(logs, question.options) == 0
    assert panel["kl"] == pytest.approx(total / count, rel=1e-3)
    flips = panel["canaries"]
    assert flips["n"] == 80
    broken = sum(place < 4 for place in flips["broken_at"])
    fixed = sum(place < 4 for place in flips["fixed_at"])
    assert right["tuned"] - right["base"] == fixed - broken
    assert flips["tuned"] - flips["base"] == flips["fixed"] - flips["broken"]


def test_answers_to_other_options_are_others() -> None:
    """A prefix, a language, how much is hidden: what is asked changes with a task's options."""
    from types import SimpleNamespace

    from ftstudio.engine.generation import Decoding
    from ftstudio.engine.outputs import settings_of
    from ftstudio.tasks.base import Head

    shape = SimpleNamespace(name="source-target", columns={})
    materials: Any = SimpleNamespace(
        held_out=None, whole=SimpleNamespace(hash="h"), held_out_shape=shape, template=SimpleNamespace(name="plain"),
        task=SimpleNamespace(marks=dict),
    )  # fmt: skip
    spec: Any = SimpleNamespace(model="m", dtype="float32", device="cpu", quantisation=None, head=Head("seq2seq-lm"))
    recipes = [
        check_recipe({"task": "seq2seq", "model": "demo", "data": {"train": "rows.jsonl"}, "options": options})
        for options in ({"prefix": "sum up: "}, {"prefix": "translate: "})
    ]
    one, two = (settings_of(materials, recipe, spec, Decoding(8), None) for recipe in recipes)
    assert one != two
    assert len({base_folder(Workspace("studio"), recipe).path for recipe in recipes}) == 2


def test_answers_are_kept_and_borrowed_but_never_mixed(studio: Workspace) -> None:
    run = run_of(studio, "full")
    recipe = load_recipe(run.recipe_path)
    folder = base_folder(studio, recipe)
    worker = Worker()
    worker.execute(Answer(folder.path, recipe, rows=4))
    assert folder.state() == "done"
    worker.execute(Answer(folder.path, recipe))
    progress = [event for event in folder.events() if event["kind"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 10
    lines = files.read_lines(folder.path / "outputs.jsonl")
    assert len(lines) == len({line["row"] for line in lines}) == 10  # the first four weren't asked again
    first = next(event for event in run_events(worker, run) if event["kind"] == "progress" and event["arm"] == BASE)
    assert first["done"] == first["total"] == 10  # borrowed
    changed = recipe.with_changes({"evaluation.max_new_tokens": 3})
    worker.execute(Answer(folder.path, changed))
    lines = files.read_lines(folder.path / "outputs.jsonl")
    assert len(lines) == 10
    assert all(line["tokens"] <= 3 for line in lines)
    assert len(files.read_lines(folder.path / "outputs.old-1.jsonl")) == 10


def run_events(worker: Worker, run: RunFolder) -> list[dict[str, Any]]:
    worker.execute(Compare(run.compare.path, (run.path,)))
    return run.compare.events()


def test_quantised_and_plain_bases_have_folders_of_their_own(studio: Workspace) -> None:
    lora, qlora, full = (load_recipe(run_of(studio, method).recipe_path) for method in METHODS)
    assert base_folder(studio, lora).path == base_folder(studio, full).path
    assert base_folder(studio, lora).path != base_folder(studio, qlora).path
    assert base_folder(studio, lora).path.parent == studio.path / "errors"


def test_a_report_says_how_the_weights_of_every_arm_are_stored(studio: Workspace) -> None:
    """The base of a QLoRA run answers in 4 bits: nobody may take its figures for those of the base as published."""
    lora, qlora = run_of(studio, "lora"), run_of(studio, "qlora")
    plain, four = ({"weights": "float32", "computes": "float32"}, {"weights": "nf4", "computes": "float32"})
    report = compared(qlora, rows=4)
    assert [arm["stored"] for arm in report["arms"]] == [four, four]
    assert report["signature"]["base stored"] == "weights in nf4, computing in float32"
    for name in ("report.md", "report.html"):
        assert "base model, weights in nf4, computing in float32" in (qlora.compare.path / name).read_text()
        assert "comes from that" not in (qlora.compare.path / name).read_text()
    assert "base: weights in nf4, computing in float32" in " ".join(compare_text(report).split())
    report = compared(qlora, lora, rows=4)
    assert [arm["stored"] for arm in report["arms"]] == [four, four, plain]
    told = f"{lora.name} has its weights in float32, base its weights in nf4, computing in float32"
    assert told in (qlora.compare.path / "report.html").read_text()
    assert told in " ".join(compare_text(report).split())
    report = compared(lora, rows=4)
    assert [arm["stored"] for arm in report["arms"]] == [plain, plain]
    assert "base model, weights in float32 |" in (lora.compare.path / "report.md").read_text()


def test_a_tuned_models_answers_are_those_of_the_comparison(studio: Workspace) -> None:
    run = run_of(studio, "qlora")
    compared(run)
    Worker().execute(Answer(run.errors.path, load_recipe(run.recipe_path), run.path))
    assert run.errors.state() == "done", run.errors.events()[-1]
    answers = {p.row: p.output for p in read_predictions(run.errors.path / "outputs.jsonl")}
    assert answers == {p.row: p.output for p in read_predictions(run.compare.path / f"{run.name}.jsonl")}


def test_runs_of_other_methods_are_further_arms(studio: Workspace) -> None:
    lora, qlora, full = (run_of(studio, method) for method in METHODS)
    report = compared(full, qlora, lora, rows=6)
    assert [arm["name"] for arm in report["arms"]] == [BASE, full.name, qlora.name, lora.name]
    assert {(entry["a"], entry["b"]) for entry in report["differences"]} >= {(BASE, lora.name), (full.name, qlora.name)}
    together = {p.row: p.output for p in read_predictions(full.compare.path / f"{qlora.name}.jsonl")}
    compared(qlora, rows=6)
    assert together == {p.row: p.output for p in read_predictions(qlora.compare.path / f"{qlora.name}.jsonl")}


def test_a_stop_keeps_what_was_answered_and_the_next_goes_on(
    studio: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(studio, "qlora")
    monkeypatch.setattr("ftstudio.engine.generation.budget", lambda model: (10_000, 3))
    worker = Worker()
    append = Outputs.append

    def stop_after_two(self: Outputs, predictions: Any) -> None:
        append(self, predictions)
        if len(self.known) >= 6:
            run.compare.request("stop")
            worker.ask_stop()

    monkeypatch.setattr(Outputs, "append", stop_after_two)
    worker.execute(Compare(run.compare.path, (run.path,)))
    assert run.compare.state() == "stopped"
    kept = {name: read_predictions(run.compare.path / f"{name}.jsonl") for name in (BASE, run.name)}
    assert 6 <= len(kept[BASE]) < 10
    assert abs(len(kept[BASE]) - len(kept[run.name])) <= 3  # both arms got on side by side
    assert not (run.compare.path / "report.json").exists()
    monkeypatch.setattr(Outputs, "append", append)
    report = compared(run)
    assert report["rows"] == 10
    again = read_predictions(run.compare.path / f"{BASE}.jsonl")
    assert again[: len(kept[BASE])] == kept[BASE]


def spoiled(run: RunFolder, change: Callable[[Any], Any]) -> None:
    """Change all tensors of the saved adapter."""
    from safetensors.torch import load_file, save_file

    path = run.model / "adapter_model.safetensors"
    save_file({name: change(tensor) for name, tensor in load_file(path).items()}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensor: tensor * 0, "exactly the base model's numbers"),
        (lambda tensor: tensor * float("nan"), "not finite"),
    ],
)
def test_arms_that_are_not_what_they_say_are_refused(
    studio: Workspace, change: Callable[[Any], Any], words: str
) -> None:
    run = run_of(studio, "lora")
    spoiled(run, change)
    Worker().execute(Compare(run.compare.path, (run.path,)))
    end = run.compare.events()[-1]
    assert end["kind"] == "failed"
    assert words in end["text"]
    assert end["hint"]
    assert not (run.compare.path / f"{run.name}.jsonl").exists()


def test_an_adapter_that_cant_be_switched_off_is_noticed(studio: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftstudio.engine.models import Loaded, ModelStore

    run = run_of(studio, "lora")
    recipe = load_recipe(run.recipe_path)
    monkeypatch.setattr(Loaded, "as_base", lambda self: contextlib.nullcontext(self.model))
    arms = Arms(ModelStore(), recipe, [Tuned(run.name, run, recipe)])
    with pytest.raises(StudioError, match="isn't the base"):
        arms.check([Prompt([256, 5, 6, 7], "", None)])


def test_runs_over_other_rows_or_models_are_refused(studio: Workspace, tmp_path: Path) -> None:
    run, other = run_of(studio, "lora"), run_of(studio, "full")
    text = other.recipe_path.read_text()
    other.recipe_path.write_text(text.replace("  seed: 0 ", "  seed: 5 ", 1))
    Worker().execute(Compare(run.compare.path, (run.path, other.path)))
    end = run.compare.events()[-1]
    assert (end["kind"], "other held-out rows" in end["text"]) == ("failed", True)
    model = load_recipe(run.recipe_path).model
    copy = tmp_path / "another model"
    shutil.copytree(model, copy)
    other.recipe_path.write_text(text.replace(f"model: {model}", f"model: {copy}"))
    Worker().execute(Compare(run.compare.path, (run.path, other.path)))
    end = run.compare.events()[-1]
    assert (end["kind"], "the same base model" in end["hint"]) == ("failed", True)


def test_prompts_without_room_are_left_out_and_told(studio: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} " + "word " * (3 if n else 60), "completion": "x"} for n in range(6)]
    (tmp_path / "held.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    recipe = load_recipe(run_of(studio, "lora").recipe_path).with_changes(
        {"data.eval": str(tmp_path / "held.jsonl"), "resolved": None}
    )
    folder = base_folder(studio, recipe)
    Worker().execute(Answer(folder.path, recipe))
    assert folder.state() == "done", folder.events()[-1]
    assert [p.row for p in sorted(read_predictions(folder.path / "outputs.jsonl"), key=lambda p: p.row)] == [
        1,
        2,
        3,
        4,
        5,
    ]
    alert = next(event for event in folder.events() if event["kind"] == "alert")
    assert "1 held-out rows are left out" in alert["text"]
    assert "256 tokens" in alert["text"]


def test_outputs_survive_a_torn_line(tmp_path: Path) -> None:
    settings = {"decoding": "greedy"}
    row = Prediction(3, "p", "r", "o", 4, True, "base")
    Outputs(tmp_path, "base", settings).append([row])
    with open(tmp_path / "base.jsonl", "ab") as file:
        file.write(b'{"row": 4, "prompt": "q", "outp')
    again = Outputs(tmp_path, "base", settings)
    assert again.known == {3: row}
    again.append([Prediction(5, "p", None, "o")])
    assert set(Outputs(tmp_path, "base", settings).known) == {3, 5}
    assert Outputs(tmp_path, "base", {"decoding": "sampled"}).known == {}
    assert (tmp_path / "base.old-1.jsonl").exists()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 255), min_size=1, max_size=50), st.integers(1, 200), st.integers(1, 9))
def test_an_answers_room_depends_on_its_own_prompt_alone(lengths: list[int], new: int, rows: int) -> None:
    def question(row: int, length: int) -> Question:
        return Question(row, Example(()), "", None, {BASE: Prompt([5] * length, "", None)})

    asked = [question(row, length) for row, length in enumerate(lengths)]
    found = [(item, room) for batch, room in _chunks(asked, new, 256, (4000, rows)) for item in batch]
    assert sorted(item.row for item, _ in found) == list(range(len(lengths)))
    for item, room in found:
        assert 1 <= room <= new
        assert item.longest() + room <= 256
        assert room == new or room > 256 - item.longest() - 32  # at most a step of 32 is given away
        assert [room] == [alone for _, alone in _chunks([item], new, 256, (4000, rows))]


def test_what_the_recipe_declares_reaches_the_judges(studio: Workspace) -> None:
    recipe = load_recipe(run_of(studio, "full").recipe_path)
    materials = open_materials(recipe)
    rows = [Prediction(row, ex.prompt, ex.reference, "red [x] <s> zzgrbl") for row, ex in materials.examples(10)]
    context = judging.context_of(materials, rows)
    assert context.max_new_tokens == 10
    assert "<s>" in context.special_tokens
    assert "green" in context.vocabulary  # from the training answers
    assert judging.metrics_of(recipe) == ["rouge", "similarity"]
    declared = recipe.with_changes({"evaluation.format": {"labels": ["yes", "no"]}, "evaluation.metrics": ["exact"]})
    contract = judging.contract_of(declared)
    assert contract is not None
    assert contract.labels == {"yes", "no"}
    assert judging.metrics_of(declared) == ["exact_match"]
    assert judging.contract_of(recipe) is None


def test_without_its_embedding_the_rest_is_scored_and_it_is_told(studio: Workspace) -> None:
    run = run_of(studio, "full")
    text = run.recipe_path.read_text()
    run.recipe_path.write_text(text.replace("similarity: static", "similarity: /nowhere/embedding", 1))
    report = compared(run)
    assert "similarity" not in report["arms"][0]["metrics"]
    assert report["arms"][0]["metrics"]["rougeL"] >= 0
    assert any(entry["metric"] == "similarity" for entry in report["skipped"])
    alerts = [event["text"] for event in run.compare.events() if event["kind"] == "alert"]
    assert any("Similarity isn't measured" in text and "/nowhere/embedding" in text for text in alerts)


def test_other_library_versions_are_told(studio: Workspace) -> None:
    run = run_of(studio, "full")
    from importlib import metadata

    text = run.recipe_path.read_text()
    changed = text.replace(f"peft: {metadata.version('peft')}", "peft: 0.1.0")
    assert changed != text
    run.recipe_path.write_text(changed)
    Worker().execute(Answer(run.errors.path, load_recipe(run.recipe_path), run.path, rows=2))
    alerts = [event["text"] for event in run.errors.events() if event["kind"] == "alert"]
    assert any("peft" in text and "was 0.1.0" in text for text in alerts)


QUIET = "evaluation.forgetting=false"


def fails(run: RunFolder, *arms: str, **more: Any) -> str:
    with pytest.raises(StudioError) as caught:
        gather(Compare(run.compare.path, (run.path,), arms=arms, **more))
    return str(caught.value)


def test_no_arm_is_named_like_a_file_that_the_comparison_keeps() -> None:
    """`file:votes.jsonl` would set aside what people voted, `file:events.jsonl` the job's own events."""
    from types import SimpleNamespace

    nothing: Any = SimpleNamespace(specs={})
    assert [_unused(name, nothing) for name in ("votes", "events", "rival")] == ["votes-2", "events-2", "rival"]


def test_every_kind_of_arm_side_by_side(studio: Workspace, tmp_path: Path) -> None:
    run = run_of(studio, "lora")
    materials = open_materials(load_recipe(run.recipe_path))
    held_out = materials.examples(10)
    stored = tmp_path / "rival.jsonl"
    files.write_lines(stored, [{"prompt": ex.prompt, "output": f"stored {row}"} for row, ex in held_out[1:]])
    with serving(lambda messages: "served " + messages[-1]["content"][:3]) as server:
        arms = ("base+2shot", f"{run.name}@3", f"file:{stored}", f"{server.url}#tiny")
        job = Compare(run.compare.path, (run.path,), arms=arms, overrides=(QUIET,))
        Worker().execute(job)
        report = json.loads((run.compare.path / "report.json").read_text())
        asked = len(server.requests)
        Worker().execute(job)  # all of it is known
        assert len(server.requests) == asked == 10
    names = ["base+2shot", f"{run.name}@3", "rival", "tiny"]
    assert [arm["name"] for arm in report["arms"]] == names
    assert [arm["kind"] for arm in report["arms"]] == ["base", "run", "file", "server"]
    assert (report["reference"], report["rows"]) == ("base+2shot", 9)
    assert report["left_out"] == [{"row": held_out[0][0], "reason": "rival has no answer"}]
    few, checkpoint, _, served = report["arms"]
    assert checkpoint["step"] == 3
    assert (few["weights"], checkpoint["weights"]) == (BASE, f"{run.name}@3")
    assert few["shots"]["count"] == len(few["shots"]["rows"]) == 2
    assert few["prompt_tokens"]["mean"] > checkpoint["prompt_tokens"]["mean"] * 2
    assert served["usage"]["asked"] == 10
    answers = {p.row: p.output for p in read_predictions(run.compare.path / "tiny.jsonl")}
    assert answers[held_out[3][0]] == "served " + held_out[3][1].prompt[:3]
    # the checkpoint is the one of that step, alone
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(materials.recipe.model, dtype="float32", attn_implementation="sdpa")
    alone = PeftModel.from_pretrained(base, str(run.checkpoints / "checkpoint-3"))
    kept = {p.row: p.output for p in read_predictions(run.compare.path / f"{run.name}@3.jsonl")}
    assert kept == fresh_answers(alone, run)
    assert kept != {p.row: p.output for p in read_predictions(run.compare.path / "base+2shot.jsonl")}


def test_nothing_is_generated_twice(studio: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftstudio.engine import generation

    run = run_of(studio, "full")
    first = compared(run)
    kept = {path.name: path.read_text() for path in run.compare.path.glob("*.jsonl") if path.name != "events.jsonl"}
    shutil.rmtree(run.compare.path)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("generated again")

    monkeypatch.setattr(generation, "generate", never)
    again = compared(run)
    assert again["per_row"] == first["per_row"]
    for name, text in kept.items():
        lines = [json.loads(line)["row"] for line in text.splitlines() if "row" in line]
        assert sorted(lines) == sorted(p.row for p in read_predictions(run.compare.path / name))


def test_arms_that_cant_be_are_refused(studio: Workspace) -> None:
    run = run_of(studio, "lora")
    materials = open_materials(load_recipe(run.recipe_path))
    held_out = materials.examples(1)[0][0]
    assert "no checkpoint at step 2. There are: 3, 4." in fails(run, BASE, "tuned@2")
    assert "There is no run 'nobody'" in fails(run, BASE, "nobody")
    assert f"row {held_out} is no training row" in fails(run, BASE, f"base+row{held_out}")
    assert "named twice" in fails(run, BASE, BASE)
    assert "2 to 4" in fails(run, BASE)
    assert "can't be changed after training" in fails(run, BASE, "tuned", overrides=("training.seed=3",))


def test_the_test_rows_are_compared_by_themselves(studio: Workspace) -> None:
    run = run_of(studio, "lora")
    recipe = load_recipe(run.recipe_path).with_changes({"data.test": 0.2, "resolved": None})
    parted = prepare_run(recipe, studio)
    shutil.copytree(run.model, parted.model)
    asked = {}
    for part in ("eval", "test"):
        found = gather(Compare(parted.compared_on(part).path, (parted.path,), part=part))  # type: ignore[arg-type]
        asked[part] = {row for row, _ in found.examples}
    trained = {found.own.train.origin_of(place) for place in range(len(found.own.train))}
    assert len(asked["test"]) >= 8
    assert not asked["test"] & asked["eval"]
    assert not asked["test"] & trained
    job = Compare(parted.test.path, (parted.path,), rows=4, part="test", overrides=(QUIET,))
    Worker().execute(job)
    report = json.loads((parted.test.path / "report.json").read_text())
    assert (report["part"], report["rows"]) == ("test", 4)
    assert {entry["row"] for entry in report["per_row"]} <= asked["test"]
    assert "test rows" in (parted.test.path / "report.md").read_text()
    assert not (parted.compare.path / "report.json").exists()
    with pytest.raises(StudioError, match="keeps no rows for a test"):
        gather(Compare(run.test.path, (run.path,), part="test"))


def test_a_server_that_fails_costs_its_arm_alone(studio: Workspace) -> None:
    run = run_of(studio, "lora")
    with serving(lambda _: "x", Faulty(401)) as server:
        job = Compare(
            run.compare.path, (run.path,), rows=4, arms=(BASE, "tuned", f"{server.url}#tiny"), overrides=(QUIET,)
        )
        Worker().execute(job)
        report = json.loads((run.compare.path / "report.json").read_text())
        assert [arm["name"] for arm in report["arms"]] == [BASE, run.name]
        alerts = [event["text"] for event in run.compare.events() if event["kind"] == "alert"]
        assert any("tiny is left out" in text and "OPENAI_API_KEY" in text for text in alerts)
        Worker().execute(job)  # better now; only what is missing is asked
        report = json.loads((run.compare.path / "report.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == [BASE, run.name, "tiny"]
    rows = [request["body"]["messages"][0]["content"] for request in server.requests]
    assert len(rows) - len(set(rows)) <= 1  # the refused one


def test_sampled_answers_repeat_with_their_seed_and_are_averaged(studio: Workspace) -> None:
    run = run_of(studio, "lora")
    sampled = ("evaluation.temperature=1.5", "evaluation.repeats=3", QUIET)
    job = Compare(run.compare.path, (run.path,), rows=4, overrides=sampled)
    Worker().execute(job)
    report = json.loads((run.compare.path / "report.json").read_text())
    assert report["repeats"] == 3
    assert report["decoding"].startswith("sampled at temperature 1.5")
    outputs = [
        {p.row: p.output for p in read_predictions(run.compare.path / f"{BASE}{part}.jsonl")}
        for part in ("", ".repeat-2", ".repeat-3")
    ]
    assert outputs[0] != outputs[1] != outputs[2] != outputs[0]
    from ftstudio.evaluation.overlap import rouge

    materials = open_materials(load_recipe(run.recipe_path))
    means = [0.0] * 3
    for row, example in materials.examples(4):
        scores = [rouge(one[row], example.reference or "").rouge1 for one in outputs]
        means = [mean + score / 4 for mean, score in zip(means, scores, strict=True)]
        entry = next(entry for entry in report["per_row"] if entry["row"] == row)
        assert entry["arms"][BASE]["rouge1"] == pytest.approx(sum(scores) / 3)
    assert report["arms"][0]["spread"]["rouge1"] == pytest.approx(statistics.stdev(means))
    shutil.rmtree(run.compare.path)
    shutil.rmtree(studio.answers_path)
    Worker().execute(job)
    assert {p.row: p.output for p in read_predictions(run.compare.path / f"{BASE}.repeat-2.jsonl")} == outputs[1]
