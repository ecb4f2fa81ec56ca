"""Queues and sweeps, and steering from any terminal: what is asked, without a model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from made_runs import waits_elsewhere

from ftstudio.cli import main
from ftstudio.cli.comparing import _runs
from ftstudio.cli.output import Out
from ftstudio.cli.queue import Waiting, grid, named, outcome, outcome_text, queue, work_through
from ftstudio.cli.train import finish, load
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.files import read_lines
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import judged_on, resume
from ftstudio.engine.materials import open_materials
from ftstudio.engine.sweep import SWEEP, join, left, on_same_rows, siblings, words_of


def test_all_combinations_of_listed_values():
    assert grid(["training.learning_rate=1e-4,2e-4", "method.targets=[q_proj, v_proj],attention"]) == [
        ["training.learning_rate=1e-4", "method.targets=[q_proj, v_proj]"],
        ["training.learning_rate=1e-4", "method.targets=attention"],
        ["training.learning_rate=2e-4", "method.targets=[q_proj, v_proj]"],
        ["training.learning_rate=2e-4", "method.targets=attention"],
    ]
    assert grid(["data.template='a, b',plain"]) == [["data.template='a, b'"], ["data.template=plain"]]


def test_a_sweep_typed_in_one_line():
    assert words_of("training.learning_rate=1e-4, 2e-4  method.targets=[q_proj, v_proj],attention") == [
        "training.learning_rate=1e-4,2e-4", "method.targets=[q_proj, v_proj],attention",
    ]  # fmt: skip
    assert words_of("  ") == []


@pytest.mark.parametrize("word", ["training.learning_rate", "training.learning_rate=1e-4", "=1,2", "a="])
def test_a_sweep_of_nothing_is_refused(word: str):
    with pytest.raises(UsageError, match="lists no values"):
        grid([word])


def test_swept_runs_say_what_was_chosen():
    recipe = Recipe.model_validate({"model": "demo", "data": {"train": "demo"}})
    assert named(recipe, []) is recipe
    assert named(recipe, ["training.learning_rate=1e-4", "method.r=8"]).name == "demo-lora-learning-rate-1e-4-r-8"
    long, keys = recipe.model_copy(update={"name": "customer-letters-of-2024-lora"}), ["training.learning_rate=1e-4"]
    assert named(long, [*keys, "method.r=16"]).name == "customer-letters-of-2024-learning-rate-1e-4-r-16"
    assert named(long, [*keys, "method.r=8"]).name == "customer-letters-of-2024-learning-rate-1e-4-r-8"


def test_of_swept_paths_the_name_says_what_differs():
    recipe = Recipe.model_validate({"model": "demo", "data": {"train": "demo"}})

    def called(*words: str) -> list[str]:
        sweep = grid(words)
        return [str(named(recipe, chosen, sweep).name).removeprefix("demo-lora-") for chosen in sweep]

    home = "data.train=/home/user/projects/tickets/cleaned"
    assert called(f"{home}/train-v1.jsonl,/home/user/projects/tickets/cleaned/train-v2.jsonl") == [
        "train-train-v1", "train-train-v2",
    ]  # fmt: skip
    assert called("data.train=/a/b/train.csv,/a/c/train.csv") == ["train-b", "train-c"]
    assert called("data.train=/a/b/train.csv,/a/b/train.json") == ["train-train-csv", "train-train-json"]
    assert called("model=someone/small,someone/large") == ["model-small", "model-large"]
    many = [f"training.{key}=1e-05,2e-05" for key in ("learning_rate", "weight_decay", "max_grad_norm", "warmup")]
    assert len(set(called(*many))) == 16  # too long for a name: the values alone
    alike = ["x" * 60 + "1", "x" * 60 + "2"]
    assert len(set(called(f"data.template={','.join(alike)}"))) == 2


def made(place: Workspace, name: str, held_out: float | None, kind: str = "done", **more: Any) -> RunFolder:
    run = place.new_run(name)
    run.emit("start", total_steps=4)
    run.emit("step", step=4, loss=2.0, lr=1e-4)
    if held_out is not None:
        run.emit("eval", step=4, loss=held_out)
    run.emit(kind, text="it broke", **more)
    return run


@pytest.mark.parametrize(("by", "status"), [("eval_rising", 0), ("spike", 130), (None, 130)])
def test_early_stopping_is_an_end_that_was_wished_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], by: str | None, status: int
):
    """A launcher takes any other status for a failure. What is told is of the model, not of the last weights."""
    run = Workspace(tmp_path).new_run("a")
    run.emit("start", total_steps=9)
    for step, loss in ((2, 0.5), (4, 0.75)):
        run.emit("step", step=step, loss=loss, lr=1e-4)
        run.emit("eval", step=step, loss=loss)
    early = by == "eval_rising"
    if early:
        run.model.mkdir()
    last = run.emit("stopped", step=4, text="", by=by, **({"model_step": 2, "path": str(run.model)} if early else {}))
    assert finish(run, last, Out(json=False)) == status
    said = capfd.readouterr().out
    assert ("held-out 0.500\n" in said) == ("best held-out 0.500 at step 2: the model's" in said) == early
    assert ("next: ftstudio compare" in said) == early
    assert ("next: ftstudio train --resume" in said) != early


def test_a_checkpoint_of_a_run_without_a_model_can_be_compared_by_either_name(tmp_path: Path):
    place = Workspace(tmp_path)
    run = place.new_run("a")
    run.recipe_path.write_text("task: sft\n")
    asked = argparse.Namespace(overrides=[], runs=["a-1"], baseline=None, votes=False)
    for arms in ("base,tuned@3", "base,a-1@3"):
        asked.arms = arms
        assert [found.name for found in _runs(asked, place)] == ["a-1"]
    asked.arms = None
    with pytest.raises(StudioError, match=r"no trained model.*tuned@STEP"):
        _runs(asked, place)


class Trainingless:
    """Takes jobs as `Headless` does; what comes of one is for a test to say."""

    interrupted = False

    def __init__(self, out: Out): ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def expect(self, run: RunFolder) -> None: ...

    def expects(self, run: RunFolder) -> bool:
        return True


def test_early_stopping_ends_its_run_and_not_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place, began = Workspace(tmp_path), []
    early, out = {"kind": "stopped", "by": "eval_rising"}, {"kind": "stopped", "by": "queue"}
    ends = iter([early, out, {"kind": "done"}, {"kind": "stopped"}, {"kind": "done"}])

    class Fake(Trainingless):
        def expects(self, run: RunFolder) -> bool:
            return run.name != "taken-out-1"

        def run(self, job: Any, folder: Path) -> dict[str, Any]:
            began.append(folder.name)
            return next(ends)

    monkeypatch.setattr("ftstudio.cli.queue.Headless", Fake)
    waiting = [Waiting(name, place.new_run(name)) for name in ("a", "taken out", "b", "c", "d", "e")]
    assert work_through(waiting, Out(json=True)) == 130
    assert began == ["a-1", "b-1", "c-1", "d-1"]


def test_the_best_run_is_named_past_failures(tmp_path: Path):
    place = Workspace(tmp_path)
    waiting = [
        Waiting("a", made(place, "a", 1.5)),
        Waiting("b", made(place, "b", 1.2)),
        Waiting("c", made(place, "c", 0.1, "failed"), StudioError("it broke")),
        Waiting("d.yaml", None, StudioError("no such file")),
        Waiting("e", place.new_run("e")),
    ]
    value = outcome(waiting)
    assert [row["state"] for row in value["runs"]] == ["done", "done", "failed", "failed", "queued"]
    assert (value["best"], value["by"]) == ("b-1", "eval_loss")
    text = outcome_text(value)
    assert "best by the model's held-out loss: b-1" in text
    assert "no such file" in text
    assert "ftstudio queue" in text
    assert outcome([Waiting("f", made(place, "f", None))])["by"] == "loss"
    assert outcome([])["best"] is None
    early = made(place, "g", 0.9, "stopped", by="eval_rising")
    value = outcome([*waiting[:2], Waiting("g", early)])
    assert value["best"] == "g-1"
    assert "stopped early" in outcome_text(value)


RECIPE = "{model: demo, task: sft, data: {train: rows.jsonl, eval: 0.1, max_length: 64}, training: {seed: 0}, "
NOTED = "{template: plain, data: {train: {sha256: a, rows: 40}, eval: {rows: 4}}}"


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [
        ("task: sft", "task: masked-lm", "different tasks"),
        ("seed: 0", "seed: 1", r"different held-out rows \(the same data.seed"),
        ("sha256: a", "sha256: b", "different held-out rows"),
        ("eval: 0.1", "eval: 0.2", r"different held-out rows \(a file as data.eval"),
        ("max_length: 64", "max_length: 32", "different lengths"),
        ("template: plain", "template: alpaca", "different templates"),
        ("model: demo", "model: elsewhere/else", "different tokenizers"),
        ("seed: 0", "seed: 0, learning_rate: 1", ""),
    ],
)
def test_only_losses_of_the_same_thing_make_a_best_run(tmp_path: Path, old: str, new: str, differ: str):
    place, text = Workspace(tmp_path), f"{RECIPE} resolved: {NOTED}}}"
    assert text.count(old) == 1
    runs = [made(place, "a", 1.5), made(place, "b", 1.2)]
    for run, recipe in zip(runs, (text, text.replace(old, new)), strict=True):
        run.recipe_path.write_text(recipe)
    value = outcome([Waiting(run.name, run) for run in runs])
    assert value["best"] == (None if differ else "b-1")
    assert re.search(f"no best run: .*{differ}" if differ else "best by", outcome_text(value))


PAIRS = "{model: demo, task: embedding, data: {train: p.csv, eval: e.csv}, training: {batch_size: 4}, "
FOUND = "{data: {train: {sha256: a, rows: 40}, eval: {sha256: b, rows: 50}}, task: {form: pairs}}"


@pytest.mark.parametrize(("best", "scores"), [("b-1", (0.5, 0.75)), (None, (0.75, 0.75)), (None, (0.5, None))])
def test_batches_of_other_sizes_are_judged_by_what_is_found_and_not_by_loss(
    tmp_path: Path, best: str | None, scores: tuple[float, float | None]
):
    """Among fewer negatives the loss is lower, of the same model too."""
    place, runs = Workspace(tmp_path), []
    for name, size, score in zip("ab", (4, 32), scores, strict=True):
        run = place.new_run(name)
        more = {} if score is None else {"mrr@10": score}
        run.emit("eval", step=4, loss=0.1 * size, rows=50, **more)
        run.emit("done")
        run.recipe_path.write_text(f"{PAIRS.replace('batch_size: 4', f'batch_size: {size}')} resolved: {FOUND}}}")
        runs.append(run)
    waiting = [
        Waiting(run.name, run, chosen=[f"training.batch_size={size}"]) for run, size in zip(runs, (4, 32), strict=True)
    ]
    join(waiting)
    value = outcome([Waiting(run.name, run) for run in runs])
    assert (value["best"], value["by"]) == (best, best and "mrr@10")
    assert judged_on.BATCHES in value["why"]
    text = outcome_text(value)
    assert ("best by the model's mrr@10: b-1" in text) == bool(best)
    assert "batch_size=32" in text
    runs[0].recipe_path.write_text(runs[0].recipe_path.read_text().replace("sha256: b", "sha256: c"))
    assert outcome([Waiting(run.name, run) for run in runs])["best"] is None  # other rows


@pytest.mark.parametrize(("rows", "differ"), [(20, True), (200, False)])
def test_seeds_are_judged_on_other_rows_of_a_file_that_holds_more_than_are_judged(
    tmp_path: Path, rows: int, differ: bool
):
    place, runs = Workspace(tmp_path), [(made(Workspace(tmp_path), name, loss)) for name, loss in (("a", 2), ("b", 1))]
    for seed, run in enumerate(runs):
        text = f"{RECIPE.replace('seed: 0', f'seed: {seed}')} evaluation: {{rows: {rows}}}, resolved: {NOTED}}}"
        run.recipe_path.write_text(
            text.replace("0.1", "e.csv").replace("eval: {rows: 4}", "eval: {sha256: e, rows: 90}")
        )
    value = outcome([Waiting(run.name, run) for run in place.runs()])
    assert value["best"] == (None if differ else "b-1")
    assert ("the same data.seed" in value["why"]) == differ


def test_swept_seeds_hold_out_and_answer_the_same_rows():
    recipe = partial(load, "demo")

    def seeds(*chosen: str, of: Callable[[list[str]], Recipe] = recipe) -> tuple[int, int]:
        made = on_same_rows(chosen, of)
        return made.training.seed, made.rows_seed

    assert [seeds(f"training.seed={seed}") for seed in (0, 1, 2)] == [(0, 0), (1, 0), (2, 0)]
    assert seeds("training.seed=1", of=lambda words: recipe(["training.seed=7", *words])) == (1, 7)
    assert seeds("training.seed=1", of=lambda words: recipe(["data.seed=4", *words])) == (1, 4)
    assert seeds("training.seed=1", "data.seed=3") == (1, 3)
    assert on_same_rows(["training.learning_rate=1"], recipe).data.seed is None

    parts = [open_materials(recipe(["training.seed=1", f"data.seed={seed}", "data.eval=0.2"])) for seed in (0, 0, 1)]
    held_out = [[row for row, _ in materials.examples(10)] for materials in parts]
    assert held_out[0] == held_out[1] != held_out[2]
    assert held_out[0] == [row for row, _ in open_materials(recipe(["data.eval=0.2"])).examples(10)]


def test_the_tokenizer_counts_and_not_where_the_model_lies(tmp_path: Path):
    place, runs = Workspace(tmp_path / "studio"), []
    for name, words in (("a", "same"), ("b", "same"), ("c", "other")):
        model = tmp_path / name
        model.mkdir()
        (model / "tokenizer.json").write_text(words)
        runs.append(made(place, name, 1.0))
        runs[-1].recipe_path.write_text(f"{RECIPE.replace('demo', str(model))} resolved: {NOTED}}}")
    assert judged_on.differing(runs[:2], held_out=True) == ""
    assert judged_on.differing(runs, held_out=True) == "tokenizers"


def test_a_sweep_that_was_cut_short_goes_on_and_is_judged_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place, jobs = Workspace(tmp_path), list[Any]()
    done, broken, waits = made(place, "a", 1.0), place.new_run("b"), place.new_run("c")
    alone = place.new_run("alone")
    for run in (broken, alone):
        run.emit("phase", phase="training")
    for run in (done, broken, waits, alone):
        run.recipe_path.write_text(f"{RECIPE} resolved: {NOTED}}}")
    join([Waiting(run.name, run) for run in (done, broken, waits)])

    class Fake(Trainingless):
        def run(self, job: Any, folder: Path) -> dict[str, Any]:
            jobs.append((folder.name, job.resume))
            run = RunFolder(folder)
            run.emit("eval", step=4, loss=2.0)
            return run.emit("done")

    monkeypatch.setattr("ftstudio.cli.queue.Headless", Fake)
    told = Told(json=True)
    assert queue(argparse.Namespace(workspace=str(tmp_path)), told) == 0
    assert jobs == [("b-1", True), ("c-1", False)]
    assert told.value["best"] == "a-1"
    assert [row["run"] for row in told.value["runs"]] == ["a-1", "b-1", "c-1"]
    assert queue(argparse.Namespace(workspace=str(tmp_path)), told) == 0  # nothing waits: what was cut short is named
    assert told.value["interrupted"] == ["alone-1"]
    assert "ftstudio train --resume alone-1" in told.text


class Told(Out):
    """Keeps what it is given."""

    def result(self, value: Any, text: str) -> None:
        self.value, self.text = value, text


@pytest.mark.parametrize("count", [1, 2])
def test_runs_that_wait_in_another_process_are_named_with_it(tmp_path: Path, count: int):
    place, told = Workspace(tmp_path), Told(json=False)
    names = [f"tickets-{number}" for number in range(1, count + 1)]
    process: dict[str, str] = {}
    for name in names:
        run = place.new_run("tickets")
        run.recipe_path.write_text("task: sft\n")
        process[name] = waits_elsewhere(run)
    assert queue(argparse.Namespace(workspace=str(tmp_path)), told) == 0
    for name in names:
        assert f"  {name} in {process[name]}: ftstudio stop {name} takes it out" in told.text
    assert ("1 waits for its turn in" if count == 1 else "2 wait for their turn in") in told.text
    assert "next: ftstudio train A.yaml" not in told.text
    assert told.value["elsewhere"] == [{"run": name, "in": process[name]} for name in names]


def test_a_sweep_whose_last_run_was_cut_short_goes_on_too(tmp_path: Path):
    place = Workspace(tmp_path)
    done, broken = made(place, "a", 1.0), place.new_run("b")
    broken.emit("phase", phase="training")
    for run in (done, broken):
        run.recipe_path.write_text(f"{RECIPE} resolved: {NOTED}}}")
    join([Waiting(run.name, run) for run in (done, broken)])
    waiting, others = left(list(reversed(place.runs())))
    assert [(one.name, one.resume) for one in waiting] == [("b-1", True)]
    assert others == []


def test_a_sweep_over_a_key_that_is_none_is_wrong_use(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    words = ["train", "demo", "--sweep", "training.nosuch=1,2", "--workspace", str(tmp_path)]
    assert main(words) == 2
    assert "nosuch" in capfd.readouterr().err
    assert not Workspace(tmp_path).runs()


def test_runs_are_judged_by_the_model_they_saved(tmp_path: Path):
    """The last weights, with early stopping the best checkpoint; what was better on the way is told."""
    place, runs = Workspace(tmp_path), []
    for name, losses, end in (("late", (0.8, 1.3), {}), ("early", (1.2, 1.4), {"by": "eval_rising", "model_step": 2})):
        run = place.new_run(name)
        run.recipe_path.write_text("{model: demo, task: sft, data: {train: rows.jsonl}}")
        for step, loss in zip((2, 4), losses, strict=True):
            run.emit("eval", step=step, loss=loss)
        run.emit("stopped" if end else "done", **end)
        runs.append(run)
    kept = runs[0].checkpoints / "checkpoint-2"
    kept.mkdir(parents=True)
    resume.seal(kept, step=2)
    value = outcome([Waiting(run.name, run) for run in runs])
    assert [row["eval_loss"] for row in value["runs"]] == [1.3, 1.2]
    assert [row["lowest"] for row in value["runs"]] == [{"step": 2, "loss": 0.8, "kept": True}, None]
    assert value["best"] == "early-1"
    assert "ftstudio compare late-1 --arms base,tuned@2" in outcome_text(value)


def test_a_sweep_knows_its_runs_from_their_folders_but_for_deleted_ones(tmp_path: Path):
    place = Workspace(tmp_path)
    runs = [made(place, name, 1.0) for name in "abc"]
    for run in runs:
        run.recipe_path.write_text("task: sft\n")
    join([Waiting(run.name, run) for run in runs])
    assert [run.name for run in siblings(RunFolder(runs[1].path))] == ["a-1", "b-1", "c-1"]
    place.delete_run(runs[0])
    assert [run.name for run in siblings(runs[1])] == ["b-1", "c-1"]
    (runs[1].path / SWEEP).write_text('{"runs": ["../../elsewhere", "b-1", 3]}')
    assert [run.name for run in siblings(runs[1])] == ["b-1"]


def test_a_run_that_waits_in_another_process_is_only_taken_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run = Workspace(tmp_path / "studio").new_run("later")
    run.recipe_path.write_text("task: sft\n")
    where = waits_elsewhere(run)
    assert main(["queue"]) == 0
    assert f"1 waits for its turn in another process:\n  later-1 in {where}" in capfd.readouterr().out
    for words in (["pause", "later-1"], ["train", "--resume", "later-1"]):
        assert main(words) == 1
        told = capfd.readouterr().err
        assert f"waits for its turn in {where}" in told
        assert "ftstudio stop later-1" in told
    assert main(["stop", "later-1"]) == 0
    assert "leaves the queue" in capfd.readouterr().out
    assert read_lines(run.control_path)[-1]["request"] == "stop"


@pytest.fixture
def live(tmp_path: Path) -> RunFolder:
    run = Workspace(tmp_path / "studio").new_run("live")
    run.recipe_path.write_text("task: sft\n")
    run.claim()
    run.emit("start", total_steps=100)
    run.emit("step", step=40, loss=2.0)
    return run


@pytest.mark.parametrize(
    ("words", "request_", "value"),
    [
        (["lr", "live", "1e-4"], "learning_rate", 1e-4),
        (["extend", "live", "20"], "steps", 120),
        (["extend", "live", "--", "-50"], "steps", 50),
        (["extend", "live", "60", "--to"], "steps", 60),
        (["evaluate", "live"], "evaluate", None),
    ],
)
def test_requests_reach_the_run(live: RunFolder, words: list[str], request_: str, value: Any):
    assert main([*words, "--json"] if "--" not in words else ["--json", *words]) == 0
    row = read_lines(live.control_path)[-1]
    assert (row["request"], row.get("value")) == (request_, value)


@pytest.mark.parametrize(
    ("words", "status"), [(["lr", "live", "2"], 2), (["extend", "live", "--", "-70"], 2), (["lr", "absent", "1e-4"], 2)]
)
def test_what_cant_be_asked(live: RunFolder, words: list[str], status: int, capfd: pytest.CaptureFixture[str]):
    assert main(words) == status
    assert not live.control_path.exists()
    assert "Traceback" not in capfd.readouterr().err


def test_a_run_that_nobody_trains_cant_be_steered(live: RunFolder, capfd: pytest.CaptureFixture[str]):
    live.release()
    assert main(["lr", "live", "1e-4"]) == 1
    assert "isn't running" in capfd.readouterr().err


def test_several_processes_train_one_recipe_at_a_time(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "demo", "--sweep", "training.learning_rate=1e-4,2e-4"]) == 2
    assert "one recipe at a time" in capfd.readouterr().err


def test_an_empty_queue_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    from ftstudio.cli.queue import queue

    arguments = argparse.Namespace(workspace=str(tmp_path))
    assert queue(arguments, Out(json=False)) == 0
    assert "No run waits" in capfd.readouterr().out
