# pyright: basic
"""The guard where Grain keeps no state of ours: on a MapDataset and in a DataLoader. No counts, no refill."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import grain
import numpy as np

from label_guard import batches, tree
from label_guard.errors import UsageError
from label_guard.grain.specs import output_spec
from label_guard.inspector import Inspector
from label_guard.keys import KEY
from label_guard.plan import GuardPlan, plan_guard
from label_guard.policy import emit, masked
from label_guard.schema import DatasetSchema


def guard_map(ds: Any, plan: GuardPlan, options: Mapping[str, Any], batched: bool | None) -> Any:
    _refuse_stateful(options, "a MapDataset")
    if plan.batch_size is not None:
        raise UsageError("batch_size tops batches up, which a MapDataset cannot; call .to_iter_dataset() before")
    batched = plan.batched if plan.batched is not None else batched
    if not plan.refills:
        return ds.map(GuardMap(plan, batched))
    if batched:
        raise UsageError("a MapDataset of batches cannot drop records; guard before .batch or after .to_iter_dataset()")
    return ds.filter(GuardFilter(plan)).map(GuardMap(plan, False, judged=True))


def _refuse_stateful(options: Mapping[str, Any], place: str) -> None:
    if options.get("stop_above", "default") not in ("default", None):
        raise UsageError(f"stop_above needs counts over the run, which {place} has no state for; guard an IterDataset")
    if options.get("remainder", "short") != "short":
        raise UsageError(f"remainder is for stages that build batches; on {place} it has nothing to act on")


class _Stateless:
    """What the map and the filter share: an inspector for the dirty path, made anew in each process."""

    def __init__(self, plan: GuardPlan) -> None:
        self.plan = plan.replace(stop_above=None)
        self._lock = threading.Lock()
        self._inspector: Inspector | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_inspector": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _report(self, inspect: Callable[[Inspector], Any]) -> None:
        """Write and log a dirty element; Grain maps from 16 threads."""
        with self._lock:
            self._inspector = self._inspector or Inspector(self.plan)
            inspect(self._inspector)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.plan.guard!r}, on_invalid={self.plan.on_invalid})"


class GuardMap(_Stateless, grain.transforms.Map):
    """``raise``, ``mask`` or ``report`` one element at a time; or the conversion after ``GuardFilter``."""

    def __init__(self, plan: GuardPlan, batched: bool | None, judged: bool = False) -> None:
        super().__init__(plan)
        self._batched = batched
        self._judged = judged

    def map(self, element: Any) -> Any:
        if self._batched is None:
            self._batched = self.plan.guard.is_batched(element)
        return self._map_batch(element) if self._batched else self._map_record(element)

    def _map_batch(self, batch: Any) -> Any:
        result = self.plan.guard.check_batch(batch)
        good: dict[str, Any] = {}
        if not result.ok:
            self._report(lambda inspector: inspector.inspect_batch(batch))
        if not result.ok and self.plan.on_invalid == "mask":
            columns = self.plan.guard.batch_columns(batch, result.num_records)
            batch, good = _mask_faults(self.plan, batch, result, columns)
        return self._emit(batch, good, result)

    def _map_record(self, record: Any) -> Any:
        if self._judged:
            return self._emit_record(record, {}, None)
        result = self.plan.guard.check_records([record])
        if not result.ok:
            self._report(lambda inspector: inspector.inspect_records([record]))
        good: dict[str, Any] = {}
        if not result.ok and self.plan.on_invalid == "mask":
            columns = self.plan.guard.record_columns([record])
            for path, label in self.plan.guard.labels.items():
                faults = [fault for fault in result.faults if fault.label == path]
                if faults:
                    array, good[path] = masked(label, columns[path], 1, faults)
                    record = tree.put(record, path, array[0])
        return self._emit_record(record, good, result)

    def _emit(self, batch: Any, good: Mapping[str, Any], result: Any) -> Any:
        batch = batch if self.plan.keep_key else batches.without_key(batch, KEY)
        if self.plan.passes_untouched:
            return batch
        labels = self.plan.guard.labels
        if result is not None and not result.ok and self.plan.on_invalid == "report":
            broken = {fault.label for fault in result.faults if fault.positions is None}
            labels = {path: label for path, label in labels.items() if path not in broken}
        return emit(labels, batch, self.plan.mask, mask_all=self.plan.mask_all, good=good)

    def _emit_record(self, record: Any, good: Mapping[str, Any], result: Any) -> Any:
        """As ``_emit`` with labels given a batch axis for the time of it."""
        before = record
        for path in self.plan.guard.labels:
            value = tree.get(record, path)
            if value is not tree.MISSING and value is not None:
                record = tree.put(record, path, np.asarray(value)[None])
        emitted = self._emit(record, good, result)
        if self.plan.passes_untouched:
            return before if self.plan.keep_key else batches.without_key(before, KEY)
        for path in self.plan.guard.labels:
            for place in (path, self.plan.mask.path(path)):
                value = tree.get(emitted, place)
                if isinstance(value, np.ndarray) and value.ndim:
                    emitted = tree.put(emitted, place, value[0])
        return emitted

    def output_spec(self, input_spec: Any) -> Any:
        """Grain's hook for element specs."""
        return output_spec(self.plan, input_spec)


def _mask_faults(plan: GuardPlan, batch: Any, result: Any, columns: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    good: dict[str, Any] = {}
    for path, label in plan.guard.labels.items():
        faults = [fault for fault in result.faults if fault.label == path]
        if faults:
            array, good[path] = masked(label, columns[path], result.num_records, faults)
            batch = tree.put(batch, path, array)
    return batch, good


class GuardFilter(_Stateless, grain.transforms.Filter):
    """Leaves bad and skipped records out, after they are in the quarantine."""

    def filter(self, element: Any) -> bool:
        result = self.plan.guard.check_records([element])
        if result.ok:
            return result.skipped is None
        self._report(lambda inspector: inspector.inspect_records([element]))
        return False


def data_loader_operations(schema: DatasetSchema | str | os.PathLike[str], **options: Any) -> list[Any]:
    """Transforms for ``grain.DataLoader(operations=[..., *ops, grain.transforms.Batch(N)])``.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        **options: those of ``guard_labels``, but for the ones that need counts or build batches.

    Raises:
        UsageError: such an option; or, on the first element, that the operations stand after ``Batch``.
    """
    _refuse_stateful(options, "a DataLoader")
    if options.get("batch_size") is not None:
        raise UsageError("a DataLoader batches with grain.transforms.Batch; leave batch_size out")
    plan = plan_guard(schema, **{**options, "batched": False})
    first: list[Any] = [_RecordsOnly(plan)]
    if plan.refills:
        return [*first, GuardFilter(plan), GuardMap(plan, False, judged=True)]
    return [*first, GuardMap(plan, False)]


class _RecordsOnly(grain.transforms.Map):
    """Refuses batches: a DataLoader tells its operations nothing of what stands before them."""

    def __init__(self, plan: GuardPlan) -> None:
        self.plan = plan
        self._told = False

    def map(self, element: Any) -> Any:
        if not self._told:
            try:
                batched = self.plan.guard.is_batched(element)
            except UsageError:
                return element  # a bad or ragged label tells nothing
            if batched:
                raise UsageError("label_guard operations stand after Batch; put them before it")
            self._told = True
        return element
