"""Hosts that stop together: what a coordinated guard met, told to the loop instead of raised within a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from label_guard import errors
from label_guard.errors import LabelGuardError, UsageError
from label_guard.pipeline.stream import STATE_KEY, STOPS, GuardStream


def stop_requested(iterator: Any) -> LabelGuardError | None:
    """The error that a guard with ``coordinated=True`` met, or None while there is none.

    Args:
        iterator: one of ``guard_batches`` or Grain with such a guard anywhere behind it, in worker processes too (of
            these only the kind of error comes back; their log and quarantine have the rest).

    Raises:
        UsageError: there is no guard with ``coordinated=True`` behind it.
    """
    streams = [stream for stream in _streams(iterator, set()) if stream.plan.coordinated]
    for stream in streams:
        if stream.stopped is not None:
            return stream.stopped
    if streams:
        return None
    found = [own["stop"] for own in guard_states(_state_of(iterator)) if "stop" in own]
    if not found:
        raise UsageError("no guard with coordinated=True stands behind this iterator; pass it to guard_labels")
    code = max(map(int, found))
    return made_of(code, "the guard of a worker stopped; its log and quarantine say why") if code else None


def made_of(code: int, message: str) -> LabelGuardError:
    """An error of the kind that ``label_guard.pipeline.stream.stop_code`` gave."""
    kind: Any = getattr(errors, STOPS[code], LabelGuardError) if code < len(STOPS) else LabelGuardError
    return cast("LabelGuardError", kind(message))


def guard_states(state: Any) -> Iterator[Mapping[str, Any]]:
    """The guards' own parts of an iterator's state, the outermost first."""
    if isinstance(state, Mapping):
        values = cast("Mapping[str, Any]", state)
        if isinstance(values.get(STATE_KEY), Mapping):
            yield values[STATE_KEY]
            yield from guard_states(values.get("parent"))
            return
        state = list(values.values())
    if isinstance(state, list | tuple):
        for value in cast("list[Any]", state):
            yield from guard_states(value)


def _state_of(iterator: Any) -> Any:
    ask = getattr(iterator, "get_state", None) or getattr(iterator, "state", None)
    return ask() if callable(ask) else None


def _streams(node: Any, seen: set[int]) -> Iterator[GuardStream]:
    """The guards of this process behind an iterator."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    inside: dict[str, Any] = getattr(node, "__dict__", {})
    for name in ("stream", "_stream"):
        if isinstance(inside.get(name), GuardStream):
            yield inside[name]
    parents: Any = inside.get("_parents")
    for parent in cast("list[Any]", parents if isinstance(parents, list | tuple) else []):
        yield from _streams(parent, seen)
    yield from _streams(inside.get("_iterator"), seen)
