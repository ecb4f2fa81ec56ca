"""The bundled demo as a newcomer runs it without a terminal: one whole run of the real command, and what it claims."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftstudio import demo
from ftstudio.core.files import read_lines

PLAIN = {"low", "normal", "high", "has", "no", "a", "the", "and", "is", "when", "i", "it", "came", "with"}
PLAIN |= {"near", "behind", "under", "touch", "turn", "move"}


@dataclass
class Loop:
    """A finished demo: its workspace, its JSON, and what it said to people meanwhile."""

    workspace: Path
    report: dict[str, Any]
    said: str

    @property
    def run(self) -> Path:
        return Path(self.report["train"]["path"])

    def difference(self, metric: str) -> dict[str, Any]:
        [found] = [entry for entry in self.report["compare"]["differences"] if entry["metric"] == metric]
        return found

    def answers(self, arm: str) -> list[dict[str, Any]]:
        return sorted(read_lines(self.run / "compare" / f"{arm}.jsonl"), key=lambda answer: answer["row"])


def ftstudio(*words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ftstudio", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env=os.environ | {"TERM": "dumb", "HF_HUB_OFFLINE": "1"},
    )


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    workspace = tmp_path_factory.mktemp("demo") / "studio"
    ended = ftstudio("demo", "--headless", "--json", "--workspace", str(workspace), seconds=900)
    assert ended.returncode == 0, ended.stderr
    return Loop(workspace, json.loads(ended.stdout), ended.stderr)


# the first test waits for the whole loop
@pytest.mark.timeout(960)
def test_the_demo_goes_through_the_whole_loop(loop: Loop) -> None:
    assert loop.report.keys() == {"errors", "train", "compare", "seconds"}
    assert loop.report["train"]["state"] == "done"
    assert loop.report["errors"]["rows"] == loop.report["compare"]["rows"] == len(read_lines(demo.EVAL))
    assert [loop.said.index(f"{step} ") for step in ("1 Errors:", "2 Train:", "3 Compare:")] == sorted(
        loop.said.index(f"{step} ") for step in ("1 Errors:", "2 Train:", "3 Compare:")
    )
    assert "Traceback" not in loop.said
    assert "\x1b" not in loop.said


def test_the_base_model_fails_in_ways_worth_seeing(loop: Loop) -> None:
    rates = {entry["name"]: entry["rate"] for entry in loop.report["errors"]["categories"]}
    assert min(rates[name] for name in ("too_long", "format")) > 0.8
    assert min(rates[name] for name in ("misspelling", "repetitive")) > 0.2
    # the detectors see the model's errors, not the task: they are silent on the right answers
    on_references = {entry["name"]: entry["reference_rate"] for entry in loop.report["errors"]["categories"]}
    assert max(on_references[name] for name in ("too_long", "format", "misspelling", "repetitive")) <= 0.02


def test_the_method_is_qlora_over_weights_of_four_bits(loop: Loop) -> None:
    from ftstudio.core.run import RunFolder
    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.recipes import load_recipe

    run = RunFolder(loop.run)
    recipe = load_recipe(run.recipe_path)
    assert (recipe.method.name, recipe.method.settings["quantisation"]) == ("qlora", "nf4")
    loaded = ModelStore().tuned(run, recipe)
    kinds = {name: type(weight).__name__ for name, weight in loaded.model.named_parameters() if "_proj" in name}
    frozen = [name for name in kinds if "lora_" not in name]
    assert frozen
    assert all(kinds[name] == "Params4bit" for name in frozen)
    states = [loaded.model.get_parameter(name).quant_state for name in frozen]
    assert {(state.quant_type, state.nested) for state in states} == {("nf4", True)}
    # an adapter for every one of them, and nothing else, was learnt
    assert 2 * len(frozen) == len(kinds) - len(frozen)
    counted = loop.report["train"]["parameters"]
    assert counted["trainable"] == sum(loaded.model.get_parameter(name).numel() for name in set(kinds) - set(frozen))
    assert counted["trainable"] < counted["total"] / 3


@pytest.mark.parametrize(("metric", "least"), [("rougeL", 0.3), ("similarity", 0.08)])
def test_held_out_scores_rise_clearly(loop: Loop, metric: str, least: float) -> None:
    found = loop.difference(metric)
    assert found["n"] == len(read_lines(demo.EVAL))
    assert found["difference"] > least
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["verdict"] == "better"
    base, tuned = (arm["metrics"][metric] for arm in loop.report["compare"]["arms"])
    assert tuned - base == pytest.approx(found["difference"])
    assert loop.report["compare"]["similarity"]["name"]


def test_at_least_three_error_categories_fall_by_half(loop: Loop) -> None:
    fallen = [
        entry["name"]
        for entry in loop.report["compare"]["categories"]
        if entry["count_a"] >= 20 and entry["count_b"] <= entry["count_a"] / 2 and entry["high"] < 0
    ]
    assert len(fallen) >= 3, fallen


def test_what_was_asked_is_in_no_training_row(loop: Loop) -> None:
    known = words(" ".join(f"{row['prompt']} {row['completion']}" for row in read_lines(demo.TRAIN)))
    asked = loop.answers("base")
    assert len(asked) == len(read_lines(demo.EVAL))
    for answer in asked:
        content = words(answer["reference"]) - PLAIN
        assert len(content) >= 5
        assert content <= words(answer["prompt"])
        assert not content & known


def test_the_tuned_model_answers_from_what_it_reads(loop: Loop) -> None:
    tuned = loop.answers(loop.report["train"]["run"])
    right = [answer for answer in tuned if answer["output"] == answer["reference"]]
    assert len(right) >= len(tuned) / 4
    assert len({answer["output"] for answer in right}) == len(right)
    assert not [answer for answer in loop.answers("base") if answer["output"] == answer["reference"]]


def test_training_was_for_the_better(loop: Loop) -> None:
    summary = loop.report["train"]
    assert summary["loss"]["last"] < summary["loss"]["first"] / 4
    held_out = [event["loss"] for event in read_lines(loop.run / "events.jsonl") if event["kind"] == "eval"]
    assert len(held_out) >= 3
    assert held_out[-1] < held_out[0] / 4
    assert summary["tokens"]["lost"] == 0


def test_the_run_is_listed(loop: Loop) -> None:
    ended = ftstudio("runs", "--json", "--workspace", str(loop.workspace))
    assert ended.returncode == 0, ended.stderr
    [listed] = json.loads(ended.stdout)
    assert (listed["run"], listed["state"]) == (loop.report["train"]["run"], "done")
    assert (listed["task"], listed["method"]) == ("sft", "qlora")
    assert listed["steps"] == listed["total_steps"] == loop.report["train"]["steps"]


def words(text: str) -> set[str]:
    """The words of TEXT in small letters."""
    return set(re.findall(r"[a-z]+", text.lower()))
