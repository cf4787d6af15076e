"""From counts of whole numbers to a class_label: which ids are classes, which mean "no label", and what is in doubt."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from label_guard.core.plural import agreed, counted, times
from label_guard.diagnosis.evidence import log_classes

VOIDS = (-100, -1, 255)
_MAX_CLASSES = 50_000  # a greatest value beyond this is an identifier, a count or a time, and not a class
_MAX_LISTED = 256  # ids with gaps that are listed; more are a vocabulary
_VOCABULARY = 256  # from here on, ids of which fewer than _DENSE are used are a vocabulary
_DENSE = 0.8
_FEW = 5
_MAX_SHOWN = 5  # rare values that comments name
_FREQUENT = 20
_SHORTEST_RUN = 2  # ids in a row from 0 or 1
_LEAST_FAR = 5
_MOST_FAR = 2  # values far from the ids that are taken for codes such as "not known"; more are ids with gaps
SCATTERED = 0.05  # share of values beyond the classes above which nothing is drafted
Name = TypeVar("Name", int, str)  # an id or a name of a class
_CERTAIN = math.log(1000)  # of ids with gaps or from an unusual start, in favour of which little speaks beforehand
_LIKELY = math.log(10)  # of ids from 1


@dataclass(slots=True)
class Drafted:
    """A label as drafted.

    Attributes:
        fields: its fields; empty where none can be drafted.
        marks: by field, what to check on its line.
        notes: comments above the label; where no label can be drafted, why.
        by_hand: what to write by hand where no label can be drafted; empty where that is not known.
        choice: why the field was taken for a label, where that is in doubt.
    """

    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    marks: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    notes: list[str] = field(default_factory=list[str])
    by_hand: str = ""
    choice: str = ""

    @property
    def comments(self) -> list[str]:
        """The notes, and what to write by hand."""
        return (
            [*self.notes[:-1], f"{self.notes[-1]}; write the label by hand: {self.by_hand}"]
            if self.by_hand
            else self.notes
        )

    @property
    def doubts(self) -> dict[str, list[str]]:
        """The marks, and on the line of the kind why the field was chosen."""
        return {**self.marks, "kind": [*self.marks.get("kind", ()), self.choice]} if self.choice else self.marks

    def mark(self, name: str, text: str) -> None:
        """Asks to check a field."""
        self.marks.setdefault(name, []).append(text)

    def mark_first(self, texts: Sequence[str], most: int, one: str, several: str) -> None:
        """Asks to check the classes, by the first of several texts and how many more there are.

        Args:
            texts: what to check.
            most: how many of them are shown.
            one: what the others are, such as ``more value is illegal``, where it is one.
            several: the same where they are several.
        """
        for text in texts[:most]:
            self.mark("num_classes", text)
        if len(texts) > most:
            self.mark("num_classes", f"and {counted(len(texts) - most, one, several)}")


def refused(reason: str, by_hand: str = "") -> Drafted:
    """No label, and why."""
    return Drafted(notes=[reason], by_hand=by_hand)


def draft_classes(counts: Mapping[int, int], *, scalar: bool, only_label: bool) -> Drafted:
    """The class_label that ``counts`` (occurrences by value) show.

    Args:
        counts: by whole number.
        scalar: whether a record holds one value.
        only_label: whether the schema has no other label: only then may records without one be left out.
    """
    reason = _no_classes(counts)
    if reason:
        return refused(reason)
    rare, voids, classes = _parts(counts)
    total = sum(counts.values())
    if not classes:
        unlabeled, others = (sorted(value for value in counts if (value in VOIDS) is void) for void in (True, False))
        shown = ", ".join(map(str, unlabeled))
        if not others:
            return refused(f"holds only {shown}: a split without labels")
        return refused(f"holds {shown} and too few other values, such as {others[0]}, to know the classes")
    far = _far_ids(classes)
    classes = {value: count for value, count in classes.items() if value not in far}
    if sum(rare.values()) > max(_FEW, SCATTERED * total) or min(classes) < 0:
        first = min(rare or classes)
        return refused(f"holds values such as {first} among {min(classes)}..{max(classes)}, which are not class ids")
    if max(classes) > _MAX_CLASSES:
        return refused(f"holds values up to {max(classes):,}: an id or a count rather than a class")
    drafted = _ids(classes)
    if drafted.fields:
        for value, count in far.items():
            drafted.mark(
                "num_classes",
                f"{value} {occurs(count, total)} and is left illegal: far from the other ids, it may mean: no label",
            )
        _mark_rare(drafted, rare, classes, total)
        _add_voids(drafted, voids, total, scalar=scalar, only_label=only_label)
    return drafted


def declared_classes(
    number: int, names: Sequence[str] | None, counts: Mapping[int, int], *, scalar: bool, only_label: bool
) -> Drafted:
    """The class_label that metadata declare; values that contradict it are said, and frequent void values declared.

    Args:
        number: number of classes.
        names: class names in order of the ids; None where the metadata have none.
        counts: occurrences by value.
        scalar: whether a record holds one value.
        only_label: whether the schema has no other label.
    """
    drafted = Drafted({"kind": "class_label", "num_classes": number})
    if names:
        drafted.fields["class_names"] = list(names)
    what = "class names are those" if names else "the number of classes is that"
    drafted.notes.append(f"{what} of the dataset's metadata")
    total = sum(counts.values())
    outside = {value: count for value, count in counts.items() if not 0 <= value < number}
    voids = {v: outside.pop(v) for v in VOIDS if v in outside and outside[v] >= max(_FREQUENT, total / 1000)}
    for value, count in sorted(outside.items(), key=lambda pair: (-pair[1], pair[0]))[:3]:
        declared = f"the metadata {'name' if names else 'declare'} {counted(number, 'class')}"
        drafted.mark("num_classes", f"{declared}, but {value} {occurs(count, total)}")
    _add_voids(drafted, voids, total, scalar=scalar, only_label=only_label)
    return drafted


def _no_classes(counts: Mapping[int, int]) -> str:
    """Why the values are not class ids; empty where they may be."""
    values = sorted(counts)
    if set(values) <= {*range(48, 58), 32, 10, 13} and sum(48 <= v <= 57 for v in values) > 1 and max(values) <= 57:
        return "holds 48..57, the ASCII characters of digits: the text of a number was read as bytes"
    if len(values) > 200 and values[0] >= 0 and 250 <= values[-1] <= 255:
        return "fills the values of a byte, 0..255: a picture rather than a mask"
    return ""


def _parts(counts: Mapping[int, int]) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
    """Rare values at the ends, void values, and classes."""
    least = least_count(counts.values())
    values = sorted(counts)
    plain = [v for v in values if v not in VOIDS]
    if values == [-1, 1] or values == [0, 255]:
        return {}, {}, dict(counts)
    top = max((v for v in plain if counts[v] >= least), default=max(plain, default=0))
    voids = [v for v in VOIDS if v in counts and (v < 0 or top < 254)]
    inside = [v for v in values if v not in voids]
    while inside and counts[inside[-1]] < least:
        inside.pop()
    while inside and counts[inside[0]] < least:
        inside.pop(0)
    known = [v for v in voids if counts[v] >= max(_FEW, least)]
    kept = {*inside, *known}
    return (
        {v: n for v, n in counts.items() if v not in kept},
        {v: counts[v] for v in known},
        {v: counts[v] for v in inside},
    )


def _far_ids(classes: Mapping[int, int]) -> dict[int, int]:
    """One or two values that are farther from a run of ids from 0 or 1 than the run is long, such as 99 or -999."""
    first = last = 0 if 0 in classes else 1
    while last in classes:
        last += 1
    others = [value for value in sorted(classes) if not first <= value < last]
    run = last - first
    far = max(run, _LEAST_FAR)
    if run < _SHORTEST_RUN or len(others) > _MOST_FAR or any(first - far <= value < last + far for value in others):
        return {}
    return {value: classes[value] for value in others}


def least_count(counts: Collection[int]) -> float:
    """Returns how often a value must occur to be a class, by the median of ``counts``."""
    often = [n for n in counts if n > 1] or list(counts)
    usual = float(np.median(often))
    return max(min(_FEW, usual / 4), usual / 30)


def _ids(classes: Mapping[int, int]) -> Drafted:
    """Where ids start, how many there are, whether they have gaps."""
    ids = sorted(classes)
    low, high, size = ids[0], ids[-1], ids[-1] - ids[0] + 1
    if ids == [-1, 1] or ids == [0, 255]:
        found = Drafted({"kind": "class_label", "num_classes": 2, "class_ids": ids})
        found.mark("class_ids", f"the values are {ids[0]} and {ids[1]}: taken for two classes")
        return found
    listed = len(ids) < size and len(ids) <= _MAX_LISTED and len(ids) > 2 and _sure(classes, len(ids), high + 1)
    dense = len(ids) >= _DENSE * (size if low > 1 else high + 1)
    if high >= _VOCABULARY and not dense and not listed:
        return refused(
            f"holds ids up to {high:,}, of which {counted(len(ids), 'occurs', 'occur')}: a vocabulary, whose size the "
            "data do not show",
            by_hand="kind: class_label with num_classes",
        )
    if listed and not (low < 2 and len(ids) > 0.95 * size):
        found = Drafted({"kind": "class_label", "num_classes": len(ids), "class_ids": ids})
        found.mark("class_ids", f"{len(ids)} distinct ids up to {high}: taken for ids with gaps")
        return found
    if low and _sure(classes, size, high + 1, _LIKELY if low == 1 else _CERTAIN):
        found = Drafted({"kind": "class_label", "num_classes": size, "class_ids": {"start": low}})
        found.mark("class_ids", f"ids start at {low} and go to {high}: taken for ids that count from {low}")
    else:
        found = Drafted({"kind": "class_label", "num_classes": high + 1})
        size = high + 1
    if len(ids) < size:
        found.mark(
            "num_classes",
            f"one more than the greatest id seen; {len(ids):,} of {counted(size, 'id')} "
            f"{agreed(len(ids), 'is', 'are')} used",
        )
    return found


def _sure(classes: Mapping[int, int], few: int, many: int, least: float = _CERTAIN) -> bool:
    """Whether the counts show ``few`` classes rather than ``many`` of which some are unused by chance."""
    counts = np.array(list(classes.values()), np.int64)
    return log_classes(counts, few) - log_classes(counts, many) > least


def _mark_rare(drafted: Drafted, rare: Mapping[int, int], classes: Mapping[int, int], total: int) -> None:
    ranked = sorted(rare.items(), key=lambda pair: (pair[1], pair[0]))
    left = [f"{value} {occurs(count, total)} and is left illegal" for value, count in ranked]
    drafted.mark_first(left, _MAX_SHOWN, "more rare value is left illegal", "more rare values are left illegal")
    # The draft sets its classes by all values where they are listed, else by the first and the last.
    ends = classes if isinstance(drafted.fields.get("class_ids"), list) else {min(classes), max(classes)}
    ends = [value for value in ends if is_rare(value, classes)]
    kept = [f"{v} {occurs(classes[v], total)}" for v in sorted(ends, key=lambda v: (classes[v], v))]
    drafted.mark_first(
        kept, _MAX_SHOWN, "more rare value is taken for classes", "more rare values are taken for classes"
    )
    if len(classes) == 1:
        drafted.mark("num_classes", f"{min(classes)} is the only class that was seen")


def is_rare(value: Name, classes: Mapping[Name, int], least: int = _FEW) -> bool:
    """Whether a class occurs ``least`` times at most, or so seldom, by the others, that it may be a stray.

    Args:
        value: the class.
        classes: how often each occurs.
        least: it is rare up to so many occurrences.
    """
    others = [count for other, count in classes.items() if other != value]
    usual = float(np.median(others)) if others else math.inf
    return classes[value] <= least or classes[value] < min(_FREQUENT, usual / 3)


def occurs(count: int, total: int) -> str:
    """Returns how often a value was seen, in words."""
    return f"occurs {times(count)} in {total:,}"


def _add_voids(drafted: Drafted, voids: Mapping[int, int], total: int, *, scalar: bool, only_label: bool) -> None:
    if not voids:
        return
    shown = ", ".join(f"{value} {occurs(count, total)}" for value, count in sorted(voids.items()))
    if scalar and list(voids) == [-1]:
        drafted.fields |= {"unlabeled": -1, "on_unlabeled": "skip" if only_label else "replace"}
        drafted.mark("unlabeled", f"{shown}: taken for: this record has no label")
        return
    drafted.fields |= {"ignore": sorted(voids), "on_ignore": "replace" if min(voids) < 0 else "keep"}
    drafted.mark("ignore", f"{shown}: taken for {'an ignore value' if len(voids) == 1 else 'ignore values'}")
