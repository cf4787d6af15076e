"""Inspects records as they stream by: check, count, quarantine, log, stop. One for each iterator."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from label_guard.check.columns import Column
from label_guard.check.result import CheckResult, RuleViolations
from label_guard.core import tree
from label_guard.diagnosis.label import FaultSummary
from label_guard.errors import InvalidLabelError, NoValidRecordsError, TooManyInvalidError, UsageError
from label_guard.pipeline import batching as batches
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.counts import Counts, Summary, summary_of
from label_guard.pipeline.processes import process_count, process_index_of
from label_guard.pipeline.record_keys import KEY, UNREADABLE, key_in, own_name, reason_in
from label_guard.quarantine.writer import BadRecord, Origin, QuarantineWriter
from label_guard.rules.findings import Violation

logger = logging.getLogger("label_guard")

_FIRST_BATCH = 32  # a first full batch of at least this many, all bad, stops the run at once
_RUN = 1_000  # records after which the share over the run is judged
_WINDOW = 10_000  # records of each window judged by itself, so that late damage is not averaged away
_LOG_EVERY_SECONDS = 60.0
_MAX_REJECTED = 100_000
_DIRTY_KEPT = 4  # elements whose labels are remembered for the diagnosis; large masks weigh megabytes
_told: set[str] = set()


def announce(plan: GuardConfig, *, endless: bool = False) -> None:
    """Say what a user should know before the first element.

    Args:
        plan: what the guard does.
        endless: whether the stream repeats without end.
    """
    if plan.on_invalid == "report":
        logger.warning('%s: on_invalid="report": bad labels are DELIVERED as they are', plan.guard.schema.name)
    if plan.refills and not endless and process_count() > 1 and "hosts" not in _told:
        _told.add("hosts")
        logger.warning(
            'on_invalid="%s" on a stream that ends, with %d JAX processes: hosts with more bad records end earlier '
            'and the others wait in a collective forever. Use on_invalid="mask", or repeat the dataset and stop at '
            "a step count",
            plan.on_invalid, process_count(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Judged:
    """One element that was checked, batch or window of records.

    Attributes:
        result: what the check found.
        element_of: the record of a row.
        key_of: the travelling key of a row, or None.
        columns_of: its labels, for the diagnosis.
    """

    result: CheckResult
    element_of: Callable[[int], Any]
    key_of: Callable[[int], Any]
    columns_of: Callable[[], dict[str, list[Column]]]


class ElementChecker:
    """Judges what streams by and keeps the books.

    Args:
        plan: the stage's plan.
        worker: tells the index of this Grain worker, 0 in the main process; asked when the first bad record is written.
    """

    def __init__(self, plan: GuardConfig, worker: Callable[[], int] = lambda: 0) -> None:
        self.plan = plan
        self.counts = Counts()
        self._worker = worker
        self._writer: QuarantineWriter | None = None
        self._last_log = -_LOG_EVERY_SECONDS
        self._ended = False
        self._key_warned = False
        self._dirty: deque[tuple[dict[str, list[Column]], CheckResult]] = deque(maxlen=_DIRTY_KEPT)

    # Judging ------------------------------------------------------------------------------------------------------

    def inspect_records(self, records: Sequence[Any]) -> CheckResult:
        """Judge and count records; bad ones are in the quarantine when this returns.

        Raises:
            InvalidLabelError: a record is bad and the policy is ``raise``.
            TooManyInvalidError: the share of bad records is above ``stop_above``.
            NoValidRecordsError: too many records in a row are bad.
            QuarantineError: a bad record cannot be written.
        """
        self._require_key(records[0])
        result = _unreadable_apart(self.plan.guard.check_records(records), records)
        judged = _Judged(
            result,
            element_of=records.__getitem__,
            key_of=lambda row: key_in(records[row]),
            columns_of=lambda: self.plan.guard.record_columns(records),
        )
        return self._inspect(result, judged)

    def inspect_batch(self, batch: Any) -> CheckResult:
        """Judge and count a batch; as ``inspect_records``."""
        self._require_key(batch)
        result = self.plan.guard.check_batch(batch)
        return self._inspect(result, None if result.ok else self._judged(batch, result))

    def judge_again(self, batch: Any, *, write: bool) -> CheckResult:
        """Judge a batch that was counted before; ``write``: under other rules, so what is bad now must be written."""
        result = self.plan.guard.check_batch(batch)
        if write and not result.ok and self.plan.quarantine is not None:
            self._write(self._judged(batch, result))
        return result

    def _judged(self, batch: Any, result: CheckResult) -> _Judged:
        size = result.num_records
        return _Judged(
            result,
            element_of=lambda row: batches.row(batch, row, size),
            key_of=lambda row: key_in(batch, row),
            columns_of=lambda: self.plan.guard.batch_columns(batch, size),
        )

    def _inspect(self, result: CheckResult, judged: _Judged | None) -> CheckResult:
        """Count, keep, tell and stop; ``judged`` may be None where nothing is wrong."""
        counts = self.counts
        counts.seen += result.num_records
        counts.window_seen += result.num_records
        gone = result.num_invalid + (0 if result.skipped is None else len(result.skipped))
        counts.rejected_in_a_row = counts.rejected_in_a_row + gone if gone == result.num_records else 0
        if not result.ok and judged is not None:
            self._count(result)
            if self.plan.quarantine is not None:
                self._write(judged)
            self._log(judged)
            if self.plan.on_invalid == "raise":
                self._raise(judged)
            self._dirty.append((judged.columns_of(), result))
        if gone or counts.window_seen >= _WINDOW or counts.seen - result.num_records < _RUN <= counts.seen:
            self._judge_share(result, judged)
        return result

    def _count(self, result: CheckResult) -> None:
        counts = self.counts
        invalid = result.num_invalid
        counts.invalid += invalid
        counts.window_invalid += invalid
        for rule, number in result.counts.items():
            counts.by_rule[rule] += number

    def _named(self, violation: Violation, judged: _Judged) -> Violation:
        return dataclasses.replace(violation, record=self._name(judged, violation.row))

    def _name(self, judged: _Judged, row: int) -> str | None:
        """As an audit calls the record: by the schema's ``record_key``, else by where it stands."""
        path = self.plan.guard.schema.record_key
        own = None if path is None else own_name(judged.element_of(row), path)
        return self.plan.names.name(judged.key_of(row)) if own is None else own

    # Writing and telling ------------------------------------------------------------------------------------------

    def _write(self, judged: _Judged) -> None:
        bad: list[BadRecord] = []
        for row in judged.result.invalid_rows.tolist():
            element = batches.without_key(judged.element_of(row), KEY)
            labels = {path: tree.get(element, path) for path in self.plan.guard.labels}
            kept = None if reason_in(element) is not None else element
            bad.append(BadRecord(self._name(judged, row), kept, labels, judged.result.of_row(row)))
        self._open_writer().append(bad)

    def _open_writer(self) -> QuarantineWriter:
        plan, guard = self.plan, self.plan.guard
        if self._writer is None and plan.quarantine is not None:
            origin = Origin(
                dataset=guard.schema.name,
                schema_version=guard.schema.version,
                schema_digest=guard.digest,
                split=guard.split,
                view=guard.view,
                source=plan.source_id,
            )
            self._writer = QuarantineWriter(
                plan.quarantine, origin, process_index=process_index_of(plan.process_index), worker=self._worker()
            )
        if self._writer is None:
            raise UsageError("no quarantine= to write to")
        return self._writer

    def _log(self, judged: _Judged) -> None:
        now = time.monotonic()
        if now - self._last_log < _LOG_EVERY_SECONDS:
            return
        self._last_log = now
        first = judged.result.of_row(int(judged.result.invalid_rows[0]))[0]
        logger.warning(
            "%s: bad label: %s (on_invalid=%s; %d of %d records bad so far)",
            self.plan.guard.schema.name, self._named(first, judged), self.plan.on_invalid,
            self.counts.invalid, self.counts.seen,
        )  # fmt: skip

    def _raise(self, judged: _Judged) -> None:
        result = judged.result
        named = tuple(self._named(violation, judged) for violation in result.violations)
        told = "\n  ".join(str(violation) for violation in named[:10])
        raise InvalidLabelError(
            f"{self.plan.guard.schema.name}: {result.num_invalid} of {result.num_records} records are bad "
            f"({', '.join(f'{rule} {count}' for rule, count in result.counts.items())}):\n  {told}",
            named,
            result.counts,
        )

    # Stopping -----------------------------------------------------------------------------------------------------

    def _judge_share(self, result: CheckResult, judged: _Judged | None) -> None:
        counts = self.counts

        def example() -> str:
            if result.ok or judged is None:
                return ""
            return f"; for example {self._named(result.violations[0], judged)}"

        whole = result.num_invalid == result.num_records == counts.seen
        if whole and counts.seen >= max(_FIRST_BATCH, self.plan.batch_size or 0):
            self._stop_if(counts.invalid, counts.seen, "the whole first batch", example)
        if counts.seen >= _RUN:
            self._stop_if(counts.invalid, counts.seen, "over the run", example)
        if counts.window_seen >= _WINDOW:
            self._stop_if(counts.window_invalid, counts.window_seen, f"of a window of {_WINDOW:,}", example)
            counts.window_seen = counts.window_invalid = 0
        most = max(_MAX_REJECTED, 100 * (self.plan.batch_size or result.num_records))
        if self.plan.refills and counts.rejected_in_a_row >= most:
            raise NoValidRecordsError(
                f"{self.plan.guard.schema.name}: {counts.rejected_in_a_row:,} records in a row are bad or unlabeled"
                f"{example()}{self._diagnosis()}. Check the schema against the data with label-guard audit"
            )

    def _stop_if(self, invalid: int, seen: int, over: str, example: Callable[[], str] = str) -> None:
        limit = self.plan.stop_above
        if limit is None or invalid <= limit * seen:
            return
        raise TooManyInvalidError(
            f"{self.plan.guard.schema.name}: {invalid:,} of {seen:,} records ({over}) are bad: {invalid / seen:.1%}, "
            f"more than stop_above={limit}{example()}{self._diagnosis()}. Mend the data or the schema, or raise "
            "stop_above"
        )

    def _diagnosis(self) -> str:
        """The likely cause in words, told from the last dirty elements."""
        labels = self.plan.guard.labels
        faults = FaultSummary()
        for columns, result in self._dirty:
            faults.add(labels, columns, result)
        likely = faults.diagnosis(labels)
        return f". Likely cause: {likely}" if likely else ""

    def end(self, pending: int = 0) -> None:
        """The stream ended: judge the share at any count, and say what became of every record."""
        if self._ended:
            return
        counts = self.counts
        self._stop_if(counts.invalid, counts.seen, "over the whole stream")
        self._ended = True
        level = logging.WARNING if counts.invalid else logging.INFO
        logger.log(level, "%s: end of stream: %s", self.plan.guard.schema.name, self.summary(pending))

    # Bookkeeping --------------------------------------------------------------------------------------------------

    def _require_key(self, element: Any) -> None:
        if self._key_warned or not self.plan.names.sources or key_in(element) is not None:
            return
        message = f"record keys were attached upstream but a transform lost the feature {KEY!r}; pass it on in the map"
        if self.plan.key_required:
            raise UsageError(message)
        self._key_warned = True
        logger.warning("%s. Quarantined records will be known by their content only", message)

    def restart(self, counts: Counts) -> None:
        """Go on from restored counts."""
        self.counts = counts
        self._ended = False

    def close(self) -> None:
        """Close the part file, if one was opened."""
        if self._writer is not None:
            self._writer.close()

    def summary(self, pending: int = 0) -> Summary:
        """What became of the records so far."""
        return summary_of(self.counts, pending)


def _unreadable_apart(result: CheckResult, records: Sequence[Any]) -> CheckResult:
    """``result`` with LG120 for records that could not be read, in place of their missing labels."""
    if result.ok:
        return result
    reasons = {int(row): reason for row in result.invalid_rows if (reason := reason_in(records[row])) is not None}
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
    return CheckResult(result.num_records, tuple(faults), result.skipped)
