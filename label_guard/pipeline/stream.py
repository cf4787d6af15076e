"""The guard over a stream: pulls from upstream, tops batches up, keeps a state that resumes. No framework.

Three forms. Unbatched records are checked in windows and then stacked, which replaces ``batch``; or, without a batch
size, one by one, and delivered as records. Batches are checked as they come; under ``drop`` the holes are filled from a
spare batch, at a cost in proportion to the bad records.

A check holds only for the bytes that were checked: whatever is kept while upstream is asked for more is copied first.

An error leaves the stream where it was before the batch that it ended: so a checkpoint written on the way out loses
no record, and another ``next`` tries that batch again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from label_guard.check.result import CheckResult
from label_guard.core.log import logger
from label_guard.core.types import Rows
from label_guard.errors import LabelGuardError, UsageError
from label_guard.pipeline import emit, emit_record, restore, saved_state
from label_guard.pipeline import state as states
from label_guard.pipeline.batching import BatchRows, larger_batch, rows_without, smaller_batches
from label_guard.pipeline.checker import ElementChecker, leaving
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.coordination import CoordinatedStop, StopReason
from label_guard.pipeline.copies import copied
from label_guard.pipeline.counts import Summary
from label_guard.pipeline.first_element import read_form
from label_guard.pipeline.record_buffer import RecordBuffer
from label_guard.pipeline.state import Form, Processes, Snapshot, Spare, Upstream

Build = Callable[[], tuple[Any, emit.Good]]
_NO_ROWS: Rows = np.empty(0, np.intp)


class GuardStream:
    """Guarded batches from ``upstream``.

    With ``config.coordinated`` an error of the guard is not raised: ``stop`` keeps it, and the last good batch comes
    again and again with masks that are False everywhere, as often as upstream has a batch left, until all hosts stop
    together.

    Args:
        config: the guard's configuration.
        upstream: where elements come from.
        batched: whether upstream yields batches, where something upstream shows it.
        owned: whether upstream yields batches of new arrays, which nothing writes again (one of one record may be a
            view of that record).
        full: whether upstream leaves out an incomplete last batch, so that its batches have one size.
        processes: gives the place of this process among Grain's workers.
        start: gives upstream's state before its first element, where asking upstream itself would cost something.
    """

    def __init__(
        self,
        config: GuardConfig,
        upstream: Upstream,
        *,
        batched: bool | None = None,
        owned: bool = False,
        full: bool = False,
        processes: Callable[[], Processes] = Processes,
        start: Callable[[], Any] | None = None,
    ) -> None:
        self.config = config
        self.checker = ElementChecker(config, lambda: processes().worker)
        self.stop = CoordinatedStop(config) if config.coordinated else None
        self.on_end: Callable[[], None] | None = None  # called once, before the end of the stream is reported
        self._upstream = upstream
        self._processes = processes
        self._owned, self._full = owned, full
        self._start = start  # until the first batch
        self._form = self._given_form = Form.of(batched if config.batched is None else config.batched)
        self._size = config.batch_size or 0
        self._may_grow = False  # the first batch after a restore may be larger: another batch size upstream
        self._may_pass = False
        self._ahead: list[Any] = []
        self._spare = Spare()
        self._before: Snapshot | None = None  # before the current batch
        self._made: states.MadeBy | None = None
        self._refused: int | None = None  # records of a batch that an error ended

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        plain, parent = False, None
        if self.checker.error is None:
            if self._refused is not None:
                self.set_state(self.get_state(), retried=True)
            plain, parent = self._may_pass, None if self._start else self._upstream.get_state()
            self._before = None if plain else self._snapshot(parent)
        seen = self.checker.counts.seen
        try:  # all that an interrupt may find half done
            if plain and (element := self._next_plain()) is not None:
                return element
            self._before = self._before or self._snapshot(parent)
            batch = self._next()
            self._start, self._may_pass = None, self.stop is None and self._passes_plain()
        except StopIteration:
            self._end()
            raise
        except BaseException as error:
            self._before = self._before or self._snapshot(parent, self.checker.counts.seen - seen)
            self._refused = self._read_since() if self._refused is None else self._refused
            if not isinstance(error, LabelGuardError):
                raise
            self.checker.fail(error)
            batch = self._start = None
        return batch if self.checker.error is None else self._masked(self.checker.error)

    def _next(self) -> Any:
        if self._form is Form.UNKNOWN:
            self._pin()
        if self._form is Form.RECORDS:
            return self._next_of_records() if self._size else self._next_record()
        if self._spare.pending and not self.config.refills:
            return self._next_held()
        return self._next_refilled() if self.config.refills else self._next_of_batches()

    def _passes_plain(self) -> bool:
        """Whether the next record or batch, if plainly valid, goes on by itself."""
        if self._form is Form.RECORDS:
            return not self._size
        return self._size > 0 and not self._may_grow and (self.config.refills or not self._spare.pending)

    def _next_plain(self) -> Any:
        """The next record or full batch if it is plainly valid, at the least cost; else None, and it is read ahead."""
        try:
            element = next(self._upstream)
        except StopIteration:
            return None
        ready = self._passed(element, emit.finalize_batch)
        if ready is None:
            self._ahead.append(element)
        return ready

    def _passed(self, element: Any, finalize: Callable[[GuardConfig, Any, int], Any]) -> Any:
        """A record or full batch as it leaves, counted, if it is plainly valid; else None: a full check must look."""
        if not (labels := self.checker.plain_labels(element, size := self._size)):
            return None
        try:
            ready = finalize(self.config, element, size) if size else emit_record.finalize_plain(self.config, element)
        except LabelGuardError:  # raised again after the full check, where the batch counts as refused
            return None
        self.checker.count_plain(labels, size)
        return ready

    def _masked(self, error: LabelGuardError) -> Any:
        """The batch of a coordinated guard that stopped: the last good one, with masks that are False everywhere."""
        if self.stop is None:
            raise error
        if self.stop.error is None:
            self._refused = self._read_since()
            self.stop.mask(error, self._size, batched=self._form is Form.BATCHES)
            logger.error("%s: stopping all hosts: %s", self.config.guard.schema.name, error)
        return self.stop.batch

    def _end(self) -> None:
        self._start = None
        if self.stop is not None and self.stop.error is None and self.checker.error is not None:
            self.stop.error, self._refused = self.checker.error, self._read_since()
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()

    def _read_since(self) -> int:
        """Number of records that were read since the last batch."""
        return self.checker.counts.seen - (self._before.counts.seen if self._before else 0)

    def summary(self) -> Summary:
        """The counts of records so far."""
        if self._refused is None:
            return self.checker.summary(self._spare.pending)
        return states.summary_of_state(self.get_state()[states.STATE_KEY])

    def num_batches(self, elements: int) -> int:
        """Number of batches that ``elements`` of upstream make if no record is left out."""
        size = 1 if self._form is Form.BATCHES else self.config.batch_size or 1
        return elements // size if self.config.remainder == "drop" else -(-elements // size)

    def close(self) -> None:
        """Closes the quarantine's part file, if one was opened."""
        self.checker.close()

    # Form ---------------------------------------------------------------------------------------------------------

    def _pin(self) -> None:
        """Decides between records and batches from the first elements."""
        self._form, self._ahead = read_form(self.config, self._upstream, self._size or 1)
        if self._form is Form.UNKNOWN:  # an empty stream
            self._form = Form.RECORDS if self._size else Form.BATCHES
        if self._form is Form.RECORDS and not self._size:
            self._form = Form.UNKNOWN
            raise UsageError(
                "the elements are unbatched records; pass batch_size=N to deliver batches (in place of .batch(N)), or "
                "batched=False to deliver records"
            )
        if self._form is Form.BATCHES and len(self._ahead) > 1:  # batches read ahead would be missing from the state
            self._ahead.clear()
            self._upstream.set_state(self._state_before()["parent"])

    def _pull(self) -> list[Any]:
        """The next element, or none at the end of upstream."""
        pulled, self._ahead = self._ahead, []
        if not pulled:
            try:
                pulled.append(next(self._upstream))
            except StopIteration:
                return []
        if self.stop is not None:
            self.stop.saw(pulled)
        return pulled

    def _pull_records(self, most: int) -> RecordBuffer:
        """The next ``most`` records; fewer at the end of upstream."""
        buffer = RecordBuffer(most)
        buffer.fill(iter(self._ahead).__next__)
        self._ahead.clear()
        buffer.fill(self._upstream.__next__)
        if self.stop is not None and self.stop.batch is None:
            self.stop.saw(buffer.records())
        return buffer

    # Unbatched records --------------------------------------------------------------------------------------------

    def _next_of_records(self) -> Any:
        window = self._pull_records(self._size)
        batch = window.batch() if len(window) == self._size and self.stop is None else None
        if batch is not None and (ready := self._passed(batch, emit.finalize_stacked)) is not None:
            return ready
        if not self.config.refills:
            return self._next_window(window)
        parts: list[tuple[RecordBuffer, Rows]] = []
        have, padding, full = 0, 0, True
        while have < self._size and full:
            window = self._pull_records(self._size - have) if parts else window
            full = len(window) == self._size - have
            if len(window):
                result = self._check_window(window)
                parts.append((window, rows_without(self._leave_out(result), len(window))))
                have, padding = have + len(parts[-1][1]), padding + result.num_padding
        if self._is_remainder(have, padding) or not have:
            self._finish()
        return self._deliver(have, lambda: emit.join_buffers(self.config, parts, CheckResult(have)), padding=padding)

    def _check_window(self, window: RecordBuffer) -> CheckResult:
        batch = window.batch()
        if batch is None:
            return self.checker.check_records(window.records())
        return self.checker.check_batch(batch, lambda: [window.record(0)])

    def _next_window(self, window: RecordBuffer) -> Any:
        """Every record of ``window`` at its place, bad ones masked or as they are."""
        size = len(window)
        if not size:
            self._finish()
        result = self._check_window(window)
        if self._is_remainder(size, result.num_padding):
            self._finish()
        return self._deliver(size, lambda: emit.join_buffers(self.config, [(window, np.arange(size))], result), result)

    def _next_record(self) -> Any:
        """The next record that stays, as a record."""
        while pulled := self._pull():
            result = self.checker.check_records(pulled)
            if (result.ok and result.skipped is None) or not self.config.refills:
                if self.checker.error is not None:
                    return None
                record = emit_record.finalize_record(self.config, pulled[0], result)
                return self._delivered(record, 1, result, shared=True)
            self._leave_out(result)
        return self._finish()

    def _leave_out(self, result: CheckResult, *, padding: bool = True) -> Rows:
        """Counts what leaves the stream; int[k], ascending: its rows, with those of padding unless ``padding``."""
        self.checker.counts.quarantined += result.num_invalid
        self.checker.counts.skipped += 0 if result.skipped is None else len(result.skipped)
        return leaving(result, padding=padding)

    def _is_remainder(self, have: int, padding: int) -> bool:
        """Whether an incomplete batch is left out, and its records, ``padding`` rows apart, counted so."""
        if have == self._size > 0 or self.config.remainder == "short" or (self.config.remainder == "pad" and have):
            return False
        self.checker.counts.remainder += have - padding
        return True

    # Batches ------------------------------------------------------------------------------------------------------

    def _next_of_batches(self) -> Any:
        resumed, left_out = self._may_grow and self.config.batch_size is None, 0
        while pulled := self._pull():
            batch = pulled[0]
            result = self._check_sized(batch)
            if not self._is_remainder(result.num_records, result.num_padding):
                return self._deliver(result.num_records, lambda: emit.mask_batch(self.config, batch, result), result)  # noqa: B023
            left_out += result.num_records > 0
            if resumed and left_out > 1:
                raise smaller_batches(self._size, result.num_records)
        return self._finish()

    def _next_held(self) -> Any:
        """The records that a policy with refill held back, in one batch; padded where there is a mask."""
        part, self._spare = self._spare.split(self._spare.pending)
        return self._deliver(len(part[1]), lambda: emit.join_rows(self.config, [part]), pad=self.config.mask_all)

    def _next_refilled(self) -> Any:
        batch, left, size, have, padding = None, _NO_ROWS, 0, 0, 0
        while not have and (pulled := self._pull()):
            batch = pulled[0]
            result = self._check_sized(batch)
            if result.ok and result.skipped is None and result.num_records == self._size:
                return self._deliver(self._size, lambda: emit.mask_batch(self.config, batch, result), result)  # noqa: B023
            left, size, padding = self._leave_out(result), result.num_records, result.num_padding
            have = size - len(left)
        own = self._owned and size > 1
        if have and not own and self._spare.pending < self._size - have:  # more must be read
            batch = copied(batch)
        others: list[BatchRows] = []
        while have < self._size and (self._spare.pending or self._read_spare()):
            part, self._spare = self._spare.split(self._size - have)
            others.append(part)
            have += len(part[1])
        if not have or self._is_remainder(have, padding):
            self._finish()
        return self._deliver(have, lambda: emit.refill(self.config, batch, left, size, others, own), padding=padding)

    def _check_sized(self, batch: Any) -> CheckResult:
        result = self.checker.check_batch(batch)
        if not self._size or (self._may_grow and result.num_records > self._size):
            self._size = result.num_records
        self._may_grow = False
        if result.num_records > self._size and (self.config.refills or self.config.remainder != "short"):
            raise larger_batch(self._size, result.num_records)
        return result

    def _read_spare(self) -> bool:
        """Reads on to a batch that has a valid row, which becomes the spare; False at the end."""
        state = self._upstream.get_state()
        while pulled := self._pull():
            result = self._check_sized(pulled[0])
            rows = rows_without(self._leave_out(result, padding=False), result.num_records)  # padding fills no holes
            if len(rows):
                batch = pulled[0] if self._owned and result.num_records > 1 else copied(pulled[0])
                self._spare = Spare(batch, state, rows, result.num_records)
                return True
            state = self._upstream.get_state()
        return False

    # Delivery -----------------------------------------------------------------------------------------------------

    def _deliver(
        self, size: int, build: Build, result: CheckResult | None = None, *, pad: bool = False, padding: int = 0
    ) -> Any:
        """The batch of ``size`` that ``build`` makes, converted, with its masks; None where the guard has stopped."""
        if self.checker.error is not None:
            return None
        batch, good = build()
        full = self._size if pad or self.config.remainder == "pad" else 0
        shared = self._form is Form.BATCHES
        batch = emit.finalize_batch(self.config, batch, size, full=full, stacked=not shared, result=result, good=good)
        return self._delivered(batch, size - padding, result, shared=shared)

    def _delivered(self, element: Any, size: int, result: CheckResult | None = None, *, shared: bool) -> Any:
        """Counts ``element``, which leaves; a coordinated guard keeps it, as a copy if ``shared`` with the loader."""
        counts = self.checker.counts
        counts.delivered += size if result is None else size - result.num_padding
        counts.masked += 0 if result is None else result.num_invalid
        if self.stop is not None:
            self.stop.delivered(element, shared=shared)
        return element

    def _finish(self) -> NoReturn:
        self.checker.end(self._spare.pending)
        raise StopIteration

    # State --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """A JSON-able state of constant shape, from which a new stream goes on with the next batch."""
        if self._refused is not None:
            return self._state_before()
        counts = self.checker.counts  # a packing stage asks at each record: no copy
        now = Snapshot(self._upstream.get_state(), self._form, self._size, self._spare, counts)
        return now.to_state(self._made_by())

    def _made_by(self) -> states.MadeBy:
        made = self._made or states.made_by(self.config, self._processes(), self._given_form)
        if self._start is None:  # Grain may set the processes until the first batch
            self._made = made
        return made

    def _snapshot(self, parent: Any, delivered: int = 0) -> Snapshot:
        return Snapshot(parent, self._form, self._size, self._spare, self.checker.counts.copy(delivered))

    def _state_before(self) -> dict[str, Any]:
        """The state before the current batch."""
        before = self._before or self._snapshot(None)
        if before.parent is None and self._start is not None:
            before = self._before = before._replace(parent=self._start())
        return before.to_state(self._made_by(), self._refused or 0, int(StopReason.of(self.checker.error)))

    def set_state(self, state: dict[str, Any], *, retried: bool = False) -> None:
        """Goes on from ``state``; one made before the guard was put in is taken as upstream's.

        Another policy, remainder or batch size goes on too, with no record lost: records that were read ahead are
        delivered first. ``retried``: it is the state before a batch that an error ended.

        Raises:
            SchemaChangedError: the state was made under other label rules.
            UsageError: the state was made by a pipeline of another form, or with another number of workers; or it is
                damaged.
        """
        own = saved_state.own_part(state)
        form = self._given_form
        if own is not None:
            self._made_by().refuse_changed(own, allow_schema_change=self.config.allow_schema_change)
            form = restore.form(self._given_form, own)
            restore.refuse_pending(own, form, self.config)
        self._ahead.clear()
        self._spare, self._refused, self._start, self._form, self._may_pass = Spare(), None, None, form, False
        self.stop = CoordinatedStop(self.config) if self.config.coordinated else None
        self.checker.restart(restore.counts(own, self.config), retried=retried)
        if own is None:
            restore.set_upstream(self._upstream, state)
            return
        known = form is Form.BATCHES and own["form"] == form.value and (own["pending"] or not self._full)
        self._size = self.config.batch_size or (own["size"] if known else 0)
        self._may_grow = not own["pending"] and not retried
        if own["pending"]:
            self._spare = restore.spare(own, self._upstream, self.checker)
            self.checker.counts.quarantined += own["pending"] - self._spare.pending
        restore.set_upstream(self._upstream, state["parent"])

    def restart(self) -> None:
        """Begins another pass over upstream, which is at its start again; the counts go on."""
        if self.checker.error is not None:  # of a coordinated guard, which no sync_stop has raised
            raise self.checker.error
        if self._refused is not None:
            self._refused, self.checker.counts = None, (self._before or self._snapshot(None)).counts
        self._ahead.clear()
        self.checker.counts.remainder += self._spare.pending
        self._spare = Spare()
        self.checker.restart(self.checker.counts)
