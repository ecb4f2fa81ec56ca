"""Draws the README's pictures from the real app: `python screenshots/make.py [--workspace FOLDER]`.

Runs the bundled demo headless first where the workspace holds no finished run, then opens the studio on it, presses
keys as a person would, and saves what is on screen as SVG.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

os.environ["TEXTUAL_ANIMATIONS"] = "none"
HERE = Path(__file__).resolve().parent
FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
# picture: (screen, (key, what must be on screen before the next one)…); a key with * is pressed until it is
PICTURES: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "data": ("data", (("", "completion"),)),
    "tokens": ("data", (("", "completion"), ("t", "trained"))),
    "errors": ("errors", (("", "Misspelling"), ("down*", "dictionary"))),
    "recipe": (
        "recipe",
        (
            ("", "as it grows"),
            ("enter", "rows to train on"),
            ("enter", "weights, stored"),
            ("enter", "on disk"),
        ),
    ),
    "train": ("train", (("", "enter compares"),)),
    "compare": ("compare", (("", "ROUGE-L"),)),
    "runs": ("runs", (("", "done"),)),
}


async def draw(workspace: Path, size: tuple[int, int], only: list[str]) -> None:
    """Save the pictures named in ONLY (all where it is empty)."""
    from ftstudio.core.workspace import PRESETS, Workspace
    from ftstudio.engine.recipes import load_recipe
    from ftstudio.ui.shell.app import StudioApp
    from ftstudio.ui.shell.session import Session

    place = Workspace(workspace)
    for name, (mode, steps) in PICTURES.items():
        if only and name not in only:
            continue
        session = Session(place, load_recipe(PRESETS / "demo.yaml"), "presets/demo.yaml")
        session.view_run(place.runs()[0])
        app = StudioApp(session, mode)
        async with app.run_test(size=size) as pilot:
            for key, text in steps:
                for _ in range(20 if key.endswith("*") else 1):
                    if key:
                        await pilot.press(key.rstrip("*"))
                    if await _settle(app, pilot, text, 2 if key.endswith("*") else 480):
                        break
                else:
                    raise SystemExit(f"{name}: {text!r} never came up")
            (HERE / f"{name}.svg").write_text(_whole(app.export_screenshot(title="ftstudio")))
            print(f"screenshots/{name}.svg")


def _whole(svg: str) -> str:
    """SVG without fonts from the network: with the reader's own."""
    svg = re.sub(r"@font-face\s*{.*?}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family: (Fira Code|arial)[^;]*;", f"font-family: {FONTS};", svg)


async def _settle(app: object, pilot: object, text: str, looks: int) -> bool:
    """Wait until TEXT is on screen, four LOOKS a second."""
    import html

    for _ in range(looks):
        await pilot.pause(0.25)  # type: ignore[attr-defined]
        shown = html.unescape(app.export_screenshot()).replace("\xa0", " ")  # type: ignore[attr-defined]
        if text in shown:
            await pilot.pause(0.5)  # type: ignore[attr-defined]
            return True
    return False


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("/tmp/ftstudio-screenshots"))
    parser.add_argument("--size", default="110x34")
    parser.add_argument("only", nargs="*", choices=[[], *PICTURES], default=[])
    arguments = parser.parse_args()
    os.environ["FTSTUDIO_WORKSPACE"] = str(arguments.workspace)
    if not any((run / "model").is_dir() for run in (arguments.workspace / "runs").glob("*")):
        command = [sys.executable, "-m", "ftstudio", "demo", "--headless", "--workspace", str(arguments.workspace)]
        subprocess.run(command, check=True)
    columns, lines = map(int, arguments.size.split("x"))
    asyncio.run(draw(arguments.workspace, (columns, lines), arguments.only))


if __name__ == "__main__":
    main()
