"""Several processes that train one run: who is who, and the few words they exchange between steps.

What learns is exchanged by torch's data parallelism. The words here (what is due, which rows lost how much) go over a
group of their own on gloo, as JSON: it waits as long as a paused run does, and names no one's code.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from ftstudio.core import ending, files, launch
from ftstudio.core.errors import StudioError, chain
from ftstudio.core.folder import JobFolder
from ftstudio.core.launch import Place, place
from ftstudio.core.owner import Owner, here
from ftstudio.engine import capacity
from ftstudio.engine.held import Load, NotHeld

PATIENCE = timedelta(days=30)  # how long a process waits for the others' words: a person may pause a run
SHORT = 1 << 10  # bytes of a message that goes at once
FAILED = "rank_failed"  # the kind of line a process leaves in control.jsonl when it fails
GRACE = 5.0  # seconds in which a lost process' last words, or its end, become known


class Ranks:
    """This process among `count`. Alone: nothing is exchanged, and `tell` gives back what it is told."""

    def __init__(self, where: Place | None = None) -> None:
        self.place = where or Place()
        self.rank, self.count = self.place.rank, self.place.count
        self.peers: list[Owner] = []  # every rank's process, where known
        self._group: Any = None
        self._flags: Any = None
        self._looked = 0.0

    @property
    def first(self) -> bool:
        """Whether this process writes the run."""
        return self.place.first

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.place.alone

    # -- coming together -----------------------------------------------------------------------------------------
    def join(self) -> Ranks:
        """Wait for the others, and learn who they are. Imports torch. Raises StudioError where they can't be met."""
        if self.alone or self._group is not None:
            return self
        import torch
        from torch import distributed

        if not distributed.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            try:
                store, rank, count = next(iter(distributed.rendezvous("env://")))
                distributed.init_process_group(
                    backend, store=distributed.PrefixStore("default", store), rank=rank, world_size=count
                )
            except (RuntimeError, ValueError) as error:
                text = " ".join(str(error).split())[:200]
                raise StudioError(
                    f"The {self.count} processes of this launch can't meet ({text}).",
                    "Start all of them by one torchrun or accelerate launch; on several machines name the first one's "
                    "address: --rdzv-endpoint HOST:PORT.",
                ) from error
            self._flags = distributed.PrefixStore("ftstudio", store)
        self._group = distributed.new_group(backend="gloo", timeout=PATIENCE)
        said = self.gathered(json.dumps(here().__dict__).encode())
        self.peers = [Owner(**json.loads(one)) for one in self.tell([one.decode() for one in said])]
        return self

    def sit(self, device: str) -> None:
        """Take this process's own GPU, where it computes on GPUs (DEVICE cuda). Raises StudioError where there is none.

        To be called by the thread that computes: which GPU is current is told thread by thread.
        """
        if device == "cuda" and not self.alone:
            import torch

            fits(self.place, torch.cuda.device_count())
            torch.cuda.set_device(self.place.local_rank)

    def leave(self) -> None:
        """Part from the others."""
        if self._group is None:
            return
        from torch import distributed

        self._group = self._flags = None
        with contextlib.suppress(RuntimeError):
            distributed.destroy_process_group()

    # -- words ---------------------------------------------------------------------------------------------------
    def tell(self, value: Any = None) -> Any:
        """VALUE of the first process (what JSON can hold), in all of them. Waits for it."""
        if self.alone:
            return value
        import torch
        from torch import distributed

        data = json.dumps(value).encode() if self.first else b""
        head = torch.zeros(SHORT, dtype=torch.uint8)
        if self.first:
            head[:8] = _bytes(len(data).to_bytes(8, "big"))
            if data:
                head[8 : 8 + len(data)] = _bytes(data[: SHORT - 8])
        distributed.broadcast(head, 0, group=self._group)
        length = int.from_bytes(bytes(head[:8].tolist()), "big")
        if length <= SHORT - 8:
            data = bytes(head[8 : 8 + length].tolist())
        else:
            body = _bytes(data) if self.first else torch.zeros(length, dtype=torch.uint8)
            distributed.broadcast(body, 0, group=self._group)
            data = body.numpy().tobytes()
        return json.loads(data)

    def gathered(self, data: bytes) -> list[bytes]:
        """The DATA of every process, in the first one; empty in the others."""
        if self.alone:
            return [data]
        import torch
        from torch import distributed

        sizes = [torch.zeros(1, dtype=torch.long) for _ in range(self.count)]
        distributed.all_gather(sizes, torch.tensor([len(data)]), group=self._group)
        widest = max(1, *(int(size) for size in sizes))
        mine = torch.zeros(widest, dtype=torch.uint8)
        if data:
            mine[: len(data)] = _bytes(data)
        found = [torch.zeros(widest, dtype=torch.uint8) for _ in sizes] if self.first else None
        distributed.gather(mine, found, 0, group=self._group)
        return [item[: int(size)].numpy().tobytes() for item, size in zip(found or (), sizes, strict=False)]

    def all_of(self, value: Any) -> list[Any]:
        """VALUE (what JSON can hold) of every process, in the first one; empty in the others."""
        return [json.loads(data) for data in self.gathered(json.dumps(value).encode())]

    def raise_flag(self, name: str) -> None:
        """Let the others see NAME, also while they compute."""
        if self._flags is not None:
            with contextlib.suppress(RuntimeError):
                self._flags.set(name, b"1")

    def lower_flag(self, name: str) -> None:
        """Take NAME back."""
        if self._flags is not None:
            with contextlib.suppress(RuntimeError):
                self._flags.delete_key(name)

    def flag(self, name: str) -> bool:
        """Whether NAME is raised; looked for at most ten times a second."""
        now = time.monotonic()
        if self._flags is None or now - self._looked < 0.1:
            return False
        self._looked = now
        with contextlib.suppress(RuntimeError):
            return bool(self._flags.check([name]))
        return False

    # -- when one of them fails ----------------------------------------------------------------------------------
    def lost(self) -> list[int]:
        """The ranks whose process is gone, of those that can be asked: on this machine, and in this container. The
        others give no sign of life beside the group's own errors."""
        return [rank for rank, peer in enumerate(self.peers) if peer.near and not peer.alive()]

    def heir(self, folder: JobFolder) -> bool:
        """Whether the first process was killed before FOLDER's run had ended, and this is the next one on its machine.
        Waits a little for the first one to be gone."""
        until = time.monotonic() + GRACE
        while 0 not in (lost := self.lost()) and time.monotonic() < until:
            time.sleep(0.1)
        left = (rank for rank, peer in enumerate(self.peers) if peer.near and rank not in lost)
        return 0 in lost and next(left) == self.rank and folder.state() == "interrupted"

    def explain(self, error: Exception, folder: JobFolder, since: int) -> StudioError | None:
        """What ERROR means where another process is its cause; None where it is this one's own.

        A process that fails leaves its own words in FOLDER's control.jsonl, after byte SINCE.
        """
        if isinstance(error, NotHeld):
            self.fail(folder, error)
            return StudioError(error.message, self.again(folder))
        if self.alone or isinstance(error, StudioError):
            return None
        ending.abrupt = True  # the group is broken
        until = time.monotonic() + GRACE
        while True:
            words = next(iter(self._last_words(folder, since)), None)
            if words is not None:
                log = folder.path / f"log.rank{words['rank']}.txt"
                hint = str(words.get("hint") or "")
                return StudioError(f"{self.name(words['rank'])} failed: {words.get('text')}", hint or f"See {log}.")
            lost = self.lost()
            if lost and time.monotonic() > until - GRACE + 1:
                return self.gone(lost[0], folder)
            if not of_peers(error) or time.monotonic() > until:
                break
            time.sleep(0.1)
        if of_peers(error):
            text = " ".join(str(error).split())[:160]
            return StudioError(f"Another process of this run is gone or doesn't answer ({text}).", self.again(folder))
        return None

    def gone(self, rank: int, folder: JobFolder) -> StudioError:
        """That the process of RANK ended without a word, and how to go on with FOLDER's run."""
        text = f"{self.name(rank)} is gone: it was killed, or ran out of memory."
        return StudioError(text, self.again(folder))

    def again(self, folder: JobFolder) -> str:
        """How to go on with FOLDER's run, as it is typed."""
        workspace = folder.path.parent.parent
        elsewhere = "" if workspace.absolute() == Path("studio").absolute() else str(workspace)  # it looks there
        return launch.again(folder.name, elsewhere, self.place)

    def name(self, rank: int) -> str:
        """RANK for a person."""
        peer = self.peers[rank] if rank < len(self.peers) else None
        where = f", process {peer.process} on {peer.host}" if peer is not None else ""
        return f"Rank {rank} of {self.count}{where}"

    def fail(self, folder: JobFolder, error: StudioError) -> None:
        """Leave word of this process's ERROR for the first one, and of what its memory didn't hold: see `noted`."""
        line: dict[str, Any] = {"kind": FAILED, "time": time.time(), "rank": self.rank, "text": error.message}
        line |= {"hint": self.again(folder) if isinstance(error, NotHeld) else error.hint}
        if isinstance(error, NotHeld):
            line |= {"load": error.load, "rows": error.rows, "memory": error.memory}
        with contextlib.suppress(StudioError):
            files.LineWriter(folder.control_path).append(line)

    def noted(self, folder: JobFolder, device: str) -> list[tuple[Load, int]]:
        """What memory didn't hold in processes of FOLDER's run that couldn't go on by themselves: loads and their rows.
        Left out is what a smaller DEVICE than this one said. To be told by the first one."""
        if not self.first:
            return []
        found = []
        for row in self._last_words(folder, 0):
            load, rows = row.get("load"), row.get("rows")
            smaller = capacity.more(row.get("memory"), device)
            if isinstance(load, list) and len(load) == 3 and isinstance(rows, int) and not smaller:
                found.append(((load[0], load[1], load[2]), rows))
        return found

    @staticmethod
    def _last_words(folder: JobFolder, since: int) -> Iterator[dict[str, Any]]:
        for row in files.LineReader(folder.control_path, since).all():
            if row.get("kind") == FAILED and isinstance(row.get("rank"), int):
                yield row


_SIGNS = (
    "connection closed by peer",
    "connection reset",
    "broken pipe",
    "nccl",
    "timed out",
    "gloo",
    "connection refused",
)


def of_peers(error: BaseException) -> bool:
    """Whether ERROR comes from the exchange with other processes."""
    for one in chain(error):
        text = str(one).lower()
        if type(one).__name__.startswith("Dist") or any(sign in text for sign in _SIGNS):
            return True
    return False


def _bytes(data: bytes) -> Any:
    import torch

    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


ALONE = Ranks()
_joined: Ranks | None = None


def joined() -> Ranks:
    """The processes of this launch, met once; `ALONE` where it is one. Imports torch where it isn't."""
    global _joined
    if _joined is None:
        where = place()
        _joined = ALONE if where.alone else Ranks(where).join()
    return _joined


def fits(where: Place, gpus: int) -> None:
    """Raise StudioError where a launch of more processes than GPUS was made on this machine."""
    if where.local_count > gpus:
        raise StudioError(
            f"{where.local_count} processes were launched on {socket.gethostname()}, which has {gpus} GPU"
            f"{'' if gpus == 1 else 's'}.",
            f"Launch {gpus}: torchrun --nproc-per-node {gpus} …, or set training.device to cpu.",
        )
