"""The limit on the share of invalid records: when it is checked, and the error that says why the run stopped."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from label_guard.check.result import CheckResult
from label_guard.core.plural import agreed, counted
from label_guard.diagnosis.stream import StreamSample
from label_guard.errors import NoValidRecordsError, TooManyInvalidError
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.counts import Counts

FIRST_BATCH = 32  # a first full batch of at least this many records, all invalid, stops the run at once
RUN = 1_000  # records after which the share over the run is checked
WINDOW = 10_000  # records of each window that is checked by itself, so that late damage is not averaged away
MAX_REJECTED = 100_000  # records rejected in a row before a refill gives up

Example = Callable[[], str]  # makes the text of an example, only when it is needed


class InvalidRatioLimit:
    """Stops a run with too many invalid records, and names the likely cause.

    Args:
        config: the guard's configuration; ``stop_above`` is the limit.
        start: records of the run before the first that is sampled.

    Attributes:
        batch_size: records of a full batch; 0 for single records, and until the first batch of a stream of batches.
        sample: what the stream held so far, from which the likely cause is worked out.
    """

    def __init__(self, config: GuardConfig, start: int = 0) -> None:
        self._config = config
        self.batch_size = config.batch_size or 0
        self.sample = StreamSample(start)

    def is_due(self, counts: Counts, num_records: int) -> bool:
        """Whether counts that grew by ``num_records`` without a rejected record reached a size that is checked."""
        seen = counts.limited[1]
        return counts.window_seen >= WINDOW or seen - num_records < RUN <= seen

    def check(self, counts: Counts, result: CheckResult, example: Example) -> None:
        """Checks the share of invalid records in a first batch, over the run, and over a window.

        Args:
            counts: counts of the run, the batch included; a full window is reset.
            result: check of the batch.
            example: describes the first invalid record; called only for an error.

        Raises:
            TooManyInvalidError: a share is above the limit.
            NoValidRecordsError: too many records in a row were rejected.
        """
        config = self._config
        invalid, seen = counts.limited
        if invalid == seen >= max(FIRST_BATCH, config.batch_size or 0):
            self._stop_if(counts, "the whole first batch", example)
        if seen >= RUN:
            self._stop_if(counts, "over the run", example)
        if counts.window_seen >= WINDOW:
            self._stop_if(counts, f"of a window of {WINDOW:,}", example, window=True)
            counts.window_seen = counts.window_invalid = 0
        self.check_rejected(counts, result, MAX_REJECTED, example)

    def check_rejected(self, counts: Counts, result: CheckResult, least: int = 0, example: Example = str) -> None:
        """Limits how many records in a row a refill may reject: as many as 100 batches hold, and at least ``least``.

        Args:
            counts: counts of the run.
            result: check of the last batch.
            least: smallest limit, in records.
            example: describes the first invalid record; called only for an error.

        Raises:
            NoValidRecordsError: there were more.
        """
        config = self._config
        most = max(least, 100 * (config.batch_size or result.num_records))
        if config.refills and counts.consecutive_rejected >= most:
            raise NoValidRecordsError(
                f"{config.guard.schema.name}: {counted(counts.consecutive_rejected, 'record')} in a row "
                f"{agreed(counts.consecutive_rejected, 'is', 'are')} bad or unlabeled{example()}{self._cause(counts)}. "
                f"{next_steps(config, counts, self.batch_size)}"
            )

    def check_end(self, counts: Counts, example: Example) -> None:
        """Checks the share over a whole stream, however short.

        Raises:
            TooManyInvalidError: it is above the limit.
        """
        self._stop_if(counts, "over the whole stream", example)

    def check_all_invalid(self, counts: Counts, example: Example) -> None:
        """Checks the first records of a stage that has no state; to be called while all of them are invalid.

        Raises:
            TooManyInvalidError: there are at least 32.
        """
        if counts.invalid >= FIRST_BATCH:
            raise TooManyInvalidError(
                f"{self._config.guard.schema.name}: all of the first {counts.invalid:,} records are bad{example()}"
                f"{self._cause(counts)}. Fix the data or the schema, or pass stop_above=None to go on. "
                f"{next_steps(self._config)}"
            )

    def _stop_if(self, counts: Counts, over: str, example: Example, *, window: bool = False) -> None:
        invalid, seen = (counts.window_invalid, counts.window_seen) if window else counts.limited
        limit = self._config.stop_above
        if limit is None or invalid <= limit * seen:
            return
        raise TooManyInvalidError(
            f"{self._config.guard.schema.name}: {invalid:,} of {counted(seen, 'record')} ({over}) "
            f"{agreed(invalid, 'is', 'are')} bad: {invalid / seen:.1%}, more than "
            f"stop_above={limit}{example()}{self._cause(counts)}. Fix the data or the schema, or raise stop_above. "
            f"{next_steps(self._config, counts, self.batch_size)}"
        )

    def _cause(self, counts: Counts) -> str:
        if self._config.quarantine is not None and self._config.quarantine.payload == "none":
            return ""  # it would name values
        likely = self.sample.diagnosis(self._config.guard.read_labels, counts.seen)
        how = ", with counts estimated from a sample of the run" if self.sample.is_estimate else ""
        return f". Likely cause{how}: {likely}" if likely else ""


def next_steps(config: GuardConfig, counts: Counts | None = None, batch_size: int = 0) -> str:
    """Where a stopped run was, where its bad records are, and the command to look at them.

    Args:
        config: the guard's configuration.
        counts: of the stream; None where elements may be read ahead, so that the counts are not a place in it.
        batch_size: records of a full batch, 0 for single records.

    >>> from label_guard.pipeline.options import resolve_options
    >>> from label_guard.schema.labels import ClassLabel
    >>> config = resolve_options({"y": ClassLabel(num_classes=3)}, quarantine="runs/q")
    >>> next_steps(config, Counts(delivered=8), batch_size=4)
    'Batch 2 of this run; the bad records are in runs/q: run label-guard quarantine summary runs/q'
    """
    schema = "" if config.schema_file is None else f" --schema {shlex.quote(config.schema_file)}"
    place = "" if counts is None else f"{_place(counts, batch_size)} of this run; "
    if config.quarantine is None:
        target = "SCHEMA" if config.schema_file is None else _argument(config.schema_file)
        after = f"{place}to check all records run label-guard audit {target} --source URI"
    else:
        folder = config.quarantine.url
        after = (
            f"{place}the bad records are in {folder}: run label-guard quarantine summary {_argument(folder)}{schema}"
        )
    return after[0].upper() + after[1:]


def _argument(path: str) -> str:
    """``path`` as a shell and a command take it: one that begins with a dash is not taken for an option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def _place(counts: Counts, batch_size: int) -> str:
    rows = counts.delivered + counts.padding
    return f"Batch {rows // batch_size:,}" if batch_size else f"Record {counts.seen:,}"
