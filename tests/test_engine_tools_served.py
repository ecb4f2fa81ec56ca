"""Servers as arms where tools may be called: asked in OpenAI's form, answered in the form of the references."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from chat_server import serving
from test_data_tools import SFT, TALK, WEATHER, as_text, call, chat, example, row

from ftstudio.core.serving import Server
from ftstudio.engine import outside
from ftstudio.engine.answering import Question
from ftstudio.engine.endpoint import Endpoint


def question(talk: list[dict[str, Any]]) -> Question:
    given = example(row(talk))
    return Question(0, given, given.prompt, given.reference, {})


def test_calls_and_results_are_told_as_openai_has_them() -> None:
    found = outside.messages_of(question(TALK))
    assert found == [{key: value for key, value in turn.items() if key != "name"} for turn in as_text(TALK[:7])]
    assert outside._beside(question(TALK)) == {"tools": [WEATHER]}


def test_calls_without_ids_get_some_and_results_find_theirs() -> None:
    bare = [{key: value for key, value in one.items() if key != "id"} for one in (call("Bern"), call("Rom"))]
    talk = [
        {"role": "user", "content": "Both?"},
        {"role": "assistant", "content": None, "tool_calls": bare},
        {"role": "tool", "content": "rain"},
        {"role": "tool", "content": "sun"},
        {"role": "tool", "content": "nobody asked"},
        {"role": "assistant", "content": "Rain, sun."},
    ]
    _, calling, *results = outside.messages_of(question(talk))
    ids = [one["id"] for one in calling["tool_calls"]]
    assert len(set(ids)) == 2
    assert [one.get("tool_call_id") for one in results] == [*ids, None]
    assert [one["role"] for one in results] == ["tool", "tool", "user"]


@pytest.mark.parametrize("name", ["hermes", "thinking"])
def test_a_call_is_written_as_the_reference_is(name: str) -> None:
    tokenizer, template = chat(name)
    own: Any = SimpleNamespace(template=template, tokenizer=tokenizer)
    asked = question(TALK)
    [message] = as_text([{"role": "assistant", "content": "", "tool_calls": [call("Rom")]}])
    with serving(lambda _: message) as server:
        end = Endpoint(server.url, "m", Server())
        [(_, reply)] = end.ask_all([outside.messages_of(asked)], [outside._beside(asked)], max_tokens=9)
        assert server.requests[0]["body"]["tools"] == [WEATHER]
    assert outside._said(reply, asked, own) == SFT.wanted(asked.example, template, tokenizer)
    assert "Rom" in outside._said(reply, asked, own)


def test_rows_without_tools_are_asked_as_before() -> None:
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    asked = Question(0, example({"messages": talk}), "Hello", "Hi", {})
    assert outside.messages_of(asked) == talk[:1]
    assert outside._beside(asked) == {}
    assert outside._identity(asked) == '[{"role": "user", "content": "Hello"}]'
