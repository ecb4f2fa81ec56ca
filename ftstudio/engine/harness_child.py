"""The process in which lm_eval runs: reads what is asked on standard input, appends what it finds to a file.

One load of the base serves all arms here as it does in a comparison; lm_eval is handed the model as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.files import LineWriter
from ftstudio.core.jobs import Compare


def main() -> int:
    """Do what standard input asks; the last line of the output says why where it fails."""
    asked = json.load(sys.stdin)
    try:
        _work(asked)
    except StudioError as error:
        print(error)
        return 1
    except Exception as error:  # lm_eval's own: of any kind
        import traceback

        traceback.print_exc()
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return 1
    return 0


def _work(asked: Mapping[str, Any]) -> None:
    from ftstudio.engine.gathering import gather

    job = Compare(
        Path(asked["folder"]),
        tuple(Path(run) for run in asked["runs"]),
        asked["rows"],
        tuple(asked["arms"]) if asked["arms"] else None,
        overrides=tuple(asked["overrides"]),
    )
    found = gather(job)  # before the libraries, which take long
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    from ftstudio.engine import generation
    from ftstudio.engine.arms import Arms
    from ftstudio.engine.harness_model import handed
    from ftstudio.engine.locate import locate
    from ftstudio.engine.models import ModelStore

    arms = Arms(ModelStore(), found.recipe, list(found.tuned.values()), found.views)
    include = asked["include"]
    tasks = TaskManager(include_path=include, include_defaults=include is None)
    base = locate(found.recipe.model).folder
    writer = LineWriter(Path(asked["out"]))
    for group in arms.groups:
        for name in [name for name in group if name in asked["missing"]]:
            arm = found.tuned.get(found.weights(name))
            own = arm.run.model if arm is not None and arm.recipe.architecture.new_tokens else base
            tokenizer = AutoTokenizer.from_pretrained(own, trust_remote_code=False)
            with arms.use(name) as model, generation.ready(model):
                for task in asked["missing"][name]:
                    result = simple_evaluate(
                        handed(model, tokenizer),
                        tasks=[task],
                        task_manager=tasks,
                        limit=asked["limit"],
                        bootstrap_iters=0,
                        log_samples=True,
                        random_seed=0,
                        numpy_random_seed=0,
                        torch_random_seed=0,
                        fewshot_random_seed=0,
                    )
                    line = {"key": asked["keys"][name], "arm": name, "task": task, "values": values(result)}
                    line["texts"] = asked["texts"]
                    writer.append(line | {"higher": directions(result)})


def values(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Of lm_eval's RESULT: task to metric to question to value; only metrics that are numbers of single questions."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for task, samples in result["samples"].items():
        for sample in samples:
            label = "" if sample.get("filter") in (None, "none") else f",{sample['filter']}"
            for metric in sample.get("metrics", ()):
                value = sample.get(metric)
                if isinstance(value, bool | int | float):
                    found.setdefault(task, {}).setdefault(f"{metric}{label}", {})[str(sample["doc_id"])] = float(value)
    return found


def directions(result: Mapping[str, Any]) -> dict[str, dict[str, bool]]:
    """Of lm_eval's RESULT: task to metric to whether higher is better, where the task says so."""
    return {
        task: {metric: higher for metric, higher in metrics.items() if isinstance(higher, bool)}
        for task, metrics in (result.get("higher_is_better") or {}).items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
