"""What is compared: the arms a job asks for, the rows they are asked, and what writes each one's prompts. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ftstudio.core import arm as arms
from ftstudio.core.arm import ArmSpec
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Compare
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.data.example import Example, text_of
from ftstudio.engine import resume
from ftstudio.engine.answering import Asker, decoding_of
from ftstudio.engine.arms import BASE, Tuned
from ftstudio.engine.compatibility import model_config, model_limit
from ftstudio.engine.materials import Materials
from ftstudio.engine.prepare import resolve
from ftstudio.engine.recipes import load_recipe
from ftstudio.engine.reshaping import untouched
from ftstudio.engine.shots import FewShot
from ftstudio.evaluation import similarity

_BASE = Path()  # where the base's rows are kept among those that were opened
_TAKEN = ("events", "control", "votes", "judge", "benchmarks")  # a comparison keeps other lines under these names


@dataclass
class Gathered:
    """The arms of a comparison by name, in their order: `specs`.

    `run` and `recipe` are those that are compared, `own` their rows. `tuned` are the weights that are needed beside the
    base's, `views` the arms that use another's weights. `materials` write the prompts of the arms that a model answers.
    `examples` are the rows that are asked: of `part`, those held out (`eval`) or those kept apart (`test`); `left_out`
    are those that aren't held out of every run, with the reason. `trained` holds the rows of the
    arms' runs by name; where no arm is a run, those of `run`.
    """

    run: RunFolder
    recipe: Recipe
    own: Materials
    examples: list[tuple[int, Example]]
    specs: dict[str, ArmSpec] = field(default_factory=dict)
    tuned: dict[str, Tuned] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    materials: dict[str, Asker] = field(default_factory=dict)
    part: str = "eval"
    left_out: list[tuple[int, str]] = field(default_factory=list)
    trained: dict[str, Materials] = field(default_factory=dict)

    def of(self, kind: str) -> list[str]:
        """The arms of KIND: `file` or `server`."""
        return [name for name, spec in self.specs.items() if spec.kind == kind]

    def weights(self, name: str) -> str:
        """Whose weights answer as arm NAME."""
        return self.views.get(name, name)


def gather(job: Compare, should_stop: Callable[[], bool] | None = None) -> Gathered:
    """What JOB compares. Raises UsageError and StudioError naming the arm that can't be."""
    if not job.runs:
        raise UsageError("There is no run to compare.", "Name a run; `ftstudio runs` lists them.")
    runs = [RunFolder(Path(path)) for path in job.runs]
    for text in job.overrides:
        if not text.strip().startswith("evaluation."):
            raise UsageError(f"{text!r} can't be changed after training.", "Only evaluation.… can.")
    recipe, own = resolve(load_recipe(runs[0].recipe_path, job.overrides))
    own = own.on(job.part)
    count = job.rows or recipe.evaluation.rows
    found = Gathered(runs[0], recipe, own, own.examples(count), part=job.part)
    opened = {runs[0].path: (recipe, own)}
    for spec in _specs(job, recipe, runs):
        run = _run(spec, runs)
        name = _unused(spec.name if run is None else spec.name.replace(arms.safe(spec.target), run.name, 1), found)
        found.specs[name] = replace(spec, name=name)
        if spec.kind in ("file", "server"):
            continue
        if run is None:
            weights, materials = BASE, _of_base(found, opened)
        else:
            if run.path not in opened:
                opened[run.path] = _opened(run, found, count, job.part)
            tuned_recipe, materials = opened[run.path]
            weights = _weights(found, run, tuned_recipe, spec)
            found.trained[run.name] = materials
        if weights != name:
            found.views[name] = weights
        found.materials[name] = materials if not spec.shots else _few(materials, spec, should_stop)
        if spec.shots and run is None:  # the base is shown training rows of the run
            found.trained.setdefault(found.run.name, own)
    if not found.trained:
        found.trained[found.run.name] = own
    return found


def _of_base(found: Gathered, opened: dict[Path, tuple[Recipe, Materials]]) -> Materials:
    """What writes the base's prompts: the run's own rows, in the tokens that the base has."""
    if not found.recipe.architecture.changes:
        return found.own
    if _BASE not in opened:
        opened[_BASE] = resolve(untouched(found.recipe))
    return opened[_BASE][1]


def _specs(job: Compare, recipe: Recipe, runs: list[RunFolder]) -> list[ArmSpec]:
    """The arms that JOB asks for, the recipe's where it leaves that open, else the base and the RUNS."""
    asked = job.arms or (recipe.evaluation.arms if len(runs) == 1 else None)
    if not asked:
        return [ArmSpec(BASE, BASE, "base"), *(ArmSpec(run.name, run.name, "run", run.name) for run in runs)]
    given = [arms.parse(text).target for text in asked]
    more = [run.name for run in runs[1:] if run.name not in given]
    return arms.parse_all([*asked, *more])


def _run(spec: ArmSpec, runs: list[RunFolder]) -> RunFolder | None:
    """The run that SPEC names; None where it names none."""
    if spec.kind != "run":
        return None
    if spec.target == arms.TUNED:
        return runs[0]
    known = next((run for run in runs if run.name == spec.target), None)
    return known or Workspace(runs[0].path.parent.parent).run(spec.target)


def _opened(run: RunFolder, found: Gathered, count: int, part: str) -> tuple[Recipe, Materials]:
    recipe, materials = resolve(load_recipe(run.recipe_path))
    materials = materials.on(part)
    if materials.examples(count) != found.examples:
        _share(found, run, materials)
    return recipe, materials


def _share(found: Gathered, run: RunFolder, materials: Materials) -> None:
    """Leave in FOUND the rows that are held out of RUN too, whatever their numbers there: a repaired version numbers
    its rows anew, and may lack some. Raises StudioError where these are less than half: then it is other data."""
    theirs = Counter(_content(example) for _, example in materials.examples())
    kept, gone = [], []
    for number, example in found.examples:
        key = _content(example)
        if theirs[key]:
            theirs[key] -= 1
            kept.append((number, example))
        else:
            gone.append((number, f"it is not held out of {run.name}"))
    if 2 * len(kept) < len(found.examples):
        raise StudioError(
            f"{run.name} was trained with other held-out rows than {found.run.name}.",
            "Compare runs of the same data, data.eval and seed (data.seed).",
        )
    found.examples = kept
    found.left_out += gone


def _content(example: Example) -> tuple[object, ...]:
    """What EXAMPLE asks and has as reference."""
    return example.messages, text_of(example.fields.get("images"))


def _weights(found: Gathered, run: RunFolder, recipe: Recipe, spec: ArmSpec) -> str:
    """The name under which the weights that SPEC asks for are loaded."""
    name = run.name if spec.step is None else f"{run.name}@{spec.step}"
    if name not in found.tuned:
        folder = None if spec.step is None else _checkpoint(run, spec.step)
        found.tuned[name] = Tuned(name, run, recipe, folder)
    return name


def _checkpoint(run: RunFolder, step: int) -> Path:
    known = resume.checkpoints(run.checkpoints)
    folder = next((path for path in known if resume.step_of(path) == step), None)
    if folder is None:
        steps = ", ".join(str(resume.step_of(path)) for path in sorted(known, key=resume.step_of))
        hint = f"There are: {steps}." if steps else "It kept none."
        raise UsageError(f"{run.name} has no checkpoint at step {step}.", hint)
    if not resume.is_complete(folder):
        raise StudioError(f"The checkpoint {folder} is damaged.", "Choose another.")
    return folder


def _few(materials: Materials, spec: ArmSpec, should_stop: Callable[[], bool] | None) -> FewShot:
    recipe = materials.recipe
    reads = model_limit(model_config(recipe.model))
    room = decoding_of(recipe).max_new_tokens
    return FewShot(
        materials, spec, reads, room, lambda: similarity.load_embedder("static", allow_torch=False), should_stop
    )


def _unused(name: str, found: Gathered) -> str:
    number, free = 2, name
    while free in found.specs or free in _TAKEN:
        free, number = f"{name}-{number}", number + 1
    return free
