# pyright: basic
"""What can be said inside jit, at no cost or on demand.

A Python error raised by a callback inside a step on several devices deadlocks the others, and with donated buffers
loses the state. So errors travel as data here: a count returned with the loss, read one step late; ``debug_check`` and
``checked`` are for one device and debugging.
"""

from __future__ import annotations

from label_guard.errors import MissingDependencyError

try:
    import jax as _jax  # noqa: F401
    import optax as _optax  # noqa: F401
except ImportError as error:
    raise MissingDependencyError.for_extra(str(error.name), "jax") from error

from label_guard.jax.debugging import check_values, checked, debug_check
from label_guard.jax.losses import check_logits, cross_entropy, invalid_count, masked_mean
from label_guard.jax.monitor import LabelMonitor, sync_stop
from label_guard.jax.summaries import sum_summaries

__all__ = [
    "LabelMonitor",
    "check_logits",
    "check_values",
    "checked",
    "cross_entropy",
    "debug_check",
    "invalid_count",
    "masked_mean",
    "sum_summaries",
    "sync_stop",
]
