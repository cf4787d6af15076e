"""Checks records, counts and quarantines violations, and stops above a threshold. One checker for each iterator."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from label_guard.check.result import CheckResult, RuleViolations
from label_guard.core import tree
from label_guard.core.log import logger
from label_guard.core.plural import agreed, counted
from label_guard.core.types import Rows
from label_guard.diagnosis.stream import counted_values
from label_guard.errors import InvalidLabelError, LabelGuardError, UsageError
from label_guard.pipeline import batching as batches
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.counts import Counts, Summary, summary_of
from label_guard.pipeline.events import EventKind, call_on_event
from label_guard.pipeline.first_element import check_first_elements, require_key
from label_guard.pipeline.processes import process_count, process_index_of
from label_guard.pipeline.record_keys import KEY, UNREADABLE, key_in, own_name, reason_in
from label_guard.pipeline.thresholds import RUN, WINDOW, InvalidRatioLimit, next_steps
from label_guard.quarantine.options import BadRecord, Origin
from label_guard.quarantine.writer import QuarantineWriter
from label_guard.rules.violation import Violation
from label_guard.schema.labels import ClassLabel

_LOG_EVERY_SECONDS = 60.0
_MAX_SHOWN = 10  # violations in an error message
_READ_AHEAD = " in this process, those read ahead or twice included"
_warned: set[str] = set()


def warn_about_policy(config: GuardConfig, *, endless: bool = False) -> None:
    """Warns of what a policy delivers, or may do to other hosts, before the first element.

    Args:
        config: the guard's configuration.
        endless: whether the stream repeats without end.
    """
    if config.on_invalid == "report":
        logger.warning('%s: on_invalid="report": bad labels are DELIVERED as they are', config.guard.schema.name)
    if config.refills and not endless and process_count() > 1 and "hosts" not in _warned:
        _warned.add("hosts")
        logger.warning(
            'on_invalid="%s" on a stream that ends, with %d JAX processes: hosts with more bad records end earlier '
            'and the others wait in a collective forever. Use on_invalid="mask", or repeat the dataset and stop at '
            "a step count",
            config.on_invalid, process_count(),
        )  # fmt: skip


class Window(Protocol):
    """What was checked together, seen record by record: unbatched records, or a batch."""

    result: CheckResult

    def element(self, row: int) -> Any:
        """The record at ``row``."""
        ...

    def key(self, row: int) -> Any:
        """The key that travels with the record at ``row``, or None."""
        ...


class RecordWindow:
    """Unbatched records that were checked together.

    Args:
        config: the guard's configuration.
        records: the records.
        result: what the check found in them.
    """

    def __init__(self, config: GuardConfig, records: Sequence[Any], result: CheckResult) -> None:
        self._config, self._records, self.result = config, records, result

    def element(self, row: int) -> Any:
        return self._records[row]

    def key(self, row: int) -> Any:
        return key_in(self._records[row])


class BatchWindow:
    """A batch that was checked.

    Args:
        config: the guard's configuration.
        batch: the batch.
        result: what the check found in it.
    """

    def __init__(self, config: GuardConfig, batch: Any, result: CheckResult) -> None:
        self._config, self._batch, self.result = config, batch, result

    @cached_property
    def _columns(self) -> Any:
        """The batch, its labels that are lists as columns of objects."""
        batch = self._batch
        for path in self._config.guard.labels:
            batch = batches.with_label_columns(batch, path, self.result.num_records)
        return batch

    def element(self, row: int) -> Any:
        return batches.row(self._columns, row, self.result.num_records, self._config.guard.labels)

    def key(self, row: int) -> Any:
        return key_in(self._batch, row)


class ElementChecker:
    """Checks each element and updates the counts.

    Args:
        config: the guard's configuration.
        worker: gives the index of this Grain worker, 0 in the main process; called when the first bad record is
            written.
        stateless: whether elements may be read ahead or twice, so that the counts are not a place in a stream.

    Attributes:
        counts: the counts so far.
        ended: whether the end of the stream was reached.
        error: what stopped a coordinated guard, None while it runs.
    """

    def __init__(self, config: GuardConfig, worker: Callable[[], int] = lambda: 0, *, stateless: bool = False) -> None:
        self.config = config
        self._stateless = stateless
        self.counts = Counts()
        self._limit = InvalidRatioLimit(config)
        self._clean_record, self._clean_batch = config.guard.clean_record, config.guard.clean_batch
        self._has_keys = bool(config.names.sources)
        _ = config.guard.digest, config.passes_untouched  # worked out before training waits for a batch
        # Of other kinds a likely cause is worked out from invalid records alone.
        self._samples_clean = any(isinstance(label, ClassLabel) for label in config.guard.read_labels.values())
        self._worker = worker
        self._writer: QuarantineWriter | None = None
        self._last_log = -_LOG_EVERY_SECONDS
        self.ended = False
        self._warned: set[str] = set()
        self._checked_first = False
        self._first_example = ""
        self._reported: set[EventKind] = set()
        self.error: LabelGuardError | None = None  # that stopped a coordinated guard

    # Checking -----------------------------------------------------------------------------------------------------

    def check_records(self, records: Sequence[Any]) -> CheckResult:
        """Checks and counts records; bad ones are in the quarantine when this returns.

        Raises:
            InvalidLabelError: a record is bad and the policy is ``raise``.
            TooManyInvalidError: the share of bad records is above ``stop_above``.
            NoValidRecordsError: too many records in a row are bad.
            QuarantineError: a bad record cannot be written.
        """
        self._check_first(records, batched=False)
        result = _unreadable_apart(self.config.guard.check_records(records), records)
        self._count(result)
        if not (result.ok and result.skipped is None):
            self._handle(RecordWindow(self.config, records, result))
        else:
            self._check_clean(result)
        return result

    def check_batch(self, batch: Any, records: Callable[[], Sequence[Any]] | None = None) -> CheckResult:
        """Checks and counts a batch, as ``check_records``; ``records`` gives some of those that the guard stacked."""
        if records is None or self._checked_first:
            self._check_first([batch], batched=True)
        else:
            self._check_first(records(), batched=False)
        result = self.config.guard.check_batch(batch)
        self._limit.batch_size = max(self._limit.batch_size, result.num_records)  # the last batch may be short
        self._count(result)
        if not (result.ok and result.skipped is None):
            self._handle(BatchWindow(self.config, batch, result))
        else:
            self._check_clean(result, batch)
        return result

    def plain_labels(self, element: Any, size: int = 0) -> dict[str, Any]:
        """The labels of a record, or of a batch of ``size``, if it is plainly valid; else a full check must look."""
        counts, number = self.counts, size or 1
        seen = counts.seen - counts.earlier_seen
        if not self._checked_first or counts.window_seen + number >= WINDOW or seen < RUN <= seen + number:
            return {}
        labels = self._clean_batch(element, size) if size else self._clean_record(element)
        return {} if self._has_keys and key_in(element) is None else labels

    def count_plain(self, labels: dict[str, Any], size: int = 0) -> None:
        """Counts a record, or a batch of ``size``, with ``plain_labels``, which is delivered."""
        counts, number = self.counts, size or 1
        counts.seen += number
        counts.window_seen += number
        counts.delivered += number
        counts.consecutive_rejected = 0
        if self._samples_clean and (size or not counts.seen & 3):  # of single records, one in four
            sample = self._limit.sample
            if sample.wants_clean():
                sample.add_clean(labels, 1 if size else 4)

    def check_again(self, batch: Any, *, write: bool) -> CheckResult:
        """Checks a batch that was counted before; ``write``: under other rules, so what is bad now must be written."""
        result = self.config.guard.check_batch(batch)
        if write and not result.ok and self.config.quarantine is not None:
            self._write(BatchWindow(self.config, batch, result))
        return result

    def _check_clean(self, result: CheckResult, batch: Any = None) -> None:
        if self._samples_clean and self._limit.sample.wants_clean():
            columns = result.columns
            if columns is None:
                columns = self.config.guard.batch_columns(batch, result.num_records)
            self._limit.sample.add_clean({path: counted_values(found) for path, found in columns.items()})
        if self._limit.is_due(self.counts, result.num_records - result.num_padding):
            self._limit.check(self.counts, result, lambda: self._first_example)

    def _handle(self, window: Window) -> None:
        """Quarantines and logs what is bad, and raises where the policy or a limit says so."""
        if self.error is not None:
            self._limit.check_rejected(self.counts, window.result)
            return
        try:
            if not window.result.ok:
                self._report(window)
            self._limit.check(self.counts, window.result, lambda: self._example(window))
        except LabelGuardError as error:
            self.fail(error)

    def _report(self, window: Window) -> None:
        if self.config.quarantine is not None:
            self._write(window)
            self.counts.written += window.result.num_invalid
        self._log(window)
        self._first_example = self._first_example or self._example(window)
        if self.counts.invalid == window.result.num_invalid:
            self._emit("first_invalid", lambda: self._named(window.result.violations[0], window))
        if self.config.on_invalid == "raise":
            self._raise(window)
        if self._limit.sample.wants_dirty():
            self._limit.sample.add_dirty(self.config.guard.read_labels, window.result, self.counts.seen)

    def fail(self, error: LabelGuardError) -> None:
        """Raises ``error``; a coordinated guard keeps it, and from then on only checks.

        Raises:
            LabelGuardError: ``error``.
        """
        try:
            self._emit("stopped", lambda: error)
        except Exception as failed:  # an alert that fails must not hide why the run stops
            error.add_note(f"on_event raised {type(failed).__name__}: {failed}")
        if not self.config.coordinated:
            raise error
        self.error = self.error or error

    def _emit(self, event: EventKind, message: Callable[[], object]) -> None:
        repeated = event in self._reported and event != "ended"
        self._reported.add(event)
        if self.config.on_event is not None and not repeated:
            guard = self.config.guard
            counts = self.counts  # records of the batch at hand have not left yet
            pending = counts.seen - counts.delivered - counts.quarantined - counts.skipped - counts.remainder
            metrics = self.summary(pending).as_metrics(prefix="")
            name, split = guard.schema.name, guard.split or ""
            call_on_event(
                self.config.on_event,
                {"event": event, "dataset": name, "split": split, "message": str(message()), "metrics": metrics},
            )

    def _count(self, result: CheckResult) -> None:
        counts, number = self.counts, result.num_records - result.num_padding
        counts.seen += number
        counts.padding += result.num_padding
        counts.window_seen += number
        if result.ok and result.skipped is None:
            counts.consecutive_rejected = 0
            return
        rejected = result.num_invalid + (0 if result.skipped is None else len(result.skipped))
        counts.consecutive_rejected = counts.consecutive_rejected + rejected if rejected == number else 0
        counts.invalid += result.num_invalid
        counts.window_invalid += result.num_invalid
        for rule, broken in result.counts.items():
            counts.by_rule[rule] += broken

    def _example(self, window: Window) -> str:
        return "" if window.result.ok else f"; for example {self._named(window.result.violations[0], window)}"

    def _named(self, violation: Violation, window: Window) -> Violation:
        named = dataclasses.replace(violation, record=self._name(window, violation.row))
        return named if self.config.quarantine is None else self.config.quarantine.visible(named)

    def _name(self, window: Window, row: int) -> str | None:
        """The record's name, as in an audit: by the schema's ``record_key``, else by its position."""
        path = self.config.guard.schema.record_key
        own = None if path is None else own_name(window.element(row), path)
        return self.config.names.name(window.key(row)) if own is None else own

    # Quarantine and log -------------------------------------------------------------------------------------------

    def _write(self, window: Window) -> None:
        bad: list[BadRecord] = []
        for row in window.result.invalid_rows.tolist():
            element = batches.without_key(window.element(row), KEY)
            labels = {path: tree.get(element, path) for path in self.config.guard.features}
            kept = None if reason_in(element) is not None else element
            position = self.config.names.position(window.key(row))
            bad.append(BadRecord(self._name(window, row), kept, labels, window.result.of_row(row), position))
        size = self._limit.batch_size or window.result.num_records
        rows = self.counts.delivered + self.counts.padding - window.result.num_padding
        self._open_writer().append(bad, step=None if self._stateless else rows // size)

    def _open_writer(self) -> QuarantineWriter:
        config, guard = self.config, self.config.guard
        if self._writer is None and config.quarantine is not None:
            origin = Origin(
                dataset=guard.schema.name,
                schema_version=guard.schema.version,
                schema_digest=guard.digest,
                split=guard.split,
                view=guard.view,
                source=config.source_id,
            )
            self._writer = QuarantineWriter(
                config.quarantine, origin, process_index=process_index_of(config.process_index), worker=self._worker()
            )
        if self._writer is None:
            raise UsageError("no quarantine= to write to")
        return self._writer

    def _log(self, window: Window) -> None:
        now = time.monotonic()
        if now - self._last_log < _LOG_EVERY_SECONDS:
            return
        self._last_log = now
        first = window.result.of_row(int(window.result.invalid_rows[0]))[0]
        logger.warning(
            "%s: bad label: %s (on_invalid=%s; %d of %s bad so far%s)",
            self.config.guard.schema.name, self._named(first, window), self.config.on_invalid,
            self.counts.invalid, counted(self.counts.seen, "record"), _READ_AHEAD if self._stateless else "",
        )  # fmt: skip

    def _raise(self, window: Window) -> None:
        result = window.result
        named = tuple(self._named(violation, window) for violation in result.violations)
        shown = "\n  ".join(str(violation) for violation in named[:_MAX_SHOWN])
        after = next_steps(self.config, None if self._stateless else self.counts, self._limit.batch_size)
        raise InvalidLabelError(
            f"{self.config.guard.schema.name}: {result.num_invalid} of {counted(result.num_records, 'record')} "
            f"{agreed(result.num_invalid, 'is', 'are')} bad "
            f"({', '.join(f'{rule} {count}' for rule, count in result.counts.items())}):\n  {shown}\n{after}",
            named,
            result.counts,
        )

    def end(self, pending: int = 0) -> None:
        """Checks the share at the end of the stream, at any count, and logs the summary."""
        if self.ended or self.error is not None:
            return
        try:
            self._limit.check_end(self.counts, lambda: self._first_example)
        except LabelGuardError as error:
            self.fail(error)
            return
        self.ended = True
        level, summary = logging.WARNING if self.counts.invalid else logging.INFO, self.summary(pending)
        logger.log(level, "%s: end of stream: %s", self.config.guard.schema.name, summary)
        self._emit("ended", lambda: summary)

    # Counts -------------------------------------------------------------------------------------------------------

    def _check_first(self, elements: Sequence[Any], *, batched: bool) -> None:
        if self.error is not None:
            return
        if self._checked_first:
            require_key(self.config, elements[0])
        else:
            self._checked_first = check_first_elements(self.config, elements, batched)

    def stop_if_all_invalid(self, result: CheckResult) -> None:
        """Stops a guard without a state where none of its first records is valid.

        Raises:
            TooManyInvalidError: there are at least 32 of them.
        """
        self._limit.check_all_invalid(self.counts, lambda: f"; for example {result.violations[0]}")

    def restart(self, counts: Counts, *, retried: bool = False) -> None:
        """Goes on from restored counts; ``retried``: of a batch that is tried again after an error."""
        if self.counts.seen and not counts.seen and not retried and "repeat" not in self._warned:
            self._warned.add("repeat")
            logger.warning(
                "%s: the iterator was set back to its start, so its counts restart: %s. If RepeatIterDataset does this "
                "at each epoch, use MapDataset.repeat instead, whose counts go on",
                self.config.guard.schema.name, self.summary(),
            )  # fmt: skip
        if counts is not self.counts and not retried:
            self._limit = InvalidRatioLimit(self.config, counts.seen)  # what comes next has another place in the stream
        self.counts = counts
        self.ended, self.error = False, None
        # A resumed run may begin at a record that lacks its label.
        self._checked_first |= counts.seen > counts.invalid

    def close(self) -> None:
        """Closes the part file, if one was opened."""
        if self._writer is not None:
            self._writer.close()

    def summary(self, pending: int = 0) -> Summary:
        """The counts so far; ``pending`` records were read ahead."""
        return summary_of(self.counts, pending)


def _unreadable_apart(result: CheckResult, records: Sequence[Any]) -> CheckResult:
    """``result`` with LG120 for records that could not be read, instead of their missing labels."""
    if result.ok:
        return result
    reasons = {row: reason for row in result.invalid_rows.tolist() if (reason := reason_in(records[row])) is not None}
    if not reasons:
        return result
    rows = np.array(list(reasons), np.intp)
    faults = [
        RuleViolations(UNREADABLE, "LG120", "a readable record", rows, np.ones_like(rows), list(reasons.values()))
    ]
    for fault in result.faults:
        keep = ~np.isin(fault.rows, rows)
        if keep.any():
            values = (
                fault.values
                if isinstance(fault.values, str)
                else [v for v, k in zip(fault.values, keep, strict=True) if k]
            )
            faults.append(dataclasses.replace(fault, rows=fault.rows[keep], counts=fault.counts[keep], values=values))
    return CheckResult(result.num_records, tuple(faults), result.skipped, result.padding, result.columns)


def leaving(result: CheckResult, *, padding: bool = True) -> Rows:
    """int[k], ascending: the rows that break a rule or are to be skipped, and those of padding unless ``padding``."""
    found = [result.invalid_rows, result.skipped, None if padding else result.padding]
    rows = [part for part in found if part is not None and len(part)]
    return np.unique(np.concatenate(rows)) if len(rows) > 1 else rows[0] if rows else result.invalid_rows
