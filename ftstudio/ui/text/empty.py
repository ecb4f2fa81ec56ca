"""What stands where there is nothing yet: a sentence, and the keys that lead on."""

from __future__ import annotations

from textual.content import Content


def nothing(text: str, *keys: tuple[str, str], more: str = "") -> Content:
    """TEXT, then a line each of KEYS (key, what it does), then MORE, which may go on over several lines."""
    parts: list[tuple[str, str] | str] = [(text, "bold $foreground"), "\n"]
    for key, said in keys:
        parts += ["\n", (f"{key}", "bold $accent"), (f"  {said}", "$foreground")]
    return Content.assemble(*parts, f"\n\n{more}" if more else "")
