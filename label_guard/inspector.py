"""Inspects records as they stream by: check, count, quarantine, log, stop. One for each iterator."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from label_guard import batches, tree
from label_guard.counts import Counts, Summary, summary_of
from label_guard.errors import InvalidLabelError, NoValidRecordsError, TooManyInvalidError, UsageError
from label_guard.findings import CheckResult
from label_guard.keys import KEY, key_in
from label_guard.plan import GuardPlan, process_index_of
from label_guard.quarantine import BadRecord, Origin, QuarantineWriter

logger = logging.getLogger("label_guard")

_FIRST_BATCH = 32  # a first full batch of at least this many, all bad, stops the run at once
_RUN = 1_000  # records after which the share over the run is judged
_WINDOW = 10_000  # records of each window judged by itself, so that late damage is not averaged away
_LOG_EVERY_SECONDS = 60.0
_MAX_REJECTED = 100_000


class Inspector:
    """Judges what streams by and keeps the books.

    Args:
        plan: the stage's plan.
        worker: index of this Grain worker, 0 in the main process.
    """

    def __init__(self, plan: GuardPlan, worker: int = 0) -> None:
        self.plan = plan
        self.counts = Counts()
        self._worker = worker
        self._writer: QuarantineWriter | None = None
        self._last_log = -_LOG_EVERY_SECONDS
        self._ended = False
        self._key_warned = False

    def check_records(self, records: Sequence[Any]) -> CheckResult:
        """Judge records without counting them."""
        return self.plan.guard.check_records(records)

    def check_batch(self, batch: Any) -> CheckResult:
        """Judge a batch without counting it."""
        return self.plan.guard.check_batch(batch)

    def inspect_records(self, records: Sequence[Any]) -> CheckResult:
        """Judge and count records; bad ones are in the quarantine when this returns.

        Raises:
            InvalidLabelError: a record is bad and the policy is ``raise``.
            TooManyInvalidError: the share of bad records is above ``stop_above``.
            QuarantineError: a bad record cannot be written.
        """
        self._require_key(records[0])
        return self._inspect(self.check_records(records), records.__getitem__, lambda row: key_in(records[row]))

    def inspect_batch(self, batch: Any) -> CheckResult:
        """Judge and count a batch; as ``inspect_records``."""
        self._require_key(batch)
        result = self.check_batch(batch)
        return self._inspect(result, lambda row: batches.row(batch, row), lambda row: key_in(batch, row))

    def _inspect(
        self, result: CheckResult, element_of: Callable[[int], Any], key_of: Callable[[int], Any]
    ) -> CheckResult:
        counts = self.counts
        counts.seen += result.num_records
        counts.window_seen += result.num_records
        if result.ok:
            counts.rejected_in_a_row = 0
        else:
            self._count(result)
            self._handle(result, element_of, key_of)
        if not result.ok or counts.window_seen >= _WINDOW or counts.seen - result.num_records < _RUN <= counts.seen:
            self._judge_share(result)
        return result

    def _count(self, result: CheckResult) -> None:
        counts = self.counts
        invalid = result.num_invalid
        counts.invalid += invalid
        counts.window_invalid += invalid
        counts.rejected_in_a_row = counts.rejected_in_a_row + invalid if invalid == result.num_records else 0
        for rule, number in result.counts.items():
            counts.by_rule[rule] += number

    def _handle(self, result: CheckResult, element_of: Callable[[int], Any], key_of: Callable[[int], Any]) -> None:
        first = int(result.invalid_rows[0])
        name = self.plan.names.name(key_of(first))
        if self.plan.quarantine is not None:
            try:
                self._write(result, element_of, key_of)
            except BaseException:
                self.counts.refused += result.num_records
                raise
        self._log(result, first, name)
        if self.plan.on_invalid == "raise":
            self.counts.refused += result.num_records
            self._raise(result, key_of)

    def _write(self, result: CheckResult, element_of: Callable[[int], Any], key_of: Callable[[int], Any]) -> None:
        bad: list[BadRecord] = []
        for row in result.invalid_rows.tolist():
            element = batches.without_key(element_of(row), KEY)
            labels = {path: tree.get(element, path) for path in self.plan.guard.labels}
            bad.append(BadRecord(self.plan.names.name(key_of(row)), element, labels, result.of_row(row)))
        self._open_writer().append(bad)

    def _open_writer(self) -> QuarantineWriter:
        if self._writer is None:
            plan, guard = self.plan, self.plan.guard
            assert plan.quarantine is not None
            origin = Origin(
                dataset=guard.schema.name,
                schema_version=guard.schema.version,
                schema_digest=guard.digest,
                split=guard.split,
                view=guard.view,
                source=plan.source_id,
            )
            self._writer = QuarantineWriter(
                plan.quarantine, origin, process_index=process_index_of(plan), worker=self._worker
            )
        return self._writer

    def _log(self, result: CheckResult, first: int, name: str | None) -> None:
        now = time.monotonic()
        if now - self._last_log < _LOG_EVERY_SECONDS:
            return
        self._last_log = now
        where = f"record {name}" if name is not None else f"row {first} of a batch"
        logger.warning(
            "%s: bad label in %s: %s (policy %s; %d bad of %d records so far)",
            self.plan.guard.schema.name, where, result.of_row(first)[0], self.plan.on_invalid,
            self.counts.invalid, self.counts.seen,
        )  # fmt: skip

    def _raise(self, result: CheckResult, key_of: Callable[[int], Any]) -> None:
        named = tuple(
            dataclasses.replace(violation, record=self.plan.names.name(key_of(violation.row)))
            for violation in result.violations
        )
        told = "\n  ".join(str(violation) for violation in named[:10])
        raise InvalidLabelError(
            f"{self.plan.guard.schema.name}: {result.num_invalid} of {result.num_records} records are bad "
            f"({', '.join(f'{rule} {count}' for rule, count in result.counts.items())}):\n  {told}",
            named,
            result.counts,
        )

    def _judge_share(self, result: CheckResult) -> None:
        counts, limit = self.counts, self.plan.stop_above
        if limit is not None:
            first = counts.seen == result.num_records
            if first and result.num_records >= _FIRST_BATCH and result.num_invalid == result.num_records:
                self._stop(result, counts.invalid, counts.seen, "the whole first batch is bad")
            if counts.seen >= _RUN and counts.invalid > limit * counts.seen:
                self._stop(result, counts.invalid, counts.seen, "over the run")
            if counts.window_seen >= _WINDOW and counts.window_invalid > limit * counts.window_seen:
                self._stop(result, counts.window_invalid, counts.window_seen, f"over the last {_WINDOW:,} records")
        if counts.window_seen >= _WINDOW:
            counts.window_seen = counts.window_invalid = 0
        most = max(_MAX_REJECTED, 100 * (self.plan.batch_size or result.num_records))
        if self.plan.refills and counts.rejected_in_a_row >= most:
            raise NoValidRecordsError(
                f"{self.plan.guard.schema.name}: {counts.rejected_in_a_row:,} records in a row are bad; "
                f"the last: {result.violations[0]}. Check the schema against the data with label-guard audit"
            )

    def _stop(self, result: CheckResult | None, invalid: int, seen: int, over: str) -> None:
        if result is not None and self.plan.on_invalid != "raise":
            self.counts.refused += result.num_records
        limit = self.plan.stop_above
        example = f"; for example {result.violations[0]}" if result is not None and not result.ok else ""
        raise TooManyInvalidError(
            f"{self.plan.guard.schema.name}: {invalid:,} of {seen:,} records are bad ({invalid / max(1, seen):.1%}) "
            f"{over}, more than stop_above={limit}{example}. Mend the data or the schema, or raise stop_above"
        )

    def end(self, pending: int = 0) -> None:
        """The stream ended: judge the share at any count, and say what became of every record."""
        if self._ended:
            return
        self._ended = True
        counts = self.counts
        level = logging.WARNING if counts.invalid else logging.INFO
        logger.log(level, "%s: end of stream: %s", self.plan.guard.schema.name, summary_of(counts, pending))
        if self.plan.stop_above is not None and counts.invalid > self.plan.stop_above * max(1, counts.seen):
            self._stop(None, counts.invalid, counts.seen, "over the whole stream")

    def _require_key(self, element: Any) -> None:
        if self._key_warned or not self.plan.names.sources or key_in(element) is not None:
            return
        message = f"record keys were attached upstream but a transform lost the feature {KEY!r}; pass it on in the map"
        if self.plan.key_required:
            raise UsageError(message)
        self._key_warned = True
        logger.warning("%s. Quarantined records will be known by their content only", message)

    def close(self) -> None:
        """Close the part file, if one was opened."""
        if self._writer is not None:
            self._writer.close()

    def restart(self, counts: Counts) -> None:
        """Go on from restored counts."""
        self.counts = counts
        self._ended = False

    def summary(self, pending: int = 0) -> Summary:
        """What became of the records so far."""
        return summary_of(self.counts, pending)
