r"""Labels of a dataset by URI, and nothing but labels: ``open_source`` is the one way in.

>>> import tempfile, pathlib
>>> folder = tempfile.mkdtemp()
>>> _ = (pathlib.Path(folder) / "train.csv").write_text("id,label\na,3\nb,\n")
>>> source = open_source("csv:train.csv", labels=["label"], base_dir=folder)
>>> [(list(chunk.keys), chunk.columns) for shard in source.shards() for chunk in source.read(shard)]
[(['train.csv__0', 'train.csv__1'], {'label': [3, None]})]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from label_guard.errors import SourceError, UsageError
from label_guard.sources.base import LabelShapes, MetadataError, Shard, require_fields
from label_guard.sources.files import resolve
from label_guard.sources.python_function import FunctionFormat
from label_guard.sources.quarantine import QuarantineFormat
from label_guard.sources.schemes import SCHEMES, Scheme
from label_guard.sources.source import Source, peek_fields
from label_guard.sources.tfds import open_tfds
from label_guard.sources.tfds_metadata import Feature, Shape, TfdsMetadata, read_metadata
from label_guard.sources.uris import full_uri, parse_uri


def open_source(
    uri: str,
    *,
    labels: Iterable[str] | Mapping[str, Shape | None],
    split: str | None = None,
    record_key: str | None = None,
    base_dir: str | None = None,
) -> Source:
    """Opens the dataset at ``uri``.

    Args:
        uri: ``SCHEME:WHERE``, or a plain path whose name or content shows its format; see docs/sources.md.
        labels: paths of the label features; as a mapping, with the shape of one record's label (tf.Example stores
            values flat; without a shape, a single value is taken for a scalar).
        split: the split these records are; ``tfds:`` needs it, and takes no slices.
        record_key: path of a feature that names a record; else the key is ``file__index`` or the row number.
        base_dir: folder that relative paths are taken from; the current one where None.

    Returns:
        The source. Its ``features`` are the labels as the dataset's own metadata declare them.

    Raises:
        SourceError: unknown scheme, no such file, split or label path (the near one is named), or not that format.
        MissingDependencyError: the format needs a package that is not installed.
    """
    name, where, options = parse_uri(full_uri(uri, base_dir))
    wanted = dict(cast("LabelShapes", labels)) if isinstance(labels, Mapping) else dict.fromkeys(labels)
    if name == "python":
        function = FunctionFormat(split, str(Path(base_dir or ".").resolve()))
        function.fields(where)
        return Source(uri, split, function, (Shard(where, where, 0),), wanted, record_key, numbered=True)
    place = resolve(where, base_dir)
    if name == "tfds":
        return open_tfds(uri, place, split, wanted, record_key)
    if name == "quarantine":
        return _open_quarantine(uri, place, split, wanted, record_key)
    scheme = SCHEMES[name]
    form, files = scheme.form(options), scheme.find(place, split)
    known = peek_fields(form, files)
    if scheme.named or len(known) > 1:
        require_fields([*wanted, *([record_key] if record_key else [])], known, uri)
    declared, fault = _declared(scheme, place, split, files)
    features = _features_of(scheme, declared, wanted)
    return Source(uri, split, form, files, wanted, record_key, scheme.numbered, features=features, metadata_fault=fault)


def _open_quarantine(uri: str, place: str, split: str | None, wanted: LabelShapes, record_key: str | None) -> Source:
    folder, shard = QuarantineFormat(split), Shard(place, place.rstrip("/").rpartition("/")[2], 0)
    require_fields(wanted, folder.fields(place), uri)
    return Source(uri, split, folder, (shard,), wanted, record_key)


def _features_of(scheme: Scheme, declared: Mapping[str, Feature], wanted: Iterable[str]) -> dict[str, Feature]:
    """What is declared of the labels; of a format without names the one feature is that of the one label."""
    paths = list(wanted)
    if not scheme.named and len(paths) == 1 and len(declared) == 1:
        return dict.fromkeys(paths, next(iter(declared.values())))
    return {path: declared[path] for path in paths if path in declared}


def _declared(
    scheme: Scheme, where: str, split: str | None, files: Sequence[Shard]
) -> tuple[Mapping[str, Feature], str]:
    """What the metadata declare, and how they contradict themselves.

    Nothing where the first file cannot be read, which reading will report.
    """
    try:
        return scheme.declared(where, split, tuple(files)), ""
    except MetadataError as error:
        return {}, str(error)
    except SourceError:
        return {}, ""


def declared_features(uri: str, *, split: str | None = None) -> Mapping[str, Feature]:
    """What the metadata of a dataset of files declare of its features, without reading a record.

    Args:
        uri: source URI or path.
        split: name of the split, where folders are splits.

    Raises:
        SourceError: as ``open_source``; also for ``tfds:``, whose metadata ``read_metadata`` reads, and ``python:``.
    """
    name, where, _ = parse_uri(full_uri(uri))
    if name not in SCHEMES:
        raise SourceError(f"a {name}: source declares no features here")
    place = resolve(where, None)
    return SCHEMES[name].declared(place, split, SCHEMES[name].find(place, split))


def source_metadata(uri: str) -> TfdsMetadata:
    """What the dataset at ``uri`` declares of its features; a relative path counts from the working folder.

    Raises:
        UsageError: a source that declares nothing, such as CSV.
        SourceError: the dataset is missing, or its metadata are damaged.
    """
    full = full_uri(uri)
    scheme, _, where = full.partition(":")
    if scheme == "tfds":
        return read_metadata(where)
    features = {} if scheme in ("quarantine", "python") else dict(declared_features(full))
    if not features:
        raise UsageError(f"{uri} declares no features to compare with; to read its records: label-guard audit")
    return TfdsMetadata("", "", scheme, features=features, complete=scheme in ("parquet", "arrow"))


def list_fields(uri: str, *, split: str | None = None) -> list[str]:
    """What could be a label: the field names of a dataset of files (of tf.Example and JSON: of its first records).

    Args:
        uri: source URI or path.
        split: name of the split, where folders are splits.

    Raises:
        SourceError: as ``open_source``; also for ``tfds:``, whose metadata say more, and ``python:``.
    """
    name, where, options = parse_uri(full_uri(uri))
    if name not in SCHEMES:
        raise SourceError(f"the fields of a {name}: source cannot be listed")
    scheme = SCHEMES[name]
    return peek_fields(scheme.form(options), scheme.find(resolve(where, None), split))


def list_splits(uri: str) -> list[str]:
    """The splits that one source holds by itself (TFDS, a ``DatasetDict``, class folders); empty where it has none.

    Raises:
        SourceError: as ``open_source``.
    """
    name, where, _ = parse_uri(full_uri(uri))
    place = resolve(where, None)
    if name == "tfds":
        return list(read_metadata(place).splits)
    return SCHEMES[name].split_names(place) if name in SCHEMES else []
