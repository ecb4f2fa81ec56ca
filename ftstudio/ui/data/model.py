"""What the Data screen knows: the dataset open, how it is mapped, through which model it is looked at. No widgets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe, put
from ftstudio.core.text import one_line
from ftstudio.data.checks import Check
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.meant import Meant, meant
from ftstudio.data.mixture import Mixture
from ftstudio.data.profile import ColumnStats
from ftstudio.data.read import open_dataset
from ftstudio.data.selected import Selected
from ftstudio.data.shape import Shape, suggest
from ftstudio.engine.materials import columns as recipe_columns
from ftstudio.engine.parting import parted_as, usual_eval
from ftstudio.engine.recipes import check_recipe
from ftstudio.ui.common.paths import shown
from ftstudio.ui.data.lens import Lens, LensKey
from ftstudio.ui.data.mended import Mended, State
from ftstudio.ui.data.sheet import Sheet
from ftstudio.ui.text.lines import Line

NAMES = {
    "alpaca": "Alpaca", "prompt-completion": "prompt → completion", "messages": "OpenAI messages",
    "sharegpt": "ShareGPT turns", "preference": "preference pairs", "instances": "self-instruct",
    "text": "running text", "text-label": "text → label", "tokens-tags": "tokens and tags",
    "sentence-pair": "pairs of sentences", "source-target": "source → target", "image-text": "pictures with text",
}  # fmt: skip
MAPPED = {"you": "mapped by you", "recipe": "by recipe"}


def mapping(columns: Mapping[str, str]) -> str:
    """COLUMNS in words, as in `prompt = question, completion = answer`."""
    return ", ".join(f"{role} = {one_line(name, 40)}" for role, name in columns.items())


@dataclass
class Opened:
    """A dataset that is open. `columns` is the mapping that was given ({}: guessed), by `whose` wish ("you" or
    "recipe"), `meant` what the rows are taken for."""

    source: str
    dataset: Dataset
    columns: dict[str, str]
    whose: str = "you"
    task: str | None = None  # that of the recipe it is the training data of
    meant: Meant = field(default_factory=lambda: Meant(None, None))
    lens: Lens | None = None
    lens_key: LensKey | None = None
    max_length: int | None = None  # the cut looked at now
    stats: list[ColumnStats] | None = None
    encoded: dict[int | None, EncodedSet] = field(default_factory=dict)  # by max_length
    mixture: Mixture | None = None
    checks: list[Check] | None = None
    reading: str = ""  # "now" while rows are still coming, "stopped" where not all were read
    progress: tuple[int, int] = (0, 1)  # how far reading is
    aside: Path | None = None  # where the rows are kept that could not be read
    mended: Mended | None = None  # its repairs; none while rows are still being read
    state: State | None = None  # what they have come to
    unmendable: str = ""  # why it has none
    to_accept: list[str] = field(default_factory=list)  # checks whose errors are accepted in the recipe to come
    known_as: set[str] = field(default_factory=set)  # what it was called before its repairs were saved

    def __post_init__(self) -> None:
        self.sheet = Sheet(self.dataset)
        self.first_source = self.source  # what it was called when it was opened: its log is of that

    def map_columns(self, columns: Mapping[str, str], whose: str = "you") -> None:
        """Map by COLUMNS (role → column; empty: guess), as WHOSE wish. What was counted before is forgotten."""
        self.columns, self.whose = dict(columns), whose
        try:
            self.meant = meant(self.dataset, self.columns or None, self.task)
        except UsageError as error:
            found = tuple(suggest(self.dataset))
            self.meant = Meant(None, self.task, self.task is not None, str(error), found)
        self.mixture = None
        self.look_through(None)

    @property
    def shape(self) -> Shape | None:
        """How the rows are mapped; None where that isn't known."""
        return self.meant.shape

    @property
    def unmapped(self) -> str:
        """Why the rows are not mapped, or not as the recipe says."""
        return self.meant.why_not

    def grow(self, dataset: Dataset, progress: tuple[int, int]) -> None:
        """More of the same rows were read: DATASET holds them all so far."""
        self.dataset = self.sheet.dataset = dataset
        self.progress = progress

    def finish(self, whole: Opened) -> bool:
        """All rows are read: WHOLE has them. What the person chose meanwhile stays. Whether the columns are others."""
        others = whole.dataset.names != self.dataset.names
        self.grow(whole.dataset, (1, 1))
        self.reading, self.aside, self.stats, self.checks, self.mixture = "", whole.aside, None, None, None
        self.mended, self.state, self.unmendable = whole.mended, whole.state, whole.unmendable
        self.sheet.marks = whole.sheet.marks
        if self.columns == whole.columns:
            self.meant, self.whose = whole.meant, whole.whose
        self.encoded.clear()
        return others

    def look_through(self, lens: Lens | None) -> None:
        """Look through LENS from now on; what was counted through another one is forgotten."""
        self.lens = lens
        self.max_length = lens.limit if lens is not None else None
        self.encoded.clear()
        self.checks = None

    # -- repairs -----------------------------------------------------------------------------------------------------
    @property
    def base(self) -> Dataset:
        """The rows without repairs, and what is known of their file."""
        return self.state.working.base if self.state is not None else self.dataset

    @property
    def used(self) -> Dataset:
        """The rows that are trained on: `dataset` without those that were dropped."""
        return self.state.used if self.state is not None else self.dataset

    def places(self, rows: Iterable[int]) -> list[int]:
        """Where the rows of `used` stand in `dataset`."""
        return self.state.places(rows) if self.state is not None else list(rows)

    def take(self, state: State) -> None:
        """The repairs have come to STATE. What was counted before is forgotten; filters too, where rows moved."""
        if len(state.shown) != len(self.dataset):
            self.sheet.layers.clear()
            self.sheet.selected = Selected(len(state.shown))
        self.state, self.sheet.marks = state, state.marks
        self.dataset = self.sheet.dataset = state.shown
        self.stats = self.checks = self.mixture = None
        self.encoded.clear()

    def accepted(self, recipe: Recipe | None) -> list[str]:
        """The checks whose errors are accepted: in RECIPE where it is of this data, else here for one to come."""
        return list(recipe.data.accepted) if recipe is not None and recipe.data.train == self.source else self.to_accept

    def become(self, source: str) -> None:
        """Its repairs were saved: it is called SOURCE from now on."""
        self.known_as |= {self.source}
        self.source = source

    @property
    def said_pending(self) -> str:
        """How many repairs wait to be saved."""
        count = len(self.state.edits) if self.state is not None else 0
        return "1 repair" if count == 1 else f"{count:,} repairs"

    def head(self, width: int = 200) -> tuple[Line, Line]:
        """The two lines on top, WIDTH cells wide: the file and how it is read; what its rows are, or what happened."""
        dataset = self.base
        where = shown(dataset.path) if dataset.path is not None else dataset.source
        version = dataset.details.get("version")
        name = "demo" if self.source == "demo" else str(version) if version else _tail(one_line(where, 400))
        details = [dataset.format.upper() if len(dataset.format) < 6 else dataset.format, dataset.encoding]
        details += [_detail(key, value) for key, value in dataset.details.items()]
        facts = " · ".join(part for part in details if part)
        problems = dataset.unread
        kept = sum(problem.kept for problem in dataset.problems)
        first: Line = (
            (name, "title"),
            (f"  {rows_of(self.used)}{self._so_far}", "strong"),
            (f"  ~ {self.said_pending} not saved" if self.state is not None and self.state.edits else "", "warn"),
            (f"  {facts}", "dim"),
            (f"  ✗ {problems:,} not read (k)" if problems else "", "bad"),
            (f"  ! {kept:,} filled up (k)" if kept else "", "warn"),
        )
        if self.sheet.fault:
            return first, (("✗ the file was changed or moved since it was opened: o opens it again", "bad"),)
        if self.reading == "stopped":
            return first, (
                ("! reading was stopped: these are the first rows, not all", "warn"),
                ("  o opens it again", ""),
            )
        if self.shape is None:
            return first, self._unrecognised(width)
        kind = NAMES.get(self.shape.name, self.shape.name)
        return first, (("✓ ", "good"), (kind, "strong"), (one_line(self.why, max(20, width - len(kind) - 2)), ""))

    @property
    def _so_far(self) -> str:
        """What stands behind the number of rows that isn't the last."""
        done, total = self.progress
        return f" so far · {100 * done // max(1, total)} %" if self.reading == "now" else ""

    def _unrecognised(self, width: int) -> Line:
        """That the rows haven't the columns they should have, and what they look like instead."""
        likely = next(iter(self.meant.suggestions), None)
        if likely is None and not self.meant.named:
            return (
                ("! no columns recognised", "warn"),
                ("  c says which is the prompt, which the completion", ""),
            )
        told = f"! not for {self.meant.task}"
        why = one_line(self.unmapped.removeprefix(f"{self.dataset.source}: "), max(20, width - len(told) - 2))
        return (told, "warn"), (f"  {why}", "dim")

    def suited(self, recipe: Recipe | None) -> str | None:
        """The task that the rows suit best; None where a person chose the columns, or RECIPE is of these rows: then
        its task counts."""
        own = recipe is not None and recipe.data.train in (self.source, *self.known_as)
        return self.meant.task if self.meant.suggestions and not self.columns and not own else None

    @property
    def why(self) -> str:
        """What led to the mapping, or who wanted it."""
        if self.shape is None:
            return ""
        if not self.columns:
            task = self.meant.task
            other = "" if task in ("sft", "causal-lm") else f", for {task}"
            return f"{other}, guessed (c changes it): {self.shape.why}"
        return f", {MAPPED[self.whose]}: {mapping(self.columns)}"

    @property
    def kept(self) -> str:
        """Where the rows lie that could not be read."""
        if self.aside is None:
            return ""
        what = "It is kept as it is" if self.base.unread == 1 else f"All {self.base.unread:,} are kept as they are"
        return f"{what} in {one_line(shown(self.aside), 300)}"

    @property
    def note(self) -> str:
        """What is remembered about it beside its name."""
        kind = NAMES.get(self.shape.name, "") if self.shape is not None else "not recognised"
        return f"{rows_of(self.used)}, {kind}"


def held_out_of(source: str, recipe: Recipe | None) -> Dataset | None:
    """The rows that RECIPE, of which SOURCE is the training data, holds out in a file of their own.

    A split by fractions keeps equal prompts on one side. Raises StudioError where the file can't be read.
    """
    if recipe is None or recipe.data.train != source:
        return None
    wanted = next((name for name in (recipe.data.eval, recipe.data.test) if isinstance(name, str)), None)
    if wanted is None or wanted == source:
        return None
    return open_dataset(wanted, split="validation" if wanted == "demo" else None, reading=recipe.data.reading)


def rows_of(dataset: Dataset) -> str:
    """How many rows DATASET has."""
    return "1 row" if len(dataset) == 1 else f"{len(dataset):,} rows"


def _tail(text: str, most: int = 38) -> str:
    """The end of a path that is too long: there stands what tells it from others."""
    return text if len(text) <= most else "…" + text[1 - most :]


def _detail(key: str, value: object) -> str:
    """A finding of the reader in words; those shown elsewhere, or that say nothing, are left out."""
    if key == "delimiter" and isinstance(value, str):
        return {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}.get(value, repr(value))
    if key == "header" and value is False:
        return "no header"
    if key == "quoted" and value is False:
        return "quotes are text"
    if key == "line_ends" and value != "LF":  # LF is what everyone expects
        return f"ends {one_line(value, 12)}"
    if key == "packed" and isinstance(value, str):
        return f"packed {one_line(value, 12)}"
    if key == "scheme" and isinstance(value, str):
        return one_line(value, 24)
    if key in ("documents", "files") and isinstance(value, int):
        return f"{value:,} {key}"
    if key in ("split", "member", "key", "table", "folder") and isinstance(value, str):
        return f"{key} {one_line(value, 20)}"
    return ""


def settings(source: str, recipe: Recipe | None) -> dict[str, Any]:
    """How SOURCE is read: as RECIPE says where it is its training data."""
    if recipe is None:
        return {}
    if recipe.data.train == source:
        return {"split": recipe.data.split, "reading": recipe.data.reading}
    for part in () if isinstance(recipe.data.train, str) else recipe.data.train:
        if part.path == source:
            return {"split": part.split, "reading": part.reading}
    return {}


def open_source(
    source: str, recipe: Recipe | None, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> Opened:
    """Open SOURCE; where it is the RECIPE's training data, split and mapping are the recipe's. Raises StudioError."""
    dataset = open_dataset(source, **settings(source, recipe), progress=progress, cancel=cancel)
    return opened_as(source, dataset, recipe)


def opened_as(source: str, dataset: Dataset, recipe: Recipe | None) -> Opened:
    """DATASET, read from SOURCE, with the RECIPE's mapping where it is its training data, else with a guessed one."""
    same = recipe is not None and recipe.data.train == source
    columns = (recipe_columns(recipe) or {}) if recipe is not None and same else {}
    opened = Opened(source, dataset, {}, task=recipe.task if recipe is not None and same else None)
    opened.map_columns(columns, "recipe")
    if opened.shape is None and columns:  # the recipe's mapping doesn't fit: say so, but guess
        why = opened.unmapped
        opened.map_columns({})
        opened.meant = replace(opened.meant, why_not=why)
    return opened


def absolute(source: str) -> str:
    """SOURCE so that it means the same from anywhere: files by their full path, all else as it is."""
    if source == "demo":
        return source
    try:
        path = Path(source).expanduser()
        return os.path.abspath(path) if path.exists() else source
    except (OSError, ValueError, RuntimeError):
        return source


def plainly(recipe: Recipe) -> Recipe:
    """A run's RECIPE as a person would write it: of what it was resolved to only what isn't the default."""
    tree = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"resolved", "name"})
    return Recipe.model_validate({"task": recipe.task, **tree})


def with_data(
    recipe: Recipe | None,
    source: str,
    columns: Mapping[str, str],
    known_as: Iterable[str] = (),
    accepted: Sequence[str] = (),
    task: str | None = None,
) -> Recipe:
    """RECIPE (None: a new one, with the bundled model until another is named) for SOURCE with COLUMNS.

    KNOWN_AS are other names of the same data: a recipe of one of them keeps what it says of the data. ACCEPTED are
    checks whose errors must not stop a run; TASK is what the rows suit where no prompts were found in them.
    Raises UsageError.
    """
    values: dict[str, Any] = recipe.plain() if recipe is not None else {"task": "sft", "model": "demo", "data": {}}
    if task not in (None, values.get("task", "sft")) and (
        recipe is None or recipe.data.train not in (source, *known_as)
    ):
        values["task"] = task
        values.pop("options", None)  # of the other task
    if recipe is not None and recipe.data.train not in (source, *known_as):  # settings of other data: they need not fit
        for key in ("split", "template", "limit", "columns", "mix", "replay", "split_by", "parted_as", "accepted"):
            values["data"].pop(key, None)
        for key in ("eval", "test"):
            if isinstance(values["data"].get(key), str):
                del values["data"][key]
    elif recipe is not None and recipe.data.train != source:  # repaired: the same rows stay held out
        put(values, "data.parted_as", parted_as(recipe))
        put(values, "data.eval", usual_eval(recipe))
    values.pop("resolved", None)
    put(values, "data.train", source)
    if accepted:
        put(values, "data.accepted", list(accepted))
    if columns:
        put(values, "data.columns", dict(columns))
    else:
        values["data"].pop("columns", None)
    return check_recipe(values)


def explain(error: BaseException) -> str:
    """ERROR for a person."""
    if isinstance(error, StudioError):
        return str(error)
    return f"{type(error).__name__}: {error}"
