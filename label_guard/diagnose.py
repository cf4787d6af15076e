"""From statistics to the likely cause, in words, with the schema change that would make it legal.

Says nothing rather than guess: every finding needs evidence that the cause leaves and little else does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from label_guard.columns import Column
from label_guard.findings import CheckResult
from label_guard.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel
from label_guard.statistics import LabelStatistics

_SENTINELS = (255, -1, -100)
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "python i")
_FLOATS = ("float16", "float32", "float64", "python f")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A likely cause.

    Attributes:
        label: path of the label.
        cause: a short stable name, such as ``one-based``.
        text: the cause and its evidence, in words.
        patch: fields of the label (or with ``splits`` of the schema) that would make it legal; empty where none would.
    """

    label: str
    cause: str
    text: str
    patch: Mapping[str, Any] = field(default_factory=dict[str, Any])


def diagnose(path: str, label: Label, found: LabelStatistics, split: str | None = None) -> list[Diagnosis]:
    """Likely causes of what is wrong with one label, most telling first.

    Args:
        path: path of the label.
        label: the resolved label.
        found: its statistics.
        split: the split they are of, for patches that concern it alone.
    """
    if not found.records:
        return []
    causes = list(_storage_causes(path, label, found))
    if not causes and isinstance(label, ClassLabel):
        causes = list(_value_causes(path, label, found, split))
    return causes


def diagnose_split(
    labels: Mapping[str, Label], found: Mapping[str, LabelStatistics], split: str | None = None
) -> list[Diagnosis]:
    """Likely causes of what is wrong with the labels of one split, those of several labels together first.

    Args:
        labels: the resolved labels by path.
        found: their statistics.
        split: the split they are of.
    """
    swapped = list(_swapped(labels, found))
    explained = {path for pair in swapped for path in pair}
    causes = [_swap(first, second, found) for first, second in swapped]
    for path, label in labels.items():
        causes += diagnose(path, label, found[path], split) if path not in explained else ()
    return causes


def shuffled_names(path: str, label: Label, stored: Sequence[str]) -> Diagnosis | None:
    """That the dataset's own metadata have the class names of a label in another order; None where they do not.

    >>> label = ClassLabel(kind="class_label", num_classes=3, class_names=["cat", "dog", "frog"])
    >>> print(shuffled_names("label", label, ["cat", "frog", "dog"]).text)
    the dataset's metadata have the same class names in another order: id 1 is 'frog' there, 'dog' in the schema
    """
    names = getattr(label, "class_names", None)
    if not names or list(names) == list(stored) or sorted(names) != sorted(stored):
        return None
    place = next(index for index, (mine, theirs) in enumerate(zip(names, stored, strict=True)) if mine != theirs)
    text = (
        "the dataset's metadata have the same class names in another order: "
        f"id {place} is {stored[place]!r} there, {names[place]!r} in the schema"
    )
    return Diagnosis(path, "shuffled-class-names", text, {"class_names": list(stored)})


# Several labels ----------------------------------------------------------------------------------------------------


def _swapped(labels: Mapping[str, Label], found: Mapping[str, LabelStatistics]) -> Iterator[tuple[str, str]]:
    """Two labels of which each holds what the other declares, the one that it makes illegal first."""
    paths = [path for path, label in labels.items() if label.rank == 0 and found[path].records]
    for first in paths:
        for second in paths:
            mine, theirs = found[first], found[second]
            # A fifth of the records at least: a few stray values that fit elsewhere prove nothing.
            wrong = mine.invalid * 5 > mine.records and not _fits(labels[first], mine)
            crossed = _fits(labels[second], mine) and _fits(labels[first], theirs)
            if first != second and wrong and crossed and _is_telling(labels[second], theirs):
                yield first, second


def _swap(first: str, second: str, found: Mapping[str, LabelStatistics]) -> Diagnosis:
    mine, theirs = found[first], found[second]
    text = (
        f"it holds {mine.low}..{mine.high}, as {second} should, while {second} holds {theirs.low}..{theirs.high}, as "
        f"{first} should: the two features look swapped"
    )
    return Diagnosis(first, "swapped-features", text)


def _fits(label: Label, found: LabelStatistics) -> bool:
    """Whether everything that was found would be legal under ``label``."""
    if found.low is None or found.high is None or set(found.shapes) != {"[]"}:
        return False
    if isinstance(label, ClassLabel):
        ids = label.raw_ids
        whole = not found.fractional and _all_of(found, _INTEGERS)
        return whole and len(ids) == max(ids) - min(ids) + 1 and min(ids) <= found.low and found.high <= max(ids)
    if isinstance(label, RealLabel):
        least = -math.inf if label.minimum is None else label.minimum
        most = math.inf if label.maximum is None else label.maximum
        return _all_of(found, _FLOATS) and least <= found.low and found.high <= most
    return False


def _is_telling(label: Label, found: LabelStatistics) -> bool:
    """Whether it is odd that ``label`` should hold so little of its range as was found."""
    if not isinstance(label, ClassLabel):
        return True
    ids = label.raw_ids
    return not _fits(label, found) or (found.high or 0) - min(ids) + 1 <= len(ids) // 2 <= found.records


# How labels are stored ---------------------------------------------------------------------------------------------


def _storage_causes(path: str, label: Label, found: LabelStatistics) -> Iterator[Diagnosis]:
    causes: list[Diagnosis] = []
    if "LG105" in found.violations or "LG103" in found.violations:  # float rows are refused for their dtype first
        causes = list(_shape_causes(path, label, found))
    if "LG103" in found.violations and not causes:
        causes = list(_dtype_causes(path, label, found))
    yield from causes


def _shape_causes(path: str, label: Label, found: LabelStatistics) -> Iterator[Diagnosis]:
    if len(found.shapes) != 1 or "..." in found.shapes:
        return
    shape = next(iter(found.shapes))
    trailing = str([*label.record_shape, 1]).replace("None", "null")
    if (
        isinstance(label, ClassLabel)
        and label.num_classes > 1
        and shape == f"[{label.num_classes}]"
        and label.rank == 0
    ):
        yield from _row_causes(path, label, found)
    elif shape == trailing and not any(n is None for n in label.record_shape):
        text = f"every label has shape {shape}, a trailing axis of one: it broadcasts silently in a loss"
        yield Diagnosis(
            path, "trailing-axis", text, {"shape": [*label.shape, 1]} if label.rank == len(label.shape) else {}
        )
    elif shape == "[]" and isinstance(label, MultiLabel | SoftLabel) and _all_of(found, _INTEGERS):
        text = f"labels are single integers, {found.low}..{found.high}: class ids, where rows are declared"
        yield Diagnosis(path, "ids-for-rows", text, {"kind": "class_label"})


def _row_causes(path: str, label: ClassLabel, found: LabelStatistics) -> Iterator[Diagnosis]:
    if found.one_hot == found.records:
        text = f"every label is a one-hot row of {label.num_classes}: a class index is declared"
        yield Diagnosis(path, "one-hot", text, {"kind": "soft_label", "one_hot": True, "dtype": sorted(found.dtypes)})
    elif (found.low, found.high) == (0, 1) and not found.fractional:
        text = f"every label is a row of {label.num_classes} zeros and ones: k-hot, where a class index is declared"
        yield Diagnosis(path, "k-hot", text, {"kind": "multi_label", "dtype": sorted(found.dtypes)})


def _dtype_causes(path: str, label: Label, found: LabelStatistics) -> Iterator[Diagnosis]:
    stored = ", ".join(sorted(found.dtypes))
    if found.violations["LG103"][0] != found.records:
        return
    if isinstance(label, ClassLabel) and _all_of(found, _FLOATS) and not found.fractional:
        text = f"all labels are {stored}, and whole numbers: class ids stored as floats"
        yield Diagnosis(path, "float-ids", text, {"dtype": sorted(found.dtypes), "emit": "int32"})
    elif isinstance(label, ClassLabel) and _all_of(found, _INTEGERS):
        declared = ", ".join(label.dtype or ())
        text = f"all labels are {stored}; the schema declares {declared}"
        patch = {"dtype": sorted(found.dtypes)}
        yield Diagnosis(path, "integer-width", text, patch if "python i" not in found.dtypes else {})
    else:
        yield Diagnosis(
            path,
            "wrong-dtype",
            f"all labels are {stored}; the schema declares {', '.join(label.dtype or label.DEFAULT_DTYPES)}",
        )


def _all_of(found: LabelStatistics, names: Sequence[str]) -> bool:
    return bool(found.dtypes) and all(name in names for name in found.dtypes)


# What values they hold ---------------------------------------------------------------------------------------------


def _value_causes(path: str, label: ClassLabel, found: LabelStatistics, split: str | None) -> Iterator[Diagnosis]:
    illegal = dict(found.illegal)
    if not illegal:
        yield from _unused_causes(path, label, found)
        return
    if found.illegal_overflow:
        yield from _truncation(path, label, illegal)
        return
    sentinels = _undeclared(label, illegal)
    rest = {value: count for value, count in illegal.items() if value not in sentinels}
    if rest:
        yield from _truncation(path, label, rest)
        yield from _range_causes(path, label, found, rest)
    if sentinels and (not rest or len(rest) < 3):
        yield from _sentinel_causes(path, label, found, sentinels, split)


def _undeclared(label: ClassLabel, illegal: Mapping[int | float, int]) -> dict[int, int]:
    """Well-known sentinels among the illegal values, and far enough from the range to be no slip of one."""
    ids = label.raw_ids
    near = {min(ids) - 1, max(ids) + 1} - {-1}
    return {int(v): n for v, n in illegal.items() if v in _SENTINELS and v not in near}


def _sentinel_causes(
    path: str, label: ClassLabel, found: LabelStatistics, sentinels: Mapping[int, int], split: str | None
) -> Iterator[Diagnosis]:
    scalar = label.rank == 0
    for value, count in sorted(sentinels.items()):
        if scalar and value == -1 and count == found.records:
            text = f"every label is -1: the split {split or ''} looks unlabeled".replace("  ", " ")
            yield Diagnosis(path, "unlabeled-split", text, _unlabeled_patch(path, split))
        elif scalar and value == 255 and set(found.dtypes) == {"uint8"}:
            text = f"{count:,} labels are 255 in uint8: -1 (or a raw 0 less one) wrapped around"
            yield Diagnosis(path, "uint8-wrap", text, {"ignore": [*label.ignore, 255]})
        elif scalar and value == -1:
            text = f"{count:,} labels are -1: records without a label, which would train the last class"
            yield Diagnosis(path, "unlabeled-records", text, {"unlabeled": -1, "on_unlabeled": "skip"})
        else:
            text = f"{count:,} places hold {value}: looks like an ignore value that is not declared"
            ignored = [v for v in sorted(sentinels) if v != -1 or not scalar]
            yield Diagnosis(path, "undeclared-ignore", text, {"ignore": [*label.ignore, *ignored]})
            return


def _unlabeled_patch(path: str, split: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"unlabeled": -1}
    if split is None or split.startswith("train"):
        return {**fields, "on_unlabeled": "skip"}
    return {"splits": {split: {"labels": {path: fields}}}}


def _truncation(path: str, label: ClassLabel, illegal: Mapping[int | float, int]) -> Iterator[Diagnosis]:
    wide = [v for v in illegal if isinstance(v, int) and abs(v) >= 2**31 and v % 2**32 < label.num_classes]
    if wide and all(abs(v) >= 2**31 for v in illegal):
        low = wide[0] % 2**32
        text = f"{wide[0]} is {low} after truncation to 32 bits, where JAX would train class {low} without a word"
        yield Diagnosis(path, "int32-truncation", text)


def _range_causes(
    path: str, label: ClassLabel, found: LabelStatistics, rest: Mapping[int | float, int]
) -> Iterator[Diagnosis]:
    classes = label.num_classes
    if label.class_ids is not None or not all(isinstance(v, int) for v in rest):
        return
    used = set(found.class_counts)
    above = {int(v) for v in rest if v >= classes}
    if set(rest) == {classes} and 0 not in used and used:
        text = f"labels look 1-based: {min(used)}..{classes} for {classes} classes"
        yield Diagnosis(path, "one-based", text, {"class_ids": {"start": 1}})
    elif set(rest) == {classes} and label.rank:
        text = f"labels look 1-based: 1..{classes} for {classes} classes, with 0 for everything else"
        patch = {"class_ids": {"start": 1}, "ignore": [*label.ignore, 0], "on_ignore": "replace"}
        yield Diagnosis(path, "one-based", text, patch)
    elif set(rest) == {classes} and used:
        text = f"ids run 0..{classes}: num_classes is one too few"
        yield Diagnosis(path, "one-class-too-few", text, {"num_classes": classes + 1})
    elif above == set(rest) and len(above) > 1 and len(used) + len(above) == classes and max(above) < 10 * classes:
        ids = sorted(used | above)
        text = f"{classes} distinct ids up to {ids[-1]}: raw ids with gaps"
        yield Diagnosis(path, "ids-with-gaps", text, {"class_ids": ids})
    elif set(found.dtypes) == {"int8"} and all(v < 0 for v in rest) and classes > 128:
        text = f"negative labels in int8 with {classes} classes: ids above 127 wrapped around"
        yield Diagnosis(path, "int8-wrap", text)


def _unused_causes(path: str, label: ClassLabel, found: LabelStatistics) -> Iterator[Diagnosis]:
    """Legal throughout, but the ends of the range are never used while everything between is, and often."""
    used = sorted(found.class_counts)
    if label.class_ids is not None or len(used) < 2 or found.invalid or min(found.class_counts.values()) < 5:
        return
    first, last = used[0], used[-1]
    if used != list(range(first, last + 1)) or found.records < 20 * label.num_classes:
        return
    if (first, last) != (0, label.num_classes - 1):
        text = f"only ids {first}..{last} of 0..{label.num_classes - 1} are ever used"
        if first == 1:
            text += f": {len(used)} classes counted from 1, {label.num_classes} declared"
        yield Diagnosis(path, "unused-ids", text)


class FaultSummary:
    """A bounded memory of dirty batches, for the diagnosis in an error of the pipeline.

    Feed it with what ``Guard.record_columns`` or ``Guard.batch_columns`` gives and the result of the check, for dirty
    batches alone: clean ones cost nothing.
    """

    def __init__(self) -> None:
        self._found: dict[str, LabelStatistics] = {}

    def add(self, labels: Mapping[str, Label], columns: Mapping[str, list[Column]], result: CheckResult) -> None:
        """Remember one dirty batch."""
        keys = [""] * result.num_records
        for path, label in labels.items():
            faults = [fault for fault in result.faults if fault.label == path]
            found = self._found.setdefault(path, LabelStatistics())
            found.add(label, columns[path], faults, result.num_records, keys)

    def diagnosis(self, labels: Mapping[str, Label]) -> str:
        """The likely causes in words, or nothing."""
        causes = [cause for path, found in self._found.items() for cause in diagnose(path, labels[path], found)]
        return "; ".join(f"{cause.label}: {cause.text}" for cause in causes if cause.cause != "unused-ids")
