"""Language modelling: windows lose nothing, and what a document costs is what the model alone would say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_model
from tiny_tokenizers import byte_level

from ftstudio import tasks
from ftstudio.data.dataset import from_rows
from ftstudio.data.example import BadRow, Example, Turn
from ftstudio.data.shape import Shape
from ftstudio.evaluation import comparison
from ftstudio.evaluation.likelihood import LikelihoodMetric
from ftstudio.evaluation.predictions import Prediction

SHAPE = Shape("text", {"text": "text"}, "")


@settings(max_examples=80, deadline=None)
@given(st.text(min_size=1, max_size=300), st.integers(8, 60), st.sampled_from([0.0, 0.25, 0.5]), st.booleans())
def test_every_token_is_learnt_exactly_once(text: str, size: int, stride: float, framed: bool) -> None:
    tokenizer = byte_level("<s>" if framed else None)
    task = tasks.get("causal-lm").bound({"stride": stride})
    whole = [*tokenizer.prefix, *tokenizer.encode(text), tokenizer.eos_id]
    try:
        rows = task.rows_of(Example((Turn("text", text),)), None, tokenizer, size)  # type: ignore[arg-type]
    except BadRow:
        assert len(whole) < 2 or not tokenizer.encode(text)
        return
    assert all(len(row["input_ids"]) <= size for row in rows)
    learnt: list[int] = []
    for row in rows:
        learnt += [token for token in row["labels"][1:] if token >= 0]
        assert all(label in (-100, token) for label, token in zip(row["labels"], row["input_ids"], strict=True))
    assert learnt == whole[1:] if not framed else learnt == whole[len(tokenizer.prefix) :]
    said = sum(row["bytes"] for row in rows)  # however many windows cut through a character
    first = 0 if framed else len(text[: tokenizer.encode_with_offsets(text)[1][0][1]].encode())
    assert said == len(text.encode()) - first
    assert min(row["bytes"] for row in rows) >= 0


def test_rows_are_windows_and_counted_by_their_document() -> None:
    tokenizer = byte_level()
    rows = from_rows([{"text": "the answer is again " * 20}, {"text": ""}, {"text": "the answer"}])
    task = tasks.get("causal-lm")
    found = task.encode_dataset(rows, SHAPE, None, tokenizer, 16)  # type: ignore[arg-type]
    assert found.excluded == [(1, "the text is empty")]
    assert set(found.rows) == {0, 2}
    assert list(found.rows).count(0) > 1
    assert found.stats.lost == 0
    assert found.stats.rows == 3


def test_bits_a_byte_and_perplexity_add_up() -> None:
    def row(number: int, nats: float) -> Prediction:
        facts = {"nats": nats, "text_tokens": 10, "text_bytes": 40}
        return Prediction(number, f"p{number}", "r", "o", extra=facts)

    base, tuned = ([row(n, scale * (20 + n)) for n in range(40)] for scale in (1.0, 0.5))
    arms = [comparison.Arm("base", base), comparison.Arm("tuned", tuned)]
    report = comparison.compare(arms, metrics=["bits_per_byte", "perplexity"], resamples=500)
    nats = sum(20 + n for n in range(40))
    first = report["arms"][0]["metrics"]
    assert first["bits_per_byte"] == pytest.approx(nats / math.log(2) / 1600)
    assert first["perplexity"] == pytest.approx(math.exp(nats / 400))
    verdicts = {entry["metric"]: entry["verdict"] for entry in report["differences"]}
    assert verdicts["bits_per_byte"] == verdicts["perplexity"] == "better"
    assert LikelihoodMetric("perplexity").of_rows([Prediction(0, "p", "r", "o")]) is None


def test_what_a_document_costs_equals_the_model_alone(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from ftstudio.data.tokenizer import load_tokenizer
    from ftstudio.engine.text_likelihood import _measured

    folder = make_model(tmp_path / "m")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), load_tokenizer(folder)
    text = "red green blue seven nine cats dogs"
    rows = tasks.get("causal-lm").rows_of(Example((Turn("text", text),)), None, tokenizer, 128)  # type: ignore[arg-type]
    found = _measured(model, rows)
    ids = torch.tensor([[*tokenizer.encode(text), tokenizer.eos_id]])
    with torch.no_grad():
        wanted = float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    assert found["nats"] == pytest.approx(wanted, rel=1e-5)
    assert found["text_tokens"] == ids.shape[1] - 1
    assert np.isclose(found["text_bytes"], len(tokenizer.decode(ids[0, 1:].tolist()).encode()))
