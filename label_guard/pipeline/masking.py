"""Masks: replaces bad positions of a label, says which positions are valid, and puts the mask next to the label.

Pure functions; input arrays are never written.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column, as_array
from label_guard.check.counted_positions import where_array
from label_guard.check.fill_values import FillValues
from label_guard.check.primitives import equals, member
from label_guard.check.result import RuleViolations
from label_guard.core import tree
from label_guard.core.types import Array
from label_guard.errors import UsageError
from label_guard.pipeline.convert import LabelConverter, cast_labels
from label_guard.schema.fields import fits_shape
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel
from label_guard.schema.stored_dtypes import Kind, joined_dtype

Valid = NDArray[np.bool_]
Mask = Valid | list[Valid]
OnInvalid = Literal["raise", "drop", "mask", "report"]
Remainder = Literal["short", "drop", "pad"]
DEFAULT_VALID_KEY = "{label}_valid"


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How the validity mask is named.

    Attributes:
        key: name of the mask, next to the label; ``{label}`` is replaced by the label's own name. None: no mask.
        dtype: ``bool``, which optax and jnp take as ``where=``, or a float dtype for weights.
        explicit: whether the user chose ``key``; a tuple needs that.
    """

    key: str | None = DEFAULT_VALID_KEY
    dtype: str = "bool"
    explicit: bool = False

    def path(self, label_path: str) -> str:
        """Path of the mask for the label at ``label_path``."""
        parent, _, name = label_path.rpartition("/")
        key = (self.key or "").replace("{label}", name)
        return f"{parent}/{key}" if parent else key


def is_elementwise(label: Label) -> bool:
    """Whether the mask has the label's shape, not one value per record."""
    if isinstance(label, ClassLabel) or label.where is not None:
        return True
    return isinstance(label, MultiLabel | RealLabel) and bool(label.ignore)


def is_not_sentinel(label: Label, array: Array) -> Valid:
    """Bool like ``array``: False where it holds a declared ignore or unlabeled value, or was not measured."""
    found = [same for value in label.sentinels if (same := equals(array, value)) is not None]
    if array.dtype.kind == "f" and (label.ignores_nan or label.ignores_null):
        found.append(np.isnan(array))
    if not found:
        return np.ones(array.shape, np.bool_)
    valid = np.logical_not(found[0], out=found[0] if found[0].ndim else None)
    for same in found[1:]:
        valid = valid & ~same
    return valid


# One array from the values of several records ---------------------------------------------------------------------


def join_columns(
    converter: LabelConverter, columns: Sequence[Column], size: int, violations: Sequence[RuleViolations] = ()
) -> tuple[Array, Valid]:
    """Joins the labels of ``size`` records to one array, still as stored, with every bad position replaced.

    Records of one dtype keep it. Python numbers, and records of several dtypes, leave in one that the schema declares.

    Args:
        converter: the label, compiled.
        columns: the values of the records; those of an illegal dtype or shape are replaced.
        size: number of records.
        violations: what the check found in this label. If there are any, its shape is fixed.

    Returns:
        The array ``[size, ...]`` and bool of the same shape: True where it holds a stored value. A sentinel that the
        dtype of the array cannot hold is replaced, as bad values are.

    Raises:
        ValueError: records differ in shape, where the shape is free.
    """
    label, fill, columns = converter.label, converter.fill, converter.k_hot(columns)
    whole = {int(row) for found in violations if found.positions is None for row in found.rows}
    usable = [column for column in columns if not set(column.rows.tolist()) <= whole]
    shapes = {column.array.shape[1:] for column in usable}
    if len(shapes) > 1:
        raise ValueError(f"records have shapes {', '.join(str(list(shape)) for shape in sorted(shapes))}")
    dtype = _joined_dtype(label, usable)
    if None in label.record_shape:
        array = np.empty((size, *next(iter(shapes))), dtype or fill.dtype())
    else:
        dtype = fill.dtype(dtype)
        array, record = np.empty((size, *cast("tuple[int, ...]", label.record_shape)), dtype), fill.record(dtype)
        if record is not None:  # else the schema admits no legal record, and there is none to replace
            array[...] = record
    good = np.zeros(array.shape, np.bool_)
    for column in usable:
        keep = np.array([row not in whole for row in column.rows.tolist()], np.bool_)
        rows = column.rows[keep]
        array[rows], good[rows] = _converted(converter, column.array[keep], array.dtype)
    if violations:
        _mask_positions(fill, array, good, violations)
    return array, good


def _converted(converter: LabelConverter, values: Array, dtype: np.dtype[Any]) -> tuple[Array, NDArray[np.bool_]]:
    """Stored values in ``dtype``, and where they are still what was stored: a sentinel may have no place there."""
    if values.dtype == object:
        converted = np.array(values.tolist(), dtype).reshape(values.shape)
    else:
        converted = cast_labels(converter.label, values, dtype)
    lost = _lost_sentinels(converter.label, values, converted)
    if lost.any():
        converted[lost] = converter.fill.of_position.value(dtype)
    return converted, ~lost


def with_uncounted(
    converter: LabelConverter, columns: list[Column], stored: Any, violations: Sequence[RuleViolations] = ()
) -> list[Column]:
    """``columns`` with a legal label for each record that has none as nothing of it counts (``where`` is 0).

    Args:
        converter: the label, compiled.
        columns: the labels that count.
        stored: the labels of all records, as stored; None where all lack one.
        violations: what the check found: the label of a bad record may be in no column, too.
    """
    if converter.label.where is None or stored is None:
        return columns
    here = [column.rows for column in columns] + [found.rows for found in violations]
    absent = sorted(set(range(len(stored))).difference(*(rows.tolist() for rows in here)))
    found = uncounted_columns(converter, [stored[row] for row in absent])
    return [*columns, *(column._replace(rows=np.array([row])) for row, column in zip(absent, found, strict=True))]


def uncounted_columns(converter: LabelConverter, values: Sequence[Any]) -> list[Column]:
    """Legal labels in place of those that do not count (``where`` is 0), each in its own shape if that fits."""
    return [
        Column(np.array([row]), _legal_like(converter, as_array(value)[0])[None], True)
        for row, value in enumerate(values)
    ]


def _legal_like(converter: LabelConverter, stored: Array) -> Array:
    wanted = converter.label.record_shape
    shape = stored.shape if fits_shape(wanted, stored.shape) else tuple(length or 0 for length in wanted)
    dtype = stored.dtype if stored.dtype in converter.admitted else converter.fill.dtype()
    legal = converter.fill.of_position.record(dtype)
    return np.zeros(shape, dtype) if legal is None else np.broadcast_to(legal, shape)


def _joined_dtype(label: Label, columns: Sequence[Column]) -> np.dtype[Any] | None:
    """The dtype that records of ``columns`` have together; None where there are none."""
    measured = [c for c in columns if c.typed or c.array.dtype.kind != "f" or not np.isnan(c.array).all()]
    columns = measured or columns  # None has no dtype of its own
    stored = {column.array.dtype for column in columns}
    if len(stored) == 1 and all(column.typed for column in columns) and np.dtype(object) not in stored:
        return stored.pop()
    kinds = {"i" if dtype.kind in "uO" else dtype.kind for dtype in stored}
    widest: list[Kind] = ["f", "i", "b"]
    for kind in widest[next((k for k, name in enumerate(widest) if name in kinds), 0) :] if kinds else ():
        name = joined_dtype(label, kind)
        if name is not None:
            return np.dtype(name)
    return None


def _lost_sentinels(label: Label, stored: Array, converted: Array) -> Valid:
    """Bool like ``stored``: where it holds a sentinel that the dtype of ``converted`` cannot hold."""
    if stored.dtype == converted.dtype or not (label.sentinels or label.ignores_nan or label.ignores_null):
        return np.zeros(stored.shape, np.bool_)
    if stored.dtype == object:
        declared = np.isin(stored, np.array(label.sentinels, object))
    else:
        declared = ~is_not_sentinel(label, stored)
    return declared & is_not_sentinel(label, converted)


def _mask_positions(fill: FillValues, array: Array, good: Valid, violations: Sequence[RuleViolations]) -> None:
    record = fill.record(array.dtype)
    for found in violations:
        if found.positions is None:
            continue
        if isinstance(fill.label, RealLabel):
            flat = array.reshape(-1)
            flat[found.positions] = fill.clip(flat[found.positions])
            if is_elementwise(fill.label):
                good.reshape(-1)[found.positions] = False
            else:
                good[found.rows] = False
        elif is_elementwise(fill.label) and not isinstance(fill.label, SoftLabel):
            positions = _spread(fill.label, array, found.positions)
            array.reshape(-1)[positions] = fill.value(array.dtype)
            good.reshape(-1)[positions] = False
        else:
            array[found.rows], good[found.rows] = record, False
    # Records that a replaced position left illegal (too few ones, a repeated id) are replaced as a whole.
    per_record = max(1, array.size // max(1, len(array)))
    for found in fill.check.find(array):
        rows, _, _ = found.by_row(per_record)
        array[rows], good[rows] = record, False


def _spread(label: Label, array: Array, positions: Array) -> Array:
    """``positions``, and all of a row of k-hot values that has too many or too few ones: which is wrong is unknown."""
    if not isinstance(label, MultiLabel):
        return positions
    at = array.reshape(-1)[positions]
    counted = member(at, (label.positive, label.negative, *label.sentinels))  # legal by itself
    rows = positions[counted] // label.num_classes
    rows = (rows[:, None] * label.num_classes + np.arange(label.num_classes)).reshape(-1)
    return np.concatenate([positions[~counted], rows])


# The mask ---------------------------------------------------------------------------------------------------------


def validity(label: Label, value: Any, size: int, good: Mask | None, padding: int) -> Mask:
    """The validity mask of a batch of ``size``, before it is combined with an existing feature.

    Args:
        label: the resolved label.
        value: the label, as stored; a list where records differ in shape.
        size: number of records, padding included.
        good: False where a stored value was replaced; None: nowhere.
        padding: number of last records that only fill the batch.

    Returns:
        bool ``[size]``, or of the label's shape where the mask is elementwise; a list of arrays for a list of arrays.
    """
    if isinstance(label, SoftLabel) and label.where is not None:
        shape = np.shape(value)[:-1] if hasattr(value, "__array__") else (size, *(n or 1 for n in label.shape))
        valid = np.ones(shape, np.bool_) if good is None else np.logical_and.reduce(good, axis=-1)
        valid[size - padding :] = False
        return valid
    if is_elementwise(label) and isinstance(value, list):
        masks = [is_not_sentinel(label, np.asarray(item)) for item in cast("list[Array]", value)]
        masks = masks if good is None else [mask & kept for mask, kept in zip(masks, good, strict=True)]
        return [mask if row < size - padding else np.zeros_like(mask) for row, mask in enumerate(masks)]
    if not is_elementwise(label):
        valid = np.ones(size, np.bool_)
    elif hasattr(value, "__array__"):
        valid = is_not_sentinel(label, np.asarray(value))
    else:
        valid = np.ones((size, *(length or 1 for length in label.record_shape)), np.bool_)
    if isinstance(good, np.ndarray):
        valid &= good if is_elementwise(label) else np.logical_and.reduce(good.reshape(size, -1), axis=1)
    if padding:
        valid[-padding:] = False
    return valid


def numeric_rows(label: Label, value: Any, size: int) -> list[Array] | None:
    """A label of a batch, bad as a whole, as a list of arrays of numbers of several lengths; None where it is not."""
    rows = value.tolist() if getattr(value, "dtype", None) == np.dtype(object) else value
    if not isinstance(rows, list):
        return None
    arrays = [as_array(row)[0] for row in cast("list[Any]", rows)]
    legal = all(array.dtype.kind in "biuf" and fits_shape(label.record_shape, array.shape) for array in arrays)
    return arrays if legal and len(arrays) == size else None


def add_mask(batch: Any, label_path: str, path: str, valid: Mask, options: MaskOptions) -> Any:
    """``batch`` with the mask at ``path``, next to its label.

    An existing feature of that name keeps its dtype and its values, and is 0 or False where the label is not valid.

    Args:
        batch: the element, not changed.
        label_path: path of the label.
        path: path of the mask.
        valid: bool mask ``[batch, ...]``, or a bool of a record.
        options: name, dtype and form of masks.

    Raises:
        UsageError: the element has no place for the mask, or its feature of that name cannot be combined with it.
    """
    existing = tree.get(batch, path)
    absent = existing is None or existing is tree.MISSING
    mask = _as_dtype(valid, options.dtype) if absent else _combined(path, existing, valid)
    holder = tree.parent(batch, label_path)
    if existing is tree.MISSING and tree.is_sequence(holder):
        name = path.rpartition("/")[2]
        if not options.explicit:
            raise UsageError(
                f"the validity mask {path!r} has no name in a {type(batch).__name__}; pass valid_key= to append it "
                "(or valid_key=None to leave it out under raise and drop)"
            )
        if name.isdigit() and int(name) != len(holder):
            raise UsageError(
                f"valid_key={name!r} is an index outside the {type(holder).__name__} of {len(holder)} items; pass "
                f"valid_key='{len(holder)}' to append the mask"
            )
    try:
        return tree.put_beside(batch, label_path, path, mask)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the validity mask cannot be added: {error}; give the class a field {path.rpartition('/')[2]!r}, choose "
            'another field with valid_key=, or pass on_invalid="drop" or "raise" with valid_key=None'
        ) from error


def _as_dtype(valid: Mask, dtype: str) -> Array | list[Array]:
    return [mask.astype(dtype) for mask in valid] if isinstance(valid, list) else valid.astype(dtype, copy=False)


def _combined(path: str, existing: Any, valid: Mask) -> Any:
    try:
        if isinstance(valid, list):
            return [_combined(path, have, mask) for have, mask in zip(existing, valid, strict=True)]
        there: Array = np.asarray(existing)
        rank = max(there.ndim, valid.ndim)
        there, valid = (array.reshape(array.shape + (1,) * (rank - array.ndim)) for array in (there, valid))
        if where_array(there).dtype.kind not in "biuf":
            raise ValueError(f"it is {there.dtype}, not bool or numbers")
        if any(a != b and 1 not in (a, b) for a, b in zip(there.shape, valid.shape, strict=True)):
            raise ValueError(
                f"its shape is {list(there.shape)} where the mask has {list(valid.shape)} (a map that crops the label "
                "must crop its mask too)"
            )
        return np.where(valid, there, there.dtype.type(0))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"the feature {path!r} cannot be combined with the validity mask: {error}; choose another valid_key="
        ) from error


def zero_last(value: Any, padding: int) -> Any:
    """What ``where`` names, 0 in the last ``padding`` rows: whoever counts by it leaves them out, as the mask does."""
    if isinstance(value, list):
        rows = cast("list[Any]", value)
        zeros = [np.zeros_like(row) for row in rows[-padding:]]
        return rows[:-padding] + [z if hasattr(rows[0], "dtype") else z.tolist() for z in zeros]
    array = np.array(value)
    array[-padding:] = np.zeros((), array.dtype)
    return array


def stack_where(path: str, records: Sequence[Any], bad: Collection[int]) -> Array | None:
    """What counts, ``[batch, ...]``, from arrays or lists, 0 for bad records that lack it.

    None where it stacks as it is, or not at all.
    """
    if tree.get(records[0], path) is tree.MISSING and not bad:
        return None  # nearly always: the feature of a mask to come
    values = [tree.get(record, path) for record in records]
    are_lists = any(isinstance(value, list | tuple) for value in values)
    if not are_lists and not bad:
        return None
    stored = [_plain_array(value) for value in values]
    forms = [(array.shape, None if are_lists and array.dtype.kind in "biuf" else array.dtype) for array in stored]
    known = {form for row, form in enumerate(forms) if row not in bad} or set(forms)
    if len(known) != 1 or (not are_lists and known.issuperset(forms)):
        return None
    (form,) = known
    zeros = np.zeros_like(stored[forms.index(form)])
    return np.stack([array if own == form else zeros for array, own in zip(stored, forms, strict=True)])


def _plain_array(value: Any) -> Array:
    try:
        return np.asarray(cast("Any", value)) if isinstance(value, list | tuple) else as_array(value)[0]
    except ValueError:  # lists of several lengths
        return as_array(value)[0]
