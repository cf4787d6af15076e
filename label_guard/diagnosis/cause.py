"""A likely cause of what is wrong with a label: data that reports and errors of the pipeline show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict

TO_CHANGE = "; if the data are meant so, change the schema:"


@dataclass(frozen=True, slots=True)
class OtherCause:
    """Another cause that explains the same counts.

    Attributes:
        cause: a short stable name, such as ``one-based``.
        text: what it would mean, in words.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # it is a part of the audit report

    cause: str
    text: str


@dataclass(frozen=True, slots=True)
class LikelyCause:
    """A likely cause of what is wrong with one label.

    Attributes:
        cause: a short stable name, such as ``one-based``; docs/causes.md describes each.
        finding: what was seen, what it most likely means, and what to do, in words.
        patch: fields of the label (or with ``splits`` of the schema) that make the data legal; empty unless the
            evidence supports that change alone.
        alternatives: other causes that the evidence cannot exclude, most likely first; two at most.
        to_change: how the text leads over to the patch.
    """

    cause: str
    finding: str
    patch: Mapping[str, Any] = field(default_factory=dict[str, Any])
    alternatives: Sequence[OtherCause] = ()
    to_change: str = ""

    @property
    def text(self) -> str:
        """The finding and the other causes, in words."""
        advice = "; look at some of these records before you change data or schema" if self.alternatives else ""
        others = "".join(f"; or: {other.text}" for other in self.alternatives)
        return f"{self.finding}{self.to_change if self.patch else ''}{others}{advice}"


def with_alternatives(cause: str, text: str, others: Sequence[OtherCause]) -> LikelyCause:
    """A cause without a patch whose text names the other causes, two at most.

    Args:
        cause: its code, such as ``one-based``.
        text: what was seen and what to do.
        others: other causes; the first two of other codes are kept.
    """
    first: dict[str, OtherCause] = {}
    for other in others:
        if other.cause != cause:
            first.setdefault(other.cause, other)
    return LikelyCause(cause, text, {}, tuple(first.values())[:2])
