"""What `--json` holds: the names that scripts rely on; and which commands do without torch."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows

from ftstudio.cli import main

HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "sentence_transformers", "textual", "plotext")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    model, rows = make_model(folder / "model"), make_rows(folder / "rows.jsonl", 60)
    path = folder / "recipe.yaml"
    path.write_text(
        f"model: {model}\nmethod: {{name: lora, r: 2}}\ndata: {{train: {rows}, eval: 0.1}}\ntraining: {{steps: 2}}\n"
        "evaluation: {rows: 3, samples: 1, max_new_tokens: 4, similarity: static}\n"
    )
    return path


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*words: object) -> Any:
        status = main([*(str(word) for word in words), "--json"])
        out, err = capfd.readouterr()
        assert status == 0, out + err
        return json.loads(out)

    return run


def holds(value: dict[str, Any], *keys: str) -> None:
    assert set(keys) <= value.keys(), set(keys) - value.keys()


def predictions(path: Path, wrong: float) -> Path:
    """120 stored outputs in which about the share WRONG of the words is another one."""
    words = ["the", "cat", "sat", "on", "a", "red", "mat", "near", "some", "old", "river", "and", "sang", "its", "song"]
    lines = []
    for row in range(120):
        draw = random.Random(row)
        reference = " ".join(draw.choices(words, k=12))
        output = " ".join(draw.choice(words) if draw.random() < wrong else word for word in reference.split())
        lines.append(json.dumps({"prompt": f"row {row}", "reference": f"{reference}.", "output": f"{output}."}))
    path.write_text("\n".join(lines))
    return path


def test_the_keys_of_every_document(say: Any, recipe: Path) -> None:
    data = say("data", recipe.parent / "rows.jsonl", "--model", recipe.parent / "model")
    holds(data, "rows", "format", "encoding", "columns", "task", "mapping", "lengths", "checks")
    assert (data["rows"], data["format"], data["task"]) == (60, "jsonl", "sft")
    assert [(column["name"], column["type"]) for column in data["columns"]] == [
        ("prompt", "text"),
        ("completion", "text"),
    ]
    assert data["mapping"] == {"prompt": "prompt", "completion": "completion"}
    for check in data["checks"]:
        holds(check, "name", "severity", "count", "rows")

    plan = say("plan", recipe, "--no-measure")
    holds(plan, "compatible", "problems", "parameters", "memory", "tokens", "seconds_estimated")
    holds(plan["parameters"], "total", "trainable")
    holds(plan["memory"], "estimated_bytes", "measured_bytes", "parts")
    holds(plan["tokens"], "total", "trained", "lost")
    for problem in plan["problems"]:
        holds(problem, "severity", "text", "key")

    done = say("train", recipe)
    holds(done, "run", "path", "state", "steps", "loss", "eval", "tokens_per_second", "peak_memory_bytes", "parameters")
    holds(done["loss"], "first", "last")
    assert done["parameters"] == plan["parameters"]
    assert done["tokens_per_second"] > 0
    assert done["peak_memory_bytes"] > 0

    [run] = say("runs")
    holds(run, "run", "state", "task", "method", "model", "steps", "loss", "started", "seconds")
    assert (run["run"], run["state"], run["steps"]) == (done["run"], "done", 2)

    errors = say("errors", done["run"])
    assert errors["rows"] == 3
    for category in errors["categories"]:
        holds(category, "name", "count", "rate", "reference_rate", "lift", "rows")

    compared(say("compare", done["run"]), 3, ["base", done["run"]])


def compared(value: dict[str, Any], rows: int, arms: list[str]) -> None:
    holds(value, "rows", "arms", "differences", "categories", "forgetting")
    assert value["rows"] == rows
    assert [arm["name"] for arm in value["arms"]] == arms
    for arm in value["arms"]:
        holds(arm["metrics"], "rouge1", "rouge2", "rougeL", "length")
    for difference in value["differences"]:
        holds(difference, "a", "b", "metric", "difference", "low", "high", "p", "n", "verdict")
    for category in value["categories"]:
        holds(category, "name", "a", "b", "difference", "low", "high")


def test_the_doctors_document(capfd: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    for check in json.loads(capfd.readouterr().out)["checks"]:
        holds(check, "name", "status", "text")


def alone(*words: object) -> tuple[Any, list[str]]:
    """The document of a command run in a process of its own, and which of the HEAVY libraries it imported."""
    program = (
        "import sys; from ftstudio.cli import main; status = main(sys.argv[1:]); "
        f"print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    command = [sys.executable, "-c", program, *(str(word) for word in words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr.split()


def test_stored_predictions_need_no_torch(tmp_path: Path) -> None:
    bad, good = predictions(tmp_path / "bad.jsonl", 0.6), predictions(tmp_path / "good.jsonl", 0.1)
    errors, heavy = alone("errors", "--predictions", bad)
    assert heavy == []
    assert errors["rows"] == 120
    assert {category["name"] for category in errors["categories"]} >= {"empty", "too_long", "repetitive", "misspelling"}
    value, heavy = alone("compare", "--predictions", bad, good)
    assert heavy == []
    compared(value, 120, ["bad", "good"])
    verdicts = {one["metric"]: one["verdict"] for one in value["differences"]}
    assert verdicts["rougeL"] == verdicts["similarity"] == "better"
    assert value["similarity"]["name"]
    words = ["compare", "--predictions", "--fail-if-worse", "--json"]
    assert main([*words[:2], str(bad), str(good), *words[2:]]) == 0
    assert main([*words[:2], str(good), str(bad), *words[2:]]) == 1


def test_looking_at_data_and_runs_needs_no_torch(recipe: Path, tmp_path: Path) -> None:
    assert alone("data", recipe.parent / "rows.jsonl")[1] == []
    assert alone("runs", "--workspace", tmp_path / "none") == ([], [])
