"""A comparison as files to hand on: Markdown, and one HTML page that needs nothing beside it.

facts.py      what both say, as sentences and rows of tables     svg.py    the plots
markdown.py   report.md                                          page.py   report.html
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftstudio.core import files


def write(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write REPORT as `report.md` and `report.html` in FOLDER, each whole or not at all; their paths."""
    from ftstudio.evaluation.publish import markdown, page

    found = [(folder / "report.md", markdown.text(report)), (folder / "report.html", page.text(report))]
    for path, text in found:
        files.write(path, text)
    return [path for path, _ in found]
