"""What decides about memory goes through the model at once: of padded batches a piece, padding and all."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from ftstudio import tasks
from ftstudio.core.recipe import Recipe
from ftstudio.engine import loads, memory
from ftstudio.engine.hardware import Hardware

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


CPU = Hardware("cpu", "fp32", 1, "")


class Encoded:
    """Rows of LENGTHS tokens, each with a label."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.rows, self.table = lengths, range(len(lengths)), {"trained": [1] * len(lengths)}
        self.batch_lengths = lengths

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": [0] * self.batch_lengths[row], "labels": [-100, 1]}


def loads_of(config: Any, lengths: list[int], machine: Hardware = CPU, **changes: Any) -> memory.Loads:
    data = {"model": "m", "method": "lora", "data": {"train": "x"}, "training": {"batch_size": 8, "epochs": 1}}
    recipe = Recipe.model_validate(data | {"task": "sft"}).with_changes(changes)
    materials = SimpleNamespace(task=tasks.of(recipe), held_out=None)
    return loads.batches(recipe, materials, Encoded(lengths), config, machine).loads(8)  # type: ignore[arg-type]


def test_a_padded_causal_batch_counts_as_the_pieces_that_it_is_taken_in(monkeypatch: pytest.MonkeyPatch):
    """Bloom has no attention that batches without padding could use; of a Llama rows lie one after another."""
    uneven = [2048] + [64] * 7
    bloom = transformers.BloomConfig(hidden_size=64, n_layer=2, n_head=4)
    llama = transformers.LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4)
    assert loads_of(bloom, uneven).lengths == (2048,)
    assert sorted(loads_of(llama, uneven).lengths, reverse=True) == uneven
    for change in ({"training.attention": "eager"}, {"method": {"name": "prompt"}}):
        assert loads_of(llama, uneven, **change).lengths == (2048,)
    monkeypatch.setenv("WORLD_SIZE", "2")  # each would wait for the other's pieces: batches are taken whole
    assert len(loads_of(bloom, uneven).lengths) == 8


def test_capped_scores_and_sinks_are_padded_but_for_a_kernel_that_knows_them(monkeypatch: pytest.MonkeyPatch):
    """Gemma2 and GptOss say that they attend by any function; SDPA isn't one."""
    from ftstudio.engine import attention

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16}
    gemma, gpt = transformers.Gemma2Config(**sizes), transformers.GptOssConfig(**sizes)
    llama = transformers.LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4)
    uneven = [2048] + [64] * 7
    gpu, exact = Hardware("cuda", "bf16", 1, ""), Hardware("cuda", "fp32", 1, "")
    kernels = {"without": [attention.VARLEN, attention.SEGMENTS], "with": [attention.FLASH, attention.SEGMENTS]}

    def rows(config: Any, machine: Hardware, **changes: Any) -> int:
        monkeypatch.setattr(loads.pieces, "dear", lambda device, weights: 32.0)
        return len(loads_of(config, uneven, machine, **changes).lengths)

    assert (rows(gemma, CPU), rows(gpt, CPU), rows(llama, CPU)) == (1, 1, 8)
    assert rows(transformers.GraniteMoeHybridConfig(), CPU) == 1  # its state goes from row to row
    for installed, names in kernels.items():
        monkeypatch.setattr(
            attention, "kernels",
            lambda device, dtype, wanted="auto", names=names: (
                [wanted] if wanted != "auto" else names if dtype == torch.bfloat16 else names[-1:]
            ),
        )  # fmt: skip
        assert rows(gemma, gpu) == (8 if installed == "with" else 1)
        assert rows(gemma, exact) == 1  # flash kernels are for half precision
        assert rows(gpt, gpu) == 1  # it takes only a kernel of its own, from the hub
        assert rows(llama, gpu) == 8
    assert rows(gemma, gpu, **{"training.attention": "sdpa"}) == 1


def test_a_decoders_targets_are_cut_as_training_cuts_them():
    """By the source alone: what the estimate follows is a piece that goes through the model, the heaviest of them."""
    from ftstudio.engine import pieces

    draw = random.Random(0)
    sources = [draw.randint(5, 120) for _ in range(60)]
    targets = [draw.choice((5, 20, 200)) for _ in sources]

    class Pairs(Encoded):
        def __getitem__(self, row: int) -> dict[str, Any]:
            return {"input_ids": [0] * sources[row], "labels": [1] * targets[row], "row": row}

    encoded = Pairs([source + target for source, target in zip(sources, targets, strict=True)])
    encoded.lengths = sources
    data = {"model": "m", "method": "full", "data": {"train": "x"}, "training": {"batch_size": 12, "epochs": 1}}
    recipe = Recipe.model_validate(data | {"task": "seq2seq"})
    config = transformers.T5Config(d_model=64, num_layers=2, vocab_size=200)
    materials = SimpleNamespace(task=tasks.of(recipe), held_out=None)
    found = loads.batches(recipe, materials, encoded, config, CPU)  # type: ignore[arg-type]

    def weight(rows: list[Any]) -> int:
        return len(rows) * (max(len(row["input_ids"]) for row in rows) + max(len(row["labels"]) for row in rows))

    trained = pieces.pieced(lambda rows: {"targets": torch.zeros(1), "lengths": (), "tokens": 0, "own": rows}, 32.0)
    through = [piece["own"] for piece in trained(found.heaviest)["pieces"]]
    assert found.pieces == through
    assert found.piece in through
    assert weight(found.piece) == max(map(weight, through))


def test_padding_counts_where_batches_are_padded():
    lengths, batches = [100, 1, 60, 60], [[0, 1], [2, 3]]
    assert memory.heaviest(lengths, [0] * 4, batches, 1, 1) == [2, 3]
    assert memory.heaviest(lengths, [0] * 4, batches, 1, 1, padded=True) == [0, 1]


def test_measuring_warms_up_until_the_optimiser_has_its_states():
    """In fp16 the first steps overflow: left out, they make no states, and those would be missing from what is
    measured."""
    import torch
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    from ftstudio.engine import measure

    Accelerator(cpu=True)
    weight = torch.nn.Parameter(torch.ones(4))
    plain = torch.optim.AdamW([weight], fused=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimizer = AcceleratedOptimizer(plain, scaler=scaler)

    class Probe(measure._Probe):
        steps = 0

        def __init__(self) -> None:
            self.__dict__["trainer"] = SimpleNamespace(optimizer=optimizer)

        def _step(self, model: Any, rows: list[Any], accumulation: int | None = None) -> float:
            self.steps += 1
            scaler.scale((weight * 1e35).sum()).backward()
            scaler.unscale_(plain)
            optimizer.step()
            optimizer.zero_grad()
            return 0.0

    probe = Probe()
    probe._warm_up(None, [])
    assert probe.steps > 3
    assert plain.state
