"""Tools and calls of them: read in every form, written by chat templates as transformers does, trained and counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_templates import CHATML, SPECIAL, TOOL_TEMPLATES
from tiny_tokenizers import byte_level

from ftstudio import tasks
from ftstudio.data.checks.run import run_checks
from ftstudio.data.dataset import from_rows
from ftstudio.data.example import BadRow, Example
from ftstudio.data.shape import recognise
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.data.tool_calls import calls_of, tools_of

SFT = tasks.get("sft")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def call(city: str) -> dict[str, Any]:
    return {"id": f"call_{city}", "type": "function", "function": {"name": "weather", "arguments": {"city": city}}}


TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather in Bern and Köln?"},
    {"role": "assistant", "content": "I look.", "tool_calls": [call("Bern"), call("Köln")]},
    {"role": "tool", "name": "weather", "tool_call_id": "call_Bern", "content": "rain"},
    {"role": "tool", "name": "weather", "tool_call_id": "call_Köln", "content": "sun"},
    {"role": "assistant", "content": "Rain, and sun."},
    {"role": "user", "content": "And Rom?"},
    {"role": "assistant", "content": "", "tool_calls": [call("Rom")]},
]


THOUGHT = {"role": "assistant", "reasoning": "Both are known.", "content": "Rain, and sun."}


def as_text(talk: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """TALK as OpenAI's API gives it: arguments as JSON text, no content beside calls."""
    found: list[dict[str, Any]] = json.loads(json.dumps(talk))
    for message in found:
        for one in message.get("tool_calls", ()):
            one["function"]["arguments"] = json.dumps(one["function"]["arguments"], ensure_ascii=False)
        if message.get("content") == "":
            message["content"] = None
    return found


def row(talk: list[dict[str, Any]], tools: Any = (WEATHER,)) -> dict[str, Any]:
    return {"messages": talk, "tools": list(tools) if isinstance(tools, tuple) else tools}


def example(given: dict[str, Any]) -> Example:
    return recognise(from_rows([given])).example(given)


def chat(name: str) -> tuple[Tokenizer, Template]:
    tokenizer = byte_level(extra=SPECIAL, chat_template=TOOL_TEMPLATES[name])
    return tokenizer, Template.resolve("chat", tokenizer, None)


def theirs(name: str, talk: list[dict[str, Any]], **settings: Any) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    [text], _ = render_jinja_template([talk], [WEATHER], chat_template=TOOL_TEMPLATES[name], **settings)
    return str(text)


@pytest.mark.parametrize("name", ["hermes", "thinking", "marked"])
@pytest.mark.parametrize("length", [3, 6, 8])
def test_the_text_is_that_of_transformers(name: str, length: int) -> None:
    _, template = chat(name)
    talk = TALK[:length]
    for given in (row(talk), row(as_text(talk)), row(talk, json.dumps([WEATHER])), row(talk, WEATHER["function"])):
        found = template.segments(example(given))
        assert "".join(segment.text for segment in found) == theirs(name, talk)
        asked = template.text(example(given), for_generation=True)
        assert asked == theirs(name, talk[:-1], add_generation_prompt=True)
        assert '"name": "weather", "description"' in asked


@pytest.mark.parametrize("name", TOOL_TEMPLATES)
def test_calls_are_trained_as_the_template_writes_them(name: str) -> None:
    tokenizer, template = chat(name)
    said = [segment.text for segment in template.segments(example(row(as_text(TALK)))) if segment.trained]
    bern, cologne, rome = (
        f'<tool_call>\n{{"name": "weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'
        for city in ("Bern", "Köln", "Rom")
    )
    thought = "<think>\n\n</think>\n\n" if name == "thinking" else ""
    assert said == [
        f"I look.\n{bern}\n{cologne}<|im_end|>", "Rain, and sun.<|im_end|>", f"{thought}{rome}<|im_end|>",
    ]  # fmt: skip
    asked = SFT.prompt(example(row(TALK)), template, tokenizer)
    assert asked.reference == f"{thought}{rome}"
    assert "<tools>" in asked.text
    found = SFT.encode(example(row(TALK)), template, tokenizer)
    assert found.input_ids[: len(asked.ids)] == asked.ids


def test_a_second_template_for_tools_is_used_where_there_are_some(tmp_path: Any) -> None:
    """As transformers saves and chooses it (`get_chat_template`)."""
    from tiny_tokenizers import save_byte_level

    folder = save_byte_level(tmp_path / "m", extra=SPECIAL, chat_template=CHATML)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(TOOL_TEMPLATES["hermes"])
    template = Template.resolve("chat", load_tokenizer(folder), None)
    assert template.text(example(row(TALK))) == theirs("hermes", TALK)
    plain = template.text(example({"messages": TALK[1:2] + TALK[5:6]}))
    assert plain.startswith("<|im_start|>system\nYou are a helpful assistant.")


def test_reasoning_is_written_where_the_template_has_a_place_for_it() -> None:
    tokenizer, template = chat("reasons")
    talk = [*TALK[:5], THOUGHT]
    text = template.text(example(row(talk)))
    assert text == theirs("reasons", talk)
    assert text.endswith("<think>\nBoth are known.\n</think>\n\nRain, and sun.<|im_end|>\n")
    asked = SFT.prompt(example(row(talk)), template, tokenizer)
    assert asked.reference == "<think>\nBoth are known.\n</think>\n\nRain, and sun."
    assert asked.text == theirs("reasons", talk[:-1], add_generation_prompt=True)
    longer = [*talk, *TALK[6:]]  # thoughts before the last question are dropped
    said = [segment.text for segment in template.segments(example(row(longer))) if segment.trained]
    assert said[1] == "Rain, and sun.<|im_end|>"
    assert template.text(example(row(longer))) == theirs("reasons", longer)


def test_sharegpt_calls_are_calls() -> None:
    given = {
        "conversations": [
            {"from": "human", "value": "Rom?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rom"}}'},
            {"from": "observation", "value": "sun"},
            {"from": "gpt", "value": "Sun."},
        ],
        "tools": json.dumps([WEATHER["function"]]),
    }
    talk = [
        {"role": "user", "content": "Rom?"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": call("Rom")["function"]}]},
        {"role": "tool", "content": "sun"},
        {"role": "assistant", "content": "Sun."},
    ]
    assert chat("hermes")[1].text(example(given)) == theirs("hermes", talk)


@pytest.mark.parametrize("name", ["chat", "alpaca", "plain"])
def test_templates_without_tools_count_the_rows_that_have_some(name: str) -> None:
    tokenizer = byte_level(extra=SPECIAL, chat_template=CHATML)
    bare = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    dataset = from_rows([row(bare), row(bare, None), row(TALK), row([*TALK[:5], THOUGHT], "[]")])
    shape = recognise(dataset)
    template = Template.resolve(name, tokenizer, shape)
    encoded = SFT.encode_dataset(dataset, shape, template, tokenizer)
    assert encoded.unread == {"tools": [0, 2], "calls": [2, 3], "thoughts": [3]}
    [found] = [
        check
        for check in run_checks(dataset, shape, template=template, tokenizer=tokenizer, encoded=encoded)
        if check.name == "unread_parts"
    ]
    assert (found.rows, found.severity) == ((0, 2, 3), "warning")
    assert "2 rows with tools" in found.text
    assert "1 row with reasoning" in found.text
    assert '{"city": "Rom"}' in template.text(shape.example(dataset[2]))
    notes = [SFT.view(dataset, at, shape, template, tokenizer, None).note for at in range(3)]
    assert ["row's tools" in note for note in notes] == [True, False, True]
    assert ["JSON" in note for note in notes] == [False, False, True]
    own = SFT.encode_dataset(dataset, shape, chat("hermes")[1], tokenizer)
    assert own.unread == {"thoughts": [3]}


def test_a_jinja_string_sees_the_tools() -> None:
    template = Template.resolve(
        "{% for tool in tools %}{{ tool.function.name }}{% endfor %}: {{ completion }}", None, None
    )
    assert template.text(example(row(TALK, json.dumps([WEATHER["function"]])))).startswith("weather: ")
    assert template.reads_tools


def test_forms_of_tools_and_calls() -> None:
    assert tools_of(None) == tools_of("") == tools_of("null") == tools_of([]) == ()
    assert tools_of([json.dumps(WEATHER)]) == (WEATHER,)
    for wrong in ("not json", 3, ["weather"], [[WEATHER]]):
        with pytest.raises(ValueError, match="the tools are"):
            tools_of(wrong)
    assert calls_of('{"name": "f", "arguments": "{broken"}')[0]["function"]["arguments"] == "{broken"
    assert calls_of("hello") == calls_of([{"function": {}}]) == calls_of(["x"]) == calls_of(None) == ()


def test_what_parquet_fills_up_is_taken_out() -> None:
    """Rows of a table have all keys of all others, most without a value; JSON text keeps a null that is meant."""
    pa = pytest.importorskip("pyarrow")
    clock = {
        "type": "function",
        "function": {"name": "clock", "parameters": {"properties": {"zone": {"type": "string"}}}},
    }
    time = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "CET"}}}
    talk = [TALK[1], {"role": "assistant", "content": "", "tool_calls": [call("Bern"), time]}]
    stored = pa.Table.from_pylist([row(talk, (WEATHER, clock))]).to_pylist()[0]
    assert stored["messages"][1]["tool_calls"][1]["function"]["arguments"] == {"city": None, "zone": "CET"}
    assert chat("hermes")[1].text(example(stored)) == chat("hermes")[1].text(example(row(talk, (WEATHER, clock))))
    said = calls_of([{"function": {"name": "f", "arguments": '{"a": null}'}}])
    assert said[0]["function"]["arguments"] == {"a": None}


def test_a_row_whose_tools_are_none_is_told() -> None:
    shape = recognise(from_rows([row(TALK)]))
    with pytest.raises(BadRow, match="'tools': the tools are no list of functions"):
        shape.example(row(TALK, ["weather"]))
    assert "tools" not in recognise(from_rows([row(TALK, ["weather"])])).columns


class TestTrainOn:
    """`options.train_on: last` leaves all but the last answer of a conversation untrained."""

    LAST = SFT.bound({"train_on": "last"})

    @pytest.mark.parametrize("name", [*TOOL_TEMPLATES, "alpaca", "plain"])
    @pytest.mark.parametrize("end", [6, 8])
    def test_the_last_answer_alone_is_trained(self, name: str, end: int) -> None:
        tokenizer, template = (
            chat(name) if name in TOOL_TEMPLATES else (byte_level(), Template.resolve(name, None, None))
        )
        given = example(row(TALK[:end]))
        every, last = (task.encode(given, template, tokenizer) for task in (SFT, self.LAST))
        assert every.input_ids == last.input_ids
        asked = SFT.prompt(given, template, tokenizer).ids
        assert last.labels == [-100] * len(asked) + every.labels[len(asked) :]
        assert 0 < last.trained < every.trained
        dataset = from_rows([row(TALK[:end])])
        encoded = self.LAST.encode_dataset(dataset, recognise(dataset), template, tokenizer)
        assert encoded[0]["labels"] == last.labels
        view = self.LAST.view(dataset, 0, recognise(dataset), template, tokenizer, None)
        assert view.trained == last.trained

    def test_an_empty_last_answer_is_no_reason_to_train_the_one_before(self) -> None:
        tokenizer, template = byte_level(), Template.resolve("plain", None, None)
        talk = [*TALK[:6], {"role": "user", "content": "Thanks."}, {"role": "assistant", "content": ""}]
        found = self.LAST.encode(example(row(talk)), template, tokenizer)
        assert [label for label in found.labels if label != -100] == [tokenizer.eos_id]

    def test_running_text_is_trained_whole(self) -> None:
        tokenizer, template = byte_level(), Template.resolve("text", None, None)
        text = example({"text": "all of it"})
        assert self.LAST.encode(text, template, tokenizer) == SFT.encode(text, template, tokenizer)


class TestWeights:
    """`"weight": 0` on an answer, as in OpenAI's chat format: the model reads it, and doesn't learn it."""

    @pytest.mark.parametrize("name", [*TOOL_TEMPLATES, "alpaca", "plain"])
    def test_an_answer_of_weight_0_is_only_read(self, name: str) -> None:
        tokenizer, template = (
            chat(name) if name in TOOL_TEMPLATES else (byte_level(), Template.resolve(name, None, None))
        )
        talk = [{"role": role, "content": text} for role, text in
                [("user", "One?"), ("assistant", "Uno."), ("user", "Two?"), ("assistant", "Dos."),
                 ("user", "Three?"), ("assistant", "Tres.")]]  # fmt: skip
        every = SFT.encode(example(row(talk)), template, tokenizer)
        weighed = [turn | ({"weight": 0} if turn["content"] == "Dos." else {"weight": None}) for turn in talk]
        found = SFT.encode(example(row(weighed)), template, tokenizer)
        assert found.input_ids == every.input_ids
        kept = tokenizer.decode([label for label in found.labels if label != -100])
        assert "Uno." in kept
        assert "Tres." in kept
        assert "Dos." not in kept
        left = [at for at, (a, b) in enumerate(zip(found.labels, every.labels, strict=True)) if a != b]
        assert "Dos." in tokenizer.decode([every.labels[at] for at in left])
        assert len(left) == every.trained - found.trained

    def test_a_weight_between_is_no_weight(self) -> None:
        talk = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Uno.", "weight": 0.5}]
        with pytest.raises(BadRow, match=r"turn 2 has the weight 0\.5: it is learnt \(1\) or only read \(0\)"):
            example(row(talk))


def test_calls_as_text_hold_no_ids() -> None:
    """Where a template has no form for calls they are JSON in the text, without ids, which are drawn anew."""
    shape = recognise(from_rows([row(TALK)]))
    for talk in (TALK, as_text(TALK)):
        assert shape.example(row(talk)).reference == '[{"name": "weather", "arguments": {"city": "Rom"}}]'
