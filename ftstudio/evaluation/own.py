"""Error categories of one's own: a YAML file in the workspace that can be shared.

    rude:
      title: Rude
      key: j                      # tags with it on the Errors screen
      mark: "!"
      colour: red
      help: Talks down to the customer.
      when: matches(lower(output), "stupid|obviously") and words(output) < 50

`when` is an expression over the row (`data.expression`) with the columns prompt, reference, output, tokens, ended and
whatever else the answers' file holds; `pattern` is a regular expression looked for in the output. A category with
neither is only a person's to give.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from unicodedata import combining, east_asian_width

from ftstudio.core import files
from ftstudio.core.errors import UsageError
from ftstudio.core.text import one_line
from ftstudio.data.expression import CannotJudge, Expression
from ftstudio.evaluation.categories import UNJUDGED, Category, Detector, Finding, Verdict, every
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.rows import Row

FILE = "categories.yaml"
KEYS = "jnvzbghqwyk"  # free for own categories, given in this order
COLOURS = (
    "red", "green", "yellow", "blue", "magenta", "cyan", "white",
    "bright_red", "bright_green", "bright_yellow", "bright_blue", "bright_magenta", "bright_cyan", "bright_black",
)  # fmt: skip
_FIELDS = ("title", "key", "mark", "colour", "help", "pattern", "when")
_TIMEOUT = 0.25  # seconds for a pattern on one output
_SPANS = 50


@dataclass(frozen=True)
class OwnCategory:
    """A category as a person defined it: `pattern` or `when` finds it, with neither only people give it."""

    name: str
    title: str
    key: str
    mark: str = "◆"
    colour: str = "bright_magenta"
    help: str = ""
    pattern: str | None = None
    when: str | None = None

    @property
    def category(self) -> Category:
        """As the screens show it."""
        told = self.help or (
            f"Own category: {one_line(self.pattern or self.when, 90)}"
            if self.pattern or self.when
            else "Given by hand."
        )
        return Category(self.name, self.key, self.mark, self.colour, self.title, told)

    def detector(self) -> Detector:
        """What finds it. Raises UsageError for a faulty pattern or expression."""
        if self.when is not None:
            return Detector(self.category, _by_expression(self), none=_no_value)
        if self.pattern is not None:
            return Detector(self.category, _by_pattern(self), none=_no_value)
        return Detector(self.category, ready=_by_hand)


def _no_value(context: Context) -> str:
    return "the condition has no value on any row"


def _by_hand(context: Context) -> str:
    return "it is given by hand"


def columns(prediction: Prediction) -> dict[str, Any]:
    """What an expression sees of PREDICTION."""
    return prediction.extra | {
        "prompt": prediction.prompt,
        "reference": prediction.reference,
        "output": prediction.output,
        "tokens": prediction.tokens,
        "ended": prediction.ended,
    }


def _by_expression(own: OwnCategory) -> Any:
    expression = Expression(own.when or "")

    def judge(row: Row, context: Context) -> Verdict:
        try:
            holds = expression.holds(columns(row.prediction))
        except CannotJudge:
            return UNJUDGED
        return Finding(own.name, one_line(own.when, 80)) if holds else None

    return judge


def _by_pattern(own: OwnCategory) -> Any:
    import regex  # its matching can be stopped by a timeout, re's can't

    try:
        pattern = regex.compile(own.pattern or "")
    except regex.error as error:
        raise UsageError(
            f"The pattern of the category {own.name} is no regular expression: {error}.", "Correct it."
        ) from None

    def judge(row: Row, context: Context) -> Verdict:
        spans = []
        try:
            for match in pattern.finditer(row.text, timeout=_TIMEOUT):
                spans.append(match.span())
                if len(spans) == _SPANS:
                    break
        except TimeoutError:
            return UNJUDGED
        if not spans:
            return None
        start, end = spans[0]
        return Finding(own.name, f"“{one_line(row.text[start:end], 60)}”", tuple(spans))

    return judge


# -- the file ------------------------------------------------------------------------------------------------------
def load(workspace: Path) -> tuple[OwnCategory, ...]:
    """The own categories of the workspace folder; none where it has no file. Raises UsageError for a faulty one."""
    path = workspace / FILE
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {one_line(error, 100)}.", "Correct or remove it.") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> tuple[OwnCategory, ...]:
    """The own categories in the YAML TEXT; SOURCE names it in errors. Every pattern and expression is tried."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe").load(text)
    except (YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{source}{where}: not YAML.", "Check indentation, quotes and colons there.") from error
    if tree is None:
        return ()
    if not isinstance(tree, Mapping):
        raise UsageError(f"{source} holds no categories.", "It begins with a name, such as `rude:`.")
    known = {name: detector.category for name, detector in every().items()}
    taken = {category.key for category in known.values()}
    found: list[OwnCategory] = []
    for name, values in tree.items():
        own = _category(str(name), values, source, taken)
        if own.name in known or own.name in {other.name for other in found}:
            raise UsageError(f"{source}: the category {own.name} is there already.", "Choose another name.")
        own.detector()
        taken.add(own.key)
        found.append(own)
    return tuple(found)


def _category(name: str, values: Any, source: str, taken: set[str]) -> OwnCategory:
    where = f"{source}: {one_line(name, 40)}"
    if not name.replace("_", "").isalnum() or len(name) > 40:
        raise UsageError(f"{where} is no name.", "Use letters, digits and _.")
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise UsageError(f"{where} is no category.", f"Give it {', '.join(_FIELDS)}.")
    for field, value in values.items():
        if field not in _FIELDS:
            near = get_close_matches(str(field), _FIELDS, 1)
            hint = f"Did you mean `{near[0]}`?" if near else f"Known are {', '.join(_FIELDS)}."
            raise UsageError(f"{where}: there is no `{one_line(field, 30)}`.", hint)
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise UsageError(f"{where}: `{field}` is no text.", "Put it in quotes.")
    given = {str(field): str(value).strip() for field, value in values.items()}
    if given.get("pattern") and given.get("when"):
        raise UsageError(f"{where} has both a pattern and a condition.", "Write matches(output, …) in `when`.")
    key = given.get("key", "").lower() or next((free for free in KEYS if free not in taken), "")
    if key in taken:
        raise UsageError(
            f"{where}: the key {key} is taken.", f"Free are {' '.join(k for k in KEYS if k not in taken)}."
        )
    if len(key) != 1 or not key.isalpha():
        raise UsageError(f"{where}: {key or 'no letter'} can't be its key.", "Give it one letter of its own.")
    if given.get("colour", "red") not in COLOURS:
        raise UsageError(f"{where}: there is no colour {one_line(given['colour'], 20)}.", f"Use {', '.join(COLOURS)}.")
    mark = given.get("mark") or "◆"
    if len(mark) != 1 or not mark.isprintable() or east_asian_width(mark) in "WF" or combining(mark):
        raise UsageError(f"{where}: {one_line(mark, 10)} can't be its mark.", "Give it one narrow sign, such as !.")
    return OwnCategory(
        name=name,
        title=one_line(given.get("title") or name.replace("_", " ").capitalize(), 24),
        key=key,
        mark=mark,
        colour=given.get("colour", "bright_magenta"),
        help=one_line(given.get("help", ""), 200),
        pattern=given.get("pattern") or None,
        when=given.get("when") or None,
    )


def made(values: Mapping[str, str], others: Collection[OwnCategory] = ()) -> OwnCategory:
    """The category that VALUES (`name`, and the fields of a category, empty ones left out) describe, beside OTHERS.

    Raises UsageError where it could not stand in the file; the pattern or condition is tried.
    """
    name = values.get("name", "").strip()
    known = every()
    if name in known:
        raise UsageError(f"The category {one_line(name, 40)} is there already.", "Choose another name.")
    taken = {detector.category.key for detector in known.values()}
    taken |= {other.key for other in others if other.name != name}
    given = {field: value for field, value in values.items() if field in _FIELDS and value.strip()}
    own = _category(name, given, "This category", taken)
    own.detector()
    return own


def catches(
    own: OwnCategory, predictions: Iterable[Prediction], context: Context, stop: Callable[[], bool] = lambda: False
) -> tuple[list[Finding | None], int]:
    """(what OWN finds in each of PREDICTIONS looked at before STOP said so, how many of them it can't judge)."""
    judge = own.detector().judge
    found: list[Finding | None] = []
    unjudged = 0
    for prediction in predictions:
        if stop():
            break
        verdict = judge(Row(prediction), context) if judge is not None else None
        unjudged += verdict is UNJUDGED
        found.append(verdict if isinstance(verdict, Finding) else None)
    return found, unjudged


def add(workspace: Path, own: OwnCategory) -> Path:
    """Put OWN into the workspace's file, or in the place of the one of its name there; comments stay. The path.

    Raises UsageError where the file would not be a good one with it.
    """
    from ruamel.yaml import YAML

    path = workspace / FILE
    load(workspace)  # a faulty file is told, not written over
    yaml = YAML()
    yaml.width = 4096
    tree = (yaml.load(path.read_text("utf-8-sig")) if path.exists() else None) or {}
    tree[own.name] = {field: value for field in _FIELDS if (value := getattr(own, field))}
    out = io.StringIO()
    yaml.dump(tree, out)
    parse(out.getvalue(), str(path))
    files.write(path, out.getvalue())
    return path
