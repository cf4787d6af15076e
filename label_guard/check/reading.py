"""Reads labels as they are stored into the arrays that are checked: names and texts to ids, 40 to 40.0, null to NaN.

A label that is stored as numbers in one feature is read as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import (
    Column,
    UntypedIntegers,
    all_rows,
    as_array,
    as_float,
    column_items,
    gather,
    is_python_number,
)
from label_guard.core import tree
from label_guard.core.dtypes import FLOATING, is_integer
from label_guard.core.types import Array, Rows
from label_guard.schema.labels import ClassLabel, Label, MultiLabel
from label_guard.schema.stored_dtypes import admitted_dtypes

_NO_ROWS: Rows = np.empty(0, np.intp)
_TEXT = "UST"
_BOOL_WORDS = {"true": True, "false": False}
_MOST_DIGITS = 4000  # int() refuses longer texts; such an id is out of range anyway


def checked_label(label: Label) -> Label:
    """The label that describes what a ``LabelReader`` reads: ids in place of names, lists in place of texts.

    A multi_label of ids is read as lists of class ids.
    """
    if isinstance(label, MultiLabel) and label.encoding == "ids":
        return ClassLabel(
            num_classes=label.num_classes,
            class_names=label.class_names,
            dtype=None if label.stores_names else label.dtype,
            shape=(*label.shape, None),
            unique=label.unique,
            min_length=label.min_length,
            max_length=label.max_length,
            emit="int32",
        )
    if isinstance(label, ClassLabel) and (label.stores_names or label.separator is not None):
        dtype = ("int64",) if label.stores_names else label.dtype
        return label.model_copy(update={"dtype": dtype, "separator": None, "emit": label.emitted_dtype})
    return label.model_copy(update={"columns": None}) if isinstance(label, MultiLabel) and label.columns else label


def is_encoded(label: Label) -> bool:
    """Whether the array that is checked differs from the one that is stored."""
    if isinstance(label, MultiLabel) and (label.columns or label.encoding == "ids"):
        return True
    return label.stores_names or (isinstance(label, ClassLabel | MultiLabel) and label.separator is not None)


def stored_features(labels: Mapping[str, Label]) -> dict[str, tuple[int | None, ...]]:
    """By path, the features that ``labels`` are read from, and their shape per record."""
    features: dict[str, tuple[int | None, ...]] = {}
    for path, label in labels.items():
        columns = label.columns if isinstance(label, MultiLabel) else None
        text = isinstance(label, ClassLabel | MultiLabel) and label.separator is not None
        shape = label.record_shape[:-1] if columns or text else label.record_shape
        features |= dict.fromkeys(columns or (path,), shape)
        if label.where is not None:
            features.setdefault(label.where, ())
    return features


class LabelReader:
    """Reads one label of records or batches.

    Args:
        path: path of the label.
        label: the resolved label.

    Attributes:
        columns: paths of the features that hold one class each; empty where the label is one feature.
        is_plain: whether labels are checked as they are stored.
        needs_reading: whether arrays, too, differ once they are read.
        reads_floats: whether Python numbers, which have no width, may be floats.
    """

    def __init__(self, path: str, label: Label) -> None:
        self.path = path
        self.label = label
        self.columns = (label.columns or ()) if isinstance(label, MultiLabel) else ()
        self._separator = label.separator if isinstance(label, ClassLabel | MultiLabel) else None
        self._null = label.ignores_null
        self._unmeasured = self._null or label.ignores_nan
        self._admitted = frozenset(admitted_dtypes(label)) if self._unmeasured else frozenset[str]()
        names: tuple[str, ...] = getattr(label, "class_names", None) or ()
        self._ids: dict[str, int] | None = (
            {name: index for index, name in enumerate(names)} if label.stores_names else None
        )
        self._admitted_numbers = _admitted_of_numbers(label)
        admitted = () if label.stores_names else admitted_dtypes(label)
        self.reads_floats = any(name in FLOATING for name in admitted)
        self._integers = any(map(is_integer, admitted))
        self._is_class = isinstance(checked_label(label), ClassLabel)
        self._open_shape = label.record_shape if None in label.record_shape[:-1] else ()
        self.needs_reading = is_encoded(label) or (self._null and not label.ignores_nan)
        decodes = self.columns or self._separator or self._unmeasured or self._ids is not None
        self.is_plain = not (decodes or self.reads_floats or self._open_shape)

    def records(self, records: Sequence[Any]) -> tuple[list[Column], Rows]:
        """Reads the labels of ``records``.

        Returns:
            Columns of the labels; and the rows (intp[k]) without one.
        """
        if self.columns:
            return self.values([self._row([tree.get(record, path) for path in self.columns]) for record in records])
        return self.values([tree.get(record, self.path) for record in records])

    def values(self, values: Sequence[Any]) -> tuple[list[Column], Rows]:
        """Reads label values, one per record.

        Returns:
            Columns of the labels; and the rows (intp[k]) without one.
        """
        columns, missing = gather(values)
        columns = self.decoded(columns)
        if self._null and len(missing) and None not in self.label.record_shape:
            null = np.array([row for row in missing.tolist() if values[row] is None], np.intp)
            shape = (len(null), *cast("tuple[int, ...]", self.label.record_shape))
            columns += [Column(null, np.full(shape, np.nan), False)] if len(null) else []
            missing = np.setdiff1d(missing, null)
        return columns, missing

    def batch(self, element: Any, size: int) -> tuple[list[Column] | None, Rows]:
        """Reads the labels of a batch of ``size`` records.

        Returns:
            Columns of the labels, None where the label has no leading axis of ``size``; and the rows (intp[k]) without
            a label.
        """
        if not self.columns:
            return self.batch_value(tree.get(element, self.path), size)
        values = [_batch_items(tree.get(element, path), size) for path in self.columns]
        if any(value is None for value in values):
            return (None, _NO_ROWS) if self.of_other_length(element, size) else ([], all_rows(size))
        arrays = [cast(Array, value) for value in values if isinstance(value, np.ndarray)]
        forms = {(array.dtype, array.shape) for array in arrays}
        if len(arrays) == len(values) and len(forms) == 1 and arrays[0].dtype.kind in "biuf":
            return self.batch_value(np.stack(arrays, axis=-1), size)
        rows = zip(*cast("list[Sequence[Any]]", values), strict=True)
        return self.values([self._row(list(row)) for row in rows])

    def of_other_length(self, element: Any, size: int) -> tuple[str, Any] | None:
        """The path and value of the first feature of the label that has not ``size`` values; None where each has."""
        for path in self.columns or (self.path,):
            value = tree.get(element, path)
            if value is not None and value is not tree.MISSING and _batch_items(value, size) is None:
                return path, value
        return None

    def batch_value(self, value: Any, size: int) -> tuple[list[Column] | None, Rows]:
        """Reads the labels of a batch from the value of its label.

        Returns:
            As ``batch``.
        """
        everything = all_rows(size)
        if self.is_plain and type(value) is np.ndarray and value.dtype.kind in "biuf" and value.shape[:1] == (size,):
            return [Column(everything, value, True)], _NO_ROWS  # nearly every label
        if value is tree.MISSING or value is None:
            return [], everything
        if isinstance(value, np.ndarray) and cast(Array, value).dtype.hasobject and value.ndim:
            value = list(cast(Array, value))  # ragged batches: checked record by record
        elif not isinstance(value, np.ndarray):
            value = column_items(value) or value
        if isinstance(value, list | tuple | UntypedIntegers):
            values = cast("Sequence[Any]", value)
            return self.values(values) if len(values) == size else (None, _NO_ROWS)
        array, typed = as_array(value)
        if not array.ndim and array.dtype.kind in "OUS":  # not a batch of anything: every record lacks its label
            array = np.full(size, array)
        if not array.ndim or array.shape[0] != size:
            return None, _NO_ROWS
        if array.dtype == object:  # a pandas or Arrow column of names
            return self.values(list(array))
        return self.decoded([Column(everything, array, typed)]), _NO_ROWS

    def _row(self, values: list[Any]) -> Any:
        """The label of a record whose classes have a feature each: each may have another of the admitted dtypes."""
        if any(value is tree.MISSING for value in values):
            return tree.MISSING
        measured = [value for value in values if value is not None]
        if len({_dtype_of(value) for value in measured}) <= 1:
            return values
        if not all(_dtype_of(value) in self._admitted_numbers for value in measured):
            return values
        items = [np.asarray(value).item() for value in measured]
        number = max(map(type, items), key=(bool, int, float).index)
        if any(number(item) != item for item in items if item == item):  # beyond 2**53
            return values
        return [None if value is None else number(value) for value in values]

    def from_text(self, columns: list[Column]) -> list[Column]:
        """Columns of a text file, where ``dtype: bool`` is declared and written as ``True`` or ``false``."""
        if "bool" not in (self.label.dtype or ()):
            return columns
        read: list[Column] = []
        for column in columns:
            if column.array.ndim != 1 or not _all_text(column.array):
                read.append(column)
                continue
            words = [_text(item).strip().lower() for item in column.array.tolist()]
            known = np.array([word in _BOOL_WORDS for word in words], np.bool_)
            values = np.array([word == "true" for word in words], np.bool_)
            parts = [Column(column.rows[known], values[known], False), column.taken(~known)]
            read += [part for part in parts if len(part.rows)]
        return read

    # Decoding -----------------------------------------------------------------------------------------------------

    def decoded(self, columns: list[Column]) -> list[Column]:
        """Columns of what is checked; a column that cannot be decoded stays as it is, and breaks LG103."""
        if self.is_plain:
            return columns
        found: list[Column] = []
        for column in map(self._with_rank, columns):
            if self._separator is not None:
                found += self._split(column)
            elif self._ids is not None:
                found += self._named(column)
            else:
                found += self._measured(column)
        return found

    def _split(self, column: Column) -> list[Column]:
        """Texts such as ``16 0`` as lists of ids or names; a lone id may be stored as a number."""
        if column.array.ndim == 1 and column.array.dtype.kind in "iu" and self._ids is None:
            return [column._replace(array=column.array[:, None])]
        if column.array.ndim != 1 or not _all_text(column.array):
            return [column]
        lists: list[tuple[int, list[Any]]] = []
        rest: list[int] = []
        for row, text in zip(column.rows.tolist(), map(_text, column.array.tolist()), strict=True):
            parts = text.split(self._separator) if text.strip() else []
            parts = [part for part in parts if part] if self._separator == " " else parts
            ids = parts if self._ids is not None else _integers(parts)
            if ids is None:
                rest.append(row)
            else:
                lists.append((row, ids))
        columns = [column.taken(np.isin(column.rows, rest))] if rest else []
        for gathered in gather([ids for _, ids in lists])[0]:
            rows = np.array([lists[k][0] for k in gathered.rows.tolist()], np.intp)
            part = gathered._replace(rows=rows)
            columns += self._named(part) if self._ids is not None else [part]
        return columns

    def _named(self, column: Column) -> list[Column]:
        """Names as ids; an unknown name is ``-1 - its position`` among ``unknown``."""
        array = column.array
        if not array.size:
            return [Column(column.rows, np.empty(array.shape, np.int64), True, ())]
        text = _text_records(array)
        if not text.any():
            return [column]
        if not text.all():  # a record that holds something else leaves the others as they are
            return [*self._named(column.taken(text)), column.taken(~text)]
        if array.dtype.kind not in "US":
            array = np.array([_text(item) for item in array.reshape(-1).tolist()], object).reshape(array.shape)
        names, inverse = np.unique(array, return_inverse=True)
        unknown: list[str] = []
        ids: list[int] = []
        for name in map(_text, names.tolist()):
            known = None if self._ids is None else self._ids.get(name)
            unknown += [name] if known is None else []
            ids.append(-len(unknown) if known is None else known)
        decoded = np.array(ids, np.int64)[inverse.reshape(-1)].reshape(array.shape)
        return [Column(column.rows, decoded, True, tuple(unknown))]

    def _with_rank(self, column: Column) -> Column:
        """An empty list as an array of the label's rank: such a list shows no more than its own dimension."""
        shape, declared = column.array.shape[1:], self._open_shape
        if column.typed or column.array.size or len(shape) >= len(declared) or not shape or shape[-1]:
            return column
        if any(want not in (None, have) for want, have in zip(declared, shape, strict=False)):
            return column
        deeper = (length or 0 for length in declared[len(shape) :])
        return column._replace(array=column.array.reshape(len(column.rows), *shape, *deeper))

    def _measured(self, column: Column) -> list[Column]:
        """Python numbers as floats where the label is one of floats, and null as NaN.

        A text has no width, and writes 40.0 as 40. Where integers are declared as well, whole numbers stay integers.
        """
        array = column.array
        if not self.reads_floats:
            return [column]
        whole = array.dtype.kind == "i" and not column.typed and (self._null or not self._integers)
        if array.dtype == object or (whole and self._is_class):
            return self._items_as_floats(column)
        if whole:
            return [column._replace(array=array.astype(np.float64))]
        if array.dtype.kind == "f" and self._null and not self.label.ignores_nan and np.isnan(array).any():
            # NaN means null from here on; one that is stored is as illegal as an infinity.
            return [column._replace(array=np.where(np.isnan(array), array.dtype.type(np.inf), array))]
        return [column]

    def _items_as_floats(self, column: Column) -> list[Column]:
        """Records that hold nothing but numbers as floats, each by itself; the others as they are."""
        array, shape = column.array, column.array.shape[1:]
        if not array.size:
            return [column]
        records = [self._floats_of(items) for items in array.reshape(len(array), -1).tolist()]
        read = np.array([record is not None for record in records], np.bool_)
        numbers = np.array([record for record in records if record is not None], np.float64)
        parts = [Column(column.rows[read], numbers.reshape(-1, *shape), False), column.taken(~read)]
        return [part for part in parts if len(part.rows)]

    def _floats_of(self, items: list[Any]) -> list[float] | None:
        """The floats of one record; None where an item is another value, or an id that no float holds."""
        if not all(self._null if item is None else self._is_number(item) for item in items):
            return None
        stored = np.inf if self._null and not self.label.ignores_nan else np.nan
        floats = [np.nan if item is None else stored if item != item else as_float(item) for item in items]
        if self._is_class and any(number != item for number, item in zip(floats, items, strict=True) if item == item):
            return None
        return floats

    def _is_number(self, item: Any) -> bool:
        """Whether a value is a number of a dtype that is legal; Python numbers have none."""
        if isinstance(item, np.generic):
            return cast("np.generic[Any]", item).dtype.name in self._admitted
        return is_python_number(item)


def bool_words(values: Any) -> Any:
    """A list with the words true and false, in any case, as bool; other values stay."""
    if not isinstance(values, list):
        return values
    items = cast("list[Any]", values)
    return [_BOOL_WORDS.get(item.strip().lower(), item) if isinstance(item, str) else item for item in items]


def _batch_items(value: Any, size: int) -> Any:
    """A feature of a batch as an array or list of ``size`` values; None where it is not one."""
    if isinstance(value, list | tuple | UntypedIntegers):
        items = cast("Sequence[Any]", value)
        return items if len(items) == size else None
    if value is None or value is tree.MISSING:
        return None
    array, _ = as_array(value)
    return array if array.ndim and array.shape[0] == size else None


def _all_text(array: Array) -> bool:
    return bool(_text_records(array).all())


def _text_records(array: Array) -> NDArray[np.bool_]:
    """Which records of a column hold nothing but texts."""
    if array.dtype != object:
        return np.full(len(array), array.dtype.kind in _TEXT)
    records = array.reshape(len(array), array.size // max(1, len(array))).tolist()  # -1 fails without a record
    return np.array([all(isinstance(item, str | bytes) for item in record) for record in records], np.bool_)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _integers(parts: list[str]) -> list[Any] | None:
    """Integers as they are written; None where a part is something else."""
    parts = [part.strip() for part in parts]
    if not all(part.isascii() and part.removeprefix("-").isdigit() for part in parts):
        return None
    return [int(part[:_MOST_DIGITS]) for part in parts]


def known_values(label: Label, column: Column) -> Column:
    """The column for statistics: without unknown names, positive and negative as 1 and 0.

    NaN that is declared does not count.
    """
    array, counts = column.array, column.counts
    if column.unknown:
        known = np.logical_and.reduce(array.reshape(len(array), array.size // max(1, len(array))) >= 0, axis=1)
        return column.taken(known)
    if array.dtype.kind == "f" and (label.ignores_nan or label.ignores_null):
        measured = ~np.isnan(array)
        if not measured.any():
            return column.taken(np.zeros(len(array), np.bool_))
        other = 0 if isinstance(label, MultiLabel) else array[measured][0]
        array = np.where(measured, array, array.dtype.type(other))
        counts = measured if counts is None else measured & counts
    if isinstance(label, MultiLabel) and (label.positive, label.negative) != (1, 0) and array.dtype.kind in "iuf":
        number = array.dtype.type  # a plain 1 is int64, which np.select cannot combine with uint64
        cases = [array == label.positive, array == label.negative, array == 0]
        array = np.select(cases, [number(1), number(0), number(2)], array)
    return column._replace(array=array, counts=counts)


def _dtype_of(value: Any) -> Any:
    """The dtype of a number, the type of a Python number, None of anything else."""
    if isinstance(value, np.generic | np.ndarray):
        array = np.asarray(cast(Array, value))
        return None if array.ndim or array.dtype.kind not in "biuf" else array.dtype
    kind = cast("type[Any]", type(value))
    return kind if kind in (bool, int, float) else None


def _admitted_of_numbers(label: Label) -> frozenset[Any]:
    """The dtypes of ``label``, and the types of Python numbers that may stand for one of them."""
    admitted = [np.dtype(name) for name in admitted_dtypes(label) if name != "string"]
    kinds = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}
    return frozenset([*admitted, *(kind for dtype in admitted for kind in kinds.get(dtype.kind, ()))])
