"""The doctor on this machine and on ones that are played."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftstudio.core.workspace import Workspace
from ftstudio.engine import doctor as module
from ftstudio.engine.doctor import doctor


def test_every_check_has_a_verdict_and_every_trouble_a_way_out(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "not/there/yet")
    checks = doctor(place)["checks"]
    names = [check["name"] for check in checks]
    assert len(names) == len(set(names))
    wanted = {"python", "torch", "transformers", "peft", "bitsandbytes", "gpu", "4 bits (qlora)", "memory", "disk"}
    assert wanted | {"workspace", "terminal", "hub", "similarity"} <= set(names)
    for check in checks:
        assert set(check) == {"name", "status", "text", "hint"}
        assert check["status"] in ("ok", "warning", "error")
        assert check["text"]
        assert check["status"] == "ok" or check["hint"]
    assert not place.path.exists()  # looking changes nothing
    assert list(tmp_path.iterdir()) == []


def test_four_bits_are_really_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    assert module.four_bits()["status"] == "ok"

    class Broken(bnb.nn.Linear4bit):  # type: ignore[name-defined,misc]
        def forward(self, rows: Any) -> Any:
            return super().forward(rows) * 3

    monkeypatch.setattr(bnb.nn, "Linear4bit", Broken)
    check = module.four_bits()
    assert check["status"] == "error"
    assert "wrong numbers" in check["text"]
    assert "lora" in check["hint"]


def test_versions_out_of_range_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    ranges = module.required()
    assert ranges["torch"]
    assert "pytest" not in ranges  # what only an extra asks for
    real = metadata.version
    versions = {"torch": "1.13.0", "peft": None}

    def version(name: str) -> str:
        if name in versions:
            found = versions[name]
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = {check["name"]: check for check in module.libraries()}
    assert found["torch"]["status"] == "warning"
    assert "1.13.0" in found["torch"]["text"]
    assert found["peft"]["status"] == "error"
    assert "pip install" in found["peft"]["hint"]
    assert found["textual"]["status"] == "ok"


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [("fsync", errno.ENOSPC, "disk is full"), ("replace", errno.EROFS, "read-only")],
)
def test_a_workspace_that_cant_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, words: str
) -> None:
    assert module.writing(tmp_path)["status"] == "ok"

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    check = module.writing(tmp_path)
    assert check["status"] == "error"
    assert words in check["text"]
    assert check["hint"]
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_without_hard_links_will_do_and_one_that_claims_twice_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", fail)
    assert module.writing(tmp_path)["status"] == "ok"
    monkeypatch.setattr(os, "link", lambda *_: None)
    assert module.writing(tmp_path)["status"] == "error"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_runs_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.disk(tmp_path / "a/b")["status"] == "ok"
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=100 << 20))
    assert module.disk(tmp_path)["status"] == "warning"


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    inside = tmp_path / "home of/ann"
    inside.mkdir(parents=True)
    home = str(inside.parent).replace(" ", "\\040")
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {home} nfs4 rw 0 0\nother:/y {tmp_path}/home cifs rw 0 0\n")
    assert module.file_system(inside / "studio", str(mounts)) == "nfs4"
    assert module.file_system(tmp_path, str(mounts)) == "ext4"
    assert module.file_system(tmp_path, str(tmp_path / "none")) is None


class Terminal:
    """A terminal of another encoding."""

    def __init__(self, tty: bool = True, encoding: str = "utf-8") -> None:
        self.encoding = encoding
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


@pytest.mark.parametrize(
    ("environment", "encoding", "size", "status", "words"),
    [
        ({"TERM": "xterm-256color"}, "utf-8", (120, 40), "ok", "256 colours"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "utf-8", (80, 24), "ok", "true colour"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "utf-8", (80, 24), "ok", "NO_COLOR"),
        ({"TERM": "dumb"}, "utf-8", (80, 24), "error", "dumb"),
        ({"TERM": "linux"}, "ISO-8859-1", (80, 24), "warning", "UTF-8"),
        ({"TERM": "vt100"}, "utf-8", (60, 18), "warning", "60×18"),
    ],
)
def test_terminals(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    encoding: str,
    size: tuple[int, int],
    status: str,
    words: str,
) -> None:
    for name in ("TERM", "COLORTERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(module.sys, name, Terminal(True, encoding))
    monkeypatch.setattr(module.shutil, "get_terminal_size", lambda fallback: os.terminal_size(size))
    check = module.terminal()
    assert check["status"] == status
    assert words in check["text"] + check["hint"]


def test_without_a_terminal_the_commands_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "stdin", Terminal(False))
    check = module.terminal()
    assert check["status"] == "ok"
    assert "ftstudio train" in check["hint"]


def test_a_gpu_that_torch_cant_use_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from ftstudio.engine.telemetry import Telemetry

    card = {"name": "Card", "use": 0, "memory_used": 1 << 30, "memory_total": 80 << 30, "temperature": 30, "power": 60}
    monkeypatch.setattr(Telemetry, "read", lambda self: {"gpus": [card]})
    monkeypatch.setattr(Telemetry, "driver", lambda self: "580.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = {check["name"]: check for check in module.gpu()}
    assert found["gpu"]["text"] == "Card, 80.0 GiB, 1.0 GiB in use"
    assert found["gpu driver"]["text"] == "580.1"
    assert found["torch and gpu"]["status"] == "error"
    assert found["torch and gpu"]["hint"]


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("oh [no]")

    monkeypatch.setattr(module, "hub", broken)
    monkeypatch.setattr(module, "embedding", lambda: module._check("similarity", "ok", "x"))
    found = [check for check in doctor()["checks"] if check["status"] == "error"]
    assert any("oh [no]" in check["text"] for check in found)
