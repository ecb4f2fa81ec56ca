"""The sft task: what is prompt, what is trained, what a cut loses; against plain tokenisation and transformers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from chat_templates import SPECIAL, TEMPLATES
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import byte_level

from ftstudio import tasks
from ftstudio.core.errors import Stopped, UsageError
from ftstudio.data.dataset import Dataset, from_rows
from ftstudio.data.example import BadRow, Example, Turn
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import Shape, recognise
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.data.view import token_view

SFT = tasks.get("sft")
PAIR = Shape("prompt-completion", {"prompt": "prompt", "completion": "completion"}, "")
REAL = [
    ("gsm8k/test.jsonl", "prompt-completion", "plain", 1319),
    ("gsm8k/train.jsonl", "prompt-completion", "plain", 7473),
    ("mlx-wikisql-lora/train.jsonl", "text", "text", 1000),
    ("openai-cookbook-chat/toy_chat_fine_tuning.jsonl", "messages", "chat", 5),
    ("fastchat-sharegpt/dummy_conversation.json", "sharegpt", "chat", 500),
    ("llamafactory-demo/alpaca_en_demo.json", "alpaca", "alpaca", 999),
    ("self-instruct-seed/seed_tasks.jsonl", "instances", "alpaca", 175),
]


def pair(prompt: str, completion: str) -> Example:
    return PAIR.example({"prompt": prompt, "completion": completion})


def learnt(encoded: object, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([label for label in encoded.labels if label != -100], skip_special=False)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def stories(shared: Path) -> Tokenizer:
    return load_tokenizer(shared / "models" / "stories260k")


def test_registry() -> None:
    assert "sft" in tasks.names()
    assert SFT.name == "sft"
    assert SFT.title
    assert SFT.help
    assert {role.name for role in SFT.roles} >= {"prompt", "completion", "messages", "text"}
    with pytest.raises(UsageError, match="no task"):
        tasks.get("stf")


@pytest.mark.parametrize("bos", [None, "<s>"])
@pytest.mark.parametrize("name", ["plain", "alpaca", "chat"])
def test_only_the_completion_and_its_end_are_trained(name: str, bos: str | None) -> None:
    tokenizer = byte_level(bos=bos)
    template = Template.resolve(name, tokenizer, PAIR)
    found = SFT.encode(pair("What is it?", "the answer"), template, tokenizer)
    assert learnt(found, tokenizer) == "the answer<|end|>"
    assert found.ends
    assert found.boundary == "clean"
    assert found.trained == sum(label != -100 for label in found.labels)
    assert found.input_ids.count(tokenizer.bos_id if bos else -1) == (1 if bos else 0)
    text = template.text(pair("What is it?", "the answer"))
    assert found.input_ids == [*tokenizer.encode(text, special=True), tokenizer.eos_id]


def test_begin_token_written_by_the_template_is_not_doubled() -> None:
    tokenizer = byte_level(bos="<s>")
    template = Template.resolve("<s>{{ prompt }}\n{{ completion }}", tokenizer, PAIR)
    assert SFT.encode(pair("a", "b"), template, tokenizer).input_ids.count(tokenizer.bos_id) == 1


def test_end_token_written_by_the_template_is_not_doubled() -> None:
    tokenizer = byte_level()
    template = Template.resolve("{{ prompt }}\n{{ completion }}<|end|>", tokenizer, PAIR)
    found = SFT.encode(pair("a", "b"), template, tokenizer)
    assert found.input_ids.count(tokenizer.eos_id) == 1
    assert found.ends


@pytest.mark.parametrize("name", TEMPLATES)
def test_chat_templates_train_every_answer_and_an_end(name: str) -> None:
    tokenizer = byte_level(bos="<s>", extra=SPECIAL, chat_template=TEMPLATES[name])
    template = Template.resolve("chat", tokenizer, None)
    talk = (Turn("user", "one"), Turn("assistant", "two"), Turn("user", "three"), Turn("assistant", "four"))
    found = SFT.encode(Example(talk), template, tokenizer)
    said = learnt(found, tokenizer)
    assert "two" in said
    assert "four" in said
    assert "one" not in said
    assert "three" not in said
    assert found.ends
    last = [label for label in found.labels if label != -100][-1]
    assert last in SFT.end_ids(template, tokenizer)
    if name == "bare":  # the template has no end of its own: the tokenizer's is added
        assert last == tokenizer.eos_id
    elif name not in ("mistral", "zephyr"):
        assert tokenizer.eos_id not in found.input_ids


def test_a_token_across_the_boundary_is_split_off() -> None:
    """` the` is one token: with the prompt ` t` and the answer `he` the prompt's ids stay as generation is fed."""
    tokenizer = byte_level()
    template = Template.resolve("{{ prompt }}{{ completion }}", tokenizer, PAIR)
    assert len(tokenizer.encode(" the")) == 1
    found = SFT.encode(pair(" t", "he"), template, tokenizer)
    assert found.boundary == "merged"
    assert found.input_ids == [*tokenizer.encode(" t"), *tokenizer.encode("he"), tokenizer.eos_id]
    assert SFT.prompt(pair(" t", "he"), template, tokenizer).ids == tokenizer.encode(" t")


def test_behind_a_token_that_was_split_off_a_conversation_is_as_in_its_whole_text(stories: Tokenizer) -> None:
    """`: I` is one token, so the first answer stands by itself; the turn behind it begins as the model will meet it."""
    text = (
        "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}{% if turn.role == 'assistant' %}</s>{% endif %}"
    )
    turns = (Turn("user", "Hi\n"), Turn("assistant", "I am."), Turn("user", "Who\n"), Turn("assistant", "I am you."))
    template = Template.resolve(text + "{% endfor %}", stories, PAIR)
    found = SFT.encode(Example(turns), template, stories)
    assert found.boundary == "merged"
    end = found.input_ids.index(stories.eos_id) + 1
    behind = stories.encode("a</s>user: Who\n")
    behind = behind[behind.index(stories.eos_id) + 1 :]
    assert found.input_ids[end : end + len(behind)] == behind


def test_continuation_of_a_sentencepiece_prompt_has_no_stray_space(stories: Tokenizer) -> None:
    template = Template.resolve("{{ prompt }}{{ completion }}", stories, PAIR)
    for prompt, completion in [("Once up", "on a time"), ("Tom was ", "Lily"), ("a\n", "b")]:
        found = SFT.encode(pair(prompt, completion), template, stories)
        assert stories.decode(found.input_ids) == prompt + completion
        assert found.input_ids[: found.prompt_tokens] == stories.encode(prompt, special=True)


_WORDS = st.text(alphabet=st.sampled_from("thea answr\n.é✅日 <|end|>"), max_size=20) | st.text(max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        ["plain", "alpaca", "generic", "chatml", "llama3", "zephyr", "bare", "{{ prompt }}{{ completion }}"]
    ),
    st.sampled_from([None, "<s>"]),
    _WORDS,
    _WORDS,
    st.integers(1, 80) | st.none(),
)
def test_prompt_is_a_prefix_and_nothing_is_uncounted(
    name: str, bos: str | None, prompt: str, completion: str, max_length: int | None
) -> None:
    """For any texts and any cut: training begins with generation's ids, the account adds up, labels equal ids."""
    extra = SPECIAL if name in TEMPLATES else ()
    tokenizer = byte_level(bos=bos or ("<s>" if extra else None), extra=extra, chat_template=TEMPLATES.get(name))
    template = Template.resolve("chat" if name in TEMPLATES or name == "generic" else name, tokenizer, PAIR)
    row = pair(prompt, completion)
    try:
        full = SFT.encode(row, template, tokenizer)
    except BadRow:
        return
    asked = SFT.prompt(row, template, tokenizer)
    assert full.input_ids[: len(asked.ids)] == asked.ids
    assert all(label == -100 for label in full.labels[: len(asked.ids)])
    assert asked.reference == completion
    assert full.lost == 0
    if not any(mark in completion for mark in (*tokenizer.end_texts, "\ufffd")):
        assert completion.strip() in tokenizer.decode(full.input_ids[len(asked.ids) :])
    found = SFT.encode(row, template, tokenizer, max_length)
    assert all(label in (-100, token) for label, token in zip(found.labels, found.input_ids, strict=True))
    assert found.total == full.total
    assert [*found.input_ids, *found.lost_ids] == full.input_ids
    assert found.trained + found.lost_completion == full.trained
    assert max_length is None or len(found.input_ids) <= max_length
    assert found.ends == (found.trained > 0 and full.ends and found.lost_completion == 0)


@pytest.mark.parametrize(("file", "shape", "template", "rows"), REAL)
def test_real_files_are_recognised_and_fully_accounted(
    shared: Path, stories: Tokenizer, file: str, shape: str, template: str, rows: int
) -> None:
    dataset = open_dataset(shared / "data" / file)
    found = recognise(dataset)
    assert (len(dataset), found.name) == (rows, shape)
    chosen = Template.resolve(None, stories, found)
    assert chosen.name == template
    some = dataset.select(range(min(300, rows)))
    encoded = SFT.encode_dataset(some, found, chosen, stories, 256)
    stats = encoded.stats
    assert stats.rows == len(some) == stats.kept + stats.all_masked + stats.unusable
    assert len(encoded) == stats.kept
    assert stats.lost + sum(
        encoded.table["total"][row] - (encoded.table["lost_prompt"][row] + encoded.table["lost_completion"][row])
        for row in range(len(some))
    ) == sum(encoded.table["total"])
    for place in range(0, len(encoded), 37):
        row = encoded.rows[place]
        alone = SFT.encode(found.example(some[row]), chosen, stories, 256)
        assert encoded[place] == {"input_ids": alone.input_ids, "labels": alone.labels}
        assert stories.bos_id == alone.input_ids[0]
        assert alone.input_ids.count(stories.bos_id) == 1
        assert encoded.lengths[place] == len(alone.input_ids)
        if not alone.lost:
            assert alone.labels[-1] == stories.eos_id
        if not some[row].get("text"):
            prompt = SFT.prompt(found.example(some[row]), chosen, stories).ids
            before = [*alone.input_ids, *alone.lost_ids]
            assert before[: len(prompt)] == prompt


def test_plain_rows_equal_transformers_tokenisation(shared: Path, stories: Tokenizer) -> None:
    """The ids are what a person gets by hand: tokenizer(prompt + completion) and the end token."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(shared / "models" / "stories260k")
    dataset = open_dataset(shared / "data" / "gsm8k" / "test.jsonl").select(range(100))
    shape = recognise(dataset)
    template = Template.resolve("plain", stories, shape)
    encoded = SFT.encode_dataset(dataset, shape, template, stories)
    for row, found in zip(dataset, encoded, strict=True):
        prompt = theirs(row["question"] + "\n")["input_ids"]
        whole = theirs(row["question"] + "\n" + row["answer"])["input_ids"] + [theirs.eos_token_id]
        assert found["input_ids"] == whole
        assert found["labels"] == [-100] * len(prompt) + whole[len(prompt) :]


@pytest.mark.parametrize("name", [*TEMPLATES, "plain", "alpaca", "generic"])
def test_long_conversations_equal_turn_by_turn_tokenisation(name: str) -> None:
    """Put together from sections or not: the ids of the whole text, every answer trained, prompts as generation's."""
    tokenizer = byte_level(bos="<s>", extra=SPECIAL, chat_template=TEMPLATES.get(name))
    template = Template.resolve(name if name in ("plain", "alpaca") else "chat", tokenizer, None)
    talk = tuple(Turn("assistant" if n % 2 else "user", f"the answer {n}\n  again") for n in range(12))
    found = SFT.encode(Example(talk), template, tokenizer)
    text = template.text(Example(talk))
    expected = tokenizer.encode(text, special=template.adds_special)
    assert found.input_ids[: len(expected)] == expected
    assert learnt(found, tokenizer).count("the answer") == 6
    asked = SFT.prompt(Example(talk), template, tokenizer)
    assert asked.ids == tokenizer.encode(asked.text, special=template.adds_special)
    assert found.input_ids[: len(asked.ids)] == asked.ids


def test_rows_without_labels_and_unusable_rows_are_listed() -> None:
    tokenizer = byte_level()
    dataset = from_rows(
        [
            {"prompt": "short", "completion": "yes"},
            {"prompt": "long " * 200, "completion": "yes"},
            {"completion": "no prompt"},
            {"prompt": "said nothing", "completion": ""},
        ]
    )
    template = Template.resolve("plain", tokenizer, PAIR)
    encoded = SFT.encode_dataset(dataset, PAIR, template, tokenizer, 32)
    assert list(encoded.rows) == [0, 3]
    assert encoded.all_masked == [1]
    assert [row for row, _ in encoded.excluded] == [1, 2]
    assert "prompt" in encoded.excluded[1][1]
    stats = encoded.stats
    assert (stats.rows, stats.kept, stats.all_masked, stats.unusable, stats.truncated) == (4, 2, 1, 1, 1)
    assert stats.tokens == sum(len(row["input_ids"]) for row in encoded)
    assert stats.trained == sum(label != -100 for row in encoded for label in row["labels"])
    assert encoded[-1]["labels"][-1] == tokenizer.eos_id
    with pytest.raises(IndexError):
        encoded[2]


def test_text_rows_train_every_token_but_the_begin_token() -> None:
    tokenizer = byte_level(bos="<s>")
    dataset = from_rows([{"text": "the answer is again"}, {"text": ""}])
    shape = recognise(dataset)
    encoded = SFT.encode_dataset(dataset, shape, Template.resolve(None, tokenizer, shape), tokenizer)
    ids, labels = encoded[0]["input_ids"], encoded[0]["labels"]
    assert labels == [-100, *ids[1:]]
    assert ids[-1] == tokenizer.eos_id
    assert encoded.all_masked == [1]


@pytest.mark.parametrize("bos", [None, "<s>"])
def test_text_is_continued_from_its_half(bos: str | None) -> None:
    tokenizer = byte_level(bos=bos)
    shape = recognise(from_rows([{"text": "x"}]))
    template = Template.resolve(None, tokenizer, shape)
    text = "the answer is again and again é✅ the end"
    asked = SFT.prompt(shape.example({"text": text}), template, tokenizer)
    assert asked.text + (asked.reference or "") == text
    assert asked.ids == tokenizer.encode(text, special=True)[: len(asked.ids)]
    assert 0.3 < len(asked.ids) / len(tokenizer.encode(text)) < 0.75
    with pytest.raises(BadRow, match="too short"):
        SFT.prompt(shape.example({"text": "a"}), template, tokenizer)


def test_cancelling_and_progress() -> None:
    tokenizer = byte_level()
    dataset = from_rows([{"prompt": "a", "completion": "b"}] * 1500)
    template = Template.resolve("plain", tokenizer, PAIR)
    seen: list[tuple[int, int]] = []
    SFT.encode_dataset(dataset, PAIR, template, tokenizer, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1500, 1500)
    assert len(seen) > 1
    stop = threading.Event()

    def progress(done: int, total: int) -> None:
        stop.set()

    with pytest.raises(Stopped):
        SFT.encode_dataset(dataset, PAIR, template, tokenizer, progress=progress, cancel=stop.is_set)


def test_threads_get_the_same() -> None:
    tokenizer = byte_level()
    dataset = from_rows([{"prompt": f"the {n}", "completion": f"answer {n}"} for n in range(400)])
    template = Template.resolve("plain", tokenizer, PAIR)
    found: list[bytes] = []

    def work() -> None:
        found.append(SFT.encode_dataset(dataset, PAIR, template, tokenizer).ids.tobytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


class TestView:
    """The token view shows what is trained, masked and lost."""

    def rows(self) -> Dataset:
        return from_rows([{"prompt": "the", "completion": "answer is again"}, {"prompt": 1}])

    def test_pieces_are_the_encoded_row(self) -> None:
        tokenizer = byte_level(bos="<s>")
        template = Template.resolve("plain", tokenizer, PAIR)
        view = token_view(self.rows(), 0, PAIR, template, tokenizer)
        found = SFT.encode(PAIR.example(self.rows()[0]), template, tokenizer)
        assert [piece.id for piece in view.pieces] == found.input_ids
        assert [piece.trained for piece in view.pieces] == [label != -100 for label in found.labels]
        assert "".join(piece.text for piece in view.pieces) == "<s>the\nanswer is again<|end|>"
        assert [piece.text for piece in view.pieces if piece.special] == ["<s>", "<|end|>"]
        assert view.ends
        assert view.trained + view.masked == view.total
        assert view.percent_trained == pytest.approx(100 * view.trained / view.total)
        assert "end token learnt" in view.summary

    def test_what_is_cut_stays_visible(self) -> None:
        tokenizer = byte_level()
        view = token_view(self.rows(), 0, PAIR, Template.resolve("plain", tokenizer, PAIR), tokenizer, 3)
        assert [piece.lost for piece in view.pieces] == [False] * 3 + [True] * view.lost
        assert view.lost == view.total - 3
        assert not view.ends
        assert "".join(piece.text for piece in view.pieces) == "the\nanswer is again<|end|>"

    def test_unusable_rows_say_why(self) -> None:
        tokenizer = byte_level()
        view = token_view(self.rows(), 1, PAIR, Template.resolve("plain", tokenizer, PAIR), tokenizer)
        assert view.pieces == ()
        assert "completion" in view.problem
        assert view.percent_trained == 0
