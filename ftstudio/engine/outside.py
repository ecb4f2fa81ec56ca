"""Arms that no model of ours answers: stored predictions, and servers that speak OpenAI's chat completions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.arm import ArmSpec
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.answering import Question
from ftstudio.engine.cache import AnswerCache
from ftstudio.engine.context import JobContext
from ftstudio.engine.endpoint import Endpoint, Messages
from ftstudio.engine.gathering import Gathered
from ftstudio.engine.generation import Decoding
from ftstudio.engine.outputs import Outputs
from ftstudio.evaluation.predictions import Prediction, read_predictions


def stored(spec: ArmSpec, asked: Sequence[Question], folder: JobFolder) -> dict[int, Prediction]:
    """The predictions in SPEC's file that answer what is ASKED, by row: those of the same prompt, the row's number
    deciding where several have it. Raises StudioError where the file answers none of it; the rest is told."""
    by_prompt: dict[str, list[Prediction]] = {}
    for prediction in read_predictions(Path(spec.target).expanduser()):
        by_prompt.setdefault(prediction.prompt.strip(), []).append(prediction)
    found = {}
    for question in asked:
        same = by_prompt.get(question.text.strip()) or []
        chosen = next((one for one in same if one.row == question.row), same[0] if len(same) == 1 else None)
        if chosen is not None:
            found[question.row] = Prediction(
                question.row, question.text, question.reference, chosen.output, chosen.tokens, chosen.ended, spec.name,
                chosen.extra,
            )  # fmt: skip
    kept = Outputs(folder.path, spec.name, {"predictions": spec.target, "file": _mark(Path(spec.target).expanduser())})
    kept.append(one for row, one in found.items() if kept.known.get(row) != one)
    if not found:
        raise StudioError(
            f"{spec.target} answers none of the {len(asked)} held-out rows: no prompt is the same.",
            "Its prompts must be those of the held-out rows, without template.",
        )
    if len(found) < len(asked):
        text = f"{spec.name} answers {len(found)} of {len(asked)} held-out rows; the others are left out."
        folder.emit("alert", level="warning", text=text)
    return found


def _mark(path: Path) -> list[int]:
    """What tells the file PATH from what stood there before: size and time of writing (ns)."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def messages_of(question: Question) -> Messages:
    """QUESTION as a server is asked it."""
    example = question.example
    if example.is_text:
        return [{"role": "user", "content": question.text}]
    roles: Mapping[str, str] = {"tool": "user"}
    turns = example.messages[: example.answer_at]
    return [{"role": roles.get(turn.role, turn.role), "content": turn.content} for turn in turns]


def served(
    context: JobContext, found: Gathered, name: str, asked: Sequence[Question], decoding: Decoding
) -> tuple[dict[int, Prediction], dict[str, Any]]:
    """(what the server of arm NAME answers, by row; tokens and cost), every answer kept as soon as it is there.

    A server that fails costs its arm alone: it is told, and answers so far stay for the next time.
    """
    spec, settings, folder = found.specs[name], found.recipe.evaluation.server, context.folder
    context.phase("answering", f"{spec.model} at a server")
    request: dict[str, Any] = {"max_tokens": decoding.max_new_tokens, "temperature": decoding.temperature}
    if decoding.temperature:
        request |= {"seed": decoding.seed, "top_p": decoding.top_p}
    key = {"url": spec.target, "server": spec.model, "decoding": decoding.signature()}
    outputs = Outputs(
        folder.path, name, key | {"data": found.own.whole.hash, found.part: str(getattr(found.recipe.data, found.part))}
    )
    cache = AnswerCache(Workspace(found.run.path.parent.parent).answers_path, key)
    texts = {question.row: json.dumps(messages_of(question), ensure_ascii=False) for question in asked}
    for question in asked:
        known = cache.get(texts[question.row])
        if question.row not in outputs.known and known is not None:
            outputs.append([_answer(question, name, known.output, known.tokens, known.ended)])
    open_questions = [question for question in asked if question.row not in outputs.known]
    endpoint = Endpoint(spec.target, spec.model, settings, context.should_stop)

    def tell() -> None:
        done = sum(question.row in outputs.known for question in asked)
        folder.emit("progress", arm=name, done=done, total=len(asked), tokens_per_second=None, eta=None)

    tell()
    try:
        for number, reply in endpoint.ask_all([messages_of(question) for question in open_questions], **request):
            question = open_questions[number]
            answer = _answer(question, name, reply.text, reply.tokens_out, reply.ended)
            outputs.append([answer])
            cache.keep([(texts[question.row], answer)])
            tell()
    except StudioError as error:
        if context.should_stop():
            raise
        folder.emit("alert", level="warning", text=f"{name} is left out: {error}")
        return {}, endpoint.usage.told(settings)
    return {question.row: outputs.known[question.row] for question in asked}, endpoint.usage.told(settings)


def _answer(question: Question, name: str, output: str, tokens: int | None, ended: bool | None) -> Prediction:
    return Prediction(question.row, question.text, question.reference, output, tokens, ended, name)
