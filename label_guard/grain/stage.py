# pyright: basic
"""``guard_labels``: the guard as an IterDataset with a state that resumes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import grain

from label_guard import tree
from label_guard.errors import UsageError
from label_guard.grain.record_keys import AddKey
from label_guard.grain.specs import Spec, output_spec
from label_guard.grain.stateless import guard_map
from label_guard.inspector import logger
from label_guard.keys import KeyedSource, NamesRecords, RecordNames
from label_guard.plan import GuardPlan, plan_guard, process_count
from label_guard.schema import DatasetSchema
from label_guard.stream import GuardStream

_BATCHING = ("BatchMapDataset", "BatchIterDataset", "RebatchIterDataset")
_warned: set[str] = set()


def guard_labels(ds: Any, schema: DatasetSchema | str | os.PathLike[str], **options: Any) -> Any:
    """Guard the labels of ``ds``; use it through ``ds.pipe(guard_labels, schema, ...)``.

    On an IterDataset of unbatched records it takes the place of ``.batch(batch_size)`` and holds every promise:
    records are judged as they are stored, before stacking can cast them. After ``.batch(N)`` it judges what stacking
    left. On a MapDataset ``mask``, ``raise`` and ``report`` keep random access; ``drop`` becomes a filter on records.

    Args:
        ds: ``grain.IterDataset`` or ``grain.MapDataset``.
        schema: a ``DatasetSchema`` or the path of a schema file.
        **options: see ``label_guard.plan.plan_guard``: ``split``, ``view``, ``batch_size``, ``on_invalid`` (``drop``,
            ``mask``, ``raise``, ``report``), ``quarantine``, ``remainder`` (``short``, ``drop``, ``pad``),
            ``valid_key``, ``valid_dtype``, ``stop_above``, ``batched``, ``name``, ``process_index``, ``keep_key``,
            ``allow_schema_change``.

    Returns:
        A dataset of guarded batches (or records, on a MapDataset of records).

    Raises:
        UsageError: a choice that cannot work, found before the first element is read.
        SchemaError: the schema file is unsound.
    """
    plan = _with_names(ds, plan_guard(schema, **options))
    batched = _refuse_second_remap(ds, plan)
    if isinstance(ds, grain.MapDataset):
        return guard_map(ds, plan, options, batched)
    if not isinstance(ds, grain.IterDataset):
        raise UsageError(f"guard_labels takes a grain dataset, not {type(ds).__name__}; see label_guard.guard_batches")
    if batched is None and plan.batched is None and plan.batch_size is None:
        logger.debug("no Batch upstream and no batch_size: the first element decides")
    _warn_about_hosts(ds, plan)
    if plan.on_invalid == "report":
        logger.warning('%s: on_invalid="report": bad labels are DELIVERED as they are', plan.guard.schema.name)
    return GuardIterDataset(ds, plan, batched)


def _ancestors(ds: Any) -> Iterator[Any]:
    """``ds`` and everything upstream of it, nearest first."""
    waiting = [ds]
    while waiting:
        node = waiting.pop(0)
        yield node
        waiting.extend(getattr(node, "_parents", ()))


def _with_names(ds: Any, plan: GuardPlan) -> GuardPlan:
    """``plan`` with the keyed sources that stand upstream."""
    sources: dict[int, NamesRecords] = {}
    required = False
    for node in _ancestors(ds):
        found = getattr(node, "_source", None)
        if not isinstance(found, KeyedSource):
            found = getattr(node, "_transform", None)
        if not isinstance(found, KeyedSource | AddKey):
            continue
        required |= isinstance(found, AddKey)
        if found.tag in sources and sources[found.tag] is not found:
            raise UsageError("two keyed sources share their positions; tell them apart: keyed(source, name=...)")
        sources[found.tag] = found
    ids = sorted(source.source_id for source in sources.values())  # type: ignore[attr-defined]
    source_id = plan.source_id or ("+".join(ids) if ids else "")
    return plan.replace(names=RecordNames(sources), source_id=source_id, key_required=required)


def _refuse_second_remap(ds: Any, plan: GuardPlan) -> bool | None:
    """Whether something upstream batches; refuses a guard that would remap ids a second time."""
    batched: bool | None = None
    for node in _ancestors(ds):
        if type(node).__name__ in _BATCHING:
            batched = True
        upstream = getattr(node, "plan", None) or getattr(getattr(node, "_transform", None), "plan", None)
        if not isinstance(upstream, GuardPlan):
            continue
        if isinstance(node, GuardIterDataset):
            batched = True
        for path, label in upstream.guard.labels.items():
            if getattr(label, "remaps", False) and plan.view is None and path in plan.guard.labels:
                raise UsageError(
                    f"label {path!r} was already guarded and mapped to dense ids upstream; guarding it again as stored "
                    "would map it twice. Give the second guard a view= of the schema"
                )
    return batched


def _warn_about_hosts(ds: Any, plan: GuardPlan) -> None:
    if not plan.refills or process_count() == 1 or "hosts" in _warned:
        return
    endless = any(isinstance(node, grain.MapDataset) and len(node) >= sys.maxsize for node in _ancestors(ds))
    if not endless:
        _warned.add("hosts")
        logger.warning(
            'on_invalid="drop" on a stream that ends, with %d JAX processes: hosts with more bad records end earlier '
            'and the others wait in a collective forever. Use on_invalid="mask", or repeat the dataset and stop at '
            "a step count",
            process_count(),
        )


class GuardIterDataset(grain.IterDataset):
    """Guarded batches of an IterDataset. Made by ``guard_labels``.

    Attributes:
        plan: what the guard does.
    """

    def __init__(self, parent: Any, plan: GuardPlan, batched: bool | None) -> None:
        super().__init__(parent)
        self.plan = plan
        self._batched = plan.batched if plan.batched is not None else batched

    def __iter__(self) -> Any:
        return _GuardDatasetIterator(self._parent.__iter__(), self.plan, self._batched)

    def __str__(self) -> str:
        return f"GuardIterDataset({self.plan.guard!r}, on_invalid={self.plan.on_invalid})"

    @property
    def _element_spec(self) -> Any:
        spec = grain.experimental.get_element_spec(self._parent)
        if not self._batched:
            full = self.plan.remainder != "short"
            size = self.plan.batch_size if full else None
            spec = tree.map_leaves(lambda leaf: Spec((size, *leaf.shape), leaf.dtype), spec)
        return output_spec(self.plan, spec)


class _GuardDatasetIterator(grain.DatasetIterator):
    """Iterator of ``GuardIterDataset``; opens no file before the first bad record."""

    def __init__(self, parent: Any, plan: GuardPlan, batched: bool | None) -> None:
        super().__init__(parent)
        worker = int(getattr(getattr(self._ctx, "mp_context", None), "process_index", 0) or 0)
        self.stream = GuardStream(plan, parent, batched=batched, worker=worker)

    def __next__(self) -> Any:
        return next(self.stream)

    def get_state(self) -> dict[str, Any]:
        return self.stream.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        self.stream.set_state(state)

    def close(self) -> None:
        self.stream.close()
        super().close()

    def __str__(self) -> str:
        return f"GuardDatasetIterator({self.stream.plan.guard!r})"
