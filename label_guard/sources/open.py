r"""Labels of a dataset by URI, and nothing but labels: ``open_source`` is the one way in.

>>> import tempfile, pathlib
>>> folder = tempfile.mkdtemp()
>>> _ = (pathlib.Path(folder) / "train.csv").write_text("id,label\na,3\nb,\n")
>>> source = open_source("csv:train.csv", labels=["label"], base_dir=folder)
>>> [(list(chunk.keys), chunk.columns) for shard in source.shards() for chunk in source.read(shard)]
[(['train.csv__0', 'train.csv__1'], {'label': [3, None]})]
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from label_guard.errors import SourceError
from label_guard.sources import array_record, tf_record
from label_guard.sources.base import (
    Chunk,
    Column,
    Format,
    Shape,
    Shard,
    Unreadable,
    Wanted,
    did_you_mean,
    require_fields,
)
from label_guard.sources.csv import CsvFormat
from label_guard.sources.files import find_shards, resolve
from label_guard.sources.jsonl import JsonLinesFormat
from label_guard.sources.numpy_files import NpyFormat, NpzFormat
from label_guard.sources.parquet import GroupStatistics, ParquetFormat, class_names, column_statistics
from label_guard.sources.python_function import FunctionFormat
from label_guard.sources.quarantine import QuarantineFormat
from label_guard.sources.source import Source, peek_fields
from label_guard.sources.tf_example import ExampleFormat
from label_guard.sources.tfds import open_tfds

__all__ = [
    "Chunk", "Column", "GroupStatistics", "Shape", "Shard", "Source", "Unreadable", "column_statistics", "did_you_mean",
    "list_fields", "open_source",
]  # fmt: skip

_FORMATS: dict[str, Format] = {
    "array_record": ExampleFormat("array_record", array_record.frames),
    "tfrecord": ExampleFormat("tfrecord", tf_record.frames),
    "parquet": ParquetFormat(),
    "csv": CsvFormat(),
    "jsonl": JsonLinesFormat(),
    "npy": NpyFormat(),
    "npz": NpzFormat(),
}
_SCHEMES = ("tfds", *_FORMATS, "quarantine", "python")
_NUMBERED = ("npy", "npz")


def open_source(
    uri: str,
    *,
    labels: Iterable[str] | Mapping[str, Shape | None],
    split: str | None = None,
    record_key: str | None = None,
    base_dir: str | None = None,
) -> Source:
    """Open the dataset at ``uri``.

    Args:
        uri: ``SCHEME:WHERE``; see docs/sources.md.
        labels: paths of the label features; as a mapping, with the shape of one record's label (tf.Example stores
            values flat; without a shape, a single value is taken for a scalar).
        split: the split these records are; ``tfds:`` needs it, and takes no slices.
        record_key: path of a feature that names a record; else the key is ``file__index`` or the row number.
        base_dir: folder that relative paths are taken from; the current one where None.

    Raises:
        SourceError: unknown scheme, no such file, split or label path (the near one is named), or not that format.
        MissingDependencyError: the format needs a package that is not installed.
    """
    scheme, where = _parse(uri)
    wanted = _wanted(labels)
    if scheme == "tfds":
        return open_tfds(uri, resolve(where, base_dir), split, wanted, record_key)
    if scheme == "python":
        function = FunctionFormat(split, str(Path(base_dir or ".").resolve()))
        function.fields(where)
        return Source(uri, split, function, (Shard(where, where, 0),), wanted, record_key, numbered=True)
    if scheme == "quarantine":
        return _open_quarantine(uri, resolve(where, base_dir), split, wanted, record_key)
    files = find_shards(resolve(where, base_dir))
    if scheme in _NUMBERED and len(files) > 1:
        raise SourceError(f"{uri} names {len(files)} files; {scheme}: takes one")
    paths = [*wanted, *([record_key] if record_key else [])]
    require_fields(paths, peek_fields(_FORMATS[scheme], files), uri)
    names = _named_classes(files, wanted) if scheme == "parquet" else {}
    return Source(uri, split, _FORMATS[scheme], files, wanted, record_key, scheme in _NUMBERED, names)


def _open_quarantine(uri: str, where: str, split: str | None, wanted: Wanted, record_key: str | None) -> Source:
    form = QuarantineFormat(split)
    shards = (Shard(where, where.rstrip("/").rpartition("/")[2], 0),)
    require_fields(wanted, form.fields(where), uri)
    return Source(uri, split, form, shards, wanted, record_key)


def list_fields(uri: str, *, base_dir: str | None = None) -> list[str]:
    """What could be a label: the field names of a dataset of files (of tf.Example and JSON: of its first records).

    Raises:
        SourceError: as ``open_source``; also for ``tfds:``, whose metadata say more, and ``python:``.
    """
    scheme, where = _parse(uri)
    if scheme not in _FORMATS:
        raise SourceError(f"the fields of a {scheme}: source cannot be listed")
    return peek_fields(_FORMATS[scheme], find_shards(resolve(where, base_dir)))


def _named_classes(files: Sequence[Shard], labels: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """``class_names`` of the first file; empty where it has none or cannot be read, which reading will tell."""
    try:
        names = class_names(files[0].path, labels)
    except SourceError:
        return {}
    return {"class_names": names} if names else {}


def _wanted(labels: Iterable[str] | Mapping[str, Shape | None]) -> Wanted:
    if isinstance(labels, Mapping):
        return dict(cast("Mapping[str, Shape | None]", labels))
    return dict.fromkeys(labels)


def _parse(uri: str) -> tuple[str, str]:
    scheme, colon, where = uri.partition(":")
    if colon and scheme in _SCHEMES and where:
        return scheme, where
    suffixes = [suffix.lstrip(".") for suffix in Path(uri).suffixes]
    fitting = next((known for known in _FORMATS for suffix in suffixes if suffix.startswith(known)), None)
    misspelt = bool(colon and difflib.get_close_matches(scheme, _SCHEMES, n=1))
    if fitting and not misspelt:
        raise SourceError(f"{uri!r} names no format; did you mean {f'{fitting}:{uri}'!r}?")
    if colon and where:
        raise SourceError(f"unknown source scheme {scheme!r} in {uri!r}{did_you_mean(scheme, _SCHEMES)}")
    raise SourceError(f"{uri!r} is no source; expected SCHEME:WHERE with a scheme of {', '.join(_SCHEMES)}")
