"""Layers import downward only, and nothing light ever pulls in torch."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "datasets",
    "evaluate",
    "sentence_transformers",
    "pandas",
    "sklearn",
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "ftstudio").rglob("*.py")
    if path.name != "__main__.py"
)
# scripts that make the bundled model, which nothing imports; and a method's own layers, imported where it is applied
MAKERS = (
    *(module for module in MODULES if module.startswith("ftstudio.demo.make_")),
    "ftstudio.methods.bottleneck",
)


def loaded(*modules: str) -> set[str]:
    """What a fresh Python holds after importing MODULES."""
    program = f"import sys\nfor m in {modules!r}: __import__(m)\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_contracts_of_pyproject_hold() -> None:
    program = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("layer", ["core", "data", "evaluation", "tasks", "methods", "ui", "cli", "demo"])
def test_importing_a_layer_never_imports_torch(layer: str) -> None:
    modules = [m for m in MODULES if m.startswith(f"ftstudio.{layer}") and m not in MAKERS]
    assert modules
    found = loaded(*modules)
    assert not found & set(HEAVY)
    if layer != "ui":
        assert not found & {"textual", "plotext"}


def test_the_command_line_starts_with_next_to_nothing() -> None:
    ours = {m for m in loaded("ftstudio.cli", "ftstudio.cli.parser") if m.startswith("ftstudio.") and "cli" not in m}
    assert ours == set()


def test_the_first_screen_waits_for_nothing_that_it_does_not_show() -> None:
    found = loaded("ftstudio.cli.studio", "ftstudio.ui.run", "ftstudio.ui.shell.app", "ftstudio.ui.runs.screen")
    slow = {"pydantic", "yaml", "numpy", "plotext", "jinja2", "textual.widgets._text_area", "ftstudio.data.dataset"}
    assert not found & slow


def test_what_screens_import_of_the_engine_is_light() -> None:
    light = ("ftstudio.engine.worker", "ftstudio.engine.recipes", "ftstudio.engine.prepare", "ftstudio.engine.capture")
    assert not loaded(*light) & set(HEAVY)
