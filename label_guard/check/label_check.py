"""Checks the values of one label: dtype, shape, then the rules of its kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard.check.class_label import ClassLabelCheck, legal_lists
from label_guard.check.columns import Column, Unreadable, as_object, is_python_number, spec_text
from label_guard.check.counted_positions import broadcasts, counted_positions, fits, where_array
from label_guard.check.fill_values import FillValues
from label_guard.check.kinds import ValueCheck, value_check
from label_guard.check.primitives import is_foreign_float, member, ones
from label_guard.check.reading import LabelReader, checked_label, is_encoded
from label_guard.check.real_label import legal_dtypes
from label_guard.check.result import RuleViolations, plain
from label_guard.core import dtypes, plural, tree
from label_guard.core.similar import closest, look_alike, quoted_apart
from label_guard.core.types import Array, Rows
from label_guard.errors import UsageError
from label_guard.rules.violation import Value
from label_guard.schema.fields import fits_shape
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel
from label_guard.schema.stored_dtypes import Kind, joined_dtype

_NO_ROWS: Rows = np.empty(0, np.intp)
_MOST_REMEMBERED = 4_096  # legal scalars of a label


class LabelCheck:
    """One label of a schema, compiled: checks columns ``[n, ...]`` of its values.

    Args:
        path: path of the label in an element.
        label: the resolved label.
        elsewhere: values that other splits declare as unlabeled.
        mask: path of the validity mask. Where elements have one already, what it marks as padding is not checked.

    Attributes:
        where: path of the feature that says which positions count; None where nothing does.
        reader: reads the stored label.
        checked: the label as it is read: ids in place of names and texts.
        rank: number of dimensions of one record's label.
        has_free_shape: whether a dimension of the label may have any length.
        skips: whether records that hold the unlabeled value are left out of the stream.
    """

    def __init__(
        self, path: str, label: Label, elsewhere: frozenset[int] = frozenset(), mask: str | None = None
    ) -> None:
        self.path = path
        self.where = label.where or mask
        self.label = label
        self.elsewhere = elsewhere
        self.reader = LabelReader(path, label)
        self.checked = checked_label(label)
        self._check = value_check(self.checked, elsewhere)
        self._tests: dict[np.dtype[Any], Callable[[Array], bool]] = {}
        self._python_checks: dict[str, ValueCheck] = {}
        self._clean_scalars: set[tuple[type, Any]] = set()
        self._admitted = frozenset(legal_dtypes(self.checked))
        self._tail = self.checked.record_shape
        self.rank = len(self._tail)
        self.has_free_shape = None in self._tail
        self.skips = isinstance(label, ClassLabel) and label.unlabeled is not None and label.on_unlabeled == "skip"
        self._near: dict[str, str | None] = {}
        self._stores_names, self._is_encoded = label.stores_names, is_encoded(label)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether ``shape`` is the shape of one record's label."""
        return fits_shape(self._tail, shape)

    def clean(self, array: Array) -> bool:
        """Whether every record of ``array`` (``[n, ...]``) is legal: the fast path."""
        test = self._tests.get(array.dtype)
        if test is None:
            if array.dtype not in self._admitted:
                return False
            check = self._check
            test = check.test(array.dtype) if isinstance(check, ClassLabelCheck) else check.clean
            self._tests[array.dtype] = test
        shape = array.shape[1:]
        return (self.fits(shape) if self.has_free_shape else shape == self._tail) and test(array)

    def clean_scalar(self, value: np.generic) -> bool:
        """Whether one NumPy scalar is legal. Legal values are remembered: a run sees few distinct ones, very often."""
        key = (type(value), value)  # equal numbers of two dtypes are two keys
        try:
            if key in self._clean_scalars:
                return True
        except (TypeError, ValueError):  # a structured scalar, or a time span without a unit, has no hash
            return False
        if not self.clean(np.asarray(value)[None]):
            return False
        if len(self._clean_scalars) < _MOST_REMEMBERED:
            self._clean_scalars.add(key)
        return True

    def faults(self, column: Column, whole: bool, *, invalid: bool = False) -> Iterator[RuleViolations]:
        """Finds the rules that records of ``column`` broke.

        Args:
            column: labels of some records.
            whole: whether its rows are all rows of the batch.
            invalid: whether the column is known to break a rule.
        """
        array, rows = column.array, column.rows
        if array.dtype.kind in "US" or (self._stores_names and column.unknown is None):
            yield from self._wrong_text(array, rows)
        elif array.dtype == object:
            yield from self._check_items(array, rows)
        elif not column.typed and not self._kind_is_right(array):
            if isinstance(self.checked, ClassLabel) and array.dtype.kind == "f":  # distinguished value by value
                yield from self._check_items(array.astype(object), rows)
            else:
                yield self.bad_rows("LG103", rows, spec_text(array.dtype, array.shape[1:]), self._dtype_legal())
        elif column.typed and array.dtype not in self._admitted:
            yield self.bad_rows("LG103", rows, spec_text(array.dtype, array.shape[1:]), self._dtype_legal(array.dtype))
        elif not self.fits(array.shape[1:]):
            yield self.bad_rows("LG105", rows, spec_text(array.dtype, array.shape[1:]), self._shape_legal())
        else:
            check = self._check if column.typed else self._python_check(array.dtype.kind)
            if invalid or not check.clean(array):
                yield from self._find(check, column, (whole or not self.has_free_shape) and not self._is_encoded)
            if isinstance(self.label, MultiLabel) and self.label.encoding == "ids":
                yield from self._wrong_counts(array, rows)

    def _python_check(self, kind: str) -> ValueCheck:
        """The check for Python numbers, which must be legal in the dtype that they leave in, too."""
        if kind not in self._python_checks:
            stored = joined_dtype(self.checked, _KIND[kind])
            self._python_checks[kind] = value_check(self.checked, self.elsewhere, stored)
        return self._python_checks[kind]

    def _find(self, check: ValueCheck, column: Column, located: bool) -> Iterator[RuleViolations]:
        """Finds illegal values; ``located``: whether each record takes as many places in the batch as in the column."""
        array, rows = column.array, column.rows
        per_record = max(1, array.size // max(1, array.shape[0]))
        are_first = not len(rows) or rows.item(-1) < len(rows)  # those of the batch, as nearly always
        for found in check.find(array):
            if len(found.positions):
                broken, first, counts = found.by_row(per_record)
                positions = None
                if located and not found.whole:
                    positions = found.positions
                    if not are_first:
                        row, place = np.divmod(positions, per_record)
                        positions = rows[row] * per_record + place
                at: Array = found.values if first is None else found.values[first]
                rule, values = self._shown(found.rule, at, column.unknown)
                places = None
                if array.ndim > 1 and not found.whole:
                    places = (found.positions if first is None else found.positions[first]) % per_record
                broken = broken if are_first else rows[broken]
                legal = legal_lists(self.checked) if rule == "LG111" else self._legal
                yield RuleViolations(self.path, rule, legal, broken, counts, values, positions, places, array.shape[1:])

    def _shown(self, rule: str, values: Array, unknown: tuple[str, ...] | None) -> tuple[str, Array | list[Value]]:
        """The rule and the values as they are stored: names in place of what they were read as."""
        if unknown is not None and rule == "LG102":
            places: list[int] = values.tolist()
            return "LG113", [self._unknown_text(unknown[-1 - place]) for place in places]
        if rule == "LG107" and self.label.ignores_null and not self.label.ignores_nan:
            shown: list[Value] = ["nan or inf"] * len(values)
            return rule, shown
        return rule, values

    def _unknown_text(self, name: str) -> str:
        """An unknown name, and the class name that was probably meant."""
        if name not in self._near and len(self._near) < _MOST_NEAR:
            names: tuple[str, ...] = getattr(self.label, "class_names", None) or ()
            self._near[name] = look_alike(name, names) or closest(name, names)
        near = self._near.get(name)
        return repr(name) if near is None else "{} (did you mean {}?)".format(*quoted_apart(name, near))

    def _wrong_text(self, array: Array, rows: Rows) -> Iterator[RuleViolations]:
        """Texts where numbers are declared, or the reverse; shown as they are."""
        items = array.reshape(array.shape[0], array.size // max(1, array.shape[0])).tolist()
        nothing = np.array([any(item is None for item in values) for values in items], np.bool_)
        if nothing.any():
            yield self.missing(rows[nothing])
        wrong = np.flatnonzero(~nothing)
        if len(wrong):
            shown = [plain(array[k] if array.ndim == 1 else array[k].tolist()) for k in wrong.tolist()]
            values = [repr(value) if isinstance(value, str) and array.ndim == 1 else value for value in shown]
            yield RuleViolations(self.path, "LG103", self._dtype_legal(), rows[wrong], ones(len(wrong)), values)

    def _wrong_counts(self, array: Array, rows: Rows) -> Iterator[RuleViolations]:
        """Lists of ids with too few or too many classes."""
        label = self.label
        if not isinstance(label, MultiLabel) or (label.min_positive is None and label.max_positive is None):
            return
        flat = array.reshape(-1, array.shape[-1]) if array.shape[-1] else np.empty((len(rows), 0), np.int64)
        counts = np.array([len(set(ids)) for ids in flat.tolist()], np.intp).reshape(len(rows), -1)
        most = label.num_classes if label.max_positive is None else label.max_positive
        bad = ((counts < (label.min_positive or 0)) | (counts > most)).any(axis=1)
        if bad.any():
            values: list[Value] = [plural.counted(count, "class") for count in counts[bad, 0].tolist()]
            yield RuleViolations(self.path, "LG108", label.legal, rows[bad], ones(len(values)), values)

    def is_counted_by(self, batch: Any, shape: tuple[int, ...]) -> bool:
        """Whether ``batch`` has what the schema's ``where`` names, if anything, with a value for each record."""
        if self.label.where is None:
            return True
        where = tree.get(batch, self.label.where)
        return fits(where, shape) and where.shape[:1] == shape[:1]

    def leave_out_uncounted(
        self, columns: list[Column], missing: Rows, where: Sequence[Any] | Array
    ) -> tuple[list[Column], Rows]:
        """Leaves out what does not count by ``self.where``: whole rows, and single positions.

        Args:
            columns: labels of some records.
            missing: rows without a label.
            where: by record, the feature that says what counts; one array of numbers where records are alike.

        Returns:
            The columns, with a legal value where a position does not count; and the rows that lack a label they need.

        Raises:
            UsageError: the schema names the feature, and it is missing or does not fit.
        """
        alike = isinstance(where, np.ndarray)
        if self.label.where is None and not alike and any(value is None or value is tree.MISSING for value in where):
            return columns, missing  # no mask came with the element
        try:
            return self._without_uncounted(columns, missing, where)
        except UsageError:
            if self.label.where is None:
                return columns, missing  # the feature is not a mask of this label
            raise

    def _without_uncounted(
        self, columns: list[Column], missing: Rows, where: Sequence[Any] | Array
    ) -> tuple[list[Column], Rows]:
        found: list[Column] = []
        parts = [part for column in columns if len(column.rows) for part in self._fitting(column, where)]
        for column in parts:
            if _is_unreadable(column.array):
                found.append(column)
                continue
            values = _taken(where, column.rows)
            counts = _counts(str(self.where), values, column.array.shape)
            rows = _any(values)
            if not rows.any():
                continue
            array = column.array
            if not rows.all():
                column, array, counts = column._replace(rows=column.rows[rows]), array[rows], counts[rows]
            if not counts.all() and array.dtype.kind in "biuf" and self.fits(array.shape[1:]):
                legal = self._position_fill.record(array.dtype)
                array = np.where(counts, array, np.zeros((), array.dtype) if legal is None else legal)
            found.append(column._replace(array=array, counts=counts))
        return found, missing[_any(_taken(where, missing))] if len(missing) else missing

    def _fitting(self, column: Column, where: Sequence[Any] | Array) -> Iterator[Column]:
        """Splits off records whose ``where`` does not fit: left out where it is 0 throughout, else unreadable."""
        shape = column.array.shape[1:]
        rows = column.rows[:1] if isinstance(where, np.ndarray) else column.rows  # those of an array are alike
        kinds = {_kind_and_shape(where[row]) for row in rows.tolist()}
        if self.label.where is None or all(kind in "biuf" and broadcasts(own, shape) for kind, own in kinds):
            yield column
            return
        fit = np.array([fits(where_array(where[row]), shape) for row in column.rows.tolist()], np.bool_)
        if fit.any():
            yield column if fit.all() else column.taken(fit)
        spec = spec_text(column.array.dtype, shape)
        for place in np.flatnonzero(~fit).tolist():
            row = column.rows[place : place + 1]
            problem = _misfit(self.label.where, where[row[0]], spec)
            if problem is not None:
                yield Column(row, as_object(problem)[None], True)

    @cached_property
    def _position_fill(self) -> FillValues:
        return FillValues(self.checked).of_position

    def bad_rows(self, rule: str, rows: Rows, value: str, legal: str) -> RuleViolations:
        """A violation of whole labels: missing, wrong dtype or shape.

        Args:
            rule: its code.
            rows: the rows of the batch that break it.
            value: what they hold, in words.
            legal: what was expected, in words.
        """
        return RuleViolations(self.path, rule, legal, rows, ones(len(rows)), value)

    def missing(self, rows: Rows) -> RuleViolations:
        """The violation of records without this label."""
        return self.bad_rows("LG104", rows, "missing", self._legal)

    def wrong_length(self, rows: Rows, element: Any) -> RuleViolations:
        """The violation of a batch whose label has not one value per record."""
        path, value = self.reader.of_other_length(element, len(rows)) or (self.path, None)
        column = f" of {path!r}" if self.reader.columns else ""
        return self.bad_rows("LG105", rows, f"{_shape_text(value)}{column}", f"[{len(rows)}, ...]")

    def _kind_is_right(self, array: Array) -> bool:
        return array.size == 0 or any(dtype.kind in _KINDS[array.dtype.kind] for dtype in self._admitted)

    def _check_items(self, array: Array, rows: Rows) -> Iterator[RuleViolations]:
        """Object arrays, item by item."""
        items = array.reshape(array.shape[0], array.size // max(1, array.shape[0])).tolist()
        if not self.fits(array.shape[1:]) and not _is_unreadable(array):
            yield self.bad_rows("LG105", rows, spec_text(array.dtype, array.shape[1:]), self._shape_legal())
            return
        found: dict[str, list[tuple[int, Any]]] = {}
        for row, values in zip(rows.tolist(), items, strict=True):
            beside_null = any(item is None for item in values)
            for item in values:
                rule = self._stored_rule(item) if beside_null else self._item_rule(item)
                if rule:
                    found.setdefault(rule, []).append((row, item))
        for rule, hits in found.items():
            broken, first, counts = np.unique([row for row, _ in hits], return_index=True, return_counts=True)
            legal = {"LG103": self._dtype_legal(), "LG105": self._shape_legal()}.get(rule, self._legal)
            yield RuleViolations(self.path, rule, legal, broken.astype(np.intp), counts, [hits[k][1] for k in first])

    def _stored_rule(self, item: Any) -> str | None:
        """The rule for a value next to a null, which readers hand on as a NumPy number of the stored dtype."""
        dtype: Any = getattr(item, "dtype", None)
        if type(item) not in (int, float) and dtype not in self._admitted:
            return self._item_rule(item)
        if not isinstance(self.checked, ClassLabel):  # not looked at: the record is invalid for its null
            return None
        return self._item_rule(item if dtype is None else item.item())

    def _item_rule(self, item: Any) -> str | None:
        if item is None:
            return "LG104"
        if isinstance(item, Unreadable):
            return item.rule
        if isinstance(item, float) and isinstance(self.checked, ClassLabel):
            if not math.isfinite(item):
                return "LG107"
            return "LG103" if item.is_integer() else "LG106"
        if not isinstance(self.checked, ClassLabel):  # what a number is next to, is at fault
            return None if self.reader.reads_floats and is_python_number(item) else "LG103"
        if not isinstance(item, int) or isinstance(item, bool):
            return "LG103"
        if item in self._ids or item in self.checked.sentinels:
            return None
        if item in self.elsewhere:
            return "LG110"
        return "LG102" if item < 0 else "LG101"

    @cached_property
    def _legal(self) -> str:
        return self.label.legal  # made of its fields at each call

    @cached_property
    def _ids(self) -> frozenset[int] | range:
        return self.checked.id_set if isinstance(self.checked, ClassLabel) else frozenset()

    def _dtype_legal(self, stored: np.dtype[Any] | None = None) -> str:
        """The legal dtypes; by name where ``stored`` is not NumPy's own: a bfloat16 is floating, to its users."""
        names = self.label.dtype or self.label.DEFAULT_DTYPES
        if stored is not None and is_foreign_float(stored, names) and set(names) & set(dtypes.FAMILIES):
            names = dtypes.expand(names)
        admitted = {dtype.name for dtype in self._admitted}
        names = [name for name in names if name != "bool" or name in admitted] or names  # bool holds no ignore value
        text = f"dtype {' or '.join(names)}"
        if stored is not None and not stored.isnative:
            return f"{text} in the byte order of this machine"
        if isinstance(self.label, ClassLabel) and not admitted.issuperset(self.checked.stored_dtypes):
            return f"{text} wide enough to index {self.label.num_classes} classes"
        if stored is not None and isinstance(self.label, RealLabel) and stored.name in self.checked.stored_dtypes:
            return f"{text} that can hold {self._legal}"
        return text

    def _shape_legal(self) -> str:
        return f"shape {list(self._tail)}".replace("None", "null")

    def unlabeled_rows(self, array: Array) -> Rows:
        """Rows of ``array`` that hold the unlabeled value, where such records are skipped."""
        unlabeled = self.label.unlabeled if isinstance(self.label, ClassLabel) else None
        if not self.skips or unlabeled is None or array.dtype.kind not in "iuf":
            return _NO_ROWS
        hit = member(array, (unlabeled,))
        return np.flatnonzero(hit.reshape(array.shape[0], array.size // max(1, array.shape[0])).any(axis=1))


_MOST_NEAR = 100  # unknown names that a near one is looked for
_KINDS = {"i": "iu", "u": "iu", "f": "f", "b": "b"}
_KIND: dict[str, Kind] = {"i": "i", "u": "i", "f": "f", "b": "b"}


def _taken(where: Sequence[Any] | Array, rows: Rows) -> Sequence[Any] | Array:
    """What counts in the records at ``rows``."""
    if isinstance(where, np.ndarray):
        return where if len(rows) == len(where) else where[rows]
    return [where[row] for row in rows.tolist()]


def _counts(path: str, values: Sequence[Any] | Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Returns, as bool of ``shape``, which positions of the labels of some records count."""
    if isinstance(values, np.ndarray):
        return counted_positions(path, values, shape)
    return np.array([counted_positions(path, value, shape[1:]) for value in values], np.bool_).reshape(shape)


def _any(values: Sequence[Any] | Array) -> NDArray[np.bool_]:
    """Whether any position of each record counts; so does a record without positions."""
    if isinstance(values, np.ndarray):
        return np.any(values != 0, axis=tuple(range(1, values.ndim))) | (0 in values.shape[1:])
    arrays = [where_array(value) for value in values]
    return np.array([not array.size or bool(np.any(array != 0)) for array in arrays], np.bool_)


def _kind_and_shape(where: Any) -> tuple[str, tuple[int, ...]]:
    """The kind of the dtype of an array, and its shape; what is not an array is looked at closer."""
    kind = getattr(getattr(where, "dtype", None), "kind", "O")
    return kind, where.shape if kind in "biuf" else ()


def _misfit(path: str, where: Any, spec: str) -> Unreadable | None:
    """What takes the place of a label, ``spec``, that its ``where`` does not fit; None where nothing of it counts."""
    if isinstance(where, Unreadable):
        return where
    if where is None or where is tree.MISSING:
        return Unreadable(f"{spec} without {path!r}, which says what counts", "LG104")
    array = where_array(where)
    is_number = array.dtype.kind in "biuf"
    if is_number and array.size and not array.any():
        return None
    text = f"{spec} under {path!r} of {spec_text(array.dtype, array.shape)}"
    return Unreadable(text, "LG105" if is_number else "LG104")


def _is_unreadable(array: Array) -> bool:
    return bool(array.size) and array.ndim == 1 and all(isinstance(item, Unreadable) for item in array.tolist())


def _shape_text(value: Any) -> str:
    try:
        shape = getattr(value, "shape", None)
        return f"length {len(value)}" if shape is None and hasattr(value, "__len__") else f"shape {list(shape or ())}"
    except Exception as error:  # a foreign attribute may raise anything
        return f"{type(value).__name__} ({type(error).__name__})"
