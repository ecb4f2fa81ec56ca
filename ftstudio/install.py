"""Sets everything up from nothing, then opens the demo or runs the tests. Standard library only.

    python3 -m ftstudio.install demo     set up, open the studio on the bundled demo (headless without a terminal)
    python3 -m ftstudio.install test     set up, run the whole test suite
    python3 -m ftstudio.install          set up, and say what to type next

A virtual environment `.venv` is made where none is active, because system Pythons refuse installs. In an environment
of ours the versions of requirements.lock are taken; in one of yours that holds torch already, what is there stays as
long as it lies within the ranges of pyproject.toml.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
EXTRAS = {
    "demo": "minilm,languages,pictures",
    "test": "minilm,languages,pictures,test",
    "": "minilm,languages,pictures",
}
SUPPORTED = ((3, 11), (3, 14))


def fail(message: str) -> None:
    """Say MESSAGE and end with status 1."""
    print(f"ftstudio: {message}", file=sys.stderr)
    raise SystemExit(1)


def python() -> Path:
    """The Python to install into: the active environment's, else that of `.venv`, made where it is missing."""
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if active and (Path(active) / "bin" / "python").exists():
        return Path(active) / "bin" / "python"
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    if not (VENV / "bin" / "python").exists():
        if not SUPPORTED[0] <= sys.version_info[:2] < SUPPORTED[1]:
            fail(f"Python {sys.version.split()[0]} can't run the studio. Use Python 3.11, 3.12 or 3.13.")
        print(f"Making a virtual environment in {VENV} …", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
        if made.returncode:
            print(made.stdout + made.stderr, file=sys.stderr)
            subprocess.run(["rm", "-rf", str(VENV)], check=False)  # half an environment would be taken for a whole one
            fail("Could not make a virtual environment. On Debian and Ubuntu: apt install python3-venv.")
    return VENV / "bin" / "python"


def stamp(interpreter: Path, extras: str) -> Path:
    """A file that is there when exactly this was installed already."""
    told = b"".join(path.read_bytes() for path in (ROOT / "pyproject.toml", LOCK)) + extras.encode()
    return interpreter.parent.parent / f".ftstudio-{hashlib.sha256(told).hexdigest()[:16]}"


def torch_present(interpreter: Path) -> bool:
    """Whether the environment brought a torch of its own."""
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([str(interpreter), "-c", probe], check=False).returncode == 0


def pip(interpreter: Path, *arguments: str) -> None:
    """Install, or end with pip's own words."""
    command = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    # An old pip builds what comes as source with the tools that lie around, which may be too new for it; as a setting
    # and not an option, so that a pip that knows no other way ignores it.
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore", "PIP_USE_PEP517": "1"}
    if subprocess.run(command, cwd=ROOT, env=environment).returncode:
        fail("The installation failed; pip's message is above. Is the package index reachable, and the disk not full?")


def install(interpreter: Path, extras: str) -> None:
    """Bring the environment up to date. Quick where nothing changed."""
    mark = stamp(interpreter, extras)
    if mark.exists():
        return
    print("Installing (some minutes the first time) …", flush=True)
    foreign = interpreter.parent.parent != VENV and torch_present(interpreter)
    constraints = [] if foreign else ["-c", str(LOCK)]
    pip(interpreter, *constraints, "torch>=2.11,<2.14")  # before what depends on it, so that its build is kept
    pip(interpreter, *constraints, "-e", f".[{extras}]")
    mark.touch()


def main(words: list[str]) -> int:
    """Set up, then do what WORDS say."""
    what = words[0] if words else ""
    if what not in EXTRAS:
        fail(f"There is no {what!r} here; it is demo, test or nothing.")
    interpreter = python()
    install(interpreter, EXTRAS[what])
    program = str(interpreter.parent / "ftstudio")
    if what == "demo":
        return subprocess.run([program, "demo", *words[1:]]).returncode
    if what == "test":
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([str(interpreter), "-m", "pytest", *words[1:]], cwd=ROOT, env=environment).returncode
    print(f"Ready. Open the studio with {program}, or put it on your path: source {interpreter.parent}/activate")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
