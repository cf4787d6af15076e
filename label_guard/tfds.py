# pyright: basic
"""TFDS datasets: ``source`` reads prepared folders for a pipeline, ``schema_from_tfds`` drafts a schema.

Works without TensorFlow. TFDS ships no type information, hence basic type checking in this file.
"""

from __future__ import annotations

import json
import operator
import os
import re
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from label_guard.core import tree
from label_guard.core.files import read_bounded
from label_guard.core.plural import counted
from label_guard.errors import MissingDependencyError, SchemaError, SourceError, UsageError
from label_guard.infer.draft import of_metadata
from label_guard.pipeline.source_names import source_digest
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.array_record import open_reader
from label_guard.sources.base import did_you_mean, require_fields
from label_guard.sources.tf_example import parse
from label_guard.sources.tf_example_values import record_shape
from label_guard.sources.tfds_metadata import (
    FEATURES,
    INFO,
    MAX_BYTES,
    Feature,
    SplitInfo,
    TfdsMetadata,
    read_features,
    read_metadata,
    record_name,
)

try:
    import tensorflow_datasets
    from array_record.python.array_record_data_source import ArrayRecordDataSource
    from tensorflow_datasets.core.example_parser import reshape_ragged_tensor
except ImportError as error:
    raise MissingDependencyError.for_extra("tensorflow_datasets", "tfds") from error

__all__ = ["TfdsSource", "schema_from_tfds", "source"]

tfds: Any = tensorflow_datasets  # it loads lazily what pyright then takes for None
_OWN_CLASS = re.compile(r"tensorflow_datasets\.core\.features(\.[a-z0-9_]+)+\.[A-Za-z0-9_]+")
_OPENERS = 16  # files whose records are counted at a time; on a network disk each costs a round trip


def source(
    folder: str | os.PathLike[str],
    split: Any,
    *,
    labels: Iterable[str] | None = None,
    decoders: Mapping[str, Any] | None = None,
) -> TfdsSource:
    """The records of one split of a prepared TFDS folder, for ``grain.MapDataset.source(keyed(...))``.

    Args:
        folder: the folder of one version, stored as ArrayRecord.
        split: as TFDS takes it: ``train``, ``train[10%:]``, ``train[100:200]``, ``train+test``, ...
        labels: paths of the features to hand on as they are stored: integers as int64, floats as float32, a missing
            one as None. ``tfds.data_source`` would wrap them into the dtype that features.json declares (a stored -1
            becomes 255 in uint8). None: every ClassLabel and every integer or float Scalar and Tensor.
        decoders: as ``tfds.data_source`` takes them; a feature with a decoder of its own is left to TFDS.

    Raises:
        SourceError: no such folder, split or label; another file format; a file that is missing, truncated, or holds
            another number of records than the metadata promise.
    """
    metadata = read_metadata(folder)
    if metadata.file_format != "array_record":
        raise SourceError(
            f"{folder} is stored as {metadata.file_format}, which has no random access; prepare it with "
            'file_format="array_record"'
        )
    if isinstance(decoders, tfds.decode.PartialDecoding):
        raise UsageError("PartialDecoding needs TensorFlow; pass {feature: tfds.decode.SkipDecoding()} instead")
    instructions = _instructions(folder, split, metadata)
    _check_counts(instructions)
    return TfdsSource(folder, split, metadata, instructions, _as_stored(folder, metadata, labels, decoders), decoders)


def _instructions(folder: str | os.PathLike[str], split: Any, metadata: TfdsMetadata) -> list[Any]:
    """TFDS's own instructions (file, skip, take) for ``split``."""
    # Made here: tfds.builder_from_directory would import the code that built the dataset.
    splits = [
        tfds.core.SplitInfo(
            name=name,
            shard_lengths=list(one.shard_lengths),
            num_bytes=0,
            filename_template=tfds.core.ShardedFileTemplate(
                folder, one.template, metadata.name, name, metadata.file_format
            ),
        )
        for name, one in metadata.splits.items()
    ]
    try:
        found = tfds.core.SplitDict(splits)[split].file_instructions
    except (ValueError, KeyError, AssertionError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise SourceError(
            f"{folder}: no split {split!r}{did_you_mean(str(split), metadata.splits)} ({reason})"
        ) from None
    if not found:
        raise SourceError(f"{folder}: split {split!r} selects no records")
    return list(found)


def _check_counts(instructions: Iterable[Any]) -> None:
    """Hold the number of records that the metadata promise against that of every file."""
    promised = {os.fspath(one.filename): one.examples_in_shard for one in instructions}
    with ThreadPoolExecutor(_OPENERS) as pool:
        for path, count in zip(promised, pool.map(_count, promised), strict=True):
            if count != promised[path]:
                raise SourceError(
                    f"{path}: {INFO} promises {counted(promised[path], 'record')}, the file holds {count}; restore the "
                    "file, or prepare the dataset again"
                )


def _count(path: str) -> int:
    with closing(open_reader(path)) as reader:
        return reader.num_records()


def _as_stored(
    folder: str | os.PathLike[str],
    metadata: TfdsMetadata,
    labels: Iterable[str] | None,
    decoders: Mapping[str, Any] | None,
) -> dict[str, Feature]:
    """The features that are read without TFDS."""
    names = metadata.features if labels is None else tuple(labels)
    require_fields(names, list(metadata.features), str(folder))
    decoded = {path for path, _ in tree.leaves(decoders or {})}
    chosen = {path: metadata.features[path] for path in names if path not in decoded}
    if labels is None:
        # A bool is stored as int64: handed on as one, `boxes[is_crowd]` would pick rows 0 and 1.
        chosen = {
            path: feature
            for path, feature in chosen.items()
            if feature.kind == "ClassLabel" or (feature.kind in ("Scalar", "Tensor") and feature.dtype != "bool")
        }
    # What is encoded or keeps its shape in a record comes out of TFDS as it was written.
    return {
        path: feature
        for path, feature in chosen.items()
        if feature.stored_dtype is not None and (not feature.ragged or feature.kind == "ClassLabel")
    }


class TfdsSource:
    """Random access to the records of a split, labels as they are stored. Made by ``source``; picklable."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: Any,
        metadata: TfdsMetadata,
        instructions: list[Any],
        stored: dict[str, Feature],
        decoders: Mapping[str, Any] | None,
    ) -> None:
        self._name = f"{metadata.name}/{metadata.version}"
        self._split = str(split)
        self._pieces = [(Path(one.filename).name, one.skip) for one in instructions]
        self._ends = list(accumulate(one.take for one in instructions))
        self._records = ArrayRecordDataSource(instructions)
        self._stored = stored
        self._decoders = decoders
        rest, self._layout = _divide(json.loads(read_bounded(Path(folder) / FEATURES, MAX_BYTES)), "", stored)
        self._rest = None if rest is None else _feature(rest, folder)
        self._files = _files_of({name for name, _ in self._pieces}, metadata.splits.values())

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, position: int) -> dict[str, Any]:
        """The record at ``position``; a missing label is None.

        Raises:
            SourceError: the record cannot be read or decoded.
        """
        place = self._place(position)
        try:
            return self._decode(self._records[place])
        except Exception as error:  # TFDS and its decoders raise errors of many kinds for damaged data
            raise SourceError(
                f"record {self.record_key(place)} of {self!r} cannot be read: {_first_line(error)}"
            ) from error

    def _place(self, position: int) -> int:
        place = operator.index(position)
        if not -len(self) <= place < len(self):
            raise IndexError(f"position {place} is not in a source of {counted(len(self), 'record')}")
        return place % len(self)

    def _decode(self, record: bytes) -> dict[str, Any]:
        example = parse(record)
        kept = example.features.feature
        values = {path: _value(kept, path, declared) for path, declared in self._stored.items()}
        ragged = [key for key in kept if "/ragged_" in key and key.rpartition("/")[0] in self._stored]
        if ragged:  # TFDS passes over any other key that it is not asked for, but fails on these
            for key in ragged:
                del kept[key]
            record = example.SerializeToString()
        rest = {} if self._rest is None else self._rest.deserialize_example_np(record, decoders=self._decoders)
        return _merge(self._layout, rest, values)

    def record_key(self, position: int) -> str:
        """``file__index``, TFDS's own ``tfds_id``, of the record at ``position`` of this split."""
        place = self._place(position)
        piece = bisect_right(self._ends, place)
        file, skip = self._pieces[piece]
        return record_name(file, place - (self._ends[piece - 1] if piece else 0) + skip)

    @property
    def source_id(self) -> str:
        """Digest of the names of all files of the splits this is a part of."""
        return source_digest(self._files)

    def __repr__(self) -> str:
        return f"TfdsSource({self._name!r}, split={self._split!r}, files={self.source_id})"


def _feature(config: Mapping[str, Any], folder: str | os.PathLike[str]) -> Any:
    """The feature connector that ``config`` describes.

    Raises:
        SourceError: it names a class that is not one of TFDS's own: TFDS would import its module.
    """
    foreign = next((name for name in _class_names(config) if not _OWN_CLASS.fullmatch(name)), None)
    if foreign is not None:
        raise SourceError(
            f"{Path(folder) / FEATURES} names the feature class {foreign!r}; only TFDS's own are imported. Read this "
            "dataset with tfds.data_source if you trust that code"
        )
    try:
        return tfds.features.FeatureConnector.from_json(config)
    except Exception as error:  # TFDS raises errors of many kinds for damaged metadata
        raise SourceError(f"{Path(folder) / FEATURES} is not as TFDS writes it: {_first_line(error)}") from None


def _class_names(config: Any) -> Iterator[str]:
    """The classes that TFDS would look up, in all spellings that it takes, at every depth."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if isinstance(value, str) and key.replace("_", "").lower() in ("pythonclassname", "type"):
                yield value
            yield from _class_names(value)
    elif isinstance(config, list):
        for value in config:
            yield from _class_names(value)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0] or type(error).__name__


def _files_of(read: set[str], splits: Iterable[SplitInfo]) -> list[str]:
    """All files of the splits of which some are ``read``: a sub-split's records are those of its split."""
    return [name for split in splits if read & set(split.filenames) for name in split.filenames]


def _divide(config: Mapping[str, Any], path: str, stored: Mapping[str, Any]) -> tuple[Any, Any]:
    """The part of features.json that is left to TFDS (None: nothing), and where each value of a record belongs.

    The layout has a dict for a dict, the path of a feature in ``stored``, and None for one that TFDS decodes.
    """
    if "featuresDict" in config:
        inner = config["featuresDict"].get("features", {})
        parts = {name: _divide(below, f"{path}/{name}" if path else name, stored) for name, below in inner.items()}
        kept = {name: rest for name, (rest, _) in parts.items() if rest is not None}
        layout = {name: below for name, (_, below) in parts.items()}
        return ({**config, "featuresDict": {"features": kept}} if kept else None), layout
    if path in stored:
        return None, path
    is_dataset = str(config.get("pythonClassName")).endswith(".Dataset")  # decoded to an object of its own
    if "sequence" in config and not is_dataset and "featuresDict" in config["sequence"]["feature"]:
        rest, layout = _divide(config["sequence"]["feature"], path, stored)
        left = {**config, "sequence": {**config["sequence"], "feature": rest}}
        return (None if rest is None else left), layout
    return config, None


def _merge(layout: Mapping[str, Any], rest: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    element: dict[str, Any] = {}
    for name, below in layout.items():
        if isinstance(below, dict):
            element[name] = _merge(below, rest.get(name) or {}, values)
        else:
            element[name] = rest.get(name) if below is None else values[below]
    return element


def _value(record: Any, path: str, declared: Feature) -> Any:
    """One feature of a tf.Example at the kind and width it is stored in; None where it is missing."""
    ragged = f"{path}/ragged_flat_values"
    key = ragged if declared.ragged and ragged in record else path
    if key not in record:
        return None
    found = record[key]
    kind = found.WhichOneof("kind")
    if kind is None:
        return None
    items = getattr(found, kind).value
    if kind == "bytes_list":
        return items[0] if len(items) == 1 and not declared.shape else list(items)
    values = np.array(items, np.int64 if kind == "int64_list" else np.float32)
    if declared.dtype == "uint64" and kind == "int64_list":
        values = values.view(np.uint64)  # TFDS stores the bits
    if key == ragged:
        lengths: list[Any] = []
        while (name := f"{path}/ragged_row_lengths_{len(lengths)}") in record:
            lengths.append(record[name].int64_list.value)
        return reshape_ragged_tensor(values, lengths, declared.shape)
    return values.reshape(record_shape(len(values), declared.shape))


def schema_from_tfds(name_or_folder: str | os.PathLike[str]) -> DatasetSchema:
    """A draft schema: every ClassLabel that TFDS declares, and the splits with their sizes.

    Args:
        name_or_folder: the folder of one prepared version, or a name of the TFDS catalogue such as ``mnist`` or
            ``emnist/letters``: nothing is downloaded, so its splits and sizes are not known.

    Raises:
        SourceError: neither such a folder nor such a name, or no ClassLabel in it.
        SchemaError: the metadata contradict themselves.
    """
    if isinstance(name_or_folder, os.PathLike) or Path(name_or_folder).is_dir():
        found = read_metadata(name_or_folder)
    else:
        found = catalogue_metadata(name_or_folder)
    try:
        return DatasetSchema.model_validate(of_metadata(found).schema)
    except ValidationError as error:
        raise SchemaError(f"the metadata of {name_or_folder} do not make a valid schema: {error}") from None


def catalogue_metadata(name: str) -> TfdsMetadata:
    """What TFDS's catalogue declares of a dataset, offline: its features; no splits.

    Raises:
        SourceError: no such name, or one that TFDS builds with TensorFlow only.
    """
    with tempfile.TemporaryDirectory() as empty:
        try:
            info = tfds.builder(name, data_dir=empty).info
        except tfds.core.DatasetNotFoundError:
            near = did_you_mean(name.split("/")[0].split(":")[0], tfds.list_builders(with_community_datasets=False))
            raise SourceError(f"{name} is neither a prepared TFDS folder nor a name of its catalogue{near}") from None
        except ImportError as error:
            raise SourceError(f"{name}: TFDS builds this dataset with TensorFlow ({error}); give its folder") from None
        except (ValueError, RuntimeError) as error:
            raise SourceError(f"{name}: {str(error).split(chr(10), maxsplit=1)[0]}") from None
        info.features.save_config(empty)
        features = read_features(empty)
    full = f"{info.name}/{info.config_name}" if info.config_name else info.name
    return TfdsMetadata(full, str(info.version), "", {}, features)
