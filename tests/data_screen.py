"""The Data screen under test: opened on a file, and waited for until it is at rest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from screens import shown
from textual.pilot import Pilot

from ftstudio.core.workspace import Workspace
from ftstudio.ui.data.opening import OpenPanel
from ftstudio.ui.data.screen import DataScreen
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

SIZES = [(80, 24), (120, 40)]
WORST = st.text(st.characters() | st.sampled_from("\x1b[]\x00\u202e世 \n\t"), max_size=200)


def studio(tmp_path: Path, source: str | Path | None = None, recipe: Any = None) -> StudioApp:
    session = Session(Workspace(tmp_path / "studio"), recipe)
    if source is not None:
        session.data_source = str(source)
    return StudioApp(session, start="data")


def screen(pilot: Pilot[Any]) -> DataScreen:
    found = pilot.app.screen_stack[0]  # what lies below a dialog
    assert isinstance(found, DataScreen)
    return found


def cursor(pilot: Pilot[Any]) -> int | None:
    """The number of the row under the cursor."""
    return screen(pilot).grid.row_number


async def settled(pilot: Pilot[Any]) -> str:
    """The screen once nothing is being worked on."""
    for _ in range(2_000):
        await pilot.pause()
        if not screen(pilot).background.running:
            break
        await asyncio.sleep(0.01)
    await pilot.pause()
    return shown(pilot.app)


async def retyped(pilot: Pilot[Any], source: str | Path) -> None:
    """Name SOURCE in the line for it, as if it were pasted, and open it."""
    panel = screen(pilot).query_one(OpenPanel)
    panel.field.set_value(str(source))
    await pilot.press("enter")
