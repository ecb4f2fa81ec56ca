"""One turn of a conversation, put to the base and to tuned models from one load; answers stream through files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio import tasks
from ftstudio.core.chatlog import STREAM, TURNS, ChatSettings, ChatTurn, read_turns
from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.core.files import LineWriter
from ftstudio.core.jobs import Chat
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.data.chat import Segment
from ftstudio.data.encode import end_ids, prompt_ids
from ftstudio.data.example import Example, Turn
from ftstudio.data.framing import Frame
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.engine.arms import BASE, Arms, Tuned
from ftstudio.engine.context import JobContext
from ftstudio.engine.forgetting import context_length
from ftstudio.engine.recipes import load_recipe
from ftstudio.engine.reshaping import tokenizer_of
from ftstudio.tasks.seq2seq import Seq2Seq

if TYPE_CHECKING:
    import torch

WRITE_SECONDS = 0.2  # between two pieces of an answer
WRITES = ("sft", "causal-lm", "seq2seq")  # tasks whose models write; an encoder-decoder reads each turn by itself


@dataclass(frozen=True)
class Asked:
    """What a model is fed: `ids`, the ids at which its answer ends, how many tokens it reads in all (None: unknown, or
    an answer takes none of them), how the text was written, and what stands around an encoder-decoder's answers."""

    ids: list[int]
    ends: frozenset[int]
    reads: int | None = None
    template: str = ""
    frame: Frame | None = None


def run(job: Chat, context: JobContext) -> None:
    """Do JOB: the answers that the last turn in the folder lacks, piece by piece to stream.jsonl and whole to
    turns.jsonl. A stop keeps what was written. Raises Stopped and StudioError."""
    folder = context.folder
    turns = read_turns(folder.path)
    if not turns:
        raise UsageError("There is nothing to answer.", "Type something first.")
    turn, earlier = turns[-1], turns[:-1]
    tuned = [Tuned(run.name, run, load_recipe(run.recipe_path)) for run in map(RunFolder, job.runs)]
    if not tuned:
        raise UsageError("There is no tuned model to chat with.", "Name a run.")
    recipe = tuned[0].recipe
    if recipe.task not in WRITES:
        raise StudioError(
            f"A model of the task {recipe.task} writes no text.", f"Chat with a run of {', '.join(WRITES)}."
        )
    arms = Arms(context.models, recipe, tuned)
    names = [name for name in turn.arms if name in arms.names]
    folder.emit("start", arms=names, model=recipe.model, turn=turn.number)
    for text in arms.over_others():
        folder.emit("alert", level="warning", text=text)
    context.phase("loading model", recipe.model)
    told = False
    for name in (name for group in arms.groups for name in group):
        if name not in names or (name in turn.replies and turn.replies[name].done):
            continue
        own = recipe if name == BASE else arms.tuned[name].recipe
        tokenizer = load_tokenizer(own.model) if name == BASE else tokenizer_of(own)
        with arms.use(name) as model:
            if not told:
                context.phase("answering", "")
                told = True
            task = tasks.of(own)
            if isinstance(task, Seq2Seq):
                asked, warning = source(own, task, turn, tokenizer, name)
            else:
                template = template_of(own, tokenizer, turn.settings)
                reads = context_length(model)
                ids, dropped = fitted(earlier, turn, name, template, tokenizer, reads, turn.settings)
                asked = Asked(ids, frozenset(end_ids(template, tokenizer)), reads, template.name)
                warning = f"{name} reads no more than {reads} tokens: {dropped} earlier turns are left out."
                warning = warning if dropped else ""
            if warning:
                folder.emit("alert", level="warning", text=warning)
            whole = _answer(model, asked, turn, name, tokenizer, context)
        if not whole:
            raise Stopped("Stopped while answering.", "What was written is kept.")
    folder.emit("done", turn=turn.number)


def source(recipe: Recipe, task: Seq2Seq, turn: ChatTurn, tokenizer: Tokenizer, arm: str) -> tuple[Asked, str]:
    """(TURN as an encoder-decoder reads it: alone, cut as in training; what ARM didn't read, in words)."""
    prompt, lost = task.asked(turn.text, tokenizer, recipe.data.max_length)
    template = Template.resolve(None, tokenizer, None)
    ends = frozenset(task.end_ids(template, tokenizer))
    told = f"{arm} reads no more than {recipe.data.max_length} tokens: the last {lost} are left out." if lost else ""
    return Asked(prompt.ids, ends, None, "source", (prompt.row or {}).get("frame")), told


def template_of(recipe: Recipe, tokenizer: Tokenizer, settings: ChatSettings) -> Template:
    """The template a conversation is written in: the model's chat template where it has one, unless SETTINGS ask for
    the recipe's."""
    if settings.template == "auto" and tokenizer.chat_template:
        return Template.resolve("chat", tokenizer, None)
    resolved = recipe.resolved or {}
    name = recipe.data.template or resolved.get("template")
    columns = recipe.data.columns.model_dump(exclude_none=True) if recipe.data.columns else {}
    shape = (resolved.get("data") or {}).get("shape")
    return Template.resolve(name, tokenizer, Shape(shape, columns, "") if shape else None)


def prompt(
    earlier: Sequence[ChatTurn], turn: ChatTurn, arm: str, template: Template, tokenizer: Tokenizer
) -> list[int]:
    """The ids that ARM is fed: its own answers of EARLIER turns, then TURN. Turns it didn't answer are left out.

    Raises BadRow where the template can't write that.
    """
    said: list[Turn] = [Turn("system", turn.settings.system)] if turn.settings.system.strip() else []
    for before in earlier:
        reply = before.replies.get(arm)
        if reply is not None and reply.done and reply.text.strip():
            said += [Turn("user", before.text), Turn("assistant", reply.text)]
    said += [Turn("user", turn.text), Turn("assistant", "")]
    if template.name == "text":  # no roles: the model goes on with what stands there
        text = "\n".join(one.content for one in said if one.content)
        return prompt_ids([Segment(text, False)], template, tokenizer)
    fields = {"prompt": turn.text, "instruction": turn.text, "input": "", "system": turn.settings.system}
    segments = template.segments(Example(tuple(said), fields), for_generation=True)
    return prompt_ids(segments, template, tokenizer)


def fitted(
    earlier: Sequence[ChatTurn],
    turn: ChatTurn,
    arm: str,
    template: Template,
    tokenizer: Tokenizer,
    reads: int | None,
    settings: ChatSettings,
) -> tuple[list[int], int]:
    """(the ids that ARM is fed, how many of the EARLIER turns had to go so that an answer fits into READS tokens)."""
    room = None if reads is None else reads - min(settings.max_new_tokens, reads // 2)
    for dropped in range(len(earlier) + 1):
        ids = prompt(earlier[dropped:], turn, arm, template, tokenizer)
        if room is None or len(ids) <= room:
            return ids, dropped
    if reads is not None and len(ids) >= reads:
        raise StudioError(f"The text has {len(ids)} tokens; the model reads {reads}.", "Shorten it.")
    return ids, len(earlier)


def _answer(model: Any, asked: Asked, turn: ChatTurn, arm: str, tokenizer: Tokenizer, context: JobContext) -> bool:
    """Let MODEL answer what is ASKED; False where it was stopped."""
    folder = context.folder.path
    writer = LineWriter(folder / STREAM)
    began = last = time.monotonic()
    said = ""
    count = 0

    def piece(new: list[int]) -> None:
        nonlocal last, said, count
        count = len(new)
        now = time.monotonic()
        if now - last < WRITE_SECONDS:
            return
        last = now
        text = tokenizer.decode(new, skip_special=False).rstrip("\ufffd")  # the rest of a character comes
        if text == said:
            return
        afresh = not text.startswith(said)
        part = text if afresh else text[len(said) :]
        line = {"turn": turn.number, "arm": arm, "text": part, "tokens": count, "seconds": now - began}
        writer.append(line | ({"afresh": True} if afresh else {}))
        said = text

    new, stopped = write(model, asked, turn, tokenizer.pad_id, context.should_stop, piece)
    ended = bool(new) and new[-1] in asked.ends
    answer = new[:-1] if ended else new
    LineWriter(folder / TURNS).append({
        "kind": "answer", "turn": turn.number, "arm": arm, "text": tokenizer.decode(answer, skip_special=False),
        "tokens": len(new), "seconds": time.monotonic() - began, "ended": ended, "stopped": stopped,
        "prompt_tokens": len(asked.ids), "template": asked.template, "time": time.time(),
    })  # fmt: skip
    return not stopped


def write(
    model: Any,
    asked: Asked,
    turn: ChatTurn,
    pad: int | None,
    should_stop: Callable[[], bool],
    piece: Callable[[list[int]], None],
) -> tuple[list[int], bool]:
    """(the new token ids that MODEL writes to what is ASKED, whether SHOULD_STOP ended it). PIECE is given all that is
    there at every token. Sampled answers follow from the seed and the turn alone."""
    import torch
    from transformers import GenerationConfig

    from ftstudio.engine.generation import Decoding, decoder, ready, without

    settings, ids = turn.settings, asked.ids
    both = bool(getattr(model.config, "is_encoder_decoder", False))
    most = settings.max_new_tokens if asked.reads is None else min(settings.max_new_tokens, asked.reads - len(ids))
    device = next(model.parameters()).device
    sampled = {"do_sample": True, "temperature": settings.temperature, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=most,
        eos_token_id=sorted(asked.ends) or None,
        pad_token_id=pad if pad is not None else 0,
        use_cache=True,
        **(sampled if settings.temperature else {"do_sample": False}),
        **(decoder(model, Decoding(most), asked.frame) if both else {}),
    )
    first = 1 if both else len(ids)  # what is written begins there
    lead = list(asked.frame.prefix) if both and asked.frame is not None else []
    stopped = False

    def watch(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        nonlocal stopped
        piece(without(input_ids[0, first:].tolist(), lead))
        stopped = should_stop()
        return torch.full((input_ids.shape[0],), stopped, dtype=torch.bool, device=input_ids.device)

    row = torch.tensor([list(ids)], device=device)
    with (
        ready(model),
        torch.inference_mode(),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(settings.seed * 1_000_003 + turn.number)
        output = model.generate(
            input_ids=row, attention_mask=torch.ones_like(row), generation_config=config, stopping_criteria=[watch]
        )
    found: list[int] = without(output[0, first:].tolist(), lead)
    place = next((place for place, token in enumerate(found) if token in asked.ends), None)
    found = found if place is None else found[: place + 1]
    return found, stopped and place is None
