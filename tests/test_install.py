"""The set-up script, as far as it goes without a package index."""

import subprocess
import sys
from pathlib import Path

from ftstudio import install

ROOT = Path(__file__).resolve().parents[1]


def test_the_readme_and_ci_run_the_same_test_command() -> None:
    command = "python3 -m ftstudio.install test"
    assert command in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith(command)


def test_it_needs_nothing_but_the_standard_library() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import ftstudio.install"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_word_is_refused() -> None:
    done = subprocess.run([sys.executable, "-m", "ftstudio.install", "dance"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "demo, test or nothing" in done.stderr


def test_the_lock_names_every_direct_dependency_within_its_range() -> None:
    import tomllib

    from packaging.requirements import Requirement

    pins = dict(line.split("==") for line in install.LOCK.read_text().splitlines() if "==" in line and line[0] != "#")
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        assert name in pins, f"{name} is not locked"
        assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]} is out of range"


def test_what_is_installed_already_is_not_installed_again(tmp_path: Path) -> None:
    interpreter = tmp_path / "bin" / "python"
    interpreter.parent.mkdir()
    mark = install.stamp(interpreter, "minilm")
    assert mark.parent == tmp_path
    assert mark != install.stamp(interpreter, "minilm,test")
    mark.touch()
    install.install(interpreter, "minilm")  # would fail: there is no such interpreter


def test_the_lock_pins_no_build_of_one_platform() -> None:
    """A GPU machine gets torch's CUDA build, a CPU machine what it has: the lock names the version only."""
    pins = [line for line in install.LOCK.read_text().splitlines() if line and line[0] != "#"]
    assert len(pins) > 100
    for pin in pins:
        name, _, version = pin.partition("==")
        assert version, pin
        assert "+" not in version, pin
        assert "@" not in pin, pin
        assert not name.startswith(("nvidia-cu", "nvidia-nccl", "triton")), pin
        assert name != "ftstudio"
