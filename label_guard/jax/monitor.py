# pyright: basic
"""Reading counts and losses one step late, and stopping several hosts together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import jax
import numpy as np

from label_guard.core.plural import counted
from label_guard.errors import HostStoppedError, InvalidLabelError, LabelGuardError
from label_guard.pipeline.coordination import StopReason, stop_requested, stream_of


class LabelMonitor:
    """Reads ``invalid_count`` and the loss ``lag`` steps late, when the device has them: no step waits for it.

    Args:
        lag: steps between taking and reading; at least 1.

    >>> monitor = LabelMonitor()
    >>> monitor.step(0, loss=0.5)
    >>> monitor.finish()
    """

    def __init__(self, lag: int = 1) -> None:
        self._lag = max(1, lag)
        self._waiting: deque[tuple[int, Any, Any, Sequence[Any] | None]] = deque()
        self._step = 0

    def step(self, count: Any, loss: Any = None, keys: Sequence[Any] | None = None) -> None:
        """Takes one step's count and loss; checks the one taken ``lag`` steps ago.

        Args:
            count: what ``invalid_count`` returned, a scalar still on the device.
            loss: the step's loss, a scalar still on the device.
            keys: record keys of the batch, for the error (``guard_labels(..., keep_key=True)``).

        Raises:
            InvalidLabelError: that step saw illegal labels, or its loss is not finite.
        """
        self._waiting.append((self._step, count, loss, keys))
        self._step += 1
        while len(self._waiting) > self._lag:
            self._check(*self._waiting.popleft())

    def finish(self) -> None:
        """Checks the steps still waiting.

        Raises:
            InvalidLabelError: as ``step``.
        """
        while self._waiting:
            self._check(*self._waiting.popleft())

    @staticmethod
    def _check(step: int, count: Any, loss: Any, keys: Sequence[Any] | None) -> None:
        bad = int(np.asarray(count))
        broken = loss is not None and not np.isfinite(np.asarray(loss, np.float64))
        if not bad and not broken:
            return
        what = counted(bad, "illegal label") if bad else f"a loss of {float(np.asarray(loss))} with legal labels"
        shown = (
            "" if keys is None else f"; records {', '.join(map(str, list(keys)[:8]))}{' ...' if len(keys) > 8 else ''}"
        )
        raise InvalidLabelError(f"step {step}: {what}{shown}. Its update is already applied: go back to a checkpoint")


_calls: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def sync_stop(iterator: Any, *, every: int = 1) -> None:
    """Raises at the same step on every host, once the guard of one of them must stop.

    Call it once after each step, on every host, with the iterator of a pipeline guarded with ``coordinated=True``, and
    once more after the loop: a guard may have stopped in the last steps. It is the only collective of this package.
    Where the guard is the last stage, the end of the iterator asks too, so that a forgotten last call loses no error.

    Up to ``every`` steps run on batches that are masked out: losses are 0, but momentum and weight decay still act.

    Args:
        iterator: see ``label_guard.grain.stop_requested``.
        every: ask at every so many calls; in between no host waits.

    Raises:
        LabelGuardError: on the host whose guard stopped, its error.
        HostStoppedError: on the others; names that host.
        UsageError: no guard with ``coordinated=True`` is behind ``iterator``.
    """
    calls = _calls[iterator] = _calls.get(iterator, 0) + 1
    stream = stream_of(iterator)
    if stream is not None:
        stream.on_end = lambda: _raise_together(stop_requested(iterator), calls)
    if calls % every == 0:
        _raise_together(stop_requested(iterator), calls)


def _raise_together(error: LabelGuardError | None, step: int) -> None:
    """Raises on every host if ``error`` is given on any; a collective."""
    codes = np.array([StopReason.of(error)], np.int32)
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        codes = np.asarray(multihost_utils.process_allgather(codes)).reshape(-1)
    if not codes.any():
        return
    if error is not None:
        raise error
    kinds = {host: StopReason(int(codes[host])).name for host in np.flatnonzero(codes).tolist()}
    hosts = ", ".join(f"process {host} ({kind})" for host, kind in kinds.items())
    raise HostStoppedError(f"step {step}: stopped by {hosts}; the log and the quarantine there say why")
