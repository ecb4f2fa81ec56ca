"""What tells the runs of a sweep apart, in few words: in their names, and beside their results. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import PurePath

from ftstudio.core.workspace import slug

LONGEST = 47  # signs of a name: see `slug`


def values(chosen: Sequence[str]) -> dict[str, str]:
    """The overrides CHOSEN for a run, `key=value` each, by key."""
    return {key.strip(): value for key, _, value in (word.partition("=") for word in chosen)}


def short(runs: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Of each of RUNS (the values chosen for it, by key) the last part of each key, and as much of the value as tells
    it from those of the others: of paths and the names of models, what isn't the same in all."""
    keys = dict.fromkeys(key for run in runs for key in run)
    apart = {key: _apart(list(dict.fromkeys(run[key] for run in runs if key in run))) for key in keys}
    return [{key.rpartition(".")[2]: apart[key][value] for key, value in run.items()} for run in runs]


def names(sweep: Sequence[Sequence[str]]) -> list[str]:
    """For the overrides of each run of a SWEEP what its name says of them; no two are the same, nor are they cut where
    they would be."""
    said = short([values(chosen) for chosen in sweep])
    found = ["-".join(f"{key}-{value}" for key, value in one.items()) for one in said]
    if any(len(text) > LONGEST for text in found):
        found = ["-".join(one.values()) for one in said]
    if len({slug(text) for text in found}) < len(found):
        found = [f"{place}-{text}" for place, text in enumerate(found, 1)]
    return [slug(text) for text in found]


def _apart(different: list[str]) -> dict[str, str]:
    """What tells each of DIFFERENT values from the others."""
    if not any("/" in value for value in different) or any(value[:1] in "[{'\"" for value in different):
        return {value: value for value in different}
    parts = [list(PurePath(value).parts) or [value] for value in different]
    room = min(map(len, parts)) - 1  # something is left of each
    lead = min(room, _alike(parts))
    trail = min(room - lead, _alike([one[::-1] for one in parts]))
    kept = [one[lead : len(one) - trail] for one in parts]
    if not trail:
        stems = [[*one[:-1], PurePath(one[-1]).stem] for one in kept]
        kept = stems if len({tuple(one) for one in stems}) == len(kept) else kept
    return {value: "/".join(one) for value, one in zip(different, kept, strict=True)}


def _alike(parts: list[list[str]]) -> int:
    """With how many of the same PARTS all begin."""
    return sum(1 for _ in takewhile(lambda each: len(set(each)) == 1, zip(*parts, strict=False)))
