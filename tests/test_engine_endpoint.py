"""Asking a server: a real one on loopback that fails, waits, lies and redirects."""

from __future__ import annotations

import email.utils
import threading
import time

import pytest
from chat_server import Faulty, serving
from guard import ends

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.serving import Server
from ftstudio.engine import endpoint
from ftstudio.engine.endpoint import Endpoint, Messages

KEY = "sk-very-secret-indeed"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("TEST_KEY", KEY)


def echo(messages: Messages) -> str:
    return "you said " + messages[-1]["content"]


def asked(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def client(url: str, **settings: object) -> Endpoint:
    return Endpoint(url, "tiny", Server(key_variable="TEST_KEY", **settings))  # type: ignore[arg-type]


def test_an_answer_with_its_tokens_and_cost() -> None:
    with serving(echo) as server:
        end = client(server.url, price_in=1.0, price_out=10.0)
        replies = dict(end.ask_all([asked("one two"), asked("three")], max_tokens=5, temperature=0))
    assert {number: reply.text for number, reply in replies.items()} == {0: "you said one two", 1: "you said three"}
    assert (replies[0].tokens_in, replies[0].tokens_out, replies[0].ended, replies[0].tries) == (2, 4, True, 1)
    assert end.usage.told(end.settings) == {
        "asked": 2, "failed_tries": 0, "tokens_in": 3, "tokens_out": 7, "cost": pytest.approx(73e-6)
    }  # fmt: skip
    request = server.requests[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["headers"]["Authorization"] == f"Bearer {KEY}"
    assert (request["body"]["model"], request["body"]["max_tokens"]) == ("tiny", 5)


@pytest.mark.parametrize(
    "fault",
    [
        Faulty(500), Faulty(503), Faulty(429), Faulty(200, body=b"<html>"), Faulty(200, body=b'{"choices": []}'),
        Faulty(200, {"Content-Length": "9999"}, b"{"), Faulty(200, seconds=0.6),
    ],
    ids=("500", "503", "429", "no json", "no choice", "torn", "late"),
)  # fmt: skip
def test_what_may_pass_is_tried_again(fault: Faulty) -> None:
    with serving(echo, fault) as server:
        reply = client(server.url, timeout=0.3).ask(asked("hello"))
    assert (reply.text, reply.tries) == ("you said hello", 2)


def test_waits_grow_and_end() -> None:
    wanted = r"no answer in 4 tries: HTTP 500 \(no\)"
    with serving(echo, *[Faulty(500)] * 9) as server, pytest.raises(StudioError, match=wanted):
        client(server.url, retries=3).ask(asked("hello"))
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert len(gaps) == 3
    assert gaps[0] >= 0.0075
    assert gaps[2] >= 0.03  # four times the first, less a quarter


@pytest.mark.parametrize("as_date", [False, True])
def test_the_server_says_when_to_come_back(as_date: bool) -> None:
    after = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "0.3"
    with serving(echo, Faulty(429, {"Retry-After": after})) as server:
        client(server.url).ask(asked("hello"))
    assert server.times[1] - server.times[0] >= (0.9 if as_date else 0.3)  # a date has whole seconds


def test_all_wait_for_a_server_that_is_full() -> None:
    with serving(echo, Faulty(429, {"Retry-After": "0.4"})) as server:
        end = client(server.url, parallel=3)
        end.ask(asked("first"))
        before = len(server.times)
        assert server.times[1] - server.times[0] >= 0.4
        end._not_before = time.monotonic() + 0.3
        started = time.monotonic()
        list(end.ask_all([asked(str(number)) for number in range(3)]))
    assert before == 2
    assert min(server.times[2:]) - started >= 0.29


@pytest.mark.parametrize(("status", "hint"), [(401, "TEST_KEY"), (404, "/v1"), (400, "settings")])
def test_a_refusal_is_told_at_once_and_without_the_key(status: int, hint: str) -> None:
    body = f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode()
    with serving(echo, Faulty(status, body=body)) as server, pytest.raises(StudioError) as caught:
        client(server.url).ask(asked("hello"))
    assert len(server.requests) == 1
    assert f"HTTP {status} (bad key …)" in str(caught.value)
    assert KEY not in str(caught.value)
    assert hint in caught.value.hint


def test_a_redirect_never_sees_the_key() -> None:
    with serving(echo) as other:
        moved = Faulty(307, {"Location": f"{other.url}/chat/completions"})
        with serving(echo, moved) as server, pytest.raises(StudioError, match="HTTP 307"):
            client(server.url).ask(asked("hello"))
    assert other.requests == []


def test_nobody_listens() -> None:
    with pytest.raises(StudioError, match=r"127\.0\.0\.1:9 gave no answer in 2 tries"):
        client("http://127.0.0.1:9/v1", retries=1).ask(asked("hello"))


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with serving(echo) as server:
        client(server.url).ask(asked("hello"))
    assert "Authorization" not in server.requests[0]["headers"]


def test_a_stop_ends_the_waiting_and_keeps_the_replies() -> None:
    stop = threading.Event()
    with serving(echo) as server:
        end = Endpoint(server.url, "tiny", Server(parallel=1), stop.is_set)
        coming = end.ask_all([asked(str(number)) for number in range(50)])
        assert next(coming)[1].text == "you said 0"
        server.faults += [Faulty(429, {"Retry-After": "30"})] * 50
        stop.set()
        with ends(20), pytest.raises(Stopped):  # not after the 30 seconds that the server asks for
            list(coming)


def test_one_question_that_fails_for_good_leaves_the_others_their_replies() -> None:
    replies: list[str] = []
    questions = [asked(str(number)) for number in range(3)]
    with serving(echo, Faulty(400)) as server, pytest.raises(StudioError, match="400"):
        replies.extend(reply.text for _, reply in client(server.url, parallel=3).ask_all(questions))
    assert len(replies) == 2


def test_keys_have_no_place_in_settings() -> None:
    with pytest.raises(ValueError, match="not the key itself"):
        Server(key_variable="sk-abc")
