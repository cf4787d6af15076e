# pyright: basic
"""Reading counts and losses one step late, and stopping several hosts together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from label_guard.errors import InvalidLabelError, TooManyInvalidError


class LabelMonitor:
    """Reads ``invalid_count`` and the loss ``lag`` steps late, when the device has them: no step waits for it.

    Args:
        lag: steps between handing over and reading; at least 1.

    >>> monitor = LabelMonitor()
    >>> monitor.step(0, loss=0.5)
    >>> monitor.finish()
    """

    def __init__(self, lag: int = 1) -> None:
        self._lag = max(1, lag)
        self._waiting: deque[tuple[int, Any, Any, Sequence[Any] | None]] = deque()
        self._step = 0

    def step(self, count: Any, loss: Any = None, keys: Sequence[Any] | None = None) -> None:
        """Hand over one step's count and loss; judges the one handed over ``lag`` steps ago.

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
            self._judge(*self._waiting.popleft())

    def finish(self) -> None:
        """Judge the steps still waiting.

        Raises:
            InvalidLabelError: as ``step``.
        """
        while self._waiting:
            self._judge(*self._waiting.popleft())

    @staticmethod
    def _judge(step: int, count: Any, loss: Any, keys: Sequence[Any] | None) -> None:
        bad = int(np.asarray(count))
        broken = loss is not None and not np.isfinite(np.asarray(loss, np.float64))
        if not bad and not broken:
            return
        what = f"{bad} illegal labels" if bad else f"a loss of {float(np.asarray(loss))} with legal labels"
        shown = (
            "" if keys is None else f"; records {', '.join(map(str, list(keys)[:8]))}{' ...' if len(keys) > 8 else ''}"
        )
        raise InvalidLabelError(f"step {step}: {what}{shown}. Its update is already applied: go back to a checkpoint")


def sync_stop(stop_requested: bool, step: int, *, every: int = 1) -> None:
    """Let every host raise at the same step once one of them must stop: the only collective of this package.

    Call it at the same steps on every host, with ``label_guard.grain.stop_requested(iterator)`` of a pipeline guarded
    with ``coordinated=True``.

    Args:
        stop_requested: whether this host's guard met its end.
        step: the step number, the same on every host.
        every: ask only at multiples of it; in between no host waits.

    Raises:
        TooManyInvalidError: a host asked to stop.
    """
    if step % every:
        return
    if jax.process_count() == 1:
        stops = np.array([stop_requested])
    else:
        from jax.experimental import multihost_utils

        stops = np.asarray(multihost_utils.process_allgather(np.array([stop_requested]))).reshape(-1)
    if stops.any():
        hosts = ", ".join(map(str, np.flatnonzero(stops)))
        raise TooManyInvalidError(f"step {step}: the guard of process {hosts} stopped; its log and quarantine say why")
