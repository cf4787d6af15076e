"""Values that may stand where a bad label stood: legal without the mask, or the declared ignore value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel

Array = NDArray[Any]

_DEFAULT = {"class_label": "int32", "multi_label": "int32", "soft_label": "float32", "real_label": "float32"}


def stand_in_dtype(label: Label) -> np.dtype[Any]:
    """Dtype of a label array made from nothing: the emitted, else the only declared one, else JAX's own width."""
    stored = label.stored_dtypes
    default = _DEFAULT[label.kind]
    return np.dtype(label.emit or (stored[0] if len(stored) == 1 or default not in stored else default))


def stand_in_value(label: Label) -> float:
    """The stored value for one bad position: the first kept ignore value, else one legal without the mask."""
    if isinstance(label, ClassLabel | MultiLabel) and label.ignore and label.on_ignore == "keep":
        return label.sentinels[0]
    if isinstance(label, ClassLabel):
        return label.raw_ids[0]
    if isinstance(label, RealLabel):
        low = -np.inf if label.minimum is None else label.minimum
        high = np.inf if label.maximum is None else label.maximum
        return float(np.clip(0.0, low, high))
    return 0


def stand_in_record(label: Label, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A whole label of ``shape`` (class axis included), legal or all ignored, as stored."""
    record = np.full(shape, stand_in_value(label), dtype)
    if isinstance(label, SoftLabel):
        record[..., 0] = 1
    elif isinstance(label, MultiLabel) and label.min_positive:
        record[...] = 0
        record[..., : label.min_positive] = 1
    elif isinstance(label, ClassLabel) and (label.unique or label.min_length or label.max_length is not None):
        most = shape[0] if label.max_length is None else min(shape[0], label.max_length)
        ids = [label.raw_ids[place % label.num_classes] for place in range(most)]
        record[:most] = ids
    return record


def clip(label: RealLabel, values: Array) -> Array:
    """``values`` moved to the nearest legal ones; what is not finite becomes the stand-in."""
    finite = np.where(np.isfinite(values), values, stand_in_value(label))
    return np.clip(finite, label.minimum, label.maximum) if _has_limits(label) else finite


def _has_limits(label: RealLabel) -> bool:
    return label.minimum is not None or label.maximum is not None
