"""From statistics to the likely cause, in words, with the schema change that would make it legal.

Says nothing rather than guess: every finding needs evidence that the cause leaves and little else does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from label_guard.check.columns import Column
from label_guard.check.result import CheckResult
from label_guard.core import dtypes
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel

UNUSED = ("unused-ids", "one-class-too-many")  # causes of legal data
_SENTINELS = (255, -1, -100)
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "Python int")
_FLOATS = ("float16", "float32", "float64", "Python float")
# Records an unused class would have, were it as frequent as the rarest used one, summed over the unused ones: a class
# 16 times rarer than that is still absent by chance with a probability of e^-12 only.
_ENOUGH_UNUSED = 200


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
        causes = [*_value_causes(path, label, found, split), *_length_causes(path, label, found)]
    elif not causes and isinstance(label, RealLabel):
        causes = list(_real_causes(path, found, split))
    return causes


# How labels are stored ---------------------------------------------------------------------------------------------


def _storage_causes(path: str, label: Label, found: LabelStatistics) -> Iterator[Diagnosis]:
    if isinstance(label, MultiLabel | SoftLabel) and found.shapes.keys() == {"[]"} and _all_of(found, _INTEGERS):
        yield from _scalar_causes(path, label, found)
        return
    if "LG105" in found.violations:
        yield from _shape_causes(path, label, found)
    if "LG103" in found.violations:
        yield from _dtype_causes(path, label, found)


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


def _scalar_causes(path: str, label: MultiLabel | SoftLabel, found: LabelStatistics) -> Iterator[Diagnosis]:
    text = f"labels are single integers, {found.low}..{found.high}: class ids, where rows are declared"
    legal = (found.low or 0) >= 0 and (found.high or 0) < label.num_classes
    dtype = ["integer"] if "Python int" in found.dtypes else sorted(found.dtypes)
    yield Diagnosis(path, "ids-for-rows", text, {"kind": "class_label", "dtype": dtype} if legal else {})


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
        yield Diagnosis(path, "integer-width", text, _width_patch(label, found))
    else:
        yield Diagnosis(
            path,
            "wrong-dtype",
            f"all labels are {stored}; the schema declares {', '.join(label.dtype or label.DEFAULT_DTYPES)}",
        )


def _width_patch(label: ClassLabel, found: LabelStatistics) -> dict[str, Any]:
    if "Python int" in found.dtypes:
        return {}
    patch: dict[str, Any] = {"dtype": sorted(found.dtypes)}
    if label.emit is None and not all(dtypes.can_index(name, label.num_classes) for name in found.dtypes):
        patch["emit"] = "int32"
    return patch


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
    if set(rest) == {classes} and (used or label.rank):
        yield _last_id(path, label, used)
    elif above == set(rest) and len(above) > 1:
        yield from _other_ids(path, label, found, sorted(used | above))
    elif set(found.dtypes) == {"int8"} and all(v < 0 for v in rest) and classes > 128:
        text = f"negative labels in int8 with {classes} classes: ids above 127 wrapped around"
        yield Diagnosis(path, "int8-wrap", text)


def _last_id(path: str, label: ClassLabel, used: set[int]) -> Diagnosis:
    """``num_classes`` itself is used as an id, and nothing else is wrong."""
    classes = label.num_classes
    if 0 in used and not label.rank:
        text = f"ids run 0..{classes}: num_classes is one too few"
        return Diagnosis(path, "one-class-too-few", text, {"num_classes": classes + 1})
    if 0 in used or not used:
        text = f"labels look 1-based: 1..{classes} for {classes} classes, with 0 for everything else"
        patch = {"class_ids": {"start": 1}, "ignore": [*label.ignore, 0], "on_ignore": "replace"}
        return Diagnosis(path, "one-based", text, patch)
    if label.class_names is not None and label.class_names == tuple(map(str, range(classes))):
        text = f"labels are {min(used)}..{classes} and the classes are named 0..{classes - 1}: {classes} stands for 0"
        return Diagnosis(path, "last-for-zero", f"{text}, as in SVHN, or all ids are 1-based; look at a record")
    text = f"labels look 1-based: {min(used)}..{classes} for {classes} classes"
    return Diagnosis(path, "one-based", text, {"class_ids": {"start": 1}})


def _other_ids(path: str, label: ClassLabel, found: LabelStatistics, ids: Sequence[int]) -> Iterator[Diagnosis]:
    """Several ids lie above the range."""
    classes = label.num_classes
    if len(ids) == classes and ids[-1] < 10 * classes:
        text = f"{classes} distinct ids up to {ids[-1]}: raw ids with gaps"
        yield Diagnosis(path, "ids-with-gaps", text, {"class_ids": list(ids)})
    elif ids[-1] - ids[0] + 1 == len(ids) and ids[0] in (0, 1) and _often(found, ids):
        text = f"ids {ids[0]}..{ids[-1]} are all in use where {classes} classes are declared: another set of classes"
        yield Diagnosis(path, "other-classes", text)


def _often(found: LabelStatistics, ids: Sequence[int]) -> bool:
    """Whether each of ``ids`` stands there several times: strays do not fill a range evenly."""
    return min(found.class_counts[i] + found.illegal.get(i, 0) for i in ids) >= 5


def _unused_causes(path: str, label: ClassLabel, found: LabelStatistics) -> Iterator[Diagnosis]:
    """Legal throughout, but the ends of the range are never used while everything between is, and often."""
    used, declared = sorted(found.class_counts), label.num_classes
    if label.class_ids is not None or len(used) < 2 or found.invalid:
        return
    first, last = used[0], used[-1]
    if used != list(range(first, last + 1)) or len(used) == declared:
        return
    if min(found.class_counts.values()) * (declared - len(used)) < _ENOUGH_UNUSED:
        return
    text = f"only ids {first}..{last} of 0..{declared - 1} are ever used"
    if (first, last) == (0, declared - 2):
        yield Diagnosis(path, "one-class-too-many", f"{text}: num_classes may be one too many")
        return
    if first == 1:
        text += f": {len(used)} classes counted from 1, {declared} declared"
    yield Diagnosis(path, "unused-ids", text)


def _length_causes(path: str, label: ClassLabel, found: LabelStatistics) -> Iterator[Diagnosis]:
    empty = found.shapes.get("[0]", 0)
    if label.min_length and empty and found.violations.get("LG111", [0])[0] == empty:
        text = f"{empty:,} of {found.records:,} records have an empty list of ids, and no list is else too short"
        yield Diagnosis(path, "empty-lists", text, {"min_length": 0})


def _real_causes(path: str, found: LabelStatistics, split: str | None) -> Iterator[Diagnosis]:
    outside = found.violations.get("LG112", [0])[0]
    if outside == found.records and found.low == found.high and found.low in _SENTINELS:
        where = f"the split {split}" if split else "the data"
        text = (
            f"every target is {found.low}: {where} looks unlabeled; a real_label has no value for that, so leave it out"
        )
        yield Diagnosis(path, "unlabeled-split", text)


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
        return "; ".join(f"{cause.label}: {cause.text}" for cause in causes if cause.cause not in UNUSED)
