"""A likely cause of what is wrong with a label: data that reports and errors of the pipeline show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another cause that explains the same counts.

    Attributes:
        cause: a short stable name, such as ``one-based``.
        text: what it would mean, in words.
    """

    cause: str
    text: str


@dataclass(frozen=True, slots=True)
class LikelyCause:
    """A likely cause.

    Attributes:
        label: path of the label.
        cause: a short stable name, such as ``one-based``; docs/causes.md describes each.
        text: what was seen, what it most likely means, what else it could be, and what to do, in words.
        patch: fields of the label (or with ``splits`` of the schema) that make the data legal; empty unless the
            evidence supports that change alone.
        alternatives: other causes that the evidence cannot exclude, most likely first; two at most.
    """

    label: str
    cause: str
    text: str
    patch: Mapping[str, Any] = field(default_factory=dict[str, Any])
    alternatives: Sequence[Alternative] = ()


def with_alternatives(label: str, cause: str, text: str, others: Sequence[Alternative]) -> LikelyCause:
    """A cause without a patch whose text names the other causes, two at most."""
    first: dict[str, Alternative] = {}
    for other in others:
        if other.cause != cause:
            first.setdefault(other.cause, other)
    others = list(first.values())[:2]
    alternatives = "".join(f"; or: {other.text}" for other in others)
    advice = "; look at some of these records before you change data or schema" if others else ""
    return LikelyCause(label, cause, text + alternatives + advice, {}, tuple(others))
