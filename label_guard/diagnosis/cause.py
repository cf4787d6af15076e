"""A likely cause of what is wrong with a label: data that reports and errors of the pipeline show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TO_CHANGE = "; if the data are meant so, change the schema:"  # ends the text of a cause with a patch


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
    others = tuple(first.values())[:2]
    return LikelyCause(label, cause, text + _named(others), {}, others)


def with_more(cause: LikelyCause, others: Sequence[Alternative]) -> LikelyCause:
    """``cause`` with more alternatives behind its own, two at most, and without a patch."""
    text = cause.text.removesuffix(_named(cause.alternatives)).removesuffix(TO_CHANGE)
    return with_alternatives(cause.label, cause.cause, text, [*cause.alternatives, *others])


def without_patch(cause: LikelyCause) -> LikelyCause:
    """``cause`` without its change of the schema."""
    return LikelyCause(cause.label, cause.cause, cause.text.removesuffix(TO_CHANGE), {}, cause.alternatives)


def _named(others: Sequence[Alternative]) -> str:
    """The words for other causes, and what to do where there are some."""
    advice = "; look at some of these records before you change data or schema" if others else ""
    return "".join(f"; or: {other.text}" for other in others) + advice
