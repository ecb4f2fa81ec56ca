"""What the head of a masked language model costs at hidden tokens alone: `python tests/benchmarks/masked_lm.py`.

The peer is the same model in transformers' own way: the head, and the loss, at every token. Both take the same batches
in turn, in one process, with the same loss. Prints CPU seconds a step and their ratio, for each size of vocabulary.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from dataclasses import replace
from typing import Any

HIDDEN = 0.15  # of the tokens, as in training


def made(vocabulary: int) -> Any:
    """A BERT as wide and deep as MiniLM, with random weights."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    return BertForMaskedLM(config).train()


def rows(vocabulary: int, count: int, chance: random.Random) -> list[dict[str, Any]]:
    """COUNT rows of 30 to 90 tokens."""
    found = []
    for _ in range(count):
        ids = [chance.randrange(5, vocabulary) for _ in range(chance.randint(30, 90))]
        labels = [token if chance.random() < HIDDEN else -100 for token in ids]
        found.append({"input_ids": ids, "labels": labels})
    return found


def step(model: Any, objective: Any, batch: dict[str, Any]) -> tuple[float, float]:
    """(CPU seconds, loss) of a step without the optimiser, with the same dropout every time."""
    import torch

    torch.manual_seed(1)
    model.zero_grad()
    began = time.process_time()
    loss = objective(model, batch)
    loss.backward()
    return time.process_time() - began, float(loss.detach())


def main() -> None:
    """A line for each vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[30_522, 250_002])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()

    import torch

    from ftstudio import tasks
    from ftstudio.engine import asked_head
    from ftstudio.engine.objective import TaskObjective

    torch.set_num_threads(1)
    task, chance = tasks.get("masked-lm").bound({}), random.Random(0)
    print(f"{'vocabulary':>11}{'parameters':>12}{'every token':>13}{'hidden ones':>13}{'ratio':>7}{'losses apart':>14}")
    for vocabulary in options.vocabulary:
        model, whole = made(vocabulary), TaskObjective(task)
        batches = [task.collate(rows(vocabulary, options.rows, chance), 0) for _ in range(options.steps + 1)]
        narrow = replace(whole, head=asked_head.that_works(model, whole, batches[0]))
        if not narrow.head:
            raise SystemExit("the head can't be narrowed here")
        seconds: dict[str, list[float]] = {"whole": [], "narrow": []}
        apart = 0.0
        for place, batch in enumerate(batches):
            found = {name: step(model, one, batch) for name, one in (("whole", whole), ("narrow", narrow))}
            apart = max(apart, abs(found["whole"][1] - found["narrow"][1]))
            if place:  # the first one warms up
                for name, (took, _) in found.items():
                    seconds[name].append(took)
        best = {name: statistics.median(took) for name, took in seconds.items()}
        count = sum(weight.numel() for weight in model.parameters())
        print(
            f"{vocabulary:>11,}{count / 1e6:>11.1f}M{best['whole']:>11.2f} s{best['narrow']:>11.2f} s"
            f"{best['whole'] / best['narrow']:>7.2f}{apart:>14.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
