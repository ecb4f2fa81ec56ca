"""Arms by name, and the examples that a few-shot arm is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_tokenizer

from ftstudio.core.arm import ArmSpec, parse, parse_all
from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.data.example import Example
from ftstudio.engine.materials import Materials, open_materials
from ftstudio.engine.shots import FewShot
from ftstudio.evaluation.similarity import load_embedder


def test_arms_are_read_as_they_are_written() -> None:
    assert parse("base") == ArmSpec("base", "base", "base", "base")
    assert parse("my-run@200") == ArmSpec("my-run@200", "my-run@200", "run", "my-run", 200)
    few = parse("tuned@40+2near")
    assert (few.target, few.step, few.shots, few.choice) == ("tuned", 40, 2, "near")
    assert parse("base+row4+row17+row4").rows == (4, 17)
    assert parse("base+1shot").shots == 1
    stored = parse("file:/tmp/a b/rival model.jsonl")
    assert (stored.kind, stored.target, stored.name) == ("file", "/tmp/a b/rival model.jsonl", "rival-model")
    server = parse("https://host:8000/v1/#org/model")
    assert (server.kind, server.target, server.model, server.name) == (
        "server", "https://host:8000/v1", "org/model", "org-model"
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "base@3", "run@x", "base+", "base+0shot", "base+33shot", "base+many", "base+row", "base+row1+2shot", "a/b",
        "http://host/v1", "http://key@host/v1#m", "https://host/v1?key=1#m", "two words", "file:",
    ],
)  # fmt: skip
def test_what_is_no_arm_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_comparison_has_two_to_four_arms_each_once() -> None:
    assert [spec.name for spec in parse_all(["base", "tuned"])] == ["base", "tuned"]
    for texts in (["base"], ["base", "base"], ["base", "a", "b", "c", "d"]):
        with pytest.raises(UsageError):
            parse_all(texts)
    with pytest.raises(ValueError, match="2 to 4"):
        Recipe.model_validate({"model": "demo", "data": {"train": "demo"}, "evaluation": {"arms": ["base"]}})


TOPICS = ("the cat sleeps", "a dog barks", "rain falls down", "trains run late", "bread is baked", "stars shine far")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shots")
    make_tokenizer(folder / "model")
    (folder / "model" / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 256}))
    rows = [{"prompt": f"{topic} {n}", "completion": f"A{n}"} for n in range(5) for topic in TOPICS]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def materials_of(place: Path, template: str = "plain", **data: Any) -> Materials:
    values = {
        "model": str(place / "model"),
        "data": {"train": str(place / "rows.jsonl"), "eval": 0.2, "template": template, **data},
    }
    return open_materials(Recipe.model_validate(values))


def few(materials: Materials, text: str, reads: int | None = None, room: int = 16) -> FewShot:
    return FewShot(materials, parse(text), reads, room, lambda: load_embedder("static", allow_torch=False))


def text_of(materials: Materials, ids: list[int]) -> str:
    return materials.tokenizer.decode(ids, skip_special=True)


def test_examples_stand_before_the_question_as_it_stands_alone(place: Path) -> None:
    materials = materials_of(place)
    shots = few(materials, "base+2shot")
    row, example = materials.examples()[0]
    prompt = shots.prompt(example)
    alone = materials.prompt(example)
    text = text_of(materials, prompt.ids)
    assert len(prompt.rows) == 2
    assert row not in prompt.rows
    held_out = {number for number, _ in materials.examples()}
    assert not held_out & set(prompt.rows)
    shown = [json.loads(line) for line in (place / "rows.jsonl").read_text().splitlines()]
    wanted = "".join(f"{shown[n]['prompt']}\n{shown[n]['completion']}\n\n" for n in prompt.rows)
    assert text == wanted + text_of(materials, alone.ids)
    assert prompt.reference == alone.reference
    assert shots.stop == "\n\n"
    again = few(materials, "base+2shot")
    assert [again.prompt(ex).rows for _, ex in materials.examples()] == [prompt.rows] * len(held_out)


def test_the_gap_is_one_that_no_answer_holds(place: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "completion": f"one\n\ntwo {n}"} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    materials = materials_of(place, train=str(tmp_path / "rows.jsonl"))
    assert few(materials, "base+1shot").stop == "\n\n\n"


def test_prompts_that_begin_alike_end_an_answer(place: Path) -> None:
    materials = materials_of(place, "alpaca")
    stop = few(materials, "base+1shot").stop
    assert stop is not None
    assert stop.startswith("\n\nBelow is an instruction")


def test_a_chat_template_makes_them_turns(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make_tokenizer(folder)
    (folder / "config.json").write_text((place / "model" / "config.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    values = {"model": str(folder), "data": {"train": str(place / "rows.jsonl"), "eval": 0.2, "template": "chat"}}
    materials = open_materials(Recipe.model_validate(values))
    shots = few(materials, "base+2shot")
    assert shots.stop is None
    text = text_of(materials, shots.prompt(materials.examples()[0][1]).ids)
    assert text.count("<user>") == 3
    assert text.count("<assistant>") == 3
    assert text.endswith("<assistant>")


def test_the_nearest_rows_come_last_and_the_question_itself_never(place: Path) -> None:
    materials = materials_of(place)
    shots = few(materials, "base+3near")
    for _, example in materials.examples():
        prompts = [materials.train[place]["prompt"] for place in range(len(materials.train))]
        rows = {materials.train.origin_of(place): prompts[place] for place in range(len(prompts))}
        shown = [rows[row] for row in shots.prompt(example).rows]
        assert shown[-1].rsplit(" ", 1)[0] == example.prompt.rsplit(" ", 1)[0]
        assert example.prompt not in shown


def test_a_leaked_row_is_never_shown(place: Path, tmp_path: Path) -> None:
    held = [json.loads(line) for line in (place / "rows.jsonl").read_text().splitlines()[:4]]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    materials = materials_of(place, eval=str(tmp_path / "held.jsonl"))
    for text in ("base+3near", "base+9shot", "base+row0+row1+row7"):
        shots = few(materials, text)
        for row, example in materials.examples():
            assert row not in shots.prompt(example).rows


def test_where_room_is_short_fewer_are_shown(place: Path) -> None:
    materials = materials_of(place)
    _, example = materials.examples()[0]
    alone = len(materials.prompt(example).ids)
    whole = few(materials, "base+3shot").prompt(example)
    reads = len(whole.ids) + 15  # a token short
    cut = few(materials, "base+3shot", reads).prompt(example)
    assert cut.rows == whole.rows[1:]
    assert few(materials, "base+3shot", alone + 16).prompt(example).rows == ()
    assert few(materials, "base+3shot", alone + 4).prompt(example).ids == materials.prompt(example).ids


def test_rows_given_by_number_must_be_training_rows(place: Path) -> None:
    materials = materials_of(place)
    train = [materials.train.origin_of(place) for place in range(2)]
    example: Example = materials.examples()[0][1]
    assert few(materials, f"base+row{train[1]}+row{train[0]}").prompt(example).rows == (train[1], train[0])
    held_out = materials.examples()[0][0]
    with pytest.raises(UsageError, match=f"row {held_out} is no training row"):
        few(materials, f"base+row{held_out}")
