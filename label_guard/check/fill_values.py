"""Replacement values for invalid labels: legal without the mask, or the declared ignore value."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from label_guard.check.kinds import value_check
from label_guard.check.primitives import exact, is_number
from label_guard.check.real_label import limits_in
from label_guard.core.types import Array
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel
from label_guard.schema.stored_dtypes import admitted_dtypes, joined_dtype


class FillValues:
    """Replacement values of one label, as stored, for any dtype that it is stored in.

    Args:
        label: the resolved label.

    Attributes:
        check: the check for its values.
    """

    def __init__(self, label: Label) -> None:
        self.label = label
        self.check = value_check(label)
        self._targets = [] if label.emit is None else [np.dtype(label.emit)]
        self._records: dict[np.dtype[Any], Array | None] = {}

    @cached_property
    def of_position(self) -> FillValues:
        """Those of one position (of one row of the class axis), without the rules for a record as a whole."""
        update: dict[str, Any] = {"shape": ()}
        if isinstance(self.label, ClassLabel):
            update |= {"unique": False, "min_length": None, "max_length": None}
        return FillValues(self.label.model_copy(update=update))

    def value(self, dtype: np.dtype[Any]) -> Any | None:
        """The value for one bad position: the first kept ignore value that ``dtype`` holds, else a legal one.

        None where ``dtype`` holds no legal value.
        """
        label = self.label
        if not is_number(dtype):
            return None
        if isinstance(label, RealLabel):
            limits = limits_in(label, dtype, self._targets)
            return None if limits is None else np.clip(dtype.type(0), *limits)
        if isinstance(label, ClassLabel | MultiLabel) and label.on_ignore == "keep":
            for ignored in label.sentinels if isinstance(label, MultiLabel) else label.ignore:
                if exact(dtype, ignored) is not None:
                    return dtype.type(ignored)
        if isinstance(label, ClassLabel):
            return next((dtype.type(i) for i in label.raw_ids if exact(dtype, i) is not None), None)
        if isinstance(label, MultiLabel):
            return dtype.type(label.negative) if exact(dtype, label.negative) is not None else None
        return dtype.type(0)

    def record(self, dtype: np.dtype[Any]) -> Array | None:
        """A whole record of ``dtype``, legal or all ignored; None where ``dtype`` has none. The shape must be fixed."""
        if dtype not in self._records:
            value = self.value(dtype)
            record = None if value is None else self._filled(dtype, value)
            self._records[dtype] = record if record is not None and self.check.clean(record[None]) else None
        return self._records[dtype]

    def dtype(self, preferred: np.dtype[Any] | None = None) -> np.dtype[Any]:
        """The first dtype that has a legal record: ``preferred``, the one of joined records, any other admitted one."""
        kinds = ("i", "f", "b") if isinstance(self.label, ClassLabel | MultiLabel) else ("f", "i", "b")
        names = [*(joined_dtype(self.label, kind) for kind in kinds), *admitted_dtypes(self.label)]
        candidates = [*([] if preferred is None else [preferred]), *(np.dtype(name) for name in names if name)]
        return next((dtype for dtype in candidates if self.record(dtype) is not None), candidates[0])

    def _filled(self, dtype: np.dtype[Any], value: Any) -> Array:
        label = self.label
        shape = tuple(length or 0 for length in label.record_shape)
        record = np.full(shape, value, dtype)
        if isinstance(label, SoftLabel):
            record[..., 0] = 1
        elif isinstance(label, MultiLabel) and label.min_positive:
            if exact(dtype, label.positive) is None or exact(dtype, label.negative) is None:
                return record
            record[...] = label.negative
            record[..., : label.min_positive] = label.positive
        elif isinstance(label, ClassLabel) and (label.unique or label.min_length or label.max_length is not None):
            most = shape[0] if label.max_length is None else min(shape[0], label.max_length)
            most = min(most, label.num_classes) if label.unique else most
            # Sentinels are not counted, also those that are replaced on the way out.
            padding = [s for s in label.sentinels if exact(dtype, s) is not None]
            record[...] = padding[0] if padding else value
            held = list(islice((i for i in label.raw_ids if exact(dtype, i) is not None), most))
            record[: len(held)] = held
            if not label.unique:
                record[len(held) : most] = held[0] if held else value
        return record

    def clip(self, values: Array) -> Array:
        """Numbers of a real_label moved to the nearest legal ones; what is not finite becomes the fill value."""
        limits = limits_in(self.label, values.dtype, self._targets) if isinstance(self.label, RealLabel) else None
        finite = values.copy()
        finite[~np.isfinite(values)] = self.value(values.dtype)
        return finite if limits is None else np.clip(finite, *limits)
