"""The whole circle on the bundled demo, by the real command: errors, a run, the faulty training rows repaired, a second
run, and what that did, category by category."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_demo_loop import ftstudio

from ftstudio import demo
from ftstudio.core.files import read_lines

FAULTS = ("misspelling", "format")  # what the demo's training data holds on purpose


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_from_the_base_models_errors_to_a_repaired_version_and_a_run_that_has_fewer(tmp_path: Path) -> None:
    place = ("--workspace", str(tmp_path / "studio"), "--json")
    ended = ftstudio("errors", "demo", *place, seconds=1200)
    assert ended.returncode == 0, ended.stderr
    base = {entry["name"]: entry["rate"] for entry in json.loads(ended.stdout)["categories"]}
    assert min(base[name] for name in FAULTS) > 0.2
    ended = ftstudio("train", "demo", *place, seconds=1800)
    assert ended.returncode == 0, ended.stderr
    first = json.loads(ended.stdout)["run"]
    ended = ftstudio("errors", first, "--repair", ",".join(FAULTS), "--train", *place, seconds=1800)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    planted = {name: {f["row"] for f in json.loads(demo.FAULTS.read_text()) if f["kind"] == name} for name in FAULTS}
    found = {one["category"]: set(one["rows"]) for one in report["repairs"]}
    for name in FAULTS:  # a misspelt row may break the format, too, and is dropped once
        assert planted[name] <= set().union(*found.values())
    assert set().union(*found.values()) <= set().union(*planted.values()) | found["misspelling"]
    version = tmp_path / "studio" / "datasets" / "demo" / "1"
    kept = {row["completion"] for row in read_lines(version / "rows.jsonl")}
    wrong = [
        row["completion"] for place, row in enumerate(read_lines(demo.TRAIN)) if place in set().union(*planted.values())
    ]
    assert not kept & set(wrong)
    after = report["before_after"]
    assert (after["earlier"], after["run"], after["version"]) == (first, report["run"], "demo@1")
    assert after["rows"] == len(read_lines(demo.EVAL))
    assert after["meant"] == sorted(FAULTS)
    for entry in after["categories"]:
        if entry["name"] in FAULTS:
            assert entry["since_base"]["high"] < 0  # it fell, and the interval excludes zero
            assert entry["now"] < base[entry["name"]] / 2
            assert (
                entry["since_earlier"]["low"] <= entry["since_earlier"]["difference"] <= entry["since_earlier"]["high"]
            )
