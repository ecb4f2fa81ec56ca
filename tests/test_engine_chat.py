"""A conversation with base and tuned from one load: the answers are the models' own, history and settings count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML
from tiny_encoders import make_pairs, make_seq2seq, save_unigram
from tiny_models import make_model, make_rows, recipe_values
from tiny_tokenizers import byte_level

from ftstudio.core import files
from ftstudio.core.chatlog import ChatSettings, ChatTurn, Conversation, Reply, conversations
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Chat
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.data.example import Turn
from ftstudio.data.from_chat import keep, row_of
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.engine import chat
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker

pytest.importorskip("torch")
GREEDY = ChatSettings(max_new_tokens=12)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with a random adapter over a tiny model: nothing is trained here."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("chat")
    model, rows = make_model(folder / "model"), make_rows(folder / "rows.jsonl", 20)
    run = prepare_run(check_recipe(recipe_values(model, rows)), Workspace(folder / "studio"))
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(run.model)
    return run


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


def ask(
    worker: Worker, run: RunFolder, folder: Path, text: str, settings: ChatSettings = GREEDY
) -> tuple[ChatTurn, Conversation]:
    """Put TEXT to both, as the screen does, and wait for the answers."""
    conversation = Conversation(folder)
    while conversation.poll():
        pass
    conversation.ask(text, ("base", run.name), settings, "ann")
    worker.execute(Chat(folder, (run.path,)))
    while conversation.poll():
        pass
    return conversation.turns[-1], conversation


def alone(run: RunFolder, arm: str) -> Any:
    """The oracle: a load of ARM by transformers and peft alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(load_recipe(run.recipe_path).model)
    return model if arm == "base" else PeftModel.from_pretrained(model, str(run.model))


def own(run: RunFolder, model: Any, ids: Sequence[int]) -> str:
    """What MODEL writes behind IDS: greedy, twelve tokens."""
    import torch

    recipe = load_recipe(run.recipe_path)
    row = torch.tensor([list(ids)])
    out = model.generate(input_ids=row, attention_mask=torch.ones_like(row), do_sample=False, max_new_tokens=12,
                         eos_token_id=257, pad_token_id=258)[0, len(ids) :].tolist()  # fmt: skip
    return load_tokenizer(recipe.model).decode([token for token in out if token != 257], skip_special=False)


def test_both_answer_as_they_do_alone_and_go_on_with_their_own_answers(
    worker: Worker, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "WRITE_SECONDS", 0.0)
    recipe = load_recipe(run.recipe_path)
    tokenizer = load_tokenizer(recipe.model)
    template = chat.template_of(recipe, tokenizer, GREEDY)
    first, _ = ask(worker, run, tmp_path, "3: red cats")
    second, conversation = ask(worker, run, tmp_path, "and now?")
    assert first.replies["base"].text != first.replies[run.name].text
    for arm in ("base", run.name):
        model = alone(run, arm)
        assert first.replies[arm].text == own(run, model, chat.prompt([], first, arm, template, tokenizer))
        ids = chat.prompt([first], second, arm, template, tokenizer)
        assert first.replies[arm].text in tokenizer.decode(ids, skip_special=False)
        assert second.replies[arm].text == own(run, model, ids)
        pieces = [
            line for line in files.read_lines(tmp_path / "stream.jsonl") if (line["turn"], line["arm"]) == (1, arm)
        ]
        assert len(pieces) > 2
        said = ""
        for piece in pieces:
            said = piece["text"] if piece.get("afresh") else said + piece["text"]
        assert first.replies[arm].text.startswith(said.rstrip("\ufffd"))
        assert first.replies[arm].tokens == 12
        assert first.replies[arm].done
    assert conversation.turns[0].whole
    assert JobFolder(tmp_path).state() == "done"


def test_an_encoder_decoder_reads_each_text_by_itself(worker: Worker, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForSeq2SeqLM

    folder = make_seq2seq(tmp_path / "model", "T5")
    save_unigram(folder)
    rows = make_pairs(tmp_path / "rows.jsonl", 12)
    values = recipe_values(folder, rows) | {"task": "seq2seq", "options": {"prefix": "say: "}}
    run = prepare_run(check_recipe(values), Workspace(tmp_path / "studio"))
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="SEQ_2_SEQ_LM")
    get_peft_model(AutoModelForSeq2SeqLM.from_pretrained(folder), config).save_pretrained(run.model)
    ask(worker, run, tmp_path / "chat", "Anna Smith")
    turn, _ = ask(worker, run, tmp_path / "chat", "Paris likes Rome")
    tokenizer = load_tokenizer(folder)
    ids = torch.tensor([tokenizer.encode_batch(["say: Paris likes Rome"])[0] + [1]])  # 1: its end token
    for arm in ("base", run.name):
        model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder)
        if arm != "base":
            model = PeftModel.from_pretrained(model, str(run.model))
        found = model.generate(input_ids=ids, do_sample=False, num_beams=1, max_new_tokens=12)[0, 1:].tolist()
        wanted = found[: found.index(1)] if 1 in found else found
        assert turn.replies[arm].text == tokenizer.decode(wanted, skip_special=False)
        assert turn.replies[arm].tokens == len(wanted) + (1 in found)
    assert turn.replies["base"].text != turn.replies[run.name].text


def test_samples_follow_from_the_seed(worker: Worker, run: RunFolder, tmp_path: Path) -> None:
    answers = []
    for number, seed in enumerate((1, 1, 2)):
        settings = ChatSettings(temperature=1.0, max_new_tokens=12, seed=seed)
        turn, _ = ask(worker, run, tmp_path / str(number), "3: red cats", settings)
        answers.append({arm: reply.text for arm, reply in turn.replies.items()})
    assert answers[0] == answers[1] != answers[2]
    assert [path.name for path in conversations(tmp_path)] == ["0", "1", "2"]


def test_a_stop_keeps_what_was_written_and_the_next_turn_goes_on(
    worker: Worker, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = chat.write
    monkeypatch.setattr(
        chat, "write", lambda model, asked, turn, pad, stop, piece: kept(
            model, asked, turn, pad, lambda: len(seen) >= 3, lambda new: (seen.append(new), piece(new))
        ),
    )  # fmt: skip
    seen: list[list[int]] = []
    turn, _ = ask(worker, run, tmp_path, "3: red cats")
    assert set(turn.replies) == {"base"}
    assert (turn.replies["base"].stopped, turn.replies["base"].tokens) == (True, 3)
    assert JobFolder(tmp_path).state() == "stopped"
    monkeypatch.setattr(chat, "write", kept)
    turn, _ = ask(worker, run, tmp_path, "again")
    assert turn.whole


def test_too_long_a_text_is_told_and_old_turns_go_first(run: RunFolder) -> None:
    recipe = load_recipe(run.recipe_path)
    tokenizer = load_tokenizer(recipe.model)
    template = chat.template_of(recipe, tokenizer, GREEDY)
    earlier = [
        ChatTurn(number, f"question {number} " * 3, GREEDY, ("base",), {"base": Reply(f"answer {number}", done=True)})
        for number in range(8)
    ]
    turn = ChatTurn(9, "now", GREEDY, ("base",))
    ids, dropped = chat.fitted(earlier, turn, "base", template, tokenizer, 256, GREEDY)
    assert 0 < dropped < 8
    assert len(ids) + GREEDY.max_new_tokens <= 256
    assert f"answer {dropped}" in tokenizer.decode(ids)
    assert f"answer {dropped - 1}" not in tokenizer.decode(ids)
    with pytest.raises(StudioError, match="the model reads 256"):
        chat.fitted([], ChatTurn(1, "x" * 400, GREEDY, ("base",)), "base", template, tokenizer, 256, GREEDY)


def test_a_chat_template_is_used_where_the_model_has_one_unless_asked_otherwise(run: RunFolder) -> None:
    recipe = load_recipe(run.recipe_path)
    tokenizer = byte_level(extra=("<|im_start|>", "<|im_end|>"), chat_template=CHATML)
    before = ChatTurn(1, "hi", GREEDY, ("base",), {"base": Reply("hello", done=True)})
    missed = ChatTurn(2, "lost", GREEDY, ("base",), {})
    settings = ChatSettings(system="Be short.")
    turn = ChatTurn(3, "what now", settings, ("base",))
    template = chat.template_of(recipe, tokenizer, settings)
    text = tokenizer.decode(chat.prompt([before, missed], turn, "base", template, tokenizer), skip_special=False)
    assert text == (
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nhello<|im_end|>\n<|im_start|>user\nwhat now<|im_end|>\n<|im_start|>assistant\n"
    )
    plain = chat.template_of(recipe, tokenizer, ChatSettings(template="recipe"))
    text = tokenizer.decode(chat.prompt([before], turn, "base", plain, tokenizer), skip_special=False)
    assert text == "Be short.\nhi\nhello\nwhat now\n"


def test_settings_of_another_kind_are_passed_over_and_torn_lines_cost_only_themselves(tmp_path: Path) -> None:
    assert ChatSettings.read({"temperature": "hot", "seed": 3, "max_new_tokens": True, "what": 1}) == ChatSettings(
        seed=3
    )
    assert ChatSettings.read(None) == ChatSettings()
    conversation = Conversation(tmp_path)
    conversation.ask("one", ("base",), ChatSettings(), "ann")
    with (tmp_path / "turns.jsonl").open("ab") as file:
        file.write(b'{"kind":"answer","turn":1,"arm":"base","text":"tor')
    conversation.poll()
    assert conversation.ask("two", ("base",), ChatSettings(), "ann") == 2
    conversation.poll()
    assert [turn.text for turn in conversation.turns] == ["one", "two"]
    assert conversation.turns[0].replies == {}


def test_rows_from_a_chat_are_only_ever_appended(tmp_path: Path) -> None:
    columns = {"prompt": "question", "completion": "answer"}
    path = keep(tmp_path, "faq", [Turn("user", "Why?")], "So.", columns)
    before = path.read_text()
    assert keep(tmp_path, "faq", [Turn("user", "When?")], "Now.", columns) == path
    assert path.read_text().startswith(before)
    assert files.read_lines(path)[1] == {"question": "When?", "answer": "Now."}
    talk = [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")]
    assert keep(tmp_path, "faq", talk, "d", columns).name == "faq-conversations.jsonl"
    assert row_of([Turn("user", "a")], "b", {"source": "en", "target": "de"}) == ({"en": "a", "de": "b"}, True)
    row, in_columns = row_of(talk, "d", {})
    assert not in_columns
    assert [one["role"] for one in row["messages"]] == ["user", "assistant", "user", "assistant"]
