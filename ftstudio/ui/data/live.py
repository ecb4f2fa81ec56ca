"""Reading a dataset while it is looked at: the first rows at once, more as they come. Nothing here touches widgets."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from textual.message import Message

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.data.aside import keep_aside
from ftstudio.data.dataset import Dataset
from ftstudio.data.opening import Opening
from ftstudio.data.versions import address
from ftstudio.ui.common.background import Work
from ftstudio.ui.data.mended import mended
from ftstudio.ui.data.model import Opened, opened_as, settings

PATIENCE = 0.35  # seconds: what is read by then is shown whole, without showing its beginning first
STEP = 0.02
TELL = 0.25  # seconds between two looks at what came


@dataclass
class Seen(Message):
    """Rows of WORK's source that were read so far: `dataset`. `opened` is the same object each time."""

    work: Work
    opened: Opened
    dataset: Dataset
    progress: tuple[int, int]


def read_live(source: str, recipe: Recipe | None, workspace: Workspace, work: Work) -> Opened:
    """SOURCE read to its end, for a thread of its own; sends `Seen` to WORK's owner meanwhile.

    What could not be read is kept in a file of WORKSPACE. Raises StudioError; Stopped where WORK was.
    """
    source = address.locate(source, [workspace.path]) or source
    opening = Opening(source, **settings(source, recipe))
    opened: Opened | None = None
    told = time.monotonic() + PATIENCE - TELL
    while not opening.done:
        if work.stopped:
            opening.stop()
            raise Stopped("Stopped while reading the file.")
        time.sleep(STEP)
        work.progress(*opening.progress)
        if time.monotonic() - told < TELL:
            continue
        found = opening.now()
        done, total = opening.progress
        if found is None or not len(found) or done >= total:  # the last bit: it is whole in a moment
            continue
        if opened is None:
            opened = opened_as(source, found, recipe)
            opened.reading = "now"
            opened.progress = opening.progress
        work.owner.post_message(Seen(work, opened, found, opening.progress))
        told = time.monotonic()
    whole = opened_as(source, opening.result(), recipe)
    with contextlib.suppress(StudioError):  # no room on the disk: counted and shown all the same
        whole.aside = keep_aside(whole.dataset, workspace.unread_path)
    try:
        whole.mended = mended(source, whole.dataset, recipe, workspace)
        whole.take(whole.mended.look())
    except StudioError as error:
        whole.unmendable = str(error)
    with contextlib.suppress(StudioError):
        _ = whole.base.hash  # reads the file: not on the screen's thread
    return whole
