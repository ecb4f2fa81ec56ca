"""What the forgetting panel asks of an encoder-decoder and of a masked model, against transformers alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_encoders import make_seq2seq, save_unigram
from tiny_models import WORDS, make_encoder

from ftstudio.core.folder import JobFolder
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.engine import drift, offtask
from ftstudio.engine.meter import Meter
from ftstudio.evaluation import forgotten
from ftstudio.tasks.masked_lm import MaskedLm, MaskedLmOptions
from ftstudio.tasks.seq2seq import Seq2Seq, Seq2SeqOptions

torch = pytest.importorskip("torch")
TEXTS = [" ".join(WORDS[at % len(WORDS)] for at in range(start, start + 130)) for start in (0, 5)]


def never() -> bool:
    return False


def test_an_encoder_decoder_is_asked_for_second_halves(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    folder = save_unigram(make_seq2seq(tmp_path / "t5", "T5"))
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = load_tokenizer(folder)
    asker = offtask.Labelled(Seq2Seq(Seq2SeqOptions(prefix="say: ", beams=4)), tokenizer, None)
    found = asker.bits(model, TEXTS, never)
    nats, size = 0.0, 0
    with torch.no_grad():
        for text in TEXTS:
            words = text.split()
            for part in (words[:96], words[96:]):
                read, written = " ".join(part[: len(part) // 2]), " ".join(part[len(part) // 2 :])
                ids, labels = ([*tokenizer.encode_batch([one])[0], 1] for one in (read, written))
                loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
                nats += float(loss) * len(labels)
                size += len(written.encode())
    assert found.nats == pytest.approx(nats, rel=1e-4)
    assert found.bytes == size
    [right, wrong] = asker.logs(model, [("red", "green"), ("red", "blue cats")], never)
    assert right != wrong
    assert len(offtask.right(asker, model, never)) == 80
    assert len(asker.answers(model, ["red cats", "dogs"], never) or ()) == 2
    assert all(
        torch.allclose(logs.exp().sum(-1), torch.ones(len(logs)), atol=1e-4) for logs in asker.said(model, never)
    )


def test_a_masked_model_is_asked_for_hidden_words(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    folder = make_encoder(tmp_path / "bert")
    model: Any = AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = load_tokenizer(folder)
    asker = offtask.Labelled(MaskedLm(MaskedLmOptions()), tokenizer, 64)
    rows = [row for text in TEXTS for row, _ in asker._rows(text)]
    mask = tokenizer.backend.id_of("[MASK]")
    nats, hidden = 0.0, 0
    with torch.no_grad():
        for row in rows:
            logs = model(input_ids=torch.tensor([list(row["input_ids"])])).logits[0].log_softmax(-1)
            for place, (token, label) in enumerate(zip(row["input_ids"], row["labels"], strict=True)):
                assert (token == mask) == (label != -100)
                if label != -100:
                    nats -= float(logs[place, label])
                    hidden += 1
        context, option = tokenizer.encode_batch(["red cats", " dogs"])
        logs = model(input_ids=torch.tensor([[2, *context, mask, 3]])).logits[0].log_softmax(-1)
    found = asker.bits(model, TEXTS, never)
    assert found.nats == pytest.approx(nats, rel=1e-4)
    assert found.tokens == hidden > 20
    assert asker.logs(model, [("red cats", "dogs")], never)[0] == pytest.approx(float(logs[-2, option[0]]), rel=1e-4)
    assert len(offtask.right(asker, model, never)) == 80  # questions longer than the 64 tokens it reads
    assert asker.answers(model, ["red"], never) is None
    assert sum(map(len, asker.said(model, never))) > 10
    assert offtask.Labelled(MaskedLm(MaskedLmOptions()), tokenizer, 64).bits(model, TEXTS, never) == found  # no chance


def test_what_a_masked_model_forgot_is_told_without_answers() -> None:
    flips = forgotten.flips([True] * 20, [False] * 9 + [True] * 11)
    part = {"change": 0.01, "kl": 0.02, "canaries": flips, "forms": None, "off_task": [], "guessing": False}
    assert forgotten.level(part) == "much"  # nine questions of twenty are lost
    assert "bits a byte on hidden words" in forgotten.words("run", part | {"level": "much"}, "hidden words")
    assert forgotten.labels_words("run", flips) == (
        "run broke 9 of the 20 held-out rows that the base had right, and repaired 0"
    )


@pytest.mark.parametrize(("kind", "adapted"), [("seq2seq", True), ("seq2seq", False), ("masked", False)])
def test_both_are_measured_while_they_train_as_the_panel_measures_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, adapted: bool
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    if kind == "seq2seq":
        folder, task = save_unigram(make_seq2seq(tmp_path / "m", "T5")), Seq2Seq(Seq2SeqOptions())
        model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder)
    else:
        folder, task = make_encoder(tmp_path / "m"), MaskedLm(MaskedLmOptions())
        model = AutoModelForMaskedLM.from_pretrained(folder)
    if adapted:
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q"]))
    tokenizer = load_tokenizer(folder)
    asker = offtask.Labelled(task, tokenizer, 64 if kind == "masked" else None)
    monkeypatch.setattr(drift, "SECONDS", 0.0)  # the least text, however fast the machine
    job = JobFolder(tmp_path / "run")

    def gauge() -> drift.Drift:  # anew: as where a run is gone on with
        return drift.Drift(job, job.path / "forgetting.json", tokenizer, TEXTS, never, asker)

    model.train()
    gauge()(SimpleNamespace(model=model, meter=Meter()), 0)  # type: ignore[arg-type]
    before = asker.bits(model, TEXTS[:1], never)
    base = list(asker.said(model, never))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and (not adapted or "lora" in name):
            parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    gauge()(SimpleNamespace(model=model, meter=Meter()), 5)  # type: ignore[arg-type]
    assert model.training
    first, told = [event for event in job.events() if event["kind"] == "forgetting"]
    assert (first["step"], first["change"], told["about"]) == (0, 0.0, asker.about)
    assert first["kl"] == pytest.approx(0.0, abs=1e-3)
    after = asker.bits(model, TEXTS[:1], never)
    assert (told["bytes"], told["tokens"]) == (after.bytes, after.tokens)
    assert told["change"] == pytest.approx(after.per_byte - before.per_byte, rel=1e-4)
    assert abs(told["change"]) > 1e-4
    pairs = list(zip(base, asker.said(model, never), strict=True))
    kl = sum(float((old.exp() * (old - new)).sum()) for old, new in pairs) / sum(len(old) for old, _ in pairs)
    assert told["kl"] == pytest.approx(kl, rel=0.02, abs=1e-4)
    assert kl > 1e-4


@pytest.mark.parametrize(("room", "kept"), [(200, 3), (150, 2), (40, 0)])
def test_kl_is_measured_on_as_many_prompts_as_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, kept: int
) -> None:
    """A large vocabulary: the base's word on a prompt, 3 tokens of 10 each, takes 60 bytes on disk."""
    job = JobFolder(tmp_path)
    gauge = drift.Drift(job, tmp_path / "forgetting.json", None, [], never)  # type: ignore[arg-type]
    said = [torch.randn(3, 10, generator=torch.Generator().manual_seed(seed)).log_softmax(-1) for seed in range(6)]
    asked = iter([said[:3], said[3:]])
    monkeypatch.setattr(drift, "KEPT", room)
    monkeypatch.setattr(gauge, "_bits", lambda model, size: SimpleNamespace(bytes=1 << 20, per_byte=1.0))
    monkeypatch.setattr(gauge, "_said", lambda model, as_base=False: iter(next(asked)))
    monkeypatch.setattr(gauge, "_shared", lambda model: False)
    gauge.measure_base(None, keep=True)
    told = [event["text"] for event in job.events()]
    found = gauge.divergence(torch.nn.Linear(1, 1)) if kept else None
    if kept:
        wanted = (
            sum((old.exp() * (old - new)).sum() for old, new in zip(said[:kept], said[3:], strict=False)) / 3 / kept
        )
        assert found == pytest.approx(float(wanted), rel=1e-2)
    assert [text.split(":")[0] for text in told] == {
        3: [], 2: ["KL from the base is measured on 2 of 3 neutral prompts"],
        0: ["KL from the base isn't measured while it trains"],
    }[kept]  # fmt: skip
