"""Tensors with shape, type and storage but no numbers, as light as can be: what torch's FakeTensorMode is to many
devices and symbolic shapes, for the one case that memory is followed in, a fifth of its time an operation."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode


class Hollow(FakeTensor):
    """A tensor of the CPU, to autograd, autocast and all who ask it; `meta`, of torch's meta device, is what operations
    are done on and what has a storage. By its class transformers knows that there are no numbers to look at."""

    meta: torch.Tensor
    device = torch.Tensor.device  # torch's own, not what FakeTensor asks its mode
    _mode_key = None
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, meta: torch.Tensor) -> Hollow:
        """Around META."""
        found: Hollow = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, meta.shape, meta.stride(), meta.storage_offset(), dtype=meta.dtype, layout=meta.layout, device="cpu"
        )
        found.meta = meta
        return found

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        """Its shape and type."""
        return f"Hollow({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See torch.Tensor."""
        return run(func, args, kwargs or {})


class Hollowed(TorchDispatchMode):
    """What is made inside is hollow."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See TorchDispatchMode."""
        return run(func, args, kwargs or {})

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and being ready for it costs each operation more than all the rest


REMEMBERED = 20_000  # operations whose results are known
_META = torch.device("meta")
_known: dict[Any, tuple[bool, tuple[Any, ...]]] = {}
_facts: dict[Any, tuple[bool, bool]] = {}


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of the operation FUNC, hollow. Raises what torch raises where it needs numbers."""
    placed, fresh = _facts.get(func) or _facts_of(func)
    outer: dict[int, Hollow] = {}
    args = [_bare(value, outer) for value in args]
    kwargs = {name: _bare(value, outer) for name, value in kwargs.items()}
    if placed:
        kwargs["device"] = _META
    if not fresh:
        return _wrapped(func(*args, **kwargs), outer)
    try:
        key = (func, _key(args), *((name, _key(value)) for name, value in kwargs.items()))
        known = _known.get(key)
    except TypeError:  # an argument that can't be looked up
        return _wrapped(func(*args, **kwargs), outer)
    if known is not None:
        alone, several = known
        made = [
            None if one is None else Hollow(torch.empty_strided(one[0], one[1], dtype=one[2], device=_META))
            for one in several
        ]
        return made[0] if alone else tuple(made)
    result = multiplied(*args, **kwargs) if grouped(func, args) else func(*args, **kwargs)
    if func is torch.ops.aten.native_layer_norm.default:  # the CPU keeps mean and scale in its input's type
        result = (result[0], *(part.to(args[0].dtype) for part in result[1:]))
    _remember(key, result, outer)
    return _wrapped(result, outer)


def grouped(func: Any, args: Any) -> bool:
    """Whether FUNC multiplies groups of rows, as experts do, in a precision that torch computes on every device, but
    follows without numbers in bf16 alone."""
    return func is torch.ops.aten._grouped_mm.default and args[0].dtype != torch.bfloat16


def multiplied(
    left: torch.Tensor,
    right: torch.Tensor,
    offs: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Stands in for `_grouped_mm`: rows of LEFT by the matrices of RIGHT that OFFS gives them to; or, as a weight's
    gradient, a matrix for each group of columns of LEFT and rows of RIGHT."""
    shape = [left.shape[-2], right.shape[-1]]
    if left.dim() == right.dim():
        groups = left.shape[0] if offs is None or left.dim() > 2 else offs.shape[0]
        shape = [groups, *shape]
    return left.new_empty(shape, dtype=out_dtype or left.dtype)


def _facts_of(func: Any) -> tuple[bool, bool]:
    """(whether FUNC is told a device, whether all that it gives is new)."""
    schema = func._schema
    placed = any(one.name == "device" for one in schema.arguments)
    fresh = not any(one.alias_info for one in (*schema.arguments, *schema.returns))
    found = _facts[func] = placed, fresh
    return found


def _bare(value: Any, outer: dict[int, Hollow]) -> Any:
    """VALUE, an argument, on the meta device; what it was of is put into OUTER. (No closures: one that calls itself
    would keep all this until the garbage collector comes round, and so would be counted as alive.)"""
    kind = type(value)
    if kind is Hollow:
        outer[id(value.meta)] = value
        return value.meta
    if kind is list or kind is tuple:
        return kind([_bare(item, outer) for item in value])
    if isinstance(value, Hollow):  # a parameter
        outer[id(value.meta)] = value
        return value.meta
    if isinstance(value, torch.Tensor) and value.device.type != "meta":  # a constant of the model's code
        return value.to("meta")
    return value


def _wrapped(value: Any, outer: dict[int, Hollow]) -> Any:
    if isinstance(value, torch.Tensor):
        known = outer.get(id(value))
        return Hollow(value) if known is None else known
    if isinstance(value, (list, tuple)):
        return type(value)([_wrapped(item, outer) for item in value])
    return value


def _key(value: Any) -> Any:
    """What of VALUE, an argument, the shapes of a result depend on; 1, 1.0 and True aren't the same."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, (list, tuple)):
        return tuple([_key(item) for item in value])
    return type(value), value


def _remember(key: Any, result: Any, outer: dict[int, Hollow]) -> None:
    """Keep what RESULT is like, where it is one tensor or several, each with a storage of its own and no larger one
    than its shape takes. (Some operations give a view without saying so.)"""
    alone = isinstance(result, torch.Tensor)
    parts = (result,) if alone else result
    if type(parts) is not tuple or not all(part is None or isinstance(part, torch.Tensor) for part in parts):
        return
    tensors = [part for part in parts if part is not None]
    storages = {id(part.untyped_storage()) for part in tensors}
    if len(storages) < len(tensors) or storages & {id(one.meta.untyped_storage()) for one in outer.values()}:
        return
    for part in tensors:
        again = torch.empty_strided(part.shape, part.stride(), dtype=part.dtype, device=_META)
        if part.storage_offset() or again.untyped_storage().nbytes() != part.untyped_storage().nbytes():
            return
    if len(_known) >= REMEMBERED:
        _known.clear()
    _known[key] = alone, tuple(None if part is None else (part.shape, part.stride(), part.dtype) for part in parts)
