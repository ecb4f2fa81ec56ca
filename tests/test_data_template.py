"""Templates: exact texts, chat templates against transformers' apply_chat_template, hostile input."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_templates import MARKED, SPECIAL, TEMPLATES
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import byte_level, save_byte_level

from ftstudio.core.errors import UsageError
from ftstudio.data.chat import Segment
from ftstudio.data.dataset import from_rows
from ftstudio.data.example import BadRow, Example, Turn
from ftstudio.data.shape import recognise
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer

TALK = (
    Turn("user", "How many apples?"),
    Turn("assistant", "Three [a]."),
    Turn("user", "And pears? </think>"),
    Turn("assistant", "Two.\nReally  "),
)


def tokenizer_with(template: str | None) -> Tokenizer:
    return byte_level(bos="<s>", extra=SPECIAL, chat_template=template)


def trained(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments if segment.trained]


def whole(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def example(row: dict[str, object]) -> Example:
    return recognise(from_rows([row])).example(row)


def test_alpaca_is_the_published_prompt() -> None:
    template = Template.resolve("alpaca", None, None)
    first = template.segments(example({"instruction": "Add.", "input": "1 2", "output": "3"}))
    assert whole(first) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n"
        "### Response:\n3"
    )
    second = template.segments(example({"instruction": "Sing.", "input": " ", "output": "La"}))
    assert whole(second) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSing.\n\n### Response:\nLa"
    )
    assert trained(first) == ["3"]
    assert trained(second) == ["La"]


def test_alpaca_writes_conversations_and_systems() -> None:
    template = Template.resolve("alpaca", None, None)
    segments = template.segments(Example((Turn("system", "Be brief."), *TALK)))
    assert whole(segments).startswith(
        "Be brief.\n\n### Instruction:\nHow many apples?\n\n### Response:\nThree [a].\n\n"
    )
    assert trained(segments) == ["Three [a].", "Two.\nReally  "]


def test_plain_and_generic() -> None:
    row = example({"prompt": "2+2?", "completion": "4"})
    assert Template.resolve("plain", None, None).segments(row) == [Segment("2+2?\n", False), Segment("4", True)]
    generic = Template.resolve("chat", tokenizer_with(None), None)
    assert generic.segments(row) == [Segment("User:\n2+2?\n\nAssistant:\n", False), Segment("4", True)]
    assert "no chat template" in generic.note


@pytest.mark.parametrize("name", ["alpaca", "plain", "chat"])
@pytest.mark.parametrize("talk", [TALK, TALK[:2], (Turn("system", "S"), *TALK), TALK[:3], TALK[1:2], TALK[1:]])
def test_what_is_trained_is_what_the_assistant_said(name: str, talk: tuple[Turn, ...]) -> None:
    template = Template.resolve(name, None, None)
    segments = template.segments(Example(talk))
    assert trained(segments) == [turn.content for turn in talk if turn.role == "assistant"]
    prompt = template.segments(Example(talk), for_generation=True)
    assert whole(segments) == whole(prompt) + trained(segments)[-1]


def test_defaults_follow_the_shape() -> None:
    def name(row: dict[str, object], template: str | None = None) -> str:
        return Template.resolve(None, tokenizer_with(template), recognise(from_rows([row]))).name

    assert name({"instruction": "a", "input": "", "output": "b"}) == "alpaca"
    assert name({"prompt": "a", "completion": "b"}) == "plain"
    assert name({"prompt": "a", "completion": "b"}, TEMPLATES["chatml"]) == "chat"
    assert name({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}) == "chat"
    assert name({"text": "a"}, TEMPLATES["chatml"]) == "text"


def test_text_is_trained_whole_by_any_template() -> None:
    row = {"text": "all of it"}
    shape = recognise(from_rows([row]))
    for name in (None, "alpaca", "plain", "chat", "T: {{ text }}"):
        segments = Template.resolve(name, tokenizer_with(TEMPLATES["chatml"]), shape).segments(shape.example(row))
        assert trained(segments) == [whole(segments)]
        assert "all of it" in whole(segments)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tokenizer, object]]:
    from transformers import AutoTokenizer

    from ftstudio.data.tokenizer import load_tokenizer

    found = {}
    for name, source in (TEMPLATES | MARKED).items():
        folder = tmp_path_factory.mktemp("chat") / name
        save_byte_level(folder, eos="</s>", bos="<s>", extra=SPECIAL, chat_template=source)
        found[name] = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    return found


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("talk", [TALK, TALK[:2], (Turn("system", "S"), *TALK)])
def test_chat_text_is_that_of_transformers(chats: dict, name: str, talk: tuple[Turn, ...]) -> None:
    ours, theirs = chats[name]
    template = Template.resolve("chat", ours, None)
    messages = [{"role": turn.role, "content": turn.content} for turn in talk]
    refuses = talk[0].role == "system" and name in ("mistral", "gemma")
    if refuses:  # the system message goes before the first question instead
        with pytest.raises(Exception, match=r"supported|alternate"):
            theirs.apply_chat_template(messages, tokenize=False)
        messages = [{"role": "user", "content": "S\n\n" + messages[1]["content"]}, *messages[2:]]
    expected = theirs.apply_chat_template(messages, tokenize=False)
    segments = template.segments(Example(talk))
    assert whole(segments) == expected
    asked = theirs.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    if name == "opens_thought":  # generation is fed what training has seen
        asked = asked.removesuffix("<think>\n")
    assert whole(template.segments(Example(talk), for_generation=True)) == asked
    answers = [turn.content.strip() for turn in talk if turn.role == "assistant"]
    assert len(trained(segments)) == len(answers)
    for text, answer in zip(trained(segments), answers, strict=True):
        assert answer in text
        assert "How many" not in text
        assert "And pears" not in text
    ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert ours.encode(expected) == ids


@pytest.mark.parametrize("name", ["generation", *MARKED])
def test_generation_marks_agree_with_transformers(chats: dict, name: str) -> None:
    """Where a template says itself what is trained, the very same tokens are: but no white space behind an end token,
    where generation has stopped, and no end token that the marks leave out."""
    from ftstudio.data.encode import encode, end_ids

    ours, theirs = chats[name]
    template = Template.resolve("chat", ours, None)
    messages = [{"role": turn.role, "content": turn.content} for turn in TALK]
    expected = theirs.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    found = encode(Example(TALK), template, ours)
    assert found.input_ids == expected["input_ids"]
    masks, ids = expected["assistant_masks"], found.input_ids
    end = ours.backend.id_of("<|im_end|>")
    behind = [bool(place) and ids[place - 1] == end for place in range(len(ids))]
    wanted = [bool(flag) and not after for flag, after in zip(masks, behind, strict=True)]
    assert [label != -100 for label in found.labels] == wanted
    assert end in end_ids(template, ours)
    assert (found.ends, "isn't taught to stop" in template.note) == (
        (False, True) if "no_end" in name else (True, False)
    )
    asked = theirs.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    assert template.text(Example(TALK), for_generation=True) == asked


def test_marks_that_a_template_changes_are_left_for_the_search() -> None:
    """What is marked is trimmed once more: where it stands can't be told from marks."""
    trimmed = TEMPLATES["generation"].replace("{% generation %}", "{% set said %}{% generation %}").replace(
        "{% endgeneration %}", "{% endgeneration %}{% endset %}{{ said | trim }}"
    )  # fmt: skip
    talk = (Turn("user", "Hi"), Turn("assistant", "  Hello"))
    said = trained(Template.resolve("chat", tokenizer_with(trimmed), None).segments(Example(talk)))
    assert said == ["Hello<|im_end|>"]


@pytest.mark.parametrize(("name", "end"), [("chatml", "<|im_end|>"), ("llama3", "<|eot_id|>"), ("mistral", "</s>")])
def test_the_end_of_a_turn_is_trained_and_nothing_after(chats: dict, name: str, end: str) -> None:
    template = Template.resolve("chat", chats[name][0], None)
    assert all(text.endswith(end) for text in trained(template.segments(Example(TALK))))


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "mistral"])
def test_an_answer_that_comes_first_trains_no_header(chats: dict, name: str) -> None:
    template = Template.resolve("chat", chats[name][0], None)
    (said,) = trained(template.segments(Example((Turn("assistant", "Welcome"),))))
    assert said.strip().removeprefix("<think>\n\n</think>\n\n").startswith("Welcome")


def test_a_refused_conversation_is_a_bad_row(chats: dict) -> None:
    template = Template.resolve("chat", chats["mistral"][0], None)
    with pytest.raises(BadRow, match="alternate"):
        template.segments(Example((Turn("user", "a"), Turn("user", "b"), Turn("assistant", "c"))))


def test_jinja_over_the_row() -> None:
    row = {"question": "2+2?", "answer": "4", "topic": "sums"}
    shape = recognise(from_rows([row]))
    template = Template.resolve("[{{ topic }}] Q: {{ question }}\nA: {{ completion }} END", None, shape)
    found = shape.example(row)
    assert template.segments(found) == [Segment("[sums] Q: 2+2?\nA: ", False), Segment("4 END", True)]
    assert template.segments(found, for_generation=True) == [Segment("[sums] Q: 2+2?\nA: ", False)]
    by_column = Template.resolve("{{ prompt }}={{ answer }}", None, shape)
    assert by_column.segments(found) == [Segment("2+2?=", False), Segment("4", True)]
    assert template.variables == {"topic", "question", "completion"}


def test_jinja_without_the_completion_is_a_bad_row() -> None:
    with pytest.raises(BadRow, match="completion"):
        Template.resolve("{{ prompt }}", None, None).segments(example({"prompt": "a", "completion": "b"}))


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ completion }}",
        "{{ prompt.__init__.__globals__ }}{{ completion }}",
        "{{ 1 / 0 }}{{ completion }}",
        "{% for i in range(10**9) %}x{% endfor %}{{ completion }}",
        "{{ messages.append(1) }}{{ completion }}",
    ],
)
def test_hostile_templates_stay_in_the_sandbox(source: str) -> None:
    with pytest.raises(BadRow):
        Template.resolve(source, None, None).segments(example({"prompt": "a", "completion": "b"}))


@pytest.mark.parametrize("name", ["alpacca", "Chat", "", "{{ prompt", "{% if %}"])
def test_unknown_and_faulty_templates_say_so(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template.resolve(name, None, None)
    assert caught.value.hint


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*TEMPLATES, *MARKED, "alpaca", "plain", "none"]),
    st.lists(st.text(max_size=12), min_size=2, max_size=6).filter(lambda parts: len(parts) % 2 == 0),
)
def test_any_conversation(name: str, parts: list[str]) -> None:
    """Whatever is said: the prompt is a prefix of the whole text, and the last trained piece holds the last answer."""
    tokenizer = tokenizer_with((TEMPLATES | MARKED).get(name))
    template = Template.resolve(name if name in ("alpaca", "plain") else "chat", tokenizer, None)
    talk = tuple(Turn("user" if place % 2 == 0 else "assistant", part) for place, part in enumerate(parts))
    try:
        segments = template.segments(Example(talk))
    except BadRow:
        return
    prompt = whole(template.segments(Example(talk), for_generation=True))
    assert whole(segments).startswith(prompt)
    if trained(segments) and parts[-1].strip():
        assert parts[-1].strip() in trained(segments)[-1]


def test_resolving_needs_no_shared_state(tmp_path: Path) -> None:
    first = Template.resolve("chat", tokenizer_with(TEMPLATES["chatml"]), None)
    second = Template.resolve("chat", tokenizer_with(TEMPLATES["gemma"]), None)
    assert whole(first.segments(Example(TALK))) != whole(second.segments(Example(TALK)))


def test_several_templates_take_turns_by_what_a_row_asks() -> None:
    """The same one in training and in answers, whatever the row's answer and place are."""
    first, second = "Q: {{ prompt }}\nA: {{ completion }}", "{{ prompt }} => {{ completion }}"
    template = Template.resolve((first, second), None, None)
    assert template.variables == {"prompt", "completion"}
    told = []
    for number in range(40):
        row = {"prompt": f"How much is {number}?", "completion": f"It is {number}."}
        whole_text = whole(template.segments(example(row)))
        told.append(whole_text.startswith("Q: "))
        asked = template.text(example(row), for_generation=True)
        assert whole_text == f"{asked}{row['completion']}"
        assert whole(template.segments(example({**row, "completion": "No idea."}))).startswith(asked)
    assert 10 < sum(told) < 30
    assert Template.resolve(("plain",), None, None).name == "plain"
    with pytest.raises(UsageError, match="can't be mixed"):
        Template.resolve(("chat", "plain"), tokenizer_with(TEMPLATES["chatml"]), None)
