"""real_label: finite numbers within optional limits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from label_guard.check.primitives import Array, Positions, integer_values, pieces
from label_guard.schema.labels import RealLabel


class RealLabelCheck:
    """Judges arrays ``[batch, ...]`` of regression targets."""

    def __init__(self, label: RealLabel) -> None:
        self.label = label

    def clean(self, array: Array) -> bool:
        """Whether ``array`` (an admitted dtype, the declared shape) breaks no rule."""
        return not any(self._bad(piece).any() for _, piece in pieces(array))

    def find(self, array: Array) -> Iterator[Positions]:
        """The offending positions of ``array``, one entry for each rule broken."""
        parts = [np.flatnonzero(self._bad(piece)) + start for start, piece in pieces(array)]
        positions = np.concatenate(parts) if parts else np.empty(0, np.intp)
        values = integer_values(array, positions)
        finite = np.isfinite(values)
        yield Positions("LG107", positions[~finite], values[~finite])
        yield Positions("LG112", positions[finite], values[finite])

    def _bad(self, piece: Array) -> Array:
        good = np.isfinite(piece)
        # Limits are compared as float64: a float16 5.0 is judged by its own value against 5.0.
        if self.label.minimum is not None:
            good &= piece >= np.float64(self.label.minimum)
        if self.label.maximum is not None:
            good &= piece <= np.float64(self.label.maximum)
        return ~good
