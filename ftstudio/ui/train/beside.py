"""Whether the baseline's losses can be set beside those of the run in view. No widgets here."""

from __future__ import annotations

import os

from ftstudio.core.run import RunFolder


def key(run: RunFolder, baseline: str) -> tuple[object, ...]:
    """What changes when the answer may: which two runs, and their recipes (a run that begins completes its own)."""
    return run.path, baseline, *(_stamp(one) for one in _both(run, baseline))


def differing(run: RunFolder, baseline: str) -> str:
    """In what the held-out losses of RUN and of the run BASELINE beside it are of different things; empty: in nothing.
    Takes a moment: recipes are read, and tokenizers of two models."""
    from ftstudio.engine import judged_on

    return judged_on.differing(_both(run, baseline), held_out=True)


def _both(run: RunFolder, baseline: str) -> list[RunFolder]:
    return [run, RunFolder(run.path.parent / baseline)]


def _stamp(run: RunFolder) -> int:
    try:
        return os.stat(run.recipe_path).st_mtime_ns
    except OSError:
        return 0
