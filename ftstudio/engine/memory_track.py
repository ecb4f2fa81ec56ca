"""Live bytes of tensors while something runs: every storage an operation makes, until nothing holds it any more.

Under torch's FakeTensorMode nothing is computed and no memory is taken, so a step of a big model is followed in
milliseconds a layer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from ftstudio.engine.memory_hollow import Hollow, grouped, multiplied


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    """That of TENSOR; of a hollow one, what it is around."""
    return tensor.meta.untyped_storage() if isinstance(tensor, Hollow) else tensor.untyped_storage()


def _done(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What torch makes of FUNC, of tensors with numbers or of its fake ones."""
    if grouped(func, args) and isinstance(args[0], FakeTensor):
        return multiplied(*args, **kwargs)
    return func(*args, **kwargs)


class Tracker(TorchDispatchMode):
    """Follows all tensors made inside; those that were there before (see `ignore`) don't count.

    `peaks[phase]`: most bytes alive at once while in that phase (see `enter`); `others[phase]`: the same without the
    gradients that were told by `keep`. `grads`: bytes of these so far. DOES carries an operation out; None: torch.
    """

    def __init__(self, does: Callable[[Any, Any, dict[str, Any]], Any] | None = None) -> None:
        super().__init__()
        self.does = does
        self.live = self.grads = 0
        self.phase = ""
        self.peaks: dict[str, int] = {}
        self.others: dict[str, int] = {}
        self._known: dict[int, weakref.ref[Any]] = {}

    def enter(self, phase: str) -> None:
        """From here on what is alive counts for PHASE."""
        self.phase = phase
        self._note()

    def ignore(self, tensors: Iterable[torch.Tensor]) -> None:
        """TENSORS are counted elsewhere."""
        for tensor in tensors:
            self._watch(_storage(tensor), 0)

    def keep(self, gradient: torch.Tensor) -> None:
        """GRADIENT stays until the optimiser's step."""
        self.grads += _storage(gradient).nbytes()

    def _watch(self, storage: Any, size: int) -> None:
        key = id(storage)

        def gone(_: Any) -> None:
            self.live -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.live += size

    def _note(self) -> None:
        self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), self.live)
        self.others[self.phase] = max(self.others.get(self.phase, 0), self.live - self.grads)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see Hollowed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See TorchDispatchMode."""
        result = (self.does or _done)(func, args, kwargs or {})
        new = False
        for item in (result,) if isinstance(result, torch.Tensor) else tree_flatten(result)[0]:
            if isinstance(item, torch.Tensor):
                storage = _storage(item)
                held = self._known.get(id(storage))
                if held is None or held() is not storage:
                    self._watch(storage, storage.nbytes())
                    new = True
        if new:
            self._note()
        return result
