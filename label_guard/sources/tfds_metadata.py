"""What a prepared TFDS folder says of itself, from its JSON files and file names alone: no tensorflow_datasets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from label_guard.core.files import is_url, join, read_bounded
from label_guard.errors import SourceError

Shape = tuple[int | None, ...]
INFO, FEATURES = "dataset_info.json", "features.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_LEAVES = ("classLabel", "tensor", "image", "boundingBox", "text", "audio", "video", "translation")
MAX_BYTES = 64 << 20  # of each JSON file and each list of class names
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True, slots=True)
class SplitInfo:
    """One split.

    Attributes:
        num_examples: how many records the metadata promise; None where they do not say.
        shard_lengths: number of records of each file.
        filenames: the files, without their folder, in the order of ``shard_lengths``.
        template: how TFDS makes the file names.
    """

    num_examples: int | None
    shard_lengths: tuple[int, ...]
    filenames: tuple[str, ...]
    template: str = _TEMPLATE


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature as features.json declares it.

    Attributes:
        kind: class of the feature: ``ClassLabel``, ``Scalar``, ``Tensor``, ``Image``, ``Text``, ...
        num_classes: of a ClassLabel or LabeledImage; None where it is not declared.
        class_names: in order of the ids; None where the folder names none.
        dtype: the declared dtype, which need not be the stored one (see ``stored_dtype``); None where none is.
        shape: of one record's value, sequences around it included; None in a place: any length.
        encoding: of a tensor stored as bytes: ``bytes`` or ``zlib``.
        class_ids: stored ids of ``class_names``, where they do not count up from 0, as in COCO.
        ragged: whether it is stored flat, with the lengths of its rows or its shape under other keys.
    """

    kind: str
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    dtype: str | None = None
    shape: Shape = ()
    encoding: str = "none"
    ragged: bool = False
    class_ids: tuple[int, ...] | None = None

    @property
    def is_flat(self) -> bool:
        """Whether a record keeps all its values in one list, under a key of their own."""
        return self.ragged and not self.kind.endswith("Image") and self.encoding == "none"

    @property
    def stores_names(self) -> bool:
        """Whether the stored values are the class names, as those of class folders are."""
        return self.kind == "ClassLabel" and self.dtype == "string"

    @property
    def names_by_id(self) -> dict[int, str]:
        """The class names by stored id; empty where none are declared."""
        names = self.class_names or ()
        return dict(zip(self.class_ids or range(len(names)), names, strict=True))

    @property
    def stored_dtype(self) -> str | None:
        """What tf.Example keeps of it: int64 or float32; None where it keeps bytes."""
        if self.kind not in ("ClassLabel", "Scalar", "Tensor", "BBoxFeature") or self.encoding != "none":
            return None
        if self.dtype is None or self.dtype in ("string", "object", "bytes"):
            return None
        return "float32" if "float" in self.dtype else "int64"


@dataclass(frozen=True, slots=True)
class TfdsMetadata:
    """What a prepared dataset declares.

    Attributes:
        name: of the dataset, without its configuration.
        version: such as ``1.0.0``.
        file_format: ``array_record``, ``tfrecord``, ``parquet``, ...
        splits: by name.
        features: by path; nested ones joined with ``/``, as they are keyed in a record.
        complete: whether these are all features of a record.
    """

    name: str
    version: str
    file_format: str
    splits: dict[str, SplitInfo] = field(default_factory=dict[str, SplitInfo])
    features: dict[str, Feature] = field(default_factory=dict[str, Feature])
    complete: bool = True

    @property
    def stored_features(self) -> dict[str, Feature]:
        """The features by the paths that labels have: a ragged one by that of its flat values, a list of any length."""
        return {
            flat_path(path) if one.is_flat else path: replace(one, shape=(None,), ragged=False) if one.is_flat else one
            for path, one in self.features.items()
        }


def flat_path(path: str) -> str:
    """The path of the values of a ragged feature.

    >>> flat_path("captions/ids")
    'captions/ids/ragged_flat_values'
    """
    return f"{path}/ragged_flat_values"


def record_name(filename: str | os.PathLike[str], index: int) -> str:
    """The key of a record in the form of TFDS's own ``tfds_id``.

    >>> record_name("data/digits-train.array_record-00001-of-00003", 272)
    'digits-train.array_record-00001-of-00003__272'
    """
    return f"{Path(filename).name}__{index}"


def read_metadata(folder: str | os.PathLike[str]) -> TfdsMetadata:
    """The metadata of the prepared dataset in ``folder``, the one that holds dataset_info.json.

    Raises:
        SourceError: no such folder, no prepared dataset, or a damaged JSON file.
    """
    root = os.fspath(folder)
    info = _read_json(root, INFO)
    features = _all_features(root, _read_if_there(root, FEATURES))  # TFDS before 4.1 wrote none
    try:
        file_format = str(info.get("fileFormat") or "tfrecord")
        return TfdsMetadata(
            name=str(info["name"]),
            version=str(info.get("version") or ""),
            file_format=file_format,
            splits={str(one["name"]): _split(one, info["name"], file_format) for one in info.get("splits", ())},
            features=features,
        )
    except _DAMAGED as error:
        raise SourceError(f"{join(root, INFO)} is not as TFDS writes it: {_reason(error)}") from None


def read_features(folder: str | os.PathLike[str]) -> dict[str, Feature]:
    """The features that features.json in ``folder`` declares, by path, with their class names.

    Raises:
        SourceError: there is none, or it is damaged.
    """
    root = os.fspath(folder)
    return _all_features(root, _read_json(root, FEATURES))


def _all_features(root: str, config: Mapping[str, Any]) -> dict[str, Feature]:
    try:
        return dict(_features(root, config, "", "", ()))
    except _DAMAGED as error:
        raise SourceError(f"{join(root, FEATURES)} is not as TFDS writes it: {_reason(error)}") from None


def _read_json(root: str, name: str) -> dict[str, Any]:
    found = _read_if_there(root, name)
    if not found:
        raise SourceError(f"{root} is not a prepared TFDS folder: it has no {name}{_near(root)}")
    return found


def _read_if_there(root: str, name: str) -> dict[str, Any]:
    """A JSON object; empty where the file does not exist."""
    place = join(root, name)
    try:
        found = json.loads(read_bounded(place, MAX_BYTES))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SourceError(f"cannot read {place}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place} is not JSON: {error}; prepare the dataset again") from None
    if not isinstance(found, dict):
        raise SourceError(f"{place} holds a {type(found).__name__}, expected an object")
    return cast("dict[str, Any]", found)


def _near(root: str) -> str:
    """The end of an error message: the prepared folders at most three levels below."""
    levels = () if is_url(root) else range(1, 4)
    found = sorted(str(path.parent) for depth in levels for path in Path(root).glob("*/" * depth + INFO))
    return f"; did you mean {found[0]}?" if found else "; expected the folder of one version, such as digits/1.0.0"


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _split(entry: Mapping[str, Any], dataset: str, file_format: str) -> SplitInfo:
    lengths = tuple(_count(length) for length in _listed(entry, "shardLengths"))
    template = str(entry.get("filepathTemplate") or _TEMPLATE).split("%", maxsplit=1)[0]
    digits = max(5, len(str(len(lengths))))
    total = f"{len(lengths):0{digits}}"
    names: list[str] = []
    for index in range(len(lengths)):
        number = f"{index:0{digits}}"
        parts = {"DATASET": dataset, "SPLIT": entry["name"], "FILEFORMAT": file_format, "SHARD_INDEX": number}
        parts |= {"NUM_SHARDS": total, "SHARD_X_OF_Y": f"{number}-of-{total}"}
        name = template
        for key, value in parts.items():
            name = name.replace(f"{{{key}}}", value)
        names.append(name)
    return SplitInfo(_num_examples(entry, lengths), lengths, tuple(names), template)


def _num_examples(entry: Mapping[str, Any], lengths: tuple[int, ...]) -> int | None:
    if lengths:
        return sum(lengths)
    declared = entry.get("statistics", {}).get("numExamples")  # folders of TFDS before 3.0
    return None if declared is None else _count(declared)


def _listed(entry: Mapping[str, Any], name: str) -> list[Any]:
    found = entry.get(name, [])
    if not isinstance(found, list):
        raise ValueError(f"{name} is {found!r}, expected an array")
    return cast("list[Any]", found)


def _count(value: object) -> int:
    """A number of records: a whole number, or the text of one, as Protobuf writes an int64."""
    count = int(value) if isinstance(value, str) else value
    if type(count) is not int or not 0 <= count < 1 << 63:
        raise ValueError(f"a number of records is {value!r}")
    return count


def _features(
    root: str, config: Mapping[str, Any], path: str, file: str, lengths: Shape
) -> Iterator[tuple[str, Feature]]:
    """The leaves of a feature; ``file``: its name in file names; ``lengths``: of the sequences around it."""
    kind = str(config.get("pythonClassName", "")).rpartition(".")[2]
    if "featuresDict" in config:
        for name, inner in config["featuresDict"].get("features", {}).items():
            # As TFDS names the file: a slash inside a name becomes a dot, one between names a dash.
            below = name.replace("/", ".")
            yield from _features(
                root, inner, f"{path}/{name}" if path else name, f"{file}-{below}" if file else below, lengths
            )
    elif "sequence" in config and kind != "Dataset":
        length = int(config["sequence"].get("length", -1))
        yield from _features(
            root, config["sequence"]["feature"], path, file, (*lengths, None if length < 0 else length)
        )
    elif config:
        yield path, _leaf(root, config, kind, file, lengths)


def _leaf(root: str, config: Mapping[str, Any], kind: str, file: str, lengths: Shape) -> Feature:
    section = next((name for name in _LEAVES if name in config), "")
    declared: Mapping[str, Any] = config.get(section, {})
    counted = declared if section == "classLabel" else declared.get("label", {})
    count = int(counted.get("numClasses", 0)) or None
    is_label = section == "classLabel"
    dimensions = declared.get("shape", {}).get("dimensions", ())
    shape = tuple(None if int(length) < 0 else int(length) for length in dimensions)
    shape = (*lengths, *(shape or ((4,) if section == "boundingBox" else ())))
    return Feature(
        kind=kind or ("ClassLabel" if is_label else section.capitalize()),
        num_classes=count,
        class_names=_class_names(root, file) if is_label or count else None,
        dtype="int64" if is_label else declared.get("dtype"),
        shape=shape,
        encoding=str(declared.get("encoding") or "none"),
        ragged=len(lengths) > 1 or (section == "tensor" and shape.count(None) > 1),
    )


def _class_names(root: str, file: str) -> tuple[str, ...] | None:
    try:
        text = read_bounded(join(root, f"{file}.labels.txt"), MAX_BYTES).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {join(root, file)}.labels.txt: {error}") from None
    return tuple(name.strip() for name in text.split("\n") if name.strip())
