"""A likely cause of what is wrong with a label: data that reports and errors of the pipeline show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

TO_CHANGE = "; if the data are meant so, change the schema:"


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
        finding: what was seen, what it most likely means, and what to do, in words.
        patch: fields of the label (or with ``splits`` of the schema) that make the data legal; empty unless the
            evidence supports that change alone.
        alternatives: other causes that the evidence cannot exclude, most likely first; two at most.
        to_change: how the text leads over to the patch.
    """

    label: str
    cause: str
    finding: str
    patch: Mapping[str, Any] = field(default_factory=dict[str, Any])
    alternatives: Sequence[Alternative] = ()
    to_change: str = ""

    @property
    def text(self) -> str:
        """The finding and the other causes, in words."""
        advice = "; look at some of these records before you change data or schema" if self.alternatives else ""
        others = "".join(f"; or: {other.text}" for other in self.alternatives)
        return f"{self.finding}{self.to_change if self.patch else ''}{others}{advice}"


def with_alternatives(label: str, cause: str, text: str, others: Sequence[Alternative]) -> LikelyCause:
    """A cause without a patch whose text names the other causes, two at most.

    Args:
        label: path of the label.
        cause: its code, such as ``one-based``.
        text: what was seen and what to do.
        others: other causes; the first two of other codes are kept.
    """
    first: dict[str, Alternative] = {}
    for other in others:
        if other.cause != cause:
            first.setdefault(other.cause, other)
    return LikelyCause(label, cause, text, {}, tuple(first.values())[:2])


def with_more(cause: LikelyCause, others: Sequence[Alternative]) -> LikelyCause:
    """``cause`` with more alternatives behind its own, two at most, and without a patch."""
    return with_alternatives(cause.label, cause.cause, cause.finding, [*cause.alternatives, *others])


def without_patch(cause: LikelyCause) -> LikelyCause:
    """``cause`` without its change of the schema."""
    return replace(cause, patch={})
