"""The words of each cause that counts of class ids show: what was seen, what it means, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from label_guard.core.plural import agreed, counted, times
from label_guard.diagnosis.cause import OtherCause
from label_guard.diagnosis.readings import ObservedValues, ScoredReading
from label_guard.schema.labels import ClassLabel

_FEW = 5  # isolated values rather than noise


def name_of(observed: ObservedValues, scored: ScoredReading) -> str:
    """The name of the cause that is reported for a reading."""
    cause, label = scored.reading.cause, observed.label
    if cause == "stray":
        return "stray" if _isolated(observed, scored) else "noise"
    if cause == "undeclared-ignore" and label.rank == 0 and scored.reading.voids == (-1,):
        return "unlabeled-records"
    if cause == "one-based" and not scored.noise and named_by_number(label):
        return "last-for-zero"
    return cause


def named_by_number(label: ClassLabel) -> bool:
    """Whether the names of the classes are 0, 1, 2, ..."""
    return label.class_names == tuple(map(str, range(label.num_classes)))


def _isolated(observed: ObservedValues, scored: ScoredReading) -> bool:
    count = sum(scored.noise.values()) + observed.far
    return count <= max(_FEW, observed.total // 10_000) or len(scored.noise) + (observed.far > 0) <= 2


def alternative(observed: ObservedValues, scored: ScoredReading) -> OtherCause:
    """A reading as one of several."""
    return OtherCause(name_of(observed, scored), text_of(observed, scored))


def text_of(observed: ObservedValues, scored: ScoredReading) -> str:
    """What was seen and what it means."""
    text = _CAUSES[scored.reading.cause][0](observed, scored)
    if scored.reading.cause == "stray":
        return text
    rest = {value: n for value, n in scored.noise.items() if value or scored.reading.cause != "one-based"}
    if rest:
        text += f"; {_values(rest)} {'fits' if len(rest) == 1 else 'fit'} no class"
    return text + (f"; {counted(observed.far, 'more value is', 'more values are')} far away" if observed.far else "")


def advice(observed: ObservedValues, scored: ScoredReading) -> str:
    """What to do: with the data first, then with the schema."""
    cause = scored.reading.cause
    if cause == "stray":
        first = min(
            (one.first for v, one in observed.stats.illegal_values.values.items() if v in scored.noise), default=None
        )
        where = f"; see {first[2]}" if first is not None and first[2] else ""
        return f"{where}. Correct or remove these records; no change of the schema fits"
    return f". {_CAUSES[cause][1]}"


def _values(counts: Mapping[int, int]) -> str:
    """The most frequent values with their counts."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{value} ({times(count)})" for value, count in ranked[:3])
    return shown + (f" and {counted(len(ranked) - 3, 'other value')}" if len(ranked) > 3 else "")


def _stray(observed: ObservedValues, scored: ScoredReading) -> str:
    count = sum(scored.noise.values()) + observed.far
    share = f"{count:,} of {counted(observed.total, 'value')}"
    if _isolated(observed, scored):
        named = f": {_values(scored.noise)}" if scored.noise else ""
        is_rare = count < 20 or 30 * count < observed.usual_count
        few = "too few to be a class or a shift" if is_rare else "next to none of the classes"
        return (
            f"{share} {agreed(count, 'is', 'are')} illegal{named}: {agreed(count, 'a stray', 'strays')}, {few}"
            f"{_converted_nan(observed.stats.illegal)}"
        )
    illegal = observed.stats.illegal_values
    about = "about " if illegal.overflow.positions else ""
    return (
        f"{share} {agreed(count, 'is', 'are')} illegal, with "
        f"{about}{counted(illegal.distinct, 'distinct value')}{illegal.often_beyond()}: random "
        "or corrupt values among sound ones"
    )


def _void(observed: ObservedValues, scored: ScoredReading) -> str:
    counts = " and ".join(
        f"{observed.count(v):,} of {counted(observed.total, 'value')} {agreed(observed.count(v), 'is', 'are')} {v}"
        for v in scored.reading.voids
    )
    one = len(scored.reading.voids) == 1
    looks = "it looks like an ignore value that is" if one else "they look like ignore values that are"
    if observed.label.rank == 0 and scored.reading.voids == (-1,):
        return f"{counts}: records without a label, which would train the last class"
    wrap = " (in uint8, -1 or a raw 0 less one also becomes 255)" if "uint8" in observed.stats.dtypes else ""
    return f"{counts}: {looks} not declared{wrap}{_converted_nan(scored.reading.voids)}"


def _converted_nan(values: Iterable[int | float]) -> str:
    """What the least integer of a width may come from."""
    found = next((value for value in values if value in (-(2**31), -(2**63))), None)
    return "" if found is None else f" (NaN becomes {found} where it is converted to an integer)"


def _voids_too(scored: ScoredReading) -> str:
    voids = [str(v) for v in scored.reading.voids if v != 0]
    return (
        f", with {' and '.join(voids)} as {'ignore values' if len(voids) > 1 else 'an ignore value'}" if voids else ""
    )


def _one_based(observed: ObservedValues, scored: ScoredReading) -> str:
    reading, size = scored.reading, observed.label.num_classes
    top = f"{reading.high} occurs {times(observed.count(reading.high))}"
    if 0 in reading.voids:
        return (
            f"labels look 1-based: 1..{size} for {counted(size, 'class')}, with 0 ({times(observed.count(0))}) for "
            "everything else"
            f"{_voids_too(scored)}"
        )
    if name_of(observed, scored) == "last-for-zero":
        return (
            f"labels are 1..{size} and the classes are named 0..{size - 1}: either {size} is the digit 0, as in SVHN, "
            "or all ids are 1-based; look at a record, then write 0 for it or subtract 1"
        )
    if 0 in scored.noise:
        return (
            f"labels look 1-based: 1..{size} for {counted(size, 'class')}, {top}, and 0 occurs only "
            f"{times(observed.count(0))}: "
            f"strays, or an extra class that was sorted first, such as a hidden folder, and moved the others up by one"
            f"{_voids_too(scored)}"
        )
    return f"labels look 1-based: 1..{size} for {counted(size, 'class')}, {top} and 0 never{_voids_too(scored)}"


def _zero_based(observed: ObservedValues, scored: ScoredReading) -> str:
    low, high = observed.label.id_range
    used = f"labels count from 0: 0..{scored.reading.high} are used"
    return f"{used}, where class_ids declares {low}..{high}{_voids_too(scored)}"


def _offset(observed: ObservedValues, scored: ScoredReading) -> str:
    reading, label = scored.reading, observed.label
    return (
        f"ids start at {reading.low}: {reading.low}..{reading.high} for {counted(label.num_classes, 'class')}, "
        f"shifted by {reading.low - label.id_range[0]}{_voids_too(scored)}"
    )


def _minus_one(observed: ObservedValues, scored: ScoredReading) -> str:
    reading = scored.reading
    return (
        f"labels are {reading.low}..{reading.high}: ids less one; "
        f"{counted(observed.count(reading.low), 'value is', 'values are')} {reading.low} "
        f"and the last class {reading.high + 1} is never used: one was subtracted, perhaps twice{_voids_too(scored)}"
    )


def _one_too_few(observed: ObservedValues, scored: ScoredReading) -> str:
    reading, size = scored.reading, observed.label.num_classes
    low = f"{reading.low} ({times(observed.count(reading.low))})"
    text = f"ids run from {low} to {reading.high} ({times(observed.count(reading.high))}): num_classes is one too few"
    if observed.label.rank > 1:
        text += f", {size + 1} classes with a background that was not counted"
    elif observed.label.rank == 1:
        text += f", perhaps because a token was added; num_classes: {size + 1}"
    return text + _voids_too(scored)


def _other_classes(observed: ObservedValues, scored: ScoredReading) -> str:
    reading = scored.reading
    used = int((observed.inside(reading.low, reading.high) > 0).sum())
    return (
        f"{used:,} of the ids {reading.low}..{reading.high} {agreed(used, 'is', 'are')} in use where "
        f"{counted(observed.label.num_classes, 'class is', 'classes are')} declared: another set of "
        f"classes{_voids_too(scored)}"
    )


def _gaps(_: ObservedValues, scored: ScoredReading) -> str:
    ids = list(scored.reading.ids or (0, 0))
    if ids == [0, 255]:
        return "the values are 0 and 255, where 0 and 1 are declared: a binary mask saved as a picture"
    step = ids[1] - ids[0]
    even = all(b - a == step for a, b in pairwise(ids)) and step > 1
    shape = f"multiples of {step}" if even and not ids[0] % step else "raw ids with gaps"
    return f"{len(ids)} distinct ids from {ids[0]} to {ids[-1]} for {len(ids)} classes: {shape}{_voids_too(scored)}"


def _mixed(observed: ObservedValues, scored: ScoredReading) -> str:
    low, high = scored.reading.low, scored.reading.high
    return (
        f"{low} ({times(observed.count(low))}) and {high} ({times(observed.count(high))}) together are as frequent as "
        f"one class: some records count from {low}, others from {low + 1}: two conventions"
    )


def _plus_minus(observed: ObservedValues, _: ScoredReading) -> str:
    minus, plus = times(observed.count(-1)), times(observed.count(1))
    return f"the values are -1 and 1 ({minus} and {plus}) for two classes, not 0 and 1"


# What says what was seen and what it means, and what to do about it.
_CAUSES = {
    "stray": (_stray, ""),
    "undeclared-ignore": (_void, "Check where these values come from"),
    "one-based": (_one_based, "Subtract 1 where the labels are written"),
    "zero-based": (_zero_based, "Check which ids the data mean"),
    "offset": (_offset, "Write ids from 0 where the labels are made"),
    "minus-one-shift": (_minus_one, "Add 1 where the labels are written"),
    "one-class-too-few": (_one_too_few, "Check what the last id means"),
    "other-classes": (_other_classes, "Map the ids to the declared classes, or take the right file"),
    "ids-with-gaps": (_gaps, "Write dense ids where the labels are made"),
    "mixed": (_mixed, "Find the records that count from another start and write them again"),
    "plus-minus-one": (_plus_minus, "Write 0 for -1"),
}
