"""Asking a server that speaks OpenAI's chat completions: patient, resumable by its caller, and silent about its key."""

from __future__ import annotations

import email.utils
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.serving import Server
from ftstudio.core.text import one_line
from ftstudio.data.tool_calls import calls_of

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds between two tries
LARGEST = 8 << 20  # bytes of a reply
AGAIN = (408, 409, 425, 429)  # and all of 5xx: worth another try
Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """What the server said: the text, tokens read and written (None where it doesn't tell), whether it came to its
    end, how many tries it took, and which tools it calls (`data.tool_calls`)."""

    text: str
    tokens_in: int | None
    tokens_out: int | None
    ended: bool
    tries: int
    calls: tuple[dict[str, Any], ...] = ()


@dataclass
class Usage:
    """What was asked in all: questions, tries that failed, tokens."""

    asked: int = 0
    failed_tries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, reply: Reply) -> None:
        """Count REPLY."""
        self.asked += 1
        self.failed_tries += reply.tries - 1
        self.tokens_in += reply.tokens_in or 0
        self.tokens_out += reply.tokens_out or 0

    def told(self, settings: Server) -> dict[str, Any]:
        """For a report; `cost` is None where the prices aren't set."""
        prices = (settings.price_in, settings.price_out)
        cost = None
        if any(price is not None for price in prices):
            cost = (self.tokens_in * (prices[0] or 0.0) + self.tokens_out * (prices[1] or 0.0)) / 1e6
        return {
            "asked": self.asked,
            "failed_tries": self.failed_tries,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost": cost,
        }


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another address must not be handed the key: a redirect is an error."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Endpoint:
    """MODEL at the server with base URL. Threads may share it; SHOULD_STOP ends waiting at once."""

    url: str
    model: str
    settings: Server
    should_stop: Callable[[], bool] = lambda: False
    usage: Usage = field(default_factory=Usage)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _not_before: float = 0.0  # when the server wants to be asked again

    def __post_init__(self) -> None:
        near = self.host.partition(":")[0] in ("localhost", "127.0.0.1", "[") or self.host.startswith("[::1]")
        self._opener = urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if near else []))

    @property
    def host(self) -> str:
        """The server's name, without what an address may carry of secrets."""
        return one_line(self.url.partition("://")[2].partition("/")[0].rpartition("@")[2], 80)

    def ask_all(
        self, questions: Sequence[Messages], beside: Sequence[Mapping[str, Any]] = (), **settings: Any
    ) -> Iterator[tuple[int, Reply]]:
        """Ask QUESTIONS, several at once, and yield (number, reply) as they come. SETTINGS go into the request, and of
        BESIDE, where it is given, what belongs to the question.

        Raises Stopped, and StudioError where a question fails for good; replies that came by then were yielded.
        """
        waiting = iter(range(len(questions)))
        running: dict[Future[Reply], int] = {}
        failure: StudioError | None = None
        with ThreadPoolExecutor(self.settings.parallel, thread_name_prefix="ftstudio-asking") as pool:
            while True:
                while failure is None and len(running) < self.settings.parallel and not self.should_stop():
                    number = next(waiting, None)
                    if number is None:
                        break
                    own = beside[number] if beside else {}
                    running[pool.submit(self.ask, questions[number], **settings, **own)] = number
                if not running:
                    break
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    number = running.pop(future)
                    try:
                        reply = future.result()
                    except StudioError as error:
                        failure = failure or error
                        continue
                    self.usage.add(reply)
                    yield number, reply
        if failure is not None and not isinstance(failure, Stopped):
            raise failure
        if self.should_stop():
            raise Stopped("Stopped while asking the server.", "The answers so far are kept; start again to go on.")

    def ask(self, messages: Messages, **settings: Any) -> Reply:
        """One question, tried again as often as the settings say. Raises StudioError and Stopped."""
        body = json.dumps({"model": self.model, "messages": messages, **settings}).encode()
        wait_for = FIRST_WAIT
        for number in range(1, self.settings.retries + 2):
            self._rest()
            try:
                return self._once(body, number)
            except _Again as error:
                if number > self.settings.retries:
                    raise StudioError(
                        f"{self.host} gave no answer in {number} {'try' if number == 1 else 'tries'}: {error}.",
                        "What was answered is kept; try again later, or raise `retries` or `timeout`.",
                    ) from None
                pause = error.after if error.after is not None else wait_for * (0.75 + 0.5 * random.random())
                wait_for = min(LONGEST_WAIT, 2 * wait_for)
                with self._lock:  # a server that is full is full for all threads
                    self._not_before = max(self._not_before, time.monotonic() + min(pause, 10 * LONGEST_WAIT))
        raise AssertionError("unreachable")

    def _rest(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0:
            if self.should_stop():
                raise Stopped("Stopped while waiting for the server.")
            time.sleep(min(left, 0.1))

    def _once(self, body: bytes, number: int) -> Reply:
        headers = {"Content-Type": "application/json", "User-Agent": "ftstudio"}
        key = os.environ.get(self.settings.key_variable, "").strip()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", body, headers)
        try:
            with self._opener.open(request, timeout=self.settings.timeout) as response:
                data = response.read(LARGEST)
        except urllib.error.HTTPError as error:
            with error:
                text = _message(error.read(20_000), key)
            if error.code in AGAIN or error.code >= 500:
                raise _Again(f"HTTP {error.code}{text}", _retry_after(error.headers.get("Retry-After"))) from None
            raise StudioError(
                f"{self.host} refuses: HTTP {error.code}{text}.", _way_out(error.code, self.settings.key_variable)
            ) from None
        except TimeoutError:
            raise _Again(f"nothing came within {self.settings.timeout:g} s") from None
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise _Again(one_line(_hidden(str(reason), key), 160)) from None
        except Exception as error:  # http.client's: a reply that breaks off
            raise _Again(one_line(_hidden(f"{type(error).__name__} {error}", key), 160)) from None
        return _read(data, number, self.host)


class _Again(Exception):
    """This try failed, another may not; `after` seconds where the server said so."""

    def __init__(self, text: str, after: float | None = None) -> None:
        super().__init__(text)
        self.after = after


def _read(data: bytes, number: int, host: str) -> Reply:
    try:
        value = json.loads(data)
        choice = value["choices"][0]
        text, calls = choice["message"].get("content"), calls_of(choice["message"].get("tool_calls"))
        usage = value.get("usage") or {}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _Again(f"the reply of {host} is no chat completion") from None
    return Reply(
        text if isinstance(text, str) else "",
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        choice.get("finish_reason") != "length",
        number,
        calls,
    )


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _message(data: bytes, key: str) -> str:
    """What the server says of an error, in one line; servers like to echo keys."""
    try:
        value = json.loads(data)
        found = value.get("error", value) if isinstance(value, dict) else value
        text = found.get("message", "") if isinstance(found, dict) else str(found)
    except ValueError:
        text = data.decode("utf-8", "replace")
    line = one_line(_hidden(str(text), key), 160)
    return f" ({line})" if line else ""


def _hidden(text: str, key: str) -> str:
    return text.replace(key, "…") if len(key) >= 4 else text


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header (seconds, or a date) asks for."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _way_out(code: int, variable: str) -> str:
    if code in (401, 403):
        return f"Put the server's key into the environment variable {variable}."
    if code == 404:
        return "Check the base URL (it usually ends in /v1) and the model's name."
    return "Check the model's name and the settings under evaluation."
