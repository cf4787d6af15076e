"""The words of each cause that counts of class ids show: what was seen, what it means, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from label_guard.core.plural import agreed, counted, times
from label_guard.diagnosis.cause import OtherCause
from label_guard.diagnosis.readings import Scored, Seen
from label_guard.schema.labels import ClassLabel

_FEW = 5  # isolated values rather than noise


def name_of(seen: Seen, one: Scored) -> str:
    """The name of the cause that is reported for a reading."""
    cause, label = one.reading.cause, seen.label
    if cause == "stray":
        return "stray" if _isolated(seen, one) else "noise"
    if cause == "undeclared-ignore" and label.rank == 0 and one.reading.voids == (-1,):
        return "unlabeled-records"
    if cause == "one-based" and not one.noise and named_by_number(label):
        return "last-for-zero"
    return cause


def named_by_number(label: ClassLabel) -> bool:
    """Whether the names of the classes are 0, 1, 2, ..."""
    return label.class_names == tuple(map(str, range(label.num_classes)))


def _isolated(seen: Seen, one: Scored) -> bool:
    count = sum(one.noise.values()) + seen.far
    return count <= max(_FEW, seen.total // 10_000) or len(one.noise) + (seen.far > 0) <= 2


def alternative(seen: Seen, one: Scored) -> OtherCause:
    """A reading as one of several."""
    return OtherCause(name_of(seen, one), text_of(seen, one))


def text_of(seen: Seen, one: Scored) -> str:
    """What was seen and what it means."""
    text = _CAUSES[one.reading.cause][0](seen, one)
    if one.reading.cause == "stray":
        return text
    rest = {value: n for value, n in one.noise.items() if value or one.reading.cause != "one-based"}
    if rest:
        text += f"; {_values(rest)} {'fits' if len(rest) == 1 else 'fit'} no class"
    return text + (f"; {counted(seen.far, 'more value is', 'more values are')} far away" if seen.far else "")


def advice(seen: Seen, one: Scored) -> str:
    """What to do: with the data first, then with the schema."""
    cause = one.reading.cause
    if cause == "stray":
        first = min(
            (found.first for v, found in seen.found.illegal_values.values.items() if v in one.noise), default=None
        )
        where = f"; see {first[2]}" if first is not None and first[2] else ""
        return f"{where}. Correct or remove these records; no change of the schema fits"
    return f". {_CAUSES[cause][1]}"


def _values(counts: Mapping[int, int]) -> str:
    """The most frequent values with their counts."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{value} ({times(count)})" for value, count in ranked[:3])
    return shown + (f" and {counted(len(ranked) - 3, 'other value')}" if len(ranked) > 3 else "")


def _stray(seen: Seen, one: Scored) -> str:
    count = sum(one.noise.values()) + seen.far
    share = f"{count:,} of {counted(seen.total, 'value')}"
    if _isolated(seen, one):
        named = f": {_values(one.noise)}" if one.noise else ""
        return (
            f"{share} {agreed(count, 'is', 'are')} illegal{named}: {agreed(count, 'a stray', 'strays')}, too few to be "
            "a class or a shift"
        )
    illegal = seen.found.illegal_values
    about = "about " if illegal.overflow.positions else ""
    return (
        f"{share} {agreed(count, 'is', 'are')} illegal, with "
        f"{about}{counted(illegal.distinct, 'distinct value')}{illegal.often_beyond()}: random "
        "or corrupt values among sound ones"
    )


def _void(seen: Seen, one: Scored) -> str:
    counts = " and ".join(
        f"{seen.count(v):,} of {counted(seen.total, 'value')} {agreed(seen.count(v), 'is', 'are')} {v}"
        for v in one.reading.voids
    )
    kind = "an ignore value" if len(one.reading.voids) == 1 else "ignore values"
    if seen.label.rank == 0 and one.reading.voids == (-1,):
        return f"{counts}: records without a label, which would train the last class"
    wrap = " (in uint8, -1 or a raw 0 less one also becomes 255)" if "uint8" in seen.found.dtypes else ""
    return f"{counts}: it looks like {kind} that is not declared{wrap}"


def _voids_too(one: Scored) -> str:
    voids = [str(v) for v in one.reading.voids if v != 0]
    return (
        f", with {' and '.join(voids)} as {'ignore values' if len(voids) > 1 else 'an ignore value'}" if voids else ""
    )


def _one_based(seen: Seen, one: Scored) -> str:
    reading, size = one.reading, seen.label.num_classes
    top = f"{reading.high} occurs {times(seen.count(reading.high))}"
    if 0 in reading.voids:
        return (
            f"labels look 1-based: 1..{size} for {counted(size, 'class')}, with 0 ({times(seen.count(0))}) for "
            "everything else"
            f"{_voids_too(one)}"
        )
    if name_of(seen, one) == "last-for-zero":
        return (
            f"labels are 1..{size} and the classes are named 0..{size - 1}: either {size} is the digit 0, as in SVHN, "
            "or all ids are 1-based; look at a record, then write 0 for it or subtract 1"
        )
    if 0 in one.noise:
        return (
            f"labels look 1-based: 1..{size} for {counted(size, 'class')}, {top}, and 0 occurs only "
            f"{times(seen.count(0))}: "
            f"strays, or an extra class that was sorted first, such as a hidden folder, and moved the others up by one"
            f"{_voids_too(one)}"
        )
    return f"labels look 1-based: 1..{size} for {counted(size, 'class')}, {top} and 0 never{_voids_too(one)}"


def _zero_based(seen: Seen, one: Scored) -> str:
    low, high = seen.label.id_range
    return (
        f"labels count from 0: 0..{one.reading.high} are used, where class_ids declares {low}..{high}{_voids_too(one)}"
    )


def _offset(seen: Seen, one: Scored) -> str:
    reading = one.reading
    return (
        f"ids start at {reading.low}: {reading.low}..{reading.high} for {counted(seen.label.num_classes, 'class')}, "
        f"shifted by {reading.low - seen.label.id_range[0]}{_voids_too(one)}"
    )


def _minus_one(seen: Seen, one: Scored) -> str:
    reading = one.reading
    return (
        f"labels are {reading.low}..{reading.high}: ids less one; "
        f"{counted(seen.count(reading.low), 'value is', 'values are')} {reading.low} "
        f"and the last class {reading.high + 1} is never used: one was subtracted, perhaps twice{_voids_too(one)}"
    )


def _one_too_few(seen: Seen, one: Scored) -> str:
    reading, size = one.reading, seen.label.num_classes
    low = f"{reading.low} ({times(seen.count(reading.low))})"
    text = f"ids run from {low} to {reading.high} ({times(seen.count(reading.high))}): num_classes is one too few"
    if seen.label.rank > 1:
        text += f", {size + 1} classes with a background that was not counted"
    elif seen.label.rank == 1:
        text += f", perhaps because a token was added; num_classes: {size + 1}"
    return text + _voids_too(one)


def _other_classes(seen: Seen, one: Scored) -> str:
    reading = one.reading
    used = int((seen.inside(reading.low, reading.high) > 0).sum())
    return (
        f"{used:,} of the ids {reading.low}..{reading.high} {agreed(used, 'is', 'are')} in use where "
        f"{counted(seen.label.num_classes, 'class is', 'classes are')} declared: another set of "
        f"classes{_voids_too(one)}"
    )


def _gaps(_: Seen, one: Scored) -> str:
    ids = list(one.reading.ids or (0, 0))
    if ids == [0, 255]:
        return "the values are 0 and 255, where 0 and 1 are declared: a binary mask saved as a picture"
    step = ids[1] - ids[0]
    even = all(b - a == step for a, b in pairwise(ids)) and step > 1
    shape = f"multiples of {step}" if even and not ids[0] % step else "raw ids with gaps"
    return f"{len(ids)} distinct ids from {ids[0]} to {ids[-1]} for {len(ids)} classes: {shape}{_voids_too(one)}"


def _mixed(seen: Seen, one: Scored) -> str:
    low, high = one.reading.low, one.reading.high
    return (
        f"{low} ({times(seen.count(low))}) and {high} ({times(seen.count(high))}) together are as frequent as one "
        f"class: some records count from {low}, others from {low + 1}: two conventions"
    )


def _plus_minus(seen: Seen, _: Scored) -> str:
    return f"the values are -1 and 1 ({times(seen.count(-1))} and {times(seen.count(1))}) for two classes, not 0 and 1"


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
