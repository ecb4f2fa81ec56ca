"""Judging for real: a local model, a server on loopback, both at once; stopped, failing, gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_server import Faulty, serving
from tiny_models import make_model

from ftstudio.core import files
from ftstudio.core.errors import Stopped
from ftstudio.core.folder import JobFolder
from ftstudio.core.recipe import Recipe
from ftstudio.engine.context import JobContext
from ftstudio.engine.judge import FILE, Judging
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.votes.book import NAME, Book

pytest.importorskip("torch")
PREDICTIONS = {
    arm: [
        Prediction(row, f"Question {row}?", "right", "the same" if row == 3 else answer.format(row)) for row in range(8)
    ]
    for arm, answer in (("base", "wrong {}"), ("tuned", "right"))
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("judge") / "model", max_position_embeddings=2048)


def judging(tmp_path: Path, base: Path, /, stop: Any = lambda: False, **settings: Any) -> Judging:
    from ftstudio.engine.models import ModelStore

    recipe = Recipe.model_validate(
        {
            "model": str(base),
            "data": {"train": "demo"},
            "training": {"device": "cpu"},
            "evaluation": {"judge": settings},
        }
    )
    folder = JobFolder(tmp_path / "compare")
    context = JobContext(folder, ModelStore(), stop, lambda *_: None, lambda: None)
    assert recipe.evaluation.judge is not None
    return Judging(context, recipe, recipe.evaluation.judge, PREDICTIONS)


def prefers_right(messages: list[dict[str, str]]) -> str:
    body = messages[-1]["content"]
    first = body.split("=== ANSWER A ===\n")[1].split("\n")[0]
    return "Verdict: A" if first == "right" else "Verdict: B"


def test_a_server_judges_both_orders_and_is_not_asked_twice(tmp_path: Path, model: Path) -> None:
    with serving(prefers_right, Faulty(429, {"Retry-After": "0.05"}), Faulty(500)) as server:
        settings = {"url": server.url, "model": "judge", "server": {"price_in": 1.0, "price_out": 2.0}}
        found = judging(tmp_path, model, **settings).run(None)
        asked = len(server.requests)
        path, changes = tmp_path / "compare" / FILE, ({"row": [0]}, {"a": {}}, {"first": None}, {"answers": ["x"]})
        line = files.read_lines(path)[0] | {"choice": "tie"}
        files.LineWriter(path).append(*(line | change for change in (*changes, {"row": True})))
        again = judging(tmp_path, model, **settings).run(None)
        assert len(server.requests) == asked == 14 + 2
        other = judging(tmp_path, model, **settings | {"rubric": "Be kind."}).run(None)
        assert len(server.requests) == 16 + 14  # another rubric is another judge
    pair = found["pairs"][0]
    assert (pair["a"], pair["b"], pair["wins"], pair["losses"], pair["alike"]) == ("base", "tuned", 7, 0, 1)
    assert pair["flips"]["share"] == 0.0
    assert pair["first"]["share"] == 0.5
    assert found["complete"]
    assert found["usage"]["failed_tries"] == 2
    assert found["usage"]["cost"] > 0
    assert again["pairs"] == found["pairs"]
    assert other["pairs"][0]["wins"] == 7


def test_a_failing_judge_keeps_what_it_said_and_goes_on_later(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen")
    with serving(prefers_right) as server:
        settings = {"url": server.url, "model": "judge", "server": {"parallel": 1, "retries": 0}}

        def until_five(messages: list[dict[str, str]]) -> str:
            if len(server.requests) >= 5:
                server.faults = [Faulty(401, body=b'{"error": {"message": "bad sk-not-to-be-seen"}}')]
            return prefers_right(messages)

        server.answer = until_five
        found = judging(tmp_path, model, **settings).run(None)
        assert not found["complete"]
        assert "HTTP 401" in found["reason"]
        assert len(files.read_lines(tmp_path / "compare" / FILE)) == 5
        server.answer, server.faults = prefers_right, []
        before = len(server.requests)
        whole = judging(tmp_path, model, **settings).run(None)
        assert len(server.requests) - before == 14 - 5
    assert whole["complete"]
    assert whole["pairs"][0]["wins"] == 7
    for path in (tmp_path / "compare").iterdir():
        assert "sk-not" not in path.read_text()


def test_a_stop_ends_it_and_what_was_said_is_kept(tmp_path: Path, model: Path) -> None:
    with serving(prefers_right) as server:
        judge = judging(
            tmp_path, model, lambda: len(server.requests) >= 4, url=server.url, model="judge", server={"parallel": 1}
        )
        with pytest.raises(Stopped):
            judge.run(None)
    assert 3 <= len(files.read_lines(tmp_path / "compare" / FILE)) <= 5


def test_people_who_voted_agree_or_not(tmp_path: Path, model: Path) -> None:
    outputs = {a.row: (a.output, b.output) for a, b in zip(PREDICTIONS["base"], PREDICTIONS["tuned"], strict=True)}
    book = Book(tmp_path / "compare" / NAME, "base", "tuned", "me")
    for row, wanted in ((0, "tuned"), (1, "tuned"), (2, "base")):
        left, _ = book.ballot.sides(row)
        book.vote(row, "left" if left == wanted else "right", outputs)
    with serving(prefers_right) as server:
        found = judging(tmp_path, model, url=server.url, model="judge").run(None)
    assert found["pairs"][0]["agreement"]["share"] == pytest.approx(2 / 3)


def test_a_local_judge_and_the_same_one_behind_a_server_agree(tmp_path: Path, model: Path) -> None:
    local = judging(tmp_path / "a", model, model=str(model))
    found = local.run(None)
    assert found["local"]
    assert found["complete"]
    said = files.read_lines(tmp_path / "a" / "compare" / FILE)
    assert len(said) == 14
    assert len({tuple(line["logs"]) for line in said}) > 5  # it looks at the answers
    again = judging(tmp_path / "a", model, model=str(model))
    assert again.run(None)["pairs"] == found["pairs"]
    assert again.context.models.loaded is None  # what is judged already needs no model

    from ftstudio.data.template import Template
    from ftstudio.data.tokenizer import load_tokenizer
    from ftstudio.engine.judge import _ids
    from ftstudio.engine.likelihood import log_likelihoods

    loaded = local.context.models.base(local.recipe).model
    tokenizer = load_tokenizer(str(model))
    template = Template.resolve("chat", tokenizer, None)

    def answer(messages: list[dict[str, str]]) -> str:
        ids = _ids(messages, template, tokenizer)
        logs = log_likelihoods(loaded, [(ids, tokenizer.encode_batch([letter])[0]) for letter in "ABC"])
        return "ABC"[logs.index(max(logs))]

    with serving(answer) as server:
        served = judging(tmp_path / "b", model, url=server.url, model="tiny", server={"parallel": 1}).run(None)
    assert served["pairs"] == found["pairs"]


def test_log_likelihoods_are_those_of_one_at_a_time(model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from ftstudio.engine.likelihood import log_likelihoods

    net = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    requests = [([256, *range(60, 60 + n)], list(range(97, 97 + m))) for n, m in ((3, 1), (40, 5), (7, 2), (0, 4))]
    found = log_likelihoods(net, requests)
    for (context, more), value in zip(requests, found, strict=True):
        with torch.no_grad():
            logs = net(torch.tensor([context + more])).logits[0].float().log_softmax(-1)
        wanted = sum(float(logs[len(context) - 1 + place, token]) for place, token in enumerate(more))
        assert value == pytest.approx(wanted, abs=1e-4)
