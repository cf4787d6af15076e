"""The guard over a stream: pulls from upstream, tops batches up, keeps a state that resumes. No framework.

Two forms. Unbatched records are judged in windows and then stacked, which replaces ``batch``. Batches are judged as
they come; under ``drop`` the holes are filled from a spare batch, at a cost in proportion to the bad records.

An error leaves the stream where it stood before the batch that it ended: so a checkpoint written on the way out loses
no record, and another ``next`` tries that batch again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from label_guard.check.result import CheckResult, Rows
from label_guard.errors import LabelGuardError, SchemaChangedError, UsageError
from label_guard.pipeline import batching as batches
from label_guard.pipeline.checker import ElementChecker, logger
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.counts import Counts, Summary, summary_of
from label_guard.pipeline.emit import Good, finished, masked_out, mended, stacked, stand_in_batch

STATE_KEY = "label_guard"
# What a coordinated guard stops for, by the number that a state and a collective hold; 0 is none.
STOPS = ("", "InvalidLabelError", "TooManyInvalidError", "NoValidRecordsError", "QuarantineError", "UsageError")
_UNKNOWN, _RECORDS, _BATCHES = 0, 1, 2  # the pinned form
_NO_SPARE = -1


class Upstream(Protocol):
    """What a stream pulls from: an iterator with a state that can be read and restored."""

    def __next__(self) -> Any: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class _Spare:
    """A batch whose good rows fill the holes of the batches before it.

    Attributes:
        batch: the batch, as it came.
        state: upstream's state before it, from which it can be read again.
        rows: the good rows that are left.
        size: its number of records.
    """

    batch: Any = None
    state: Any = None
    rows: Rows = field(default_factory=lambda: np.empty(0, np.intp))
    size: int = 0


class _Place(NamedTuple):
    """Where a stream stands: what its state tells, taken before each batch, so plainly and at once.

    Attributes:
        parent: upstream's state.
        form: record or batch.
        size: records of a full batch.
        spare: what is left to fill holes.
        counts: what was done so far.
    """

    parent: Any
    form: int
    size: int
    spare: _Spare
    counts: Counts


class GuardStream:
    """Guarded batches from ``upstream``.

    With ``plan.coordinated`` an error of the guard is not raised: it stands in ``stopped``, and what was the last good
    batch comes again and again with masks that are False everywhere, until all hosts stop together.

    Args:
        plan: the stage's plan.
        upstream: where elements come from.
        batched: whether upstream yields batches, if something upstream tells.
        worker: tells the index of this worker process.
        start: tells upstream's state before its first element, where asking upstream itself would cost something.
    """

    def __init__(
        self,
        plan: GuardConfig,
        upstream: Upstream,
        *,
        batched: bool | None = None,
        worker: Callable[[], int] = lambda: 0,
        start: Callable[[], Any] | None = None,
    ) -> None:
        self.plan = plan
        self.inspector = ElementChecker(plan, worker)
        self._upstream = upstream
        told = plan.batched if plan.batched is not None else batched
        self._told_form = _UNKNOWN if told is None else _BATCHES if told else _RECORDS
        self._form = self._told_form
        self._size = plan.batch_size or 0
        self._ahead: list[Any] = []
        self._spare = _Spare()
        self._start = start
        self._before: _Place | None = None  # before the batch in the making
        self._refused: int | None = None  # records of a batch that an error ended
        self._moved = False
        self.stopped: LabelGuardError | None = None
        self._last: Any = None  # where coordinated: the last batch delivered, or masked out
        self._pulled: list[Any] = []  # where coordinated: what stood for a first batch
        self._repeat_told = False
        if self._form == _RECORDS:
            self._require_size()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.stopped is not None:
            return self._last
        if self._refused is not None:
            self.set_state(self.get_state())
        at_start = self._start is not None and not self._moved
        before = self._before = self._place(None if at_start else self._upstream.get_state())
        try:
            batch = self._next()
        except StopIteration:
            self._moved = True
            raise
        except BaseException as error:
            self._refused = self.inspector.counts.seen - before.counts.seen
            if not self.plan.coordinated or not isinstance(error, LabelGuardError):
                raise
            return self._stop(error)
        self._moved = True
        return batch

    def _next(self) -> Any:
        if self._form == _UNKNOWN:
            self._pin()
        if self._form == _RECORDS:
            return self._next_of_records()
        return self._next_refilled() if self.plan.refills else self._next_of_batches()

    def _stop(self, error: LabelGuardError) -> Any:
        """Keep ``error`` for the loop; the batch that comes from now on, all of it masked out.

        Raises:
            LabelGuardError: ``error``, where no batch was seen that could stand there.
        """
        if self._last is None:
            try:
                self._last = stand_in_batch(self.plan, self._pulled, self._size, batched=self._form == _BATCHES)
            except UsageError:
                raise error from None
        self._last = masked_out(self.plan, self._last)
        self.stopped = error
        logger.error("%s: stopping all hosts: %s", self.plan.guard.schema.name, error)
        return self._last

    def summary(self) -> Summary:
        """What became of the records so far."""
        if self._refused is None:
            return self.inspector.summary(len(self._spare.rows))
        return summary_of_state(self.get_state()[STATE_KEY])

    # Form ---------------------------------------------------------------------------------------------------------

    def _pin(self) -> None:
        """Decide record or batch from the first elements; one bad label must not decide it."""
        doubt: UsageError | None = None
        while self._form == _UNKNOWN and len(self._ahead) < (self._size or 1):
            try:
                self._ahead.append(next(self._upstream))
                self._form = _BATCHES if self.plan.guard.is_batched(self._ahead[-1]) else _RECORDS
            except StopIteration:
                break
            except UsageError as error:
                doubt = error
        if self._form == _UNKNOWN and doubt is not None:
            raise doubt
        if self._form == _UNKNOWN:  # an empty stream
            self._form = _RECORDS if self._size else _BATCHES
        if self._form == _RECORDS:
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
        if self.plan.coordinated and self._last is None:
            self._pulled = list(pulled)
        return pulled

    # Unbatched records --------------------------------------------------------------------------------------------

    def _next_of_records(self) -> Any:
        if not self.plan.refills:
            return self._next_judged(self._pull(self._size))
        kept: list[Any] = []
        while len(kept) < self._size:
            wanted = self._size - len(kept)
            window = self._pull(wanted)
            kept += self._survivors(window) if window else []
            if len(window) < wanted:
                break
        if self._is_remainder(len(kept)) or not kept:
            self._finish()
        return self._deliver(batches.stack(kept, leave_out=self.plan.dropped_key), len(kept))

    def _next_judged(self, window: list[Any]) -> Any:
        """Every record of ``window`` in its place, bad ones masked or as they are."""
        if not window:
            self._finish()
        result = self.inspector.inspect_records(window)
        if self._is_remainder(len(window)):
            self._finish()
        batch, good = stacked(self.plan, window, result)
        return self._deliver(batch, len(window), result, good)

    def _survivors(self, window: list[Any]) -> list[Any]:
        result = self.inspector.inspect_records(window)
        if result.ok and result.skipped is None:
            return window
        return [window[row] for row in self._leave_out(result).tolist()]

    def _leave_out(self, result: CheckResult) -> Rows:
        """Count what leaves the stream; int[k]: the rows that stay."""
        keep = _staying(result)
        self.inspector.counts.quarantined += result.num_invalid
        self.inspector.counts.skipped += 0 if result.skipped is None else len(result.skipped)
        return np.flatnonzero(keep)

    def _is_remainder(self, have: int) -> bool:
        """Whether an incomplete batch is left out, and counted so."""
        if have == self._size or self.plan.remainder != "drop":
            return False
        self.inspector.counts.remainder += have
        return True

    # Batches ------------------------------------------------------------------------------------------------------

    def _next_of_batches(self) -> Any:
        while pulled := self._pull():
            result = self.inspector.inspect_batch(pulled[0])
            self._size = self._size or result.num_records
            if not self._is_remainder(result.num_records):
                batch, good = mended(self.plan, pulled[0], result)
                return self._deliver(batch, result.num_records, result, good)
        return self._finish()

    def _next_refilled(self) -> Any:
        pieces: list[batches.Piece] = []
        have = 0
        while not pieces and (pulled := self._pull()):
            result = self._inspect_sized(pulled[0])
            if result.ok and result.skipped is None and result.num_records == self._size:
                return self._deliver(pulled[0], self._size)
            rows = self._leave_out(result)
            if len(rows):
                pieces.append((pulled[0], rows, result.num_records))
                have = len(rows)
        while have < self._size and (len(self._spare.rows) or self._read_spare()):
            pieces.append(self._from_spare(self._size - have))
            have += len(pieces[-1][1])
        if not have or self._is_remainder(have):
            self._finish()
        return self._deliver(batches.join(pieces), have)

    def _inspect_sized(self, batch: Any) -> CheckResult:
        result = self.inspector.inspect_batch(batch)
        self._size = self._size or result.num_records
        if result.num_records > self._size:
            raise UsageError(
                f"a batch of {result.num_records} records came after batches of {self._size}; all but the last must "
                "have one size: pass batch_size= to tell it"
            )
        return result

    def _from_spare(self, most: int) -> batches.Piece:
        spare = self._spare
        self._spare = replace(spare, rows=spare.rows[most:])
        return spare.batch, spare.rows[:most], spare.size

    def _read_spare(self) -> bool:
        """Read on to a batch that has a good row, which becomes the spare; False at the end."""
        while True:
            state = self._upstream.get_state()
            pulled = self._pull()
            if not pulled:
                return False
            result = self._inspect_sized(pulled[0])
            rows = self._leave_out(result)
            if len(rows):
                self._spare = _Spare(pulled[0], state, rows, result.num_records)
                return True

    # Delivery -----------------------------------------------------------------------------------------------------

    def _deliver(self, batch: Any, size: int, result: CheckResult | None = None, good: Good | None = None) -> Any:
        full = self._size if self.plan.remainder == "pad" else 0
        batch = finished(self.plan, batch, size, full=full, result=result, good=good)
        self.inspector.counts.delivered += size
        self.inspector.counts.masked += 0 if result is None else result.num_invalid
        if self.plan.coordinated:
            self._last = batch
        return batch

    def _finish(self) -> NoReturn:
        self.inspector.end(len(self._spare.rows))
        raise StopIteration

    def close(self) -> None:
        """Close the quarantine's part file, if one was opened."""
        self.inspector.close()

    # State --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """A JSON-able state of constant shape, from which a new stream goes on with the next batch."""
        return self._state(self._place(self._upstream.get_state())) if self._refused is None else self._state_before()

    def _place(self, parent: Any) -> _Place:
        return _Place(parent, self._form, self._size, self._spare, self.inspector.counts.copy())

    def _state_before(self) -> dict[str, Any]:
        """The state before the batch in the making."""
        place = self._before or self._place(None)
        if place.parent is None and self._start is not None:
            place = self._before = place._replace(parent=self._start())
        return self._state(place, self._refused or 0, stop_code(self.stopped))

    def _state(self, place: _Place, refused: int = 0, stop: int = 0) -> dict[str, Any]:
        spare = place.spare
        return {
            "parent": place.parent,
            STATE_KEY: {
                "version": 1,
                "digest": self.plan.guard.digest,
                "form": place.form,
                "size": place.size,
                "spare": spare.state if len(spare.rows) else place.parent,
                "spare_from": int(spare.rows[0]) if len(spare.rows) else _NO_SPARE,
                "pending": len(spare.rows),
                "refused": refused,
                "stop": stop,
                "counts": place.counts.to_state(),
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; one made before the guard was put in is taken as upstream's.

        Raises:
            SchemaChangedError: the state was made under other label rules.
            UsageError: the state was made by a guard on batches, and this one is on records.
        """
        self._ahead.clear()
        retried = self._refused is not None
        self._spare, self._refused, self._moved = _Spare(), None, True
        self.stopped, self._last = None, None
        own = state.get(STATE_KEY)
        if own is None:
            self.inspector.restart(Counts())
            self._upstream.set_state(state)
            return
        changed = self._is_changed(own)
        counts = Counts.from_state(own["counts"])
        if not retried:
            self._tell_of_repeat(counts)
        self.inspector.restart(counts)
        self._form = self._told_form or own["form"]
        self._size = self.plan.batch_size or own["size"]
        if own["pending"]:
            self._restore_spare(own, changed)
        self._upstream.set_state(state["parent"])

    def _is_changed(self, own: dict[str, Any]) -> bool:
        changed = own["digest"] != self.plan.guard.digest
        if changed and not self.plan.allow_schema_change:
            raise SchemaChangedError(
                f"the checkpoint was made under other label rules ({own['digest']}) than those of schema "
                f"{self.plan.guard.schema.name} ({self.plan.guard.digest}); batches would not go on as they were. "
                "Restore with the old schema, or pass allow_schema_change=True"
            )
        return changed

    def _tell_of_repeat(self, counts: Counts) -> None:
        if counts.seen or not self.inspector.counts.seen or self._repeat_told:
            return
        self._repeat_told = True
        logger.warning(
            "%s: the iterator was set back to its start and its counts begin anew: %s. If RepeatIterDataset does this "
            "at each epoch, use MapDataset.repeat instead, whose counts go on",
            self.plan.guard.schema.name, summary_of(self.inspector.counts),
        )  # fmt: skip

    def _restore_spare(self, own: dict[str, Any], changed: bool) -> None:
        """Read the spare again, uncounted: its bad rows are in the quarantine already."""
        if self._form != _BATCHES:
            raise UsageError(
                "the checkpoint was made by a guard on batches and this one is on records; restore with the pipeline "
                "as it was, or restore label_guard.grain.strip_state(state)"
            )
        self._upstream.set_state(own["spare"])
        batch = next(self._upstream)
        result = self.inspector.judge_again(batch, write=changed)
        rows = np.flatnonzero(_staying(result))
        self._spare = _Spare(batch, own["spare"], rows[rows >= own["spare_from"]], result.num_records)
        self.inspector.counts.quarantined += own["pending"] - len(self._spare.rows)


def stop_code(error: LabelGuardError | None) -> int:
    """A small number for the kind of error that stopped a guard; 0 for none."""
    if error is None:
        return 0
    name = type(error).__name__
    return STOPS.index(name) if name in STOPS else len(STOPS)


def _staying(result: CheckResult) -> NDArray[np.bool_]:
    """bool[n]: what neither breaks a rule nor is to be skipped."""
    keep = result.valid.copy()
    if result.skipped is not None:
        keep[result.skipped] = False
    return keep


def summary_of_state(own: Mapping[str, Any]) -> Summary:
    """The summary that a stream's own part of its state tells."""
    return summary_of(Counts.from_state(own["counts"]), int(own["pending"]), int(own["refused"]))
