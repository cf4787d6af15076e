"""Builds the output batch: masks invalid positions, converts labels, adds masks and padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column, gather
from label_guard.check.result import CheckResult, RuleViolations
from label_guard.core import tree
from label_guard.errors import UsageError
from label_guard.pipeline import batching
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.convert import LabelConverter
from label_guard.pipeline.fill_values import FillValues
from label_guard.pipeline.masking import add_mask, has_sentinels, join_columns, validity
from label_guard.schema.labels import Label

Array = NDArray[Any]
Good = Mapping[str, NDArray[np.bool_]]


def stack_records(
    config: GuardConfig, records: Sequence[Any], result: CheckResult, stacked: Mapping[str, Array] | None = None
) -> tuple[Any, Good]:
    """Stacks unbatched records to a batch. A label is one array ``[batch, ...]``, also where records hold lists.

    Args:
        config: what the guard does.
        records: records that are valid, or those of a window under ``mask`` or ``report``.
        result: what the check found in them.
        stacked: features that are stacked already, by path.

    Returns:
        The batch, bad labels replaced under ``mask``; and by label, where the stored values are still there.

    Raises:
        UsageError: the records differ in structure, or in the shape of a feature.
    """
    arrays: dict[str, Array] = {}
    good: dict[str, NDArray[np.bool_]] = {}
    for path, converter in config.converters.items():
        violations = _violations_of(result, path)
        values = [tree.get(record, path) for record in records]
        if violations and config.on_invalid != "mask":
            delivered = _as_stored(values)
            arrays |= {} if delivered is None else {path: delivered}
            continue
        columns, _ = gather(values)
        try:
            arrays[path], valid = join_columns(converter, columns, len(records), violations)
        except ValueError as error:
            raise UsageError(f"label {path!r} cannot be batched: {error}") from error
        if violations:
            good[path] = valid
    return batching.stack(records, {**(stacked or {}), **arrays}, leave_out=config.dropped_key), good


def mask_batch(config: GuardConfig, batch: Any, result: CheckResult) -> tuple[Any, Good]:
    """Replaces bad labels of a batch under ``mask``, and makes arrays of labels that are lists.

    Returns:
        The batch, the same object where it needs no change; and by label, where the stored values are still there.
    """
    good: dict[str, NDArray[np.bool_]] = {}
    for path, converter in config.converters.items():
        value = tree.get(batch, path)
        violations = _violations_of(result, path)
        if violations and config.on_invalid == "mask":
            columns = config.guard.batch_columns(batch, result.num_records)[path]
            value, good[path] = join_columns(converter, columns, result.num_records, violations)
            batch = tree.put(batch, path, value)
        elif _is_list(value):
            array = _as_stored(list(value)) if violations else _as_array(converter, list(value))
            batch = batch if array is None else tree.put(batch, path, array)
    return batch, good


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and cast(Array, value).dtype.hasobject)


def _as_stored(values: list[Any]) -> Array | None:
    """Labels under ``report`` as one array of numbers, whether they are legal or not; None where they are not one."""
    columns, missing = gather(values)
    arrays = [column.array for column in columns]
    if (
        len(missing)
        or len({array.shape[1:] for array in arrays}) != 1
        or any(a.dtype.kind not in "biuf" for a in arrays)
    ):
        return None
    joined = np.empty((len(values), *arrays[0].shape[1:]), np.result_type(*arrays))
    for column in columns:
        joined[column.rows] = column.array
    return joined


def _as_array(converter: LabelConverter, values: list[Any]) -> Array | list[Array]:
    """Legal labels of a batch as one array, or as a list of arrays where they differ in shape."""
    columns, _ = gather(values)
    if len({column.array.shape[1:] for column in columns}) > 1:
        return [join_columns(converter, gather([value])[0], 1)[0][0] for value in values]
    return join_columns(converter, columns, len(values))[0] if values else np.empty(0, converter.fill.dtype())


def _violations_of(result: CheckResult, path: str) -> list[RuleViolations]:
    return [found for found in result.faults if found.label == path]


def join_rows(config: GuardConfig, parts: Sequence[batching.BatchRows], *, broken: Collection[str] = ()) -> Any:
    """A new batch of the given rows of each batch, in order. A label is a value: a list of labels is cut by record.

    Args:
        config: what the guard does.
        parts: batches, and the rows of each.
        broken: paths of labels that are bad as a whole, and are delivered so.

    Raises:
        UsageError: the batches differ in structure, or in the shape of a feature.
    """
    paths = list(config.guard.labels)
    parts = [(batching.with_label_columns(batch, paths, size), rows, size) for batch, rows, size in parts]
    separate: dict[str, Array | list[Any]] = {}
    for path in paths:
        values = [np.asarray(tree.get(batch, path)) for batch, _, _ in parts]
        if len({(value.dtype, value.shape[1:]) for value in values}) > 1 or values[0].dtype == object:
            items = [value[row] for value, (_, rows, _) in zip(values, parts, strict=True) for row in rows.tolist()]
            separate[path] = items if path in broken else _as_array(config.converters[path], items)
            parts = [(tree.put(batch, path, np.empty((size, 0))), rows, size) for batch, rows, size in parts]
    joined = batching.join(parts)
    for path, label in separate.items():
        joined = tree.put(joined, path, label)
    return joined


def finalize_batch(
    config: GuardConfig,
    batch: Any,
    size: int,
    *,
    full: int = 0,
    result: CheckResult | None = None,
    good: Good | None = None,
) -> Any:
    """Converts labels of a batch and adds masks and padding; the same object where it needs no change.

    Args:
        config: what the guard does.
        batch: a batch that is valid, or that ``mask_batch`` or ``stack_records`` made.
        size: its number of records.
        full: number of records to pad it to.
        result: what the check found in it; needed under ``report``, where bad labels are delivered as they are.
        good: what ``mask_batch`` or ``stack_records`` returned.
    """
    if config.dropped_key is not None:
        batch = batching.without_key(batch, config.dropped_key)
    if config.passes_untouched:
        return batch
    good = good or {}
    found = result.faults if result is not None and config.on_invalid == "report" else ()
    broken = {fault.label for fault in found}
    whole = {fault.label for fault in found if fault.positions is None}
    padding = max(0, full - size)
    if padding:
        rows = np.concatenate([np.arange(size), np.zeros(padding, np.intp)])
        batch = join_rows(config, [(batch, rows, size)], broken=whole)
        good = {path: valid[rows] for path, valid in good.items()}
    for path, label in config.labels.items():
        value = tree.get(batch, path)
        if config.mask.key is not None and (config.mask_all or has_sentinels(label)):
            shown = None if path in whole else value
            valid = validity(label, shown, size + padding, good.get(path), padding)
            batch = add_mask(batch, path, valid, config.mask)
        if path not in whole:
            batch = _converted(config.converters[path], batch, path, value, illegal=path in broken)
    return batch


def _converted(converter: LabelConverter, batch: Any, path: str, value: Any, *, illegal: bool) -> Any:
    if not converter.changes:
        return batch
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return tree.put(batch, path, [converter(np.asarray(item), illegal=illegal) for item in items])
    return tree.put(batch, path, converter(np.asarray(value), illegal=illegal))


def finalize_record(config: GuardConfig, record: Any, result: CheckResult) -> Any:
    """Converts one unbatched record and adds its masks, as a batch of one."""
    columns = config.guard.record_columns([record])
    typed = all(column.typed for found in columns.values() for column in found)
    listed = any(_is_list(tree.get(record, path)) for path in columns)
    if config.passes_untouched and typed and not listed and (result.ok or config.on_invalid != "mask"):
        return finalize_batch(config, record, 1)
    good: dict[str, NDArray[np.bool_]] = {}
    expanded: list[str] = []
    for path, converter in config.converters.items():
        violations = _violations_of(result, path)
        array = _batch_of_one(converter, tree.get(record, path), columns[path], violations, config.on_invalid == "mask")
        if array is None:
            continue
        values, valid = array
        record = tree.put(record, path, values)
        good |= {path: valid} if violations and config.on_invalid == "mask" else {}
        mask = tree.get(record, config.mask.path(path)) if config.mask.key is not None else None
        if mask is not None and mask is not tree.MISSING:
            record = tree.put(record, config.mask.path(path), np.asarray(mask)[None])
        expanded += [path, config.mask.path(path)]
    expanded += _places_of_masks(record, config.guard.labels)
    record = finalize_batch(config, record, 1, result=result, good=good)
    for path in dict.fromkeys(expanded):
        value = tree.get(record, path)
        if isinstance(value, np.ndarray) and value.ndim:
            record = tree.put(record, path, value[0])
    return record


def _places_of_masks(record: Any, paths: Iterable[str]) -> Iterator[str]:
    """Paths behind the end of the tuples that hold labels: masks are appended there."""
    heads = Counter(path.rpartition("/")[0] for path in paths if tree.is_sequence(tree.parent(record, path)))
    for head, number in heads.items():
        length = len(tree.get(record, head) if head else record)
        yield from (f"{head}/{k}" if head else str(k) for k in range(length, length + number))


def _batch_of_one(
    converter: LabelConverter, value: Any, columns: list[Column], violations: list[RuleViolations], mask: bool
) -> tuple[Array, NDArray[np.bool_]] | None:
    """The label of one record with a batch axis; None where it is delivered as it is."""
    if violations and mask and None in converter.label.record_shape:
        return _masked_ragged(converter.label, columns, violations)
    if not violations or mask:
        return join_columns(converter, columns, 1, violations)
    if any(found.positions is None for found in violations):
        return None
    array = np.asarray(value)[None]
    return array, np.ones(array.shape, np.bool_)


def _masked_ragged(
    label: Label, columns: list[Column], violations: list[RuleViolations]
) -> tuple[Array, NDArray[np.bool_]]:
    """The label of one bad record whose shape is free: in its own shape if that can be filled, else the shortest."""
    own = columns[0].array.shape[1:] if columns else ()
    ranks = len(own) == len(label.record_shape)
    if ranks and all(want in (None, have) for want, have in zip(label.record_shape, own, strict=True)):
        fitted = LabelConverter(label.model_copy(update={"shape": own[: len(label.shape)]}))
        if fitted.fill.record(fitted.fill.dtype(columns[0].array.dtype)) is not None:
            return join_columns(fitted, columns, 1, violations)
    least = getattr(label, "min_length", None) or 0
    shape = tuple(least if length is None else length for length in label.shape)
    fill = FillValues(label.model_copy(update={"shape": shape}))
    record = fill.record(fill.dtype())
    filled = np.zeros(shape, fill.dtype()) if record is None else record
    return filled[None], np.zeros((1, *filled.shape), np.bool_)


def placeholder_batch(config: GuardConfig, pulled: Sequence[Any], size: int, *, batched: bool) -> Any:
    """A fully masked placeholder batch, used when a host must stop before its first batch.

    Args:
        config: what the guard does.
        pulled: a batch, or unbatched records.
        size: number of records of a full batch.
        batched: which of both.

    Raises:
        UsageError: there are none, or a bad label among them has no fixed shape that could be filled.
    """
    if not pulled:
        raise UsageError("no element was read")
    as_mask = config.replace(on_invalid="mask", quarantine=None)
    if any(None in label.record_shape for label in config.guard.labels.values()):
        raise UsageError("a label of free shape cannot be filled")
    if batched:
        result = config.guard.check_batch(pulled[0])
        batch, good = mask_batch(as_mask, pulled[0], result)
    else:
        result = config.guard.check_records(pulled)
        batch, good = stack_records(as_mask, pulled, result)
    return finalize_batch(as_mask, batch, result.num_records, full=size, result=result, good=good)


def mask_all(config: GuardConfig, batch: Any) -> Any:
    """``batch`` with every validity mask False throughout; labels and features are the same objects."""
    for path in config.guard.labels:
        place = config.mask.path(path)
        batch = tree.put(batch, place, np.zeros_like(tree.get(batch, place)))
    return batch
