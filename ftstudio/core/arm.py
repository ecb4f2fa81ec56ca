"""How an arm of a comparison is named, on the command line, in a recipe and in a job.

```
base                 the base model, asked as the tuned one is
tuned                the run that is compared;  RUN another run of the same base model
tuned@200  RUN@200   the checkpoint of a run at that step
base+3shot           with three training rows as examples before the question, drawn by the seed: the same for all rows
base+3near           with the three training rows that are nearest to the question
base+row4+row17      with these training rows (numbers as Data shows them); all of these also behind a run
file:PATH            stored predictions on the same rows (JSONL: prompt, reference, output)
http://HOST/v1#MODEL a server that speaks OpenAI's chat completions; also https
```
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ftstudio.core.errors import UsageError

BASE, TUNED = "base", "tuned"
FEWEST, MOST = 2, 4  # arms of a comparison
MOST_SHOTS = 32
_SHOTS = re.compile(r"(?P<arm>[^+]+)(?P<shots>(?:\+[^+]+)+)")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+@-]+")
HELP = "base, base+3shot, base+3near, base+row4, tuned, tuned@STEP, RUN, RUN@STEP, file:PATH, http://HOST/v1#MODEL"


@dataclass(frozen=True)
class ArmSpec:
    """An arm as it was asked for. `text` is what stood there, `name` how files and reports call it.

    `target` is the run's name (`tuned` for the compared one), the path of the predictions, or the server's base URL.
    `shots` training rows come before every question, chosen by `choice`; `rows` names them where that is `rows`.
    """

    text: str
    name: str
    kind: Literal["base", "run", "file", "server"]
    target: str = ""
    step: int | None = None
    model: str = ""
    shots: int = 0
    choice: Literal["random", "near", "rows"] = "random"
    rows: tuple[int, ...] = ()


def parse(text: str) -> ArmSpec:
    """The arm that TEXT names. Raises UsageError."""
    text = text.strip()
    if text.startswith("file:") and len(text) > 5:
        path = text.removeprefix("file:")
        return ArmSpec(text, safe(Path(path).stem), "file", path)
    if re.match(r"https?://", text):
        url, mark, model = text.partition("#")
        if not mark or not model:
            raise UsageError(f"{text} names no model.", "Write http://HOST:PORT/v1#MODEL.")
        if "@" in url or "?" in url:
            raise UsageError(
                "A server's address must hold no key and no password: it is kept with the run.",
                "The key comes from the environment: evaluation.server.key_variable.",
            )
        return ArmSpec(text, safe(model), "server", url.rstrip("/"), model=model)
    found = _SHOTS.fullmatch(text)
    arm, shots = (found["arm"], found["shots"]) if found else (text, "")
    if not arm or any(char in "/+:" or char.isspace() for char in arm):
        raise UsageError(f"{text!r} is no arm.", f"Arms: {HELP}.")
    target, mark, step = arm.partition("@")
    if mark and (not step.isdecimal() or target == BASE):
        raise UsageError(f"{text!r}: behind @ stands the step of a checkpoint.", f"Arms: {HELP}.")
    number, choice, rows = _shots(text, shots)
    kind: Literal["base", "run"] = "base" if target == BASE else "run"
    return ArmSpec(text, safe(text), kind, target, int(step) if mark else None, "", number, choice, rows)


def _shots(text: str, shots: str) -> tuple[int, Literal["random", "near", "rows"], tuple[int, ...]]:
    """(how many, how chosen, which rows) of what stands behind the arm: `+3shot`, `+2near`, `+row4+row9`."""
    parts = shots.split("+")[1:]
    rows = [part.removeprefix("row") for part in parts]
    if parts and all(part.startswith("row") and row.isdecimal() for part, row in zip(parts, rows, strict=True)):
        found = tuple(dict.fromkeys(map(int, rows)))
        return len(found), "rows", found
    single = re.fullmatch(r"(\d+)(shots?|near)", parts[0]) if len(parts) == 1 else None
    if parts and (single is None or not 1 <= int(single[1]) <= MOST_SHOTS):
        raise UsageError(
            f"{text!r}: behind + stand examples, such as +3shot, +3near or +row4+row17 (at most {MOST_SHOTS}).",
            f"Arms: {HELP}.",
        )
    return (int(single[1]), "near" if single[2] == "near" else "random", ()) if single else (0, "random", ())


def parse_all(texts: Sequence[str]) -> list[ArmSpec]:
    """TEXTS as arms, each under a name of its own. Raises UsageError: fewer than two, more than four, one twice."""
    found: list[ArmSpec] = []
    for text in texts:
        spec = parse(text)
        if any(other.text == spec.text for other in found):
            raise UsageError(f"The arm {spec.text} is named twice.", "Name each once.")
        found.append(spec)
    if not FEWEST <= len(found) <= MOST:
        raise UsageError(
            f"{len(found)} {'arm' if len(found) == 1 else 'arms'}: a comparison has {FEWEST} to {MOST}.",
            f"Arms: {HELP}.",
        )
    return found


def safe(name: str) -> str:
    """NAME as the name of a file."""
    return _UNSAFE.sub("-", name).strip("-.")[:80] or "arm"
