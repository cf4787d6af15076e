"""Causes that the form of labels shows: shape, dtype, text, rows where an id is declared, missing values."""

from __future__ import annotations

import json
from typing import Any

from label_guard.core import dtypes
from label_guard.core.plural import agreed, counted, times
from label_guard.diagnosis.arithmetic import characters
from label_guard.diagnosis.cause import LikelyCause, OtherCause, with_alternatives
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.fields import fits_shape
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, SoftLabel
from label_guard.schema.stored_dtypes import admitted_dtypes

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "Python int")
_OFTEN = 20
_FLOATS = ("float16", "float32", "float64", "Python float")


def form_cause(label: Label, stats: LabelStatistics) -> LikelyCause | None:
    """The cause that the form of a label shows; None where its form is as declared."""
    if stats.texts:
        return _text_cause(stats)
    if stats.dtypes and set(stats.dtypes) <= {"bool", "Python bool"} and "LG103" in stats.violations:
        text = "labels are stored as bool, true or false, where numbers are declared. Write them as uint8"
        return LikelyCause("bool-labels", text)
    if isinstance(label, MultiLabel | SoftLabel):
        return _rows_declared(label, stats)
    if stats.violations.keys() & {"LG103", "LG105"}:  # a wrong dtype hides a wrong shape
        return _shape_cause(label, stats)
    return None


def missing_cause(stats: LabelStatistics) -> LikelyCause | None:
    """Records without a value, or with NaN."""
    absent = stats.violations.get("LG104", [0, 0])[0]
    if not absent and not stats.not_finite:
        return None
    parts = (
        [f"{absent:,} of {counted(stats.records, 'record')} {agreed(absent, 'has', 'have')} no value"] if absent else []
    )
    parts += [f"{counted(stats.not_finite, 'value is', 'values are')} NaN or infinite"] if stats.not_finite else []
    failed = ", or where they are infinite a calculation that failed" if stats.not_finite else ""
    text = (
        f"{' and '.join(parts)}: missing labels{failed}. Fill them in, leave these records out, or mark them by a "
        "value that the schema declares as ignored"
    )
    return LikelyCause("missing-values", text)


def _text_cause(stats: LabelStatistics) -> LikelyCause:
    total = stats.texts.total()
    if stats.texts["number"] >= 0.9 * total:
        holds = counted(stats.texts["number"], "value is a number", "values are numbers")
        text = f"{holds} stored as text, in quotes. Parse them where they are written"
        return LikelyCause("text-numbers", text)
    kind = "class_names of the schema" if stats.texts["class name"] > total / 2 else "text"
    holds = counted(total, "value is a name", "values are names")
    text = f"{holds} where numbers are declared: {kind}. Map each name to its id"
    if stats.texts["blank"] + stats.texts["number"]:
        text += (
            f"; {counted(stats.texts['blank'], 'is', 'are')} blank, "
            f"{counted(stats.texts['number'], 'is a number', 'are numbers')} in quotes"
        )
    return LikelyCause("names-for-ids", text)


# Shapes ------------------------------------------------------------------------------------------------------------


def _shape_cause(label: Label, stats: LabelStatistics) -> LikelyCause | None:
    words = characters(stats) if isinstance(label, ClassLabel) else None
    if words is not None:
        return LikelyCause("ascii", words)
    if not stats.shapes or "..." in stats.shapes:
        return None
    known: list[list[int]] = [json.loads(shape) for shape in stats.shapes]
    if all(fits_shape(label.record_shape, shape) for shape in known):
        return None
    if isinstance(label, ClassLabel) and len(known) == 1 and label.rank == 0 and len(known[0]) == 1 and known[0][0] > 1:
        return _row_cause(label, stats, known[0][0])
    if all(fits_shape((*label.record_shape, 1), shape) for shape in known):
        text = (
            f"every label has shape {known[0] if len(known) == 1 else '[..., 1]'}, a trailing axis of one: it "
            "broadcasts silently in a loss. Remove the axis where the labels are written"
        )
        return LikelyCause("trailing-axis", text)
    if isinstance(label, ClassLabel) and label.rank >= 2:
        return _mask_cause(label, stats, known)
    return None


def _row_cause(label: ClassLabel, stats: LabelStatistics, length: int) -> LikelyCause | None:
    """Rows of a number for each class, where one id is declared."""
    other = (
        ""
        if length == label.num_classes
        else f", though {counted(label.num_classes, 'class is', 'classes are')} declared"
    )
    whole = sum(stats.shapes.values()) == stats.records
    if whole and stats.one_hot == stats.records:
        text = f"every label is a one-hot row of {length}{other}: a class index is declared. Write the index of the 1"
        patch: dict[str, Any] = {"kind": "soft_label", "one_hot": True, "dtype": sorted(stats.dtypes)}
        return LikelyCause("one-hot", text, {} if other or "Python int" in stats.dtypes else patch)
    if whole and (stats.low, stats.high) == (0, 1) and not stats.fractional:
        text = f"every label is a row of {length} zeros and ones{other}: k-hot, where a class index is declared"
        patch = {"kind": "multi_label", "dtype": sorted(stats.dtypes)}
        return LikelyCause("k-hot", text, {} if other or "Python int" in stats.dtypes else patch)
    if stats.normalized >= 0.99 * stats.records and stats.fractional:
        text = f"labels are rows of {length} probabilities that sum to 1{other}: a class index is declared"
        return LikelyCause("soft-rows", f"{text}. Take the index of the greatest, or declare kind: soft_label")
    if (stats.low, stats.high) == (-1, 1) and not stats.fractional:
        return LikelyCause("plus-minus-one", f"labels are rows of {length} values of -1 and 1{other}: k-hot rows")
    return None


def _mask_cause(label: ClassLabel, stats: LabelStatistics, shapes: list[list[int]]) -> LikelyCause | None:
    if not all(fits_shape(label.record_shape, shape[:-1]) for shape in shapes):
        return None
    last = {shape[-1] for shape in shapes}
    if last == {label.num_classes} and stats.low in (0, 1) and stats.high == 1 and not stats.fractional:
        text = (
            f"the last axis of masks has {counted(label.num_classes, 'value')}, 0 or 1: one-hot masks, where ids are "
            "declared"
        )
        return with_alternatives("one-hot", text, [OtherCause("k-hot", "several classes at one place")])
    if last <= {3, 4}:
        text = (
            f"masks have {last.pop()} colour channels, where one id for each place is declared: a picture of the mask. "
            "Map each colour to its id, or read the palette's indices"
        )
        return LikelyCause("colour-mask", text)
    return None


# Rows declared -----------------------------------------------------------------------------------------------------


def _rows_declared(label: MultiLabel | SoftLabel, stats: LabelStatistics) -> LikelyCause | None:
    scalar = stats.shapes.keys() <= {"[]", "[1]"} and bool(stats.shapes)
    ids = (stats.high or 0) > 1 or "[]" in stats.shapes
    if scalar and stats.violations and not stats.fractional and not stats.not_finite and ids and (stats.low or 0) >= 0:
        text = (
            f"labels are single integers, {stats.low}..{stats.high}: class ids, where rows are declared. Write rows, "
            "or declare kind: class_label"
        )
        return LikelyCause("ids-for-rows", text)
    if not isinstance(label, MultiLabel) or "LG108" not in stats.violations:
        return None
    if _has_other_positive(label, stats):
        value = next(iter(stats.illegal))
        text = f"rows hold 0 and {value} ({times(stats.illegal[value])}), and no 1: {value} for present. Write 1 for it"
        other = OtherCause("undeclared-ignore", f"{value} marks what is not known: declare ignore: [{value}]")
        return with_alternatives("other-positive", text, [other])
    if (stats.low, stats.high) != (-1, 1) or set(stats.illegal) != {-1}:
        return None
    text = f"rows hold -1 ({times(stats.illegal[-1])}) and 1 for absent and present, not 0 and 1. Write 0 for -1"
    other = OtherCause("undeclared-ignore", "-1 marks what is not known: declare ignore: [-1]")
    if stats.illegal[-1] > stats.class_counts.total() / 2:
        return with_alternatives("plus-minus-one", text, [other])
    return with_alternatives(other.cause, other.text, [OtherCause("plus-minus-one", text)])


def _has_other_positive(label: MultiLabel, stats: LabelStatistics) -> bool:
    """Whether rows hold 0 and one other value, often, where 0 and 1 are declared."""
    if label.positive != 1 or label.negative != 0 or len(stats.illegal) != 1 or stats.class_counts.total():
        return False
    ((value, count),) = stats.illegal.items()
    return (stats.low, stats.high) == (0, value) and count >= max(_OFTEN, stats.records / _OFTEN)


# Dtypes ------------------------------------------------------------------------------------------------------------


def dtype_cause(label: Label, stats: LabelStatistics) -> LikelyCause | None:
    """The cause of a wrong dtype; with a change only where every value is legal but for its dtype."""
    if "LG103" not in stats.violations or not stats.dtypes or (stats.texts and _are_admitted(label, stats)):
        return None
    stored, declared = ", ".join(sorted(stats.dtypes)), ", ".join(label.dtype or label.DEFAULT_DTYPES)
    if isinstance(label, ClassLabel) and set(stats.dtypes) <= set(_FLOATS):
        if stats.fractional:
            return _fractions(label, stats, stored)
        width = "" if "Python float" in stats.dtypes else f" ({stored})"  # values of a text file have none
        text = f"all labels are whole numbers stored as floats{width}: class ids. Write them as {declared}"
        return LikelyCause("float-ids", text, _dtype_patch(label, stats))
    if isinstance(label, ClassLabel) and set(stats.dtypes) <= set(_INTEGERS):
        narrow = narrow_cause(label, stats)
        if narrow is not None:
            return narrow
        indexed = all(dtypes.can_index(name, label.num_classes) for name in stats.dtypes if dtypes.is_integer(name))
        width = "" if indexed else f", with which JAX cannot index {counted(label.num_classes, 'class')}"
        text = f"labels are {stored}{width}; the schema declares {declared}"
        return LikelyCause("integer-width", text, _dtype_patch(label, stats))
    return LikelyCause("wrong-dtype", f"labels are {stored}; the schema declares {declared}")


def _are_admitted(label: Label, stats: LabelStatistics) -> bool:
    """Whether the numbers themselves are of a dtype that is legal."""
    admitted = admitted_dtypes(label)
    known = {*admitted, *(f"Python {'int' if dtypes.is_integer(name) else 'float'}" for name in admitted)}
    texts = {name for name in stats.dtypes if name.startswith(("str", "bytes", "object"))}
    return set(stats.dtypes) - texts <= known


def narrow_cause(label: ClassLabel, stats: LabelStatistics) -> LikelyCause | None:
    """A stored dtype that cannot hold the greatest id, which leaves other legal ids in place of greater ones."""
    last = label.id_range[1]
    stored = filter(dtypes.is_integer, sorted(stats.dtypes))
    narrow = next((name for name in stored if dtypes.integer_range(name)[1] < last), None)
    if narrow is None:
        return None
    text = (
        f"labels are stored as {narrow}, which cannot hold {last}, with {counted(label.num_classes, 'class')}: greater "
        "ids wrapped around into other legal ids. Store them in a wider dtype and write them again"
    )
    return LikelyCause("narrow-dtype-wrap", text)


def _fractions(label: ClassLabel, stats: LabelStatistics, stored: str) -> LikelyCause:
    text = (
        f"{counted(stats.fractional, f'{stored} value has a fraction', f'{stored} values have fractions')}, from "
        f"{stats.low:g} to {stats.high:g}: not class ids but continuous numbers, such as a regression target"
    )
    other = OtherCause("lossy-mask", "ids blended by interpolation") if label.rank > 1 else None
    return with_alternatives("not-ids", text, [other] if other else [])


def _dtype_patch(label: ClassLabel, stats: LabelStatistics) -> dict[str, Any]:
    """The stored dtypes, where values are all legal and all records have them."""
    if stats.violations.keys() != {"LG103"} or stats.violations["LG103"][0] != stats.records:
        return {}
    python = any(name.startswith("Python") for name in stats.dtypes)
    if stats.illegal_values.positions or stats.fractional or stats.not_finite or python:
        return {}
    patch: dict[str, Any] = {"dtype": sorted(stats.dtypes)}
    floats = set(stats.dtypes) <= set(_FLOATS)
    if floats or (label.emit is None and not all(dtypes.can_index(n, label.num_classes) for n in stats.dtypes)):
        patch["emit"] = "int32"
    return patch
