"""The guard over a stream: pulls from upstream, tops batches up, keeps a state that resumes. No framework.

Two forms. Unbatched records are checked in windows and then stacked, which replaces ``batch``. Batches are checked as
they come; under ``drop`` the holes are filled from a spare batch, at a cost in proportion to the bad records.

An error leaves the stream where it was before the batch that it ended: so a checkpoint written on the way out loses
no record, and another ``next`` tries that batch again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from label_guard.check.result import CheckResult, Rows
from label_guard.errors import LabelGuardError, SchemaChangedError, UsageError
from label_guard.pipeline.batching import BatchRows
from label_guard.pipeline.checker import ElementChecker, logger
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.coordination import CoordinatedStop, StopReason
from label_guard.pipeline.counts import Counts, Summary
from label_guard.pipeline.emit import Good, finalize_batch, join_rows, mask_batch, stack_records
from label_guard.pipeline.first_element import check_first_elements
from label_guard.pipeline.state import STATE_KEY, Form, Snapshot, Spare, summary_of_state


class Upstream(Protocol):
    """What a stream pulls from: an iterator with a state that can be read and restored."""

    def __next__(self) -> Any: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


class GuardStream:
    """Guarded batches from ``upstream``.

    With ``config.coordinated`` an error of the guard is not raised: ``stop`` keeps it, and what was the last good
    batch comes again and again with masks that are False everywhere, until all hosts stop together.

    Args:
        config: the guard's configuration.
        upstream: where elements come from.
        batched: whether upstream yields batches, where something upstream shows it.
        worker: gives the index of this worker process.
        start: gives upstream's state before its first element, where asking upstream itself would cost something.
    """

    def __init__(
        self,
        config: GuardConfig,
        upstream: Upstream,
        *,
        batched: bool | None = None,
        worker: Callable[[], int] = lambda: 0,
        start: Callable[[], Any] | None = None,
    ) -> None:
        self.config = config
        self.checker = ElementChecker(config, worker)
        self.stop = CoordinatedStop(config) if config.coordinated else None
        self._upstream = upstream
        self._start = start  # until the first batch
        self._given_form = Form.of(batched if config.batched is None else config.batched)
        self._form = self._given_form
        self._size = config.batch_size or 0
        self._ahead: list[Any] = []
        self._spare = Spare()
        self._before: Snapshot | None = None  # before the current batch
        self._refused: int | None = None  # records of a batch that an error ended
        if self._form is Form.RECORDS:
            self._require_size()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.stop is not None and self.stop.error is not None:
            return self.stop.batch
        if self._refused is not None:
            self._restore(self.get_state(), retried=True)
        before = self._before = self._snapshot(None if self._start else self._upstream.get_state())
        try:
            batch = self._next()
        except StopIteration:
            self._start = None
            raise
        except BaseException as error:
            self._refused = self.checker.counts.seen - before.counts.seen
            if self.stop is None or not isinstance(error, LabelGuardError):
                raise
            self.stop.stop(error, self._size, batched=self._form is Form.BATCHES)
            logger.error("%s: stopping all hosts: %s", self.config.guard.schema.name, error)
            return self.stop.batch
        self._start = None
        return batch

    def _next(self) -> Any:
        if self._form is Form.UNKNOWN:
            self._pin()
        if self._form is Form.RECORDS:
            return self._next_of_records()
        return self._next_refilled() if self.config.refills else self._next_of_batches()

    def summary(self) -> Summary:
        """The counts of records so far."""
        if self._refused is None:
            return self.checker.summary(self._spare.pending)
        return summary_of_state(self.get_state()[STATE_KEY])

    def num_batches(self, elements: int) -> int:
        """Number of batches that ``elements`` of upstream make if no record is left out."""
        size = self.config.batch_size
        if size is None or self._form is Form.BATCHES:
            return elements
        return elements // size if self.config.remainder == "drop" else -(-elements // size)

    def close(self) -> None:
        """Closes the quarantine's part file, if one was opened."""
        self.checker.close()

    # Form ---------------------------------------------------------------------------------------------------------

    def _pin(self) -> None:
        """Decides between records and batches from the first elements; one bad label must not decide it."""
        doubt: UsageError | None = None
        while self._form is Form.UNKNOWN and len(self._ahead) < (self._size or 1):
            try:
                self._ahead.append(next(self._upstream))
            except StopIteration:
                break
            try:
                self._form = Form.of(self.config.guard.is_batched(self._ahead[-1]))
            except UsageError as error:
                doubt = error
        if self._form is Form.UNKNOWN and doubt is not None:
            check_first_elements(self.config, self._ahead)
            raise doubt
        if self._form is Form.UNKNOWN:  # an empty stream
            self._form = Form.RECORDS if self._size else Form.BATCHES
        if self._form is Form.RECORDS:
            self._require_size()
        elif len(self._ahead) > 1:  # batches read ahead would be missing from the next state
            self._ahead.clear()
            self._upstream.set_state(self._state_before()["parent"])

    def _require_size(self) -> None:
        if not self._size:
            raise UsageError("the elements are unbatched records; pass batch_size=N (in place of .batch(N))")

    def _pull(self, most: int = 1) -> list[Any]:
        """The next ``most`` elements; fewer at the end of upstream."""
        pulled, self._ahead = self._ahead, []
        while len(pulled) < most:
            try:
                pulled.append(next(self._upstream))
            except StopIteration:
                break
        if self.stop is not None:
            self.stop.saw(pulled)
        return pulled

    # Unbatched records --------------------------------------------------------------------------------------------

    def _next_of_records(self) -> Any:
        if not self.config.refills:
            return self._next_checked(self._pull(self._size))
        kept: list[Any] = []
        while len(kept) < self._size:
            wanted = self._size - len(kept)
            window = self._pull(wanted)
            kept += self._survivors(window) if window else []
            if len(window) < wanted:
                break
        if self._is_remainder(len(kept)) or not kept:
            self._finish()
        batch, _ = stack_records(self.config, kept, CheckResult(len(kept)))
        return self._deliver(batch, len(kept))

    def _next_checked(self, window: list[Any]) -> Any:
        """Every record of ``window`` at its place, bad ones masked or as they are."""
        if not window:
            self._finish()
        result = self.checker.check_records(window)
        if self._is_remainder(len(window)):
            self._finish()
        batch, good = stack_records(self.config, window, result)
        return self._deliver(batch, len(window), result, good)

    def _survivors(self, window: list[Any]) -> list[Any]:
        result = self.checker.check_records(window)
        if result.ok and result.skipped is None:
            return window
        return [window[row] for row in self._leave_out(result).tolist()]

    def _leave_out(self, result: CheckResult) -> Rows:
        """Count what leaves the stream; int[k]: the rows that stay."""
        keep = _staying(result)
        self.checker.counts.quarantined += result.num_invalid
        self.checker.counts.skipped += 0 if result.skipped is None else len(result.skipped)
        return np.flatnonzero(keep)

    def _is_remainder(self, have: int) -> bool:
        """Whether an incomplete batch is left out, and counted so."""
        if have == self._size or self.config.remainder != "drop":
            return False
        self.checker.counts.remainder += have
        return True

    # Batches ------------------------------------------------------------------------------------------------------

    def _next_of_batches(self) -> Any:
        while pulled := self._pull():
            result = self.checker.check_batch(pulled[0])
            self._size = self._size or result.num_records
            if not self._is_remainder(result.num_records):
                batch, good = mask_batch(self.config, pulled[0], result)
                return self._deliver(batch, result.num_records, result, good)
        return self._finish()

    def _next_refilled(self) -> Any:
        parts: list[BatchRows] = []
        have = 0
        while not parts and (pulled := self._pull()):
            result = self._check_sized(pulled[0])
            if result.ok and result.skipped is None and result.num_records == self._size:
                batch, _ = mask_batch(self.config, pulled[0], result)
                return self._deliver(batch, self._size)
            rows = self._leave_out(result)
            if len(rows):
                parts.append((pulled[0], rows, result.num_records))
                have = len(rows)
        while have < self._size and (self._spare.pending or self._read_spare()):
            part, self._spare = self._spare.split(self._size - have)
            parts.append(part)
            have += len(part[1])
        if not have or self._is_remainder(have):
            self._finish()
        return self._deliver(join_rows(self.config, parts), have)

    def _check_sized(self, batch: Any) -> CheckResult:
        result = self.checker.check_batch(batch)
        self._size = self._size or result.num_records
        if result.num_records > self._size:
            raise UsageError(
                f"a batch of {result.num_records} records came after batches of {self._size}; all but the last must "
                "have one size: pass batch_size="
            )
        return result

    def _read_spare(self) -> bool:
        """Read on to a batch that has a good row, which becomes the spare; False at the end."""
        while True:
            state = self._upstream.get_state()
            pulled = self._pull()
            if not pulled:
                return False
            result = self._check_sized(pulled[0])
            rows = self._leave_out(result)
            if len(rows):
                self._spare = Spare(pulled[0], state, rows, result.num_records)
                return True

    # Delivery -----------------------------------------------------------------------------------------------------

    def _deliver(self, batch: Any, size: int, result: CheckResult | None = None, good: Good | None = None) -> Any:
        full = self._size if self.config.remainder == "pad" else 0
        batch = finalize_batch(self.config, batch, size, full=full, result=result, good=good)
        self.checker.counts.delivered += size
        self.checker.counts.masked += 0 if result is None else result.num_invalid
        if self.stop is not None:
            self.stop.batch = batch
        return batch

    def _finish(self) -> NoReturn:
        self.checker.end(self._spare.pending)
        raise StopIteration

    # State --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """A JSON-able state of constant shape, from which a new stream goes on with the next batch."""
        if self._refused is not None:
            return self._state_before()
        return self._snapshot(self._upstream.get_state()).to_state(self.config.guard.digest)

    def _snapshot(self, parent: Any) -> Snapshot:
        return Snapshot(parent, self._form, self._size, self._spare, self.checker.counts.copy())

    def _state_before(self) -> dict[str, Any]:
        """The state before the current batch."""
        before = self._before or self._snapshot(None)
        if before.parent is None and self._start is not None:
            before = self._before = before._replace(parent=self._start())
        reason = StopReason.of(None if self.stop is None else self.stop.error)
        return before.to_state(self.config.guard.digest, self._refused or 0, int(reason))

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from ``state``; one made before the guard was put in is taken as upstream's.

        Raises:
            SchemaChangedError: the state was made under other label rules.
            UsageError: the state was made by a guard on batches, and this one is on records.
        """
        self._restore(state)

    def restart(self) -> None:
        """Begins another pass over upstream, which is at its start again; the counts go on."""
        if self._refused is not None:
            self._refused, self.checker.counts = None, (self._before or self._snapshot(None)).counts
        self._ahead.clear()
        self.checker.counts.remainder += self._spare.pending
        self._spare = Spare()
        self.checker.restart(self.checker.counts)

    def _restore(self, state: dict[str, Any], *, retried: bool = False) -> None:
        self._ahead.clear()
        self._spare, self._refused, self._start = Spare(), None, None
        self.stop = CoordinatedStop(self.config) if self.config.coordinated else None
        own = state.get(STATE_KEY)
        if own is None:
            self.checker.restart(Counts())
            self._upstream.set_state(state)
            return
        changed = self._is_changed(own)
        self.checker.restart(Counts.from_state(own["counts"]), retried=retried)
        self._form = Form(own["form"]) if self._given_form is Form.UNKNOWN else self._given_form
        self._size = self.config.batch_size or own["size"]
        if own["pending"]:
            self._restore_spare(own, changed)
        self._upstream.set_state(state["parent"])

    def _is_changed(self, own: dict[str, Any]) -> bool:
        changed = own["digest"] != self.config.guard.digest
        if changed and not self.config.allow_schema_change:
            raise SchemaChangedError(
                f"the checkpoint was made under other label rules ({own['digest']}) than those of schema "
                f"{self.config.guard.schema.name} ({self.config.guard.digest}); batches would not go on as they were. "
                "Restore with the old schema, or pass allow_schema_change=True"
            )
        return changed

    def _restore_spare(self, own: dict[str, Any], changed: bool) -> None:
        """Reads the spare again, uncounted: its bad rows are in the quarantine already."""
        if self._form is not Form.BATCHES:
            raise UsageError(
                "the checkpoint was made by a guard on batches and this one is on records; restore with the pipeline "
                "as it was, or restore label_guard.grain.strip_state(state)"
            )
        self._upstream.set_state(own["spare"])
        batch = next(self._upstream)
        result = self.checker.check_again(batch, write=changed)
        rows = np.flatnonzero(_staying(result))
        self._spare = Spare(batch, own["spare"], rows[rows >= own["spare_from"]], result.num_records)
        self.checker.counts.quarantined += own["pending"] - self._spare.pending


def _staying(result: CheckResult) -> NDArray[np.bool_]:
    """bool[n]: the records that neither break a rule nor are to be skipped."""
    keep = result.valid.copy()
    if result.skipped is not None:
        keep[result.skipped] = False
    return keep
