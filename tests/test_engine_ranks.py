"""Which processes of a launch are found gone: those that can be asked. No group is met."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from ftstudio.core.launch import Place
from ftstudio.core.owner import STALE_SECONDS, Owner, here
from ftstudio.core.run import RunFolder
from ftstudio.engine import ranks
from ftstudio.engine.ranks import Ranks


def launched(rank: int, *peers: Owner) -> Ranks:
    found = Ranks(Place(rank=rank, count=len(peers)))
    found.peers = list(peers)
    return found


def contained(owner: Owner) -> Owner:
    """OWNER in a container that shares the host's name: it joined long ago, and writes no heartbeat."""
    return replace(owner, processes="boot pid:[1]", heartbeat=time.time() - 2 * STALE_SECONDS, token="other")


def gone(owner: Owner) -> Owner:
    return replace(owner, began=owner.began - 1000)  # the id was reused since


def test_a_peer_in_another_container_of_the_host_is_not_taken_for_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ranks, "GRACE", 0.0)
    mine = here()
    run = RunFolder(tmp_path / "run")
    run.emit("phase", phase="training")
    assert run.state() == "interrupted"
    for peer, lost, inherits in ((contained(mine), [], False), (mine, [], False), (gone(mine), [0], True)):
        together = launched(1, peer, mine)
        assert together.lost() == lost
        assert together.heir(run) == inherits
    # of three the second is gone as well; the one in a container is no heir here, nor asked
    together = launched(3, gone(mine), gone(mine), contained(mine), mine)
    assert together.lost() == [0, 1]
    assert together.heir(run)
