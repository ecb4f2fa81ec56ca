"""Text from data and models is hostile: made safe here before any terminal sees it."""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    "\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?"  # OSC: window titles, clipboard writes
    "|\x1b[PX^_].*?(?:\x1b\\\\|$)"  # DCS, SOS, PM, APC strings
    "|[\x1b\x9b]\\[?[0-?]*[ -/]*[@-~]",  # CSI and two-character sequences
    re.DOTALL,
)
# C0 but tab and newline, DEL, C1, the bidirectional overrides that reorder what is around them, and what has no width:
# terminals disagree about its place, and a person would never see that it is there (joiners of emoji and scripts stay)
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
_SPACE = re.compile(r"\s+")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def clean(text: object, limit: int | None = None) -> str:
    """TEXT with escape sequences replaced by ␛ and control characters by their visible pictures.

    Tabs become four spaces, carriage returns of CRLF vanish, newlines stay. LIMIT cuts, with an ellipsis, before
    any work is done, so that a 1 MB cell costs nothing.
    """
    value = text if isinstance(text, str) else "" if text is None else str(text)
    cut = limit is not None and len(value) > limit
    if cut:
        value = value[:limit]
    value = value.replace("\r\n", "\n")
    value = _ESCAPE.sub("\u241b", value)
    value = _CONTROL.sub(_visible, value).replace("\t", "    ")
    value = value.encode("utf-8", "replace").decode("utf-8")  # lone surrogates
    return value + "…" if cut else value


def pictured(text: str) -> str:
    """TEXT with control characters, marks of direction and lone surrogates as pictures; of the same length."""
    text = _CONTROL.sub(_visible, text)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def one_line(text: object, limit: int = 200) -> str:
    """TEXT on one line: safe, runs of white space folded, cut to LIMIT characters with an ellipsis."""
    value = _SPACE.sub(" ", clean(text, limit * 4)).strip()
    return value if len(value) <= limit else value[: max(0, limit - 1)] + "…"


def counted(count: int, noun: str) -> str:
    """COUNT things: `1 word`, `1,204 words`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: `1,204`, `0.731`, `1.2e-05`, `–` when absent."""
    if value is None:
        return "–"
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 1000):
        return f"{int(value):,}"
    if value and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:,.{digits}f}"


def duration(seconds: float | None) -> str:
    """A time for people: `4s`, `3m12s`, `2h05m`, `–` when unknown."""
    if seconds is None or seconds != seconds or seconds < 0:
        return "–"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: float | None) -> str:
    """Bytes for people, in nine cells at most below 1,000 GiB: `812 B`, `41.3 MiB`; `1.0 MiB` from 1,000 KiB on."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 999.95 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return ""
