# pyright: basic
"""Element specs of guarded datasets, for ``grain.experimental.get_element_spec``."""

from __future__ import annotations

from typing import Any

import numpy as np

from label_guard.core import tree
from label_guard.pipeline import batching as batches
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.masking import has_sentinels, is_elementwise


class Spec:
    """Shape and dtype of one feature: Grain's ShapeDtypeStruct by protocol."""

    def __init__(self, shape: tuple[int | None, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        shape, dtype = getattr(other, "shape", None), getattr(other, "dtype", None)
        return dtype is not None and self.shape == shape and self.dtype == np.dtype(dtype)

    __hash__ = None  # type: ignore[assignment]


def output_spec(config: GuardConfig, spec: Any) -> Any:
    """The spec of guarded batches from that of unguarded ones: key gone, dtypes emitted, masks added."""
    if config.dropped_key is not None:
        spec = batches.without_key(spec, config.dropped_key)
    for path, label in config.guard.labels.items():
        leaf = tree.get(spec, path)
        if leaf is tree.MISSING:
            continue
        if isinstance(leaf, list | tuple):  # a label is a value: the lists of the records leave as one array
            leaf = _stacked(leaf)
            spec = tree.put(spec, path, leaf)
        if config.mask.key is not None and (config.mask_all or has_sentinels(label)):
            shape = leaf.shape if is_elementwise(label) else leaf.shape[: len(leaf.shape) - len(label.record_shape)]
            place = config.mask.path(path)
            if tree.get(spec, place) is tree.MISSING:
                spec = tree.put_beside(spec, path, place, Spec(shape, config.mask.dtype))
        if label.emit is not None:
            spec = tree.put(spec, path, Spec(leaf.shape, label.emit))
    return spec


def _stacked(specs: Any) -> Any:
    """The spec of one array for the specs of a batch of lists, each ``[batch, ...]``."""
    inner = [_stacked(spec) if isinstance(spec, list | tuple) else spec for spec in specs]
    return Spec((inner[0].shape[0], len(inner), *inner[0].shape[1:]), inner[0].dtype)
