"""The plots of a report as inline SVG: no script, nothing to load, readable without colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH = 640
BARS = 31  # of the distribution; odd, so that "no difference" has a bar of its own


def intervals(entries: Sequence[tuple[str, float, float, float, str]]) -> str:
    """Differences with their intervals around zero: (name, difference, low, high, verdict), each on its own scale."""
    height = 26 * len(entries) + 12
    left, right = 130, WIDTH - 12
    middle = (left + right) / 2
    parts = [f'<line x1="{middle:.1f}" y1="4" x2="{middle:.1f}" y2="{height - 6}" class="zero"/>']
    for place, (name, difference, low, high, verdict) in enumerate(entries):
        y = 20 + 26 * place
        reach = max(abs(low), abs(high), abs(difference), 1e-12)
        scale = (right - left) / 2 / reach * 0.95
        ink = {"better": "good", "worse": "bad"}.get(verdict, "unclear")
        told = f"{name}: {difference:+.4g} [{low:+.4g}, {high:+.4g}], {verdict}"
        parts.append(
            f"<g class='{ink}'><title>{escape(told)}</title>"
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<line x1="{middle + low * scale:.1f}" y1="{y}" x2="{middle + high * scale:.1f}" y2="{y}" class="range"/>'
            f'<circle cx="{middle + difference * scale:.1f}" cy="{y}" r="4"/></g>'
        )
    return _svg(height, parts, "Differences with 95 % intervals; the line is no difference")


def distribution(values: Sequence[float]) -> str:
    """How many rows differ by how much: a histogram around zero. Empty without values."""
    found = [value for value in values if math.isfinite(value)]
    if not found:
        return ""
    reach = max(max(map(abs, found)), 1e-9)
    counts = [0] * BARS
    for value in found:
        counts[min(BARS - 1, int((value / reach + 1) / 2 * BARS))] += 1
    height, floor = 150, 124
    each = (WIDTH - 24) / BARS
    most = max(counts)
    parts = []
    for place, count in enumerate(counts):
        if not count:
            continue
        tall = max(2.0, 104 * count / most)
        middle = (place + 0.5) / BARS * 2 - 1
        ink = "unclear" if abs(middle) < 1 / BARS else "good" if middle > 0 else "bad"
        parts.append(
            f'<rect class="{ink}" x="{12 + place * each:.1f}" y="{floor - tall:.1f}" width="{each - 2:.1f}" '
            f'height="{tall:.1f}"><title>{count} rows around {middle * reach:+.3g}</title></rect>'
        )
    for text, x, anchor in ((f"{-reach:.2g}", 12, "start"), ("0", WIDTH / 2, "middle"), (f"{reach:+.2g}", 628, "end")):
        parts.append(f'<text x="{x}" y="{floor + 18}" text-anchor="{anchor}">{text}</text>')
    return _svg(height, parts, "Differences of the rows: how many by how much")


def outcome(wins: int, ties: int, losses: int) -> str:
    """Rows won, equal and lost as one bar. Empty without rows."""
    total = wins + ties + losses
    if not total:
        return ""
    parts, x = [], 12.0
    for name, count, ink in (("lost", losses, "bad"), ("equal", ties, "unclear"), ("won", wins, "good")):
        wide = (WIDTH - 24) * count / total
        if count:
            parts.append(
                f'<rect class="{ink}" x="{x:.1f}" y="6" width="{max(1.0, wide - 2):.1f}" height="22">'
                f"<title>{count} {name}</title></rect>"
            )
            if wide > 70:
                parts.append(f'<text x="{x + wide / 2:.1f}" y="46" text-anchor="middle">{count:,} {name}</text>')
        x += wide
    return _svg(54, parts, f"{wins} rows won, {ties} equal, {losses} lost")


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
