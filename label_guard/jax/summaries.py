# pyright: basic
"""The counts of all hosts together."""

from __future__ import annotations

import jax
import numpy as np

from label_guard.errors import UsageError
from label_guard.pipeline.counts import Summary

_BITS = 30  # JAX truncates int64 to int32 unless x64 is enabled, so a count travels in two parts


def sum_summaries(summary: Summary) -> Summary:
    """Adds up the counts of all hosts. A collective: call it on every host, at the same step.

    Args:
        summary: the counts of this host, ``label_guard.grain.summary(iterator)`` or ``guarded.summary``.

    Returns:
        The sum, on every host; ``summary`` itself with a single process.

    Raises:
        UsageError: ``summary`` is something else, such as the iterator or its metrics; with a single process, too.

    >>> sum_summaries(Summary(seen=8, delivered=8)).seen
    8
    """
    if not isinstance(summary, Summary):
        raise UsageError(
            f"sum_summaries takes the counts of this host, label_guard.grain.summary(iterator) or guarded.summary, not "
            f"{type(summary).__name__}"
        )
    if jax.process_count() == 1:
        return summary
    from jax.experimental import multihost_utils

    numbers = np.array(summary.to_numbers(), np.int64)
    parts = np.stack([numbers >> _BITS, numbers & ((1 << _BITS) - 1)]).astype(np.int32)
    gathered = np.asarray(multihost_utils.process_allgather(parts)).astype(np.int64)
    totals = (gathered[:, 0] << _BITS) + gathered[:, 1]
    return Summary.from_numbers(totals.sum(axis=0).tolist())
