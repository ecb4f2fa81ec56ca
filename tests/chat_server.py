"""A real server on loopback that speaks OpenAI's chat completions, as well or as badly as a test wants."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[dict[str, Any]]], str | dict[str, Any]]


@dataclass
class Faulty:
    """One reply that isn't an answer: after SECONDS the status, headers and body."""

    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": {"message": "no"}}'
    seconds: float = 0.0


@dataclass
class ChatServer:
    """What was asked stands in `requests` (body and headers); `faults` are given first, one a request."""

    url: str
    answer: Answer
    faults: list[Faulty] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@contextlib.contextmanager
def serving(answer: Answer, *faults: Faulty) -> Iterator[ChatServer]:
    """A server on a free port of loopback that says what ANSWER gives for the messages (a text, or a message with
    calls of tools), FAULTS first."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state.times.append(time.monotonic())
                state.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                fault = state.faults.pop(0) if state.faults else None
            if fault is not None:
                time.sleep(fault.seconds)
                self._say(fault.status, fault.body, fault.headers)
                return
            said = state.answer(body["messages"])
            message = {"content": said} if isinstance(said, str) else said
            reply = {
                "choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": sum(len((m["content"] or "").split()) for m in body["messages"]),
                          "completion_tokens": len((message["content"] or "").split())},
            }  # fmt: skip
            self._say(200, json.dumps(reply).encode(), {})

        def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            with contextlib.suppress(OSError):  # the client may have given up
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = ChatServer(f"http://127.0.0.1:{server.server_port}/v1", answer, list(faults))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
