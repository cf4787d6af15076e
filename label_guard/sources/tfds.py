"""Prepared TFDS folders, ArrayRecord or TFRecord, read without TensorFlow and without tensorflow_datasets."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from label_guard.core.files import join
from label_guard.errors import SourceError
from label_guard.sources import array_record, tf_record
from label_guard.sources.base import LabelShapes, Shape, Shard, did_you_mean, require_distinct, require_fields
from label_guard.sources.encoded_labels import Encoding
from label_guard.sources.files import sizes_in
from label_guard.sources.source import Source, peek_fields
from label_guard.sources.tfds_metadata import INFO, Feature, SplitInfo, TfdsMetadata, flat_path, read_metadata

_FORMATS = {form.name: form for form in (array_record.FORMAT, tf_record.FORMAT)}


class Stored(NamedTuple):
    """How a feature lies in a record: its key, its shape (None: not known) and, where it is encoded bytes, how."""

    key: str
    shape: Shape | None
    encoding: Encoding | None = None


def open_tfds(uri: str, folder: str, split: str | None, labels: LabelShapes, record_key: str | None) -> Source:
    """The records of one split of the prepared dataset in ``folder``.

    Shapes are those of the metadata, where these have them: so a pipeline sees the labels. Dtypes never are: a declared
    uint8 would make 255 of a stored -1.

    Args:
        uri: the URI, for errors.
        folder: ``data_dir/name/version``, or with a config between.
        split: name of the split; None is an error that lists them.
        labels: paths of the labels, with declared shapes.
        record_key: path of the feature that names a record; None takes TFDS's file and position.

    Raises:
        SourceError: no such dataset, split or feature, or a file format that is not read.
    """
    metadata = read_metadata(folder)
    files = _shards(uri, folder, _split(uri, metadata, split))
    if metadata.file_format not in _FORMATS:
        raise SourceError(f"{uri} is stored as {metadata.file_format}; read are {' and '.join(_FORMATS)}")
    form = _FORMATS[metadata.file_format]
    stored = {found.key: found for found in (how_stored(*item) for item in metadata.features.items())}
    paths = [*labels, *([record_key] if record_key else [])]
    require_fields(paths, list(stored) or peek_fields(form, files), uri)
    encodings = {path: how for path in labels if path in stored and (how := stored[path].encoding) is not None}
    known = {path: stored[path].shape for path in labels if path in stored and stored[path].shape is not None}
    return Source(
        uri,
        split,
        replace(form, encodings=encodings),
        files,
        {**labels, **known},
        record_key,
        metadata={"dataset": metadata.name, "version": metadata.version},
        expected_records=_split(uri, metadata, split).num_examples,
        features={path: one for path, one in metadata.stored_features.items() if path in labels},
    )


def _split(uri: str, metadata: TfdsMetadata, split: str | None) -> SplitInfo:
    if split is not None and split in metadata.splits:
        return metadata.splits[split]
    fault = "no split is named" if split is None else f"it has no split {split!r}"
    raise SourceError(f"{uri}: {fault}{did_you_mean(split or '', metadata.splits)}")


def _shards(uri: str, folder: str, split: SplitInfo) -> tuple[Shard, ...]:
    if not split.filenames and split.num_examples != 0:
        raise SourceError(f"{uri}: its metadata name no files; give them as tfrecord:{folder}/NAME-SPLIT*")
    require_distinct(split.filenames, join(folder, INFO))
    lengths = zip(split.filenames, split.shard_lengths, strict=True)
    sizes = sizes_in(folder)
    return tuple(
        Shard(join(folder, name), name, index, count, sizes.get(name)) for index, (name, count) in enumerate(lengths)
    )


def how_stored(path: str, feature: Feature) -> Stored:
    """The key under which records hold a feature, and the form.

    >>> how_stored("ids", Feature("ClassLabel", shape=(None, None), ragged=True))
    Stored(key='ids/ragged_flat_values', shape=(None,), encoding=None)
    """
    if feature.kind.endswith("Image"):
        # More than height, width, channels: a sequence of images, which has an item for each.
        return Stored(path, feature.shape, Encoding("image")) if len(feature.shape) <= 3 else Stored(path, None)
    if feature.encoding == "bytes" or feature.encoding == "zlib":
        return Stored(path, feature.shape, Encoding(feature.encoding, feature.dtype or "uint8"))
    if feature.is_flat:
        return Stored(flat_path(path), (None,))
    return Stored(path, feature.shape if feature.kind == "Text" or feature.stored_dtype else None)
