"""Is fine-tuning worth it? What the base is known to score on the held-out rows, and how large a model the work asks.

Known scores come from comparisons and answers that lie in the workspace; nothing is run for it. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ftstudio import tasks
from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import number, one_line
from ftstudio.core.workspace import Workspace
from ftstudio.engine.suits import Sentence

MAIN = ("accuracy", "entity_f1", "exact_match", "numeric_match", "spearman", "mrr@10", "masked_accuracy", "f1",
        "similarity", "rougeL", "bleu")  # fmt: skip
"""Metrics that say most about how well a task is done, the plainest first."""
ENOUGH = 0.9  # of a metric that ends at 1, from which on little is left to learn
GAIN = 0.05  # by which examples in the prompt must help to be worth it
SHORT, FREE = 8, 60  # tokens of an answer: a label or a field; free text
RIGHT = ("accuracy", "exact_match", "numeric_match", "entity_f1", "f1", "masked_accuracy", "token_f1")


@dataclass(frozen=True)
class Score:
    """What an arm scored: its `name`, its `kind` (base, shots, run), `metric`, `value`, on how many `rows`, by whom."""

    name: str
    kind: str
    metric: str
    value: float
    rows: int
    source: str


def scores(recipe: Recipe, workspace: Workspace) -> list[Score]:
    """What is known of RECIPE's model on its held-out rows: base without and with examples, and tuned; newest first."""
    from ftstudio.engine.recipes import load_recipe

    found: dict[tuple[str, str], Score] = {}
    for run in workspace.runs()[:50]:
        report = files.read_json(run.compare.path / "report.json")
        if not isinstance(report, dict):
            continue
        try:
            other = load_recipe(run.recipe_path)
        except StudioError:
            continue
        if not _same(recipe, other):
            continue
        rows = int(report.get("rows") or 0)
        for arm in report.get("arms") or ():
            metrics = arm.get("metrics") if isinstance(arm, Mapping) else None
            name = _main(metrics)
            if name is None or not isinstance(metrics, Mapping):
                continue
            kind = "run" if arm.get("kind") == "run" else "shots" if arm.get("shots") else "base"
            if arm.get("kind") in ("base", "run"):
                source = f"comparison of {run.name}"
                score = Score(str(arm.get("name")), kind, name, float(metrics[name]), rows, source)
                found.setdefault((kind, score.name if kind != "base" else ""), score)
    if ("base", "") not in found and (answered := _answered(recipe, workspace)) is not None:
        found["base", ""] = answered
    order = {"base": 0, "shots": 1, "run": 2}
    return sorted(found.values(), key=lambda score: order[score.kind])


def _main(metrics: object) -> str | None:
    """The name of the most telling of METRICS that has a value."""
    known = metrics if isinstance(metrics, Mapping) else {}
    return next((name for name in MAIN if isinstance(known.get(name), int | float)), None)


def _answered(recipe: Recipe, workspace: Workspace) -> Score | None:
    """What the base scored in the answers that the Errors screen has kept of the same rows."""
    from ftstudio.engine.answer import base_folder
    from ftstudio.engine.judging import metrics_of
    from ftstudio.evaluation.comparison import scored
    from ftstudio.evaluation.predictions import read_predictions

    path = base_folder(workspace, recipe).path / "outputs.jsonl"
    if not path.is_file():
        return None
    try:
        rows = read_predictions(path)
        metrics = scored(rows, [*metrics_of(recipe), *tasks.get(recipe.task).default_metrics])
    except StudioError:
        return None
    name = _main(metrics)
    return None if name is None else Score("base", "base", name, float(metrics[name]), len(rows), "answers in Errors")


def _same(recipe: Recipe, other: Recipe) -> bool:
    """Whether two recipes ask the same model the same rows in the same way."""

    def path(name: object) -> str:
        text = str(name)
        return str(Path(text).expanduser().absolute()) if Path(text).expanduser().exists() else text

    return (
        recipe.task == other.task
        and path(recipe.model) == path(other.model)
        and [path(part) for part in _sources(recipe)] == [path(part) for part in _sources(other)]
        and path(recipe.data.eval) == path(other.data.eval)
        and recipe.options == other.options
        and _told_alike(_rows(recipe), _rows(other))
    )


def _rows(recipe: Recipe) -> dict[str, object]:
    """What decides which rows are held out, and how they are asked, as far as RECIPE tells."""
    data, resolved = recipe.data, (recipe.resolved or {}).get("data") or {}
    drawn = not isinstance(data.eval, str)
    return {
        "train": (resolved.get("train") or {}).get("sha256") if drawn else None,
        "eval": (resolved.get("eval") or {}).get("sha256"),
        "seed": recipe.rows_seed if drawn else None,
        **{name: getattr(data, name) for name in ("test", "split_by", "columns", "template")},
    }


def _told_alike(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether nothing that both tell differs."""
    return all(value == other[name] for name, value in one.items() if value is not None and other[name] is not None)


def _sources(recipe: Recipe) -> list[str]:
    train = recipe.data.train
    return [train] if isinstance(train, str) else [source.path for source in train]


def told(
    recipe: Recipe, workspace: Workspace | None, answer_tokens: float | None = None, parameters: int | None = None
) -> list[Sentence]:
    """Whether training RECIPE is worth it, in sentences. ANSWER_TOKENS: the mean of tokens that a row trains;
    PARAMETERS: the model's weights."""
    known = scores(recipe, workspace) if workspace is not None else []
    found = [Sentence("known", _score_text(score)) for score in known]
    base = next((score for score in known if score.kind == "base"), None)
    shots = max((score for score in known if score.kind == "shots"), key=lambda score: score.value, default=None)
    if base is None:
        text = "How well the base does this already isn't known yet: screen Errors, or `ftstudio errors RECIPE`."
        found.append(Sentence("worth", text))
    else:
        found.append(_verdict(base, shots))
    return found + _size(recipe, answer_tokens, parameters)


def _score_text(score: Score) -> str:
    from ftstudio.evaluation.metrics import TITLES

    what = {"base": "the base as it is", "shots": f"the base with examples ({one_line(score.name, 24)})"}.get(
        score.kind, one_line(score.name, 30)
    )
    title = TITLES.get(score.metric, score.metric)
    return f"{title} {number(score.value)}: {what}, on {score.rows:,} held-out rows ({score.source})."


def _verdict(base: Score, shots: Score | None) -> Sentence:
    best = max((base, shots), key=lambda score: score.value if score is not None else -1.0) or base
    if best.metric in RIGHT and best.value >= ENOUGH:
        how = "with examples in its prompt" if best is shots else "as it is"
        return Sentence("worth", f"The base does this well {how}: there is little left to gain by training.", "warn")
    if shots is not None and shots.value - base.value >= GAIN:
        gain = shots.value - base.value
        text = f"Examples in the prompt bring +{gain:.2f} without any training: they are the bar to pass."
        return Sentence("worth", text)
    helps = ", and examples in the prompt help little" if shots else "; base+3shot would tell if examples do"
    return Sentence("worth", f"The base leaves room to learn{helps}: fine-tuning is worth a try.", "good")


def _size(recipe: Recipe, answer: float | None, parameters: int | None) -> list[Sentence]:
    """The rule of thumb: the more and freer the output, and the more kinds of work, the larger the model."""
    task = tasks.get(recipe.task)
    sources = len(_sources(recipe))
    if not task.generates:
        text = "Labels, tags and vectors need no large model: an encoder of 20 to 400 million weights does them well."
        large = parameters is not None and parameters > 1_000_000_000
        return [Sentence("size", text, "warn" if large else "good")]
    if answer is None:
        return []
    what, least = "short and fixed answers", 100e6
    if answer >= FREE:
        what, least = "long and free answers", 3e9
    elif answer > SHORT:
        what, least = "answers of a sentence or a few fields", 500e6
    if sources > 1:
        what, least = f"{what} in {sources} kinds of work", least * 2
    text = f"About {answer:.0f} tokens are written a row: {what} usually want {_short(least)} weights or more"
    if parameters is None:
        return [Sentence("size", f"{text}.")]
    enough = parameters >= least
    own = f"this model has {_short(parameters)}"
    more = "" if enough else "; expect set phrases to be learnt, new reasoning hardly"
    return [Sentence("size", f"{text}; {own}{more}.", "good" if enough else "warn")]


def _short(count: float) -> str:
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:,.0f}"
