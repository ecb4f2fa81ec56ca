"""Stored predictions: one row's prompt, reference and output, as lines of JSON that are scored without a model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line

KEYS = ("row", "prompt", "reference", "output", "tokens", "ended", "arm")
_SHAPE = 'Each line is a JSON object such as {"prompt": "…", "reference": "…", "output": "…"}.'


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one model answered on one row.

    `row` identifies the row in the dataset, so that arms are compared row by row. `reference` is None where there
    is no right answer. `tokens` counts the tokens of the output, `ended` says whether the end token was reached;
    both are None in outputs whose making is unknown. `extra` keeps every other key of the line.
    """

    row: int
    prompt: str
    reference: str | None
    output: str
    tokens: int | None = None
    ended: bool | None = None
    arm: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def to_line(prediction: Prediction) -> dict[str, Any]:
    """PREDICTION as the JSON object of one line; what is unknown is left out."""
    line: dict[str, Any] = {
        "row": prediction.row,
        "prompt": prediction.prompt,
        "reference": prediction.reference,
        "output": prediction.output,
    }
    if prediction.tokens is not None:
        line["tokens"] = prediction.tokens
    if prediction.ended is not None:
        line["ended"] = prediction.ended
    if prediction.arm:
        line["arm"] = prediction.arm
    return line | {key: value for key, value in prediction.extra.items() if key not in KEYS}


def from_line(line: Any, row: int = 0, where: str = "The prediction") -> Prediction:
    """The prediction in the JSON object LINE; ROW is its number where the line has none.

    WHERE names the line in errors. Numbers stand for their text (a label file may hold `"output": 3`); a missing
    or null output or prompt is refused, a missing reference isn't. Raises StudioError naming the key.
    """
    if not isinstance(line, dict):
        raise StudioError(f"{where} holds a {_kind(line)}, not an object.", _SHAPE)
    number = line.get("row", row)
    if isinstance(number, bool) or not isinstance(number, int):
        raise StudioError(f"{where}: `row` is a {_kind(number)}, not a whole number.", "Give a number or leave it out.")
    tokens, ended = line.get("tokens"), line.get("ended")
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int)):
        raise StudioError(f"{where}: `tokens` is a {_kind(tokens)}, not a whole number.", "Leave it out if unknown.")
    if ended is not None and not isinstance(ended, bool):
        raise StudioError(f"{where}: `ended` is a {_kind(ended)}, not true or false.", "Leave it out if unknown.")
    reference = line.get("reference")
    arm = line.get("arm")
    return Prediction(
        row=number,
        prompt=_text(line, "prompt", where),
        reference=None if reference is None else _text(line, "reference", where),
        output=_text(line, "output", where),
        tokens=tokens,
        ended=ended,
        arm="" if arm is None else str(arm),
        extra={key: value for key, value in line.items() if key not in KEYS},
    )


def read_predictions(path: Path | str) -> list[Prediction]:
    """All predictions of the JSONL file PATH, or of a JSON array in it, in the order of their lines.

    Rows without a number get their place in the file, counted from 0. A torn last line (the writer was killed) is
    left out; a row written again by a resumed job counts once, the last time. Raises StudioError naming the line
    and the key, and where two different rows carry one number.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise files.explain(error, path) from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data[:4].strip().startswith(b"["):
        values = _array(data, path)
    else:
        values = _lines(data, path)
    found: dict[tuple[str, int], Prediction] = {}
    for index, (where, value) in enumerate(values):
        prediction = from_line(value, index, where)
        place = (prediction.arm, prediction.row)
        earlier = found.get(place)
        if earlier is not None and earlier.prompt != prediction.prompt:
            raise StudioError(
                f"{where}: row {prediction.row} stood before with another prompt.",
                "Number the rows differently, or leave `row` out of all lines.",
            )
        found[place] = prediction
    if not found:
        raise StudioError(f"There are no predictions in {one_line(path)}.", _SHAPE)
    return list(found.values())


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Replace PATH by PREDICTIONS, one line each."""
    files.write_lines(path, map(to_line, predictions))


def _lines(data: bytes, path: Path) -> list[tuple[str, Any]]:
    lines = data.split(b"\n")  # not splitlines(): U+0085 and U+2028 stand inside texts
    values = []
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        where = f"{one_line(path)}, line {number}"
        try:
            values.append((where, json.loads(raw.decode())))
        except UnicodeDecodeError as error:
            raise StudioError(f"{where} isn't UTF-8 (byte {error.start + 1}).", "Convert the file to UTF-8.") from None
        except (ValueError, RecursionError) as error:
            if number == len(lines) and values:
                break  # no newline after it: torn by a kill
            reason = getattr(error, "msg", "nested too deep")
            raise StudioError(f"{where} isn't JSON: {reason}.", _SHAPE) from None
    return values


def _array(data: bytes, path: Path) -> list[tuple[str, Any]]:
    name = one_line(path)
    try:
        values = json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise StudioError(f"{name} isn't UTF-8 (byte {error.start + 1}).", "Convert the file to UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise StudioError(f"{name} isn't JSON: {getattr(error, 'msg', 'nested too deep')}.", _SHAPE) from None
    return [(f"{name}, entry {number}", value) for number, value in enumerate(values, 1)]


def _text(line: dict[str, Any], key: str, where: str) -> str:
    if key not in line:
        near = ", ".join(f"`{one_line(name, 20)}`" for name in list(line)[:6]) or "none"
        raise StudioError(f"{where} has no `{key}` (its keys: {near}).", _SHAPE)
    value = line[key]
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise StudioError(f"{where}: `{key}` is a {_kind(value)}, not text.", _SHAPE)


def well_formed(text: str) -> str:
    """TEXT without lone surrogates, which JSON may carry and no file or terminal can: they become U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", str: "text", list: "list", dict: "object"}
    return names.get(type(value), "number")
