"""One file per label kind. ``value_check`` picks it; a check sees arrays of an admitted dtype and shape only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from label_guard.check.class_label import ClassLabelCheck
from label_guard.check.multi_label import MultiLabelCheck
from label_guard.check.primitives import Positions
from label_guard.check.real_label import RealLabelCheck
from label_guard.check.soft_label import SoftLabelCheck
from label_guard.core.types import Array
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, SoftLabel


class ValueCheck(Protocol):
    """Checks the values of one label in arrays ``[batch, ...]``."""

    def clean(self, array: Array) -> bool:
        """Whether ``array`` breaks no rule: the fast path."""
        ...

    def find(self, array: Array) -> Iterator[Positions]:
        """The offending positions, one entry for each rule broken."""
        ...


def value_check(label: Label, elsewhere: frozenset[int] = frozenset(), stored: str | None = None) -> ValueCheck:
    """The check for the values of ``label``.

    Args:
        label: the resolved label.
        elsewhere: values that other splits declare as unlabeled.
        stored: dtype that Python numbers leave in; None for arrays, which have their own.
    """
    if isinstance(label, ClassLabel):
        return ClassLabelCheck(label, elsewhere)
    if isinstance(label, MultiLabel):
        return MultiLabelCheck(label)
    return SoftLabelCheck(label, stored) if isinstance(label, SoftLabel) else RealLabelCheck(label, stored)
