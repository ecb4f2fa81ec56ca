"""What was ever answered, so that nothing is generated twice: a file for each model, adapter and way of decoding.

`<workspace>/answers/<key>.jsonl`, a line for each prompt, known by the hash of its ids. The key stands for all
else that an answer depends on; the mark of the tokenizer stands in the file, which older ones haven't, and goes into
the key only where it has changed. Deleting the folder costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.evaluation.predictions import Prediction

FOLDER = "answers"
TEXTS = "texts"  # in settings: the mark of tokenizer and end tokens, see `marks.texts_mark`


@dataclass(frozen=True)
class Known:
    """An answer given before."""

    output: str
    tokens: int | None
    ended: bool | None
    extra: dict[str, Any]


class AnswerCache:
    """The answers given under SETTINGS, in FOLDER (made when something is written). Never fails a job: what can't be
    read is asked again, what can't be written isn't remembered."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path = _path(folder, {name: value for name, value in settings.items() if name != TEXTS})
        self._settings = dict(settings)
        self._told = False  # the file says what its answers were made under
        self._known: dict[str, Known] | None = None

    def get(self, prompt: Sequence[int] | str) -> Known | None:
        """The answer to PROMPT (its ids, or its text); None where there is none."""
        return self._read().get(mark(prompt))

    def keep(self, answers: Iterable[tuple[Sequence[int] | str, Prediction]]) -> None:
        """Remember ANSWERS: (prompt, answer)."""
        known = self._read()
        lines = []
        for prompt, row in answers:
            key = mark(prompt)
            if key not in known:
                known[key] = Known(row.output, row.tokens, row.ended, dict(row.extra))
                line = {"prompt": key, "output": row.output, "tokens": row.tokens, "ended": row.ended}
                lines.append(line | ({"extra": row.extra} if row.extra else {}))
        if not lines:
            return
        first = [] if self._told else [{"settings": self._settings}]
        try:
            files.LineWriter(self.path).append(*first, *lines)
        except StudioError:
            return
        self._told = True

    def _read(self) -> dict[str, Known]:
        if self._known is None:
            self._known = {}
            lines = files.read_lines(self.path)
            told = [line["settings"] for line in lines if isinstance(line.get("settings"), dict)]
            marks = [settings[TEXTS] for settings in told if TEXTS in settings]
            mine = self._settings.get(TEXTS)
            if marks and marks[-1] != mine:  # tokenizer, template or end tokens were edited since
                self.path = _path(self.path.parent, self._settings)
                lines = files.read_lines(self.path)
                told = marks = lines[:1]
            self._told = bool(told if mine is None else marks)
            for line in lines:
                key, output, extra = line.get("prompt"), line.get("output"), line.get("extra")
                if isinstance(key, str) and isinstance(output, str):
                    self._known[key] = Known(
                        output, line.get("tokens"), line.get("ended"), extra if isinstance(extra, dict) else {}
                    )
        return self._known


def _path(folder: Path, settings: Mapping[str, Any]) -> Path:
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, default=str)
    return folder / f"{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}.jsonl"


def mark(prompt: Sequence[int] | str) -> str:
    """What PROMPT is known by."""
    text = prompt if isinstance(prompt, str) else ",".join(map(str, prompt))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def lasting(settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Of SETTINGS (see `outputs.settings_of`) those that an answer to known ids depends on, and MORE of them."""
    names = ("decoding", "model", "weights", "tuned", "dtype", "device", "quantisation", "head", "task", TEXTS)
    return {name: settings.get(name) for name in names} | more
