"""The panel beside the chart: the machine and the run in numbers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any

from ftstudio.core.run import Story
from ftstudio.core.text import duration, number, one_line
from ftstudio.ui.text.lines import Line, fit

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
NAME = 9  # cells of a number's name
FORGOTTEN = 0.05  # bits a byte on general text from which on forgetting is pointed at
OTHER = {"tasks": "task", "held-out rows": "rows", "tokenizers": "tokens", "added tokens": "tokens"}
BAR = 20  # cells a bar or a history may have


def bar(share: float, width: int) -> str:
    """SHARE (0 to 1) of WIDTH cells, to an eighth of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)[:width]


def sparkline(values: Iterable[float | None], width: int, top: float) -> str:
    """The last WIDTH values, at most BAR, as little columns, TOP being the highest."""
    width = min(width, BAR)
    shown = [value for value in values if value is not None][-width:] if width > 0 else []
    return "".join(_HEIGHTS[max(0, min(7, int(value / top * 7.999)))] for value in shown)


def short_name(name: object) -> str:
    """A card's name without its maker."""
    text = one_line(name or "GPU", 40)
    for word in ("NVIDIA", "GeForce", "Tesla", "Graphics", "Device"):
        text = text.replace(word, "")
    return text.strip() or "GPU"


def lines(
    story: Story, state: str, width: int, height: int, baseline: Story | None = None, differ: str | None = ""
) -> list[Line]:
    """Everything that fits into WIDTH by HEIGHT cells, the most telling first; beside BASELINE, where there is one.
    DIFFER says in what its losses are of other things (see `judged_on.differing`); None: that isn't known yet."""
    gpus = [gpu for gpu in story.telemetry.get("gpus") or [] if isinstance(gpu, dict)]
    numbers = list(_numbers(story, state, width, baseline, differ))
    room = max(3, height - len(numbers) - 1)
    machine = _cards(story, gpus, width, room - 1) if gpus else []
    machine += _host(story, width, brief=bool(gpus))
    spare = height - len(machine) - len(numbers)
    between: list[Line] = [()] if machine and spare > 0 else []
    return (machine + between + numbers)[:height]


def _cards(story: Story, gpus: list[dict[str, Any]], width: int, room: int) -> list[Line]:
    if len(gpus) > 1 and len(gpus) * 3 > room:
        return _many(gpus, width, room)
    found: list[Line] = []
    for index, gpu in enumerate(gpus):
        use = gpu.get("use")
        head = f"{fit(short_name(gpu.get('name')), min(9, width - 6)):<9} {_percent(use)} "
        past = [card.get("use") for card in _history(story, index)]
        found.append(((head, "strong"), (sparkline(past, width - len(head), 100), "good")))
        used, total = gpu.get("memory_used"), gpu.get("memory_total")
        if used is not None and total:
            found.append(_filled("mem", used, total, width))
        heat = "" if gpu.get("temperature") is None else f"{gpu['temperature']:.0f}°C"
        power = "" if gpu.get("power") is None else f"{gpu['power']:.0f} W"
        if heat or power:
            text = f"{heat:<6} {power:>6} "
            drawn = [card.get("power") for card in _history(story, index)]
            top = max((value for value in drawn if value), default=1)
            found.append(((text, ""), (sparkline(drawn, width - len(text), top), "dim")))
    return found


def _filled(name: str, used: float, total: float, width: int) -> Line:
    """How full a memory is, in figures and as a bar; a nearly full one is marked by a word, too."""
    full = used / total > 0.93
    text = f"{name} {_gib(used)}/{_gib(total)} GiB {'full ' if full else ''}"
    length = min(BAR, width - len(text))
    return ((text, "warn" if full else ""), (bar(used / total, length), "warn" if full else "good"))


def _many(gpus: list[dict[str, Any]], width: int, room: int) -> list[Line]:
    """One line a card, and what doesn't fit in one sentence."""
    shown = gpus if len(gpus) <= room else gpus[: max(1, room - 1)]
    found: list[Line] = []
    for index, gpu in enumerate(shown):
        used, total = gpu.get("memory_used") or 0, gpu.get("memory_total") or 0
        number = index if gpu.get("index") is None else gpu["index"]
        text = f"GPU {number} {_percent(gpu.get('use'))} {_gib(used)}/{_gib(total)}G "
        found.append(((text, ""), (bar(used / total if total else 0, width - len(text)), "good")))
    if len(shown) < len(gpus):
        busy = [gpu["use"] for gpu in gpus if gpu.get("use") is not None]
        mean = f", mean {sum(busy) / len(busy):.0f}%" if busy else ""
        found.append(((f"+{len(gpus) - len(shown)} more GPUs{mean}", "dim"),))
    return found


def _history(story: Story, index: int) -> list[dict[str, Any]]:
    found = []
    for reading in story.readings:
        cards = reading.get("gpus") or []
        if index < len(cards) and isinstance(cards[index], dict):
            found.append(cards[index])
    return found


def _host(story: Story, width: int, brief: bool) -> list[Line]:
    read = story.telemetry
    if not read:
        return []
    cpu, used, total = read.get("cpu"), read.get("ram_used"), read.get("ram_total")
    if brief:
        return [((f"CPU {_percent(cpu)}  RAM {_gib(used)}/{_gib(total)}G", "dim"),)]
    head = f"CPU {_percent(cpu)} "
    past = [reading.get("cpu") for reading in story.readings]
    found: list[Line] = [((head, ""), (sparkline(past, width - len(head), 100), "good"))]
    if used is not None and total:
        found.append(_filled("RAM", used, total, width))
    return found


def _losses(story: Story, baseline: Story, live: bool) -> tuple[float, float] | None:
    """Held-out losses of the run and of BASELINE: at the run's last evaluation while it is LIVE, else the best ones."""
    points, mine = baseline.curves.get("eval_loss", []), story.curves.get("eval_loss", [])
    if not points or not mine:
        return None
    if not live:
        return (story.best[1], baseline.best[1]) if story.best and baseline.best else None
    step, value = mine[-1]
    after = bisect_left(points, step, key=lambda point: point[0])
    if after == len(points) or after == 0:  # it has ended before, or its first evaluation came later
        return value, points[min(after, len(points) - 1)][1]
    (left, low), (right, high) = points[after - 1], points[after]
    return value, low + (high - low) * (step - left) / (right - left)


def _numbers(story: Story, state: str, width: int, baseline: Story | None, differ: str | None) -> Iterable[Line]:
    last = story.last_step
    live = state in ("running", "paused", "replay")

    def named(name: str, value: str, ink: str = "") -> Line:
        return ((f"{name:<{NAME}}", "dim"), (value[: width - NAME], ink))

    yield named("loss", *_measured(last, "loss", number, "strong"))
    yield named("eval", number(story.eval_loss))
    best = story.best
    yield named("best", f"{number(best[1])} @ {best[0]}" if best else "–", "good" if best else "")
    if baseline is not None and (losses := _losses(story, baseline, live)):
        yield named("baseline", *_beside(*losses, differ, width - NAME))
    forgotten = story.forgetting.get("change")
    if isinstance(forgotten, (int, float)):
        kl = story.forgetting.get("kl")
        much = forgotten > FORGOTTEN
        told = f"{'▲ ' if much else ''}{forgotten:+.3f} bpb"
        beside = f"{told}, KL {kl:.2f}" if isinstance(kl, (int, float)) else told
        yield named("forget", beside if len(beside) <= width - NAME else told, "warn" if much else "")
    yield named("lr", _short(last.get("lr")))
    # fp16's scaler begins too high and skips its first steps: nothing to be alarmed by (the watchdog tells when it is)
    skipped = story.start.get("precision") == "fp16" and "grad_norm" in last and last["grad_norm"] is None
    gradient = ("step skipped", "dim") if skipped else _measured(last, "grad_norm", _short, "")
    yield named("gradient", *gradient)
    speed = last.get("tokens_per_second") if live else (story.done or last).get("tokens_per_second")
    yield named("tokens/s", *_against_best(speed, story.best_speed, width - NAME))
    share = last.get("mfu")
    if isinstance(share, (int, float)):
        yield named("MFU", f"{share:.1%} of peak")
    yield named("elapsed", duration(story.seconds))
    if live:
        yield named("to go", "paused" if state == "paused" else duration(story.eta), "strong")
    epoch, epochs = last.get("epoch"), story.start.get("epochs")
    if epoch is not None:
        whole = f" of {round(epochs, 2):g}" if isinstance(epochs, (int, float)) else ""
        yield named("epoch", f"{epoch:.2f}{whole}")
    parameters = story.start.get("parameters") or {}
    if parameters.get("total"):
        trains, total = parameters.get("trainable") or 0, parameters["total"]
        yield named("trains", f"{_count(trains)}/{_count(total)}")
    memory = story.telemetry.get("process_ram")
    if memory:
        yield named("process", f"{_gib(memory)} GiB RAM")


def _beside(loss: float, baseline: float, differ: str | None, width: int) -> tuple[str, str]:
    """The loss of the BASELINE and what LOSS is more, where WIDTH cells hold both, and the ink; or in what they DIFFER:
    then neither is the better one."""
    if differ is None:
        return number(baseline), "dim"
    if differ:
        first = differ.split(",")[0].partition(" (")[0]
        why = f"other {OTHER.get(first, first)}"
        both = f"{number(baseline)} {why}"
        return (both if len(both) <= width else why), "dim"
    step = loss - baseline
    by = f"{step:+.3f}{' ▼' if step < 0 else ' ▲' if step > 0 else ''}"
    both = f"{number(baseline)} ({by})"
    return (both if len(both) <= width else by), "good" if step < 0 else "warn" if step > 0 else ""


def _against_best(speed: Any, best: float | None, width: int) -> tuple[str, str]:
    """SPEED beside the BEST that was seen, where WIDTH cells hold both, and the ink: a run at half of it is marked."""
    if not isinstance(speed, (int, float)):
        return "–", ""
    told = f"{speed:,.0f}"
    if not best or best <= speed:
        return told, ""
    slow = speed < 0.5 * best
    both = f"{told} {'▼ ' if slow else ''}best {best:,.0f}"
    return (both if len(both) <= width else told), "warn" if slow else ""


def _measured(step: dict[str, Any], name: str, form: Callable[[Any], str], ink: str) -> tuple[str, str]:
    """What STEP says of NAME, and its ink. An event writes what is no finite number as null."""
    if name in step and step[name] is None:
        if name == "grad_norm" and step.get("skipped"):  # fp16 finds its scale so, at the beginning above all
            return "step skipped", "dim"
        return "not finite", "bad"
    return form(step.get(name)), ink


def _short(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "–"
    return f"{value:.2e}".replace("e-0", "e-") if value and abs(value) < 1e-2 else f"{value:.3g}"


def _percent(value: Any) -> str:
    return f"{value:3.0f}%" if isinstance(value, (int, float)) else "  – "


def _gib(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "–"
    found = value / (1 << 30)
    return f"{found:.0f}" if found >= 10 else f"{found:.1f}"


def _count(value: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"
