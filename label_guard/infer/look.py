"""A first look at a dataset: which fields are labels, by a stated criterion, and what their first records hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from label_guard.errors import LabelGuardError, SourceError
from label_guard.infer.profile import ColumnProfile, infer_label
from label_guard.infer.splits import SplitFiles, split_files
from label_guard.sources.base import LabelShapes
from label_guard.sources.open import (
    Shape,
    Shard,
    Source,
    declared_features,
    list_fields,
    list_splits,
    open_source,
)
from label_guard.sources.tfds_metadata import Feature, read_metadata

_LABEL_NAME = re.compile(
    r"(^|[/_.-])(label|class|classe|category|categorie|target|y|cls|mask|annotation)s?([_-]?(id|idx|index|name|no))?$"
)
_MAX_FIELDS = 200
_MAX_CHOSEN = 12
_FIRST, _FIRST_PICTURES = 1000, 32  # records by which fields without a telling name are chosen
_FIRST_CHUNKS = 8
_REPEATED = 3  # records for each value, on average, of a field that holds classes
BY_CONTENT = "chosen by its few values"
_CLASSES = ("class_label", "multi_label", "soft_label")
PICTURE: Shape = (None, None)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The fields that are taken for labels.

    Attributes:
        labels: their paths.
        why: the criterion; empty where the user named them.
        others: what the other fields hold, as far as it was looked at.
    """

    labels: Sequence[str]
    why: str = ""
    others: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Look:
    """What the first records of a dataset hold.

    Attributes:
        source: its URI.
        chosen: its labels.
        seen: what was seen, by label path.
        features: the labels as the dataset's own metadata declare them.
        splits: its splits, with their files.
        records: records looked at, by file.
        whole: whether these are all.
    """

    source: str
    chosen: Chosen
    seen: dict[str, ColumnProfile]
    features: dict[str, Feature] = field(default_factory=dict[str, Feature])
    splits: list[SplitFiles] = field(default_factory=list[SplitFiles])
    records: Counter[str] = field(default_factory=Counter[str])
    whole: bool = True


def choose_labels(source: str, named: Sequence[str], split: str | None) -> Chosen:
    """Returns the fields of ``source`` that are labels: those named, called so, declared, or that hold few values.

    Raises:
        SourceError: the source cannot be opened.
    """
    if named:
        return Chosen(tuple(named))
    if source.startswith(("python:", "quarantine:")):
        return Chosen((), "the fields of such a source are not known before it is read")
    split = split or next(iter(list_splits(source)), None)
    declared = _declared(source, split)
    fields = list(declared) if source.startswith("tfds:") else list_fields(source, split=split)
    with_names = [path for path, one in declared.items() if one.class_names or one.kind == "ClassLabel"]
    called = [path for path in fields if _LABEL_NAME.search(path.lower())]
    labels, why = (called, "by its name")
    if source.startswith("tfds:") or not called:
        labels, why = (with_names, "declared by the dataset") if with_names else (labels, why)
    if not labels and len(fields) == 1:
        labels, why = fields, "the only field"
    seen = _peek(source, split, fields[:_MAX_FIELDS])
    if not labels:
        labels, why = _by_content(seen), BY_CONTENT
    others = {path: seen[path].summary() for path in seen if path not in labels}
    return Chosen(labels, why if labels else "", others)


def _declared(source: str, split: str | None) -> Mapping[str, Feature]:
    if source.startswith("tfds:"):
        return read_metadata(source.removeprefix("tfds:")).features
    return declared_features(source, split=split)


def _peek(source: str, split: str | None, fields: Sequence[str]) -> dict[str, ColumnProfile]:
    """What the first records of the first file hold, by field; of PNG pictures what their pixels hold."""
    try:
        seen = _first_records(open_source(source, labels=fields, split=split))
        pictures = [path for path, one in seen.items() if one.pictures]
        if pictures:
            opened = open_source(source, labels=dict.fromkeys(pictures, PICTURE), split=split)
            seen |= _first_records(opened, _FIRST_PICTURES)
    except LabelGuardError:  # reading the labels reports it
        return {}
    return seen


def _first_records(opened: Source, limit: int = _FIRST) -> dict[str, ColumnProfile]:
    seen = {path: ColumnProfile() for path in opened.labels}
    read = 0
    for number, chunk in enumerate(opened.read(opened.shards()[0])):
        for path, one in seen.items():
            one.add(chunk.columns[path][: limit - read])
        read += len(chunk)
        if read >= limit or number >= _FIRST_CHUNKS:
            break
    return seen


def _by_content(seen: Mapping[str, ColumnProfile]) -> list[str]:
    """The fields that hold classes: names or whole numbers of one value a record, else rows and masks."""
    scalars: list[str] = []
    others: list[str] = []
    for path, one in seen.items():
        fields = infer_label(one).fields
        distinct = len(one.texts) + len(one.counts)
        repeats = one.records >= _REPEATED * distinct or not one.is_scalar
        if fields.get("kind") in _CLASSES and distinct > 1 and repeats:
            (scalars if one.is_scalar and not one.is_float else others).append(path)
    return (scalars or others)[:_MAX_CHOSEN]


def look_at(source: str, *, labels: Sequence[str] = (), split: str | None = None, limit: int | None = None) -> Look:
    """Reads the first records of every file.

    Args:
        source: URI of the data.
        labels: paths of the labels; chosen where empty.
        split: name of the split that the files are; all that the source holds by itself, where None.
        limit: records looked at in each file; all, where None.

    Raises:
        SourceError: the source, or a label, is not there.
    """
    chosen = choose_labels(source, labels, split)
    look = Look(source, chosen, {path: ColumnProfile() for path in chosen.labels})
    if not chosen.labels:
        return look
    shapes = _look_into(look, dict.fromkeys(chosen.labels), split, limit)
    if shapes:
        look = Look(source, chosen, {path: ColumnProfile() for path in chosen.labels})
        _look_into(look, dict.fromkeys(chosen.labels) | shapes, split, limit)
    return look


def _look_into(look: Look, labels: LabelShapes, split: str | None, limit: int | None) -> dict[str, Shape]:
    """Fills ``look``; returns the shapes by which the labels must be read again."""
    names: list[str | None] = [split] if split is not None else [*list_splits(look.source)] or [None]
    for name in names:
        opened = open_source(look.source, labels=labels, split=name)
        look.features |= opened.features
        paths = [shard.path for shard in opened.shards()]
        named = SplitFiles(name, look.source, tuple(paths)) if name is not None else None
        look.splits += [named] if named is not None else split_files(look.source, paths, None)
        for shard in opened.shards():
            _look_into_file(look, opened, shard, limit)
    # Flat storage: a list of one looks like a single value. Bytes that are a PNG are decoded where a mask is asked for.
    shapes: dict[str, Shape] = {path: (None,) for path, one in look.seen.items() if one.is_ragged}
    return shapes | {path: PICTURE for path, one in look.seen.items() if one.pictures}


def _look_into_file(look: Look, opened: Source, shard: Shard, limit: int | None) -> None:
    read = 0
    try:
        for chunk in opened.read(shard):
            left = None if limit is None else limit - read
            for path, one in look.seen.items():
                one.add(chunk.columns[path][:left])
            read += len(chunk) + len(chunk.unreadable)
            if limit is not None and read > limit:
                look.whole = False
                break
    except SourceError:
        look.whole = False  # the audit of the draft names the fault
        if not read:
            return
    look.records[shard.path] += read if limit is None else min(read, limit)
