# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Elements are users' own trees: isinstance narrows Any to Unknown here, which says nothing about this code.
"""Gathers the values of one label, record by record, into arrays of one dtype and shape."""

from __future__ import annotations

import array as buffers
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from label_guard.core.tree import MISSING
from label_guard.core.types import Array, Rows

BUFFERS = (memoryview, buffers.array)  # numbers in memory, which NumPy reads without a conversion
_SCALARS = (bool, int, float)
_MOST_DIMENSIONS = 32
_FEW_ROWS = 4096
_NULS = ("\0", b"\0")  # which NumPy's own texts lose where they end with one


class Column(NamedTuple):
    """Label values of some records.

    Attributes:
        rows: int[n], ascending: which records.
        array: [n, ...], the values; dtype object where one record mixes kinds.
        typed: False where the values were Python numbers, which have a kind but no width.
        unknown: names that are not in class_names, where names were read as ids: -1 is the first of them, -2 the
            second; None where no names were read.
        counts: bool, the shape of ``array``: which positions count, by ``where``; None where all do.
    """

    rows: Rows
    array: Array
    typed: bool
    unknown: tuple[str, ...] | None = None
    counts: NDArray[np.bool_] | None = None

    def taken(self, keep: NDArray[np.bool_]) -> Column:
        """Returns the column of the records where ``keep`` (bool[n]) is True."""
        counts = None if self.counts is None else self.counts[keep]
        return self._replace(rows=self.rows[keep], array=self.array[keep], counts=counts)


class UntypedIntegers(Sequence[int]):
    """Integers out of a text, which have no width: a list of Python ints, kept as int64.

    >>> UntypedIntegers(np.array([3, 1]))[0], list(UntypedIntegers(np.array([3, 1]))[1:])
    (3, [1])
    """

    __slots__ = ("array",)

    def __init__(self, array: NDArray[np.int64]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> UntypedIntegers: ...
    def __getitem__(self, index: int | slice) -> int | UntypedIntegers:
        if isinstance(index, slice):
            return UntypedIntegers(self.array[index])
        return int(self.array[index])

    def __iter__(self) -> Iterator[int]:
        return iter(self.array.tolist())


def all_rows(size: int) -> Rows:
    """The rows of ``size`` records, read-only: ``np.arange`` takes 20 us where its code is not in a cache."""
    return _few_rows(size) if size <= _FEW_ROWS else np.arange(size)


@lru_cache(maxsize=64)
def _few_rows(size: int) -> Rows:
    rows = np.arange(size)
    rows.flags.writeable = False
    return rows


def gather(values: Sequence[Any]) -> tuple[list[Column], Rows]:
    """Columns that hold every value, and the rows where it is missing (absent or None).

    Each record is checked independently of its neighbours, so records of a different dtype or shape get a column of
    their own instead of being promoted.

    Returns:
        The columns, each of one dtype and shape, with the rows they hold; and the rows (intp[k]) without a value.
    """
    uniform = _uniform(values)
    if uniform is not None:
        return [uniform], np.empty(0, np.intp)
    groups: dict[tuple[Any, ...], list[tuple[int, Array]]] = {}
    missing: list[int] = []
    for row, value in enumerate(values):
        if value is None or value is MISSING:
            missing.append(row)
            continue
        array, typed = as_array(value)
        kind = array.dtype.kind if array.dtype.kind in "US" else array.dtype.str  # texts of any length are one column
        groups.setdefault((kind, array.dtype if kind == array.dtype.str else None, array.shape, typed), []).append(
            (row, array)
        )
    columns = [
        Column(np.array([row for row, _ in found], np.intp), _stack([array for _, array in found]), key[-1])
        for key, found in groups.items()
    ]
    return columns, np.array(missing, np.intp)


def _stack(arrays: list[Array]) -> Array:
    texts = arrays[0].dtype.kind in "US"
    dtype = np.result_type(*(array.dtype for array in arrays)) if texts else arrays[0].dtype
    stacked = np.empty((len(arrays), *arrays[0].shape), dtype)
    for row, array in enumerate(arrays):
        stacked[row, ...] = array
    return stacked


def _uniform(values: Sequence[Any]) -> Column | None:
    """One column where all values plainly share dtype and shape: the common case, without a pass in Python."""
    if not values:
        return None
    if isinstance(values, UntypedIntegers):
        return Column(all_rows(len(values)), values.array, False)
    kind = type(values[0])
    if kind is np.ndarray:
        dtype, shape = values[0].dtype, values[0].shape
        if dtype.hasobject or not dtype.isnative:  # np.stack would turn a foreign byte order native
            return None
        if not all(type(v) is kind and v.dtype == dtype and v.shape == shape for v in values):
            return None
        return Column(all_rows(len(values)), np.stack(values), True)
    if set(map(type, values)) != {kind}:
        return None
    if issubclass(kind, np.generic) and not issubclass(kind, np.flexible | np.object_):
        return Column(all_rows(len(values)), np.array(values, values[0].dtype), True)
    if kind in _SCALARS:
        array = _python_array(values, kind)
        return None if array.dtype == object else Column(all_rows(len(values)), array, False)
    return None


class Unreadable:
    """Takes the place of a label value that is not an array, numbers or text.

    Args:
        text: what the value is, as messages show it.
        rule: the rule that it breaks.
    """

    def __init__(self, text: str, rule: str = "LG103") -> None:
        self.text = text
        self.rule = rule

    def __repr__(self) -> str:
        return self.text


_RAGGED = Unreadable("ragged list", "LG105")


def as_array(value: Any) -> tuple[Array, bool]:
    """Converts any value to an array; mixed kinds have dtype object.

    Never raises: a value that is not an array, numbers or text (a set, a generator, a deque), or that cannot be
    converted (a deleted JAX array, a tensor that needs a gradient), is an object array of one ``Unreadable``.

    Returns:
        The array; and whether the value has that dtype itself: False for Python numbers, and for lists of them.
    """
    try:
        return _as_array(value)
    except Exception as error:  # whatever a foreign __array__ raises
        reason = f"{type(error).__name__}: {error}"
        return as_object(Unreadable(f"{type(value).__name__} that cannot be converted: {reason}"[:200])), True


def _as_array(value: Any) -> tuple[Array, bool]:
    if type(value) is np.ndarray and value.dtype != object:  # nearly every label
        return value, True
    if isinstance(value, np.ma.MaskedArray):
        # A masked label is not a label: what the mask hides is not checked.
        return np.full(value.shape, f"masked {value.dtype}"), True
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return _unbox(array) if array.dtype == object else (array, True)
    if isinstance(value, _SCALARS):
        return _python_array(value, _python_kind(type(value))), False
    if isinstance(value, list | tuple):
        return _sequence(value)
    if isinstance(value, UntypedIntegers):
        return value.array, False
    if isinstance(value, BUFFERS) or hasattr(value, "__array__") or hasattr(value, "nested_row_splits"):
        items = column_items(value)
        array = np.asarray(value) if items is None else np.array(items, object)
        return _unbox(array) if array.dtype == object else (array, True)
    if isinstance(value, str | bytes):
        return np.array(value, object if value[-1:] in _NULS else None), True
    return as_object(value if isinstance(value, Unreadable) else Unreadable(type(value).__name__)), True


def object_column(items: Sequence[Any]) -> Array:
    """An array of objects [n] that holds each item as it is."""
    column = np.empty(len(items), object)
    for position, item in enumerate(items):
        column[position] = item
    return column


def column_items(value: Any) -> list[Any] | None:
    """The items of a column that ``__array__`` does not give as they are; None for any other value.

    Of Arrow, pandas or polars, a column with nulls (they would be NaN) or of lists; a ragged tensor of TensorFlow.
    """
    if hasattr(value, "nested_row_splits"):
        return list(value.numpy() if hasattr(value, "numpy") else value.to_list())
    nulls = getattr(value, "null_count", 0)
    if callable(nulls):  # polars
        return value.to_list() if nulls() else None
    if hasattr(value, "to_pylist"):  # Arrow
        return value.to_pylist() if _holds_null(value) else None
    dtype = getattr(value, "dtype", None)
    if hasattr(dtype, "na_value") and value.isna().any():  # pandas
        return value.to_numpy(object, na_value=None).tolist()
    return value.to_list() if hasattr(value, "to_list") and dtype == np.dtype(object) else None


def _holds_null(column: Any) -> bool:
    """Whether an Arrow column holds a null, also inside its lists."""
    if column.null_count:
        return True
    if hasattr(column, "chunks"):
        return any(map(_holds_null, column.chunks))
    inner = column.flatten() if hasattr(column, "flatten") else []
    return any(map(_holds_null, inner if isinstance(inner, list) else [inner]))


def spec_text(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    """Dtype and shape as users write them, such as ``float32[3, 4]``."""
    name = dtype.name if dtype.isnative else dtype.str
    return f"{name}[{', '.join(map(str, shape))}]" if shape else name


def is_python_number(value: Any) -> bool:
    """Whether ``value`` is an int or a float of Python, which have no width; bool is not a number."""
    return isinstance(value, int | float) and not isinstance(value, bool | np.generic)  # np.float64 is a float


def as_float(number: int | float) -> float:
    """``number`` as a float; one too large for it is infinite, as JSON reads 1e999."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _python_kind(kind: type) -> type | None:
    """bool, int or float for these and their subclasses (an IntEnum is a number); None for any other type."""
    if issubclass(kind, np.generic):  # np.float64 is a float, too
        return None
    return next((scalar for scalar in _SCALARS if issubclass(kind, scalar)), None)


def as_object(value: Unreadable) -> Array:
    """Returns an object array without axes that holds ``value``."""
    box = np.empty((), object)
    box[()] = value
    return box


def _python_array(value: Any, kind: type | None) -> Array:
    """Python numbers of one kind as bool, int64 or float64; as objects where an integer is beyond int64."""
    try:
        return np.array(value, np.int64 if kind is int else kind)
    except OverflowError:
        return np.array(value, object)


def _sequence(value: list[Any] | tuple[Any, ...]) -> tuple[Array, bool]:
    try:
        boxed = np.array(value, object)
    except ValueError:  # arrays of several shapes
        return as_object(_RAGGED), True
    if boxed.ndim > _MOST_DIMENSIONS:  # NumPy stops at 64, and a batch has one more
        return np.full((1,) * _MOST_DIMENSIONS, "deeper list", object), True
    return _unbox(boxed)


def _unbox(boxed: Array) -> tuple[Array, bool]:
    """An object array as an array of the one kind that all its items have, else as it is."""
    if not boxed.size:  # as an empty list: of no dtype, but of some length
        return np.empty(boxed.shape, np.int64), False
    items = boxed.reshape(-1).tolist()
    kinds = set(map(type, items))
    if kinds & {list, tuple}:
        return as_object(_RAGGED), True
    number = {_python_kind(kind) for kind in kinds}
    if len(number) == 1 and None not in number:
        return _python_array(items, number.pop()).reshape(boxed.shape), False
    if len(kinds) != 1:
        return boxed, True
    kind = kinds.pop()
    if issubclass(kind, np.generic) and not issubclass(kind, np.flexible):
        return np.array(items, items[0].dtype).reshape(boxed.shape), True
    if kind is np.ndarray and len({(item.dtype, item.shape) for item in items}) == 1 and items[0].dtype != object:
        return np.stack(items).reshape(*boxed.shape, *items[0].shape), True
    return boxed, True
