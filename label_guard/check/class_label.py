"""class_label: class ids in ``[0, num_classes)``, in ``class_ids``, or declared sentinels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard.check.integer_set import IntegerSet
from label_guard.check.primitives import (
    Array,
    Positions,
    exact,
    greatest_at_or_below,
    least,
    least_at_or_above,
    member,
    values_at,
)
from label_guard.core.plural import counted
from label_guard.schema.labels import ClassLabel, Label


class ClassLabelCheck:
    """Checks arrays ``[batch, ...]`` of class ids of any admitted dtype."""

    def __init__(self, label: ClassLabel, elsewhere: frozenset[int] = frozenset()) -> None:
        self.label = label
        self.elsewhere = elsewhere
        self._sets: dict[np.dtype[Any], IntegerSet] = {}
        self._lists = label.unique or label.min_length is not None or label.max_length is not None

    def _set(self, dtype: np.dtype[Any]) -> IntegerSet:
        found = self._sets.get(dtype)
        if found is None:
            ids = self.label.raw_ids
            found = self._sets[dtype] = IntegerSet(dtype, ids, self.label.sentinels)
        return found

    def clean(self, array: Array) -> bool:
        """Whether ``array`` (``[batch, ...]``, an admitted dtype, the declared shape) breaks no rule."""
        return self.test(array.dtype)(array)

    def test(self, dtype: np.dtype[Any]) -> Callable[[Array], bool]:
        """``clean`` for arrays of ``dtype``, in fewer calls."""
        return self._finds_none if dtype.kind == "f" or self._lists else self._set(dtype).test()

    def _finds_none(self, array: Array) -> bool:
        return not any(len(found.positions) for found in self.find(array))

    def find(self, array: Array) -> Iterator[Positions]:
        """The offending positions of ``array``, one entry for each rule broken."""
        if array.dtype.kind == "f":
            yield from self._find_float(array)
        else:
            positions = self._set(array.dtype).illegal_positions(array)
            yield from self._classify(positions, values_at(array, positions))
        if self._lists:
            yield from self._find_lists(array)

    def _find_float(self, array: Array) -> Iterator[Positions]:
        flat = array.reshape(-1)
        finite = np.isfinite(flat)
        integral = finite & (np.floor(flat) == flat)
        for rule, bad in (("LG107", ~finite), ("LG106", finite & ~integral)):
            yield Positions(rule, np.flatnonzero(bad), flat[bad])
        positions = np.flatnonzero(integral & ~self._float_legal(flat))
        yield from self._classify(positions, flat[positions])

    def _float_legal(self, flat: Array) -> NDArray[np.bool_]:
        """bool[m]: where a float equals a legal id exactly: 300 is a number of float16, 70000 is not."""
        legal = member(flat, self.label.sentinels)
        ids = self.label.raw_ids
        if isinstance(ids, tuple):
            held = [scalar for i in ids if (scalar := exact(flat.dtype, i)) is not None]
            return legal | np.isin(flat, np.array(held, np.float64))
        least, greatest = least_at_or_above(flat.dtype, ids.start), greatest_at_or_below(flat.dtype, ids.stop - 1)
        return legal if least is None or greatest is None else legal | ((flat >= least) & (flat <= greatest))

    def _classify(self, positions: NDArray[np.intp], values: Array) -> Iterator[Positions]:
        """One value breaks one rule: declared elsewhere before negative before range."""
        # The common case, where each step counts.
        if not self.elsewhere and len(values) and least(values) >= 0:
            yield Positions("LG101", positions, values)
            return
        elsewhere = member(values, self.elsewhere)
        negative = ~elsewhere & (values < 0) if values.dtype.kind in "if" else np.zeros(values.shape, np.bool_)
        for rule, hit in (("LG110", elsewhere), ("LG102", negative), ("LG101", ~(elsewhere | negative))):
            if hit.any():
                yield Positions(rule, positions[hit], values[hit])

    def _find_lists(self, array: Array) -> Iterator[Positions]:
        """Length and repeats of ``[batch, length]``; sentinels neither count nor repeat."""
        if not array.shape[0]:
            return
        is_id = ~member(array, self.label.sentinels)
        lengths = is_id.sum(axis=1)
        bad = np.zeros(lengths.shape, np.bool_)
        if self.label.min_length is not None:
            bad |= lengths < self.label.min_length
        if self.label.max_length is not None:
            bad |= lengths > self.label.max_length
        if self.label.unique:
            for row in range(array.shape[0]):
                kept = array[row][is_id[row]]
                bad[row] |= len(np.unique(kept)) != len(kept)
        rows = np.flatnonzero(bad)
        described = np.array([f"{counted(int(lengths[row]), 'id')}: {array[row][:8].tolist()}" for row in rows], object)
        yield Positions("LG111", rows, described, whole=True)


def legal_lists(label: Label) -> str:
    """The legal lists of ids: how long, and whether an id may repeat."""
    if not isinstance(label, ClassLabel):
        return label.legal
    parts = [] if label.min_length is None else [f"at least {counted(label.min_length, 'id')}"]
    parts += [] if label.max_length is None else [f"at most {counted(label.max_length, 'id')}"]
    return ", ".join([*parts, *(["no id twice"] if label.unique else [])])
