"""What the watchdog notices, whom it tells, and which checkpoints stay. No torch."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ftstudio.core.watch import Watch
from ftstudio.engine import alerting, resume
from ftstudio.engine.steering import BACK, changes
from ftstudio.engine.watchdog import Watchdog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fed(dog: Watchdog, losses: list[float]) -> list[str]:
    return [fault.kind for step, loss in enumerate(losses, 1) for fault in dog.step(step, loss, 1.0)]


NOISE = [2.0 + 0.1 * (number * 7 % 5 - 2) for number in range(40)]


@pytest.mark.parametrize(
    ("losses", "kinds"),
    [
        (NOISE, []),
        ([*NOISE, 9.0], ["spike"]),
        ([*NOISE, 9.0, 9.0, 9.0], ["spike"]),  # told once
        ([*NOISE[:10], 9.0], []),  # too early to tell
        ([1.0] * 40 + [1.2], []),  # calm losses make no spike of a small rise
        ([1.0] * 40 + [2.0], ["spike"]),
        ([1.0, *[0.0] * 9], ["zero_loss"]),
        ([1.0, float("nan")], ["not_finite"]),
        ([1.0, float("inf")], ["not_finite"]),
    ],
)
def test_losses(losses: list[float], kinds: list[str]):
    assert fed(Watchdog(Watch()), losses) == kinds


def test_a_gradient_without_end_unless_a_scaler_skips_it():
    dog = Watchdog(Watch())
    assert [fault.kind for fault in dog.step(1, 1.0, float("inf"))] == ["not_finite"]
    assert dog.step(2, 1.0, float("inf"), scaled=True) == []


def test_a_held_out_loss_that_gets_no_better():
    dog = Watchdog(Watch(patience=2))
    told = [[fault.kind for fault in dog.evaluated(10 * n, loss)] for n, loss in enumerate([3, 2, 2.5, 2.4, 2.3, 2.2])]
    assert told == [[], [], [], ["eval_rising"], [], ["eval_rising"]]
    assert dog.evaluated(99, 1.0) == []


def test_a_stalled_step_is_told_once_and_other_work_is_none():
    clock = Clock()
    dog = Watchdog(Watch(stall=10), clock)
    for step in range(5):
        clock.now += 10
        dog.step(step, 1.0, 1.0)
    clock.now += 99
    assert dog.stalled() == []
    clock.now += 2
    assert [fault.kind for fault in dog.stalled()] == ["stalled"]
    assert dog.stalled() == []
    dog.step(6, 1.0, 1.0)
    dog.away()
    clock.now += 10_000
    assert dog.stalled() == []


def test_a_gpu_that_is_slowed_or_lost():
    dog = Watchdog(Watch())
    hot = {"gpus": [{"throttled": ["heat"], "temperature": 91.0}]}
    assert [fault.text for fault in dog.machine(hot)] == ["GPU 0 is slowed down by heat at 91 °C."]
    assert dog.machine(hot) == []
    assert dog.machine({"gpus": [{"throttled": []}]}) == []
    assert "lost" in dog.machine({"gpus": [{"lost": True}]})[0].text


def test_a_command_and_an_address_are_told(tmp_path: Path):
    posted: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    out = tmp_path / "out"
    code = f"import os; open({str(out)!r}, 'w').write(os.environ['FTSTUDIO_WATCH'] + os.environ['FTSTUDIO_TEXT'])"
    watch = Watch(command=f'{sys.executable} -c "{code}"', webhook=f"http://127.0.0.1:{server.server_port}/x")
    thread = alerting.tell(watch, "run-1", {"level": "error", "watch": "spike", "text": "; rm -rf [x]", "step": 3})
    assert thread is not None
    thread.join(30)
    server.server_close()
    assert out.read_text() == "spike; rm -rf [x]"
    assert posted == [
        {"run": "run-1", "level": "error", "watch": "spike", "step": 3, "text": "; rm -rf [x]", "action": None}
    ]
    assert alerting.tell(Watch(), "run-1", {}) is None


def test_the_last_alert_of_a_process_gets_out_and_what_is_no_server_hurts_nobody() -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def hear() -> None:
            caller, _ = door.accept()
            with caller:
                heard.append(caller.recv(65536))
                caller.sendall(b"what?\r\n\r\n")

        thread = threading.Thread(target=hear, daemon=True)
        thread.start()
        code = (
            "from ftstudio.core.watch import Watch; from ftstudio.engine import alerting; "
            f"alerting.tell(Watch(webhook='http://127.0.0.1:{door.getsockname()[1]}/'), 'run-1', {{'text': 'failed'}})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        thread.join(10)
    assert heard
    assert heard[0].startswith(b"POST / ")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_best_checkpoint_stays_beside_the_last(tmp_path: Path):
    for step, loss in ((1, 3.0), (2, 1.0), (3, None), (4, 2.0), (5, 2.5)):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        (path / "weights").write_bytes(b"x" * 100)
        resume.seal(path, step=step, eval_loss=loss)
    assert resume.size(tmp_path) == 100
    resume.prune(tmp_path, 2)
    assert [resume.step_of(path) for path in resume.checkpoints(tmp_path)] == [5, 4, 2]
    best = resume.best(tmp_path)
    assert best is not None
    assert best.name == "checkpoint-2"


def test_changes_after_a_checkpoint_that_was_gone_back_to_no_longer_count():
    events = [
        {"kind": "steer", "step": 5, "what": "learning_rate", "value": 1e-3},
        {"kind": "steer", "step": 9, "what": "steps", "value": 40},
        {"kind": "steer", "step": 7, "what": "learning_rate", "value": 5e-4, "why": BACK},
        {"kind": "steer", "step": "?", "what": "steps", "value": 1},
    ]
    assert [(change.step, change.value) for change in changes(events)] == [(5, 1e-3), (7, 5e-4)]
