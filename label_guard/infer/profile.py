"""What a label column holds, looked at without a schema, and the label that would declare it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.sources.open import Column

Array = NDArray[Any]
_MAX_DISTINCT = 100_000
_MAX_CLASSES = 50_000  # a greatest value beyond this is an id, a count or a time, and no class
_SENTINELS = (-100, -1, 255)
_TOLERANCE = 1e-3  # of the sum of a row of probabilities; that of soft_label by default
_INTEGERS, _FLOATS = "iu", "f"


@dataclass(slots=True)
class Seen:
    """What the records of one label hold.

    Attributes:
        records: records looked at.
        missing: records without a value.
        other: records whose value is no number or array of numbers, by type.
        dtypes: records by stored dtype.
        shapes: records by shape.
        values: distinct whole numbers, bounded.
        many: whether there are more distinct numbers than are kept.
        low: least finite value; high: the greatest.
        high: greatest finite value.
        fractional: whether a value is no whole number.
        not_finite: whether a value is NaN or infinite.
        rows_sum_to_one: whether every row of the last axis does, and is not negative.
        rows_binary: whether all values are 0 or 1.
    """

    records: int = 0
    missing: int = 0
    other: Counter[str] = field(default_factory=Counter[str])
    dtypes: Counter[str] = field(default_factory=Counter[str])
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter[tuple[int, ...]])
    values: set[int] = field(default_factory=set[int])
    many: bool = False
    low: float | None = None
    high: float | None = None
    fractional: bool = False
    not_finite: bool = False
    rows_sum_to_one: bool = True
    rows_binary: bool = True

    def add(self, column: Column) -> None:
        """Look at the records of one chunk."""
        self.records += len(column)
        if isinstance(column, np.ndarray) and column.dtype != object:
            self._add_array(column)
            return
        for value in column:
            if value is None:
                self.missing += 1
                continue
            array: Array = np.asarray(value)
            if not array.size:
                self.shapes[(0,)] += 1
            elif array.dtype.kind not in "biuf":
                self.other[type(value).__name__] += 1
            else:
                self._add_array(array[np.newaxis])

    def _add_array(self, array: Array) -> None:
        """Look at ``array``, ``[records, ...]``."""
        if not len(array):
            return
        self.dtypes[array.dtype.name] += len(array)
        self.shapes[array.shape[1:]] += len(array)
        if array.dtype.kind not in "biuf":
            self.other[array.dtype.name] += len(array)
            return
        numbers = array.astype(np.int8) if array.dtype.kind == "b" else array
        finite = numbers[np.isfinite(numbers)] if numbers.dtype.kind == _FLOATS else numbers.reshape(-1)
        self.not_finite |= finite.size != numbers.size
        if finite.size:
            self._add_values(finite)
        if array.ndim > 1 and array.shape[-1] > 1:
            self.rows_binary &= bool(np.isin(numbers, (0, 1)).all())
            sums = numbers.sum(axis=-1, dtype=np.float64)
            self.rows_sum_to_one &= bool((numbers >= 0).all() and (np.abs(sums - 1) <= _TOLERANCE).all())

    def _add_values(self, finite: Array) -> None:
        low, high = finite.min().item(), finite.max().item()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        if finite.dtype.kind == _FLOATS:
            self.fractional |= bool((np.floor(finite) != finite).any())
            if self.fractional:
                return
        if not self.many:
            self.values.update(int(value) for value in np.unique(finite).tolist())
            self.many = len(self.values) > _MAX_DISTINCT


Described = tuple[dict[str, Any], list[str]]


def describe(path: str, seen: Seen) -> Described:
    """The fields of a label that holds what was seen, and comments; no fields where it can be none, and why.

    >>> seen = Seen()
    >>> seen.add(np.array([0, 1, 2, 2]))
    >>> describe("label", seen)[0]
    {'kind': 'class_label', 'num_classes': 3, 'dtype': ['int64'], 'shape': []}
    """
    del path
    kinds = {np.dtype(name).kind for name in seen.dtypes}
    if seen.other:
        return {}, [f"holds values of type {', '.join(sorted(seen.other))}, which are no labels"]
    if not kinds or seen.low is None or seen.high is None:
        return {}, ["holds no value"]
    if kinds == {"b"}:
        return {}, ["is stored as bool, which is no class id: store it as uint8"]
    if "b" in kinds or len(kinds - {"u"}) > 1 or len({len(shape) for shape in seen.shapes if shape != (0,)}) > 1:
        return {}, [f"holds records of several forms: {', '.join(sorted(seen.dtypes))}; {_shapes(seen)}"]
    notes = [f"seen: {', '.join(sorted(seen.dtypes))}; {_shapes(seen)}; values {seen.low:g} to {seen.high:g}"]
    if seen.missing:
        notes.append(f"TODO check: {seen.missing:,} records have no value, which breaks LG104")
    label, more = _rows(seen) or (_real(seen) if _is_real(seen) else _ids(seen))
    return label, [*notes, *more]


def _is_real(seen: Seen) -> bool:
    kinds = {np.dtype(name).kind for name in seen.dtypes}
    return kinds <= set(_FLOATS) and (seen.fractional or seen.not_finite or (seen.low or 0) < min(_SENTINELS))


def _shapes(seen: Seen) -> str:
    if set(seen.shapes) == {()}:
        return "one value a record"
    shape = _shape(seen)
    return f"shape [{', '.join('any' if n is None else str(n) for n in shape)}]"


def _shape(seen: Seen) -> list[int | None]:
    """Shape of a record; None for a dimension that differs between records."""
    shapes = [shape for shape in seen.shapes if shape != (0,)] or [(0,)]
    whole = seen.shapes.keys() if len(shapes[0]) == 1 else shapes
    return [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*whole, strict=True)]


def _dtype(seen: Seen) -> list[str]:
    return sorted(seen.dtypes)


def _rows(seen: Seen) -> Described | None:
    """A row of a number for each class: probabilities, one-hot or k-hot."""
    shape = _shape(seen)
    if not shape or shape[-1] is None or shape[-1] < 2 or seen.not_finite:
        return None
    classes, outer = {"num_classes": shape[-1]}, {"dtype": _dtype(seen), "shape": shape[:-1]}
    if seen.rows_binary and len(shape) == 1:
        if seen.rows_sum_to_one:
            return {"kind": "soft_label", **classes, "one_hot": True, **outer}, ["every row is one 1 and zeros"]
        return {"kind": "multi_label", **classes, **outer}, ["TODO check: every row is zeros and ones, taken for k-hot"]
    if seen.rows_sum_to_one and seen.fractional:
        return {"kind": "soft_label", **classes, **outer}, ["every row sums to 1"]
    return None


def _real(seen: Seen) -> Described:
    notes = ["TODO check: add minimum and maximum where the target has bounds"]
    if seen.not_finite:
        notes.append("TODO check: some values are NaN or infinite, which breaks LG107")
    return {"kind": "real_label", "dtype": _dtype(seen), "shape": _shape(seen)}, notes


def _ids(seen: Seen) -> Described:
    """Class ids: how many there are, where they start, which values are no classes."""
    if seen.many or (seen.high or 0) > _MAX_CLASSES:
        return {}, [f"holds values up to {seen.high:g}: an id or a count rather than a class"]
    shape = _shape(seen)
    rest, sentinels = _apart(seen.values)
    if not rest:
        return {}, [f"holds nothing but {', '.join(map(str, sorted(sentinels)))}: no record has a label"]
    if min(rest) < 0:
        return {}, [f"holds negative values such as {min(rest)}, which are no class ids"]
    label, notes = _classes(rest)
    label |= {"dtype": _dtype(seen), "shape": shape}
    if any(np.dtype(name).kind == _FLOATS for name in seen.dtypes):
        label["emit"] = "int32"
        notes.append("TODO check: ids are stored as floats")
    elif max(rest) > 127 and "int8" in seen.dtypes:
        notes.append("TODO check: int8 cannot index this many classes")
    if sentinels and not shape and sentinels == {-1}:
        label |= {"unlabeled": -1, "on_unlabeled": "skip"}
        notes.append("TODO check: -1 is taken for: this record has no label")
    elif sentinels:
        label |= {"ignore": sorted(sentinels), "on_ignore": "replace" if min(sentinels) < 0 else "keep"}
        notes.append(f"TODO check: {', '.join(map(str, sorted(sentinels)))} taken for ignore values")
    return label, notes


def _apart(values: set[int]) -> tuple[set[int], set[int]]:
    """Class ids and well-known sentinels far from them."""
    rest = values - set(_SENTINELS)
    sentinels = {value for value in _SENTINELS if value in values}
    if rest and 255 in sentinels and max(rest) >= 254:
        sentinels, rest = sentinels - {255}, rest | {255}
    return rest, sentinels


def _classes(rest: set[int]) -> Described:
    low, high, count = min(rest), max(rest), len(rest)
    used = f"{count} of them are used" if count < high - low + 1 else "all are used"
    if low == 1:
        notes = [f"TODO check: ids start at 1 and go to {high}, {used}: taken for ids that count from 1"]
        return {"kind": "class_label", "num_classes": high, "class_ids": {"start": 1}}, notes
    if count * 2 < high + 1 and count > 2:
        notes = [f"TODO check: {count} distinct ids up to {high}: taken for ids with gaps"]
        return {"kind": "class_label", "num_classes": count, "class_ids": cast("Any", sorted(rest))}, notes
    note = f"TODO check: num_classes is the greatest id seen and one; of ids 0 to {high} {count} are used"
    return {"kind": "class_label", "num_classes": high + 1}, [note] if count < high + 1 else []
