"""Every task tells a wizard what it must: nothing is left out, nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ftstudio import tasks
from ftstudio.core.recipe import METRICS
from ftstudio.data.shape import ROLES, SHAPES
from ftstudio.evaluation.categories import every


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_says_all_there_is_to_say(name: str) -> None:
    task = tasks.get(name)
    assert task.name == name
    for text in (task.title, task.help, task.answers):
        assert text.strip()
    assert "(" in task.title, "the wizard's list shows what stands in the brackets"
    assert task.roles
    assert {role.name for role in task.roles} <= set(ROLES)
    assert set(task.shapes) <= set(SHAPES)
    assert task.shapes
    assert set(task.default_metrics) <= set(METRICS)
    assert set(task.error_categories) <= every().keys()
    assert all(field.description for field in task.options_model.model_fields.values())


def test_listing_them_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom ftstudio import tasks\n"
        "[tasks.get(name).head() for name in tasks.names()]\n"
        "print([name for name in ('torch', 'transformers', 'sklearn', 'sentence_transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
