"""From version to version of the data and from run to run: which run came before a repair, and what that should fix.

All follows from what runs and versions say of themselves: the data's hash in a run's recipe, the parent and the edits
in a version. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.data.versions import address, store
from ftstudio.data.versions.edit import Insert, from_plain
from ftstudio.data.versions.shelf import SOURCE
from ftstudio.data.versions.store import Version
from ftstudio.engine.answer import base_folder
from ftstudio.engine.materials import open_materials, recorded
from ftstudio.engine.outputs import SETTINGS
from ftstudio.engine.recipes import load_recipe
from ftstudio.engine.repairing import aims_of
from ftstudio.evaluation.before_after import BASE, EARLIER, NOW, before_after
from ftstudio.evaluation.predictions import Prediction, read_predictions

_SAID = {"decoding": "decoding", "template": "data.template", "max_length": "data.max_length"}
ASKED = tuple(_SAID)  # settings of answers that change them without any training


@dataclass(frozen=True)
class Link:
    """One step of the trail: a state of the data (None: the source itself), the runs on it, oldest first, and the
    categories that its edits were meant to fix."""

    version: Version | None
    runs: tuple[RunFolder, ...]
    aims: tuple[str, ...]

    @property
    def name(self) -> str:
        """The version's name, or `source`."""
        return self.version.name if self.version is not None else SOURCE


def version_of(recipe: Recipe) -> Version | None:
    """The version of the data that RECIPE trains on; None where it trains on something else."""
    train = recipe.data.train
    place = address.parse(train) if isinstance(train, str) else None
    try:
        return place.found() if place is not None else None
    except StudioError:
        return None


def parent_of(version: Version) -> Version | None:
    """The version it was made from; None where that is the source."""
    return store.read(version.folder, version.parent) if version.parent != SOURCE else None


def _hash(version: Version | None, child: Version) -> str:
    about = version.about if version is not None else child.about.get("source") or {}
    return str(about.get("sha256"))


def runs_on(workspace: Workspace, sha: str, like: Recipe) -> list[RunFolder]:
    """The runs on data of the hash SHA for the task and model of the recipe LIKE, oldest first."""
    found = []
    for run in workspace.runs():
        try:
            recipe = load_recipe(run.recipe_path)
        except StudioError:
            continue
        same = (recipe.task, recipe.model) == (like.task, like.model)
        if same and recorded(recipe, "train").get("sha256") == sha:
            found.append(run)
    return found[::-1]


def trail(workspace: Workspace, recipe: Recipe) -> list[Link]:
    """How the data of RECIPE came to be, the source first, with the runs on each state; empty without versions."""
    version = version_of(recipe)
    links: list[Link] = []
    while version is not None:
        runs = runs_on(workspace, str(version.about.get("sha256")), recipe)
        details = [repair.get("details") or {} for repair in version.about.get("repairs") or []]
        links.append(Link(version, tuple(runs), tuple(aims_of(details))))
        before = parent_of(version)
        if before is None:
            links.append(Link(None, tuple(runs_on(workspace, _hash(None, version), recipe)), ()))
        version = before
    return links[::-1]


def run_before(links: Sequence[Link], run: RunFolder) -> tuple[RunFolder | None, list[str]]:
    """(the last run on the state of the data before that of RUN, what the repairs in between were meant to fix)."""
    here = next((place for place, link in enumerate(links) if run.path in [one.path for one in link.runs]), None)
    aims: list[str] = []
    for place in range(here if here is not None else 0, 0, -1):
        aims += [name for name in links[place].aims if name not in aims]
        trained = [one for one in links[place - 1].runs if one.model.is_dir()]
        if trained:
            return trained[-1], aims
    return None, aims


def added_prompts(links: Sequence[Link]) -> set[str]:
    """The texts in rows that repairs put into the data: held-out rows that ask them are unseen no more."""
    found: set[str] = set()
    for link in links:
        if link.version is None:
            continue
        for line in files.read_lines(link.version.path / store.REPAIRS):
            try:
                edit = from_plain(line)
            except (KeyError, TypeError, ValueError):
                continue
            for patch in edit.patches:
                if isinstance(patch, Insert):
                    found |= {value for value in patch.row.values() if isinstance(value, str)}
    return found


@dataclass(frozen=True)
class _Kept:
    """A file of answers, and how they were asked for, as far as its folder tells."""

    path: Path
    settings: Mapping[str, Any]

    def unlike(self, other: _Kept) -> list[str]:
        """What of ASKED tells these answers from OTHER's; where either doesn't say, nothing does."""
        both = [(name, self.settings.get(name), other.settings.get(name)) for name in ASKED]
        return [name for name, mine, theirs in both if None not in (mine, theirs) and mine != theirs]


def answers(
    workspace: Workspace, run: RunFolder | None, recipes: Sequence[tuple[RunFolder, Recipe]]
) -> list[Prediction]:
    """What RUN (None: the base of RECIPES) answered on held-out rows, wherever that is kept; empty where nowhere."""
    kept = _kept(workspace, run, recipes)
    return read_predictions(kept[0].path) if kept else []


def _kept(workspace: Workspace, run: RunFolder | None, recipes: Sequence[tuple[RunFolder, Recipe]]) -> list[_Kept]:
    """Where `answers` are kept."""
    places: list[Path] = []
    if run is not None:
        places = [run.errors.path / "outputs.jsonl", run.compare.path / f"{run.name}.jsonl"]
    else:
        for other, recipe in recipes:
            places += [base_folder(workspace, recipe).path / "outputs.jsonl", other.compare.path / "base.jsonl"]
    found = []
    for path in filter(Path.is_file, places):
        book = files.read_json(path.parent / SETTINGS)
        settings = book.get(path.stem) if isinstance(book, dict) else None
        found.append(_Kept(path, settings if isinstance(settings, dict) else {}))
    return found


def _comparable(
    workspace: Workspace, before: RunFolder, run: RunFolder, both: Sequence[tuple[RunFolder, Recipe]]
) -> tuple[dict[str, _Kept], list[str]]:
    """(the answers of EARLIER, NOW and BASE that were asked for alike, what tells the first two apart where none were);
    BASE only where it was asked like NOW."""
    old, new = _kept(workspace, before, both), _kept(workspace, run, both)
    if not old or not new:
        return {}, []
    pairs = [(one, other) for one in old for other in new]
    one, other = min(pairs, key=lambda pair: len(pair[0].unlike(pair[1])))
    found = {EARLIER: one, NOW: other}
    base = next((kept for kept in _kept(workspace, None, both) if not kept.unlike(other)), None)
    return {BASE: base, **found} if base is not None else found, one.unlike(other)


def report(workspace: Workspace, run: RunFolder) -> dict[str, Any] | None:
    """Before and after the repairs between RUN and the run before it; None where there is none, or it has no answers.

    `earlier` and `run` name the runs, `version` the data of RUN, `trail` how the data came to be. Raises StudioError,
    also where the two were asked otherwise: with other decoding, template or length.
    """
    from ftstudio.engine.judging import context_of
    from ftstudio.evaluation import own
    from ftstudio.evaluation.similarity import load_embedder

    recipe = load_recipe(run.recipe_path)
    links = trail(workspace, recipe)
    before, aims = run_before(links, run)
    if before is None:
        return None
    earlier = load_recipe(before.recipe_path)
    both = [(before, earlier), (run, recipe)]
    kept, unlike = _comparable(workspace, before, run, both)
    arms = {name: read_predictions(one.path) for name, one in kept.items()}
    if not arms.get(EARLIER) or not arms.get(NOW):
        return None
    if unlike:
        raise StudioError(
            f"{before.name} and {run.name} were asked otherwise ({', '.join(_SAID[name] for name in unlike)}): what "
            "differs needn't come from the repair.",
            f"Answer both alike: ftstudio errors {before.name}, then ftstudio errors {run.name}.",
        )
    materials = open_materials(earlier)
    try:
        embedder = load_embedder("static", allow_torch=False)
    except StudioError:
        embedder = None
    # the same detectors on all arms, with the words of the data before the repair
    context = context_of(materials, arms[EARLIER], own.load(workspace.path))
    found = before_after(
        {name: rows for name, rows in arms.items() if rows},
        context,
        aims,
        trained_on=added_prompts(links),
        embedder=embedder,
    )
    told = [{"data": link.name, "runs": [one.name for one in link.runs], "against": list(link.aims)} for link in links]
    version = version_of(recipe)
    return {
        "run": run.name,
        "earlier": before.name,
        "version": version.name if version else None,
        **found,
        "trail": told,
    }


def missing(workspace: Workspace, run: RunFolder) -> str:
    """Why `report` has nothing to tell of RUN, and what to do."""
    recipe = load_recipe(run.recipe_path)
    links = trail(workspace, recipe)
    if not links:
        return f"{run.name} was not trained on a repaired version: there is no before and after."
    before, _ = run_before(links, run)
    if before is None:
        return f"No earlier run on the data before {links[-1].name} is left to compare {run.name} with."
    lacking = [one.name for one in (before, run) if not answers(workspace, one, [])]
    return f"{' and '.join(lacking)} has no answers yet: ftstudio errors {lacking[0] if lacking else run.name}."
