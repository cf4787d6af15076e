"""Illegal values that are all in some files, or in one run of records, though chance would spread them."""

from __future__ import annotations

import math
from typing import NamedTuple

from label_guard.core.plural import counted
from label_guard.diagnosis.illegal import IllegalValues, RecordPlace
from label_guard.diagnosis.readings import ObservedValues
from label_guard.schema.labels import ClassLabel

_LEAST = 5  # occurrences below which chance explains a place
_CHANCE = -13.0  # log probability of such a place by chance
LIKELY = -5.0  # log probability above which a place is as chance would have it
_DENSE = 0.9  # a run in which nearly every record has the value is what sorted records look like


class ClusterCause(NamedTuple):
    """The cause that the place of illegal values shows.

    Attributes:
        cause: short name of the cause.
        text: what was seen, and what to do.
        sorted: whether records sorted by class look the same.
    """

    cause: str
    text: str
    sorted: bool = False


def clustered(observed: ObservedValues, chance: float = _CHANCE) -> ClusterCause | None:
    """The cause of values that are close together; None where illegal values are spread as chance would.

    Args:
        observed: the integers of the label.
        chance: log probability below which a place is more than chance.
    """
    illegal = observed.stats.illegal_values
    if observed.run or len(illegal.files) + illegal.clean_files == 1:
        return _in_a_run(observed.label, illegal, observed.run or observed.stats.records, chance)
    return _in_files(illegal, chance)


def _in_files(illegal: IllegalValues, chance: float) -> ClusterCause | None:
    number = len(illegal.files) + illegal.clean_files
    if number < 2:
        return None
    whole = illegal.clean_positions + sum(one.positions for one in illegal.files.values())
    counts: dict[int | float | None, int] = {None: illegal.positions}
    for one in illegal.files.values():
        for value, count in one.values.items():
            counts[value] = counts.get(value, 0) + count
    for value, count in sorted(counts.items(), key=lambda pair: -pair[1])[:8]:
        names = [name for name, one in illegal.files.items() if value is None or value in one.values]
        held = sum(illegal.files[name].positions for name in names)
        if value is not None and count < illegal.values[value].positions:
            continue  # files with many values do not list it
        if count < _LEAST or not 0 < held < whole or count * math.log(held / whole) + math.log(number) > chance:
            continue
        if _sorted_by_class(illegal, names):
            continue
        what = "illegal values" if value is None else f"values of {value}"
        where = names[0] if len(names) == 1 else f"{names[0]} and {counted(len(names) - 1, 'other file')}"
        text = (
            f"all {count:,} {what} are in {where} ({len(names):,} of {number:,} files, {held / whole:.0%} of the "
            "values): these files follow another convention or are corrupt. Compare them with the others and write "
            "them again"
        )
        return ClusterCause("mixed-files", text)
    return None


def whole_files(illegal: IllegalValues) -> bool:
    """Whether all illegal values are in files that hold no legal one: files of one class look the same."""
    number = len(illegal.files) + illegal.clean_files
    return number > 1 and bool(illegal.files) and all(one.low is None for one in illegal.files.values())


def _sorted_by_class(illegal: IllegalValues, names: list[str]) -> bool:
    """Whether the other files hold other classes: then illegal values are in few files as every class is."""
    others = [(one.low, one.high) for name, one in illegal.files.items() if name not in names]
    others.append((illegal.clean_low, illegal.clean_high))
    mine = [(illegal.files[name].low, illegal.files[name].high) for name in names]
    low, high = _span(mine)
    other_low, other_high = _span(others)
    if low is None or high is None or other_low is None or other_high is None:
        return low is None
    common = min(high, other_high) - max(low, other_low) + 1
    return 2 * common < min(high - low, other_high - other_low) + 1


def _span(ranges: list[tuple[int | None, int | None]]) -> tuple[int | None, int | None]:
    lows, highs = [a for a, _ in ranges if a is not None], [b for _, b in ranges if b is not None]
    return min(lows, default=None), max(highs, default=None)


def _in_a_run(label: ClassLabel, illegal: IllegalValues, whole: int, chance: float) -> ClusterCause | None:
    """Whether all illegal values are within a few of the ``whole`` records of a file, or of a pipeline's run."""
    values = [one for one in illegal.values.values() if one.first[0] == one.last[0]]
    if not values or len(values) < len(illegal.values) or illegal.overflow.positions:
        return None  # some are in other files, or their places are not known
    first = min(values, key=lambda one: one.first[1]).first
    last = max(values, key=lambda one: one.last[1]).last
    span, records = last[1] - first[1] + 1, sum(one.records for one in values)
    if records < _LEAST or span >= whole:
        return None
    by_chance = records * math.log(span / whole) + math.log(whole)
    if chance > _CHANCE:
        by_chance = min(by_chance, _in_part(records, first[1] / whole, (last[1] + 1) / whole))
    if by_chance > chance:
        return None
    dense = label.rank == 0 and records > _DENSE * span and len(values) < _LEAST
    ends = first[1] == 0 or last[1] == whole - 1
    text = (
        f"all {illegal.positions:,} illegal values are in a run of {span:,} of {counted(whole, 'record')}, from "
        f"{_name(first)} to {_name(last)}: this block follows another convention or is corrupt. Compare it with the "
        "others and write it again"
    )
    return ClusterCause("corrupt-block" if len(values) >= _LEAST else "mixed-conventions", text, sorted=dense and ends)


def _name(place: RecordPlace) -> str:
    """A record by its key; in a pipeline by its number, from 1."""
    return place[2] or f"record {place[1] + 1:,}"


def _in_part(count: int, start: float, end: float) -> float:
    """Log probability that ``count`` even draws from 0 to 1 begin as late, or end as early."""
    return min(count * math.log(1 - start), count * math.log(end)) + math.log(2)
