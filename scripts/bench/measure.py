"""Paired, interleaved measurements: ratios of medians within one run, CPU time and wall time."""

from __future__ import annotations

import gc
import random
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Timing:
    """Seconds of one call, over several rounds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def median_wall(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.wall)

    @property
    def median_cpu(self) -> float:
        """Median CPU seconds, of this process and of the commands it ran."""
        return statistics.median(self.cpu)


@dataclass(slots=True)
class Row:
    """One line of the table."""

    group: str
    name: str
    seconds: float
    cpu_seconds: float
    against: str = ""
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    target: str = ""
    holds: bool | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def cpu_seconds() -> float:
    """CPU seconds of this process so far, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def calls_for(function: Callable[[], Any], seconds: float) -> int:
    """How many calls fill about ``seconds``, at least one."""
    function()
    start = time.perf_counter()
    function()
    once = max(time.perf_counter() - start, 1e-7)
    return max(1, int(seconds / once))


def measure(functions: dict[str, Callable[[], Any]], *, rounds: int = 9, seconds: float = 0.02) -> dict[str, Timing]:
    """Time each function in every round, in random order, so that drift of the machine meets them all alike.

    Args:
        functions: what to time, by name.
        rounds: how often each is timed.
        seconds: what one timing of one function should take, about.
    """
    calls = {name: calls_for(function, seconds) for name, function in functions.items()}
    timings = {name: Timing() for name in functions}
    order = list(functions)
    chance = random.Random(0)
    gc.collect()
    for _ in range(rounds):
        chance.shuffle(order)
        for name in order:
            function, count = functions[name], calls[name]
            wall, cpu = time.perf_counter(), cpu_seconds()
            for _ in range(count):
                function()
            timings[name].wall.append((time.perf_counter() - wall) / count)
            timings[name].cpu.append((cpu_seconds() - cpu) / count)
    return timings


def ratio(ours: Timing, base: Timing, *, cpu: bool = True) -> tuple[float, tuple[float, float]]:
    """Median and quartiles of the round-by-round ratios."""
    mine, theirs = (ours.cpu, base.cpu) if cpu else (ours.wall, base.wall)
    ratios = [a / max(b, 1e-12) for a, b in zip(mine, theirs, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    return statistics.median(ratios), (low, high)


def row(
    group: str,
    name: str,
    timings: dict[str, Timing],
    *,
    against: str,
    limit: float | None = None,
    at_least: float | None = None,
    cpu: bool = True,
    note: str = "",
) -> Row:
    """The row of ``name`` compared with ``against``, held to ``limit`` (at most) or ``at_least``."""
    mine = timings[name]
    if name == against:
        return Row(group, name, mine.median_wall, mine.median_cpu, note=note)
    value, spread = ratio(mine, timings[against], cpu=cpu)
    if limit is not None:
        return Row(
            group,
            name,
            mine.median_wall,
            mine.median_cpu,
            against,
            value,
            spread,
            f"<= {limit:g}x",
            value <= limit,
            note,
        )
    if at_least is not None:
        speed = 1 / value
        spread = (1 / spread[1], 1 / spread[0])
        return Row(
            group,
            name,
            mine.median_wall,
            mine.median_cpu,
            against,
            speed,
            spread,
            f">= {at_least:g}x the speed",
            speed >= at_least,
            note,
        )
    return Row(group, name, mine.median_wall, mine.median_cpu, against, value, spread, note=note)


def seconds_text(seconds: float) -> str:
    """A duration with a unit that suits it; nothing for what was not timed."""
    if not seconds:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 1000 else f"{ratio:.3g}"


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table; a ratio is of times, or of speeds where it says so."""
    lines = [
        "| what | how | time | CPU | against | ratio of times (quartiles) | target | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        spread = f" ({r.spread[0]:.2f}-{r.spread[1]:.2f})" if r.spread else ""
        unit = "x the speed" if r.target.startswith(">=") else "x"
        value = "" if r.ratio is None else f"{_short(r.ratio)}{unit}{spread}"
        holds = "" if r.holds is None else ("yes" if r.holds else "**no**")
        name = f"{r.name} ({r.note})" if r.note else r.name
        lines.append(
            f"| {r.group} | {name} | {seconds_text(r.seconds)} | {seconds_text(r.cpu_seconds)} | {r.against} | {value} "
            f"| {r.target} | {holds} |"
        )
    return "\n".join(lines)
