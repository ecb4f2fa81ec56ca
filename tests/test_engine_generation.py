"""Batched generation against transformers' own, one prompt at a time; bits a byte against a direct computation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.engine import forgetting, generation
from ftstudio.engine.generation import Answer, Decoding, batches, generate

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
END = 2


@pytest.fixture(scope="module")
def model() -> Any:
    """A random Llama of 64 tokens whose weights are spread wide enough to say varied things."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=END, initializer_range=0.5,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def one_by_one(model: Any, prompts: Sequence[Sequence[int]], new: int, ends: list[int]) -> list[tuple[list[int], bool]]:
    """The oracle: transformers, greedy, one prompt at a time."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new,
            eos_token_id=ends,
            pad_token_id=0,
        )[0, ids.shape[1] :].tolist()
        ended = bool(out) and out[-1] in ends
        found.append((out[:-1] if ended else out, ended))
    return found


def prompts_of(count: int, seed: int = 1) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 20, (count,), generator=generator).tolist()
    return [[1, *torch.randint(3, 64, (n,), generator=generator).tolist()] for n in lengths]


def test_all_that_changes_an_answer_is_in_the_signature():
    """Answers are kept and found again by it."""
    ways = [{}, {"temperature": 1.0}, {"beams": 4}, {"temperature": 1.0, "beams": 4}, {"temperature": 1.0, "seed": 1},
            {"temperature": 1.0, "top_p": 0.9}, {"min_new_tokens": 3}, {"language": "de"}]  # fmt: skip
    assert len({Decoding(8, **way).signature() for way in ways}) == len(ways)


@pytest.mark.parametrize("limits", [(10_000, 64), (10_000, 1), (90, 5)])
def test_batches_answer_like_one_row_at_a_time(model: Any, limits: tuple[int, int]) -> None:
    prompts, ends = prompts_of(17), [END, 7, 9]
    expected = one_by_one(model, prompts, 24, ends)
    assert {ended for _, ended in expected} == {True, False}  # else the test would not see an end token
    found = {a.index: a for batch in generate(model, prompts, Decoding(24), ends, limits=limits) for a in batch}
    assert sorted(found) == list(range(17))
    for index, (ids, ended) in enumerate(expected):
        assert list(found[index].token_ids) == ids
        assert found[index].ended is ended
        assert found[index].tokens == len(ids) + ended


def test_every_end_token_stops(model: Any) -> None:
    prompts = prompts_of(6)
    free = one_by_one(model, prompts, 12, [END])
    stop = free[0][0][3]  # whatever the first says fourth is made an end token
    found = {a.index: a for batch in generate(model, prompts, Decoding(12), [END, stop]) for a in batch}
    assert found[0].ended
    assert stop not in found[0].token_ids
    assert len(found[0].token_ids) <= 3


def test_the_models_own_decoding_defaults_are_left_out_and_put_back(model: Any) -> None:
    prompts = prompts_of(5)
    plain = [a for batch in generate(model, prompts, Decoding(16), [END]) for a in batch]
    own = model.generation_config
    model.generation_config = transformers.GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=3.0, suppress_tokens=[5, 6, 7], no_repeat_ngram_size=1
    )
    try:
        mine = model.generation_config
        again = [a for batch in generate(model, prompts, Decoding(16), [END]) for a in batch]
        assert model.generation_config is mine
    finally:
        model.generation_config = own
    assert again == plain


def test_a_model_in_training_is_left_in_training(model: Any) -> None:
    model.train()
    model.model.layers[0].eval()
    try:
        list(generate(model, prompts_of(2), Decoding(4), [END]))
        assert model.training
        assert not model.model.layers[0].training
    finally:
        model.eval()


def test_a_stop_keeps_what_has_ended_and_drops_the_rest(model: Any) -> None:
    prompts = prompts_of(17)
    free = one_by_one(model, prompts, 24, [64])
    ends = [free[0][0][2], free[1][0][3]]  # so that some answers end early
    expected = one_by_one(model, prompts, 24, ends)
    early = {i for i, (ids, ended) in enumerate(expected) if ended and len(ids) < 6}
    late = {i for i, (ids, ended) in enumerate(expected) if len(ids) > 12}
    assert early
    assert late
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 8

    found = [a for batch in generate(model, prompts, Decoding(24), ends, should_stop=stop) for a in batch]
    assert early <= {a.index for a in found}
    assert not late & {a.index for a in found}
    assert all(a.ended and list(a.token_ids) == expected[a.index][0] for a in found)
    assert calls < 12  # it stopped within the batch, not at its end


def test_a_stop_before_the_first_batch_answers_nothing(model: Any) -> None:
    assert list(generate(model, prompts_of(3), Decoding(4), [END], should_stop=lambda: True)) == []


def test_sampling_repeats_with_its_seed_and_leaves_the_random_state(model: Any) -> None:
    prompts = prompts_of(6)

    def sample(seed: int) -> list[Answer]:
        return [a for batch in generate(model, prompts, Decoding(12, 1.5, seed), [END]) for a in batch]

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = sample(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert sample(3) == first
    assert sample(4) != first


def test_memory_that_runs_out_halves_the_batch(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = prompts_of(9)
    expected = {a.index: a for batch in generate(model, prompts, Decoding(8), [END]) for a in batch}
    sizes = []
    inner = generation._batch

    def short(model: Any, prompts: Any, chosen: list[int], *rest: Any) -> Any:
        sizes.append(len(chosen))
        if len(chosen) > 3:
            raise torch.OutOfMemoryError("played")
        return inner(model, prompts, chosen, *rest)

    monkeypatch.setattr(generation, "_batch", short)
    found = {a.index: a for batch in generate(model, prompts, Decoding(8), [END]) for a in batch}
    assert found == expected
    assert sizes[0] == 9
    monkeypatch.setattr(generation, "_batch", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("played")))
    with pytest.raises(torch.OutOfMemoryError):
        list(generate(model, prompts[:1], Decoding(8), [END]))


def test_ticks_come_at_every_token(model: Any) -> None:
    ticks: list[int] = []
    list(generate(model, prompts_of(4), Decoding(6), [63 + 1], tick=ticks.append))
    assert ticks == [4] * 6


def test_an_adapter_is_used_and_can_be_switched_off(model: Any) -> None:
    peft = pytest.importorskip("peft")
    prompts = prompts_of(6)
    base = [a for batch in generate(model, prompts, Decoding(10), [END]) for a in batch]
    torch.manual_seed(1)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    try:
        with_adapter = [a for batch in generate(tuned, prompts, Decoding(10), [END]) for a in batch]
        with tuned.disable_adapter():
            without = [a for batch in generate(tuned, prompts, Decoding(10), [END]) for a in batch]
    finally:
        tuned.unload()
    assert without == base
    assert with_adapter != base


def test_special_tokens_inside_an_answer_stay_visible(shared: Path) -> None:
    from ftstudio.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(shared / "models/stories260k")
    ids = tokenizer.encode("one day")
    text = generation.decode(tokenizer, Answer(0, (*ids, 1, *ids), True))
    assert "<s>" in text
    assert text.count("one day") == 2


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 100), st.integers(50, 2000), st.integers(1, 16))
def test_batches_hold_every_row_once_within_the_limits(lengths: list[int], new: int, tokens: int, rows: int) -> None:
    found = batches(lengths, new, tokens, rows)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * (max(lengths[i] for i in batch) + new) <= tokens
    order = [lengths[index] for batch in found for index in batch]
    assert order == sorted(lengths, reverse=True)


@given(st.integers(0, 90), st.integers(2, 40), st.data())
@settings(max_examples=60)
def test_windows_score_every_token_but_the_first_once(count: int, length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length - 1))
    ids = list(range(count))
    scored = []
    for window, first in forgetting.windows(ids, length, stride):
        assert len(window) <= length
        assert first >= 1
        scored += list(window[first:])
    assert scored == ids[1:]


class Letters:
    """A tokenizer of single characters for the random model."""

    prefix, bos_id, eos_id = (1,), 1, END

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[3 + ord(char) % 61 for char in text] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return "x" * len(ids)


TEXTS = [
    "the quick brown fox",
    "ünïcode ☂ rain",
    "x",
    "a longer text that is cut into windows of a few tokens each " * 3,
]


def test_bits_a_byte_equal_a_direct_computation(model: Any) -> None:
    nats = 0.0
    for ids in Letters().encode_batch(TEXTS):
        full = torch.tensor([[1, *ids]])
        for place in range(1, full.shape[1]):  # every token with all that comes before it in its window
            stop = next(end for end in (16, *range(24, 400, 8)) if end > place)
            start = max(0, min(stop, full.shape[1]) - 16)
            with torch.no_grad():
                logits = model(full[:, start : place + 1]).logits[0, -2].double()
            nats -= torch.log_softmax(logits, 0)[full[0, place]].item()
    size = sum(len(text.encode()) for text in TEXTS)
    found = forgetting.bits_per_byte(model, Letters(), TEXTS, window=16)  # type: ignore[arg-type]
    assert found.bytes == size
    assert found.tokens == sum(len(text) for text in TEXTS)
    assert math.isclose(found.nats, nats, rel_tol=1e-5)
    assert math.isclose(found.per_byte, nats / math.log(2) / size, rel_tol=1e-5)


def test_without_a_begin_token_the_first_tokens_bytes_are_not_counted(model: Any) -> None:
    class Bare(Letters):
        prefix, bos_id, eos_id = (), None, None  # type: ignore[assignment]

    found = forgetting.bits_per_byte(model, Bare(), TEXTS)  # type: ignore[arg-type]
    assert found.tokens == sum(len(text) - 1 for text in TEXTS)
    assert found.bytes == sum(len(text.encode()) - 1 for text in TEXTS)


def test_a_better_model_needs_fewer_bits(model: Any) -> None:
    from copy import deepcopy

    fitted = deepcopy(model).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(fitted.parameters(), lr=1e-2)
    ids = torch.tensor([[1, *Letters().encode_batch(TEXTS[:1])[0]]])
    for _ in range(15):
        fitted(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    before = forgetting.bits_per_byte(model, Letters(), TEXTS[:1]).per_byte  # type: ignore[arg-type]
    after = forgetting.bits_per_byte(fitted, Letters(), TEXTS[:1]).per_byte  # type: ignore[arg-type]
    assert after < before / 2


def test_documents_are_parted_by_blank_lines_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one\ntwo\n\n\n\nthree\n\n   \n\nfour\n", "utf-8")
    assert forgetting.documents(path) == ["one\ntwo", "three", "four"]
    path.write_text("\n\n".join(["y" * 50_000] * 9), "utf-8")
    assert len(forgetting.documents(path)) == 2


def test_an_answer_is_told_the_moment_it_ends(model: Any) -> None:
    prompts = prompts_of(17)
    free = one_by_one(model, prompts, 24, [64])
    ends = [free[0][0][2], free[1][0][3]]
    told: list[tuple[int, Answer]] = []
    ticks: list[int] = []
    found = {
        a.index: a
        for batch in generate(
            model, prompts, Decoding(24), ends, tick=ticks.append, early=lambda a: told.append((len(ticks), a))
        )
        for a in batch
    }
    assert {a.index: a for _, a in told} == {index: a for index, a in found.items() if a.ended}
    assert len(told) == len({a.index for _, a in told})
    assert all(when == a.tokens - 1 for when, a in told)  # told before the tick of its own last token
    assert len({when for when, _ in told}) > 2
