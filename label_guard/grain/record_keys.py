# pyright: basic
"""Record keys for a dataset that exists already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grain
import numpy as np

from label_guard.errors import UsageError
from label_guard.grain import _private
from label_guard.grain.specs import Spec
from label_guard.pipeline.record_keys import KEY, KeyedSource, key_of


class AddKey(grain.transforms.MapWithIndex):
    """Adds the key of ``with_record_keys``."""

    def __init__(self, source: Any, length: int, name: str | None) -> None:
        self._keyed = KeyedSource(source, name, None)
        self._length = length
        self.tag = self._keyed.tag

    @property
    def identity(self) -> str:
        return self._keyed.identity

    @property
    def source_id(self) -> str:
        return self._keyed.source_id

    def record_key(self, position: int) -> str:
        return self._keyed.record_key(position)

    def map_with_index(self, index: int, element: Any) -> Any:
        if not isinstance(element, Mapping):
            raise UsageError(f"with_record_keys adds a feature to dict records, not to {type(element).__name__}")
        return {**element, KEY: key_of(index % self._length, self.tag)}

    def output_spec(self, input_spec: Any) -> Any:
        return {**input_spec, KEY: Spec((), np.int64)}


def with_record_keys(ds: Any, *, name: str | None = None) -> Any:
    """As ``keyed``, for a dataset that exists already: ``MapDataset.source(...).pipe(with_record_keys)``.

    Raises:
        UsageError: ``ds`` is not a source itself: after a shuffle or a repeat an index is only a position.
    """
    if not isinstance(ds, grain.MapDataset) or _private.parents(ds):
        raise UsageError(
            "with_record_keys goes directly after MapDataset.source(...): later an index does not identify a record"
        )
    return ds.map_with_index(AddKey(_private.source(ds) or ds, len(ds), name))
