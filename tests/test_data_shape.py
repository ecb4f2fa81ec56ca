"""Which columns are what: recognised names, own mappings, rows that don't fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import UsageError
from ftstudio.data.dataset import from_rows
from ftstudio.data.example import BadRow, Turn, text_of
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise

OPENAI = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]

KNOWN = [
    ({"instruction": "q", "input": "", "output": "a"}, "alpaca", {"prompt": "instruction", "completion": "output"}),
    ({"instruction": "q", "output": "a", "system": "s"}, "alpaca", {"system": "system"}),
    ({"instruction": "q", "context": "c", "response": "a"}, "alpaca", {"input": "context", "completion": "response"}),
    ({"instruction": "q", "response": "a"}, "prompt-completion", {"prompt": "instruction"}),
    ({"prompt": "q", "completion": "a"}, "prompt-completion", {"prompt": "prompt", "completion": "completion"}),
    ({"Question": "q", "Answer": "a", "id": 3}, "prompt-completion", {"prompt": "Question", "completion": "Answer"}),
    ({"input": "q", "output": "a"}, "prompt-completion", {"prompt": "input", "completion": "output"}),
    ({"source": "q", "target": "a"}, "prompt-completion", {"prompt": "source", "completion": "target"}),
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, "prompt-completion", {"completion": "chosen"}),
    ({"messages": OPENAI}, "messages", {"messages": "messages"}),
    ({"id": 1, "conversations": SHAREGPT}, "sharegpt", {"messages": "conversations"}),
    ({"conversations": OPENAI}, "messages", {"messages": "conversations"}),
    (
        {"conversations": SHAREGPT[:1], "chosen": SHAREGPT[1], "rejected": SHAREGPT[1]},
        "preference",
        {"messages": "conversations", "completion": "chosen"},
    ),
    ({"instruction": "q", "instances": [{"input": "", "output": "a"}]}, "instances", {"completion": "instances"}),
    ({"text": "all"}, "text", {"text": "text"}),
    ({"body": "all"}, "text", {"text": "body"}),
    ({"text": "all", "label": 1}, "text", {"text": "text"}),
]


@pytest.mark.parametrize(("row", "name", "columns"), KNOWN)
def test_known_columns_are_recognised(row: dict[str, Any], name: str, columns: dict[str, str]) -> None:
    shape = recognise(from_rows([row]))
    assert shape.name == name
    assert columns.items() <= dict(shape.columns).items()
    assert any(column in shape.why for column in shape.columns.values())
    assert set(shape.unused) == set(row) - set(shape.columns.values())
    example = shape.example(row)
    if name == "text":
        assert example.messages == (Turn("text", "all"),)
        assert example.reference is None
        assert "all of its text is trained" in shape.why
    else:
        assert example.messages[-2:] == (Turn("user", example.messages[-2].content), Turn("assistant", "a"))
        assert example.messages[-2].content.startswith("q")
        assert example.reference == "a"


ASKED, ANSWERED = [{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a"}]
TOLD = (Turn("user", "q"), Turn("assistant", "a"))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ASKED, "completion": ANSWERED},
        {"prompt": ASKED, "completion": "a"},
        {"prompt": "q", "completion": ANSWERED},
        {"prompt": ASKED, "chosen": ANSWERED, "rejected": ASKED},
        {"prompt": "q", "chosen": ANSWERED, "rejected": ANSWERED},
        {"prompt": "q", "chosen": [*ASKED, *ANSWERED], "rejected": [*ASKED, *ANSWERED]},
        {"prompt": ASKED, "chosen": [*ASKED, *ANSWERED], "rejected": [*ASKED, *ANSWERED]},
    ],
)
def test_a_prompt_in_turns_goes_on_with_its_answer(row: dict[str, Any]) -> None:
    """As TRL's conversational formats have it; guessed and mapped."""
    answer = "chosen" if "chosen" in row else "completion"
    assert recognise(from_rows([row])).example(row).messages == TOLD
    if isinstance(row["prompt"], list):
        assert recognise(from_rows([row]), {"prompt": "prompt", "completion": answer}).example(row).messages == TOLD


def test_an_answer_of_several_turns_keeps_them_all() -> None:
    called = [{"role": "assistant", "content": "call"}, {"role": "tool", "content": "4"}, *ANSWERED]
    row = {"prompt": ASKED, "completion": called, "tools": [{"type": "function", "function": {"name": "f"}}]}
    shape = recognise(from_rows([row]))
    assert [turn.role for turn in shape.example(row).messages] == ["user", "assistant", "tool", "assistant"]
    assert shape.columns["tools"] == "tools"


def test_inputs_and_systems_are_turns() -> None:
    row = {"instruction": "q", "input": "i", "output": "a", "system": "s"}
    example = recognise(from_rows([row])).example(row)
    assert example.messages == (Turn("system", "s"), Turn("user", "q\ni"), Turn("assistant", "a"))
    blank = {**row, "input": " ", "system": None}
    assert recognise(from_rows([row])).example(blank).messages == (Turn("user", "q"), Turn("assistant", "a"))


@pytest.mark.parametrize(
    ("columns", "name", "messages"),
    [
        ({"prompt": "x", "completion": "y"}, "prompt-completion", (Turn("user", "1"), Turn("assistant", "2"))),
        (
            {"prompt": "x", "completion": "y", "input": "z"},
            "alpaca",
            (Turn("user", "1\n3"), Turn("assistant", "2")),
        ),
        (
            {"prompt": "x", "completion": "y", "system": "z", "input": None},
            "prompt-completion",
            (Turn("system", "3"), Turn("user", "1"), Turn("assistant", "2")),
        ),
        ({"text": "z"}, "text", (Turn("text", "3"),)),
        ({"messages": "talk"}, "sharegpt", (Turn("user", "q"), Turn("assistant", "a"))),
    ],
)
def test_own_mapping_wins(columns: dict[str, str], name: str, messages: tuple[Turn, ...]) -> None:
    row = {"x": 1, "y": "2", "z": "3", "talk": SHAREGPT, "prompt": "no", "completion": "no"}
    shape = recognise(from_rows([row]), columns)
    assert shape.name == name
    assert shape.example(row).messages == messages
    assert "mapped by you" in shape.why


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"prompt": "questoin", "completion": "answer"}, "Did you mean 'question'"),
        ({"prompt": "zzz", "completion": "answer"}, "There are: question, answer"),
        ({"promt": "question"}, "Did you mean prompt"),
        ({"prompt": "question"}, "Name prompt and completion"),
        ({"system": "question"}, "Name prompt and completion"),
    ],
)
def test_faulty_mappings_name_what_there_is(columns: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        recognise(from_rows([{"question": "q", "answer": "a"}]), columns)
    assert expected in str(caught.value)


def test_nothing_recognised_says_which_columns_there_are() -> None:
    with pytest.raises(UsageError, match="among alpha, beta"):
        recognise(from_rows([{"alpha": 1, "beta": 2}]))


@pytest.mark.parametrize(
    "value",
    [None, "plain text", 3, [], [1], [{"role": "user"}], [{"role": "narrator", "content": "x"}], [[]], {"a": 1}, "[1]"],
)
def test_broken_conversations_are_bad_rows(value: object) -> None:
    shape = recognise(from_rows([{"messages": OPENAI}]))
    with pytest.raises(BadRow) as caught:
        shape.example({"messages": value})
    assert str(caught.value)


def test_missing_columns_are_bad_rows() -> None:
    shape = recognise(from_rows([{"prompt": "a", "completion": "b"}]))
    with pytest.raises(BadRow, match="completion"):
        shape.example({"prompt": "a"})
    assert shape.example({"prompt": None, "completion": 4}).messages == (Turn("user", ""), Turn("assistant", "4"))


def test_roles_of_many_dialects() -> None:
    shape = recognise(from_rows([{"messages": OPENAI}]))
    turns = [
        {"role": "developer", "content": "d"},
        {"role": "human", "content": [{"type": "text", "text": "see "}, {"type": "image_url"}, {"text": "this"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "content": "42"},
        {"role": "model", "content": "done"},
    ]
    assert shape.example({"messages": turns}).messages == (
        Turn("system", "d"),
        Turn("user", "see this"),
        Turn("assistant", '[{"name": "f"}]'),
        Turn("tool", "42"),
        Turn("assistant", "done"),
    )


def test_conversations_as_json_text_are_read() -> None:
    shape = recognise(from_rows([{"messages": OPENAI}]))
    assert shape.example({"messages": '[{"role": "assistant", "content": "x"}]'}).reference == "x"


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner),
        max_leaves=8,
    )
)
def test_any_value_is_a_conversation_or_a_bad_row(value: Any) -> None:
    """And all text that comes out can be encoded as UTF-8."""
    shape = recognise(from_rows([{"messages": OPENAI}]))
    try:
        turns = shape.example({"messages": value}).messages
    except BadRow:
        turns = ()
    for turn in turns:
        turn.content.encode()
    text_of(value).encode()


REAL = [
    ("gsm8k", "prompt-completion"),
    ("mlx-wikisql-lora", "text"),
    ("openai-cookbook-chat", "messages"),
    ("fastchat-sharegpt", "sharegpt"),
    ("self-instruct-seed", "instances"),
    ("llamafactory-demo/alpaca_en_demo.json", "alpaca"),
    ("llamafactory-demo/identity.json", "alpaca"),
    ("llamafactory-demo/dpo_en_demo.json", "preference"),
    ("llamafactory-demo/mllm_demo.json", "messages"),
    ("scitldr/dev.jsonl", "prompt-completion"),
    ("tinyshakespeare/input.txt", "text"),
]


@pytest.mark.parametrize(("file", "name"), REAL)
def test_real_files(shared: Path, file: str, name: str) -> None:
    dataset = open_dataset(shared / "data" / file)
    shape = recognise(dataset)
    assert shape.name == name
    for row in dataset.iter(0, 200):
        example = shape.example(row)
        assert example.is_text or (example.reference or "").strip()
