"""Judged records as they leave the guard: bad positions masked, labels converted, masks and padding added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column
from label_guard.check.result import CheckResult
from label_guard.core import tree
from label_guard.errors import UsageError
from label_guard.pipeline import batching as batches
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.masking import emit, masked

Good = Mapping[str, NDArray[np.bool_]]


def stacked(plan: GuardConfig, records: Sequence[Any], result: CheckResult) -> tuple[Any, Good]:
    """Unbatched records as a batch, bad labels replaced under ``mask``; and by label, where the stored values stand."""
    if result.ok or plan.on_invalid != "mask":
        return batches.stack(records, leave_out=plan.dropped_key), {}
    arrays, good = _masked(plan, result, plan.guard.record_columns(records))
    stackable = list(records)
    for path, array in arrays.items():  # a bad label may be absent or of any shape, and would not stack
        for row in result.invalid_rows.tolist():
            stackable[row] = tree.put(stackable[row], path, array[row])
    return _with_labels(batches.stack(stackable, leave_out=plan.dropped_key), arrays), good


def mended(plan: GuardConfig, batch: Any, result: CheckResult) -> tuple[Any, Good]:
    """A batch, bad labels replaced under ``mask``; and by label, where the stored values stand."""
    if result.ok or plan.on_invalid != "mask":
        return batch, {}
    arrays, good = _masked(plan, result, plan.guard.batch_columns(batch, result.num_records))
    return _with_labels(batch, arrays), good


def _masked(
    plan: GuardConfig, result: CheckResult, columns: Mapping[str, list[Column]]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]]]:
    arrays: dict[str, NDArray[Any]] = {}
    good: dict[str, NDArray[np.bool_]] = {}
    for path, label in plan.guard.labels.items():
        faults = [fault for fault in result.faults if fault.label == path]
        if faults:
            arrays[path], good[path] = masked(label, columns[path], result.num_records, faults)
    return arrays, good


def _with_labels(batch: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    for path, array in arrays.items():
        batch = tree.put(batch, path, array)
    return batch


def finished(
    plan: GuardConfig,
    batch: Any,
    size: int,
    *,
    full: int = 0,
    result: CheckResult | None = None,
    good: Good | None = None,
) -> Any:
    """A batch of ``size`` as it leaves the guard; the same object where it needs no change.

    Args:
        plan: what the guard does.
        batch: a batch that is clean, or that ``mended`` or ``stacked`` mended.
        size: its number of records.
        full: number of records to pad it to.
        result: what the check found in it; needed under ``report``, where bad labels go on as they are.
        good: what ``mended`` or ``stacked`` told.
    """
    if plan.dropped_key is not None:
        batch = batches.without_key(batch, plan.dropped_key)
    if plan.passes_untouched:
        return batch
    good = good or {}
    padding = max(0, full - size)
    if padding:
        batch = batches.pad(batch, size, full)
        good = {path: batches.pad(valid, size, full) for path, valid in good.items()}
    labels = plan.labels
    if result is not None and plan.on_invalid == "report":
        broken = {fault.label for fault in result.faults if fault.positions is None}
        labels = {path: label for path, label in labels.items() if path not in broken}
    return emit(labels, batch, plan.mask, mask_all=plan.mask_all, good=good, padding=padding)


def finished_record(plan: GuardConfig, record: Any, result: CheckResult) -> Any:
    """One unbatched record as it leaves the guard: judged, and converted with a batch axis for the time of it."""
    paths = [place for path in plan.guard.labels for place in (path, plan.mask.path(path))]
    columns = plan.guard.record_columns([record]) if not result.ok and plan.on_invalid == "mask" else {}
    if plan.passes_untouched and not columns:
        return finished(plan, record, 1)
    arrays, good = _masked(plan, result, columns) if columns else ({}, {})
    for path in paths:
        value = tree.get(record, path)
        if path not in arrays and value is not tree.MISSING and value is not None:
            record = tree.put(record, path, np.asarray(value)[None])
    record = finished(plan, _with_labels(record, arrays), 1, result=result, good=good)
    for path in paths:
        value = tree.get(record, path)
        if isinstance(value, np.ndarray) and value.ndim:
            record = tree.put(record, path, value[0])
    return record


def stand_in_batch(plan: GuardConfig, pulled: Sequence[Any], size: int, *, batched: bool) -> Any:
    """A batch of the form that the guard delivers, made of elements none of which was delivered.

    Args:
        plan: what the guard does.
        pulled: a batch, or unbatched records.
        size: number of records of a full batch.
        batched: which of both.

    Raises:
        UsageError: there are none, or a bad label among them has no fixed shape that could be filled.
    """
    if not pulled:
        raise UsageError("no element was read")
    as_mask = plan.replace(on_invalid="mask", quarantine=None)
    if any(None in label.record_shape for label in plan.guard.labels.values()):
        raise UsageError("a label of free shape cannot be filled")
    if batched:
        result = plan.guard.check_batch(pulled[0])
        batch, good = mended(as_mask, pulled[0], result)
    else:
        result = plan.guard.check_records(pulled)
        batch, good = stacked(as_mask, pulled, result)
    return finished(as_mask, batch, result.num_records, full=size, result=result, good=good)


def masked_out(plan: GuardConfig, batch: Any) -> Any:
    """``batch`` with every validity mask False throughout; labels and features are the same objects."""
    for path in plan.guard.labels:
        place = plan.mask.path(path)
        batch = tree.put(batch, place, np.zeros_like(tree.get(batch, place)))
    return batch
