"""What a tuning forgot, in one verdict, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.evaluation import statistics

# up to the first of a pair little was forgotten, beyond the second much
LITTLE, MUCH = 0.02, 0.1  # bits a byte on general text
LITTLE_KL, MUCH_KL = 0.1, 1.0  # nats a token on neutral prompts
REPLAY = 0.05  # share of general rows that is proposed


def flips(before: Sequence[bool], after: Sequence[bool]) -> dict[str, Any]:
    """What was right BEFORE and wrong AFTER (`broken`), the other way round (`fixed`), with exact McNemar's `p`."""
    broken = [place for place, (a, b) in enumerate(zip(before, after, strict=True)) if a and not b]
    fixed = [place for place, (a, b) in enumerate(zip(before, after, strict=True)) if b and not a]
    p = statistics.mcnemar(len(broken), len(fixed))
    return {
        "n": len(before), "base": sum(before), "tuned": sum(after), "broken": len(broken), "fixed": len(fixed),
        "broken_at": broken, "fixed_at": fixed, "p": p,
        "verdict": statistics.UNCLEAR if p >= statistics.ALPHA else "worse" if len(broken) > len(fixed) else "better",
    }  # fmt: skip


def level(part: Mapping[str, Any]) -> str:
    """`little`, `some` or `much` of what PART (an arm's figures, see `engine.panel`) tells was forgotten."""
    risen = [entry for entry in part["off_task"] if entry["verdict"] == "worse"]
    worse = [part[name] for name in ("canaries", "forms") if part[name] and part[name]["verdict"] == "worse"]
    kl = part["kl"] or 0.0
    if part["change"] > MUCH or kl > MUCH_KL or any(flip["broken"] - flip["fixed"] > 0.1 * flip["n"] for flip in worse):
        return "much"
    return "some" if part["change"] > LITTLE or kl > LITTLE_KL or worse or risen else "little"


def words(name: str, part: Mapping[str, Any], about: str = "general text") -> str:
    """PART in one line; NAME is the arm, ABOUT what its bits a byte are of."""
    canaries = part["canaries"]
    parts = [f"{part['change']:+.3f} bits a byte on {about}"]
    if part["kl"] is not None:
        parts.append(f"KL {part['kl']:.3g} nats a token")
    both = f"{canaries['base']} → {canaries['tuned']} of {canaries['n']} general questions right"
    parts.append(both + (" (the base itself guesses)" if part["guessing"] else ""))
    risen = [entry["title"] for entry in part["off_task"] if entry["verdict"] == "worse"]
    if risen:
        parts.append(f"off the task more often: {', '.join(risen)}")
    return f"{name} forgot {part['level']}: {'; '.join(parts)}"


def labels_words(name: str, held_out: Mapping[str, Any]) -> str:
    """What NAME, whose answers are labels, broke of its own HELD_OUT rows (see `flips`)."""
    return (
        f"{name} broke {held_out['broken']:,} of the {held_out['base']:,} held-out rows that the base had right, and "
        f"repaired {held_out['fixed']:,}"
    )


def advice(
    part: Mapping[str, Any], *, adapter: bool, learning_rate: float | None, replay: bool
) -> list[dict[str, Any]]:
    """What may help, the surest first: `[{key, value, text}]`, KEY of the recipe and the VALUE to set (None: to be
    chosen). Empty where little was forgotten."""
    if part["level"] == "little":
        return []
    found: list[dict[str, Any]] = []
    if not adapter:
        found.append({"key": "method.name", "value": "lora", "text": "tune an adapter: the base's weights stay"})
    if learning_rate:
        rate = float(f"{learning_rate / 2:.2g}")
        found.append({"key": "training.learning_rate", "value": rate, "text": "learn more slowly, or for fewer steps"})
    if not replay:
        text = f"mix {REPLAY:.0%} of general rows in (data.replay.path names them)"
        found.append({"key": "data.replay.share", "value": REPLAY, "text": text})
    return found
