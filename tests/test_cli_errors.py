"""Bad input gets one clear sentence with the way out, exit status 1 or 2, no traceback, nothing half-written."""

import json
from pathlib import Path

import pytest

from ftstudio.cli import main
from ftstudio.demo import MODEL

ROWS = "".join(json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) + "\n" for n in range(30))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return path


@pytest.fixture
def recipe(tmp_path: Path, rows: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"task: sft\nmodel: {MODEL}\nmethod: {{name: lora}}\ndata: {{train: {rows}}}\n")
    return path


def fails(capfd: pytest.CaptureFixture[str], words: str, *command: str, code: int | None = None) -> str:
    """Run COMMAND, which must fail saying WORDS; what it said."""
    try:
        status = main(list(command))
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capfd.readouterr()
    said = out + err
    assert status in ((1, 2) if code is None else (code,)), said
    assert words.lower() in said.lower()
    assert "Traceback" not in said
    sentence = [line for line in err.splitlines() if line.startswith("ftstudio: ")]
    assert len(sentence) == 1, err
    return said


def test_missing_recipe(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fails(capfd, "no such file", "train", str(tmp_path / "none.yaml"), code=2)


def test_unknown_key(capfd: pytest.CaptureFixture[str], recipe: Path) -> None:
    fails(capfd, "did you mean 'epochs'", "train", str(recipe), "training.epoch=2", code=2)


def test_missing_data(capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path) -> None:
    fails(capfd, "gone.jsonl", "train", str(recipe), f"data.train={tmp_path}/gone.jsonl")
    fails(capfd, "gone.jsonl", "data", f"{tmp_path}/gone.jsonl")


def test_data_that_is_no_text(capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    fails(capfd, "bad.jsonl", "train", str(recipe), f"data.train={bad}")


def test_no_such_column(capfd: pytest.CaptureFixture[str], recipe: Path) -> None:
    fails(capfd, "completion", "train", str(recipe), "data.columns.prompt=prompt", "data.columns.completion=completoin")


def test_no_such_model_and_offline(capfd: pytest.CaptureFixture[str], recipe: Path) -> None:
    fails(capfd, "nobody/nothing", "train", str(recipe), "model=nobody/nothing")
    fails(capfd, "no/folder/here", "train", str(recipe), "model=./no/folder/here")


def test_no_gpu_for_a_gpu_setting(capfd: pytest.CaptureFixture[str], recipe: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    fails(capfd, "GPU", "train", str(recipe), "training.device=cuda", code=1)


def test_empty_dataset_and_one_row(capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path) -> None:
    empty, one = tmp_path / "empty.jsonl", tmp_path / "one.jsonl"
    empty.write_text("")
    one.write_text('{"prompt": "q", "completion": "a"}\n')
    fails(capfd, "empty.jsonl", "train", str(recipe), f"data.train={empty}")
    fails(capfd, "row", "train", str(recipe), f"data.train={one}")


def test_a_workspace_that_can_not_be_written(capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fails(capfd, "file", "train", str(recipe), "--workspace", str(tmp_path / "file"))


def test_nothing_half_written(capfd: pytest.CaptureFixture[str], recipe: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    fails(capfd, "gone", "train", str(recipe), "data.train=gone.jsonl", "--workspace", str(place))
    assert not place.exists() or not any(place.rglob("*"))


def test_no_such_run(capfd: pytest.CaptureFixture[str]) -> None:
    for command in ("stop", "pause", "resume", "checkpoint", "compare"):
        fails(capfd, "no run 'x'", command, "x", code=2)


def test_stored_predictions_that_are_none(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "p.jsonl"
    bad.write_text('{"prompt": "a", "reference": "b"}\n')
    fails(capfd, "output", "errors", "--predictions", str(bad))


def test_no_terminal_for_the_studio(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    fails(capfd, "--headless", code=2)


def test_json_of_a_failure_is_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "x", "--json"]) == 2
    out, _ = capfd.readouterr()
    assert json.loads(out)["error"]["code"] == 2
