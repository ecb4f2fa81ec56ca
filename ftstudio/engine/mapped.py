"""How the rows of data.eval and data.test are mapped where they are files of their own: as those that are trained."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Dataset
from ftstudio.data.mix import AskedShape, Part
from ftstudio.data.shape import Shape, recognise
from ftstudio.data.tags import brought_to_bio


def shape_like(rows: Dataset, shape: Shape, recipe: Recipe, key: str, sources: Sequence[Part] = ()) -> Shape:
    """How ROWS, those of data.KEY, are mapped: like the training rows (mapped by SHAPE) where they can be, else as
    recognised. Of several SOURCES, as the first whose columns they have, and with its instruction. Raises UsageError.
    """
    found = _like(rows, shape, recipe, key, sources)
    if found.name != "tokens-tags":
        return found
    return brought_to_bio(rows, found)[0]


def _like(rows: Dataset, shape: Shape, recipe: Recipe, key: str, sources: Sequence[Part]) -> Shape:
    known = [part for part in sources if not part.replay]
    for part in known:
        if _fits(rows, part.shape):
            return _asked(part.shape, part)
    if not known and _fits(rows, shape):
        return Shape(shape.name, shape.columns, shape.why)
    needs = f"It needs the columns {', '.join(shape.columns.values())}."
    try:
        found = recognise(rows, task=recipe.task)
    except UsageError as error:
        raise UsageError(
            f"{one_line(str(getattr(recipe.data, key)))} (data.{key}) has other columns than the training rows: "
            f"{error.message}",
            needs,
        ) from error
    lacking = set(shape.columns) - set(found.columns)
    if lacking & {"label", "score"} and not set(found.columns) & {"label", "score"}:
        where = f"{one_line(str(getattr(recipe.data, key)))} (data.{key})"
        raise UsageError(f"{where} has no {' or '.join(sorted(lacking))}, which the training rows have.", needs)
    return _asked(found, known[0]) if len({part.instruction for part in known}) == 1 else found


def asked_as(shape: Shape, key: str, sources: Sequence[Part]) -> str:
    """What to tell of the rows of data.KEY, mapped by SHAPE, where SOURCES ask in different ways; empty elsewhere."""
    if len({part.instruction for part in sources if not part.replay}) < 2:
        return ""
    if isinstance(shape, AskedShape):
        return f"the rows of data.{key} are asked with the instruction of {shape.source}"
    return f"the rows of data.{key} are asked without an instruction"


def _fits(rows: Dataset, shape: Shape) -> bool:
    """Whether ROWS have the columns of SHAPE; `translation.de` is a part of the column `translation`."""
    return all(name in rows.names or name.rpartition(".")[0] in rows.names for name in shape.columns.values())


def _asked(shape: Shape, part: Part) -> Shape:
    if not part.instruction:
        return Shape(shape.name, shape.columns, shape.why)
    return AskedShape(shape.name, shape.columns, shape.why, (), part.instruction, part.name)
