"""What the data named in a recipe turn out to be: rows, mapping, split, one row written out. No widgets, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.data.chat import Segment
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.example import BadRow
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import Shape
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.engine.materials import open_materials
from ftstudio.engine.recipes import check_recipe

DEMO = "demo"
TEXTS, LONGEST = 200, 100_000  # rows whose length is looked at, and characters of each


@dataclass(frozen=True)
class Survey:
    """`problem` is what is wrong, beside the field `key`. `example` are the pieces of the first usable training row,
    `texts` some rows as they are read: how long they are in a model's tokens, its step tells."""

    dataset: Dataset | None = None
    shape: Shape | None = None
    template: str = ""
    train: int = 0
    held_out: int = 0
    note: str = ""
    example: tuple[Segment, ...] = ()
    texts: tuple[str, ...] = ()
    key: str = ""
    problem: str = ""


def key_of(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a survey of VALUES depends on."""
    data = values.get("data")
    data = data if isinstance(data, Mapping) else {}
    training = values.get("training")
    seed = training.get("seed") if isinstance(training, Mapping) else None
    columns = data.get("columns")
    mapping = tuple(sorted(columns.items())) if isinstance(columns, Mapping) else None
    return (
        values.get("task"), repr(values.get("options")),
        values.get("model"), data.get("train"), data.get("eval"), "eval" in data, data.get("split"),
        mapping, data.get("template"), data.get("limit"), seed,
        *(repr(data.get(key)) for key in ("test", "split_by", "parted_as", "mix", "replay")),
    )  # fmt: skip


def survey(values: Mapping[str, Any], *, progress: Progress | None = None, cancel: Cancel | None = None) -> Survey:
    """Open what VALUES (a draft's) name as data. Never raises for what a person can put right: that is a `problem`."""
    data = dict(values.get("data") or {})
    data.pop("max_length", None)  # cuts nothing here, and may be wrong for the stand-in model
    model = values.get("model") if isinstance(values.get("model"), str) else None
    training = values.get("training")
    seed = training.get("seed") if isinstance(training, Mapping) else None
    small: dict[str, Any] = {"task": values.get("task") or "sft", "model": model or DEMO, "data": data}
    if isinstance(values.get("options"), Mapping):
        small["options"] = dict(values["options"])
    if isinstance(seed, int):
        small["training"] = {"seed": seed}
    try:
        if model:
            load_tokenizer(model)
    except StudioError:
        small["model"] = DEMO  # the model's step says what is wrong with it: rows can be looked at all the same
    dataset = None
    try:
        recipe = check_recipe(small)
        dataset = open_dataset(
            recipe.data.first, split=recipe.data.split, reading=recipe.data.reading, progress=progress, cancel=cancel
        )
        materials = open_materials(recipe, progress=progress, cancel=cancel)
    except StudioError as error:
        text = str(error)
        key = "data.eval" if "data.eval" in text and dataset is not None else "data.train"
        if dataset is not None and ("data.columns" in text or "columns among" in text):
            key = "data.columns"
        return Survey(dataset, key=key, problem=text)
    rows: list[tuple[Segment, ...]] = []
    for index in range(min(TEXTS, len(materials.train))):
        try:
            rows.append(tuple(materials.template.segments(materials.shape.example(materials.train[index]))))
        except BadRow:
            continue
    return Survey(
        materials.whole,
        materials.shape,
        materials.template.name,
        len(materials.train),
        len(materials.held_out) if materials.held_out is not None else 0,
        "; ".join(part for part in (materials.split_note, *materials.notes) if part),
        rows[0] if rows else (),
        tuple("".join(piece.text for piece in row)[:LONGEST] for row in rows),
    )
