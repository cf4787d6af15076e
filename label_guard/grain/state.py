# pyright: basic
"""The summary of a Grain iterator, added up over guards and workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from label_guard.errors import UsageError
from label_guard.pipeline.counts import Summary
from label_guard.pipeline.state import guard_states, summary_of_state


def summary(iterator: Any) -> Summary:
    """The counts of records, added up over the guards and workers behind ``iterator``.

    Args:
        iterator: a Grain iterator with a guard anywhere behind it, or a state that one returned.

    Raises:
        UsageError: there is no guard with counts (a MapDataset or a DataLoader has none).
    """
    state = iterator if isinstance(iterator, Mapping) else iterator.get_state()
    found = list(guard_states(state))
    if not found:
        raise UsageError("this iterator has no guard with counts upstream (a MapDataset or DataLoader keeps none)")
    total = Summary()
    for own in found:
        total += summary_of_state(own)
    return total
