"""The code is formatted, linted and typed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)], ids=("lint", "format", "types")
)
def test_the_code_is_clean(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_no_file_is_two_rooms_in_one() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / "ftstudio").rglob("*.py")
        if (count := path.read_text().count("\n")) > 500
    }
    assert long == {}
