"""Pictures and text to text: what the model is fed held against its own processor, and the loop to the answers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tiny_pictures import KINDS, make_picture, make_shell, make_vlm

from ftstudio import tasks
from ftstudio.core.jobs import Compare, Train
from ftstudio.core.workspace import Workspace
from ftstudio.data import looked
from ftstudio.data.chat import ChatTemplate, parts_of
from ftstudio.data.encode import IGNORED
from ftstudio.data.example import BadRow, Example, Turn
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.engine.collate import split
from ftstudio.engine.materials import open_materials
from ftstudio.engine.plan import plan
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker
from ftstudio.evaluation.predictions import read_predictions

pytest.importorskip("torch")
pytest.importorskip("PIL")
SOME = [pytest.param(kind, marks=[] if kind == "llava" else [pytest.mark.slow]) for kind in KINDS]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 210)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in a folder, and rows of turns that name one or two of them."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (name, colour) in enumerate(COLOURS.items()):
        make_picture(folder / "photos" / f"{name}.png", colour, (40 + 30 * number, 30))
    rows = []
    for number in range(24):
        one, two = sorted(COLOURS)[number % 3], sorted(COLOURS)[(number + 1) % 3]
        if number % 2:
            turns = [("user", "<image>Which colour?"), ("assistant", one)]
            pictures = [f"photos/{one}.png"]
        else:
            turns = [("user", "First <image>"), ("assistant", one), ("user", "and then <image>?"), ("assistant", two)]
            pictures = [f"photos/{one}.png", f"photos/{two}.png"]
        rows.append({"messages": [{"role": role, "content": text} for role, text in turns], "images": pictures})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.parametrize("kind", SOME)
def test_rows_and_batches_are_what_the_models_own_processor_makes(place: Path, tmp_path: Path, kind: str) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    from ftstudio.tasks.picture_reader import joined, reader_of

    model_folder = make_vlm(tmp_path / kind, kind)
    tokenizer = load_tokenizer(str(model_folder))
    dataset = open_dataset(str(place / "rows.jsonl"))
    shape = recognise(dataset, task="image-text-to-text")
    template = Template.resolve("chat", tokenizer, shape)
    task: Any = tasks.get("image-text-to-text").grounded(dataset, shape, lambda: [], tokenizer, 512, 0, (place,))
    encoded = task.encode_dataset(dataset, shape, template, tokenizer, 512)
    assert not encoded.excluded
    reader = reader_of(model_folder)
    shown = Example(
        (Turn("user", "Show it"), Turn("assistant", "Here: <image> it is")), {"images": [f"photos/{min(COLOURS)}.png"]}
    )
    [row] = task.rows_of(shown, template, tokenizer, 512)  # a picture in an answer is read, not written
    assert any(token in reader.ids for token in row["input_ids"])
    said = tokenizer.decode([token for token in row["labels"] if token != IGNORED], skip_special=False)
    assert said.split("</s>")[0] == "Here:  it is"
    processor = reader.processor
    batch = task.collate([encoded[0], encoded[1]], 258)
    pixels = joined(batch["inputs"]["pictures"])
    texts, pictures = [], []
    for row in (dataset[0], dataset[1]):
        messages = [{**turn, "content": parts_of(turn["content"])} for turn in row["messages"]]
        texts.append(processor.apply_chat_template(messages, chat_template=tokenizer.chat_template))
        pictures.append([looked.load(str(place / name)) for name in row["images"]])
    wanted = processor(text=texts, images=pictures, padding=True, return_tensors="pt", padding_side="right")
    for index in range(2):
        ids = wanted["input_ids"][index][wanted["attention_mask"][index].bool()].tolist()
        row = encoded[index]
        # the white space after the last end of turn is no part of what is learnt
        assert row["input_ids"] == ids[: len(row["input_ids"])]
        assert tokenizer.decode(ids[len(row["input_ids"]) :]).strip() == ""
        learnt = tokenizer.decode([token for token in row["labels"] if token != IGNORED], skip_special=False)
        answers = [turn["content"] for turn in dataset[index]["messages"] if turn["role"] == "assistant"]
        assert learnt.split("</s>")[:-1] == answers
    for name, value in pixels.items():
        assert torch.equal(value.float(), wanted[name].float()), name
    model = AutoModelForImageTextToText.from_pretrained(model_folder).eval()
    with torch.no_grad():
        said = task.outputs(model, batch["inputs"])
        loss = task.loss(said, batch) / (batch["targets"] != IGNORED).sum()
        labels = torch.full_like(batch["inputs"]["input_ids"], IGNORED)
        for index in range(2):
            labels[index, : len(encoded[index]["labels"])] = torch.tensor(encoded[index]["labels"])
        whole = {name: value for name, value in wanted.items() if name not in ("input_ids", "attention_mask")}
        width = labels.shape[1]
        whole = {name: value[:, :width] if name.endswith("type_ids") else value for name, value in whole.items()}
        given = {name: batch["inputs"][name] for name in ("input_ids", "attention_mask")}
        oracle = model(**given, **whole, labels=labels).loss
    assert float(loss) == pytest.approx(float(oracle), rel=1e-4)
    three = task.collate([encoded[at] for at in range(3)], 258)  # in parts each row keeps its own pictures
    with torch.no_grad():
        each = [float(task.loss(task.outputs(model, part["inputs"]), part)) for part in split(three, 3)]
        assert sum(each) == pytest.approx(float(task.loss(task.outputs(model, three["inputs"]), three)), rel=1e-4)


@pytest.mark.parametrize("kind", SOME)
def test_an_adapter_goes_where_the_recipe_says(tmp_path: Path, kind: str) -> None:
    """On the language side, the vision side or both; without weights."""
    import torch

    from ftstudio import methods

    method = methods.get("lora")
    found = {}
    for part in ("language", "vision", "both"):
        with torch.device("meta"):
            model: Any = method.apply(make_shell(tmp_path, kind), method.settings({"r": 4, "part": part}), None)
        found[part] = {name for name, weight in model.named_parameters() if weight.requires_grad}
    sees = {name for name in found["both"] if ".visual." in name or "vision" in name}
    assert found["vision"] >= sees > set()
    assert found["language"]
    assert not found["language"] & found["vision"]
    assert found["both"] == found["language"] | found["vision"]


def test_marks_and_pictures_must_agree() -> None:
    turns = (Turn("system", "s"), Turn("user", "what?"), Turn("assistant", "this"))
    example = Example(turns, {})
    assert looked.placed(example, 2).messages[1].content == "<image><image>what?"
    marked = Example((Turn("user", "a <image> b <image>"), Turn("assistant", "c")), {})
    assert looked.placed(marked, 2) == marked
    with pytest.raises(BadRow, match="2 marks <image> for 1 picture"):
        looked.placed(marked, 1)


def test_a_template_that_reads_parts_gets_parts() -> None:
    part = "{% if p['type'] == 'image' %}[I]{% else %}{{ p['text'] }}{% endif %}"
    source = "{% for m in messages %}{% for p in m['content'] %}" + part + "{% endfor %}|{% endfor %}"
    template = ChatTemplate(source, {}, ())
    assert template.render([{"role": "user", "content": "see <image> now"}]) == "see [I] now|"
    assert template.render([{"role": "user", "content": "no picture"}]) == "no picture|"


def test_missing_and_broken_pictures_are_told_by_row(place: Path, tmp_path: Path) -> None:
    model = make_vlm(tmp_path / "model", "llava")
    (tmp_path / "broken.png").write_bytes((place / "photos" / "red.png").read_bytes()[:60])
    make_picture(tmp_path / "good.png", (9, 9, 200))
    names = ["good.png", "gone.png", "broken.png", "http://x/y.png", *["good.png"] * 20]
    turns = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "blue"}]
    rows = [{"images": [name], "messages": turns} for name in names]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = check_recipe({
        "task": "image-text-to-text", "model": str(model),
        "data": {"train": str(tmp_path / "rows.jsonl"), "eval": None},
    })  # fmt: skip
    materials = open_materials(recipe)
    encoded = materials.task.encode_dataset(
        materials.train, materials.shape, materials.template, materials.tokenizer, 512
    )
    told = dict(encoded.excluded)
    assert sorted(told) == [1, 2, 3]
    assert told[1] == "the picture gone.png isn't there"
    assert "broken.png can't be read" in told[2]
    assert "nothing is fetched" in told[3]
    small = materials.task.encode_dataset(materials.train, materials.shape, materials.template, materials.tokenizer, 20)
    assert "a picture can't be cut" in dict(small.excluded)[0]
    told = next(one for one in plan(recipe)["problems"] if one["severity"] == "error")
    assert "gone.png" in told["text"]
    assert told["key"] == "data.accepted"


def test_another_picture_under_the_same_name_is_asked_about_again(tmp_path: Path) -> None:
    from ftstudio.tasks.base import Prompt

    picture = tmp_path / "a.png"

    def identity(content: bytes) -> Any:
        picture.write_bytes(content)
        os.utime(picture, ns=(1, len(content)))
        return Prompt([1], "", "", {"pictures": [str(picture)]}, looked.state([str(picture), b"own"])).identity

    assert identity(b"one") == identity(b"two")  # size and time alike: as good as the same
    assert identity(b"one") != identity(b"longer")
    assert Prompt([1], "", "", {"a": 1}).identity == '{"a": 1}'  # what is remembered of other tasks stays known
    picture.unlink()
    with pytest.raises(BadRow, match="missing"):
        looked.state([str(picture)])


@pytest.mark.slow
def test_from_files_to_answers(place: Path, tmp_path: Path) -> None:
    """Trained, saved, reloaded, compared; the tuned arm's answers are those of transformers alone."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    from ftstudio.tasks.picture_reader import reader_of

    folder = make_vlm(tmp_path / "model", "idefics3")
    recipe = check_recipe({
        "task": "image-text-to-text", "model": str(folder), "method": {"name": "lora", "r": 4, "part": "both"},
        "data": {"train": str(place / "rows.jsonl"), "eval": 0.25, "max_length": 400},
        "training": {"steps": 2, "batch_size": 3, "learning_rate": 0.02, "device": "cpu", "precision": "fp32"},
        "evaluation": {"every": 2, "rows": 3, "samples": 1, "max_new_tokens": 5, "metrics": ["rouge"]},
    })  # fmt: skip
    run, worker = prepare_run(recipe, Workspace(tmp_path / "studio")), Worker()
    worker.execute(Train(run.path))
    assert run.state() == "done", run.events()[-1]
    worker.execute(Compare(run.compare.path, (run.path,), None))
    assert run.compare.state() == "done", run.compare.events()[-1]
    assert (run.model / "preprocessor_config.json").is_file()
    trained = load_file(run.model / "adapter_model.safetensors")
    assert any("vision_model" in name for name in trained)
    assert any("text_model" in name for name in trained)
    materials = open_materials(load_recipe(run.recipe_path))
    base = AutoModelForImageTextToText.from_pretrained(folder)
    model = PeftModel.from_pretrained(base, str(run.model)).eval()
    processor = reader_of(folder).processor
    answers = {row.row: row.output for row in read_predictions(run.compare.path / f"{run.name}.jsonl")}
    assert answers
    for row, example in materials.examples(3):
        messages = [{"role": turn.role, "content": parts_of(turn.content)} for turn in example.messages[:-1]]
        text = processor.apply_chat_template(
            messages, chat_template=materials.tokenizer.chat_template, add_generation_prompt=True
        )
        marks = text.count("<image>")
        pictures = [looked.load(str(place / name)) for name in example.fields["images"][:marks]]
        inputs = processor(text=[text], images=[pictures], return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**inputs, do_sample=False, max_new_tokens=5, eos_token_id=257, pad_token_id=258)
        new = out[0, inputs["input_ids"].shape[1] :].tolist()
        new = new[: new.index(257)] if 257 in new else new
        assert answers[row] == materials.tokenizer.decode(new, skip_special=False)
