"""Builds the output batch: masks invalid positions, converts labels, adds masks and padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import BUFFERS, Column, column_items, spec_text
from label_guard.check.counted_positions import counted_positions, where_array
from label_guard.check.result import CheckResult, RuleViolations
from label_guard.core import tree
from label_guard.core.similar import listed
from label_guard.core.types import Array, Rows
from label_guard.errors import UsageError
from label_guard.pipeline import batching
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.convert import LabelConverter
from label_guard.pipeline.masking import (
    Mask,
    add_mask,
    join_columns,
    numeric_rows,
    stack_where,
    uncounted_columns,
    validity,
    with_uncounted,
    zero_last,
)
from label_guard.pipeline.record_buffer import RecordBuffer
from label_guard.schema.fields import fits_shape
from label_guard.schema.labels import Label

Good = Mapping[str, Mask]


def join_buffers(
    config: GuardConfig, parts: Sequence[tuple[RecordBuffer, Rows]], result: CheckResult
) -> tuple[Any, Good]:
    """One batch of the given records of each buffer, in order.

    Args:
        config: what the guard does.
        parts: records, and which of them. Several, or some of one, are valid.
        result: what the check found in them.

    Returns:
        As ``stack_records``.

    Raises:
        UsageError: the records differ in structure, or in the shape of a feature.
    """
    try:
        joined = _join_columns_of(config, parts, result)
    except UsageError:
        joined = None  # stacking the records one by one names those that differ
    if joined is None:
        records = [record for buffer, rows in parts for record in _taken(buffer.records(), rows)]
        return stack_records(config, records, result)
    return joined


def _join_columns_of(
    config: GuardConfig, parts: Sequence[tuple[RecordBuffer, Rows]], result: CheckResult
) -> tuple[Any, Good] | None:
    """As ``join_buffers``, from the columns of uniform records; None where they are not uniform."""
    batches = [buffer.batch() for buffer, _ in parts]
    if any(batch is None for batch in batches) or not batching.same_features(batches):
        return None
    if len(parts) == 1 and len(parts[0][1]) == len(parts[0][0]):
        batch, good = mask_batch(config, batches[0], result)
    else:
        chosen = [(batch, rows, len(buffer)) for batch, (buffer, rows) in zip(batches, parts, strict=True)]
        batch, good = join_rows(config, chosen)
    return _stacked(config, batch), good


def _stacked(config: GuardConfig, batch: Any) -> Any:
    """Columns of records as arrays, without the record key."""
    if config.dropped_key is not None:
        batch = batching.without_key(batch, config.dropped_key)
    return batching.stack_lists(batch, config.consumed)


def _taken(records: list[Any], rows: Rows) -> list[Any]:
    return [records[row] for row in rows.tolist()]


def stack_records(config: GuardConfig, records: Sequence[Any], result: CheckResult) -> tuple[Any, Good]:
    """Stacks unbatched records to a batch. A label is one array ``[batch, ...]``, also where records hold lists.

    Args:
        config: what the guard does.
        records: records that are valid, or those of a window under ``mask`` or ``report``.
        result: what the check found in them.

    Returns:
        The batch, bad labels replaced under ``mask``; and by label, where the stored values are still there.

    Raises:
        UsageError: the records differ in structure, or in the shape of a feature.
    """
    arrays: dict[str, Array] = {}
    good: dict[str, Mask] = {}
    columns = config.guard.record_columns(records)

    def name(row: int) -> str:
        key = config.names.name_of(records[row], config.guard.schema.record_key)
        return batching.row_name(row) if key is None else f"record {key}"

    for path, converter in config.converters.items():
        violations = violations_of(result, path)
        if violations and config.on_invalid != "mask":
            stored = [tree.get(record, path) for record in records]
            counted = with_uncounted(converter, columns[path], stored, violations)
            delivered = as_stored(converter, counted, len(records))
            arrays |= {} if delivered is None else {path: delivered}
            continue
        found = columns[path]
        if not found and not violations and None in converter.label.record_shape:
            found = uncounted_columns(converter, [tree.get(record, path) for record in records])
        try:
            arrays[path], valid = join_columns(converter, found, len(records), violations)
        except ValueError as error:
            held = f"label {path!r} cannot be batched: records hold {_forms(found, name)}"
            raise UsageError(f"{held}{batching.ONE_BY_ONE}") from error
        if not valid.all():
            good[path] = valid
    arrays |= _stacked_where(config, records, result)
    # Features that were read as columns of a label may hold None, and do not leave the guard.
    read = dict.fromkeys(config.consumed, np.empty((len(records), 0)))
    return batching.stack(records, {**read, **arrays}, leave_out=config.dropped_key, name=name), good


def _stacked_where(config: GuardConfig, records: Sequence[Any], result: CheckResult) -> dict[str, Array]:
    """By path, what counts in labels, where it does not stack as it is."""
    bad = frozenset(np.nonzero(~result.valid)[0].tolist() if config.on_invalid == "mask" else ())
    paths = config.guard.where_paths.difference(config.converters, config.consumed)
    stacked = {path: stack_where(path, records, bad) for path in paths}
    return {path: counts for path, counts in stacked.items() if counts is not None}


def _forms(columns: Sequence[Column], name: Callable[[int], str]) -> str:
    """The dtypes and shapes of ``columns``, each with the name of its first record."""
    specs = {spec_text(one.array.dtype, one.array.shape[1:]): name(int(one.rows[0])) for one in columns}
    return listed(f"{spec} ({first})" for spec, first in specs.items())


def mask_batch(config: GuardConfig, batch: Any, result: CheckResult) -> tuple[Any, Good]:
    """Replaces bad labels of a batch under ``mask``, and makes arrays of labels that are lists.

    Returns:
        The batch, the same object where it needs no change; and by label, where the stored values are still there.
    """
    good: dict[str, Mask] = {}
    for path, converter in config.converters.items():
        value = tree.get(batch, path)
        violations = violations_of(result, path)
        size = result.num_records
        if violations and config.on_invalid == "mask":
            value, good[path] = join_columns(converter, _columns(config, batch, path, result), size, violations)
            batch = tree.put(batch, path, value)
        elif violations:
            read = converter.is_encoded or _is_list(value)
            columns = _columns(config, batch, path, result)
            array = as_stored(converter, with_uncounted(converter, columns, value, violations), size) if read else None
            batch = batch if array is None else tree.put(batch, path, array)
        elif converter.is_encoded or _is_list(value) or not converter.admits(value):
            columns = _columns(config, batch, path, result)
            array, valid = _as_array(converter, columns, value, size)
            batch = tree.put(batch, path, array)
            if not all(mask.all() for mask in valid):
                good[path] = valid
    return batch, good


def _is_list(value: Any) -> bool:
    """Whether a label of a batch is a list, None, absent, a buffer, a column of lists or with nulls: not of numbers."""
    if isinstance(value, np.ndarray):
        return cast(Array, value).dtype.kind in "OUS"
    if value is None or value is tree.MISSING or isinstance(value, (list, tuple, *BUFFERS)):
        return True
    of_arrow = hasattr(value, "to_pylist") and np.asarray(value).dtype.kind in "OUS"
    return of_arrow or column_items(value) is not None


def as_stored(converter: LabelConverter, columns: list[Column], size: int) -> Array | None:
    """Labels under ``report`` as one array of numbers, whether they are legal or not; None where they are not one.

    Args:
        converter: of the label.
        columns: the labels by dtype and shape.
        size: number of records in the batch.
    """
    columns = converter.k_hot(columns)
    arrays = [column.array for column in columns]
    if sum(map(len, arrays)) < size or len({array.shape[1:] for array in arrays}) != 1:
        return None
    if any(array.dtype.kind not in "biuf" for array in arrays):
        return None
    joined = np.empty((size, *arrays[0].shape[1:]), np.result_type(*arrays))
    for column in columns:
        joined[column.rows] = column.array
    return joined


def _columns(config: GuardConfig, batch: Any, path: str, result: CheckResult) -> list[Column]:
    found = result.columns
    return (config.guard.batch_columns(batch, result.num_records) if found is None else found)[path]


def _as_array(
    converter: LabelConverter, columns: list[Column], value: Any, size: int
) -> tuple[Array | list[Array], Mask]:
    """Legal labels of a batch as one array, or as a list of arrays where they differ in shape; as ``join_columns``."""
    if not size:
        empty = np.empty((0, *(length or 0 for length in converter.label.record_shape)), converter.fill.dtype())
        return empty, np.empty(empty.shape, np.bool_)
    if converter.is_ids or None not in converter.label.record_shape:
        return join_columns(converter, columns, size)
    columns = with_uncounted(converter, columns, [None] * size if value is tree.MISSING else value)
    if len({column.array.shape[1:] for column in columns}) == 1:
        return join_columns(converter, columns, size)
    items = {
        int(row): column._replace(rows=np.zeros(1, np.intp), array=column.array[k : k + 1])
        for column in columns
        for k, row in enumerate(column.rows)
    }
    joined = [join_columns(converter, [items[row]], 1) for row in range(size)]
    return [array[0] for array, _ in joined], [valid[0] for _, valid in joined]


def violations_of(result: CheckResult, path: str) -> list[RuleViolations]:
    """What the check found in one label."""
    return [found for found in result.faults if found.label == path]


def join_rows(config: GuardConfig, parts: Sequence[batching.BatchRows]) -> tuple[Any, Good]:
    """A new batch of the given rows of each batch, in order, as of ``mask_batch``.

    Raises:
        UsageError: the batches differ in structure, or in the shape of a feature.
    """
    size = sum(len(rows) for _, rows, _ in parts)
    return mask_batch(config, _joined(config, parts), CheckResult(size))


def refill(
    config: GuardConfig, batch: Any, left: Rows, size: int, others: Sequence[batching.BatchRows], own: bool
) -> tuple[Any, Good]:
    """A batch without the rows that leave it, topped up with rows of other batches, as of ``mask_batch``.

    Args:
        config: what the guard does.
        batch: a batch of ``size`` records.
        left: int[k], ascending: the rows that leave it.
        size: its number of records.
        others: batches, and rows of them.
        own: whether the batch is the guard's own: if as many rows come as leave, these take their places.

    Returns:
        The batch itself if its free places were filled; else a new one, with the rows in order.

    Raises:
        UsageError: the batches differ in structure, or in the shape of a feature.
    """
    if own and batching.fill(batch, left, size, others):
        return mask_batch(config, batch, CheckResult(size))
    stay = batching.rows_without(left, size)
    return join_rows(config, [(batch, stay, size), *others] if len(stay) else others)


def _joined(config: GuardConfig, parts: Sequence[batching.BatchRows], *, stacked: bool = False) -> Any:
    """As ``join_rows``, the labels as stored. Labels and what counts in them are values: lists are cut by record."""
    separate: dict[str, Any] = {}
    for path, converter in config.converters.items():
        if _are_alike([tree.get(batch, path) for batch, _, _ in parts]):
            continue
        parts = _each(parts, lambda batch, size, path=path: batching.with_label_columns(batch, path, size))
        values = [tree.get(batch, path) for batch, _, _ in parts]
        if any(value is tree.MISSING for value in values) or all(value is None for value in values):
            continue  # made of other features, or without a value in any record
        arrays = [np.asarray(value) for value in values]
        same = len({(array.dtype, array.shape[1:]) for array in arrays}) == 1 and arrays[0].dtype != object
        if not same or (converter.is_encoded and arrays[0].dtype.kind not in "biuf"):
            separate[path] = [a[row] for a, (_, rows, _) in zip(arrays, parts, strict=True) for row in rows.tolist()]
            parts = _each(parts, lambda batch, size, path=path: tree.put(batch, path, np.empty((size, 0))))
    counted = {path: tree.get(parts[0][0], path) for path in config.guard.where_paths.difference(config.converters)}
    lists = {path: value for path, value in counted.items() if type(value) in (list, tuple)}
    for path in lists:
        parts = _each(parts, lambda batch, size, path=path: batching.with_label_columns(batch, path, size))
    joined = batching.join(parts, config.guard.labels, stacked=stacked)
    separate |= {path: tree.rebuild(value, tree.get(joined, path).tolist()) for path, value in lists.items()}
    for path, values in separate.items():
        joined = tree.put(joined, path, values)
    return joined


def _each(parts: Sequence[batching.BatchRows], change: Callable[[Any, int], Any]) -> list[batching.BatchRows]:
    return [(change(batch, size), rows, size) for batch, rows, size in parts]


def _are_alike(values: list[Any]) -> bool:
    """Whether all are arrays of numbers of one dtype and shape of a record, as nearly every label is."""
    first: Any = values[0]
    for value in values:
        if type(value) is not np.ndarray or value.dtype != first.dtype or value.shape[1:] != first.shape[1:]:
            return False
    return first.dtype.kind in "biuf"


def finalize_batch(
    config: GuardConfig,
    batch: Any,
    size: int,
    *,
    full: int = 0,
    stacked: bool = False,
    result: CheckResult | None = None,
    good: Good | None = None,
) -> Any:
    """Converts labels of a batch and adds masks and padding; the same object where it needs no change.

    Args:
        config: what the guard does.
        batch: one that is valid, or that ``mask_batch`` or ``stack_records`` made.
        size: its number of records.
        full: number of records to pad it to.
        stacked: whether the guard stacked it of records.
        result: what the check found in it; needed under ``report``, where bad labels are delivered as they are.
        good: what ``mask_batch`` or ``stack_records`` returned.
    """
    if config.dropped_key is not None:
        batch = batching.without_key(batch, config.dropped_key)
    if config.passes_untouched:
        return batch
    for path in config.consumed:
        batch = tree.without(batch, path)
    good = good or {}
    faults = result.faults if result is not None and config.on_invalid == "report" else ()
    if padding := max(0, full - size):
        batch, good = _padded(config, batch, good, size, padding, stacked=stacked)
    stored = batch
    for path, converter in config.converters.items():
        value = tree.get(batch, path)
        broken = [fault for fault in faults if fault.label == path]
        wrong = _rows_wrong_as_a_whole(broken)
        numeric = not wrong or _is_numeric(value, converter, size + padding)
        if path in config.masks:
            held = value if numeric else numeric_rows(converter.label, value, size + padding)
            valid = validity(converter.label, held, size + padding, good.get(path), padding)
            valid = _where_counted(converter.label, stored, valid, good)
            batch = add_mask(batch, path, config.masks[path], valid, config.mask)
        if converter.changes and numeric and wrong < size:
            batch = tree.put(batch, path, _converted(converter, stored, value, good, illegal=bool(broken)))
    return batch


def finalize_stacked(config: GuardConfig, batch: Any, size: int) -> Any:
    """As ``finalize_batch``, for columns of ``size`` records that are plainly valid."""
    return finalize_batch(config, _stacked(config, batch), size, stacked=True)


def _padded(config: GuardConfig, batch: Any, good: Good, size: int, padding: int, *, stacked: bool) -> tuple[Any, Good]:
    """A batch with its first record once more for each row of padding, where 0 is written to what ``where`` names."""
    rows = np.concatenate([np.arange(size), np.zeros(padding, np.intp)])
    batch = _joined(config, [(batch, rows, size)], stacked=stacked)
    named = {converter.label.where for converter in config.converters.values()} - {None, *config.converters}
    for where in cast("set[str]", named):
        value = tree.get(batch, where)
        if isinstance(value, list) or np.ndim(value):  # else it is absent, or no feature of records: all are bad
            batch = tree.put(batch, where, zero_last(value, padding))
    return batch, {path: [v[row] for row in rows] if isinstance(v, list) else v[rows] for path, v in good.items()}


def _rows_wrong_as_a_whole(faults: Sequence[RuleViolations]) -> int:
    """Number of records whose label has a wrong dtype or shape, or is absent."""
    rows = [fault.rows for fault in faults if fault.positions is None]
    return len(np.unique(np.concatenate(rows))) if rows else 0


def _is_numeric(value: Any, converter: LabelConverter, size: int) -> bool:
    """Whether a label that is bad as a whole is an array of numbers of the declared shape."""
    array = cast(Array, value) if isinstance(value, np.ndarray) else np.empty((), object)
    shape = (size, *converter.label.record_shape)
    return fits_shape(shape, array.shape) and array.dtype.kind in "biuf"


def _where_counted(label: Label, stored: Any, valid: Mask, good: Good) -> Mask:
    """A mask that is False, too, where the feature that ``where`` names is 0."""
    if label.where is None:
        return valid
    if isinstance(valid, list):
        where = tree.get(stored, label.where)
        return [mask & _counted(label.where, [where[row]], (1, *mask.shape))[0] for row, mask in enumerate(valid)]
    return valid & _counts(label.where, stored, valid.shape, good)


def _counts(where: str, stored: Any, shape: tuple[int, ...], good: Good) -> NDArray[np.bool_]:
    """Which positions count, as in the check: by what is stored at ``where``, also if that is a label.

    Where such a label was replaced, nothing counts: by the value that is gone it may not have been checked.
    """
    counts = _counted(where, tree.get(stored, where), shape)
    return counts & _counted(where, good[where], shape) if where in good else counts


def _counted(where: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which positions count. Of records that the feature does not fit: none where it is 0 throughout, else all.

    The former are padding and were not checked; the latter are bad, and masked as a whole.
    """
    try:
        return counted_positions(where, value, shape)
    except UsageError:
        counts = np.ones(shape, np.bool_)
        array = where_array(value)
        if array.dtype.kind in "biuf" and array.size and array.shape[:1] == shape[:1]:
            counts[~array.reshape(len(array), -1).any(axis=1)] = False
        return counts


def _converted(converter: LabelConverter, stored: Any, value: Any, good: Good, *, illegal: bool) -> Any:
    where = converter.label.where
    if where is not None and not isinstance(value, list):
        array = np.asarray(value)
        value = converter.fill_uncounted(array, _counts(where, stored, array.shape, good))
    if isinstance(value, list):
        return [converter(np.asarray(item), illegal=illegal) for item in cast("list[Any]", value)]
    return converter(np.asarray(value), illegal=illegal)
