"""Multi-host stopping: reports a guard's error to the training loop instead of raising it inside a step."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, cast

import numpy as np

from label_guard import errors
from label_guard.core import tree
from label_guard.errors import LabelGuardError, UsageError
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.copies import copied
from label_guard.pipeline.emit import finalize_batch, mask_batch, stack_records
from label_guard.pipeline.state import guard_states


class StopReason(IntEnum):
    """Why a coordinated guard stopped, as the number that a state and a collective hold."""

    NONE = 0
    InvalidLabelError = 1
    TooManyInvalidError = 2
    NoValidRecordsError = 3
    QuarantineError = 4
    UsageError = 5
    OTHER = 6

    @classmethod
    def of(cls, error: LabelGuardError | None) -> StopReason:
        """The reason that ``error`` is."""
        return cls.NONE if error is None else cls.__members__.get(type(error).__name__, cls.OTHER)

    def error(self, message: str) -> LabelGuardError:
        """An error of this kind."""
        kind: Any = getattr(errors, self.name, LabelGuardError)
        return cast("LabelGuardError", kind(message))


class CoordinatedStop:
    """The error that stopped a stream, and the masked batch that is delivered from then on.

    Attributes:
        error: what stopped the stream, None while it runs.
        batch: the last batch delivered; after the stop, with masks that are False everywhere.
    """

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._pulled: list[Any] = []
        self.error: LabelGuardError | None = None
        self.batch: Any = None

    def saw(self, elements: list[Any]) -> None:
        """Keeps the elements read for a first batch: a placeholder is made of them if none is delivered."""
        if self.batch is None and elements:
            self._pulled = list(elements)

    def delivered(self, batch: Any, *, shared: bool) -> None:
        """Keeps the last good batch; a copy of one that is ``shared`` with the loader, which may fill it again."""
        self.batch = copied(batch) if shared else batch

    def mask(self, error: LabelGuardError, size: int, *, batched: bool) -> None:
        """Keeps ``error`` for the loop and masks the batch that is delivered from now on.

        Args:
            error: what stops this host.
            size: number of records of a batch to mask.
            batched: whether elements are batches.

        Raises:
            LabelGuardError: ``error``, where no batch was seen that could be delivered.
        """
        if self.batch is None:
            try:
                self.batch = _placeholder_batch(self._config, self._pulled, size, batched=batched)
            except UsageError:
                raise error from None
        self.batch = _mask_all(self._config, self.batch)
        self.error = error


def stop_requested(iterator: Any) -> LabelGuardError | None:
    """The error of a guard with ``coordinated=True``, or None while there is none.

    Args:
        iterator: one of ``guard_batches`` or Grain with such a guard anywhere behind it, in worker processes too.
            Where other stages come after the guard, only the kind of error is known; its log and quarantine have the
            rest (a state holds no values of records).

    Raises:
        UsageError: there is no guard with ``coordinated=True`` behind it.
    """
    stop = getattr(stream_of(iterator), "stop", None)
    if isinstance(stop, CoordinatedStop):
        return stop.error
    ask = getattr(iterator, "get_state", None) or getattr(iterator, "state", None)
    found = [own for own in guard_states(ask() if callable(ask) else None) if own.get("coordinated")]
    if not found:
        raise UsageError("this iterator has no guard with coordinated=True upstream; pass it to guard_labels")
    for own in found:
        if own["stop"]:
            reason = StopReason(min(int(own["stop"]), StopReason.OTHER))
            return reason.error("a guard stopped; its log and its quarantine say why")
    return None


def stream_of(iterator: Any) -> Any:
    """Returns the ``GuardStream`` of an iterator of this package; None where another stage comes last."""
    return getattr(iterator, "stream", None)


def _mask_all(config: GuardConfig, batch: Any) -> Any:
    """``batch`` with every validity mask False throughout; labels and features are the same objects."""
    for path in config.guard.labels:
        place = config.mask.path(path)
        batch = tree.put(batch, place, np.zeros_like(tree.get(batch, place)))
    return batch


def _placeholder_batch(config: GuardConfig, pulled: Sequence[Any], size: int, *, batched: bool) -> Any:
    """A fully masked placeholder batch, used when a host must stop before its first batch.

    Args:
        config: what the guard does.
        pulled: a batch, or unbatched records.
        size: number of records of a full batch.
        batched: which of both.

    Raises:
        UsageError: there are none, or a bad label among them has no fixed shape that could be filled.
    """
    if not pulled:
        raise UsageError("no element was read")
    as_mask = config.replace(on_invalid="mask", quarantine=None)
    if any(None in converter.label.record_shape for converter in config.converters.values()):
        raise UsageError("a label of free shape cannot be filled")
    if batched:
        result = config.guard.check_batch(pulled[0])
        batch, good = mask_batch(as_mask, pulled[0], result)
    else:
        result = config.guard.check_records(pulled)
        batch, good = stack_records(as_mask, pulled, result)
    return finalize_batch(as_mask, batch, result.num_records, full=size, result=result, good=good)
