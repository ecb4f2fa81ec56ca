"""Answers of tasks that don't write text: one pass a batch, read by the task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ftstudio.engine import generation, loading
from ftstudio.engine.generation import Answer, Decoding
from ftstudio.engine.trouble import out_of_memory

if TYPE_CHECKING:
    from ftstudio.data.tokenizer import Tokenizer
    from ftstudio.tasks.base import Prompt, Task


def answers(
    task: Task,
    model: Any,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    ends: Sequence[int],
    *,
    pad_token: int = 0,
    should_stop: Callable[[], bool] | None = None,
    tick: Callable[[int], None] | None = None,
    early: Callable[[Answer], None] | None = None,
    limits: tuple[int, int] | None = None,
    stop: Callable[[list[int]], bool] | None = None,
) -> Iterator[list[Answer]]:
    """The answers of MODEL to PROMPTS, batch by batch: written token by token where TASK generates (see
    `generation.generate`), else predicted."""
    if task.generates:
        yield from generation.generate(
            model, [prompt.ids for prompt in prompts], decoding, ends, pad_token=pad_token, should_stop=should_stop,
            tick=tick, early=early, limits=limits, stop=stop, frame=(prompts[0].row or {}).get("frame"),
            beside=lambda chosen, width: task.beside([prompts[index] for index in chosen], width),
        )  # fmt: skip
        return
    yield from predict(task, model, prompts, pad_token=pad_token, should_stop=should_stop, tick=tick, limits=limits)


def predict(
    task: Task,
    model: Any,
    prompts: Sequence[Prompt],
    *,
    pad_token: int = 0,
    should_stop: Callable[[], bool] | None = None,
    tick: Callable[[int], None] | None = None,
    limits: tuple[int, int] | None = None,
) -> Iterator[list[Answer]]:
    """TASK's predictions for PROMPTS (which carry their rows) in batches of like length; ends early where SHOULD_STOP
    says so between two of them. A batch that memory won't hold is halved."""
    import torch

    rows = [prompt.row for prompt in prompts]
    if any(row is None for row in rows):
        raise ValueError(f"{task.name}: a prompt to be predicted needs its row")
    device = next(model.parameters()).device
    tokens, most = limits or generation.budget(model)
    lengths = [max(1, len(prompt.ids)) for prompt in prompts]
    with generation.ready(model), torch.inference_mode():
        waiting = generation.batches(lengths, 0, tokens, most)[::-1]
        while waiting:
            if should_stop is not None and should_stop():
                return
            chosen, found = waiting.pop(), None
            batch = moved(task.collate([rows[index] for index in chosen], pad_token), device)  # type: ignore[misc]
            try:
                found = task.predictions(task.outputs(model, batch["inputs"]), batch)
            except (RuntimeError, MemoryError) as error:  # let go of before going on: it holds the activations
                if len(chosen) == 1 or not out_of_memory(error):
                    raise
            if found is None:
                loading.free()
                half = len(chosen) // 2
                waiting += [chosen[half:], chosen[:half]]
                continue
            if tick is not None:
                tick(len(chosen))
            yield [Answer(index, (), True, item.text, item.extra) for index, item in zip(chosen, found, strict=True)]


def moved(batch: Any, device: Any) -> Any:
    """BATCH with all its tensors on DEVICE."""
    import torch

    if torch.is_tensor(batch):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: moved(item, device) for key, item in batch.items()}
    if isinstance(batch, list):
        return [moved(item, device) for item in batch]
    return batch


def decode(tokenizer: Tokenizer, answer: Answer) -> str:
    """ANSWER as text."""
    return answer.text if answer.text is not None else generation.decode(tokenizer, answer)
