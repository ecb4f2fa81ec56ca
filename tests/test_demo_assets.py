"""The bundled demo: small, made by its own scripts, disjoint in content, and loadable in every way it is used."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ftstudio import demo
from ftstudio.core.files import read_json, read_lines, write_json, write_lines
from ftstudio.demo import corpus, mails, tasks, words
from ftstudio.engine.recipes import load_recipe
from ftstudio.evaluation.similarity import STATIC, load_embedder

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ["Brevo kettle | leaks", "Grüße, 日本 🙂\n\ttabs  and\r\nlines", "", " led by a blank", "<s>?"]


def text_of(rows: list[dict[str, str]]) -> str:
    return "\n".join(row["prompt"] + "\n" + row["completion"] for row in rows)


def tracked_bytes(folder: Path) -> int:
    listed = subprocess.run(["git", "ls-files", "-z", str(folder)], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    return sum((ROOT / name).stat().st_size for name in listed.stdout.decode().split("\0") if name)


def test_sizes_stay_small() -> None:
    assert tracked_bytes(Path(demo.__file__).parent) <= 4_000_000
    assert tracked_bytes(STATIC) <= 3_000_000


def test_the_dataset_is_what_its_script_makes(tmp_path: Path) -> None:
    train, held_out, faults = tasks.dataset()
    write_lines(tmp_path / "train.jsonl", train)
    write_lines(tmp_path / "eval.jsonl", held_out)
    write_json(tmp_path / "faults.json", faults)
    for path in (demo.TRAIN, demo.EVAL, demo.FAULTS):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_the_general_text_is_what_its_script_makes_and_not_what_was_trained_on() -> None:
    text = demo.GENERAL.read_text()
    assert text == corpus.general()
    assert 20_000 <= len(text.encode()) <= 40_000
    trained = set(islice(corpus.texts(1), 3_000))
    assert not trained & set(text.strip().split("\n\n"))


def test_held_out_content_is_in_no_training_row() -> None:
    train, held_out = read_lines(demo.TRAIN), read_lines(demo.EVAL)
    assert len(train) == tasks.TRAIN_ROWS
    assert len(held_out) == tasks.EVAL_ROWS
    known, asked = tasks.content(text_of(train)), tasks.content(text_of(held_out))
    assert len(known) > 300
    assert len(asked) > 150
    assert not known & asked
    # the check itself sees content wherever it stands: every slot of a held-out answer
    for row in held_out:
        thing, problem, _, who = row["completion"].split(" | ")
        for part in (*thing.split(), *who.replace(",", "").split()):
            assert part in asked
        assert tasks.content(problem)


def test_held_out_answers_are_in_no_training_row_even_by_their_letters() -> None:
    trained = text_of(read_lines(demo.TRAIN)).lower()
    for row in read_lines(demo.EVAL):
        thing, problem, _, who = row["completion"].lower().split(" | ")
        for field in (thing, problem, who, *thing.split(), *re.findall(r"\w+", who)):
            assert not re.search(rf"\b{re.escape(field)}\b", trained), field


def test_the_two_sets_of_words_share_none() -> None:
    train, held_out = words.split()
    for name in words.Pools._fields:
        assert not set(getattr(train, name)) & set(getattr(held_out, name))
        assert len(getattr(held_out, name)) >= 8


def test_every_answer_can_be_read_from_its_prompt() -> None:
    for row in read_lines(demo.EVAL):
        thing, problem, urgency, who = row["completion"].split(" | ")
        assert all(part in row["prompt"] for part in (thing, problem, *who.split(", ")))
        cues = [level for level, said in mails.URGENCY.items() if any(cue in row["prompt"] for cue in said)]
        assert cues == [urgency]


def test_faults_are_listed_and_nothing_else_is_wrong() -> None:
    train = read_lines(demo.TRAIN)
    faults = {fault["row"]: fault for fault in read_json(demo.FAULTS) or []}
    kinds = {kind: {i for i, fault in faults.items() if fault["kind"] == kind} for kind in ("misspelling", "format")}
    assert len(kinds["misspelling"]) == tasks.MISSPELT
    assert len(kinds["misspelling"]) + len(kinds["format"]) == len(faults)
    # the old form has a sign to know it by, and is commoner under it than the right one, but not alone
    signed = {i for i, row in enumerate(train) if tasks.OLD_SIGN in row["prompt"]}
    assert kinds["format"] < signed
    assert len(kinds["format"]) == round(tasks.OLD_FORM * len(signed))
    assert len(signed - set(faults)) >= 8
    vocabulary = set(re.findall(r"\w+", " ".join(text_of([row]) for i, row in enumerate(train) if i not in faults)))
    for i, row in enumerate(train):
        right = re.fullmatch(tasks.CONTRACT, row["completion"]) is not None
        known = vocabulary | set(re.findall(r"\w+", row["prompt"]))
        spelt = set(re.findall(r"\b[a-z]+\b", row["completion"])) <= known
        if i not in faults:
            assert right
            assert spelt
            continue
        assert row["completion"] != faults[i]["right"]
        assert re.fullmatch(tasks.CONTRACT, faults[i]["right"])
        assert (right, spelt) == ((False, True) if faults[i]["kind"] == "format" else (right, False)), row


def test_the_misspellings_are_no_words() -> None:
    from spellchecker import SpellChecker

    speller = SpellChecker()
    assert not speller.known(words.MISSPELT.values())
    assert speller.unknown(words.MISSPELT) == {"apologise"}  # the list is American
    plain = {word for pool in words.EVERYTHING[4:] for word in pool}
    assert not speller.unknown(plain)


def test_the_pretraining_text_knows_no_name_of_the_task() -> None:
    names = {name for pool in words.EVERYTHING[:4] for name in pool}
    text = "\n".join(islice(corpus.texts(1), 3_000))
    found = set(re.findall(r"\b[A-Z][a-z]+\b", text))
    assert len(found) > 5_000
    assert not found & names


def test_the_untrained_model_copies_by_its_circuit() -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

    from ftstudio.demo.make_model import make_model

    tokenizer = Tokenizer.from_file(str(demo.MODEL / "tokenizer.json"))
    circuit = make_model(tokenizer).eval()
    random = LlamaForCausalLM(circuit.config).eval()
    draw = torch.Generator().manual_seed(0)
    said = torch.randint(3, tokenizer.get_vocab_size(), (8, 40), generator=draw)
    ids = torch.cat([said, said], dim=1)

    def copied(model: torch.nn.Module) -> float:
        with torch.no_grad():
            guesses = model(input_ids=ids).logits.argmax(-1)
        # from the second token of the repeat on: before it nothing tells that a repeat has begun
        return (guesses[:, 40:-1] == ids[:, 41:]).float().mean().item()

    assert copied(circuit) > 0.9
    assert copied(random) < 0.05


def test_no_document_has_the_form_of_a_ticket() -> None:
    ticket = re.compile(f"^{tasks.CONTRACT}$", re.MULTILINE)
    assert not [text for text in islice(corpus.texts(1), 5_000) if ticket.search(text)]


@pytest.mark.parametrize("text", TEXTS)
def test_both_tokenizer_loaders_agree_and_lose_nothing(text: str) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    plain = Tokenizer.from_file(str(demo.MODEL / "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(demo.MODEL)
    ids = plain.encode(text).ids
    assert auto(text)["input_ids"] == ids
    assert ids[0] == auto.bos_token_id
    assert None not in (auto.eos_token_id, auto.pad_token_id)
    if "<s>" not in text:
        assert plain.decode(ids[1:], skip_special_tokens=False) == text
        assert auto.decode(ids, skip_special_tokens=True) == text


def test_the_model_loads_and_has_learnt_to_copy() -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    from ftstudio.demo.make_model import bits_per_byte

    model = AutoModelForCausalLM.from_pretrained(demo.MODEL)
    assert model.dtype == torch.float32
    assert all(layer.in_features % 64 == 0 for layer in model.modules() if isinstance(layer, torch.nn.Linear))
    tokenizer = Tokenizer.from_file(str(demo.MODEL / "tokenizer.json"))
    documents = demo.GENERAL.read_text().split("\n\n")
    assert bits_per_byte(model, tokenizer, "\n\n".join(documents[:20])) < 0.75
    # names that were drawn after training: the second reading costs far less than the first
    said = "Voraka Limmert gave Tollum nine Perrisk"
    once, twice = (bits_per_byte(model, tokenizer, text) for text in (said, f"{said}\n{said}"))
    assert 2 * twice - once < 0.3 * once


def test_the_preset_is_a_recipe_with_every_part_of_the_demo() -> None:
    recipe = load_recipe(ROOT / "presets" / "demo.yaml")
    assert (recipe.model, recipe.data.train, recipe.method.name) == ("demo", "demo", "qlora")
    assert recipe.evaluation.format is not None
    assert recipe.evaluation.format.regex == tasks.CONTRACT


def test_the_static_embedding_is_the_same_in_sentence_transformers_and_in_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import socket

    from sentence_transformers import SentenceTransformer

    def connect(*address: object) -> None:
        raise AssertionError(f"the network was asked for {address}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    texts = ["The kettle leaks near the lid.", "a pot is dripping", "stock markets fell sharply", "日本"]
    theirs = SentenceTransformer(str(STATIC), device="cpu").encode(texts, normalize_embeddings=True)
    ours = load_embedder("static").encode(texts)
    assert np.allclose(theirs[:3], ours[:3], atol=2e-3)
    assert ours[0] @ ours[1] > ours[0] @ ours[2] + 0.1


def test_the_static_embedding_agrees_with_people(shared: Path) -> None:
    import csv

    from scipy.stats import spearmanr

    with open(shared / "data" / "stsb" / "stsb-en-test.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if len(row) == 3]
    embedder = load_embedder("static")
    left, right = (embedder.encode([row[i] for row in rows]) for i in (0, 1))
    assert spearmanr((left * right).sum(axis=1), [float(row[2]) for row in rows])[0] > 0.68


def test_weights_in_the_file_take_16_bits() -> None:
    for path in (demo.MODEL / "model.safetensors", STATIC / "model.safetensors"):
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F16"}
