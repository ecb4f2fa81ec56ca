"""An answer that a model suggests: the base, the tuned model of a run, or a server; to be accepted or changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ftstudio.core import files
from ftstudio.core.chatlog import ChatSettings, Conversation
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Chat
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace
from ftstudio.ui.common.background import Work
from ftstudio.ui.shell.session import Session

BASE, TUNED, SERVER = "b", "t", "s"
SERVERS = "suggesting.json"  # in the workspace: the server that was asked last, without its key
LONGEST = 600.0  # seconds a suggestion is waited for

ASK = """\
Rewrite the answer below so that it is correct, complete and free of mistakes. Keep its form and length where they are \
right. Reply with the rewritten answer alone.

Question:
{prompt}

Answer to rewrite:
{answer}"""


@dataclass(frozen=True)
class Wanted:
    """What is to be suggested: an answer to PROMPT in place of ANSWER (RIGHT is the reference, where there is one)."""

    prompt: str
    answer: str
    right: str | None = None


def last_server(workspace: Workspace) -> str:
    """The server that was asked last, as `URL#MODEL`; empty where none was."""
    kept = files.read_json(workspace.path / SERVERS)
    found = kept.get("server") if isinstance(kept, dict) else None
    return found if isinstance(found, str) else ""


def from_server(target: str, wanted: Wanted, workspace: Workspace, work: Work) -> str:
    """What the server TARGET (`URL#MODEL`) suggests. Raises StudioError; not for the screen's thread."""
    from ftstudio.core.arm import parse
    from ftstudio.core.serving import Server
    from ftstudio.engine.endpoint import Endpoint

    spec = parse(target)
    if spec.kind != "server":
        raise UsageError(f"{one_line(target, 80)} is no server.", "Write http://HOST/v1#MODEL.")
    work.phase = f"asking {one_line(spec.model, 40)}"
    endpoint = Endpoint(spec.target, spec.model, Server(), should_stop=work.cancel)
    text = ASK.format(prompt=wanted.prompt, answer=wanted.answer)
    if wanted.right:
        text += f"\n\nAn answer that is known to be right:\n{wanted.right}"
    reply = endpoint.ask([{"role": "user", "content": text}])
    files.write_json(workspace.path / SERVERS, {"server": target})
    return reply.text.strip()


def from_run(arm: str, run: Path, wanted: Wanted, session: Session, work: Work) -> str:
    """What the model ARM (`base`, or the run's name) of RUN answers to the prompt: a job of the worker, waited for.

    Raises StudioError; not for the screen's thread.
    """
    folder = session.workspace.path / "suggestions" / f"{int(time.time() * 1000)}"
    folder.mkdir(parents=True, exist_ok=True)
    conversation, job = Conversation(folder), JobFolder(folder)
    conversation.ask(wanted.prompt, (arm,), ChatSettings(template="recipe"), "person")
    who = "the base model" if arm == "base" else one_line(arm, 40)
    work.phase = f"asking {who}"
    session.submit(Chat(folder, (run,)))
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        if work.cancel():
            job.request("stop")
            raise StudioError("No suggestion was waited for.", "w asks again.")
        conversation.poll()
        reply = conversation.turns[0].replies.get(arm) if conversation.turns else None
        if reply is not None and reply.done:
            return reply.text.strip()
        for event in job.events():
            if event.get("kind") == "failed":
                raise StudioError(str(event.get("text") or "The model could not answer."), str(event.get("hint") or ""))
            if event.get("kind") == "phase":
                work.phase = f"asking {who}: {one_line(event.get('phase'), 40)}"
        if reply is not None and reply.text:
            work.phase = f"{who} writes"
        work.tell()
        time.sleep(0.15)
    raise StudioError("The model did not answer in ten minutes.", "Ask again when the worker is free.")
