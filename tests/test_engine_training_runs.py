"""Whole trainings through the worker: every method, its events, its saved model, requests while it runs, failures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import callback, drift, report
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.samples import Samples
from ftstudio.engine.worker import Worker

METHODS = ("full", "lora", "qlora")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_model(folder / "model", hidden_size=64)  # 4-bit layers are made of blocks of 64 weights
    make_rows(folder / "rows.jsonl")
    return folder


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "INTERVAL", 0.0)


def prepared(base: Path, space: Path, method: str = "lora", **training: Any) -> RunFolder:
    values = recipe_values(base / "model", base / "rows.jsonl", method, **training)
    return prepare_run(check_recipe(values), Workspace(space))


def events(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def losses(run: RunFolder) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in events(run, "step")}


@pytest.fixture(scope="module")
def finished(base: Path, worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """One unbroken run of each method."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "INTERVAL", 0.0)
        patch.setattr(drift, "SIZES", (1 << 10,))  # a short text does
        for method in METHODS:
            values = recipe_values(base / "model", base / "rows.jsonl", method)
            values["evaluation"]["forgetting"] = True
            run = prepare_run(check_recipe(values), Workspace(tmp_path_factory.mktemp("space")))
            worker.execute(Train(run.path))
            found[method] = run
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_run_tells_its_story(finished: dict[str, RunFolder], method: str):
    run = finished[method]
    assert run.state() == "done"
    start = events(run, "start")[0]
    assert start["method"] == method
    assert start["device"] == "cpu"
    assert start["precision"] == "fp32"
    assert start["rows"] == {"train": 32, "eval": 8}
    assert start["total_steps"] == 8
    assert start["steps_per_epoch"] == 8
    assert start["tokens"]["trained"] < start["tokens"]["total"]
    assert start["resumed_from"] is None
    trainable, total = start["parameters"]["trainable"], start["parameters"]["total"]
    assert trainable == total if method == "full" else 0 < trainable < total / 2
    steps = events(run, "step")
    assert [event["step"] for event in steps] == list(range(1, 9))
    for event in steps:
        assert set(event) >= {"epoch", "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "seconds", "eta"}
    assert steps[-1]["tokens"] == start["tokens"]["total"]  # one epoch: every token once, no padding counted
    assert 0 <= steps[-1]["eta"] < 10  # the last evaluation and checkpoint are still to come
    assert [event["step"] for event in events(run, "eval")] == [0, 4, 8]
    assert [event["step"] for event in events(run, "checkpoint")] == [3, 6, 8]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["checkpoint-6", "checkpoint-8"]
    samples = events(run, "sample")
    assert [(event["step"], event["index"]) for event in samples] == [(s, i) for s in (0, 4, 8) for i in (0, 1)]
    assert [event["base"] for event in samples[:2]] == [event["output"] for event in samples[:2]]
    assert len({event["base"] for event in samples if event["index"] == 0}) == 1
    done = events(run, "done")[0]
    assert done["loss"]["first"] == steps[0]["loss"]
    assert done["loss"]["last"] == steps[-1]["loss"]
    assert done["eval"]["loss"] == events(run, "eval")[-1]["loss"]
    assert done["tokens_per_second"] > 0
    assert done["peak_memory_bytes"] > 1 << 20
    assert done["reload_difference"] == 0.0
    assert run.owner() is None


@pytest.mark.parametrize("method", METHODS)
def test_forgetting_is_measured_at_every_evaluation(finished: dict[str, RunFolder], method: str):
    import torch

    from ftstudio import demo
    from ftstudio.engine.forgetting import bits_per_byte, documents
    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.recipes import load_recipe

    run = finished[method]
    told = events(run, "forgetting")
    assert [event["step"] for event in told] == [0, 4, 8]
    assert told[0]["change"] == 0.0  # the base is its own
    assert abs(told[0]["kl"]) < 1e-3
    assert all(event["change"] == event["bits_per_byte"] - event["base_bits_per_byte"] for event in told)
    assert told[2]["kl"] > 2 * abs(told[0]["kl"])
    # the same figures from the saved model, loaded anew
    loaded = ModelStore().tuned(run, load_recipe(run.recipe_path))
    text = documents(demo.GENERAL)
    text = next(text[:n] for n in range(1, 99) if sum(len(one.encode()) for one in text[:n]) == told[2]["bytes"])
    with loaded.as_tuned() as model:
        again = bits_per_byte(model, loaded_tokenizer(run), text)
        gauge = drift.Drift(run, run.path / "forgetting.json", loaded_tokenizer(run), text, lambda: False)
        kl = gauge.divergence(model)
    assert again.per_byte == pytest.approx(told[2]["bits_per_byte"], rel=1e-4)
    assert kl == pytest.approx(told[2]["kl"], rel=1e-3, abs=1e-6)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("lora", {"architecture": {"new_tokens": ["<call>", "please"], "drop_layers": "last 1"}}),
        pytest.param("full", {"architecture": {"drop_layers": "last 1"}}, marks=pytest.mark.slow),
        pytest.param("lora", {"method": {"init": "pissa"}}, marks=pytest.mark.slow),
    ],
    ids=["adapter", "full", "pissa"],
)
def test_the_base_of_a_changed_model_is_the_base_as_it_is(
    finished: dict[str, RunFolder], base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str, more: dict[str, Any],
):  # fmt: skip
    """Not the model before its first step, which misses layers, holds new tokens or is what PiSSA leaves of it."""
    monkeypatch.setattr(drift, "SIZES", (1 << 10,))
    values = recipe_values(base / "model", base / "rows.jsonl", method, steps=2, save_steps=1)
    asked: list[tuple[int, int]] = []  # the layers and tokens of the model that gives the base's answers
    answer = Samples.ask_base

    def ask(self: Samples, model: Any, *more: Any) -> None:
        asked.append((len(model.model.layers), model.config.vocab_size))
        answer(self, model, *more)

    monkeypatch.setattr(Samples, "ask_base", ask)
    values["method"] |= more.get("method", {})
    values |= {"architecture": more.get("architecture", {})}
    values["evaluation"] |= {"forgetting": True, "every": 2}
    run = prepare_run(check_recipe(values), Workspace(tmp_path))
    worker.execute(Train(run.path))
    assert run.state() == "done", run.events()[-1]
    known = finished["lora"]  # the same base and rows, nothing changed
    told, exact = events(run, "forgetting"), events(known, "forgetting")[0]["base_bits_per_byte"]
    assert [event["step"] for event in told] == [0, 2]
    assert all(event["base_bits_per_byte"] == pytest.approx(exact, rel=1e-4) for event in told)
    changed = "architecture" in more
    assert (abs(told[0]["change"]) > 1e-4) == changed  # what the change alone costs is told
    assert (told[0]["kl"] > 1e-4) == changed
    mine, plain = ([one for one in events(each, "sample") if one["step"] == 0] for each in (run, known))
    assert [(one["row"], one["base"]) for one in mine] == [(one["row"], one["base"]) for one in plain]
    assert asked == ([(2, 260)] if changed else [])


def loaded_tokenizer(run: RunFolder) -> Any:
    from ftstudio.data.tokenizer import load_tokenizer

    return load_tokenizer(str(run.model))


@pytest.mark.parametrize("method", METHODS)
def test_it_learns(base: Path, worker: Worker, tmp_path: Path, method: str):
    run = prepared(base, tmp_path, method, steps=40, learning_rate=1e-2, save_steps=1000)
    worker.execute(Train(run.path))
    found = [event["loss"] for event in events(run, "eval")]
    # an adapter over random weights can only bend what the random head sees
    assert found[-1] < found[0] - (1.2 if method == "full" else 0.4)


def test_transformers_and_peft_load_what_was_saved(finished: dict[str, RunFolder], base: Path):
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = torch.arange(1, 30)[None]
    plain = AutoModelForCausalLM.from_pretrained(base / "model").eval()
    full = AutoModelForCausalLM.from_pretrained(finished["full"].model).eval()
    lora = AutoPeftModelForCausalLM.from_pretrained(finished["lora"].model).eval()
    with torch.no_grad():
        reference = plain(ids).logits
        assert not torch.allclose(full(ids).logits, reference, atol=1e-4)
        assert not torch.allclose(lora(ids).logits, reference, atol=1e-4)
        with lora.disable_adapter():
            assert torch.equal(lora(ids).logits, reference)
    for run in finished.values():
        assert AutoTokenizer.from_pretrained(run.model)("ab")["input_ids"] == [64, 65]
        assert all(path.suffix in (".safetensors", ".json") for path in run.model.iterdir())


@pytest.mark.parametrize("method", METHODS)
def test_the_store_serves_base_and_tuned_from_one_load(
    finished: dict[str, RunFolder], worker: Worker, base: Path, method: str
):
    import torch

    from ftstudio.engine.models import ModelStore, recipe_of

    run = finished[method]
    recipe = recipe_of(run)
    ids = torch.arange(1, 30)[None]
    with torch.no_grad():
        fresh = ModelStore().base(recipe).model(ids).logits
        store = ModelStore()
        loaded = store.tuned(run)
        with loaded.as_tuned() as model:
            tuned = model(ids).logits
        assert loaded.shares_base == (method != "full")
        if loaded.shares_base:
            with loaded.as_base() as model:
                assert torch.equal(model(ids).logits, fresh)
            assert store.tuned(run).model is loaded.model
        base_again = store.base(recipe)
        assert torch.equal(base_again.model(ids).logits, fresh)
        assert not torch.allclose(tuned, fresh, atol=1e-5)
        # the worker's own store has trained on its base by now, and it is still the base
        assert worker._models is not None
        assert torch.equal(worker._models.base(recipe).model(ids).logits, fresh)


def test_two_adapters_over_one_base_keep_apart(base: Path, worker: Worker, tmp_path: Path):
    import torch

    from ftstudio.engine.models import ModelStore

    runs = [prepared(base, tmp_path, "lora", steps=2, seed=seed) for seed in (1, 2)]
    for run in runs:
        worker.execute(Train(run.path))
    store = ModelStore()
    ids = torch.arange(1, 30)[None]
    with torch.no_grad():
        alone = [ModelStore().tuned(run).model(ids).logits for run in runs]
        first, second = (store.tuned(run) for run in runs)
        for _ in range(2):
            for loaded, expected in ((first, alone[0]), (second, alone[1])):
                with loaded.as_tuned() as model:
                    assert torch.equal(model(ids).logits, expected)
    assert not torch.equal(*alone)


def test_what_training_switches_on_the_kept_base_is_switched_off(base: Path, tmp_path: Path):
    from ftstudio.engine.models import recipe_of

    worker = Worker()
    run = prepared(base, tmp_path, "lora", steps=2, gradient_checkpointing=True)
    worker.execute(Train(run.path))
    assert run.state() == "done"
    assert worker._models is not None
    model = worker._models.base(recipe_of(run)).model
    assert model.config.use_cache
    assert not any(module.training for module in model.modules())
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any("lora" in name for name, _ in model.named_modules())
    plain = prepared(base, tmp_path, "lora", steps=2)
    worker.execute(Train(plain.path))
    assert losses(run)[1] == pytest.approx(losses(plain)[1], abs=1e-6)


def test_a_real_model_learns_real_rows(shared: Path, worker: Worker, tmp_path: Path):
    values = recipe_values(shared / "models/stories260k", shared / "data/gsm8k/train.jsonl", "qlora", steps=10)
    values["data"] |= {"limit": 60, "max_length": 160, "accepted": ["all_labels_masked"]}
    run = prepare_run(check_recipe(values), Workspace(tmp_path))
    worker.execute(Train(run.path))
    done = events(run, "done")[0]
    found = [event["loss"] for event in events(run, "eval")]
    assert found[-1] < found[0] - 0.5
    assert done["reload_difference"] == 0.0


def when(run: RunFolder, true: Callable[[], bool], then: Callable[[], None], seconds: float = 60) -> threading.Thread:
    """In a thread of its own: wait until TRUE, then do THEN."""

    def wait() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                then()
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take long enough for requests to arrive in between."""
    stepped = callback.RunDirector.stepped

    def slower(self: Any, *args: Any) -> None:
        stepped(self, *args)
        time.sleep(0.15)

    monkeypatch.setattr(callback.RunDirector, "stepped", slower)


@pytest.mark.usefixtures("slow_steps")
def test_stop_saves_and_resume_ends_exactly_like_an_unbroken_run(
    base: Path, worker: Worker, tmp_path: Path, finished: dict[str, RunFolder]
):
    import torch
    from safetensors.torch import load_file

    run = prepared(base, tmp_path, "lora")
    thread = when(run, lambda: 2 in losses(run), lambda: run.request("stop"))
    worker.execute(Train(run.path))
    thread.join()
    assert run.state() == "stopped"
    stopped = events(run, "stopped")[0]
    assert 2 <= stopped["step"] < 8
    assert (run.model / "adapter_model.safetensors").is_file()
    assert (run.checkpoints / f"checkpoint-{stopped['step']}" / "complete.json").is_file()
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done"
    assert events(run, "start")[1]["resumed_from"] == stopped["step"]
    whole = finished["lora"]
    assert losses(run) == losses(whole)
    ours, theirs = (load_file(one.model / "adapter_model.safetensors") for one in (run, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert events(run, "step")[-1]["tokens"] == events(whole, "step")[-1]["tokens"]
    assert events(run, "done")[0]["loss"] == events(whole, "done")[0]["loss"]


@pytest.mark.usefixtures("slow_steps")
def test_pause_checkpoint_evaluate_resume(base: Path, worker: Worker, tmp_path: Path, finished: dict[str, RunFolder]):
    run = prepared(base, tmp_path, "lora")

    def while_paused() -> None:
        before, kinds = len(losses(run)), ("checkpoint", "eval")
        told, end = [len(events(run, kind)) for kind in kinds], time.monotonic() + 60
        run.request("checkpoint")
        run.request("evaluate")
        while run.state() != "paused" or any(len(events(run, kind)) == n for kind, n in zip(kinds, told, strict=True)):
            assert time.monotonic() < end, run.events()[-1]
            time.sleep(0.02)
        time.sleep(0.5)  # three steps, if it went on
        assert len(losses(run)) == before  # it waits
        assert run.state() == "paused"
        run.request("resume")

    seen: list[BaseException] = []

    def guarded() -> None:
        try:
            while_paused()
        except BaseException as error:
            seen.append(error)
            run.request("resume")

    first = when(run, lambda: 1 in losses(run), lambda: run.request("pause"))
    second = when(run, lambda: run.state() == "paused", guarded)
    worker.execute(Train(run.path))
    first.join()
    second.join()
    assert not seen, seen
    assert run.state() == "done"
    paused_at = next(event for event in run.events() if event.get("phase") == "paused")["text"].split()[-1]
    assert int(paused_at) in [event["step"] for event in events(run, "checkpoint")]
    assert int(paused_at) in [event["step"] for event in events(run, "eval")]
    assert losses(run) == losses(finished["lora"])  # none of it changed what was learnt


def test_a_loss_that_is_no_number_fails_the_run_and_saves_nothing(base: Path, worker: Worker, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "model"
    broken.mkdir()
    for path in (base / "model").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["lm_head.weight"][3] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    values = recipe_values(broken, base / "rows.jsonl", "lora", save_steps=1)
    run = prepare_run(check_recipe(values), Workspace(tmp_path / "space"))
    worker.execute(Train(run.path))
    assert run.state() == "failed"
    assert "not a finite number" in events(run, "failed")[0]["text"]
    assert events(run, "alert")[-1]["level"] == "error"
    assert not events(run, "checkpoint")
    assert not run.model.exists()
    for line in run.events_path.read_text().splitlines():
        assert "NaN" not in json.dumps(json.loads(line, parse_constant=lambda name: f"{name}!"), allow_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize(("deed", "end", "kept"), [("stop", "stopped", [3]), ("alert", "done", [3, 8])])
def test_a_full_disk_keeps_the_last_checkpoint_and_says_so(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str, end: str, kept: list[int]
):
    import errno

    import torch

    from ftstudio.engine import resume

    save, calls = torch.save, []

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        calls.append(path)
        if "checkpoint-6" in str(path):
            save(value, path, *args, **kwargs)
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    run = prepared(base, tmp_path, "lora", watch={"disk": deed})
    worker.execute(Train(run.path))
    assert calls
    assert run.state() == end
    [alert] = [alert for alert in events(run, "alert") if alert.get("watch") == "disk"]
    assert alert["action"] == deed
    assert "disk is full" in alert["text"]
    assert {path.name for path in run.checkpoints.iterdir()} == {f"checkpoint-{step}" for step in kept}
    assert resume.newest(run.checkpoints) == run.checkpoints / f"checkpoint-{kept[-1]}"
    if deed == "alert":
        return
    assert run.events()[-1]["by"] == "disk"
    monkeypatch.undo()
    monkeypatch.setattr(report, "INTERVAL", 0.0)
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done"


def test_rows_that_are_cut_or_left_out_are_counted_and_told(base: Path, worker: Worker, tmp_path: Path):
    values = recipe_values(base / "model", base / "rows.jsonl", "lora", steps=1)
    values["data"] |= {"max_length": 40, "accepted": ["all_labels_masked"]}
    run = prepare_run(check_recipe(values), Workspace(tmp_path))
    worker.execute(Train(run.path))
    tokens = events(run, "start")[0]["tokens"]
    assert tokens["lost"] > 0
    told = " ".join(event["text"] for event in events(run, "alert"))
    assert f"{tokens['lost']:,} tokens are cut off" in told
    assert "rows can't be used" in told


def test_a_vocabulary_that_does_not_fit_is_refused(base: Path, worker: Worker, tmp_path: Path):
    small = make_model(tmp_path / "small", vocab_size=100, eos_token_id=1, bos_token_id=0, pad_token_id=2)
    values = recipe_values(small, base / "rows.jsonl", "full")
    run = prepare_run(check_recipe(values), Workspace(tmp_path / "space"))
    worker.execute(Train(run.path))
    assert "only 100 tokens" in events(run, "failed")[0]["text"]


def test_fast_steps_are_told_at_a_bounded_rate_and_the_last_always(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report, "INTERVAL", 3600.0)
    run = prepared(base, tmp_path, "lora", save_steps=1000)
    worker.execute(Train(run.path))
    # the first, those held back before the evaluation in the middle, and the last
    assert [event["step"] for event in events(run, "step")] == [1, 4, 8]
