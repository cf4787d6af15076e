"""The guard over a stream: pulls from upstream, tops batches up, keeps a state that resumes. No framework.

Two forms. Unbatched records are judged in windows and then stacked, which replaces ``batch``. Batches are judged as
they come; under ``drop`` the holes are filled from a spare batch, at a cost in proportion to the bad records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from label_guard import batches, tree
from label_guard.counts import STATE_LENGTH, Counts, Summary, summary_of
from label_guard.errors import SchemaChangedError, UsageError
from label_guard.findings import CheckResult, Rows
from label_guard.inspector import Inspector, logger
from label_guard.keys import KEY
from label_guard.plan import GuardPlan
from label_guard.policy import emit, masked

STATE_KEY = "label_guard"
_UNKNOWN, _RECORDS, _BATCHES = 0, 1, 2  # the pinned form
_NO_SPARE = -1


class Upstream(Protocol):
    """What a stream pulls from: an iterator with a state that can be read and restored."""

    def __next__(self) -> Any: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


class GuardStream:
    """Guarded batches from ``upstream``.

    Args:
        plan: the stage's plan.
        upstream: where elements come from.
        batched: whether upstream yields batches, if something upstream tells.
        worker: index of this worker process, 0 in the main process.
    """

    def __init__(self, plan: GuardPlan, upstream: Upstream, *, batched: bool | None = None, worker: int = 0) -> None:
        self.plan = plan
        self.inspector = Inspector(plan, worker)
        self._upstream = upstream
        told = plan.batched if plan.batched is not None else batched
        self._form = _UNKNOWN if told is None else _BATCHES if told else _RECORDS
        self._size = plan.batch_size or 0
        self._ahead: list[Any] = []
        self._spare: Any = None
        self._spare_state: Any = None
        self._spare_used = _NO_SPARE
        self._spare_rows: Rows = np.empty(0, np.intp)
        self._pending = 0
        if self._form == _RECORDS:
            self._require_size()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._form == _UNKNOWN:
            self._pin()
        if self._form == _RECORDS:
            return self._next_of_records()
        return self._next_refilled() if self.plan.refills else self._next_of_batches()

    def summary(self) -> Summary:
        """What became of the records so far."""
        return self.inspector.summary(self._pending)

    # Form ---------------------------------------------------------------------------------------------------------

    def _pin(self) -> None:
        """Decide record or batch from the first elements; one bad label must not decide it."""
        doubt: UsageError | None = None
        start = self._upstream.get_state()
        for _ in range(self._size or 1):
            try:
                self._ahead.append(next(self._upstream))
            except StopIteration:
                break
            try:
                self._form = _BATCHES if self.plan.guard.is_batched(self._ahead[-1]) else _RECORDS
                break
            except UsageError as error:
                doubt = error
        if self._form == _UNKNOWN:
            if doubt is not None:
                raise doubt
            self._form = _RECORDS if self._size else _BATCHES
        if self._form == _RECORDS:
            self._require_size()
        elif len(self._ahead) > 1:  # batches read ahead would be missing from the next state
            self._ahead = []
            self._upstream.set_state(start)

    def _require_size(self) -> None:
        if not self._size:
            raise UsageError("the elements are unbatched records; pass batch_size=N (in place of .batch(N))")

    def _pull(self) -> Any:
        return self._ahead.pop(0) if self._ahead else next(self._upstream)

    # Unbatched records --------------------------------------------------------------------------------------------

    def _next_of_records(self) -> Any:
        kept: list[Any] = []
        result: CheckResult | None = None
        while len(kept) < self._size:
            window = self._window(self._size - len(kept))
            if not window:
                break
            self._pending = len(kept)
            result = self.inspector.inspect_records(window)
            if not self.plan.refills:
                kept = window
                break
            kept += self._survivors(window, result)
        self._pending = 0
        if self.plan.refills:
            result = None
        if not kept:
            self._finish()
        if len(kept) < self._size and self.plan.remainder == "drop":
            self.inspector.counts.remainder += len(kept)
            self._finish()
        return self._deliver_records(kept, result)

    def _window(self, size: int) -> list[Any]:
        window: list[Any] = []
        while len(window) < size:
            try:
                window.append(self._pull())
            except StopIteration:
                break
        return window

    def _survivors(self, window: list[Any], result: CheckResult) -> list[Any]:
        if result.ok and result.skipped is None:
            return window
        keep = self._leave_out(result)
        return [record for record, kept in zip(window, keep.tolist(), strict=True) if kept]

    def _leave_out(self, result: CheckResult) -> NDArray[np.bool_]:
        """Count what leaves the stream; bool[n]: what stays."""
        keep = result.valid.copy()
        self.inspector.counts.quarantined += result.num_invalid
        if result.skipped is not None:
            keep[result.skipped] = False
            self.inspector.counts.skipped += len(result.skipped)
        return keep

    def _deliver_records(self, records: list[Any], result: CheckResult | None) -> Any:
        good: dict[str, NDArray[np.bool_]] = {}
        arrays: dict[str, Any] = {}
        if result is not None and not result.ok and self.plan.on_invalid == "mask":
            columns = self.plan.guard.record_columns(records)
            arrays, good = self._masked(result, columns)
            records = self._stand_in(records, result, arrays)
        batch = batches.stack(records)
        for path, array in arrays.items():
            batch = tree.put(batch, path, array)
        return self._emit(batch, len(records), good, result)

    @staticmethod
    def _stand_in(records: list[Any], result: CheckResult, arrays: dict[str, Any]) -> list[Any]:
        """Records that stack: a bad label, which may be absent or of any shape, gives way to its replacement."""
        records = list(records)
        for path, array in arrays.items():
            for row in result.invalid_rows.tolist():
                records[row] = tree.put(records[row], path, array[row])
        return records

    # Batches ------------------------------------------------------------------------------------------------------

    def _next_of_batches(self) -> Any:
        try:
            batch = self._pull()
        except StopIteration:
            self._finish()
        size = batches.size_of(batch)
        self._size = self._size or size
        result = self.inspector.inspect_batch(batch)
        if result.num_records < self._size and self.plan.remainder == "drop":
            self.inspector.counts.remainder += result.num_records
            return self._next_of_batches()
        good: dict[str, NDArray[np.bool_]] = {}
        if not result.ok and self.plan.on_invalid == "mask":
            arrays, good = self._masked(result, self.plan.guard.batch_columns(batch, result.num_records))
            for path, array in arrays.items():
                batch = tree.put(batch, path, array)
        return self._emit(batch, result.num_records, good, result)

    def _next_refilled(self) -> Any:
        pieces: list[tuple[Any, Rows]] = []
        have = 0
        while True:
            batch, rows, whole = self._next_piece(have)
            if batch is None:
                break
            if whole and not have:
                return self._emit(batch, len(rows), {}, None)
            pieces.append((batch, rows))
            have += len(rows)
            self._pending = have + len(self._spare_rows)
            if have == self._size:
                break
        self._pending = len(self._spare_rows)
        if not pieces:
            self._finish()
        if have < self._size and self.plan.remainder == "drop":
            self.inspector.counts.remainder += have
            self._pending = 0
            self._finish()
        return self._emit(batches.join(pieces), have, {}, None)

    def _next_piece(self, have: int) -> tuple[Any, Rows, bool]:
        """Good rows for a batch that has ``have``, and whether they are a whole untouched batch."""
        if have and not len(self._spare_rows):
            self._read_spare()
        if have or self._at_end():
            return self._from_spare(self._size - have)
        batch = self._ahead.pop(0)
        self._size = self._size or batches.size_of(batch)
        result = self.inspector.inspect_batch(batch)
        keep = self._leave_out(result)
        if result.num_records > self._size:
            raise UsageError(f"a batch of {result.num_records} records came after batches of {self._size}")
        if result.num_records == self._size and keep.all():
            return batch, np.arange(self._size), True
        rows = np.flatnonzero(keep)
        return (batch, rows, False) if len(rows) else self._next_piece(0)

    def _at_end(self) -> bool:
        """Whether upstream has no further batch; else it stands at the head of ``_ahead``."""
        if not self._ahead:
            try:
                self._ahead.append(next(self._upstream))
            except StopIteration:
                return True
        return False

    def _from_spare(self, most: int) -> tuple[Any, Rows, bool]:
        rows = self._spare_rows[:most]
        if not len(rows):
            return None, rows, False
        self._spare_rows = self._spare_rows[most:]
        self._spare_used += len(rows)
        return self._spare, rows, False

    def _read_spare(self) -> None:
        """Read batches until one has a good row; it fills the holes of those before it."""
        while not len(self._spare_rows):
            state = self._upstream.get_state()
            if self._at_end():
                return
            self._spare = self._ahead.pop(0)
            result = self.inspector.inspect_batch(self._spare)
            self._spare_rows = np.flatnonzero(self._leave_out(result))
            self._spare_state, self._spare_used = state, 0

    # Delivery -----------------------------------------------------------------------------------------------------

    def _masked(self, result: CheckResult, columns: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays: dict[str, Any] = {}
        good: dict[str, Any] = {}
        for path, label in self.plan.guard.labels.items():
            faults = [fault for fault in result.faults if fault.label == path]
            if faults:
                arrays[path], good[path] = masked(label, columns[path], result.num_records, faults)
        return arrays, good

    def _emit(self, batch: Any, delivered: int, good: dict[str, NDArray[np.bool_]], result: CheckResult | None) -> Any:
        self.inspector.counts.delivered += delivered
        if result is not None and not result.ok:
            self.inspector.counts.masked += result.num_invalid
        if not self.plan.keep_key:
            batch = batches.without_key(batch, KEY)
        if self.plan.passes_untouched:
            return batch
        padding = 0
        if self.plan.remainder == "pad" and delivered < self._size:
            padding = self._size - delivered
            good = {path: batches.pad(valid, self._size) for path, valid in good.items()}
            batch = batches.pad(batch, self._size)
        labels = self.plan.guard.labels
        if result is not None and not result.ok and self.plan.on_invalid == "report":
            broken = {fault.label for fault in result.faults if fault.positions is None}
            labels = {path: label for path, label in labels.items() if path not in broken}
        return emit(labels, batch, self.plan.mask, mask_all=self.plan.mask_all, good=good, padding=padding)

    def close(self) -> None:
        """Close the quarantine's part file, if one was opened."""
        self.inspector.close()

    def _finish(self) -> NoReturn:
        self.inspector.end(self._pending)
        raise StopIteration

    # State --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """A JSON-able state of constant shape, from which a new stream goes on with the next batch."""
        parent = self._upstream.get_state()
        return {
            "parent": parent,
            STATE_KEY: {
                "version": 1,
                "digest": self.plan.guard.digest,
                "form": self._form,
                "size": self._size,
                "spare": parent if self._spare_used == _NO_SPARE else self._spare_state,
                "used": self._spare_used,
                "pending": self._pending,
                "counts": self.inspector.counts.to_list(),
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; one made before the guard was put in is taken as upstream's.

        Raises:
            SchemaChangedError: the state was made under other label rules.
        """
        self._ahead, self._spare, self._spare_rows = [], None, np.empty(0, np.intp)
        self._spare_used, self._pending = _NO_SPARE, 0
        own = state.get(STATE_KEY) if isinstance(state, dict) else None
        if own is None:
            self._upstream.set_state(state)
            return
        self._check_digest(own["digest"])
        self._restore_counts(own["counts"])
        self._form, self._size = own["form"] or self._form, own["size"] or self._size
        if own["used"] != _NO_SPARE:
            self._restore_spare(own)
        self._upstream.set_state(state["parent"])
        self._pending = own["pending"]

    def _check_digest(self, digest: str) -> None:
        if digest != self.plan.guard.digest and not self.plan.allow_schema_change:
            raise SchemaChangedError(
                f"the checkpoint was made under other label rules ({digest}) than those of schema "
                f"{self.plan.guard.schema.name} ({self.plan.guard.digest}); batches would not go on as they were. "
                "Restore with the old schema, or pass allow_schema_change=True"
            )

    def _restore_counts(self, values: list[int]) -> None:
        if len(values) != STATE_LENGTH:
            raise SchemaChangedError("the checkpoint holds counts of another version of label_guard")
        counts = Counts.from_list(values)
        if counts.seen == 0 and self.inspector.counts.seen:
            logger.warning(
                "%s: the iterator was set back to its start and its counts begin anew: %s. If RepeatIterDataset "
                "does this at each epoch, use MapDataset.repeat instead, whose counts go on",
                self.plan.guard.schema.name, summary_of(self.inspector.counts),
            )  # fmt: skip
        self.inspector.restart(counts)

    def _restore_spare(self, own: dict[str, Any]) -> None:
        """Read the spare again, uncounted: its bad rows are in the quarantine already."""
        self._spare_state, self._spare_used = own["spare"], own["used"]
        self._upstream.set_state(own["spare"])
        if own["pending"] == 0:
            return
        self._spare = next(self._upstream)
        result = self.inspector.check_batch(self._spare)
        keep = result.valid.copy()
        if result.skipped is not None:
            keep[result.skipped] = False
        self._spare_rows = np.flatnonzero(keep)[self._spare_used :]
