"""Drafts of several studios in one workspace: none writes over another's, and what was left is taken up."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from ftstudio.core import files
from ftstudio.core import owner as owner_module
from ftstudio.ui.recipe.draft_file import A_DAY, OWNER, DraftFile


def write(draft: DraftFile, text: str) -> Path:
    path = draft.path()
    path.write_text(text)
    return path


def test_two_studios_keep_two_drafts_and_the_next_one_takes_up_the_newest(tmp_path: Path):
    first, second = DraftFile(tmp_path), DraftFile(tmp_path)
    assert first.newest() is None
    assert second.newest() is None
    mine = write(first, "first")
    other = write(second, "second")
    assert mine.name == "draft.yaml"
    assert other.name == "draft-2.yaml"
    third = DraftFile(tmp_path)
    assert third.newest() is None
    assert third.others
    assert third.path().name == "draft-3.yaml"
    first.close()
    second.close()
    os.utime(mine, (1, 1))
    (tmp_path / "draft-of-mine.yaml").write_text("a person's own")
    assert DraftFile(tmp_path).newest() == other
    assert mine.read_text() == "first"
    assert not list(tmp_path.glob(f"draft*{OWNER}"))[1:]  # but the third's


def test_both_took_up_the_same_one(tmp_path: Path):
    (tmp_path / "draft.yaml").write_text("of last time")
    first, second = DraftFile(tmp_path), DraftFile(tmp_path)
    assert first.newest() == second.newest() == tmp_path / "draft.yaml"
    assert write(first, "first") == tmp_path / "draft.yaml"
    assert write(second, "second") == tmp_path / "draft-2.yaml"
    assert write(first, "first again") == tmp_path / "draft.yaml"


def test_what_another_one_wrote_and_closed_meanwhile_stays_its_own(tmp_path: Path):
    (tmp_path / "draft.yaml").write_text("of last time")
    first, second = DraftFile(tmp_path), DraftFile(tmp_path)
    assert first.newest() == second.newest()
    mine = write(first, "first")
    first.close()
    assert write(second, "second").name == "draft-2.yaml"
    assert mine.read_text() == "first"
    assert not list(tmp_path.glob(".*"))


def test_of_several_that_write_at_once_each_has_its_own(tmp_path: Path):
    """The door of a killed studio stands there."""
    killed = DraftFile(tmp_path)
    owner = write(killed, "of last time").with_name(f"draft.yaml{OWNER}")
    files.write_json(owner, {**files.read_json(owner), "began": 1.0})
    drafts = [DraftFile(tmp_path) for _ in range(8)]
    assert {draft.newest() for draft in drafts} == {tmp_path / "draft.yaml"}
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda at: write(drafts[at], str(at)), range(8)))
    assert len(set(paths)) == 8
    assert [path.read_text() for path in paths] == [str(at) for at in range(8)]


def test_looking_and_taking_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who has seen the dead studio's draft waits while another one takes it: between its look and its taking, a slow
    one would take away the newcomer's."""
    waits = threading.Event()
    monkeypatch.setattr(owner_module.time, "sleep", lambda seconds: waits.set() or go_on.wait(20))
    go_on = threading.Event()
    slow, fast = DraftFile(tmp_path), DraftFile(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with owner_module.alone(tmp_path / ".draft.claiming", "draft.yaml"):
            path = pool.submit(write, slow, "slow")
            assert waits.wait(20)
            files.write_json(tmp_path / f"draft.yaml{OWNER}", asdict(owner_module.here(fast._token)))
        go_on.set()
        assert path.result().name == "draft-2.yaml"
    assert fast.path().name == "draft.yaml"


@pytest.mark.parametrize(("change", "free"), [({"began": 1.0}, True), ({"host": "elsewhere"}, False)])
def test_what_a_killed_studio_left_is_free_here_and_after_a_day_anywhere(
    tmp_path: Path, change: dict[str, object], free: bool
):
    killed = DraftFile(tmp_path)
    path = write(killed, "half a recipe")
    owner = path.with_name(path.name + OWNER)
    files.write_json(owner, {**files.read_json(owner), **change})
    assert (DraftFile(tmp_path).newest() == path) == free
    files.write_json(owner, {**files.read_json(owner), "heartbeat": 1.0})
    os.utime(path, (path.stat().st_mtime - 2 * A_DAY,) * 2)
    after = DraftFile(tmp_path)
    assert after.newest() == path
    write(after, "mended")
    assert killed.path() != path  # where it wasn't gone after all


def test_one_that_cant_be_read_is_not_written_over(tmp_path: Path):
    (tmp_path / "draft.yaml").write_text("[")
    draft = DraftFile(tmp_path)
    assert draft.newest() is not None
    draft.forget()
    assert draft.path().name == "draft-2.yaml"


def test_a_new_workspace_is_made_for_its_first_draft(tmp_path: Path) -> None:
    assert DraftFile(tmp_path / "new" / "studio").path() == tmp_path / "new" / "studio" / "draft.yaml"
