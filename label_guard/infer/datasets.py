"""What ``infer`` and ``check`` look at: a dataset behind a URI, or arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from label_guard.core.types import Array
from label_guard.errors import UsageError
from label_guard.sources.arrays import array_source
from label_guard.sources.base import LabelShapes
from label_guard.sources.open import declared_features, list_fields, list_splits, open_source
from label_guard.sources.source import Source
from label_guard.sources.tfds_metadata import Feature, read_metadata

_UNLISTED = ("python:", "quarantine:")


@dataclass(frozen=True, slots=True)
class UriDataset:
    """The dataset at a URI, whose labels are not known."""

    uri: str

    def splits(self) -> list[str]:
        """The splits that it holds by itself; empty where it holds one set of records."""
        return list_splits(self.uri)

    def fields(self, split: str | None) -> list[str]:
        """What its records hold; empty where that is not known before they are read."""
        if self.uri.startswith(_UNLISTED):
            return []
        return list(self.declared(split)) if self.uri.startswith("tfds:") else list_fields(self.uri, split=split)

    def declared(self, split: str | None) -> Mapping[str, Feature]:
        """What its own metadata declare."""
        if self.uri.startswith(_UNLISTED):
            return {}
        if self.uri.startswith("tfds:"):
            return read_metadata(self.uri.removeprefix("tfds:")).stored_features
        return declared_features(self.uri, split=split)

    def open(self, labels: LabelShapes, split: str | None) -> Source:
        """Its records, with these labels."""
        return open_source(self.uri, labels=labels, split=split)


@dataclass(frozen=True, slots=True)
class ArrayDataset:
    """Arrays in memory, by name; the records are the entries of the first axis."""

    columns: Mapping[str, Array]
    uri: str = "array"

    def splits(self) -> list[str]:
        return []

    def fields(self, _split: str | None) -> list[str]:
        return list(self.columns)

    def declared(self, _split: str | None) -> Mapping[str, Feature]:
        return {}

    def open(self, labels: LabelShapes, split: str | None) -> Source:
        return array_source(self.columns, labels, split)


Dataset = UriDataset | ArrayDataset


def array_dataset(data: Any) -> ArrayDataset:
    """The dataset of an array, or of a mapping from names to arrays.

    Args:
        data: NumPy or JAX arrays ``[records, ...]``, or what NumPy makes arrays of: lists, columns of pandas or Arrow.

    Raises:
        UsageError: it is not an array, or the arrays differ in length.
    """
    if isinstance(data, Mapping):
        named = cast("Mapping[Any, Any]", data)
        columns = {str(name): _array(value, repr(name)) for name, value in named.items()}
    else:
        columns = {"label": _array(data, "the labels")}
    lengths = {name: len(column) for name, column in columns.items()}
    if not columns or len(set(lengths.values())) > 1:
        raise UsageError(f"arrays of one length are expected; their lengths are {lengths}")
    return ArrayDataset(columns)


def _array(data: Any, name: str) -> Array:
    """An array of numbers or texts as it is; ragged lists as an object array of lists."""
    values: list[Any] = []
    if isinstance(data, list | tuple):
        values = data = list(cast("Sequence[Any]", data))
    try:
        found: Array = np.asarray(data)
    except (ValueError, TypeError, OverflowError) as error:
        if not values:
            raise UsageError(f"{name}: not an array: {error}") from None
        found = np.empty(len(values), object)
        found[:] = values
    if not found.ndim:
        raise UsageError(f"{name}: {type(data).__name__}; expected an array [records, ...], or a path")
    return found
