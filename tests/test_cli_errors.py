"""Bad input gets one clear sentence with the way out, exit status 1 or 2, no traceback, nothing half-written."""

from __future__ import annotations

import builtins
import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model

from ftstudio.cli import main

ROWS = "".join(json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) + "\n" for n in range(30))
QUICK = """training: {steps: 1}
evaluation: {rows: 2, samples: 0, max_new_tokens: 4, similarity: static, forgetting: false}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("errors") / "model")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return path


@pytest.fixture
def recipe(tmp_path: Path, rows: Path, model: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"task: sft\nmodel: {model}\nmethod: {{name: lora, r: 2}}\ndata: {{train: {rows}}}\n{QUICK}")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The workspace that commands write to."""
    return tmp_path / "studio"


def run(capfd: pytest.CaptureFixture[str], *command: object) -> tuple[int, str, str]:
    try:
        status = main([str(word) for word in command])
    except SystemExit as end:
        status = int(end.code or 0)
    return status, *capfd.readouterr()


def fails(capfd: pytest.CaptureFixture[str], words: str, *command: object, code: int | None = None) -> str:
    """Run COMMAND, which must fail saying WORDS in one sentence with a way out, and leave no run; what it said."""
    place = Path(os.environ["FTSTUDIO_WORKSPACE"])
    before = sorted(place.rglob("*"))
    status, out, err = run(capfd, *command)
    said = out + err
    assert status in ((1, 2) if code is None else (code,)), said
    assert words.lower() in said.lower(), said
    assert "Traceback" not in said
    sentences = [line for line in err.splitlines() if line.startswith("ftstudio: ")]
    assert len(sentences) == 1, err
    assert sentences[0].rstrip().endswith((".", "?", ")")), sentences
    assert sorted(place.rglob("*")) == before
    return said


def stored(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


# -- the recipe ------------------------------------------------------------------------------------------------------
RECIPES: dict[str, tuple[str | bytes, str]] = {
    "not UTF-8": (b"\xff\xfet\x00", "is not UTF-8 text (byte 0)"),
    "broken YAML": ("task: sft\n  model: [x\n", "line 2: mapping values are not allowed here"),
    "empty": ("", "holds no recipe"),
    "a list": ("- a\n", "holds no recipe"),
    "a key twice": ("model: a\nmodel: b\n", 'line 2: found duplicate key "model"'),
    "too deep": ("[" * 1000, "nested too deeply"),
    "no data": ("model: demo\n", "data is missing. Add `data:`"),
    "not a section": ("model: demo\ndata: demo\n", "line 2: data: must be a section with keys of its own"),
    "a word for a number": (
        "model: demo\ndata: {train: demo}\ntraining: {batch_size: many}\n",
        "line 3: training.batch_size: must be a whole number (it is 'many')",
    ),
    "a number for a text": ("model: 5\ndata: {train: demo}\n", "line 1: model: must be a text (it is 5)"),
    "infinite": ("model: demo\ndata: {train: demo}\ntraining: {epochs: .inf}\n", "training.epochs: must be a number"),
    "no such choice": (
        "model: demo\ndata: {train: demo}\ntraining: {precision: fp8}\n", "must be 'auto', 'fp32', 'bf16' or 'fp16'",
    ),
    "another tool's key": (
        "model: demo\nmethod: {name: lora, lora_alpha: 3}\ndata: {train: demo}\n", "Here it is called 'alpha'",
    ),
    "in another section": ("model: demo\nepochs: 3\ndata: {train: demo}\n", "Did you mean `training.epochs`?"),
    "settings of another method": (
        "model: demo\nmethod: {name: full, r: 3}\ndata: {train: demo}\n", "method.r: there is no such key",
    ),
    "another task": (
        "task: text-clasification\nmodel: demo\ndata: {train: demo}\n", "Did you mean 'text-classification'?",
    ),
    "no JSON Schema": (
        "model: demo\ndata: {train: demo}\nevaluation: {format: {json_schema: {type: 5}}}\n", "no JSON Schema",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_with_a_fault(capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    text, words = RECIPES[name]
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert str(path) in fails(capfd, words, "train", path, code=2)


def test_a_recipe_that_is_not_there_or_a_folder(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fails(capfd, "no such file", "train", tmp_path / "none.yaml", code=2)
    fails(capfd, "that is a folder", "train", tmp_path, code=2)


OVERRIDES = {
    "training.epoch=2": "training.epoch, as you typed it: there is no such key. Did you mean 'epochs'?",
    "training.epochs": "'training.epochs' is no override. Write key=value",
    "training.epochs=[1": "expected ',' or ']'",
    "model.x=2": "model, as you typed it: must be a text",
    "data.eval=2": "a fraction between 0 and 1",
    "method.name=qlor": "Did you mean 'qlora'?",
    "data.template={{ prompt": "The template is not valid Jinja",
    "data.template=alpacca": "There is no template 'alpacca'. Did you mean alpaca?",
    "data.max_length=100000": "100000 tokens a row are more than the 256",
    "evaluation.similarity=/no/where": "evaluation.similarity: there is no embedding model in /no/where",
    "training.precision=fp16": "fp16 needs a GPU",
    "method.targets=[q_prj]": "the model has no linear layer 'q_prj'. Did you mean 'q_proj'?",
    "model=nobody/nothing": "nobody/nothing is no folder here and not in the hub's cache",
    "model=./no/folder/here": "There is no model folder './no/folder/here'",
    "data.train=nobody/nothing": "nobody/nothing is no file here, and the hub is switched off",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_override_that_cant_work(capfd: pytest.CaptureFixture[str], recipe: Path, override: str) -> None:
    if "fp16" in override:
        skip_with_gpu()
    fails(capfd, OVERRIDES[override], "train", recipe, override)


def skip_with_gpu() -> None:
    from ftstudio.engine.compatibility import gpu_present

    if gpu_present():
        pytest.skip("this machine has a GPU")


def test_no_gpu_for_a_gpu_setting(capfd: pytest.CaptureFixture[str], recipe: Path) -> None:
    skip_with_gpu()
    fails(capfd, "the recipe asks for a GPU, but this machine shows none", "train", recipe, "training.device=cuda")


def test_overrides_may_stand_behind_options(capfd: pytest.CaptureFixture[str], recipe: Path, place: Path) -> None:
    fails(capfd, "batch_size, as you typed it", "train", recipe, "--workspace", place, "training.batch_size=0", code=2)
    status, _, err = run(capfd, "train", recipe, "--frob")
    assert status == 2
    assert "--frob" in err


def test_demo_is_the_bundled_one_whatever_lies_around(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft-lora").mkdir()
    (tmp_path / "demo").mkdir()
    assert run(capfd, "plan", "demo", "--no-measure")[0] == 0
    (tmp_path / "demo").rmdir()
    (tmp_path / "demo").write_text("no recipe")
    assert run(capfd, "plan", "demo", "--no-measure")[0] == 0
    fails(capfd, "path/to/your", "train", "sft-lora")  # the preset, which names no model yet


# -- the data --------------------------------------------------------------------------------------------------------
DATA: dict[str, tuple[str, bytes, str]] = {
    "a picture": ("bad.jsonl", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "is a PNG picture"),
    "latin-1": ("l1.jsonl", '{"prompt":"é","completion":"ü"}\n'.encode("latin-1") * 30, "line 1 is not UTF-8"),
    "empty": ("empty.jsonl", b"", "is empty"),
    "only blank lines": ("blank.jsonl", b"\n\n", "is empty"),
    "only a header": ("head.csv", b"prompt,completion\n", "has a header but no row"),
    "one row": ("one.jsonl", b'{"prompt": "q", "completion": "a"}\n', "holds only one row"),
    "no line is JSON": ("torn.jsonl", b'{"prompt": oops\n' * 9, "line 1 is not JSON"),
    "a torn array": ("torn.json", b'[{"prompt":"a","completion":"b"},{"prom', "holds only one row (1 more can't"),
    "all alike": ("same.jsonl", b'{"prompt":"q","completion":"a"}\n' * 9, "have the same prompt"),
    "only long prompts": (
        "long.jsonl", b"".join(b'{"prompt":"%d %s","completion":"b"}\n' % (n, b"x" * 300) for n in range(9)),
        "can be trained: all labels are masked",
    ),
    "unknown columns": ("cols.jsonl", b'{"foo":"a","bar":"b"}\n' * 9, "no known set of columns among foo, bar"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_data_that_cant_be_trained_on(
    capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path, name: str
) -> None:
    file, content, words = DATA[name]
    (tmp_path / file).write_bytes(content)
    assert file in fails(capfd, words, "train", recipe, f"data.train={tmp_path / file}")


def test_data_that_is_not_there(capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path) -> None:
    fails(capfd, "Did you mean", "train", recipe, f"data.train={tmp_path}/rows.json")
    fails(capfd, "gone.jsonl", "train", recipe, f"data.eval={tmp_path}/gone.jsonl")
    fails(capfd, "gone.jsonl", "data", tmp_path / "gone.jsonl")
    (tmp_path / "folder").mkdir()
    fails(capfd, "is a folder without a data file", "train", recipe, f"data.train={tmp_path}/folder")


def test_no_such_column(capfd: pytest.CaptureFixture[str], recipe: Path, rows: Path) -> None:
    typed = ("data.columns.prompt=prompt", "data.columns.completion=completoin")
    fails(capfd, "has no column 'completoin'", "train", recipe, *typed)
    fails(capfd, "no column 'nope'", "data", rows, "--column", "prompt=nope")
    fails(capfd, "names no completion", "train", recipe, "data.columns.prompt=prompt")


def test_training_rows_are_no_held_out_rows(capfd: pytest.CaptureFixture[str], recipe: Path, rows: Path) -> None:
    fails(capfd, "holds the very rows of data.train", "train", recipe, f"data.eval={rows}", code=2)
    fails(capfd, "validation", "train", recipe, "data.eval=validation")


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """PATH as another user's: tests may run as root, to whom every file is open."""
    real_open, real_os = builtins.open, os.open

    def refuse(name: Any) -> None:
        if isinstance(name, (str, os.PathLike)) and Path(name) == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))

    def opened(name: Any, *rest: Any, **more: Any) -> Any:
        refuse(name)
        return real_open(name, *rest, **more)

    def low(name: Any, *rest: Any, **more: Any) -> Any:
        refuse(name)
        return real_os(name, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", opened)
        patch.setattr("io.open", opened)
        patch.setattr(os, "open", low)
        yield


def test_a_file_of_someone_else(capfd: pytest.CaptureFixture[str], recipe: Path, rows: Path) -> None:
    for path in (rows, recipe):
        with unreadable(path):
            assert str(path) in fails(capfd, "permission denied", "train", recipe)


# -- the model -------------------------------------------------------------------------------------------------------
def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def cut_off(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')


def torn_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def config(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


MODELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no tokenizer": (without_tokenizer, "has no tokenizer"),
    "weights cut off": (cut_off, "model.safetensors is damaged"),
    "weights pickled": (pickled, "a pickle that may run code when read"),
    "an adapter": (adapter, "holds an adapter, not a whole model. Name its base model, owner/base"),
    "a torn config": (torn_config, "its config.json is missing or no JSON"),
    "an encoder": (config(architectures=["BertForMaskedLM"]), "its weights are those of BertForMaskedLM"),
    "unknown": (config(model_type="frobnicate"), "no causal language model that this transformers knows"),
    "of another size": (config(hidden_size=64), "its weights and its config.json don't belong together"),
    "too few tokens": (config(vocab_size=200, pad_token_id=0), "don't belong together"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_folder_that_is_none(
    capfd: pytest.CaptureFixture[str], recipe: Path, model: Path, tmp_path: Path, name: str
) -> None:
    harm, words = MODELS[name]
    folder = tmp_path / "harmed"
    shutil.copytree(model, folder)
    harm(folder)
    fails(capfd, words, "train", recipe, f"model={folder}")
    status, out, _ = run(capfd, "plan", recipe, f"model={folder}", "--no-measure", "--json")
    plan = json.loads(out)
    assert status == 1
    assert not plan["compatible"]
    assert [problem["key"] for problem in plan["problems"] if problem["severity"] == "error"] == ["model"]


# -- the workspace ---------------------------------------------------------------------------------------------------
def test_a_workspace_that_can_not_be_written(capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fails(capfd, "is a file, not a folder", "train", recipe, "--workspace", tmp_path / "file")
    fails(capfd, "is a file, not a folder", "train", recipe, "--workspace", tmp_path / "file" / "x")


@pytest.mark.parametrize("at", ["recipe.yaml", ".owner.", "events.jsonl"])
def test_a_disk_that_is_full_from_the_start(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe: Path, place: Path, at: str
) -> None:
    """Where a run can't even be begun, it leaves nothing; the disk is played by the calls that write."""
    real = os.write, os.fsync
    full = {"now": False}

    def opened(handle: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))

    def write(handle: int, data: bytes) -> int:
        if at in opened(handle):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real[0](handle, data)

    def fsync(handle: int) -> None:
        if at in opened(handle):
            full["now"] = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real[1](handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to tell which file is written")
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", fsync)
    status, out, err = run(capfd, "train", recipe)
    assert status == 1
    assert "The disk is full" in err
    assert str(place) in err
    assert "Traceback" not in out + err
    assert not (place / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 8, 12, 24, 160])
def test_a_disk_that_runs_full(capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path, kilobytes: int) -> None:
    """A real file system of a few kilobytes: always one sentence, and what was trained by then can be gone on with."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        typed = ("training.steps=6", "training.save_steps=2", "training.watch.disk=stop", "--workspace", disk)
        status, out, err = run(capfd, "train", recipe, *typed)
        if kilobytes >= 160:  # stopped as the recipe says: the tuned model still fits
            assert status == 130, out
            assert "The next checkpoint takes" in out + err
            assert list(disk.rglob("model/adapter_model.safetensors"))
        else:
            assert status == 1 or "Stopped, and the tuned model isn't saved" in out + err, out
            assert "The disk is full" in out + err
        assert "Traceback" not in out + err
        left = sorted(disk.rglob("complete.json"))
        assert bool(left) == (kilobytes >= 160)
        assert (disk / "runs").exists() == (kilobytes >= 24)
        if left:
            subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
            status, out, err = run(capfd, "train", "--resume", "last", "--workspace", disk)
            assert status == 0, out + err
            assert "resumed from step" in out
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_runs_full_pauses_the_run_until_there_is_room(recipe: Path, tmp_path: Path) -> None:
    """A real file system again: the last checkpoint stays whole, and more room is all it takes to go on."""
    from ftstudio.core.run import RunFolder
    from ftstudio.engine.resume import newest

    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)], capture_output=True
        ).returncode
    ):
        pytest.skip("only root may mount a small disk")
    words = [sys.executable, "-m", "ftstudio", "train", str(recipe), "training.steps=6", "training.save_steps=2"]
    try:
        with subprocess.Popen(
            [*words, "--workspace", str(disk)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as child:
            said = ""
            assert child.stdout is not None
            for line in child.stdout:
                said += line
                if "The run is paused" in line:
                    whole = newest(RunFolder(next((disk / "runs").iterdir())).checkpoints)
                    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
            assert child.wait(120) == 0, said
        assert whole is not None
        assert "done after 6 steps" in said
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- runs ------------------------------------------------------------------------------------------------------------
def test_no_such_run(capfd: pytest.CaptureFixture[str]) -> None:
    for command in ("stop", "pause", "resume", "checkpoint", "compare", "errors"):
        fails(capfd, "no run 'x'", command, "x", code=2)
    fails(capfd, "no run 'x'", "train", "--resume", "x", code=2)


def test_a_name_that_means_several_runs(capfd: pytest.CaptureFixture[str], place: Path) -> None:
    for name in ("a-lora-1", "a-lora-2"):
        (place / "runs" / name).mkdir(parents=True)
        (place / "runs" / name / "recipe.yaml").write_text("")
    for command in ("stop", "compare", "errors"):
        said = fails(capfd, "2 runs begin with 'a-'", command, "a-", code=2)
        assert "a-lora-1" in said
        assert "a-lora-2" in said


def test_a_finished_run_whose_files_are_harmed(
    capfd: pytest.CaptureFixture[str], recipe: Path, rows: Path, place: Path
) -> None:
    status, out, err = run(capfd, "train", recipe, "training.steps=2", "training.save_steps=1")
    assert status == 0, out + err
    [folder] = (place / "runs").iterdir()
    fails(capfd, "is done: there is nothing to go on with", "train", "--resume", "last", code=1)
    fails(capfd, "named twice", "compare", "last", folder.name, code=2)
    weights = folder / "model" / "adapter_model.safetensors"
    good = weights.read_bytes()

    def fails_here(words: str, *command: object) -> str:
        status, out, err = run(capfd, *command)
        assert status in (1, 2)
        assert words in out + err
        assert "Traceback" not in out + err
        assert sum(line.startswith("ftstudio: ") for line in err.splitlines()) == 1
        return out + err

    weights.write_bytes(good[:100])
    for command in ("errors", "compare"):
        assert f"train --resume {folder.name}" in fails_here("adapter: its weights can't be read", command, "last")
    newest = max((folder / "checkpoints").iterdir())
    (newest / "adapter_model.safetensors").write_bytes(b"torn")
    status, out, err = run(capfd, "train", "--resume", "last")  # the way out that was named, and a torn checkpoint
    assert status == 0, out + err
    assert "checkpoint-2 is damaged: training goes on from step 1" in out
    assert weights.read_bytes() == good
    text = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text("task: [")
    for command in ("errors", "compare"):
        fails_here("recipe.yaml, line 1", command, "last")
    (folder / "recipe.yaml").write_text(text)
    rows.write_text(ROWS + ROWS.replace("q", "r"))
    for command in ("errors", "compare"):
        fails_here("has changed since this run was prepared", command, "last")
    (folder / "events.jsonl").write_bytes(b'\xff\x00\n{\n[1]\n{"kind": 5}\n{}\n')
    assert run(capfd, "runs")[0] == 0


# -- stored predictions, terminals, JSON -----------------------------------------------------------------------------
def test_stored_predictions_that_are_none(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    good = {"prompt": "a", "reference": "b", "output": "c"}
    fails(capfd, "no such file", "errors", "--predictions", path)
    fails(capfd, "that is a folder", "errors", "--predictions", tmp_path)
    fails(capfd, "has no `output`", "errors", "--predictions", stored(path, {"prompt": "a", "reference": "b"}))
    fails(capfd, "line 2 isn't JSON", "errors", "--predictions", stored(path, good, "oops"))
    fails(capfd, "there are no predictions", "errors", "--predictions", stored(path))
    path.write_bytes(b'{"prompt": "\xff"}\n')
    fails(capfd, "isn't UTF-8", "errors", "--predictions", path)
    other = stored(tmp_path / "q.jsonl", good | {"prompt": "z"})
    fails(capfd, "row", "compare", "--predictions", stored(path, good), other)
    fails(capfd, "need no run", "compare", "x", "--predictions", path, other, code=2)


def test_counts_below_one_are_refused(capfd: pytest.CaptureFixture[str], recipe: Path) -> None:
    for count in ("0", "-1", "x"):
        status, _, err = run(capfd, "errors", recipe, f"--rows={count}")
        assert status == 2
        assert f"'{count}' is no whole number from 1 up" in err


def test_no_terminal_for_the_studio(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    fails(capfd, "--headless", code=2)


def test_json_of_a_failure_is_json(capfd: pytest.CaptureFixture[str], recipe: Path) -> None:
    for command, code in ((["stop", "x"], 2), (["train", recipe, "data.train=gone.jsonl"], 1)):
        status, out, _ = run(capfd, *command, "--json")
        assert status == code
        error = json.loads(out)["error"]
        assert error["code"] == code
        assert error["message"]
        assert error["hint"]


def test_a_process_of_its_own_says_the_same(recipe: Path, tmp_path: Path) -> None:
    """No pytest around it: exit status, one sentence on stderr, nothing on stdout."""
    command = [sys.executable, "-m", "ftstudio", "train", str(recipe), f"data.train={tmp_path}/gone.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("ftstudio: There is no file")
