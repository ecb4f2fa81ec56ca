"""Benchmarks by lm_eval: pairs over the same questions; failures that cost nothing else; the real thing, slow."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core import files
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Compare, Train
from ftstudio.core.workspace import Workspace
from ftstudio.engine import harness, harness_child
from ftstudio.engine.context import JobContext


def scored(right: int, n: int = 60) -> harness.Values:
    return {"facts": {"acc": {question: float(question < right) for question in range(n)}}}


def test_arms_are_compared_over_the_questions_of_both() -> None:
    values = {"base": scored(20), "tuned": scored(40, 50)}
    [entry] = harness.compared("base", "tuned", values)
    assert (entry["n"], entry["value_a"], entry["value_b"], entry["difference"]) == (50, 0.4, 0.8, 0.4)
    assert entry["p"] == pytest.approx(2 / 2**20)  # McNemar: twenty gained, none lost
    assert entry["verdict"] == "better"
    worse = {"base": {"lm": {"word_perplexity": dict.fromkeys(range(30), 10.0)}},
             "tuned": {"lm": {"word_perplexity": {q: 12.0 + q / 10 for q in range(30)}}}}  # fmt: skip
    assert harness.compared("base", "tuned", worse)[0]["verdict"] == "worse"


@pytest.mark.parametrize(
    ("metric", "told", "verdict"),
    [
        ("ter", None, "worse"),
        ("wer,none", None, "worse"),
        ("cer", None, "worse"),
        ("criterion", None, "greater"),  # holds "ter"
        ("criterion", True, "better"),
        ("character_f1", False, "worse"),
        ("exact_match,strict-match", None, "better"),
    ],
)
def test_which_way_is_better_is_the_tasks_word_or_known_by_name(metric: str, told: bool | None, verdict: str) -> None:
    values = {"base": {"t": {metric: dict.fromkeys(range(30), 1.0)}},
              "tuned": {"t": {metric: {q: 2.0 + q / 10 for q in range(30)}}}}  # fmt: skip
    ways = {} if told is None else {"t": {metric: told}}
    assert harness.compared("base", "tuned", values, ways)[0]["verdict"] == verdict


def test_what_lm_eval_logs_becomes_values() -> None:
    samples = [
        {"doc_id": 3, "filter": "none", "metrics": ["acc", "odd"], "acc": True, "odd": [1, 2]},
        {"doc_id": 3, "filter": "strict-match", "metrics": ["exact_match"], "exact_match": 0.0},
    ]
    assert harness_child.values({"samples": {"t": samples}}) == {
        "t": {"acc": {"3": 1.0}, "exact_match,strict-match": {"3": 0.0}}
    }
    assert harness_child.directions({"higher_is_better": {"t": {"acc": True, "odd": None}}}) == {"t": {"acc": True}}
    assert harness_child.directions({}) == {}


def asked(tmp_path: Path, **changes: Any) -> tuple[dict[str, Any], JobFolder]:
    folder = JobFolder(tmp_path / "compare")
    store = SimpleNamespace(unload=lambda: None)
    context = JobContext(folder, store, lambda: False, lambda *_: None, lambda: None)  # type: ignore[arg-type]
    spec = SimpleNamespace(dtype="float32", quantisation=None)
    arms = SimpleNamespace(views={}, specification=lambda _: spec)
    found = SimpleNamespace(
        specs={"base": 0, "tuned": 0}, materials={"base": 0, "tuned": 0}, tuned={},
        recipe=SimpleNamespace(model="demo"),
    )  # fmt: skip
    job = Compare(folder.path, (tmp_path / "run",), benchmarks=("facts",), **changes)
    return harness.run(job, context, found, arms, "base"), folder  # type: ignore[arg-type]


def test_without_the_library_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told, folder = asked(tmp_path)
    assert (told["complete"], told["differences"]) == (False, [])
    assert "pip install ftstudio[harness]" in told["reason"]
    assert [event["kind"] for event in folder.events()] == ["alert"]


def test_a_process_that_fails_is_told_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    told, _ = asked(tmp_path)  # there is no such run
    assert not told["complete"]
    assert "lm_eval failed" in told["reason"]
    assert "benchmarks.log" in told["reason"]
    told, _ = asked(tmp_path, benchmark_path=tmp_path / "nowhere")
    assert "no folder of tasks" in told["reason"]


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def child(job: Any, context: Any, missing: Any, keys: Any, path: Path, texts: str) -> str:
        calls.append({name: list(tasks) for name, tasks in missing.items()})
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            for name in missing:
                values = {"facts": {"acc": {str(q): float(q % 3 == 0) for q in range(30)}}}
                file.write(json.dumps({"key": keys[name], "task": "facts", "values": values}) + "\n")
        return ""

    monkeypatch.setattr(harness, "_child", child)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    first, _ = asked(tmp_path)
    again, _ = asked(tmp_path)
    assert calls == [{"base": ["facts"], "tuned": ["facts"]}]
    assert first["differences"] == again["differences"]
    assert first["differences"][0]["verdict"] == "no clear difference"


def test_edited_tasks_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def child(job: Any, context: Any, missing: Any, keys: Any, path: Path, texts: str) -> str:
        calls.append(sorted(missing))
        for name in missing:
            values = {"facts": {"acc": {str(q): 1.0 for q in range(30)}}}
            files.LineWriter(path).append({"key": keys[name], "task": "facts", "values": values})
        return ""

    monkeypatch.setattr(harness, "_child", child)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    place = tmp_path / "tasks"
    (place / "more").mkdir(parents=True)
    (place / "facts.yaml").write_text("task: facts")
    (place / "more" / "rows.jsonl").write_text('{"question": 1}\n')
    for edit, again in (
        (lambda: None, True),
        (lambda: (place / "notes.log").write_text("nothing that is asked"), False),
        (lambda: (place / "more" / "rows.jsonl").write_text('{"question": 2}\n'), True),
        (lambda: (place / "facts.yaml").rename(place / "facts2.yaml"), True),
        (lambda: None, False),
    ):
        edit()
        before = len(calls)
        asked(tmp_path, benchmark_path=place)
        assert len(calls) == before + again


TASK = """
task: plain_facts
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: 0
metric_list: [{metric: acc}]
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lm_eval_on_local_tasks_agrees_with_our_own_likelihoods(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from ftstudio.engine.likelihood import log_likelihoods
    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.recipes import check_recipe, load_recipe
    from ftstudio.engine.worker import Worker

    place = tmp_path / "tasks"
    place.mkdir()
    (place / "plain.yaml").write_text(TASK)
    # a random model takes the shortest answer, one that is tuned to `number` the right one
    rows = [{"question": f"What is {n}?", "choices": [f"number {n}", "a dog", "blue"]} for n in range(24)]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = make_model(tmp_path / "model")
    values = recipe_values(model, make_rows(tmp_path / "rows.jsonl"), steps=6, learning_rate=0.05)
    values["evaluation"] |= {"forgetting": False, "similarity": "static", "rows": 4}
    run = prepare_run(check_recipe(values), Workspace(tmp_path / "studio"))
    worker = Worker()
    worker.execute(Train(run.path))
    worker.execute(Compare(run.compare.path, (run.path,), benchmarks=("plain_facts",), benchmark_path=place))
    report = json.loads((run.compare.path / "report.json").read_text())
    assert report["benchmarks"]["complete"], report["benchmarks"]
    [entry] = report["benchmarks"]["differences"]
    recipe = load_recipe(run.recipe_path)
    loaded = ModelStore().tuned(run, recipe)
    from ftstudio.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(str(model))
    right = 0
    with loaded.as_tuned() as tuned:
        for row in rows:
            context = tokenizer.encode_batch([f"Question: {row['question']}\nAnswer:"])[0]
            options = tokenizer.encode_batch([f" {choice}" for choice in row["choices"]])
            logs = log_likelihoods(tuned, [(context, ids) for ids in options])
            right += logs.index(max(logs)) == 0
    assert (entry["task"], entry["metric"], entry["n"]) == ("plain_facts", "acc", 24)
    assert entry["value_b"] == pytest.approx(right / 24)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["prompt", "p-tuning", "prefix"])
def test_a_soft_prompt_stands_before_what_lm_eval_asks(tmp_path: Path, kind: str) -> None:
    """Against log-probabilities worked out by hand through peft, row by row; many at once and one by one."""
    pytest.importorskip("lm_eval")
    import torch
    from lm_eval.api.instance import Instance
    from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ftstudio.engine.harness_model import handed

    folder = make_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    common = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
    config = {
        "prompt": lambda: PromptTuningConfig(**common),
        "p-tuning": lambda: PromptEncoderConfig(encoder_hidden_size=16, **common),
        "prefix": lambda: PrefixTuningConfig(**common),
    }[kind]()
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).eval()
    with torch.no_grad():  # so far from nothing that a prompt left out or misplaced shows
        for weight in model.prompt_encoder.parameters():
            weight.normal_(0, 0.7)
    asked = [("What is 7?", " number 7"), ("Where does the otter of the long river live", " here"), ("a", " dog dog")]

    def by_hand(context: str, wanted: str) -> float:
        first = tokenizer.encode(context, add_special_tokens=False)
        ids = tokenizer.encode(context + wanted, add_special_tokens=False)
        with torch.no_grad():
            tokens = torch.tensor([ids])
            logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, -len(ids) :]
        logs = logits.log_softmax(-1)
        return sum(float(logs[place - 1, ids[place]]) for place in range(len(first), len(ids)))

    def told(lm: Any, rows: list[tuple[str, str]]) -> list[float]:
        requests = [Instance("loglikelihood", {}, row, place) for place, row in enumerate(rows)]
        return [value for value, _ in lm.loglikelihood(requests, disable_tqdm=True)]

    def written(lm: Any, rows: list[tuple[str, str]]) -> list[str]:
        until = {"until": ["\n\n"], "max_gen_toks": 6, "do_sample": False}
        requests = [Instance("generate_until", {}, (row[0], dict(until)), place) for place, row in enumerate(rows)]
        return list(lm.generate_until(requests, disable_tqdm=True))

    lm = handed(model, tokenizer)
    wanted = [by_hand(*row) for row in asked]
    assert told(lm, asked) == pytest.approx(wanted, abs=1e-4)
    assert [told(lm, [row])[0] for row in asked] == pytest.approx(wanted, abs=1e-4)
    assert written(lm, asked) == [written(lm, [row])[0] for row in asked]
    greedy = []
    for context, _ in asked:
        ids = tokenizer.encode(context, add_special_tokens=False)
        for _ in range(6):
            with torch.no_grad():
                tokens = torch.tensor([ids])
                ids.append(int(model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, -1].argmax()))
        greedy.append(tokenizer.decode(ids[-6:]))
    assert written(lm, asked) == greedy
    with model.disable_adapter():
        base = told(handed(model, tokenizer), asked)
        assert base == pytest.approx([by_hand(*row) for row in asked], abs=1e-4)
    assert max(abs(a - b) for a, b in zip(base, wanted, strict=True)) > 0.05
