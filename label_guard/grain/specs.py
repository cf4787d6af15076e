# pyright: basic
"""Element specs of guarded datasets, for ``grain.experimental.get_element_spec``."""

from __future__ import annotations

from typing import Any

import numpy as np
from grain.experimental import ShapeDtypeStruct

from label_guard.core import tree
from label_guard.pipeline import batching as batches
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.masking import is_elementwise


def output_spec(config: GuardConfig, spec: Any) -> Any:
    """The spec of guarded batches from that of unguarded ones: key gone, dtypes emitted, masks added."""
    if config.dropped_key is not None:
        spec = batches.without_key(spec, config.dropped_key)
    for path, converter in config.converters.items():
        leaf = tree.get(spec, path)
        if converter.is_encoded:
            leaf = _read_spec(config, spec, path)
            spec = spec if leaf is None else tree.put(spec, path, leaf)
        if leaf is tree.MISSING or leaf is None:
            continue
        if isinstance(leaf, list | tuple):  # a label is a value: the lists of the records leave as one array
            leaf = _stacked(leaf)
            spec = tree.put(spec, path, leaf)
        if path in config.masks:
            rank = len(converter.label.record_shape)
            shape = leaf.shape if is_elementwise(converter.label) else leaf.shape[: len(leaf.shape) - rank]
            place = config.masks[path]
            if tree.get(spec, place) is tree.MISSING:
                spec = tree.put_beside(spec, path, place, ShapeDtypeStruct(shape, np.dtype(config.mask.dtype)))
        emitted = config.labels[path].emitted_dtype
        if emitted is not None:
            spec = tree.put(spec, path, ShapeDtypeStruct(leaf.shape, np.dtype(emitted)))
    for path in config.consumed:
        spec = tree.without(spec, path)
    return spec


def _read_spec(config: GuardConfig, spec: Any, path: str) -> Any:
    """The spec of a label that is read from names, texts, ids or columns; None where its features are not there."""
    label = config.converters[path].label
    features = [tree.get(spec, feature) for feature in getattr(config.guard.labels[path], "columns", None) or (path,)]
    if any(not hasattr(feature, "shape") for feature in features):
        return None
    dtype = label.emitted_dtype or np.result_type(*(feature.dtype for feature in features))
    return ShapeDtypeStruct((features[0].shape[0], *label.record_shape), np.dtype(dtype))


def _stacked(specs: Any) -> Any:
    """The spec of one array for the specs of a batch of lists, each ``[batch, ...]``."""
    inner = [_stacked(spec) if isinstance(spec, list | tuple) else spec for spec in specs]
    return ShapeDtypeStruct((inner[0].shape[0], len(inner), *inner[0].shape[1:]), np.dtype(inner[0].dtype))
