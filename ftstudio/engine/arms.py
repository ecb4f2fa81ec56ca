"""The arms of a comparison: the base model and tuned ones, from as few loads of the weights as can be.

With an adapter, one load of the base serves all: the adapter is switched off for the base arm. That this gives the
base's very own numbers, and that the tuned arm differs from it, is measured on a probe before anything is compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.engine import going_on
from ftstudio.engine.probing import numbers_of
from ftstudio.engine.reshaping import untouched
from ftstudio.tasks.base import Prompt, Task

if TYPE_CHECKING:
    import torch

    from ftstudio.engine.loading import ModelSpec
    from ftstudio.engine.marks import Stamp
    from ftstudio.engine.models import Loaded, ModelStore

BASE = "base"
PROBE_TOKENS = 48


@dataclass(frozen=True)
class Tuned:
    """A tuned arm: its name, the run it comes from, that run's resolved recipe, and the folder of its weights where
    they aren't the run's final ones (a checkpoint)."""

    name: str
    run: RunFolder
    recipe: Recipe
    folder: Path | None = None

    @property
    def weights(self) -> Path:
        """The folder of the model or adapter."""
        return self.folder or self.run.model


@dataclass(frozen=True)
class Check:
    """What the probe found, in logits: the greatest difference between the base with its adapter off and the base
    loaded alone (`base`, None where two loads were compared), and between tuned and base (`tuned`)."""

    base: float | None
    tuned: float


class Arms:
    """The base of RECIPE and TUNED models of it, each ready inside `use(name)`.

    `groups` are names that live in memory together, the base in the first: take the groups one after the other, and
    inside one change as you like. VIEWS are further arms that only ask otherwise: their name to that of the arm whose
    weights they use.
    """

    def __init__(
        self,
        models: ModelStore,
        recipe: Recipe,
        tuned: Sequence[Tuned],
        views: Mapping[str, str] | None = None,
        task: Task | None = None,
    ) -> None:
        self.models, self.recipe, self.views = models, recipe, dict(views or {})
        self.task = task or tasks.of(recipe)
        self.tuned = {arm.name: arm for arm in tuned}
        self.spec = models.spec(untouched(recipe))
        self._specs = {arm.name: models.spec(arm.recipe) for arm in tuned}
        self._files: dict[str, Stamp] = {}  # what was read for an arm, the first time
        for arm in tuned:
            if self._specs[arm.name].model != self.spec.model:
                raise StudioError(
                    f"{arm.name} was tuned from {arm.recipe.model}, not from {recipe.model}.",
                    "Compare runs of the same base model.",
                )
        self.groups = self._grouped()

    @property
    def names(self) -> list[str]:
        """All arms with weights of their own, the base first."""
        return [BASE, *self.tuned]

    def specification(self, name: str) -> ModelSpec:
        """How the weights of arm NAME are loaded."""
        name = self.views.get(name, name)
        return self.spec if name == BASE else self._specs[name]

    def _grouped(self) -> list[list[str]]:
        """Adapters over equally loaded weights share them; one full copy may lie beside the base."""
        groups: dict[object, list[str]] = {self.spec: [BASE]}
        beside = False
        for name, arm in self.tuned.items():
            if _is_adapter(arm.recipe):
                groups.setdefault(self._specs[name], []).append(name)
            elif not beside:
                beside = True
                groups[self.spec].append(name)
            else:
                groups[name] = [name]
        for view, name in self.views.items():
            next(group for group in groups.values() if name in group).append(view)
        return list(groups.values())

    def view(self, name: str, like: str) -> None:
        """Add NAME, an arm with the weights of LIKE."""
        self.views[name] = like
        self.groups = self._grouped()

    @contextlib.contextmanager
    def use(self, name: str) -> Iterator[Any]:
        """The model that answers as arm NAME; loads it where it isn't in memory. Raises StudioError where its files
        have changed since it was asked first."""
        name = self.views.get(name, name)
        if name != BASE:
            with self._loaded(name).as_tuned() as model:
                yield model
            return
        partner = self._partner()
        if partner is None:
            loaded = self.models.base(self.recipe)
            self._same(BASE, loaded.files)
            yield loaded.model
        else:
            with self._loaded(partner).as_base() as model:
                yield model

    def over_others(self) -> list[str]:
        """What to tell of adapters that were trained over another base, and of whole models that began from one."""
        each = (
            going_on.other_base(arm.run, arm.recipe, arm.folder)
            if _is_adapter(arm.recipe)
            else going_on.began_elsewhere(arm.run, arm.recipe)
            for arm in self.tuned.values()
        )
        return list(dict.fromkeys(text for text in each if text))

    def _partner(self) -> str | None:
        """An adapter whose load serves the base too; None where the base is loaded for itself."""
        return next((name for name in self._first if _is_adapter(self.tuned[name].recipe)), None)

    @property
    def _first(self) -> list[str]:
        """The tuned arms that lie in memory with the base."""
        return [name for name in self.groups[0] if name in self.tuned]

    def _loaded(self, name: str) -> Loaded:
        arm = self.tuned[name]
        loaded = self.models.tuned_from(arm.weights, arm.recipe, arm.name)
        self._same(BASE if loaded.shares_base and self._specs[name] == self.spec else name, loaded.files)
        self._same(f"{name}'s adapter", loaded.tuned)
        return loaded

    def _same(self, what: str, files: Stamp) -> None:
        """Raises StudioError where WHAT was of other FILES before: what was answered by then was kept as theirs."""
        if self._files.setdefault(what, files) != files:
            what = self.recipe.model if what == BASE else what
            raise StudioError(f"The files of {what} changed while it was asked.", "Start again when they are whole.")

    def check(self, prompts: Sequence[Prompt], pad_id: int = 0) -> dict[str, Check]:
        """Measure on PROMPTS (of a causal model on their beginnings) that each arm of the first group is what it says.

        Raises StudioError where the adapter can't be switched off cleanly, where tuned and base give the same numbers
        on everything, or where the tuned model gives none.
        """
        rows = _probe(prompts)
        found = {}

        def said(model: Any) -> torch.Tensor:
            import torch

            return torch.cat([numbers_of(self.task, model, row, pad_id).flatten() for row in rows])

        alone = said(self.models.base(self.recipe).model)
        for name in self._first:
            if self.tuned[name].recipe.architecture.changes:
                continue  # another model than the base by its very shape
            with self._loaded(name).as_tuned() as model:
                tuned = said(model)
            base_gap = None
            if _is_adapter(self.tuned[name].recipe):
                with self._loaded(name).as_base() as model:
                    base_gap = _gap(said(model), alone)
                if base_gap > _tolerance(self.spec.dtype) * float(alone.abs().max()):
                    raise StudioError(
                        f"With {name}'s adapter off the model isn't the base: logits differ by {base_gap:.2g}.",
                        "Train again with method lora or qlora, without options that change the base.",
                    )
            found[name] = Check(base_gap, self._differs(name, tuned, alone))
        return found

    @staticmethod
    def _differs(name: str, tuned: torch.Tensor, base: torch.Tensor) -> float:
        if not bool(tuned.isfinite().all()):
            raise StudioError(
                f"{name} gives numbers that are not finite: its training diverged.",
                "Train again with a lower training.learning_rate.",
            )
        gap = _gap(tuned, base)
        if gap == 0.0:
            raise StudioError(
                f"{name} gives exactly the base model's numbers: nothing was learnt, or its weights aren't in use.",
                "Look at the run's loss, and train longer or with a higher training.learning_rate.",
            )
        return gap


def _is_adapter(recipe: Recipe) -> bool:
    from ftstudio import methods

    return methods.get(recipe.method.name).adapter


def _probe(prompts: Sequence[Prompt]) -> list[Mapping[str, Any]]:
    """Up to four rows: what a task collates, else the beginnings of prompts."""
    some = [prompt for prompt in prompts if prompt.ids][:4]
    return [prompt.row or {"input_ids": prompt.ids[:PROBE_TOKENS]} for prompt in some]


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def _tolerance(dtype: str) -> float:
    """What rounding may do, relative to the greatest logit."""
    return 1e-5 if dtype == "float32" else 1e-2
