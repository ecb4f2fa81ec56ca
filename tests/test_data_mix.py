"""Several sources as one: exact shares, the same every time, every row knows where it is from, and all are trained."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.files import read_lines
from ftstudio.core.jobs import Train
from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.data.dataset import Row
from ftstudio.data.mix import SOURCE, epoch_counts, shares
from ftstudio.data.read import open_dataset
from ftstudio.data.versions.actions import drop, set_cell, weigh
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.shelf import Shelf
from ftstudio.engine.accepting import errors_of_rows
from ftstudio.engine.by_source import by_source
from ftstudio.engine.materials import Materials, open_materials
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path, Path]:
    """30 rows of questions, 60 of Alpaca, 40 lines of running text."""
    asked = write(tmp_path / "asked.jsonl", [{"question": f"q {n}?", "answer": f"a {n}"} for n in range(30)])
    told = write(tmp_path / "told.jsonl", [{"instruction": f"do {n}", "output": f"done {n}"} for n in range(60)])
    text = tmp_path / "general.txt"
    text.write_text("".join(f"line {n} of a long story about the sea\n" for n in range(40)))
    return asked, told, text


def recipe_of(train: Any, **data: Any) -> Recipe:
    return check_recipe({"model": "demo", "data": {"train": train, **data}})


def opened(train: Any, **data: Any) -> Materials:
    return open_materials(recipe_of(train, **data))


def counted(materials: Materials) -> Counter[str]:
    return Counter(row[SOURCE] for row in materials.train.iter())


# -- shares ----------------------------------------------------------------------------------------------------------
def test_shares_follow_weights_or_temperature() -> None:
    assert shares([10, 30], None, None) == [0.25, 0.75]
    assert shares([10, 30], None, 1.0) == [0.25, 0.75]
    assert shares([10, 1000], [1.0, 3.0], None) == [0.25, 0.75]
    assert shares([100, 400], None, 2.0) == [pytest.approx(1 / 3), pytest.approx(2 / 3)]  # √100 : √400
    assert shares([100, 400], None, 1e9)[0] == pytest.approx(0.5)
    with pytest.raises(UsageError, match="None of the sources"):
        shares([0, 0], None, None)


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0.1, 9)), min_size=1, max_size=5), st.data())
def test_an_epoch_has_just_the_rows_it_should(sources: list[tuple[int, float]], data: st.DataObject) -> None:
    counts, weights = [count for count, _ in sources], [weight for _, weight in sources]
    wanted = shares(counts, weights, None)
    rows = data.draw(st.none() | st.integers(1, 2000))
    found = epoch_counts(counts, wanted, rows)
    if rows is not None:
        assert sum(found) == rows
        assert all(abs(count - rows * share) <= 1 for count, share in zip(found, wanted, strict=True))
    else:
        assert all(count <= there for count, there in zip(found, counts, strict=True))
        assert any(count >= there - 1 for count, there in zip(found, counts, strict=True))
    assert epoch_counts(counts, shares(counts, None, None), None) == counts


# -- from a recipe to rows -------------------------------------------------------------------------------------------
def test_all_rows_of_all_sources_each_mapped_in_its_own_way(sources: tuple[Path, Path, Path]) -> None:
    asked, told, _ = sources
    materials = opened([str(asked), str(told)], eval=0.1)
    assert materials.held_out is not None
    assert len(materials.train) == 81
    assert len(materials.held_out) == 9
    assert counted(materials) + Counter(row[SOURCE] for row in materials.held_out.iter()) == {"asked": 30, "told": 60}
    for index in range(len(materials.train)):
        row = materials.train[index]
        example = materials.shape.example(row)
        wanted = (row["question"], row["answer"]) if row[SOURCE] == "asked" else (row["instruction"], row["output"])
        assert (example.prompt, example.reference) == wanted
    assert [source.name for source in materials.sources] == ["asked", "told"]
    held = {json.dumps(row) for row in materials.held_out.iter()}
    assert not any(json.dumps(row) in held for row in materials.train.iter())


def test_each_source_has_an_instruction_of_its_own(sources: tuple[Path, Path, Path]) -> None:
    asked, told, _ = map(str, sources)
    train = [{"path": asked, "instruction": "Answer shortly:"}, {"path": told, "instruction": "Do it."}]
    materials = opened(train, eval=0.1, template="alpaca")
    for index in range(len(materials.train)):
        row = materials.train[index]
        example = materials.shape.example(row)
        first = f"Answer shortly: {row['question']}" if row[SOURCE] == "asked" else f"Do it.\n{row['instruction']}"
        assert example.prompt == first
        assert first in materials.template.text(example)
    with pytest.raises(UsageError, match=r"data\.train\.0\.instruction: a model of the task causal-lm"):
        open_materials(check_recipe({"task": "causal-lm", "model": "demo", "data": {"train": train}}))


def test_rows_of_a_test_or_held_out_file_are_mapped_and_asked_as_the_sources_are(
    sources: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    asked, told, _ = map(str, sources)
    held = write(tmp_path / "held.jsonl", [{"instruction": "do 3", "output": "done 3"}])
    more = write(tmp_path / "more.jsonl", [{"question": f"q {n}?", "answer": f"a {n}"} for n in (5, 90)])
    rest = write(tmp_path / "rest.jsonl", [{"question": "q 91?", "answer": "a 91"}])
    both = str(tmp_path / "[mr]*[et].jsonl")
    assert len(open_dataset(both).files) == 2, (more, rest)
    train = [{"path": asked, "instruction": "Answer:"}, {"path": told, "instruction": "Do:"}]
    materials = opened(train, eval=str(held), test=both)
    assert [example.prompt for _, example in materials.examples()] == ["Do: do 3"]
    assert any("data.eval are asked with the instruction of told" in note for note in materials.notes)
    tested = [example.prompt for _, example in materials.on("test").examples()]
    assert tested == ["Answer: q 5?", "Answer: q 90?", "Answer: q 91?"]
    assert [check.count for check in errors_of_rows(materials)] == [1, 1]  # `do 3`; `q 5?`
    clean = opened(train, eval=str(held), test=both, split_by={"leak_aware": True})
    assert clean.report["leaks_eval"] >= 1
    assert clean.report["leaks_test"] >= 1
    assert not {"do 3", "q 5?"} & {str(row.get("question", row.get("instruction"))) for row in clean.train.iter()}


def test_weights_caps_and_temperature_say_what_an_epoch_holds(sources: tuple[Path, Path, Path]) -> None:
    asked, told, _ = map(str, sources)
    even = opened([{"path": asked, "weight": 1}, {"path": told, "weight": 1}], eval=None)
    assert counted(even) == {"asked": 30, "told": 30}
    assert "told: each epoch draws other rows" in even.notes[-1]
    assert len({json.dumps(row) for row in even.train.iter()}) == 60  # none twice
    more = opened([{"path": asked, "weight": 3}, {"path": told, "weight": 1}], eval=None, mix={"rows": 80})
    assert counted(more) == {"asked": 60, "told": 20}
    assert "in every epoch" not in " ".join(opened([asked, told], eval=None).notes)
    assert set(Counter(row["question"] for row in more.train.iter() if row[SOURCE] == "asked").values()) == {2}
    cap = opened([{"path": asked, "cap": 5, "name": "few"}, told], eval=None)
    assert counted(cap) == {"few": 5, "told": 60}
    warm = opened([asked, told], eval=None, mix={"temperature": 1000, "rows": 40})
    assert counted(warm) == {"asked": 20, "told": 20}
    assert "50 %" in " ".join(warm.notes)
    assert warm.report["epoch"] == {"asked": 20, "told": 20}
    with pytest.raises(UsageError, match="both set the shares"):
        opened([{"path": asked, "weight": 1}, told], mix={"temperature": 2})


def test_the_same_seed_gives_the_same_order_and_another_another(sources: tuple[Path, Path, Path]) -> None:
    train = [{"path": str(sources[0]), "weight": 2}, {"path": str(sources[1]), "weight": 1, "cap": 20}]
    values: dict[str, Any] = {"model": "demo", "data": {"train": train}}
    one, again, other = (
        [json.dumps(row) for row in open_materials(check_recipe(values | {"training": {"seed": seed}})).train.iter()]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other
    names = [json.loads(row)[SOURCE] for row in one]
    assert names != sorted(names)  # a limit takes of both


def test_replay_has_its_share_and_is_never_held_out(sources: tuple[Path, Path, Path]) -> None:
    asked, told, text = map(str, sources)
    materials = opened([asked, told], eval=0.2, replay={"path": text, "share": 0.1})
    assert materials.held_out is not None
    assert {row[SOURCE] for row in materials.held_out.iter()} <= {"asked", "told"}
    counts = counted(materials)
    assert counts["general"] == 8  # of 72 + 8
    assert sum(counts.values()) == 80
    row = next(row for row in materials.train.iter() if row[SOURCE] == "general")
    assert materials.shape.example(row).is_text
    alone = opened(asked, eval=0.2, replay={"path": text, "share": 0.5})
    assert counted(alone) == {"asked": 24, "general": 24}


def test_what_is_wrong_with_a_source_is_told_with_its_key(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.jsonl", [{"foo": 1, "bar": 2}] * 3)
    with pytest.raises(UsageError, match=r"data\.train\.1: .*odd"):
        opened([str(sources[0]), str(odd)])
    with pytest.raises(StudioError, match="There is no file"):
        opened([str(sources[0]), str(tmp_path / "absent.jsonl")])
    with pytest.raises(UsageError, match="the very rows"):
        opened([str(sources[0]), str(sources[1])], eval=str(sources[1]))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 4), min_size=4, max_size=20), st.integers(0, 3))
def test_row_weights_are_how_often_a_row_is_trained(
    tmp_path_factory: pytest.TempPathFactory, weights: list[float], seed: int
) -> None:
    rows = [{"prompt": f"p{n}", "completion": "c", "_weight": weight} for n, weight in enumerate(weights)]
    path = write(tmp_path_factory.mktemp("weights") / "rows.jsonl", rows)
    recipe = check_recipe({"model": "demo", "data": {"train": str(path), "eval": None}, "training": {"seed": seed}})
    if all(weight == 0 for weight in weights):
        with pytest.raises(StudioError, match="weight 0"):
            open_materials(recipe)
        return
    if all(weight < 1 for weight in weights):  # the seed may draw none
        return
    times = Counter(row["prompt"] for row in open_materials(recipe).train.iter())
    for n, weight in enumerate(weights):
        assert int(weight) <= times[f"p{n}"] <= int(weight) + (weight != int(weight))


# -- splits in a recipe ----------------------------------------------------------------------------------------------
def test_a_recipe_splits_by_strata_and_groups_into_three(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "completion": "ab"[n % 4 == 0], "user": f"u{n % 25}"} for n in range(200)]
    path = str(write(tmp_path / "rows.jsonl", rows))
    materials = opened(path, eval=0.2, test=0.2, split_by={"stratify": "completion", "group": "user"})
    assert materials.held_out is not None
    assert materials.test is not None
    parts = [list(part.iter()) for part in (materials.train, materials.held_out, materials.test)]
    assert sum(map(len, parts)) == 200
    users = [{row["user"] for row in part} for part in parts]
    assert sum(map(len, users)) == len(users[0] | users[1] | users[2]) == 25
    assert materials.report["test"] == len(materials.test)
    assert "each 'user' on one side" in materials.split_note


def test_rows_that_nearly_equal_a_held_out_file_are_not_trained(tmp_path: Path) -> None:
    long = "the quick brown fox jumps over the lazy dog and then it sleeps for a long long while number"
    rows = [{"prompt": f"{long} {n} {chr(97 + n) * 40}", "completion": "c"} for n in range(20)]
    train = write(tmp_path / "train.jsonl", rows)
    held = write(tmp_path / "held.jsonl", [{"prompt": f"{rows[3]['prompt']}!", "completion": "c"}])
    assert len(opened(str(train), eval=str(held)).train) == 20
    materials = opened(str(train), eval=str(held), split_by={"leak_aware": True})
    assert len(materials.train) == 19
    assert rows[3]["prompt"] not in {row["prompt"] for row in materials.train.iter()}
    assert "1 rows that nearly equal" in materials.notes[0]


def test_the_held_out_loss_of_each_source_adds_up_to_that_of_all() -> None:
    rows: list[Any] = [{"input_ids": [1] * size, "labels": [1] * size} for size in (1, 2, 3, 4)]
    asked: list[int] = []

    def measure(part: Any) -> dict[str, float] | None:
        sizes = [len(row["labels"]) for row in part]
        asked.extend(sizes)
        loss = sum(size * size for size in sizes) / sum(sizes)  # a row of n tokens costs n nats a token
        return {"loss": loss, "perplexity": 0.0, "rows": len(sizes), "tokens": sum(sizes)}

    found = by_source(rows, ["a", "b", "a", "b"], measure)
    assert found is not None
    assert (found["loss"], found["rows"], found["tokens"]) == (3.0, 4, 10)
    assert found["sources"] == {"a": 10 / 4, "b": 20 / 6}
    assert sorted(asked) == [1, 2, 3, 4]
    assert "sources" not in (by_source(rows, ["a"] * 4, measure) or {})

    def tagged(part: Any) -> dict[str, float]:
        return {"loss": 1.0, "rows": len(part), "tokens": 2, "f1": float(len(part[0]["labels"]))}

    scored = by_source(rows, ["a", "b", "a", "b"], tagged)
    assert (scored or {})["source_scores"] == {"f1": {"a": 1.0, "b": 2.0}}

    def read(part: Any) -> dict[str, float]:
        told = measure(part) or {}
        nats = told["loss"] * told["tokens"]
        return told | {"bits_per_byte": nats / math.log(2) / (3 * told["tokens"])}  # three bytes a token

    texts = by_source(rows, ["a", "b", "a", "b"], read)
    assert (texts or {})["bits_per_byte"] == pytest.approx(30 / math.log(2) / 30)
    assert set((texts or {})["source_scores"]["bits_per_byte"]) == {"a", "b"}
    assert by_source(rows, ["a", "b", "a", "b"], lambda part: None) is None


# -- training --------------------------------------------------------------------------------------------------------
def test_a_mix_with_replay_trains_and_its_recipe_can_be_run_again(
    tmp_path: Path, sources: tuple[Path, Path, Path]
) -> None:
    model = make_model(tmp_path / "model")
    values = recipe_values(model, sources[0])
    train = [{"path": str(sources[0]), "weight": 1}, {"path": str(sources[1]), "weight": 1}]
    values["data"] = {"train": train, "eval": 0.2, "max_length": 128, "replay": {"path": str(sources[2]), "share": 0.2}}
    del values["training"]["steps"]
    values["training"] |= {"epochs": 1, "batch_size": 8}
    values["evaluation"] |= {"every": 100, "samples": 0}
    recipe = check_recipe(values)
    materials = open_materials(recipe)
    encoded = materials.task.encode_dataset(
        materials.train, materials.shape, materials.template, materials.tokenizer, 128
    )
    trained = Counter(materials.train[row][SOURCE] for row in encoded.rows)
    assert trained["asked"] == trained["told"] > 20
    assert trained["general"] == round(0.25 * (trained["asked"] + trained["told"]))
    run = prepare_run(recipe, Workspace(tmp_path / "studio"))
    Worker().execute(Train(run.path))
    events = read_lines(run.events_path)
    assert events[-1]["kind"] == "done", events[-1]
    assert events[-1]["tokens"] == encoded.stats.tokens  # of every row, once an epoch
    measured = [event for event in events if event["kind"] == "eval"]
    assert len(measured) == 2
    for event in measured:  # the replay is never held out
        assert event["sources"].keys() == {"asked", "told"}
        assert min(event["sources"].values()) <= event["loss"] <= max(event["sources"].values())
    start = next(event for event in events if event["kind"] == "start")
    assert start["rows"]["train"] == sum(trained.values())
    again = load_recipe(run.recipe_path)
    assert not isinstance(again.data.train, str)
    assert [(source.name, source.weight) for source in again.data.train] == [("asked", 1.0), ("told", 1.0)]
    assert again.data.train[0].columns is not None
    assert again.data.train[0].columns.prompt == "question"
    facts = (again.resolved or {})["data"]
    assert facts["sources"]["told"]["rows"] == 60
    assert facts["parts"]["epoch"]["asked"] == trained["asked"]
    repeated = open_materials(again)
    assert list(repeated.train.iter()) == list(materials.train.iter())
    sources[1].write_text(sources[1].read_text().replace("done 7", "done seven"))
    with pytest.raises(StudioError, match="has changed since"):
        open_materials(again)


def test_a_run_on_a_version_records_it_and_finds_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace()
    rows = make_rows(tmp_path / "tickets.jsonl")
    pending = Pending.of_source(Shelf.of(workspace), open_dataset(rows))
    pending.do(lambda working: drop(working, range(10)))
    pending.do(lambda working: set_cell(working, 0, "completion", "mended by hand"))
    pending.do(lambda working: weigh(working, range(30), to=2))
    version = pending.save("cleaned")
    make_model(tmp_path / "model")
    values = recipe_values(tmp_path / "model", rows)
    values["data"] |= {"train": "tickets@latest"}
    values["training"] |= {"steps": 2}
    recipe = check_recipe(values)
    run = prepare_run(recipe, workspace)
    assert run.name.startswith("tickets-1-lora")
    pending.do(lambda working: drop(working, [0]))
    pending.save("later")
    monkeypatch.setenv("FTSTUDIO_WORKSPACE", "/nowhere")
    again = load_recipe(run.recipe_path)
    assert again.data.train == version.address
    facts = (again.resolved or {})["data"]["train"]
    assert facts["version"] == "tickets@1"
    assert facts["sha256"] == version.about["sha256"]
    materials = open_materials(again)
    assert len(materials.whole) == 30
    assert len(materials.train) == 48  # 24 rows, twice
    assert "mended by hand" in {row["completion"] for row in materials.whole.iter()}
