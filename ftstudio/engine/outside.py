"""Arms that no model of ours answers: stored predictions, and servers that speak OpenAI's chat completions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftstudio.core.arm import ArmSpec
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.workspace import Workspace
from ftstudio.data.example import BadRow, Turn, text_of
from ftstudio.engine.answering import Question
from ftstudio.engine.cache import AnswerCache
from ftstudio.engine.context import JobContext
from ftstudio.engine.endpoint import Endpoint, Messages, Reply
from ftstudio.engine.gathering import Gathered
from ftstudio.engine.generation import Decoding
from ftstudio.engine.materials import Materials
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
    """QUESTION as a server is asked it; where tools may be called, in OpenAI's form of calls and their results."""
    example = question.example
    if example.is_text:
        return [{"role": "user", "content": question.text}]
    turns = example.messages[: example.answer_at]
    if not example.tools:
        roles: Mapping[str, str] = {"tool": "user"}
        return [{"role": roles.get(turn.role, turn.role), "content": turn.content} for turn in turns]
    found: Messages = []
    open_calls: list[str] = []  # that no result came for yet
    for turn in turns:
        message: dict[str, Any] = {"role": turn.role, "content": turn.content}
        if turn.calls:
            calls = [_call(call, f"call_{len(found)}_{number}") for number, call in enumerate(turn.calls)]
            open_calls = [call["id"] for call in calls]
            message |= {"content": turn.told.get("content"), "tool_calls": calls}
        elif turn.role == "tool" and open_calls:
            named = turn.told.get("tool_call_id")
            message["tool_call_id"] = open_calls.pop(open_calls.index(named) if named in open_calls else 0)
        elif turn.role == "tool":  # a result that nobody asked for: servers refuse it
            message["role"] = "user"
        found.append(message)
    return found


def _call(call: Mapping[str, Any], name: str) -> dict[str, Any]:
    """CALL as OpenAI's interface has it: with an id (NAME where it has none), its arguments as JSON text."""
    function = call["function"]
    given = function.get("arguments", {})
    told = {
        "name": function["name"],
        "arguments": given if isinstance(given, str) else json.dumps(given, ensure_ascii=False),
    }
    return {"id": str(call.get("id") or name), "type": "function", "function": told}


def _beside(question: Question) -> dict[str, Any]:
    """What is asked along with the messages of QUESTION."""
    return {"tools": list(question.example.tools)} if question.example.tools else {}


def _identity(question: Question) -> str:
    """What the answer to QUESTION is remembered by."""
    messages, beside = messages_of(question), _beside(question)
    return json.dumps([messages, beside] if beside else messages, ensure_ascii=False)


def _said(reply: Reply, question: Question, own: Materials) -> str:
    """REPLY to QUESTION as text; calls of tools as OWN's template writes them, so that they stand in the reference's
    form."""
    if not reply.calls:
        return reply.text
    told = {"content": reply.text or None, "tool_calls": list(reply.calls)}
    plain = text_of([call["function"] for call in reply.calls])
    turn = Turn("assistant", f"{reply.text}\n{plain}" if reply.text.strip() else plain, told)
    example = replace(question.example, messages=(*question.example.messages[: question.example.answer_at], turn))
    with contextlib.suppress(BadRow):
        return own.template.answer(example, own.tokenizer.end_texts)
    return turn.content


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
    texts = {question.row: _identity(question) for question in asked}
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
        messages, beside = map(messages_of, open_questions), map(_beside, open_questions)
        for number, reply in endpoint.ask_all(list(messages), list(beside), **request):
            question = open_questions[number]
            answer = _answer(question, name, _said(reply, question, found.own), reply.tokens_out, reply.ended)
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
