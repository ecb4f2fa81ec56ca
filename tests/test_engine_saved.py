"""What a saved model must bring so that others get from it what the studio got: its beginning, its new rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_encoders import make_pairs, make_seq2seq, save_unigram
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.answering import decoding_of
from ftstudio.engine.export import card, export
from ftstudio.engine.generation import generate
from ftstudio.engine.materials import open_materials
from ftstudio.engine.models import recipe_of
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker
from ftstudio.tasks import beginning

pytest.importorskip("torch")
QUIET = {"every": 99, "samples": 0, "rows": 4, "forgetting": False, "max_new_tokens": 8}


def trained(values: dict[str, Any], place: Path) -> RunFolder:
    run = prepare_run(check_recipe(values | {"evaluation": QUIET}), Workspace(place))
    Worker().execute(Train(run.path))
    assert run.state() == "done", run.events()[-1]
    return run


@pytest.mark.parametrize("frame", ["$A </s> en_XX", "en_XX $A </s>"])  # mBART, mBART-50
@pytest.mark.parametrize("method", ["full", "lora"])
def test_transformers_begins_an_answer_as_the_studio_does(tmp_path: Path, method: str, frame: str) -> None:
    import torch
    import transformers

    base = make_seq2seq(tmp_path / "base", "MBart", decoder_start_token_id=1)
    save_unigram(base, languages=("en_XX", "de_DE"), frame=frame)
    rows = make_pairs(tmp_path / "pairs.jsonl", 20)
    values = recipe_values(base, rows, steps=20, save_steps=99, learning_rate=1e-2)
    values |= {"task": "seq2seq", "method": {"name": method}, "data": {"train": str(rows), "eval": 0.3}}
    values |= {"options": {"source_language": "en_XX", "target_language": "de_DE"}}
    run = trained(values, tmp_path / "studio")
    found = export(run, "merged", tmp_path / "out")
    materials = open_materials(recipe_of(run))
    prompt = materials.prompt(materials.examples(1)[0][1])
    begin = prompt.row["frame"]  # type: ignore[index]
    generation = json.loads((run.model / "generation_config.json").read_text())  # beside an adapter, too
    if method == "lora":
        assert "generation_config=GenerationConfig.from_pretrained" in card(run, recipe_of(run), "adapter")
    for folder in {Path(found["path"]), run.model if method == "full" else Path(found["path"])}:
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        if begin.start is not None:
            assert generation["decoder_start_token_id"] == model.config.decoder_start_token_id == begin.start
        else:
            assert generation["forced_bos_token_id"] == begin.forced
        told = json.loads((folder / "tokenizer_config.json").read_text())
        assert (told["src_lang"], told["tgt_lang"]) == ("en_XX", "de_DE")
        theirs = model.generate(input_ids=torch.tensor([prompt.ids]), max_new_tokens=8, num_beams=1)[0].tolist()
        decoding = decoding_of(recipe_of(run))
        [[ours]] = list(generate(model, [prompt.ids], decoding, materials.end_tokens, frame=begin))
        assert theirs[0] == model.generation_config.decoder_start_token_id
        written = theirs[1 if begin.forced is None else 2 :]
        assert [token for token in written if token != 1] == list(ours.token_ids)


def test_a_merged_model_that_begins_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_seq2seq(tmp_path / "base", "T5")
    save_unigram(base)
    rows = make_pairs(tmp_path / "pairs.jsonl", 20)
    values = recipe_values(base, rows, steps=2, save_steps=99) | {"task": "seq2seq", "method": {"name": "lora"}}
    run = trained(values | {"data": {"train": str(rows), "eval": 0.3}}, tmp_path / "studio")

    def spoil(folder: Path) -> None:
        told = json.loads((folder / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(json.dumps(told | {"decoder_start_token_id": 5}))

    monkeypatch.setattr(beginning, "into_config", spoil)
    with pytest.raises(StudioError, match="begins or writes an answer otherwise"):
        export(run, "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("whole", [["embed_tokens", "lm_head"], ["embed_tokens"], ["lm_head"]])
@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_learn_in_tables_that_learn_whole(tmp_path: Path, tied: bool, whole: list[str]) -> None:
    base = make_model(tmp_path / "base", tie_word_embeddings=tied)
    values = recipe_values(base, make_rows(tmp_path / "rows.jsonl"), steps=3, save_steps=99, learning_rate=1e-2)
    values |= {"method": {"name": "lora", "r": 4, "modules_to_save": whole}}
    values |= {"architecture": {"new_tokens": ["<tool>", "<call>"]}}
    if tied and whole == ["lm_head"]:
        run = prepare_run(check_recipe(values | {"evaluation": QUIET}), Workspace(tmp_path / "studio"))
        Worker().execute(Train(run.path))
        told = run.events()[-1]
        assert "can't learn apart from a head that learns whole" in told["text"]
        assert "Name both, [embed_tokens, lm_head]" in told["hint"]
        return
    run = trained(values, tmp_path / "studio")
    assert run.events()[-1]["reload_difference"] < 1e-4
    assert export(run, "merged", tmp_path / "out")["verified"]
