"""One run trained by several processes, as torchrun and accelerate start them: the real command in each, on gloo."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery
from paced import PROGRAM, last_step, until
from terminal import Terminal
from tiny_encoders import make_encoder

from ftstudio.core import dynamics, launch
from ftstudio.core.errors import UsageError
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.recipes import load_recipe

PRESETS = Path(__file__).resolve().parents[1] / "presets"

# 17 rows, two a batch: the last batch is short, and the last round of an epoch has one batch for two processes
RECIPE = """\
task: {task}
model: demo
method: {method}
data: {{train: {place}/rows.jsonl, eval: {place}/held.jsonl, max_length: 64}}
training: {{steps: {steps}, batch_size: 2, gradient_accumulation: {accumulation}, save_steps: 4, learning_rate: 1.0e-3,
  device: cpu, save_best: false}}
evaluation: {{every: 5, samples: 1, rows: 5, max_new_tokens: 4, metrics: [rouge], similarity: static,
  forgetting: false}}
"""


def told(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def steps_of(run: RunFolder) -> dict[int, tuple[float, float, int]]:
    return {event["step"]: (event["loss"], event["grad_norm"], event["tokens"]) for event in told(run, "step")}


@dataclass(frozen=True)
class Place:
    """Rows, recipes of one and of two processes with as many rows a step, and a workspace."""

    path: Path
    nursery: Nursery

    @classmethod
    def make(cls, path: Path, nursery: Nursery, steps: int = 6, method: str = "lora") -> Place:
        for name, numbers in (("rows", range(17)), ("held", range(40, 45))):
            rows = [
                {"prompt": f"Ticket {n}: the lamp is {'very ' * (n % 4)}broken", "completion": f"lamp | {n % 3}"}
                for n in numbers
            ]
            (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = "full" if method == "full" else f"{{name: {method}, r: 4, dropout: 0.0}}"
        for processes in (1, 2):
            text = RECIPE.format(place=path, steps=steps, accumulation=2 // processes, task="sft", method=settings)
            (path / f"for{processes}.yaml").write_text(text)
        (path / "program.py").write_text(PROGRAM)
        return cls(path, nursery)

    def workspace(self, name: str) -> Workspace:
        return Workspace(self.path / name)

    def last(self, name: str) -> RunFolder:
        return self.workspace(name).runs()[0]

    def words(self, name: str, words: Sequence[str]) -> list[str]:
        return [*words, "--workspace", str(self.path / name)]

    def launched(self, count: int, name: str, *words: str, **env: str) -> list[int]:
        """The processes of a launch of COUNT, as torchrun would start them."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        found = []
        for rank in range(count):
            place = {} if count == 1 else {
                "WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
            out = self.path / f"{name}.rank{rank}.txt"
            found.append(
                self.nursery.start(
                    self.path / "program.py", self.words(name, words), cwd=self.path, env={**place, **env}, out=out
                )
            )
        return found

    def asked(self, name: str, *words: str) -> None:
        command = [sys.executable, "-m", "ftstudio", *self.words(name, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=self.path)
        assert done.returncode == 0, done.stderr

    def ended(self, processes: Sequence[int]) -> list[int]:
        try:
            return [self.nursery.wait(process) for process in processes]
        finally:  # where one failed before they met, the others wait for it
            for process in processes:
                if self.nursery.status(process) is None:
                    os.kill(process, signal.SIGKILL)

    def said(self, name: str, rank: int = 0) -> str:
        return (self.path / f"{name}.rank{rank}.txt").read_text()


@pytest.mark.parametrize(
    "method", [pytest.param("full", marks=pytest.mark.slow), "lora", pytest.param("qlora", marks=pytest.mark.slow)]
)
def test_two_processes_learn_what_one_does_and_one_writes(nursery: Nursery, tmp_path: Path, method: str):
    """Over more than an epoch, with a short last batch and a last round that doesn't go round."""
    place = Place.make(tmp_path, nursery, method=method)
    one = place.launched(1, "one", "train", "for1.yaml")
    two = place.launched(2, "two", "train", "for2.yaml")
    assert place.ended([*one, *two]) == [0, 0, 0], place.said("two")
    single, both = place.last("one"), place.last("two")
    assert len(place.workspace("two").runs()) == 1
    expected, found = steps_of(single), steps_of(both)
    assert found.keys() == expected.keys() == set(range(1, 7))
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=1e-4), step
    for mine, other in zip(told(both, "eval"), told(single, "eval"), strict=True):
        assert (mine["step"], mine["rows"], mine["tokens"]) == (other["step"], other["rows"], other["tokens"])
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
    start = told(both, "start")[0]
    assert (start["processes"], start["steps_per_epoch"], start["hosts"]) == (2, 5, [socket.gethostname()])
    assert len(told(both, "start")) == len(told(both, "done")) == 1
    assert both.state() == "done"
    assert not both.owner_path.exists()
    assert place.said("two", 1) == ""  # only one talks
    kept = sorted(path.name for path in (both.checkpoints / "checkpoint-6").iterdir())
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(kept)
    # the losses of all rows, each once an epoch, were written by the first process
    assert not list((both.path / "dynamics").glob("*rank*"))
    mine, other = dynamics.read(both.path), dynamics.read(single.path)
    assert mine is not None
    assert other is not None
    assert (mine.losses.shape, mine.kinds) == ((2, 17), other.kinds)
    assert mine.losses == pytest.approx(other.losses, rel=1e-4, nan_ok=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("method", "precision"),
    [
        pytest.param("full", "fp32", marks=pytest.mark.slow),
        pytest.param("full", "bf16", marks=pytest.mark.slow),
        pytest.param("lora", "fp32", marks=pytest.mark.slow),
        ("qlora", "fp32"),
    ],
)
def test_weights_in_parts_learn_what_whole_ones_do(nursery: Nursery, tmp_path: Path, method: str, precision: str):
    """FSDP: losses, evaluations, what is saved, and going on from a checkpoint that one process wrote."""
    place = Place.make(tmp_path, nursery, method=method)
    said = f"training.precision={precision}"
    one = place.launched(1, "one", "train", "for1.yaml", said)
    two = place.launched(2, "two", "train", "for2.yaml", said, "training.shard=true")
    assert place.ended([*one, *two]) == [0, 0, 0], place.said("two")
    single, parts = place.last("one"), place.last("two")
    expected, found = steps_of(single), steps_of(parts)
    assert found.keys() == expected.keys() == set(range(1, 7))
    # norms that differ by 1e-7 turn the rounding of some weights, and 16 bits tell no more than 4e-3 apart
    later = 1e-4 if precision == "fp32" else 4e-3
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=1e-4 if step <= 3 else later), step
    for mine, other in zip(told(parts, "eval"), told(single, "eval"), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=later)
    start, alone = told(parts, "start")[0], told(single, "start")[0]
    assert "in parts" in start["engine"]["sharding"]
    assert start["parameters"] == alone["parameters"]
    for folder in ("model", "checkpoints/checkpoint-4") if precision == "fp32" else ():
        assert_close(parts.path / folder, single.path / folder)


TASKS = """\
task: {task}
options: {options}
model: {place}/encoder
method: {method}
data: {{train: {place}/{task}.jsonl, eval: {place}/held-{task}.jsonl, max_length: 32}}
training: {{steps: 7, batch_size: 4, gradient_accumulation: {accumulation}, save_steps: 100, learning_rate: 1.0e-4,
  device: cpu, save_best: false, precision: bf16}}
evaluation: {{every: 10, samples: 0, rows: 10}}
"""
FROZEN = "{name: freeze, layers: 1}"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("task", "options", "method"), [("embedding", "{chunk: 2}", "full"), ("text-classification", "{}", FROZEN)]
)
def test_tasks_of_their_own_learn_with_weights_in_parts(
    nursery: Nursery, tmp_path: Path, task: str, options: str, method: str
):
    """In half precision. The last of 19 rows make a batch of 3, which are two chunks: the other process, which has no
    row left, makes as many passes. With layers that don't learn, too."""
    place = Place.make(tmp_path, nursery)
    make_encoder(tmp_path / "encoder", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    names = ("Anna", "Bert", "Clara", "David", "red", "green", "blue", "seven", "nine", "cats")
    words = [f"{one} {other}" for one in names for other in ("dogs", "birds")]
    for held, some in (("", words[:19]), ("held-", [f"no {one}" for one in words[2:8]])):
        ends = ("live", "live in New York and like birds", "live there")  # as wide as the first text, or much wider
        pairs = [{"sentence1": f"{one} run {n}", "sentence2": f"{one} {ends[n % 3]} {n}"} for n, one in enumerate(some)]
        texts = [{"text": one, "label": one.split()[-1]} for one in some]
        for name, rows in (("embedding", pairs), ("text-classification", texts)):
            (tmp_path / f"{held}{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for processes in (1, 2):
        text = TASKS.format(place=tmp_path, task=task, options=options, method=method, accumulation=2 // processes)
        (tmp_path / f"for{processes}.yaml").write_text(text)
    one = place.launched(1, "one", "train", "for1.yaml")
    two = place.launched(2, "two", "train", "for2.yaml", "training.shard=true")
    assert place.ended([*one, *two]) == [0, 0, 0], place.said("one") + place.said("two")
    expected, found = steps_of(place.last("one")), steps_of(place.last("two"))
    assert found.keys() == expected.keys() == set(range(1, 8))
    for step, values in expected.items():
        assert found[step][:2] == pytest.approx(values[:2], rel=1e-2), step  # bf16; of rows left out it were far off
        assert found[step][2] == values[2]


def assert_close(mine: Path, other: Path) -> None:
    from safetensors.torch import load_file

    names = sorted(path.name for path in mine.glob("*.safetensors"))
    assert names == sorted(path.name for path in other.glob("*.safetensors"))
    for name in names:
        found, expected = load_file(mine / name), load_file(other / name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert (found[key] - value).abs().max() < 2e-4, key  # AdamW takes tiny differences of gradients far


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("shard", ["false", "true"])
def test_all_processes_are_steered_and_a_resumed_run_goes_on(nursery: Nursery, tmp_path: Path, shard: str):
    place = Place.make(tmp_path, nursery, steps=200)
    processes = place.launched(2, "run", "train", "for2.yaml", f"training.shard={shard}", PACE="0.1")
    until(lambda: place.workspace("run").runs() and last_step(place.last("run")) >= 8, "past the warm-up", 120)
    run = place.last("run")
    place.asked("run", "pause", "last")
    until(lambda: run.state() == "paused", "paused")
    halted = last_step(run)
    place.asked("run", "checkpoint", "last")
    until(lambda: any(event["reason"] == "as asked" for event in told(run, "checkpoint")), "saved")
    place.asked("run", "lr", "last", "0.0005")
    place.asked("run", "evaluate", "last")
    until(lambda: any(event["step"] == halted for event in told(run, "eval")), "evaluated")
    assert last_step(run) == halted
    place.asked("run", "resume", "last")
    until(lambda: last_step(run) > halted + 2, "going on")
    place.asked("run", "extend", "last", "--to", "30")
    until(lambda: any(event["what"] == "steps" for event in told(run, "steer")), "shorter")
    place.asked("run", "stop", "last")
    assert place.ended(processes) == [130, 0]
    assert run.state() == "stopped"
    stopped = told(run, "stopped")[0]["step"]
    assert place.ended(place.launched(2, "run", "train", "--resume", "last")) == [0, 0]
    assert run.state() == "done"
    assert told(run, "start")[-1]["resumed_from"] == stopped
    assert max(steps_of(run)) == 30
    rates = {event["step"]: event["lr"] for event in told(run, "step")}
    assert rates[halted + 1] == pytest.approx(0.5 * rates[halted], rel=0.1)
    assert not [alert for alert in told(run, "alert") if alert.get("watch") == "resume_fault"]
    # one process alone goes on with it, too, and says that this isn't the same
    (place.path / "for2.yaml").unlink()


KILLED = [(rank, shard, "lora", "fp32") for rank in (0, 1) for shard in ("false", "true")]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("rank", "shard", "method", "precision"), [*KILLED, (1, "true", "full", "bf16")])
def test_a_killed_process_ends_the_run_and_it_goes_on_exactly(
    nursery: Nursery, tmp_path: Path, rank: int, shard: str, method: str, precision: str
):
    """In the second epoch, whose order is another than the first one's."""
    place = Place.make(tmp_path, nursery, steps=14, method=method)
    words = [f"training.shard={shard}", f"training.precision={precision}"]
    words += ["method.dropout=0.1"] if method == "lora" else []
    whole = place.launched(2, "whole", "train", "for2.yaml", *words)
    processes = place.launched(2, "run", "train", "for2.yaml", *words, PACE="0.2")
    until(lambda: place.workspace("run").runs() and last_step(place.last("run")) >= 9, "at step 9", 120)
    run = place.last("run")
    os.kill(processes[rank], signal.SIGKILL)
    statuses = place.ended(processes)
    assert statuses[rank] == -signal.SIGKILL
    assert statuses[1 - rank] == 1
    if rank:
        failed = told(run, "failed")[0]
        assert f"Rank 1 of 2, process {processes[1]} on" in failed["text"]
        assert "is gone" in failed["text"]
        assert "--resume" in failed["hint"]
        assert "is gone" in place.said("run")
        assert run.state() == "failed"
    else:
        assert run.state() == "interrupted"
    assert place.ended(place.launched(2, "run", "train", "--resume", "last")) == [0, 0], place.said("run")
    assert place.ended(whole) == [0, 0]
    assert told(run, "start")[-1]["resumed_from"] == 8
    assert steps_of(run) == steps_of(place.last("whole"))  # bit by bit


FEW_SHOT = """\
task: few-shot-classification
options: {{shots: 6, max_pairs: 60}}
model: {place}/encoder
method: full
data: {{train: {place}/labels.jsonl, eval: 0.4, max_length: 32}}
training: {{steps: 12, batch_size: 2, gradient_accumulation: {accumulation}, save_steps: 3, learning_rate: 1.0e-3,
  device: cpu}}
evaluation: {{every: 6, samples: 1, rows: 10}}
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_few_shot_pairs_are_learnt_together_and_go_on_exactly(nursery: Nursery, tmp_path: Path):
    place = Place.make(tmp_path, nursery)
    make_encoder(tmp_path / "encoder", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    labels = {"red": "Anna likes red cats", "blue": "Bert saw blue dogs", "green": "green birds run"}
    rows = [{"text": f"{labels[name]} {n} {n % 7}", "label": name} for n in range(16) for name in labels]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for processes in (1, 2):
        text = FEW_SHOT.format(place=tmp_path, accumulation=2 // processes)
        (tmp_path / f"for{processes}.yaml").write_text(text)
    one, two = (place.launched(count, f"on{count}", "train", f"for{count}.yaml") for count in (1, 2))
    assert place.ended([*one, *two]) == [0, 0, 0], place.said("on2")
    expected, found = steps_of(place.last("on1")), steps_of(place.last("on2"))
    assert found.keys() == expected.keys() == set(range(1, 13))
    assert len({values[0] for values in expected.values()}) > 6
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=1e-4), step
    for mine, other in zip(told(place.last("on2"), "eval"), told(place.last("on1"), "eval"), strict=True):
        assert mine["accuracy"] == other["accuracy"]  # of a head that the first process fits for all
    processes = place.launched(2, "run", "train", "for2.yaml", PACE="0.2")
    until(lambda: place.workspace("run").runs() and last_step(place.last("run")) >= 5, "at step 5", 120)
    os.kill(processes[0], signal.SIGKILL)
    assert place.ended(processes)[0] == -signal.SIGKILL
    assert place.ended(place.launched(2, "run", "train", "--resume", "last")) == [0, 0], place.said("run")
    run = place.last("run")
    assert told(run, "start")[-1]["resumed_from"] in (3, 6)
    assert steps_of(run) == found  # bit by bit
    heads = [(each.model / "head.safetensors").read_bytes() for each in (run, place.last("on2"))]
    assert heads[0] == heads[1]


FAILING = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
from ftstudio.engine import ranked
step = ranked.RankedTrainer.training_step
def failing(self, *args, **named):
    if self.state.global_step == 3 and self.ranks.rank == 1:
        raise RuntimeError("CUDA out of memory. Tried to allocate 3 GiB")
    return step(self, *args, **named)
ranked.RankedTrainer.training_step = failing
from ftstudio.cli import main""",
)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_fails_in_another_process_is_told_by_the_first(nursery: Nursery, tmp_path: Path):
    place = Place.make(tmp_path, nursery)
    (place.path / "program.py").write_text(FAILING)
    assert place.ended(place.launched(2, "run", "train", "for2.yaml")) == [1, 1]
    run = place.last("run")
    failed = told(run, "failed")
    assert len(failed) == 1
    assert "Rank 1 of 2" in failed[0]["text"]
    assert "not enough GPU memory" in failed[0]["text"]
    assert "batch_size" in failed[0]["hint"]
    assert "CUDA out of memory" in (run.path / "log.rank1.txt").read_text()


ACCELERATE = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
use_cpu: true
num_processes: 2
num_machines: 1
machine_rank: 0
mixed_precision: 'no'
rdzv_backend: static
same_network: true
"""
FSDP = ACCELERATE.replace("MULTI_GPU", "FSDP") + "fsdp_config: {fsdp_version: 2}\n"
LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    "accelerate": ("accelerate.commands.launch", "--config_file", "accelerate.yaml"),
    "accelerate's FSDP": ("accelerate.commands.launch", "--config_file", "fsdp.yaml"),
}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_launchers_themselves(nursery: Nursery, tmp_path: Path, launcher: str):
    """To the end; and ctrl+c at the launcher, which hands it on."""
    place = Place.make(tmp_path, nursery, steps=4)
    (place.path / "accelerate.yaml").write_text(ACCELERATE)
    (place.path / "fsdp.yaml").write_text(FSDP)
    command = [
        sys.executable,
        "-m",
        *LAUNCHERS[launcher],
        "-m",
        "ftstudio",
        *place.words("run", ["train", "for2.yaml"]),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=place.path, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert place.last("run").state() == "done"
    start = told(place.last("run"), "start")[0]
    assert start["processes"] == 2
    assert ("sharding" in start["engine"]) == ("FSDP" in launcher)
    with subprocess.Popen(
        [*command, "training.steps=5000"], cwd=place.path, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        until(lambda: len(place.workspace("run").runs()) == 2 and last_step(place.last("run")) >= 2, "training", 120)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    assert place.last("run").state() == "stopped"
    assert place.last("run").checkpoints.is_dir()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_hang_up_of_the_launch_line_ends_nothing(nursery: Nursery, tmp_path: Path):
    place = Place.make(tmp_path, nursery, steps=5000)
    setting, _, *words = shlex.split(launch.line("for2.yaml", 2, str(place.path / "run")))
    name, _, value = setting.partition("=")
    environment = {name: value, "OMP_NUM_THREADS": "1"}
    with Terminal([sys.executable, "-m", "torch.distributed.run", *words], cwd=place.path, env=environment) as terminal:
        until(
            lambda: place.workspace("run").runs() and last_step(place.last("run")) >= 3, "training", 200,
            terminal=terminal,
        )  # fmt: skip
        run = place.last("run")
        terminal.hang_up()
        assert terminal.ended(30)  # the launcher; its processes go on
        seen = last_step(run)
        until(lambda: last_step(run) > seen + 20, "going on", 120)
        assert run.state() == "running"
        place.asked("run", "stop", "last")
        until(lambda: run.state() == "stopped" and run.owner() is None, "stopped", 120)


def test_what_several_processes_can_not_do_is_refused(tmp_path: Path):
    place = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for more in (["--watch"], ["--sweep", "training.learning_rate=1e-4,2e-4"]):
        command = [sys.executable, "-m", "ftstudio", "train", "demo", *more, "--workspace", str(tmp_path / "w")]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **place}, check=False)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    command = [sys.executable, "-m", "ftstudio", "train", "demo", "--workspace", str(tmp_path / "w")]
    spread = {**os.environ, **place, "ACCELERATE_USE_DEEPSPEED": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=spread, check=False)
    assert done.returncode == 1
    assert "DeepSpeed" in done.stderr
    assert not (tmp_path / "w").exists()
    run = Workspace(tmp_path / "kept").new_run("whole")  # its own recipe says nothing of weights in parts
    run.recipe_path.write_text((PRESETS / "demo.yaml").read_text())
    command = [sys.executable, "-m", "ftstudio", "train", "--resume", run.name, "--workspace", str(tmp_path / "kept")]
    spread = {**os.environ, "ACCELERATE_USE_FSDP": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=spread, check=False)
    assert done.returncode == 1
    assert "whole weights" in done.stderr
    assert run.events() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [("optimizer=adamw_8bit", "8-bit"), ("compile=true", "not both"), ("precision=fp16", "bf16 or fp32")],
)
def test_what_weights_in_parts_can_not_have_is_refused(change: str, words: str):
    with pytest.raises(UsageError, match=words):
        load_recipe(PRESETS / "demo.yaml", ["training.shard=true", f"training.{change}"])


def test_the_place_of_a_process_is_what_its_launcher_says():
    assert launch.place({}).alone
    assert launch.place({"WORLD_SIZE": "1", "RANK": "0"}).first
    found = launch.place({"WORLD_SIZE": "16", "RANK": "9", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8"})
    assert (found.rank, found.count, found.local_rank, found.local_count) == (9, 16, 1, 8)
    assert not found.first
    assert launch.place({"WORLD_SIZE": "two"}).alone
