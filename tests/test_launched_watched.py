"""A run of several processes that is watched: gone back, stopped early, out of memory. The real command in each."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from nursery import Nursery
from paced import PROGRAM, last_step, until
from test_launched import Place, assert_close, steps_of, told
from tiny_encoders import make_encoder

from ftstudio.core.run import RunFolder

BROKEN = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
from ftstudio.engine import ahead, ranked
ahead.SAVING = 1e9  # however long it takes
loss, broken = ranked.RankedTrainer.compute_loss, []
def once(self, *args, **named):
    found = loss(self, *args, **named)
    if self.state.global_step == 5 and not broken:
        broken.append(True)
        return found * float("nan")
    return found
ranked.RankedTrainer.compute_loss = once
from ftstudio.cli import main""",
)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", ["false", "true"])
def test_all_processes_go_back_to_the_last_good_checkpoint(nursery: Nursery, tmp_path: Path, shard: str):
    place = Place.make(tmp_path, nursery, steps=8)
    (place.path / "program.py").write_text(BROKEN)
    words = ["for2.yaml", f"training.shard={shard}", "training.watch.not_finite=rollback", "training.save_best=true"]
    assert place.ended(place.launched(2, "run", "train", *words)) == [0, 0], place.said("run")
    run = place.last("run")
    assert run.state() == "done"
    assert [start["resumed_from"] for start in told(run, "start")] == [None, 5]  # not 4: the best so far
    assert max(steps_of(run)) == 8


# step 26 fails the first time it is taken, in one process alone; DIES: the step after which RANK is killed, once it has
# been taken since the run went back
GOES_BACK = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
import signal
from ftstudio.engine import trainer
loss, rank, broken, back = trainer.StudioTrainer.compute_loss, os.environ.get("RANK", "0"), [], []
def once(self, *args, **named):
    found = loss(self, *args, **named)
    if self.state.global_step == 25 and not broken and os.environ.get("FACTOR"):
        broken.append(True)
        return found * float(os.environ["FACTOR"]) if rank == os.environ["LAST"] else found
    return found
trainer.StudioTrainer.compute_loss = once
step = trainer.StudioTrainer.training_step
def dies(self, *args, **named):
    if broken and self.state.global_step == 24:
        back.append(True)
    if back and str(self.state.global_step) == os.environ.get("DIES") and rank == os.environ["LAST"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args, **named)
trainer.StudioTrainer.training_step = dies
from ftstudio.cli import main""",
)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("count", "method", "fault", "factor"),
    [
        (1, "qlora", "not_finite", "nan"),
        (2, "lora", "spike", "1000"),
        (2, "full", "not_finite", "nan"),
        (2, "qlora", "not_finite", "nan"),
    ],
)
def test_a_run_that_went_back_and_is_killed_then_goes_on_exactly(
    nursery: Nursery, tmp_path: Path, count: int, method: str, fault: str, factor: str
):
    """From the checkpoint that it went back to, and from one that was written since; with weights in parts."""
    place = Place.make(tmp_path, nursery, steps=32, method=method)
    (place.path / "program.py").write_text(GOES_BACK)
    words = [f"for{count}.yaml", f"training.watch.{fault}=rollback", "training.watch.collapsed=alert"]
    words += [f"training.shard={str(count > 1).lower()}", "evaluation.every=100", "training.warmup=0"]
    env = {"FACTOR": factor, "LAST": str(count - 1)}
    assert set(place.ended(place.launched(count, "whole", "train", *words, **env))) == {0}, place.said("whole")
    whole = place.last("whole")
    assert [start["resumed_from"] for start in told(whole, "start")] == [None, 24]
    assert [alert["step"] for alert in told(whole, "alert") if alert.get("action") == "rollback"] == [26]
    [skip] = told(whole, "skip")
    assert (skip["step"], len(skip["rows"])) == (26, 4)  # of all processes, by numbers of the data
    assert [event["step"] for event in told(whole, "step")].count(26) == 1  # but for the time that it failed
    assert "Step 26 was passed over: nothing was learnt from its rows." in [
        alert["text"] for alert in told(whole, "alert")
    ]
    expected = {event["step"]: (event["loss"], event["grad_norm"], event["lr"]) for event in told(whole, "step")}
    assert set(expected) == set(range(1, 33))
    for dies, begins in (("26", 24), ("30", 28)):
        assert -9 in place.ended(place.launched(count, f"at{dies}", "train", *words, DIES=dies, **env))
        resumed = place.launched(count, f"at{dies}", "train", "--resume", "last", LAST="")
        assert set(place.ended(resumed)) == {0}, place.said(f"at{dies}")
        run = place.last(f"at{dies}")
        assert [start["resumed_from"] for start in told(run, "start")] == [None, 24, begins]
        found = {event["step"]: (event["loss"], event["grad_norm"], event["lr"]) for event in told(run, "step")}
        assert found == expected  # bit by bit
        assert not [alert for alert in told(run, "alert") if alert.get("watch") == "resume_fault"]
        for name in sorted(path.name for path in whole.model.glob("*.safetensors")):
            assert (run.model / name).read_bytes() == (whole.model / name).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("shard", ["false", "true"])
def test_no_process_takes_a_step_of_a_run_that_would_go_on_otherwise(nursery: Nursery, tmp_path: Path, shard: str):
    place = Place.make(tmp_path, nursery)
    words = ["for2.yaml", f"training.shard={shard}", "training.watch.resume_fault=stop"]
    assert place.ended(place.launched(2, "run", "train", *words)) == [0, 0], place.said("run")
    run = place.last("run")
    whole = steps_of(run)
    shutil.rmtree(run.checkpoints / "checkpoint-6")
    shutil.rmtree(run.model)
    kept = (run.checkpoints / "checkpoint-4" / "complete.json").read_bytes()
    recipe = run.recipe_path.read_text()
    edited = re.sub(r"(?m)^( +batch_size:) 2\b", r"\1 1", recipe)
    assert edited != recipe

    def resumed() -> list[int]:
        return place.launched(2, "run", "train", "--resume", "last")

    since = len(run.events())
    run.recipe_path.write_text(edited)
    assert place.ended(resumed()) == [130, 0], place.said("run")
    assert run.state() == "stopped"
    run.recipe_path.write_text(edited.replace("resume_fault: stop", "resume_fault: pause"))
    processes = resumed()
    until(lambda: run.state() == "paused", "paused", 120)
    evaluated = len(told(run, "eval"))
    place.asked("run", "evaluate", "last")
    until(lambda: len(told(run, "eval")) > evaluated, "evaluated")
    place.asked("run", "stop", "last")
    assert place.ended(processes) == [130, 0], place.said("run")
    assert not [event for event in run.events()[since:] if event["kind"] in ("step", "checkpoint")]
    assert (run.checkpoints / "checkpoint-4" / "complete.json").read_bytes() == kept
    run.recipe_path.write_text(recipe)
    assert place.ended(resumed()) == [0, 0], place.said("run")
    assert run.state() == "done"
    assert steps_of(run) == whole


USED_UP = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
from ftstudio.engine import ranked
merged, losses = ranked.RankedTrainer._merged, {0: 5.0, 2: 4.0, 4: 3.0, 6: 9.0}
def rising(self, *args, **named):
    return {**merged(self, *args, **named), "loss": losses[self.state.global_step]}
ranked.RankedTrainer._merged = rising
from ftstudio.cli import main""",
)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_all_processes_have_the_best_checkpoint_where_going_back_did_not_help(nursery: Nursery, tmp_path: Path):
    """Both faults are seen at once, once before it went back and once after."""
    place = Place.make(tmp_path, nursery, steps=20)
    (place.path / "program.py").write_text(USED_UP)
    words = ["for2.yaml", "evaluation.every=2", "training.watch.eval_rising=rollback", "training.watch.patience=1"]
    words += ["training.watch.collapsed=rollback", "training.watch.rollbacks=1"]
    place.ended(place.launched(2, "run", "train", *words))
    run = place.last("run")
    assert [start["resumed_from"] for start in told(run, "start")] == [None, 4]
    stopped = told(run, "stopped")[0]
    assert (stopped["step"], stopped["model_step"], stopped["eval"]["loss"]) == (6, 4, 3.0)
    assert_close(run.model, run.checkpoints / "checkpoint-4")


NO_NUMBER = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
from ftstudio.engine import ranked
merged, broken = ranked.RankedTrainer._merged, []
def once(self, *args, **named):
    found = merged(self, *args, **named)
    if self.state.global_step == 10 and not broken:
        broken.append(True)
        found["loss"] = float("nan")
    return found
ranked.RankedTrainer._merged = once
from ftstudio.cli import main""",
)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_held_out_loss_that_is_no_number_calls_the_checkpoint_off_in_all_processes(nursery: Nursery, tmp_path: Path):
    """Both had been told to save: one that did alone would wait for the other without end."""
    place = Place.make(tmp_path, nursery, steps=11)
    (place.path / "program.py").write_text(NO_NUMBER)
    words = ["for2.yaml", "training.watch.not_finite=rollback", "training.save_steps=5"]
    assert place.ended(place.launched(2, "run", "train", *words)) == [0, 0], place.said("run")
    run = place.last("run")
    assert run.state() == "done"
    assert [start["resumed_from"] for start in told(run, "start")] == [None, 5]
    assert max(steps_of(run)) == 11


UNSCORED = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
from ftstudio.tasks.text_classification import TextClassification
def fails(self, *args):
    raise ValueError("no score")
TextClassification.scores = fails
from ftstudio.cli import main""",
)
UNREAD = UNSCORED.replace(
    "def fails(self, *args):",
    """import os
from ftstudio.tasks.text_classification import TextClassification as Task
predictions = Task.predictions
def fails(self, *args):
    if os.environ["RANK"] == "0":
        return predictions(self, *args)""",
).replace("Classification.scores", "Classification.predictions")
CLASSES = """\
task: text-classification
model: {place}/encoder
data: {{train: {place}/labels.jsonl, eval: 0.25}}
training: {{steps: 4, batch_size: 2, device: cpu}}
evaluation: {{every: 2, samples: 0, forgetting: false}}
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", [UNSCORED, UNREAD], ids=["scores", "predictions"])
def test_scores_that_fail_cost_no_process_the_run(nursery: Nursery, tmp_path: Path, program: str):
    """They are made by the first one, while the others wait for what it was told; of what each has predicted."""
    place = Place.make(tmp_path, nursery)
    make_encoder(tmp_path / "encoder")
    rows = [{"text": f"{name} cats {n}", "label": name} for n in range(16) for name in ("red", "blue")]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "classes.yaml").write_text(CLASSES.format(place=tmp_path))
    (tmp_path / "program.py").write_text(program)
    assert place.ended(place.launched(2, "run", "train", "classes.yaml")) == [0, 0], place.said("run")
    run = place.last("run")
    assert run.state() == "done"
    assert [event["step"] for event in told(run, "eval")] == [0, 2, 4]
    assert not any("accuracy" in event for event in told(run, "eval"))
    assert len([alert for alert in told(run, "alert") if "ValueError: no score" in alert["text"]]) == 1
    rank = 0 if program == UNSCORED else 1
    assert "ValueError: no score" in (run.path / ("log.txt" if not rank else f"log.rank{rank}.txt")).read_text()


RISING = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
from ftstudio.engine import ranked
merged, losses = ranked.RankedTrainer._merged, {0: 5.0, 2: 4.0, 4: 3.0, 6: 3.5, 8: 4.0}
def rising(self, *args, **named):
    return {**merged(self, *args, **named), "loss": losses[self.state.global_step]}
ranked.RankedTrainer._merged = rising
from ftstudio.cli import main""",
)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("shard", "method"), [("false", "lora"), ("true", "full")])
def test_all_processes_stop_early_and_the_model_is_the_best_checkpoint(
    nursery: Nursery, tmp_path: Path, shard: str, method: str
):
    place = Place.make(tmp_path, nursery, steps=20, method=method)
    (place.path / "program.py").write_text(RISING)
    words = ["for2.yaml", f"training.shard={shard}", "evaluation.every=2", "training.save_steps=100"]
    words += ["training.watch.eval_rising=stop", "training.watch.patience=2"]
    assert place.ended(place.launched(2, "run", "train", *words)) == [0, 0], place.said("run")
    run = place.last("run")
    stopped = told(run, "stopped")[0]
    assert (stopped["by"], stopped["step"], stopped["model_step"]) == ("eval_rising", 8, 4)
    assert stopped["eval"]["loss"] == 3.0
    assert max(steps_of(run)) == 8
    assert "held-out 3.000 at step 4" in place.said("run")
    assert_close(run.model, run.checkpoints / "checkpoint-4")


CUT_SHORT = RISING.replace(
    "from ftstudio.cli import main",
    """
import signal
from ftstudio.engine import callback
evaluating = callback.RunDirector.evaluating
def cut(self, trainer):
    evaluating(self, trainer)
    if os.environ.get("CUT") == str(trainer.state.global_step):
        os.kill(os.getpid(), signal.SIGTERM)
        while not self.control.should_stop():
            time.sleep(0.01)
callback.RunDirector.evaluating = cut
from ftstudio.cli import main""",
)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("count", "shard", "method"), [(2, "false", "lora"), (2, "true", "full")])
def test_an_evaluation_that_a_signal_cut_short_is_made_up_for(
    nursery: Nursery, tmp_path: Path, count: int, shard: str, method: str
):
    """The first one, the best one at step 4, and those that its patience counts: bit by bit."""
    place = Place.make(tmp_path, nursery, steps=20, method=method)
    (place.path / "program.py").write_text(CUT_SHORT)
    words = ["for2.yaml", f"training.shard={shard}", "evaluation.every=2", "training.save_steps=100"]
    words += ["training.watch.eval_rising=stop", "training.watch.patience=2"]
    assert place.ended(place.launched(count, "whole", "train", *words)) == [0, 0], place.said("whole")
    whole = place.last("whole")
    assert place.ended(place.launched(count, "run", "train", *words, CUT="0")) == [130, 0], place.said("run")
    run = place.last("run")
    for cut in ("4", "6", "8", "8"):  # the last time before a step was taken
        resumed = place.launched(count, "run", "train", "--resume", "last", CUT=cut)
        assert place.ended(resumed) == [130, 0], place.said("run")
        assert (run.state(), told(run, "stopped")[-1]["step"]) == ("stopped", int(cut))
    assert place.ended(place.launched(count, "run", "train", "--resume", "last")) == [0, 0], place.said("run")
    assert steps_of(run) == steps_of(whole)
    assert [(one["step"], one["loss"]) for one in told(run, "eval")] == [
        (one["step"], one["loss"]) for one in told(whole, "eval")
    ]
    ends = [told(one, "stopped")[-1] for one in (run, whole)]
    assert [(end["by"], end["step"], end["model_step"]) for end in ends] == [("eval_rising", 8, 4)] * 2
    for name in sorted(path.name for path in whole.model.glob("*.safetensors")):
        assert (run.model / name).read_bytes() == (whole.model / name).read_bytes()


# the process called SHORT doesn't hold two rows at once from step WHEN on: it finds out with its gradients under way
SHORT = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
import torch
from ftstudio.engine import ranked
ranked.SMALL = int(os.environ.get("SMALL", ranked.SMALL))
loss = ranked.RankedTrainer.compute_loss
def short(self, model, inputs, *args, **named):
    found = loss(self, model, inputs, *args, **named)
    here = str(self.ranks.rank) == os.environ.get("SHORT")
    if here and self.state.global_step == int(os.environ["WHEN"]) and len(inputs["lengths"]) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")
    return found
ranked.RankedTrainer.compute_loss = short
from ftstudio.cli import main""",
)


def assert_same_losses(place: Place) -> None:
    expected, found = steps_of(place.last("whole")), steps_of(place.last("run"))
    assert found.keys() == expected.keys() == set(range(1, 7))
    for step, values in expected.items():
        assert found[step][:2] == pytest.approx(values[:2], rel=1e-4), step


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("rank", "small"), [(0, None), (1, "0")])
def test_a_process_out_of_memory_takes_its_part_again_while_the_others_wait(
    nursery: Nursery, tmp_path: Path, rank: int, small: str | None
):
    """Also where gradients are so large that torch exchanges them on the way back (SMALL): not before all are sure."""
    place = Place.make(tmp_path, nursery)
    (place.path / "program.py").write_text(SHORT)
    env = {"WHEN": "0", **({"SMALL": small} if small else {})}
    whole = place.launched(2, "whole", "train", "for2.yaml", **env)
    short = place.launched(2, "run", "train", "for2.yaml", SHORT=str(rank), **env)
    assert place.ended([*whole, *short]) == [0, 0, 0, 0], place.said("run")
    assert_same_losses(place)
    warned = [alert["text"] for alert in told(place.last("run"), "alert") if alert["level"] == "warning"]
    assert len([text for text in warned if "not enough memory for 2 rows at once" in text]) == 1
    assert place.last("run").state() == "done"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("rank", [0, 1])
def test_weights_in_parts_out_of_memory_end_the_run_which_goes_on_in_smaller_parts(
    nursery: Nursery, tmp_path: Path, rank: int
):
    """Nobody hangs, and who goes on knows what failed: all processes make as many passes then."""
    place = Place.make(tmp_path, nursery)
    (place.path / "program.py").write_text(SHORT)
    env = {"WHEN": "5", "SHORT": str(rank)}
    whole = place.launched(2, "whole", "train", "for2.yaml", "training.shard=true", WHEN="5")
    short = place.launched(2, "run", "train", "for2.yaml", "training.shard=true", **env)
    assert place.ended([*whole, *short]) == [0, 0, 1, 1], place.said("run")
    run = place.last("run")
    failed = told(run, "failed")
    assert len(failed) == 1
    assert "not enough GPU memory for 2 rows at once" in failed[0]["text"]
    assert ("Rank 1 of 2" in failed[0]["text"]) == (rank == 1)
    assert f"torchrun --nproc-per-node 2 -m ftstudio train --resume {run.name} --workspace" in failed[0]["hint"]
    assert place.ended(place.launched(2, "run", "train", "--resume", "last", **env)) == [0, 0], place.said("run")
    assert told(run, "start")[-1]["resumed_from"] == 4
    assert_same_losses(place)


class Listening:
    """An address of this machine that keeps what is posted to it."""

    def __enter__(self) -> Listening:
        heard = self.heard = []  # type: list[dict[str, Any]]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("lost", [0, 1])
def test_the_world_hears_of_a_lost_process(tmp_path: Path, nursery: Nursery, lost: int):
    """Under torchrun, which ends the other one as soon as it has noticed itself. Of the first one the second tells."""
    place = Place.make(tmp_path, nursery, steps=5000)
    words = ["train", "for2.yaml", "evaluation.every=1000"]
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ftstudio"]
    with Listening() as world:
        note = tmp_path / "note.sh"
        note.write_text('echo "$FTSTUDIO_RUN|$FTSTUDIO_LEVEL|$FTSTUDIO_TEXT" >> heard.txt\n')
        words += [f"training.watch.webhook={world.address}", f"training.watch.command=sh {note}"]
        process = subprocess.Popen(
            [*program, *place.words("run", words)], cwd=place.path, env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=(tmp_path / "out.txt").open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            until(lambda: place.workspace("run").runs() and last_step(place.last("run")) >= 6, "training", 120)
            ranks = {child.environ().get("RANK"): child for child in psutil.Process(process.pid).children()}
            ranks[str(lost)].kill()
            assert process.wait(60) == 1
        finally:
            process.kill()
        run = place.last("run")
        assert run.state() == ("failed" if lost else "interrupted")
        failed = told(run, "failed")
        assert [f"Rank {lost} of 2" in end["text"] for end in failed] == [True] * lost
        assert [(one["run"], one["level"], one["action"]) for one in world.heard] == [(run.name, "error", "failed")]
        text = world.heard[0]["text"]
        assert f"Rank {lost} of 2, process {ranks[str(lost)].pid} on" in text
        assert (tmp_path / "heard.txt").read_text() == f"{run.name}|error|{text}\n"
    if failed:
        assert typed(place, run, failed[0]["hint"]) % 4 == 0


def typed(place: Place, run: RunFolder, hint: str) -> int:
    """From which step RUN goes on by the command in HINT, typed as it stands there; it is stopped then."""
    setting, torchrun, *words = shlex.split(hint.partition(": ")[2])
    name, _, value = setting.partition("=")
    assert torchrun == "torchrun"
    before = len(told(run, "step"))
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *words], cwd=place.path, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1", name: value},
    )  # fmt: skip
    try:
        until(lambda: len(told(run, "step")) > before, "going on", 120)
        place.asked(run.path.parents[1].name, "stop", run.name)
        process.wait(60)
    finally:
        process.kill()
    assert run.state() == "stopped"
    start = told(run, "start")[-1]
    assert start["processes"] == 2
    return int(start["resumed_from"])
