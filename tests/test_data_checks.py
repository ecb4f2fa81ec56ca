"""Profiles and checks: planted faults are found, real files give known figures, splits keep copies together."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import SPECIAL, TEMPLATES
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import byte_level

from ftstudio import tasks
from ftstudio.cli.inspect import data_text
from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.data.checks import CHECKS, Check, run_checks
from ftstudio.data.checks.tokens import errors_of_tokens
from ftstudio.data.dataset import from_rows
from ftstudio.data.encode import Tokens
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.normal import normal
from ftstudio.data.profile import column_stats, lengths, profile, profile_dataset
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise
from ftstudio.data.split import split_dataset, split_rows
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.tasks.checked import checks_of


def found(rows: list[dict[str, Any]], **settings: Any) -> dict[str, Check]:
    return {check.name: check for check in profile(from_rows(rows), **settings).checks}


GOOD = [{"prompt": f"what is {n}", "completion": f"the answer {n}"} for n in range(5)]


def test_clean_rows_have_no_findings() -> None:
    assert (
        found(GOOD, tokenizer=byte_level(), max_length=64, held_out=from_rows([{"prompt": "x", "completion": "y"}]))
        == {}
    )


def test_planted_faults_are_found_and_no_others() -> None:
    rows = [
        *GOOD,
        {"prompt": "What  IS 1", "completion": "the answer 1 "},  # 5: copy of 1
        {"prompt": "what is 2", "completion": "something else"},  # 6: conflicts with 2
        {"prompt": " ", "completion": "nothing asked"},  # 7: empty
        {"prompt": "nothing answered", "completion": ""},  # 8: empty
        {"completion": "no prompt"},  # 9: unusable
        {"prompt": "a special one", "completion": "stop <|end|> here"},  # 10
        {"prompt": "word " * 60, "completion": "lost"},  # 11: all masked and cut
        {"prompt": "cut", "completion": "answer " * 60},  # 12: cut
    ]
    checks = found(rows, tokenizer=byte_level(), max_length=48, held_out=from_rows([GOOD[3] | {"completion": "?"}]))
    assert {name: check.rows for name, check in checks.items()} == {
        "unusable": (9,),
        "exact_leak": (3,),
        "all_labels_masked": (11,),
        "empty": (7, 8),
        "exact_duplicate": (5,),
        "conflicting_answers": (2, 6),
        "cut_by_max_length": (11, 12),
        "special_tokens": (10,),
    }
    assert [check.severity for check in checks.values()] == ["error"] * 3 + ["warning"] * 5
    assert all(check.count == len(check.rows) for check in checks.values())
    assert checks["exact_leak"].details["held_out_rows"] == [0]
    assert checks["cut_by_max_length"].details["lost_trained"] > 20
    assert all(check.text.endswith(".") and str(check.count) in check.text for check in checks.values())


def test_conversations_are_checked() -> None:
    def talk(*roles: str) -> dict[str, Any]:
        return {"messages": [{"role": role, "content": f"{role} {place}"} for place, role in enumerate(roles)]}

    rows = [
        talk("system", "user", "assistant"),
        talk("user", "user", "assistant"),
        talk("user", "assistant", "user"),
        talk("user", "system", "assistant"),
        talk("user"),
    ]
    checks = found(rows)
    assert checks["role_order"].rows == (1, 3)
    assert checks["last_turn"].rows == (2,)
    assert checks["unusable"].rows == (4,)


def test_rows_the_template_refuses_are_unusable() -> None:
    tokenizer = byte_level(bos="<s>", extra=SPECIAL, chat_template=TEMPLATES["mistral"])
    turn = {"role": "user", "content": "a"}
    rows = [{"messages": [turn, turn, {"role": "assistant", "content": "b"}]}]
    checks = found(rows, tokenizer=tokenizer)
    assert "alternate" in checks["unusable"].text


def test_a_merged_boundary_is_noted() -> None:
    checks = found(
        [{"prompt": " t", "completion": "he"}], tokenizer=byte_level(), template="{{ prompt }}{{ completion }}"
    )
    assert checks["boundary_merge"].severity == "note"


def test_unknown_template_names_are_errors() -> None:
    checks = found(GOOD, tokenizer=byte_level(), template="{{ prompt }} {{ topic }} {{ completion }}")
    assert checks["template_variable"].details["variables"] == ["topic"]


def test_further_instances_are_counted() -> None:
    row = {"instruction": "q", "instances": [{"input": "", "output": "a"}, {"input": "", "output": "b"}]}
    assert found([row])["further_instances"].rows == (0,)


def test_unreadable_lines_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\noops\n')
    checks = profile(open_dataset(path)).checks
    assert [(check.name, check.severity, check.rows) for check in checks] == [("unreadable", "error", (2,))]


def test_copies_are_found_without_a_mapping() -> None:
    rows = [{"x": 1, "y": "a"}, {"x": 2, "y": "a"}, {"x": 1, "y": "a"}]
    assert found(rows)["exact_duplicate"].rows == (2,)


def test_only_some_checks() -> None:
    rows = [GOOD[0], GOOD[0], {"prompt": "", "completion": "x"}]
    assert set(found(rows, checks="empty")) == {"empty"}
    assert set(found(rows, checks=["exact_duplicate", "empty"])) == {"exact_duplicate", "empty"}
    assert found(rows, checks="none") == {}
    with pytest.raises(UsageError, match="no check"):
        found(rows, checks="emty")


def test_real_leaks_are_all_found(shared: Path) -> None:
    """GSM8K with 50 test questions planted in the training rows: all are found, and nothing else."""
    train = list(open_dataset(shared / "data/gsm8k/train.jsonl").iter(0, 2000))
    test = open_dataset(shared / "data/gsm8k/test.jsonl")
    chosen = random.Random(1).sample(range(len(test)), 50)
    rows = [*train, *({**test[index], "question": test[index]["question"].upper()} for index in chosen)]
    dataset = from_rows(rows)
    (leak,) = run_checks(dataset, recognise(dataset), held_out=test, only="exact_leak")
    assert leak.rows == tuple(range(2000, 2050))
    assert leak.details["held_out_rows"] == sorted(chosen)


@settings(max_examples=100)
@given(st.text(max_size=20))
def test_normal_is_stable_and_blind_to_case_and_space(text: str) -> None:
    assert normal(normal(text)) == normal(text) or not text.isascii()
    assert normal(f"  {text}\n") == normal(text)
    if text.isascii():
        assert normal(text.upper()) == normal(text.lower())


class TestProfile:
    """Figures and the JSON that scripts rely on."""

    def test_json_of_a_real_file(self, shared: Path) -> None:
        dataset = open_dataset(shared / "data/llamafactory-demo/alpaca_en_demo.json")
        tokenizer = load_tokenizer(shared / "models/stories260k")
        plain = profile_dataset(dataset, tokenizer=tokenizer, max_length=512)
        again = json.loads(json.dumps(plain))
        assert again["rows"] == 999
        assert (again["format"], again["encoding"], again["task"]) == ("json", "utf-8", "sft")
        assert [(column["name"], column["type"]) for column in again["columns"]] == [
            ("instruction", "text"),
            ("input", "text"),
            ("output", "text"),
        ]
        assert again["mapping"] == {"prompt": "instruction", "completion": "output", "input": "input"}
        assert set(again["lengths"]) == {"prompt", "completion", "total"}
        assert again["lengths"]["total"]["unit"] == "tokens"
        assert sum(again["lengths"]["total"]["counts"]) == 999
        checks = {check["name"]: check for check in again["checks"]}
        assert set(checks) <= set(CHECKS)
        assert set(checks["cut_by_max_length"]) >= {"name", "severity", "count", "rows"}
        over = checks["cut_by_max_length"]["count"]
        assert again["lengths"]["total"]["cut"] == pytest.approx(over / 999)
        assert again["tokens"]["truncated"] == over

    def test_unmapped_files_are_described_all_the_same(self, shared: Path) -> None:
        plain = profile_dataset(from_rows([{"alpha": n % 3, "beta": f"b{n % 2}"} for n in range(4)]))
        assert (plain["mapping"], plain["task"], plain["tasks"]) == ({}, None, [])
        assert "alpha, beta" in plain["why"]
        assert [column["unique"] for column in plain["columns"]] == [3, 2]

    def test_rows_for_other_tasks_are_described(self, shared: Path) -> None:
        plain = profile_dataset(open_dataset(shared / "data/sms-spam/sms.tsv"))
        assert plain["rows"] == 5574
        assert (plain["task"], plain["mapping"]) == ("text-classification", {"text": "column_2", "label": "column_1"})
        assert "judged by what is in them" in plain["why"]
        assert plain["columns"][0]["top"][0] == {"value": "ham", "count": 4827}
        assert plain["columns"][0]["unique"] == 2

    def test_characters_without_a_tokenizer(self) -> None:
        plain = profile_dataset(from_rows([{"prompt": "four", "completion": "sixsix"}]))
        assert plain["lengths"]["completion"]["max"] == 6
        assert plain["lengths"]["total"]["unit"] == "characters"
        assert plain["tokens"] is None

    def test_columns(self) -> None:
        rows: list[dict[str, Any]] = [
            {"a": "x", "n": 1},
            {"a": "x", "n": 2.5},
            {"a": "yyy", "n": 3},
            {"n": None, "a": " "},
        ]
        text, number = column_stats(from_rows(rows))
        assert (text.empty, text.unique, text.min_length, text.max_length) == (1, 2, 1, 3)
        assert text.mean_length == pytest.approx(5 / 3)
        assert text.top == (("x", 2),)
        assert text.low is None
        assert (number.low, number.high, number.empty) == (1, 3, 1)
        assert number.mean_value == pytest.approx(6.5 / 3)

    @settings(max_examples=150)
    @given(st.lists(st.integers(0, 5000), min_size=1, max_size=200), st.integers(1, 30), st.integers(0, 5000))
    def test_lengths(self, values: list[int], bins: int, limit: int) -> None:
        shown = lengths(values, bins=bins, limit=limit)
        assert sum(shown.counts) == len(values)
        assert len(shown.edges) == len(shown.counts) + 1 <= bins + 1
        expected, _ = np.histogram(values, bins=[*shown.edges[:-1], shown.edges[-1] - 0.5])
        assert list(shown.counts) == list(expected)
        assert shown.p50 == np.percentile(values, 50, method="inverted_cdf")
        assert shown.p95 == np.percentile(values, 95, method="inverted_cdf")
        assert shown.max == max(values)
        assert shown.cut == pytest.approx(sum(value > limit for value in values) / len(values))

    def test_can_be_stopped(self) -> None:
        with pytest.raises(Stopped):
            profile(from_rows(GOOD), cancel=lambda: True)


class TestSplit:
    """Seeded, disjoint, leak-free."""

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(0, 30), min_size=2, max_size=80), st.floats(0.01, 0.99), st.integers(0, 5))
    def test_sides_are_disjoint_complete_and_leak_free(self, prompts: list[int], fraction: float, seed: int) -> None:
        rows = [{"prompt": f"Q {n}" if place % 2 else f"q  {n} ", "completion": "x"} for place, n in enumerate(prompts)]
        dataset = from_rows(rows)
        shape = recognise(dataset)
        if len(set(prompts)) == 1:
            with pytest.raises(StudioError, match="same prompt"):
                split_rows(dataset, fraction, seed, shape=shape)
            return
        train, held = split_rows(dataset, fraction, seed, shape=shape)
        assert sorted(train + held) == list(range(len(rows)))
        assert train
        assert held
        assert {prompts[row] for row in train}.isdisjoint({prompts[row] for row in held})
        assert split_rows(dataset, fraction, seed, shape=shape) == (train, held)

    def test_size_and_seed(self, shared: Path) -> None:
        dataset = open_dataset(shared / "data/gsm8k/test.jsonl")
        shape = recognise(dataset)
        first, second = (split_rows(dataset, 0.1, seed, shape=shape)[1] for seed in (0, 1))
        assert len(first) == len(second) == 132
        assert len(set(first) & set(second)) < 40
        train, held = split_dataset(dataset, 0.1, shape=shape)
        assert run_checks(train, shape, held_out=held, only="exact_leak") == []

    def test_the_same_everywhere(self) -> None:
        """The held-out rows depend on content and seed alone: fixed here, so no machine or version changes them."""
        dataset = from_rows([{"prompt": f"row {n}", "completion": "x"} for n in range(20)])
        assert split_rows(dataset, 0.2, 0, shape=recognise(dataset))[1] == FIXED

    def test_more_rows_move_few(self) -> None:
        rows = [{"prompt": f"row {n}", "completion": "x"} for n in range(1000)]
        shape = recognise(from_rows(rows))
        before = set(split_rows(from_rows(rows[:900]), 0.1, shape=shape)[1])
        after = set(split_rows(from_rows(rows), 0.1, shape=shape)[1])
        assert len(before & after) > 80

    def test_order_is_kept_and_unmapped_rows_are_split(self) -> None:
        dataset = from_rows([{"x": n % 7} for n in range(50)])
        train, held = split_rows(dataset, 0.3)
        assert train == sorted(train)
        assert held == sorted(held)
        assert Counter(dataset[row]["x"] for row in held).keys().isdisjoint({dataset[row]["x"] for row in train})

    @pytest.mark.parametrize("fraction", [0, 1, -0.5, 2])
    def test_bad_fractions(self, fraction: float) -> None:
        with pytest.raises(UsageError, match="fraction"):
            split_rows(from_rows(GOOD), fraction)

    def test_one_row_says_so(self) -> None:
        with pytest.raises(StudioError, match="has 1 row") as caught:
            split_rows(from_rows(GOOD[:1]), 0.1)
        assert "data.eval" in caught.value.hint


FIXED = [2, 7, 12, 13]


def test_two_start_tokens_are_told() -> None:
    rows = [{"prompt": "<s>what is 1", "completion": "the answer"}, {"prompt": "what is 2", "completion": "an answer"}]
    checks = found(rows, tokenizer=byte_level(bos="<s>"), template="<s>{{ prompt }} {{ completion }}")
    assert checks["double_start"].rows == (0,)


def test_a_chat_template_that_changes_turns_is_told() -> None:
    shouting = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | upper }}<|end|>{% endfor %}"
    turns = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "GOOD DAY"}]
    tokenizer = byte_level(extra=SPECIAL, chat_template=shouting)
    check = found([{"messages": turns}], tokenizer=tokenizer)["template_text"]
    assert check.rows == (0,)
    assert "hello there" in check.text
    faithful = byte_level(extra=SPECIAL, chat_template=shouting.replace(" | upper", ""))
    assert "template_text" not in found([{"messages": turns}], tokenizer=faithful)


@pytest.mark.parametrize(("task", "rows", "name", "count"), [
    ("text-classification", [{"text": f"t {n}", "label": None if n % 5 == 0 else "ab"[n % 2]} for n in range(20)],
     "unusable", 4),
    ("text-classification", [{"text": f"t {n}", "label": "a"} for n in range(20)], "unlearnable", 20),
    ("text-classification", [{"text": f"t {n}", "label": ("Pos", "pos", "neg")[n % 3]} for n in range(21)],
     "label_spelling", 3),
    ("text-classification", [{"text": f"t {n}", "label": ("a", "b", "a,b")[n % 3]} for n in range(21)],
     "label_spelling", 3),
    ("seq2seq", [{"source": f"t {n}" if n % 4 else "", "target": f"u {n}"} for n in range(20)], "unusable", 5),
    ("embedding", [{"premise": f"t {n}", "hypothesis": f"u {n}", "label": n % 3} for n in range(20)], "unlearnable",
     20),
    ("token-classification", [{"tokens": "['a', 'b']", "tags": '["B-X", "O"]'}] * 3, "", 0),
])  # fmt: skip
def test_a_task_finds_what_it_cannot_learn(task: str, rows: list[dict[str, Any]], name: str, count: int) -> None:
    """As `plan` refuses it later; where nobody named the task, as a warning only."""
    dataset = from_rows(rows)
    for sure, severity in ((True, "error"), (False, "warning")):
        found = checks_of(tasks.get(task), dataset, recognise(dataset, task=task), sure)
        wanted = [(name, "warning" if name == "label_spelling" else severity, count)] if name else []
        assert [(check.name, check.severity, check.count) for check in found] == wanted
    value = profile_dataset(dataset, task=task, by_task=lambda kind, *told: checks_of(tasks.get(kind), *told))
    assert [c["count"] for c in value["checks"] if c["name"] == name] == ([count] if name else [])
    if name == "unusable":
        assert "(rows 1, " in data_text({**value, "reading": [], "unread_file": None})


def test_pictures_that_are_missing_empty_or_broken_are_told_by_name(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (4, 4)).save(tmp_path / "fine.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxxxx")
    names = [*["fine.png"] * 20, "gone.png", "empty.png", "broken.png"]
    rows = [json.dumps({"image": name, "prompt": "What?", "completion": f"It {n}"}) for n, name in enumerate(names)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    dataset = open_dataset(tmp_path / "rows.jsonl")
    task = tasks.get("image-text-to-text")
    [check] = checks_of(task, dataset, recognise(dataset, task=task.name), sure=False)
    assert (check.name, check.severity, check.rows) == ("unusable", "error", (20, 21, 22))
    for part in ("gone.png isn't there", "empty.png is empty (0 bytes)", "broken.png can't be read"):
        assert part in check.text


@pytest.mark.parametrize("name", ["rows.txt", "rows.jsonl"])
def test_blank_lines_of_a_text_part_it_and_are_no_errors(tmp_path: Path, name: str) -> None:
    """In a table an empty cell is one: somebody meant to say something there."""
    path, lines = tmp_path / name, ["one two", "", "three four", "  ", "five six"]
    path.write_text("".join(f"{json.dumps({'text': line}) if name.endswith('jsonl') else line}\n" for line in lines))
    dataset = open_dataset(str(path))
    encoded = EncodedSet()
    for row, line in enumerate(lines):
        if line.strip():
            encoded.add(row, Tokens([1, 2, 3], bytearray(b"\1\1\1"), False), frozenset(), None)
        else:
            encoded.leave_out(row, "the text is empty")
    errors = errors_of_tokens(encoded, dataset)
    assert [check.rows for check in errors] == ([] if name == "rows.txt" else [(1, 3)])
