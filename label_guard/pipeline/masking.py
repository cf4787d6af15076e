"""What becomes of a checked batch: bad positions masked, labels converted, the validity mask added.

Pure functions of (labels, batch, what the check found). A clean batch that needs no conversion and no mask comes
back as the same object; input arrays are never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column
from label_guard.check.kinds import value_check
from label_guard.check.primitives import equals, member
from label_guard.check.result import RuleViolations
from label_guard.core import tree
from label_guard.errors import UsageError
from label_guard.pipeline.fill_values import clip, stand_in_dtype, stand_in_record, stand_in_value
from label_guard.schema.labels import ClassIdRange, ClassLabel, Label, MultiLabel, RealLabel

Array = NDArray[Any]
OnInvalid = Literal["raise", "drop", "mask", "report"]
Remainder = Literal["short", "drop", "pad"]
DEFAULT_VALID_KEY = "{label}_valid"


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How the validity mask is named.

    Attributes:
        key: name beside the label; ``{label}`` stands for the label's own name. None: no mask.
        dtype: ``bool``, which optax and jnp take as ``where=``, or a float dtype for weights.
        explicit: whether the user chose ``key``; a tuple or dataclass needs that.
    """

    key: str | None = DEFAULT_VALID_KEY
    dtype: str = "bool"
    explicit: bool = False

    def path(self, label_path: str) -> str:
        """Path of the mask for the label at ``label_path``."""
        parent, _, name = label_path.rpartition("/")
        key = (self.key or "").replace("{label}", name)
        return f"{parent}/{key}" if parent else key


def has_sentinels(label: Label) -> bool:
    """Whether values that the loss must skip may leave the guard, so that a mask must tell."""
    if isinstance(label, ClassLabel):
        return bool(label.ignore) or (label.unlabeled is not None and label.on_unlabeled != "skip")
    return bool(label.sentinels)


def is_elementwise(label: Label) -> bool:
    """Whether the mask has the label's shape, not one value per record."""
    return isinstance(label, ClassLabel) or (isinstance(label, MultiLabel) and bool(label.ignore))


def converts(label: Label) -> bool:
    """Whether the label leaves the guard in another form than it came."""
    replaced = isinstance(label, ClassLabel | MultiLabel) and bool(label.ignore) and label.on_ignore == "replace"
    if isinstance(label, ClassLabel):
        replaced |= label.remaps or (label.unlabeled is not None and not label.keeps_unlabeled)
    return replaced or label.emit is not None


def is_no_sentinel(label: Label, array: Array) -> NDArray[np.bool_]:
    """Bool like ``array``: False where a declared ignore or unlabeled value stands."""
    found = [same for value in label.sentinels if (same := equals(array, int(value))) is not None]
    if not found:
        return np.ones(array.shape, np.bool_)
    valid = np.logical_not(found[0], out=found[0])
    for same in found[1:]:
        valid &= ~same
    return valid


def convert(label: Label, array: Array) -> Array:
    """A legal stored ``array`` in emitted form: dense ids, replaced sentinels, emitted dtype."""
    if isinstance(label, ClassLabel) and label.remaps:
        array = _to_dense(label, array)
    elif isinstance(label, ClassLabel | MultiLabel):
        array = _replace_sentinels(label, array)
    if label.emit is not None and array.dtype != np.dtype(label.emit):
        array = array.astype(label.emit)
    return array


def _replaced(label: ClassLabel | MultiLabel) -> tuple[int, ...]:
    values = tuple(int(value) for value in label.ignore if value is not None) if label.on_ignore == "replace" else ()
    if isinstance(label, ClassLabel) and label.unlabeled is not None and not label.keeps_unlabeled:
        values = (*values, label.unlabeled)
    return values


def _replace_sentinels(label: ClassLabel | MultiLabel, array: Array) -> Array:
    values = _replaced(label)
    where = member(array, values) if values else None
    return np.where(where, array.dtype.type(0), array) if where is not None and where.any() else array


def _to_dense(label: ClassLabel, array: Array) -> Array:
    """Dense ids; kept sentinels and, under ``report``, illegal values stay as they are."""
    ids = label.raw_ids
    low, high = min(ids), max(ids)
    inside = (array >= low) & (array <= high) & ~member(array, label.sentinels)
    target = np.dtype(label.emit or array.dtype)
    out = array.astype(target)
    raw = array[inside].astype(np.int64) - low
    if isinstance(label.class_ids, ClassIdRange) or (
        high - low == label.num_classes - 1 and tuple(ids) == tuple(range(low, high + 1))
    ):
        out[inside] = raw
    else:
        order = np.argsort(np.array(ids, np.int64), kind="stable")
        place = np.searchsorted(np.array(ids, np.int64)[order], raw + low)
        known = np.array(ids, np.int64)[order][place] == raw + low
        out[inside] = np.where(known, order[place], raw + low)
    out[member(array, _replaced(label))] = 0
    return out


def masked(
    label: Label, columns: list[Column], size: int, faults: list[RuleViolations]
) -> tuple[Array, NDArray[np.bool_]]:
    """A label array of ``size`` records with every bad position replaced, still as stored, and where it is good.

    Args:
        label: the resolved label; its shape is fixed.
        columns: what the records hold; those of an illegal dtype or shape are left out of the result.
        size: number of records.
        faults: what the check found in this label.

    Returns:
        The array ``[size, ...]`` and bool of the same shape: True where the stored value stands.
    """
    shape = tuple(length or 0 for length in label.record_shape)
    whole = {int(row) for fault in faults if fault.positions is None for row in fault.rows}
    usable = [c for c in columns if c.array.shape[1:] == shape and not set(c.rows.tolist()) <= whole]
    dtype = np.result_type(*(c.array.dtype for c in usable)) if usable else stand_in_dtype(label)
    record = stand_in_record(label, shape, dtype)
    array = np.empty((size, *shape), dtype)
    array[...] = record
    good = np.zeros(array.shape, np.bool_)
    for column in usable:
        array[column.rows] = column.array
        good[column.rows] = True
    bad_rows = np.array(sorted(whole), np.intp)
    array[bad_rows], good[bad_rows] = record, False
    for fault in faults:
        if fault.positions is not None:
            _mask_positions(label, array, good, fault, record)
    _mask_rest(label, array, good, record)
    return array, good


def _mask_positions(label: Label, array: Array, good: NDArray[np.bool_], fault: RuleViolations, record: Array) -> None:
    if isinstance(label, RealLabel):
        array[fault.rows] = clip(label, array[fault.rows])
        good[fault.rows] = False
    elif is_elementwise(label):
        array.reshape(-1)[fault.positions] = stand_in_value(label)
        good.reshape(-1)[fault.positions] = False
    else:
        array[fault.rows], good[fault.rows] = record, False


def _mask_rest(label: Label, array: Array, good: NDArray[np.bool_], record: Array) -> None:
    """Records that a stand-in left illegal (too few ones, a repeated id) are replaced as a whole."""
    per = max(1, record.size)
    for found in value_check(label).find(array):
        rows, _, _ = found.by_row(per)
        array[rows], good[rows] = record, False


def emit(
    labels: Mapping[str, Label],
    batch: Any,
    options: MaskOptions,
    *,
    mask_all: bool = False,
    good: Mapping[str, NDArray[np.bool_]] | None = None,
    padding: int = 0,
) -> Any:
    """``batch`` as it leaves the guard: labels converted, validity masks added.

    Args:
        labels: resolved labels by path.
        batch: a batch whose labels are legal, or replaced by ``masked``.
        options: name and dtype of the mask.
        mask_all: every label gets a mask, not only those with sentinels.
        good: by label path, where ``masked`` left the stored value standing.
        padding: number of last records that only fill the batch up.
    """
    for path, label in labels.items():
        array = tree.get(batch, path)
        if options.key is not None and (mask_all or has_sentinels(label)):
            valid = _validity(label, array, (good or {}).get(path), padding)
            batch = _add_mask(batch, options.path(path), valid.astype(options.dtype, copy=False), options)
        if converts(label):
            batch = tree.put(batch, path, convert(label, np.asarray(array)))
    return batch


def _validity(label: Label, array: Array, good: NDArray[np.bool_] | None, padding: int) -> NDArray[np.bool_]:
    array = np.asarray(array)
    if is_elementwise(label):
        valid = is_no_sentinel(label, array)
        valid = valid if good is None else valid & good
    else:
        size = array.shape[0]
        valid = np.ones(size, np.bool_) if good is None else np.logical_and.reduce(good.reshape(size, -1), axis=1)
    if padding:
        valid[-padding:] = False
    return valid


def _add_mask(batch: Any, path: str, valid: Array, options: MaskOptions) -> Any:
    if not isinstance(batch, Mapping) and not options.explicit:
        raise UsageError(
            f"the validity mask {path!r} has no name in a {type(batch).__name__}; pass valid_key= to append it "
            "(or valid_key=None to leave it out under raise and drop)"
        )
    existing = tree.get(batch, path)
    if existing is not tree.MISSING:
        there = np.asarray(existing)
        there = there.reshape(there.shape + (1,) * (valid.ndim - there.ndim))
        valid = np.logical_and(there, valid) if options.dtype == "bool" else (there * valid).astype(options.dtype)
    try:
        return tree.put(batch, path, valid)
    except TypeError as error:
        raise UsageError(f"the validity mask cannot be added: {error}; pass valid_key=None") from error
