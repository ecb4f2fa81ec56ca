"""`data --versions`, `--diff`, `--export` and `--repair`: versions of a dataset, without a screen."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.cli.output import Out, table
from ftstudio.cli.train import workspace
from ftstudio.core import reading
from ftstudio.core.errors import UsageError
from ftstudio.core.text import clean, number, one_line, size
from ftstudio.data.personal import masked

if TYPE_CHECKING:
    from ftstudio.data.dataset import Dataset
    from ftstudio.data.versions.diff import Difference
    from ftstudio.data.versions.identity import Key
    from ftstudio.data.versions.pending import Pending
    from ftstudio.data.versions.shelf import DatasetFolder, Shelf
    from ftstudio.data.versions.store import Version

SHOWN = 20  # rows of a difference that are printed


def wanted(arguments: argparse.Namespace) -> bool:
    """Whether the command is one of these."""
    return bool(arguments.versions or arguments.diff or arguments.export or arguments.repair or arguments.replay)


def versions(arguments: argparse.Namespace, out: Out) -> int:
    """Do what was asked; repairs first, so that what they made can be exported at once."""
    asked = [bool(arguments.versions), bool(arguments.diff), bool(arguments.export or arguments.repair)]
    if sum(asked) > 1:
        raise UsageError("One of --versions, --diff and --export at a time.", "Only --repair goes with --export.")
    if arguments.replay and (sum(asked[:2]) or arguments.repair):
        raise UsageError("--replay goes with --export, and with nothing else.", "Leave out one of the two.")
    subject = _subject(arguments)
    if arguments.replay:
        from ftstudio.cli.replay import replay

        return replay(*subject.rows(), arguments, out)
    if arguments.versions:
        return _list(subject, out)
    if arguments.diff:
        return _diff(subject, arguments.diff, out)
    return _repair_and_export(subject, arguments, out)


@dataclass(frozen=True)
class Subject:
    """What DATASET stands for: a dataset of the workspace or not (yet), and a version of it or not."""

    shelf: Shelf
    text: str
    folder: DatasetFolder | None
    version: Version | None
    source: Dataset | None
    facts: dict[str, Any]

    def rows(self) -> tuple[Dataset, Sequence[Key] | None]:
        """(its rows, their keys; None where the rows' numbers are their keys)."""
        from ftstudio.data.versions import store

        if self.version is not None:
            return store.open_version(self.version)
        assert self.source is not None
        return self.source, None

    def pending(self) -> Pending:
        """The edits on it that aren't saved."""
        from ftstudio.data.versions.pending import Pending

        if self.version is not None:
            return Pending.of_version(self.version)
        assert self.source is not None
        return Pending.of_source(self.shelf, self.source, self.facts)


def _subject(arguments: argparse.Namespace) -> Subject:
    from ftstudio.data.read import find_file, open_dataset
    from ftstudio.data.versions import address, store
    from ftstudio.data.versions.pending import named
    from ftstudio.data.versions.shelf import Shelf

    shelf, text = Shelf.of(workspace(arguments)), str(arguments.dataset)
    place = address.parse(text)
    if place is not None:
        shelf = place.shelf() if place.folder is not None else shelf
        folder = shelf.named(place.name)
        if place.version != "source":
            return Subject(shelf, text, folder, store.read(folder, place.version), None, {})
        info = folder.info
        return Subject(shelf, text, folder, None, address.open_source(info), _facts(info))
    known = [folder for folder in shelf.all() if folder.name == text]
    if known and find_file(text) is None:
        version = store.read(known[0], "latest") if known[0].numbers() else None
        source = address.open_source(known[0].info) if version is None else None
        return Subject(shelf, text, known[0], version, source, _facts(known[0].info))
    how = reading.parse(arguments.reading)
    facts = {"split": arguments.split, "reading": how.set or None}
    dataset = open_dataset(text, split=arguments.split, reading=how)
    return Subject(shelf, text, shelf.of_source(named(dataset), facts), None, dataset, facts)


def _facts(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key not in ("source", "created")}


# -- what there is ---------------------------------------------------------------------------------------------------
def _list(subject: Subject, out: Out) -> int:
    from ftstudio.data.versions import store

    folder = subject.folder
    if folder is None:
        value: dict[str, Any] = {"dataset": None, "source": subject.text, "versions": [], "pending": []}
        out.result(value, f"{clean(subject.text)} has no versions yet: repairs that are saved make the first.")
        return 0
    found = store.versions(folder)
    pending = subject.pending()
    edits = [edit.told() for edit in pending.edits]
    intact = {version.number: store.verify(version) for version in found}
    value = {
        "dataset": folder.name, "path": str(folder.path), "source": folder.info.get("source"),
        "versions": [{**version.plain(), "intact": intact[version.number]} for version in found],
        "pending": {"base": pending.base, "edits": edits},
    }  # fmt: skip
    out.result(value, _list_text(folder, found, intact, pending))
    return 0 if all(intact.values()) else 1


def _list_text(folder: DatasetFolder, found: list[Version], intact: dict[int, bool], pending: Pending) -> str:
    lines = [f"{folder.name}: {clean(str(folder.info.get('source')))}"]
    rows = []
    for version in found:
        about, counts = version.about, version.about.get("counts") or {}
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(about.get("created") or 0)))
        changes = ", ".join(f"{counts[key]:,} {key}" for key in ("changed", "dropped", "added") if counts.get(key))
        mark = "" if intact[version.number] else " ✗ not what was saved"
        rows.append(
            [version.name, version.parent, number(about.get("rows")), size(about.get("bytes")), when,
             one_line(about.get("who"), 24), changes, one_line(about.get("why"), 40) + mark]
        )  # fmt: skip
    if rows:
        lines.append(table(rows, ["version", "from", "rows", "size", "saved", "by", "repairs", "why"], right=(2, 3)))
    if pending.edits:
        lines.append(f"not saved yet, on {pending.base}: {len(pending.edits):,} edits")
        lines += [f"  {one_line(edit.text, 80)}  ({one_line(edit.who, 24)})" for edit in pending.edits[-10:]]
    if pending.rebased is not None:
        lines.append(f"▲ {clean(pending.rebased.text)}")
    return "\n".join(lines)


# -- differences -----------------------------------------------------------------------------------------------------
def _diff(subject: Subject, names: list[str], out: Out) -> int:
    from ftstudio.data.versions.diff import diff

    (one, one_keys, one_name), (two, two_keys, two_name) = (_named(subject, name) for name in names)
    common = one_name.partition("@")[0] == two_name.partition("@")[0] and "@" in one_name
    found = diff(one, two, one_keys if common else None, two_keys if common else None)
    value = {"first": one_name, "second": two_name, **found.plain(one, two)}
    out.result(value, _diff_text(one_name, two_name, one, two, found))
    return 0


def _named(subject: Subject, name: str) -> tuple[Dataset, Sequence[Key] | None, str]:
    """(rows, keys, name) of what NAME means beside DATASET: 1, latest, source, an address, or a file."""
    from ftstudio.data.read import open_dataset
    from ftstudio.data.versions import address

    short = name.removeprefix("v").isdigit() or name in ("latest", "source")
    if short and subject.folder is None:
        raise UsageError(f"{clean(subject.text)} has no versions yet.", "Saving repairs makes the first.")
    full = f"{subject.shelf.folder}/{subject.folder.name}@{name}" if short and subject.folder is not None else name
    place = address.parse(full)
    if place is None:
        return open_dataset(name), None, name
    dataset, keys = address.open_address(place)
    version = place.found()
    told = version.name if version is not None else f"{place.name}@source"
    return dataset, keys if keys is not None else range(len(dataset)), told


def _diff_text(one: str, two: str, first: Dataset, second: Dataset, found: Difference) -> str:
    lines = [
        f"{clean(one)} → {clean(two)}: {len(found.changed):,} rows changed, {len(found.dropped):,} dropped, "
        f"{len(found.added):,} added, {found.same:,} the same"
    ]
    for row in found.changed[:SHOWN]:
        lines.append(f"~ row {row.before:,}" + (f" (now {row.after:,})" if row.after != row.before else ""))
        for cell in row.cells:
            lines.append(f"    {one_line(cell.column, 30)}")
            before, after = _around(cell.before, cell.after)
            lines += [f"    - {before}"] if cell.had else []
            lines += [f"    + {after}"] if cell.has else []
    for sign, indices, rows in (("-", found.dropped, first), ("+", found.added, second)):
        for index in indices[:SHOWN]:
            text = "  ".join(
                f"{one_line(key, 20)}: {one_line(masked(one_line(cell, 4000)), 60)}"
                for key, cell in list(rows[index].items())[:3]
            )
            lines.append(f"{sign} row {index:,}  {text}")
    hidden = sum(max(0, len(some) - SHOWN) for some in (found.changed, found.dropped, found.added))
    return "\n".join(lines + ([f"… and {hidden:,} more; --json has up to 100 of each"] if hidden else []))


def _around(before: Any, after: Any) -> tuple[str, str]:
    """Two values from a little before the place where they begin to differ; line ends and last blanks are visible,
    personal data and secrets are masked."""
    whole = [value if isinstance(value, str) else one_line(value, 4000) for value in (before, after)]
    texts = [masked(text) for text in whole]
    if texts[0] == texts[1] and whole[0] != whole[1]:
        texts[1] += " (differs in what is masked)"
    shortest = min(map(len, texts))
    differ = next((place for place in range(shortest) if texts[0][place] != texts[1][place]), shortest)
    start = max(0, differ - 40)
    shown = []
    for text in texts:
        part = text[start : start + 400].replace("\n", "⏎").replace("\t", "→")
        kept = part.rstrip(" ")
        part = kept + "·" * (len(part) - len(kept))
        shown.append(("…" if start else "") + one_line(part, 110))
    return shown[0], shown[1]


# -- repairs and files -----------------------------------------------------------------------------------------------
def _repair_and_export(subject: Subject, arguments: argparse.Namespace, out: Out) -> int:
    value: dict[str, Any] = {}
    lines: list[str] = []
    dataset = subject.rows()[0] if not arguments.repair else None
    if arguments.repair:
        from ftstudio.cli.repairing import Repairing
        from ftstudio.data.versions import store

        repairing = Repairing.asked(subject.pending(), arguments)
        made, done = repairing.done(arguments.why)
        if made is not None:
            value |= {"version": made.name, "path": str(made.path), "counts": made.about["counts"]}
            lines.append(f"{made.name}: {number(made.about['rows'])} rows, in {made.path}")
        else:
            lines.append("There was nothing to repair; no version was made.")
            value["version"] = None
        value |= {"repairs": done, **repairing.plain()}
        lines += [*repairing.told(), *(f"  {repair['text']}" for repair in done)]
        dataset = store.open_version(made)[0] if made is not None else subject.rows()[0]
    if arguments.export:
        from ftstudio.data.versions.export import export

        assert dataset is not None
        written = export(dataset, Path(arguments.export).expanduser(), force=arguments.force)
        value |= {"export": written.plain()}
        lines.append(f"{written.path}: {number(written.rows)} rows, {size(written.bytes)}, {written.format}")
        lines += [f"  ▲ {note}" for note in written.notes]
    out.result(value, "\n".join(clean(line) for line in lines))
    return 0
