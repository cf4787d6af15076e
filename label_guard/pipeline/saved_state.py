"""Reads the guard's own part of a state that was stored: every number is checked before one is used."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NoReturn, cast

import numpy as np

from label_guard.core.plural import counted
from label_guard.core.similar import shortened
from label_guard.errors import UsageError
from label_guard.pipeline.counts import STORED
from label_guard.pipeline.state import STATE_KEY, Form

_GREATEST = 2**63 - 1
_NUMBERS = (
    "size", "spare_from", "pending", "refused", "workers", "in_worker", "coordinated", "spare_size", "stop", "form",
    "form_given",
)  # fmt: skip
_LEAST = {"spare_from": -1}
_MOST = {"form": Form.BATCHES.value, "form_given": Form.BATCHES.value}
_OPTIONAL = frozenset(  # not in every release's states
    {"workers", "in_worker", "coordinated", "form_given", "spare_size", "stop", "padding", "written"}
)
_PARTS = ("delivered", "quarantined", "skipped", "remainder")


def own_part(state: object) -> Mapping[str, Any] | None:
    """The guard's own part of an iterator's state, with plain numbers; None in one made before the guard was put in.

    Raises:
        UsageError: a field is missing, is not what a guard writes there, or contradicts another.
    """
    if not isinstance(state, Mapping) or STATE_KEY not in state:
        return None
    whole = cast("Mapping[str, Any]", state)
    own = _mapping(whole[STATE_KEY], STATE_KEY)
    for name, part in (("parent", whole), ("spare", own), ("digest", own)):
        if name not in part:
            _refuse(f"has no {name!r}")
    if not isinstance(own["digest"], str):
        _refuse(f"holds {own['digest']!r} as digest, which is a text")
    numbers = {
        name: number(own, name, least=_LEAST.get(name, 0), greatest=_MOST.get(name, _GREATEST))
        for name in _NUMBERS
        if name in own or name not in _OPTIONAL
    }
    if "counts" not in own:
        _refuse("has no 'counts'")
    counts = _mapping(own["counts"], "counts")
    names = dict.fromkeys([*(name for name in STORED if name not in _OPTIONAL), *counts])  # by rule, too
    read = {**own, **numbers, "counts": {name: number(counts, name, inside="counts/") for name in names}}
    _refuse_contradictions(read)
    return read


def _refuse_contradictions(state: Mapping[str, Any]) -> None:
    counts, pending = state["counts"], state["pending"]
    parts = sum(counts[name] for name in _PARTS) + pending
    if counts["seen"] != parts:
        _refuse(f"counts {counted(counts['seen'], 'record')} seen, and {parts} delivered, left out or pending")
    size = state.get("spare_size", pending)
    if not (state["spare_from"] < size and pending <= size if pending else state["spare_from"] == -1 and not size):
        _refuse(f"holds {counted(pending, 'pending record')} of a batch of {size}, from record {state['spare_from']}")


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(f"holds a {type(value).__name__} as {name!r}, which is a dict")
    return cast("Mapping[str, Any]", value)


def number(part: Mapping[str, Any], name: str, *, least: int = 0, greatest: int = _GREATEST, inside: str = "") -> int:
    """An integer of a state; frameworks may give it back as a NumPy scalar or an array of no axes.

    Args:
        part: the state, or a part of it.
        name: key of the number.
        least: smallest legal value.
        greatest: largest legal value.
        inside: where ``part`` is in the state, for errors; ends with ``/``.
    """
    if name not in part:
        _refuse(f"has no '{inside}{name}'")
    value: Any = part[name]
    is_bool = isinstance(value, bool | np.bool_)
    try:
        number = None if is_bool else operator.index(part[name])
    except TypeError:
        number = None
    if number is None or not least <= number <= greatest:
        bounds = f"{least} or more" if greatest == _GREATEST else f"{least} to {greatest}"
        _refuse(f"holds {shortened(repr(part[name]), 40)} as '{inside}{name}', which is an integer of {bounds}")
    return number


def _refuse(what: str) -> NoReturn:
    raise UsageError(f"the checkpoint is damaged: the state of the guard {what}. Restore another checkpoint")
