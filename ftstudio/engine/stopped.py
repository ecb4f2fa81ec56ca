"""What is told where a run ends before it is done: why, where it goes on from, and which weights its model has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.core.run import RunFolder
from ftstudio.engine import resume

WHY = {
    "eval_rising": "Stopped early: the held-out loss got no better.",
    "collapsed": "Stopped: the model had collapsed.",
}
UNJUDGED = "Stopped in the evaluation after the last step: resumed, the run makes it anew, and is done."


def told(run: RunFolder, facts: Mapping[str, Any], *, last: bool) -> dict[str, Any]:
    """The `text` of RUN that has stopped, as its FACTS are, and the step that it goes on from (`resumes_from`), where
    its last checkpoint is of an earlier one than the model: 0 where there is none. LAST: no step was to come."""
    step, best = int(facts["step"]), facts.get("model_step")
    kept = next((resume.step_of(path) for path in resume.checkpoints(run.checkpoints)), 0)
    why = WHY.get(str(facts.get("by", "")))
    if kept >= step:
        found = [why or (UNJUDGED if last else "Stopped and saved; it can be resumed.")]
    elif kept:
        found = [why or "Stopped.", f"Resumed, it goes on from step {kept}: what came after is in no checkpoint."]
    else:
        found = [why or "Stopped.", "There is no checkpoint: resumed, it begins at the start."]
    found += [f"The model is that of step {best}."] if best else []
    return {"text": " ".join(found), **({"resumes_from": kept} if kept < step else {})}
