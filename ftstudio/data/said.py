"""Where in a conversation that a chat template has written the assistant's turns stand, told by rendering it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftstudio.data.example import BadRow

Messages = list[dict[str, Any]]
_LOST = "the chat template doesn't write all assistant turns"


def said_in(
    whole: str, messages: Messages, render: Callable[..., str], to_end: Callable[[str], str]
) -> list[tuple[int, int]]:
    """The places (from, to) in WHOLE of the assistant's MESSAGES, their ends of turn included.

    RENDER(messages, add_generation_prompt) writes some of them, TO_END takes off what stands behind an end token.
    Raises BadRow where a turn isn't found.
    """
    search = _Search(whole, messages, render, to_end)
    spans: list[tuple[int, int]] = []
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            spans.append(search.span(place, spans[-1][1] if spans else 0))
    return spans


class _Search:
    def __init__(
        self, whole: str, messages: Messages, render: Callable[..., str], to_end: Callable[[str], str]
    ) -> None:
        self.whole, self.messages, self.render, self.to_end = whole, messages, render, to_end

    def span(self, place: int, after: int) -> tuple[int, int]:
        """Where the assistant message at PLACE is written (from AFTER on), its end of turn included.

        Found by rendering the messages before it with the generation prompt, and those up to it. Templates that write
        earlier turns differently once others follow (Qwen3 drops their reasoning) are searched for its content.
        """
        whole, upto = self.whole, self.render(self.messages[: place + 1])
        content = self._content(place)
        start = self._start(upto, place, after)
        if whole.startswith(upto):
            return start, start + len(self.to_end(upto[start:]))
        if self.messages[place].get("tool_calls"):
            return start, self._end_of_calls(upto, start, place)
        found = whole.find(content, start)
        if found < 0 or not content:
            raise BadRow(_LOST)
        tail = self.to_end(upto[upto.rfind(content) + len(content) :])
        end = found + len(content)
        return start, end + len(tail) if whole.startswith(tail, end) else end

    def _content(self, place: int) -> str:
        return str(self.messages[place]["content"] or "").strip()

    def _start(self, upto: str, place: int, after: int) -> int:
        whole, content = self.whole, self._content(place)
        before = self._asked(self.messages[:place])
        if before and whole.startswith(before):
            return len(before)
        if not place:  # an answer that comes first; hardly a template renders no messages at all
            found = upto.rfind(content) if content else -1
            return found if found >= 0 and whole.startswith(upto[:found]) else 0
        earlier = self.render(self.messages[:place])
        if not whole.startswith(earlier):
            found = whole.find(content, after) if content else -1
            if found < 0:
                raise BadRow(_LOST)
            return found
        # the generation prompt holds more than what is written before an answer: a thought it opens, say
        alike = shared(whole, before)
        found = whole.find(content, len(earlier)) if content else -1
        if 0 <= found <= alike:
            return found
        line = max(whole.rfind("\n", 0, alike), whole.rfind(">", 0, alike)) + 1
        return max(line, len(earlier))

    def _end_of_calls(self, upto: str, start: int, place: int) -> int:
        """Where the calls end that begin at START: UPTO writes them as the last turn, with a thought before, say."""
        if not upto.startswith(self.whole[:start]):
            raise BadRow(_LOST)
        turn = self.to_end(upto[start:])
        last = turn.rfind(str(self.messages[place]["tool_calls"][-1]["function"]["name"]))
        for cut in range(last + 1):
            if self.whole.startswith(turn[cut:], start):
                return start + len(turn) - cut
        raise BadRow(_LOST)

    def _asked(self, messages: Messages) -> str:
        try:
            return self.render(messages, add_generation_prompt=True)
        except BadRow:
            if messages:
                raise
            return ""


def shared(a: str, b: str) -> int:
    """How many characters A and B begin with alike."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
