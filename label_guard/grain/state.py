# pyright: basic
"""The summary of a Grain iterator, added up over guards and workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from label_guard.errors import UsageError
from label_guard.grain import _private
from label_guard.pipeline.coordination import stream_of
from label_guard.pipeline.counts import Summary
from label_guard.pipeline.loader import GuardedBatches
from label_guard.pipeline.options import shown_type
from label_guard.pipeline.state import guard_states, summary_of_state
from label_guard.pipeline.stream import GuardStream


def summary(iterator: Any) -> Summary:
    """The counts of records, added up over the guards and workers behind ``iterator``.

    As of the batches delivered, and complete once a guard in this process has read the end of its stream.

    Args:
        iterator: a Grain iterator with a guard anywhere behind it, or a state that one returned.

    Raises:
        UsageError: no guard with counts was found (a MapDataset or a DataLoader keeps none), or it is not an iterator.
    """
    is_state = isinstance(iterator, Mapping)
    if isinstance(iterator, GuardedBatches):
        raise UsageError("summary takes an iterator of Grain; what guard_batches returns has its own: guarded.summary")
    if not is_state and not hasattr(iterator, "get_state"):
        raise UsageError(
            f"summary got {shown_type(iterator)}, which keeps no counts; give it the iterator that the loop reads: "
            "iterator = iter(dataset), then summary(iterator)"
        )
    found = list(guard_states(iterator if is_state else iterator.get_state()))
    if not found:
        raise UsageError("this iterator has no guard with counts upstream (a MapDataset or DataLoader keeps none)")
    streams = [] if is_state else list(_streams(iterator))
    total = Summary()
    for place, own in enumerate(found):
        # A stage after the guard may hold the state of its last batch, without what the guard read up to the end.
        ended = len(streams) == len(found) and streams[place].checker.ended
        total += streams[place].summary() if ended else summary_of_state(own)
    return total


def _streams(iterator: Any) -> Iterator[GuardStream]:
    """The streams of the guards behind ``iterator`` in this process, in the order of ``guard_states``."""
    stream = stream_of(iterator)
    if stream is not None:
        yield stream
    for parent in _private.parents(iterator):
        yield from _streams(parent)
