"""The models in memory: one base kept loaded between jobs, adapters put on and taken off, full copies beside it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio import methods, tasks
from ftstudio.core.errors import StudioError
from ftstudio.engine import adapters, hardware, loading, marks
from ftstudio.engine.loading import ModelSpec
from ftstudio.engine.locate import locate
from ftstudio.engine.marks import Stamp
from ftstudio.engine.reshaping import untouched

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.core.run import RunFolder


@dataclass
class Loaded:
    """A model ready to answer. `model` is what to call; `adapter` its adapter, where base and tuned share weights;
    `files` and `tuned` what was read: of the base (or a whole copy), and of the adapter.

    Inside `as_base()` the very same module answers as the base model (adapter off), inside `as_tuned()` as the tuned
    one. A fully fine-tuned model shares nothing: its base is `store.base(recipe)`, another load.
    """

    model: Any
    device: str
    spec: ModelSpec
    adapter: str | None = None
    files: Stamp = ()
    tuned: Stamp = ()

    @property
    def shares_base(self) -> bool:
        """Whether `as_base()` works."""
        return self.adapter is not None

    @contextlib.contextmanager
    def as_base(self) -> Iterator[Any]:
        """The model with its adapter off. Raises StudioError where it has none."""
        if self.adapter is None:
            raise StudioError("A fully fine-tuned model holds no base.", "Load the base model beside it.")
        with adapters.off(self.model):
            yield self.model

    @contextlib.contextmanager
    def as_tuned(self) -> Iterator[Any]:
        """The model with its adapter on, also where other runs' adapters lie over the same base."""
        if self.adapter is not None:
            activate(self.model, self.adapter)
        yield self.model


def activate(model: Any, adapter: str) -> None:
    """Make ADAPTER the only one that is active in the peft MODEL."""
    model.set_adapter(adapter)


class ModelStore:
    """Loads models and keeps them: at most one base (with any number of adapters) and one fully tuned copy, as long as
    their files stay what they were.

    Used by the worker's thread alone. Loading imports torch and transformers.
    """

    def __init__(self) -> None:
        self._spec: ModelSpec | None = None
        self._base: Any = None
        self._peft: Any = None
        self._files: Stamp = ()  # of the base, before it was read
        self.trained_on: Stamp = ()  # the files of the base that was last trained
        self._adapters: dict[Stamp, str] = {}  # an adapter's files to its name
        self._whole: tuple[tuple[Stamp, ModelSpec], Any] | None = None

    @property
    def loaded(self) -> str | None:
        """The base that is in memory now, as the recipe names it."""
        return self._spec.model if self._spec is not None else None

    def spec(self, recipe: Recipe, *, training: bool = False) -> ModelSpec:
        """How RECIPE's base is to be loaded, with the recipe's changes to it. Full fine-tuning keeps its weights in 32
        bits while TRAINING.

        Raises StudioError where device, precision and method don't go together.
        """
        machine = hardware.resolve(recipe)
        method = methods.get(recipe.method.name)
        settings = method.settings(recipe.method.settings)
        method.check(settings, device=machine.device, precision=machine.precision)
        dtype = loading.DTYPES[machine.precision]
        if training and not method.adapter:
            dtype = "float32"
        head = tasks.of(recipe).head(recipe.training.seed)
        name, quantisation = _same(recipe.model), method.quantisation(settings)
        return ModelSpec(name, dtype, machine.device, quantisation, head, recipe.architecture)

    def base(self, recipe: Recipe) -> Loaded:
        """The base model of RECIPE, untouched: without adapter, without the recipe's changes. Raises StudioError."""
        spec = self.spec(untouched(recipe))
        self._load_base(spec)
        self.detach()
        return Loaded(self._base, spec.device, spec, files=self._files)

    def tuned(self, run: RunFolder, recipe: Recipe | None = None) -> Loaded:
        """The model that RUN saved, over the kept base where it is an adapter. RECIPE: the run's, where read already.

        Raises StudioError where the run has saved none.
        """
        if recipe is None:
            recipe = recipe_of(run)
        return self.tuned_from(run.model, recipe, run.name)

    def tuned_from(self, folder: Path, recipe: Recipe, name: str) -> Loaded:
        """The model saved in FOLDER (a run's `model`, or one of its checkpoints) by RECIPE; NAME is for errors."""
        method = methods.get(recipe.method.name)
        weights = folder / ("adapter_model.safetensors" if method.adapter else "config.json")
        if not weights.is_file():
            raise StudioError(f"{name} has no tuned model yet.", "Train it first, or resume it.")
        spec = self.spec(recipe)
        if method.adapter:
            return self._adapted(spec, folder, name)
        return self._copy(spec, folder, name)

    def _adapted(self, spec: ModelSpec, folder: Path, name: str) -> Loaded:
        from peft import PeftModel
        from safetensors import SafetensorError

        self._load_base(spec)
        kind = adapters.kind_of(folder, name)
        if self._peft is not None and any(config.peft_type != kind for config in self._peft.peft_config.values()):
            self.detach()  # peft holds adapters of one kind at a time
        key = marks.stamp(folder.absolute())
        adapter = self._adapters.get(key)
        if adapter is None:
            adapter = f"{re.sub(r'[^A-Za-z0-9_]+', '_', name)}_{len(self._adapters)}"
            try:
                if self._peft is None:
                    self._peft = PeftModel.from_pretrained(
                        self._base, str(folder), adapter_name=adapter, torch_device=spec.device
                    )
                else:
                    self._peft.load_adapter(str(folder), adapter_name=adapter, torch_device=spec.device)
            except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
                self.unload()
                again = f"`ftstudio train --resume {name}` saves it again from its last checkpoint."
                raise loading.explain(error, f"{name}'s adapter", again=again) from error
            self._peft.eval()
            self._adapters[key] = adapter
        activate(self._peft, adapter)
        return Loaded(self._peft, spec.device, spec, adapter, self._files, key)

    def _copy(self, spec: ModelSpec, folder: Path, name: str) -> Loaded:
        from ftstudio.engine.locate import Located

        key = (marks.stamp(folder.absolute()), spec)
        if self._whole is None or self._whole[0] != key:
            self._whole = None
            loading.free()
            model = loading.load(Located(folder, str(folder)), _named(spec, name))
            loading.check_saved(model, name)
            self._whole = (key, model)
        return Loaded(self._whole[1], spec.device, spec, files=key[0])

    def holds(self, recipe: Recipe) -> int:
        """Bytes of the models in memory that a training of RECIPE takes over or lets go of: see `to_train`."""
        method = methods.get(recipe.method.name)
        found = [self._base if self._peft is None else self._peft]
        if method.alters_base(method.settings(recipe.method.settings)) and self._whole is not None:
            found.append(self._whole[1])
        return sum(
            item.numel() * item.element_size()
            for model in found
            if model is not None
            for item in (*model.parameters(), *model.buffers())
        )

    def to_train(self, recipe: Recipe) -> Any:
        """The model RECIPE's method may change: the kept base, or for full fine-tuning a copy of its own.

        The caller hands the kept base back with `give_back`. A method that changes the base's own weights gets a copy
        of its own, too.
        """
        spec = self.spec(recipe, training=True)
        method = methods.get(recipe.method.name)
        if not method.alters_base(method.settings(recipe.method.settings)):
            self._load_base(spec)
            self.detach()
            self.trained_on = self._files
            return self._base
        self.trained_on = ()
        self.unload()  # room for weights, gradients and optimiser
        return loading.load(locate(spec.model), spec)

    def give_back(self, peft_model: Any) -> None:
        """Take the trained adapter off the kept base, which is then as it was loaded."""
        base = adapters.take_off(peft_model)
        if self._base is not None:
            self._base = base
            _at_rest(base)

    def detach(self) -> None:
        """Take all adapters off the base."""
        if self._peft is not None:
            self._base = adapters.take_off(self._peft)
            self._peft = None
            self._adapters.clear()
            _at_rest(self._base)

    def _load_base(self, spec: ModelSpec) -> None:
        if self._spec == spec and self._base is not None and self._files == marks.stamp(spec.model):
            return
        self._drop_base()
        loading.free()
        where = locate(spec.model)
        self._files = marks.stamp(spec.model)  # first: what is written while it is read counts as written later
        self._base = loading.load(where, spec)
        self._spec = spec
        _at_rest(self._base)

    def _drop_base(self) -> None:
        self._spec = self._base = self._peft = None
        self._adapters.clear()

    def unload(self) -> None:
        """Let go of everything and free its memory."""
        self._drop_base()
        self._whole = None
        loading.free()


def _at_rest(model: Any) -> None:
    """Nothing learns, no dropout, cache on: what training may have switched is put back."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    model.config.use_cache = True
    for name in ("activation_checkpointing_disable", "gradient_checkpointing_disable"):  # renamed in transformers 5
        if hasattr(model, name):
            getattr(model, name)()
            break


def _same(model: str) -> str:
    """One name for a folder however it is written, so that it isn't loaded twice."""
    path = Path(model).expanduser()
    return str(path.resolve()) if model != "demo" and path.is_dir() else model


def _named(spec: ModelSpec, name: str) -> ModelSpec:
    return ModelSpec(name, spec.dtype, spec.device, None, spec.head)


def recipe_of(run: RunFolder) -> Recipe:
    """The resolved recipe of RUN. Raises UsageError where it can't be read."""
    from ftstudio.engine.recipes import load_recipe

    return load_recipe(run.recipe_path)
