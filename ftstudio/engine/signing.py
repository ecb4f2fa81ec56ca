"""What a report's figures depend on, as hashes: so that whoever doubts them can tell the same from something else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.engine.arms import Arms
from ftstudio.engine.gathering import Gathered
from ftstudio.engine.locate import locate
from ftstudio.evaluation.similarity import fingerprint
from ftstudio.evaluation.stored import stored_text


def signature(found: Gathered, rows: Sequence[int], arms: Arms) -> dict[str, str]:
    """What was compared, as `{what: hash or value}`. Weights are known by their size and their first and last MiB: a
    whole hash of a big model takes minutes."""
    recipe, own = found.recipe, found.own
    told = {"seed": str(recipe.rows_seed), "data sha256": own.whole.hash}
    if own.held_out is not None and own.held_out.path != own.whole.path:
        told["test sha256" if found.part == "test" else "held-out sha256"] = own.held_out.hash
    told["rows sha256"] = hashlib.sha256(",".join(map(str, rows)).encode()).hexdigest()
    try:
        told["base weights"] = _weights(locate(recipe.model).folder)
    except StudioError:
        told["base weights"] = "not here any more"
    for name, arm in found.tuned.items():
        told[f"{name} weights"] = _weights(arm.weights)
    for name in found.materials:
        told[f"{name} stored"] = stored_text({"stored": arms.specification(name).stored})
    for name in found.of("file"):
        path = Path(found.specs[name].target).expanduser()
        told[f"{name} sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return told


def _weights(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    return ", ".join(f"{path.name}:{fingerprint(path)}" for path in files) or "none"


def digest(report: Mapping[str, Any]) -> str:
    """SHA-256 of REPORT as JSON with sorted keys, without what is signed last."""
    rest = {key: value for key, value in report.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
