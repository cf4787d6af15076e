"""A first look at a dataset: which fields are labels, by a stated criterion, and what their first records hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from label_guard.core.plural import counted
from label_guard.errors import LabelGuardError, SourceError
from label_guard.infer.datasets import Dataset
from label_guard.infer.profile import ColumnProfile, infer_label
from label_guard.infer.splits import SplitFiles, split_files
from label_guard.sources.base import LabelShapes, RawColumn, Shard
from label_guard.sources.source import Source
from label_guard.sources.tfds_metadata import Feature, Shape

_LABEL_NAME = re.compile(
    r"(^|[/_.-])(label|class|classe|category|categorie|target|y|cls|mask|annotation)s?([_-]?(id|idx|index|name|no))?"
    r"([_-](train|test|val|valid|validation|dev))?$"
)
_MAX_FIELDS = 200
_MAX_CHOSEN = 12
_FIRST, _FIRST_PICTURES = 1000, 32  # records by which fields without a telling name are chosen
_FIRST_CHUNKS = 8
_LEAST = 100  # records of each file that are always looked at
_FEW_VALUES, _RECORDS_EACH = 20, 10  # more values than 20, or than a tenth of the records, are measures such as ages
_FEW_KEPT = 1_000  # distinct values up to which they are counted by split
_REPEATED = 3  # records for each value, on average, of a field that holds classes
BY_CONTENT, ONLY_FIELD = "chosen by its few values", "the only field"
_CLASSES = ("class_label", "multi_label", "soft_label")
PICTURE: Shape = (None, None)


@dataclass(slots=True)
class DatasetProfile:
    """What the first records of a dataset hold.

    Attributes:
        data: the dataset.
        labels: paths of the fields that are taken for labels.
        why: the criterion; empty where the user named them.
        others: what the other fields hold, by the first records.
        peeked: how many records those are.
        profiles: what the records hold, by label path.
        by_split: occurrences of whole numbers and of texts by label path and split, where there are several splits.
        features: the labels as the dataset's own metadata declare them.
        splits: its splits, with their files.
        records: records looked at, by file.
        limit: records looked at in each file, or None.
        whole: whether the records looked at are all.
        unreadable: records that could not be decoded.
        first_unreadable: key of the first of them, and why.
        faults: why files could not be read to their end.
    """

    data: Dataset
    labels: Sequence[str]
    why: str = ""
    others: Mapping[str, str] = field(default_factory=dict[str, str])
    peeked: int = 0
    profiles: dict[str, ColumnProfile] = field(default_factory=dict[str, ColumnProfile])
    by_split: dict[str, dict[str, Counter[int | str]]] = field(default_factory=dict[str, dict[str, Counter[int | str]]])
    features: dict[str, Feature] = field(default_factory=dict[str, Feature])
    splits: list[SplitFiles] = field(default_factory=list[SplitFiles])
    records: Counter[str] = field(default_factory=Counter[str])
    limit: int | None = None
    whole: bool = True
    unreadable: int = 0
    first_unreadable: str = ""
    faults: list[str] = field(default_factory=list[str])

    @property
    def fault_of_records(self) -> str:
        """How many records could not be decoded, and why the first of them; empty where all could."""
        if not self.unreadable:
            return ""
        total = counted(sum(self.records.values()), "record")
        return f"{self.unreadable:,} of {total} cannot be decoded; first {self.first_unreadable}"


def _choose_labels(data: Dataset, split: str | None) -> DatasetProfile:
    """Returns the fields that are labels: those called so, declared, or that hold few values."""
    split = split or next(iter(data.splits()), None)
    fields, declared = data.fields(split), data.declared(split)
    with_names = [path for path, one in declared.items() if one.class_names or one.kind == "ClassLabel"]
    called = [path for path in fields if _LABEL_NAME.search(path.lower().strip())]
    labels, why = (called, "by its name") if called else (with_names, "declared by the dataset")
    if data.uri.startswith("tfds:") and with_names:
        labels, why = with_names, "declared by the dataset"
    fields = [path for path in fields if not _is_part_of_picture(path, fields)]
    if len(fields) == 1:
        labels, why = fields, ONLY_FIELD
    profiles = _peek(data, split, fields[:_MAX_FIELDS])
    if not labels:
        labels, why = _by_content(profiles), BY_CONTENT
    labels = _of_one_length(data, split, labels)
    others = {path: profiles[path].summary() for path in profiles if path not in labels}
    peeked = max((profiles[path].records for path in others), default=0)
    return DatasetProfile(data, labels, why if labels else "", others, peeked)


def _is_part_of_picture(path: str, fields: Sequence[str]) -> bool:
    """Whether a field is the bytes or the path of an image of Hugging Face, which is a field itself."""
    whole, _, part = path.rpartition("/")
    return part in ("bytes", "path") and whole in fields


def _peek(data: Dataset, split: str | None, fields: Sequence[str]) -> dict[str, ColumnProfile]:
    """What the first records of the first file hold, by field; of PNG pictures what their pixels hold."""
    if not fields:
        return {}
    try:
        profiles = _first_records(data.open(dict.fromkeys(fields), split))
        pictures = [path for path, one in profiles.items() if one.pictures]
        if pictures:
            profiles |= _first_records(data.open(dict.fromkeys(pictures, PICTURE), split), _FIRST_PICTURES)
    except LabelGuardError:  # reading the labels reports it
        parts = fields if _may_differ_in_length(data) and len(fields) > 1 else ()
        return {path: one for field in parts for path, one in _peek(data, split, [field]).items()}
    return profiles


def _may_differ_in_length(data: Dataset) -> bool:
    """Whether the fields may belong to several splits, as ``y_train`` and ``y_test`` of one archive do."""
    return data.uri.startswith("npz:")


def _of_one_length(data: Dataset, split: str | None, labels: Sequence[str]) -> Sequence[str]:
    """The first of ``labels``, and the others where they can be read with it."""
    if not _may_differ_in_length(data) or len(labels) < 2:
        return labels
    try:
        _first_records(data.open(dict.fromkeys(labels), split))
    except LabelGuardError:
        return labels[:1]
    return labels


def _first_records(opened: Source, limit: int = _FIRST) -> dict[str, ColumnProfile]:
    profiles = {path: ColumnProfile() for path in opened.labels}
    read = 0
    for number, chunk in enumerate(opened.read(opened.shards()[0])):
        for path, one in profiles.items():
            one.add(chunk.columns[path][: limit - read])
        read += len(chunk)
        if read >= limit or number >= _FIRST_CHUNKS:
            break
    return profiles


def _by_content(profiles: Mapping[str, ColumnProfile]) -> list[str]:
    """The fields that hold classes: names or whole numbers of one value a record, else rows and masks."""
    scalars: list[str] = []
    others: list[str] = []
    for path, one in profiles.items():
        fields = infer_label(one).fields
        distinct = len(one.texts) + len(one.counts)
        few = distinct <= max(_FEW_VALUES, one.records // _RECORDS_EACH)
        repeats = not one.is_scalar or (few and one.records >= _REPEATED * distinct)
        if fields.get("kind") in _CLASSES and distinct > 1 and repeats:
            (scalars if one.is_scalar and (not one.is_float or distinct <= _FEW_VALUES) else others).append(path)
    return (scalars or others)[:_MAX_CHOSEN]


def profile_dataset(
    data: Dataset,
    *,
    labels: Sequence[str] = (),
    split: str | None = None,
    limit: int | None = None,
    budget: int | None = None,
) -> DatasetProfile:
    """Reads the first records of every file.

    Args:
        data: the dataset.
        labels: paths of the labels; chosen where empty.
        split: name of the split that the files are; all that the data hold by themselves, where None.
        limit: records looked at in each file; all, where None.
        budget: bytes of labels, over all files, above which ``limit`` is lowered; None: as many as there are.

    Raises:
        SourceError: the data, or a label, are not there.
    """
    dataset = DatasetProfile(data, tuple(labels)) if labels else _choose_labels(data, split)
    dataset.limit = limit
    shapes: dict[str, Shape | None] = dict.fromkeys(dataset.labels)
    if budget is not None and limit is not None and shapes:
        dataset.limit = min(limit, _affordable(data, shapes, split, budget))
    better = _profile_files(dataset, shapes, split)
    if better:
        dataset = DatasetProfile(data, dataset.labels, dataset.why, dataset.others, dataset.peeked, limit=dataset.limit)
        _profile_files(dataset, shapes | better, split)
    return dataset


def _affordable(data: Dataset, labels: LabelShapes, split: str | None, budget: int) -> int:
    """How many records of each file hold labels of ``budget`` bytes in all, by the first records."""
    names: list[str | None] = [*data.splits()] if split is None else [split]
    opened = [data.open(labels, name) for name in names or [None]]
    files = sum(len(one.shards()) for one in opened)
    try:
        chunk = next(iter(opened[0].read(opened[0].shards()[0])), None)
    except SourceError:
        chunk = None
    if chunk is None or not len(chunk):
        return _LEAST
    size = sum(_size(column) for column in chunk.columns.values()) / len(chunk)
    return max(_LEAST, int(budget / max(size, 8) / files))


def _size(column: RawColumn) -> int:
    """Bytes of a column; 8 for each number and text of a list."""
    if isinstance(column, np.ndarray):
        return column.nbytes
    sizes = (len(cast("list[Any]", one)) * 8 if isinstance(one, list) else getattr(one, "nbytes", 8) for one in column)
    return sum(sizes)


def _profile_files(dataset: DatasetProfile, labels: LabelShapes, split: str | None) -> dict[str, Shape]:
    """Fills ``dataset``; returns the shapes by which the labels must be read again."""
    dataset.profiles = {path: ColumnProfile() for path in labels}
    names: list[str | None] = [split] if split is not None else [*dataset.data.splits()] or [None]
    for name in names:
        opened = dataset.data.open(labels, name)
        dataset.features |= {path: _of_splits(dataset.features.get(path), one) for path, one in opened.features.items()}
        paths = [shard.path for shard in opened.shards()]
        uri = dataset.data.uri
        dataset.splits += [SplitFiles(name, uri, tuple(paths))] if name is not None else split_files(uri, paths)
        for shard in opened.shards():
            if shard.path in dataset.records:  # of another split, too, as COCO128 has one folder for both
                continue
            several = names[1:] or dataset.splits[1:]
            before = {path: _values(one) for path, one in dataset.profiles.items()} if several else {}
            _profile_file(dataset, opened, shard)
            for path, counts in before.items():
                split_of = next(one.name for one in dataset.splits if shard.path in one.paths)
                of_split = dataset.by_split.setdefault(path, {}).setdefault(split_of, Counter())
                of_split.update(_values(dataset.profiles[path]) - counts)
    # Flat storage: a list of one looks like a single value. Bytes that are a PNG are decoded where a mask is asked for.
    shapes: dict[str, Shape] = {path: (None,) for path, one in dataset.profiles.items() if one.is_ragged}
    return shapes | {path: PICTURE for path, one in dataset.profiles.items() if one.pictures}


def _of_splits(known: Feature | None, other: Feature) -> Feature:
    """What two splits declare of one feature: all class folders of both, else the one with more classes."""
    if known is None or known.class_names is None or other.class_names is None:
        return known or other
    if known.stores_names and other.stores_names:
        names = tuple(sorted({*known.class_names, *other.class_names}))
        return replace(known, num_classes=len(names), class_names=names)
    return max(known, other, key=lambda one: len(one.class_names or ()))


def _values(profile: ColumnProfile) -> Counter[int | str]:
    """Occurrences of whole numbers and of texts; of many none."""
    few = len(profile.counts) + len(profile.texts) <= _FEW_KEPT
    return Counter[int | str]({**profile.counts, **profile.texts}) if few else Counter[int | str]()


def _profile_file(dataset: DatasetProfile, opened: Source, shard: Shard) -> None:
    read, limit = 0, dataset.limit
    try:
        for chunk in opened.read(shard):
            taken = chunk if limit is None else chunk.first(limit - read)
            for path, one in dataset.profiles.items():
                one.add(taken.columns[path])
            read += len(taken) + len(taken.unreadable)
            dataset.unreadable += len(taken.unreadable)
            if taken.unreadable and not dataset.first_unreadable:
                dataset.first_unreadable = f"{taken.unreadable[0].key}: {taken.unreadable[0].reason}"
            if taken is not chunk:
                dataset.whole = False
                break
    except SourceError as error:
        dataset.whole = False
        dataset.faults.append(str(error))
    dataset.records[shard.path] += read
