"""What a row becomes once its columns are mapped: a conversation of turns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ftstudio.data.tool_calls import calls_of

Role = Literal["system", "user", "assistant", "tool", "text"]


class BadRow(ValueError):
    """This row can't become an example; the text says why. Counted and shown, never fatal."""


@dataclass(frozen=True)
class Turn:
    """One message. Role `text` is running text without roles, all of it trained.

    `content` is all of it as text, calls of tools as JSON. `told` is what a chat template reads beside the role where
    that is more than a text: `tool_calls` with the `content` said beside them, `name` and `tool_call_id`, and
    `reasoning_content` (also as `thinking`), what was thought before. `learnt`: false for an answer that is only read
    (`"weight": 0`, as in OpenAI's chat format for fine-tuning).
    """

    role: Role
    content: str
    told: Mapping[str, Any] = field(default_factory=dict, compare=False)
    learnt: bool = field(default=True, compare=False)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of tools in it, as `data.tool_calls` has them."""
        return list(self.told.get("tool_calls", ()))

    @property
    def thought(self) -> str:
        """What was thought before it."""
        return str(self.told.get("reasoning_content", ""))

    @property
    def said(self) -> str:
        """What it says beside its calls."""
        return str(self.told.get("content") or "") if self.calls else self.content


@dataclass(frozen=True)
class Example:
    """A row as a conversation. `fields` are its parts by role name (prompt, completion, instruction, input, output,
    system, and the row's own columns): what a Jinja template sees. `tools` are those that may be called in it."""

    messages: tuple[Turn, ...]
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False)
    tools: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    @property
    def prompt(self) -> str:
        """All that comes before the last answer, as plain text; empty for running text."""
        return "\n".join(turn.content for turn in self.messages[: self.answer_at] if turn.role != "text")

    @property
    def reference(self) -> str | None:
        """The last assistant turn; None where there is none."""
        place = self.answer_at
        return self.messages[place].content if place < len(self.messages) else None

    @property
    def answer_at(self) -> int:
        """Where the last assistant turn stands in `messages`; their number where there is none."""
        for place in range(len(self.messages) - 1, -1, -1):
            if self.messages[place].role == "assistant":
                return place
        return len(self.messages)

    @property
    def is_text(self) -> bool:
        """Whether this is running text."""
        return any(turn.role == "text" for turn in self.messages)


def text_of(value: Any) -> str:
    """VALUE as the text a model reads: lists of strings joined by spaces, objects as JSON, lone surrogates replaced."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
    elif isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        text = " ".join(value)
    elif isinstance(value, (dict, list, tuple, bool)):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "bot": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip


def turns_of(value: Any) -> tuple[Turn, ...]:
    """The turns in a cell of OpenAI messages (role/content) or ShareGPT (from/value). Raises BadRow."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRow("the messages are text, not a list of turns") from None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise BadRow("the messages are no list of turns")
    if not value:
        raise BadRow("the conversation has no turns")
    return tuple(_turn(part, number) for number, part in enumerate(value, 1))


_SPEAKER = re.compile(r"\n\n(Human|Assistant): ?")


def transcript(value: Any) -> tuple[Turn, ...]:
    """The turns of a conversation written out as Anthropic's HH data is: blank line, `Human:` or `Assistant:`, text.
    Empty where VALUE is none."""
    if not isinstance(value, str) or not value.startswith("\n\nHuman:"):
        return ()
    parts = _SPEAKER.split(value)[1:]
    return tuple(
        Turn("user" if speaker == "Human" else "assistant", text_of(text.strip()))
        for speaker, text in zip(parts[::2], parts[1::2], strict=False)
    )


_THOUGHTS = ("reasoning_content", "thinking", "reasoning")


def _turn(part: Any, number: int) -> Turn:
    if not isinstance(part, Mapping):
        raise BadRow(f"turn {number} is no object with a role and a content")
    name = part.get("role", part.get("from"))
    role = _ROLES.get(str(name).strip().lower())
    if role is None:
        raise BadRow(f"turn {number} has the unknown role {str(name)[:40]!r}")
    content = part.get("content") if "content" in part else part.get("value", part.get("text"))
    if isinstance(content, list):  # OpenAI content parts
        pieces = [piece.get("text", "") if isinstance(piece, Mapping) else piece for piece in content]
        content = "".join(text_of(piece) for piece in pieces)
    weight = part.get("weight")
    if weight not in (None, 0, 1):
        raise BadRow(f"turn {number} has the weight {str(weight)[:20]}: it is learnt (1) or only read (0)")
    learnt = weight != 0
    told: dict[str, Any] = {key: text_of(part[key]) for key in ("name", "tool_call_id") if part.get(key)}
    thought = next((part[key] for key in _THOUGHTS if isinstance(part.get(key), str) and part[key].strip()), None)
    if thought is not None:  # under the two names that templates read, as transformers does it
        told |= dict.fromkeys(("thinking", "reasoning_content"), text_of(thought))
    given = part.get("tool_calls") or part.get("function_call")
    if not given and str(name).strip().lower() == "function_call":  # ShareGPT's: the turn is the call
        given, content = content, None
    if not given:
        return Turn(role, text_of(content), told, learnt)
    calls = calls_of(given)
    if calls:
        told |= {"content": None if content is None else text_of(content), "tool_calls": list(calls)}
    # an id is drawn for each call: nobody can learn it
    written = text_of([call["function"] for call in calls]) if calls and not isinstance(given, str) else text_of(given)
    said = text_of(content)  # what the model says beside calling a tool stays, above the call
    return Turn(role, f"{said}\n{written}" if said.strip() else written, told, learnt)
