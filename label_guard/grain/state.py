# pyright: basic
"""What an iterator's state tells: summaries over guards and workers, and the state without the guard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from label_guard.errors import UsageError
from label_guard.pipeline.coordination import guard_states
from label_guard.pipeline.counts import Summary
from label_guard.pipeline.stream import STATE_KEY, summary_of_state


def summary(iterator: Any) -> Summary:
    """What became of every record, added up over the guards and workers behind ``iterator``.

    Args:
        iterator: a Grain iterator with a guard anywhere behind it, or a state that one returned.

    Raises:
        UsageError: there is no guard with counts (a MapDataset or a DataLoader has none).
    """
    state = iterator if isinstance(iterator, Mapping) else iterator.get_state()
    found = list(guard_states(state))
    if not found:
        raise UsageError("no guard with counts stands behind this iterator (a MapDataset or DataLoader keeps none)")
    total = Summary()
    for own in found:
        total += summary_of_state(own)
    return total


def strip_state(state: Any) -> Any:
    """A state for the same pipeline without the guard (with ``.batch`` where the guard stacked records).

    Records read ahead to fill batches (at most one spare batch) are read again.
    """
    if isinstance(state, Mapping):
        if isinstance(state.get(STATE_KEY), Mapping):
            own = state[STATE_KEY]
            return strip_state(own["spare"] if own["pending"] else state["parent"])
        return {key: strip_state(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(strip_state(value) for value in state)
    return state
