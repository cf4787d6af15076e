# pyright: basic
"""Record keys for a dataset that exists already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grain
import numpy as np

from label_guard.errors import UsageError
from label_guard.grain import _private
from label_guard.pipeline.record_keys import KEY, KeyedSource, key_of


class AddKey(grain.transforms.MapWithIndex):
    """Adds the key of ``with_record_keys``.

    Attributes:
        keyed: the source, which names the records.
    """

    def __init__(self, source: Any, length: int, name: str | None) -> None:
        self.keyed = KeyedSource(source, name)
        self._length = length

    def map_with_index(self, index: int, element: Any) -> Any:
        if not isinstance(element, Mapping):
            raise UsageError(f"with_record_keys adds a feature to dict records, not to {type(element).__name__}")
        return {**element, KEY: key_of(index % self._length, self.keyed.tag)}

    def output_spec(self, input_spec: Any) -> Any:
        return {**input_spec, KEY: grain.experimental.ShapeDtypeStruct((), np.dtype(np.int64))}


def with_record_keys(ds: Any, *, name: str | None = None) -> Any:
    """As ``keyed``, for a dataset that exists already: ``MapDataset.source(...).pipe(with_record_keys)``.

    Raises:
        UsageError: ``ds`` is not a source itself: after a shuffle or a repeat an index is only a position.
    """
    if not isinstance(ds, grain.MapDataset) or _private.parents(ds):
        raise UsageError(
            "with_record_keys goes directly after MapDataset.source(...): later an index does not identify a record"
        )
    source = _private.source(ds)
    return ds.map_with_index(AddKey(ds if source is None else source, len(ds), name))
