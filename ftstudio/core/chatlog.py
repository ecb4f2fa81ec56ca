"""A conversation with several arms at once, as its folder tells it.

turns.jsonl    append-only: what a person typed (with the settings it was asked under), and each arm's whole answer
stream.jsonl   append-only: answers in pieces while they are written
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ftstudio.core.files import LineReader, LineWriter, read_lines

TURNS, STREAM = "turns.jsonl", "stream.jsonl"


@dataclass(frozen=True)
class ChatSettings:
    """How a turn is asked: greedy where `temperature` is 0, else sampled by `seed`. `template` auto takes the model's
    chat template where it has one, recipe the one that the run was trained with."""

    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int = 0
    system: str = ""
    template: str = "auto"

    @staticmethod
    def read(value: Any) -> ChatSettings:
        """The settings in VALUE; what is missing or of another kind stays as usual."""
        known: dict[str, Any] = {}
        for one in fields(ChatSettings):
            found = value.get(one.name) if isinstance(value, Mapping) else None
            kinds = (int, float) if one.name == "temperature" else (type(one.default),)
            if isinstance(found, kinds) and not isinstance(found, bool):
                known[one.name] = found
        return ChatSettings(**known)

    def words(self) -> str:
        """In a few words."""
        how = f"temperature {self.temperature:g}, seed {self.seed}" if self.temperature else "greedy"
        return f"{how} · at most {self.max_new_tokens:,} tokens"


@dataclass
class Reply:
    """What one arm answered in one turn. `done` once it is whole; `stopped`: by a person, in the middle."""

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    done: bool = False
    ended: bool = False
    stopped: bool = False

    @property
    def rate(self) -> float | None:
        """Tokens a second."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


@dataclass
class ChatTurn:
    """What a person typed, and the replies of the ARMS it was put to."""

    number: int
    text: str
    settings: ChatSettings
    arms: tuple[str, ...]
    replies: dict[str, Reply] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all arms have answered."""
        return all(arm in self.replies and self.replies[arm].done for arm in self.arms)


class Conversation:
    """Reads a conversation's folder as it grows. Cheap where nothing came; a torn line costs only itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.turns: list[ChatTurn] = []
        self._turns = LineReader(folder / TURNS)
        self._stream = LineReader(folder / STREAM)

    def poll(self) -> bool:
        """Take in what came; True where something did."""
        pieces = self._stream.poll()  # read first: what ends an answer is written after its last piece
        lines = self._turns.poll()
        for line in [*(one for one in lines if one.get("kind") == "user"), *pieces,
                     *(one for one in lines if one.get("kind") == "answer")]:  # fmt: skip
            self._take(line)
        return bool(lines or pieces)

    def _take(self, line: Mapping[str, Any]) -> None:
        number, text = line.get("turn"), line.get("text")
        if not isinstance(number, int) or not isinstance(text, str):
            return
        if line.get("kind") == "user":
            arms = line.get("arms")
            names = tuple(str(name) for name in arms) if isinstance(arms, list) else ()
            self.turns.append(ChatTurn(number, text, ChatSettings.read(line.get("settings")), names))
            return
        turn = next((turn for turn in reversed(self.turns) if turn.number == number), None)
        arm = line.get("arm")
        if turn is None or not isinstance(arm, str):
            return
        reply = turn.replies.setdefault(arm, Reply())
        if reply.done:
            return
        if line.get("kind") == "answer" or line.get("afresh"):
            reply.text = text
        else:
            reply.text += text
        tokens, seconds = line.get("tokens"), line.get("seconds")
        reply.tokens = tokens if isinstance(tokens, int) else reply.tokens
        reply.seconds = float(seconds) if isinstance(seconds, int | float) else reply.seconds
        if line.get("kind") == "answer":
            reply.done, reply.ended = True, bool(line.get("ended"))
            reply.stopped = bool(line.get("stopped"))

    def ask(self, text: str, arms: tuple[str, ...], settings: ChatSettings, who: str) -> int:
        """Write down what WHO typed, for ARMS; the number of the turn. Raises StudioError."""
        number = max((turn.number for turn in self.turns), default=0) + 1
        LineWriter(self.folder / TURNS).append({
            "kind": "user", "turn": number, "text": text, "arms": list(arms), "settings": asdict(settings),
            "who": who, "time": time.time(),
        })  # fmt: skip
        return number


def read_turns(folder: Path) -> list[ChatTurn]:
    """The turns in FOLDER as they are."""
    conversation = Conversation(folder)
    while conversation.poll():
        pass
    return conversation.turns


def conversations(folder: Path) -> list[Path]:
    """The conversations in FOLDER, the oldest first: folders named by number."""
    try:
        found = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    except OSError:
        return []
    return sorted(found, key=lambda path: int(path.name))


def about(folder: Path) -> str:
    """What the conversation in FOLDER begins with."""
    first = next((line for line in read_lines(folder / TURNS) if line.get("kind") == "user"), {})
    return str(first.get("text") or "")
