"""What a repair of the data did: error categories of the base, of the run before it and of the run after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.evaluation import statistics
from ftstudio.evaluation.categories import categorise
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.pairing import pair
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.similarity import Embedder

BASE, EARLIER, NOW = "base", "earlier", "now"


def before_after(
    arms: Mapping[str, Sequence[Prediction]],
    context: Context,
    meant: Collection[str],
    *,
    trained_on: Collection[str] = (),
    embedder: Embedder | None = None,
    resamples: int = statistics.RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """ARMS (EARLIER and NOW, and BASE where there are its answers) on the rows they share, by category.

    MEANT are the categories that the repair was to fix, TRAINED_ON prompts that the repair put into the training rows:
    rows that ask them are left out. Differences are NOW minus the other, with a paired 95 % interval over the rows, and
    McNemar's p after Holm over the categories. Raises StudioError where no row is shared.
    """
    now = arms[NOW]
    tables = {name: _under_numbers_of(now, rows) for name, rows in arms.items()}
    shared = [row.row for row in now if all(row.row in table for table in tables.values())]
    known = set(trained_on)
    order = [row for row in shared if tables[NOW][row].prompt not in known]
    if not order:
        raise StudioError("The runs have no held-out row in common.", "Let both answer the same rows: ftstudio errors.")
    found = {
        name: categorise([table[row] for row in order], context, references=False, embedder=embedder)
        for name, table in tables.items()
    }
    nothing: list[dict[str, float]] = [{}] * len(order)

    def entries(before: str) -> dict[str, dict[str, Any]]:
        both = (found[before], found[NOW])
        _, made = pair((before, NOW), (nothing, nothing), {}, [], both, ((), resamples, seed))
        return {entry["name"]: entry for entry in made}

    since = entries(EARLIER)
    from_base = entries(BASE) if BASE in found else {}
    categories = []
    for name, entry in since.items():
        base = from_base.get(name)
        categories.append(
            {
                "name": name,
                "title": entry["title"],
                "meant": name in meant,
                BASE: base["a"] if base else None,
                EARLIER: entry["a"],
                NOW: entry["b"],
                "n": entry["n"],
                "since_earlier": _step(entry),
                "since_base": _step(base) if base else None,
                "reason": entry["reason"],
            }
        )
    categories.sort(key=lambda entry: (not entry["meant"], -(entry[EARLIER] or 0.0), -(entry[BASE] or 0.0)))
    return {
        "rows": len(order),
        "left_out": len(shared) - len(order),
        "meant": sorted(meant),
        "categories": categories,
        "verdicts": [_verdict(entry) for entry in categories if entry["meant"]],
    }


def _under_numbers_of(now: Sequence[Prediction], rows: Sequence[Prediction]) -> dict[int, Prediction]:
    """ROWS by the numbers that the same questions have in NOW: a repaired version numbers its rows anew."""
    waiting: dict[tuple[str, str | None], list[Prediction]] = {}
    for row in rows:
        waiting.setdefault((row.prompt, row.reference), []).append(row)
    found = {}
    for here in now:
        same = waiting.get((here.prompt, here.reference))
        if same:
            found[here.row] = replace(same.pop(0), row=here.row)
    return found


def _step(entry: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("difference", "low", "high", "p_holm", "verdict", "fixed", "broke")
    return {key: entry[key] for key in keys}


def _verdict(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the repair did to a category what it was meant to, in words."""
    step = entry["since_earlier"]
    if entry["reason"] or step["difference"] is None:
        return {"name": entry["name"], "did": None, "words": f"{entry['title']}: can't be judged: {entry['reason']}."}
    points, low, high = (100 * step[key] for key in ("difference", "low", "high"))
    told = (
        f"{100 * entry[EARLIER]:.1f} % → {100 * entry[NOW]:.1f} % ({points:+.1f} points, 95 % interval {low:+.1f} to "
        f"{high:+.1f}; {len(step['fixed'])} {'row' if len(step['fixed']) == 1 else 'rows'} fixed, "
        f"{len(step['broke'])} broken)"
    )
    base = entry["since_base"]
    against = ""
    if base is not None and base["difference"] is not None:
        against = f" Against the base {100 * base['low']:+.1f} to {100 * base['high']:+.1f} points."
    if entry["n"] < statistics.FEWEST:
        did, words = None, f"no verdict on {entry['n']} rows"
    elif step["verdict"] == "better":
        did, words = True, "the repair did what it was meant to"
    elif step["verdict"] == "worse":
        did, words = False, "it got worse"
    elif step["verdict"] == "not judged":
        did, words = None, "a hint to look at rows, no verdict"
    elif not entry[EARLIER]:
        did, words = None, "the run before had none of it"
    else:
        did, words = None, "no clear difference to the run before"
    return {"name": entry["name"], "did": did, "words": f"{entry['title']}: {words}: {told}.{against}"}


def text(report: Mapping[str, Any], earlier: str, now: str) -> str:
    """REPORT of the runs EARLIER and NOW for people."""
    from ftstudio.core.text import clean

    lines = [f"Before and after, on {report['rows']} held-out rows: base, {clean(earlier)}, {clean(now)}"]
    if report["left_out"]:
        lines.append(f"  {report['left_out']} rows are left out: they are training rows now")
    lines.append(f"  {'':<18}{'base':>8}{'earlier':>9}{'now':>8}   now - earlier, 95 %       fixed broken  Holm p")
    for entry in report["categories"]:
        if entry["reason"] or not any(entry[arm] for arm in (BASE, EARLIER, NOW)):
            continue
        step = entry["since_earlier"]
        mark = "▸" if entry["meant"] else " "
        p = "–" if step["p_holm"] is None else f"{step['p_holm']:.3f}"
        interval = f"{100 * step['difference']:+6.1f} [{100 * step['low']:+.1f}, {100 * step['high']:+.1f}]"
        lines.append(
            f"{mark} {clean(entry['title'])[:17]:<18}{_share(entry[BASE]):>8}{_share(entry[EARLIER]):>9}"
            f"{_share(entry[NOW]):>8}   {interval:<24}{len(step['fixed']):>6}{len(step['broke']):>7}  {p:>6}"
        )
    lines += [f"  {verdict['words']}" for verdict in report["verdicts"]]
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
