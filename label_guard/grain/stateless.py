# pyright: basic
"""The guard where Grain keeps no state of ours: on a MapDataset and in a DataLoader. No counts, no refill."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import grain
from typing_extensions import Unpack

from label_guard.check.result import CheckResult
from label_guard.core.documented_options import shows_options
from label_guard.errors import UsageError
from label_guard.grain.specs import output_spec
from label_guard.pipeline.checker import ElementChecker
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.counts import Counts
from label_guard.pipeline.emit import finalize_batch, mask_batch
from label_guard.pipeline.emit_record import finalize_plain, finalize_record
from label_guard.pipeline.first_element import check_first_elements, is_surely_batch
from label_guard.pipeline.options import GuardOptions, SchemaLike, resolve_options
from label_guard.pipeline.record_keys import KeyedSource, RecordNames


def guard_map(ds: Any, config: GuardConfig, options: Mapping[str, Any], batched: bool | None) -> Any:
    """The guard on a MapDataset.

    Args:
        ds: the MapDataset.
        config: the resolved options.
        options: the options as the user gave them.
        batched: whether its elements are batches; None decides by the first.

    Raises:
        UsageError: an option that needs a state, or ``drop`` on batches.
    """
    _refuse_stateful(options, "a MapDataset")
    if config.batch_size is not None:
        raise UsageError("batch_size tops batches up, which a MapDataset cannot; call .to_iter_dataset() before")
    if not config.refills:
        return ds.map(GuardMap(config, batched))
    if batched:
        raise UsageError("a MapDataset of batches cannot drop records; guard before .batch or after .to_iter_dataset()")
    return ds.filter(GuardFilter(config)).map(GuardMap(config, False, checked=True))


def _refuse_stateful(options: Mapping[str, Any], stage: str) -> None:
    if options.get("coordinated"):
        raise UsageError(f"coordinated=True needs a state, which {stage} does not have; guard an IterDataset")
    if options.get("stop_above", "default") not in ("default", None):
        raise UsageError(f"stop_above needs counts over the run, which {stage} has no state for; guard an IterDataset")
    if options.get("remainder", "short") != "short":
        raise UsageError(f"remainder is for stages that build batches; on {stage} it has nothing to act on")


class _Stateless:
    """What the map and the filter share: counts and a checker for invalid elements, made in each process."""

    def __init__(self, config: GuardConfig, *, in_loader: bool = False) -> None:
        self.config = config.replace(stop_above=None)
        self._in_loader = in_loader  # which does not show its operations what comes before them
        self._stops = config.stop_above is not None
        self._checked_first = False
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()
        self._checker: ElementChecker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_counts": None, "_checker": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def _check_first(self, element: Any, batched: bool | None = False) -> None:
        if self._checked_first:
            return
        if self._in_loader and is_surely_batch(self.config, element):
            raise UsageError(
                "the operations of data_loader_operations come after Batch, where they get batches in place of "
                "records; put them before it: operations=[..., *ops, grain.transforms.Batch(N)]"
            )
        self._checked_first = check_first_elements(self.config, [element], batched)

    def _count_valid(self, number: int = 1) -> None:
        with self._lock:
            self._counts.seen += number
            self._counts.consecutive_rejected = 0

    def _count(self, result: CheckResult, check: Callable[[ElementChecker], CheckResult]) -> None:
        """Counts an element that was checked; writes and logs an invalid one. Grain maps from 16 threads."""
        if result.ok:
            self._count_valid(result.num_records - result.num_padding)
            return
        with self._lock:
            if self._checker is None:
                self._checker = ElementChecker(self.config, stateless=True)
                self._checker.counts = self._counts
            result = check(self._checker)
            if self._stops and self._counts.invalid == self._counts.seen:
                self._checker.stop_if_all_invalid(result)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config})"


class GuardMap(_Stateless, grain.transforms.Map):
    """``raise``, ``mask`` or ``report`` one element at a time; or the conversion after ``GuardFilter``."""

    def __init__(
        self, config: GuardConfig, batched: bool | None, *, checked: bool = False, in_loader: bool = False
    ) -> None:
        super().__init__(config, in_loader=in_loader)
        self._batched = batched
        self._checked = checked

    def map(self, element: Any) -> Any:
        if not self._checked:
            self._check_first(element, self._batched)
        if self._batched is None:
            self._batched = self.config.guard.is_batched(element)
        return self._map_batch(element) if self._batched else self._map_record(element)

    def _map_batch(self, batch: Any) -> Any:
        result = self.config.guard.check_batch(batch)
        self._count(result, lambda checker: checker.check_batch(batch))
        batch, good = mask_batch(self.config, batch, result)
        return finalize_batch(self.config, batch, result.num_records, result=result, good=good)

    def _map_record(self, record: Any) -> Any:
        if self.config.guard.clean_record(record):
            self._count_valid()
            return finalize_plain(self.config, record)
        result = CheckResult(1) if self._checked else self.config.guard.check_records([record])
        self._count(result, lambda checker: checker.check_records([record]))
        return finalize_record(self.config, record, result)

    def output_spec(self, input_spec: Any) -> Any:
        """Grain's hook for element specs."""
        return output_spec(self.config, input_spec)


class GuardFilter(_Stateless, grain.transforms.Filter):
    """Leaves bad and skipped records out, after they are in the quarantine."""

    def filter(self, element: Any) -> bool:
        """Whether the element is valid and has a label; where not, it is in the quarantine."""
        self._check_first(element)
        if self.config.guard.clean_record(element):
            self._count_valid()
            return True
        result = self.config.guard.check_records([element])
        self._count(result, lambda checker: checker.check_records([element]))
        return result.ok and result.skipped is None


@shows_options(GuardOptions)
def data_loader_operations(
    schema: SchemaLike, *, source: KeyedSource | None = None, **options: Unpack[GuardOptions]
) -> list[Any]:
    """Returns the operations for ``grain.DataLoader(operations=[..., *ops, grain.transforms.Batch(N)])``.

    Args:
        schema: the path of a schema file, a ``DatasetSchema``, or a mapping from label paths to label models.
        source: the keyed source that the loader reads; it names the records.
        **options: see ``label_guard.GuardOptions``; those that need counts or build batches are refused.

    Raises:
        UsageError: such an option; or, on the first element, that the operations come after ``Batch``.
    """
    if options.get("batched"):
        raise UsageError("the operations of a DataLoader come before Batch and get records; leave batched= out")
    config = resolve_options(schema, "data_loader_operations", **options | {"batched": False})
    _refuse_stateful(options, "a DataLoader")
    if config.batch_size is not None:
        raise UsageError("a DataLoader batches with grain.transforms.Batch(N); pass no batch_size=")
    if source is not None:
        if not isinstance(source, KeyedSource):
            raise UsageError(
                f"data_loader_operations: source={type(source).__name__} has no record keys; pass the same "
                "keyed(source) here and as data_source= of the DataLoader, or leave source= out"
            )
        config.refuse_replay(source)
        names = RecordNames({source.tag: source})
        config = config.replace(names=names, source_id=config.source_id or source.source_id)
    if config.refills:
        return Operations([GuardFilter(config, in_loader=True), GuardMap(config, False, checked=True)])
    return Operations([GuardMap(config, False, in_loader=True)])


class Operations(list[Any]):
    """Operations to be unpacked into ``grain.DataLoader(operations=[...])``."""

    def __call__(self, *_: Any) -> Any:
        """Refuses a list that was not unpacked: Grain calls an operation that it does not know.

        Raises:
            UsageError: shows how to unpack it.
        """
        raise UsageError(
            "data_loader_operations returns a list of operations; unpack it: "
            "operations=[*data_loader_operations(schema, ...), grain.transforms.Batch(N)]"
        )
