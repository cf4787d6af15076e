"""Likely causes that one label alone does not show: features exchanged for one another, names in another order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from label_guard.diagnosis.cause import LikelyCause
from label_guard.diagnosis.label import diagnose
from label_guard.diagnosis.statistics import PYTHON, LabelStatistics
from label_guard.diagnosis.unused import LEGAL_CAUSES
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.fields import fits_shape
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel

# Records a class before ids that stay in a smaller range are evidence and not chance.
_RECORDS_PER_CLASS = 5


def diagnose_dataset(
    schema: DatasetSchema,
    stats: Mapping[str | None, Mapping[str, LabelStatistics]],
    names: Mapping[str | None, Mapping[str, Sequence[str]]],
) -> list[tuple[str | None, str, LikelyCause]]:
    """Likely causes with their split and the path of their label, in the order of the splits and labels.

    Args:
        schema: what the dataset declares.
        stats: statistics by split and label.
        names: class names that the dataset's own metadata give, by split and label, in order of the ids.
    """
    return [
        (split, path, cause)
        for split in stats
        for path, cause in _of_split(schema, split, stats[split], names[split])
        if cause.cause not in LEGAL_CAUSES or not _used_elsewhere(stats, split, path)
    ]


def shuffled_names(label: Label, metadata_names: Sequence[str] | None) -> tuple[int, str, str] | None:
    """The first id whose name differs where the metadata have the schema's names in another order.

    >>> label = ClassLabel(kind="class_label", num_classes=3, class_names=["cat", "dog", "emu"])
    >>> shuffled_names(label, ["cat", "emu", "dog"])
    (1, 'emu', 'dog')

    Returns:
        The raw id, the metadata's name and the schema's; None where the order is the same or other names are there.
    """
    if not isinstance(label, ClassLabel) or label.class_names is None or metadata_names is None or label.remaps:
        return None
    ours = label.class_names
    if tuple(metadata_names) == ours or sorted(metadata_names) != sorted(ours):
        return None
    return next((i, b, a) for i, (a, b) in enumerate(zip(ours, metadata_names, strict=True)) if a != b)


def _of_split(
    schema: DatasetSchema,
    split: str | None,
    stats: Mapping[str, LabelStatistics],
    names: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, LikelyCause]]:
    labels = schema.stored(split)
    pairs = dict(_swapped(labels, stats))
    for path, label in labels.items():
        if path in pairs:
            other = pairs[path]
            text = (
                f"{path} holds what {other} declares, and {other} what {path} declares: the two features are exchanged"
            )
            yield path, LikelyCause("swapped-features", text)
        elif path not in pairs.values():
            yield from (
                (path, cause) for cause in diagnose(path, label, stats[path], split, only_label=len(labels) == 1)
            )
        moved = shuffled_names(label, names.get(path))
        if moved is not None and stats[path].records:
            text = f"the dataset's metadata have the same names in another order: {moved[0]} is {moved[1]!r} there"
            yield path, LikelyCause("shuffled-names", text, {"class_names": list(names[path])})


def _used_elsewhere(stats: Mapping[str | None, Mapping[str, LabelStatistics]], split: str | None, path: str) -> bool:
    """Whether another split uses ids that this one does not: then the classes are there, only not in this split."""
    mine = set(stats[split][path].class_counts)
    return any(not mine.issuperset(labels[path].class_counts) for labels in stats.values())


# Exchanged features ------------------------------------------------------------------------------------------------


def _swapped(labels: Mapping[str, Label], stats: Mapping[str, LabelStatistics]) -> Iterator[tuple[str, str]]:
    """Pairs of labels that hold what the other declares, each with one possible partner."""
    broken = [path for path in labels if stats[path].invalid]
    partners = {
        path: [other for other in labels if other != path and _exchanged(labels, stats, path, other)] for path in broken
    }
    for path, others in partners.items():
        if len(others) != 1 or labels[path] == labels[others[0]]:
            continue
        rivals = [p for p, theirs in partners.items() if others[0] in theirs and p != path]
        if not rivals and (others[0] not in partners or (partners[others[0]] == [path] and path < others[0])):
            yield path, others[0]


def _exchanged(labels: Mapping[str, Label], stats: Mapping[str, LabelStatistics], a: str, b: str) -> bool:
    """``a`` does not hold what it declares, but ``b``'s values would do, and ``a``'s would for ``b``."""
    if not (_fits(labels[a], stats[b]) and _fits(labels[b], stats[a])) or _fits(labels[a], stats[a]):
        return False
    if not _fits(labels[b], stats[b]) and not _same_form(labels[a], labels[b]):
        return True  # two labels of different forms, each with the other's: no chance does that
    return _covers(labels[a], stats[b]) and _covers(labels[b], stats[a])


def _same_form(a: Label, b: Label) -> bool:
    return a.kind == b.kind and a.record_shape == b.record_shape and set(a.stored_dtypes) == set(b.stored_dtypes)


def _fits(label: Label, stats: LabelStatistics) -> bool:
    """Whether everything seen is what ``label`` declares, as far as statistics of another label show.

    Names that another label does not know are not counted one by one, so nothing shows that a label of names fits.
    """
    if "string" in label.stored_dtypes:
        return False
    if not stats.records or stats.violations.keys() & {"LG104", "LG107"} or stats.low is None or stats.high is None:
        return False
    return _fits_dtypes(label, stats) and _fits_shapes(label, stats) and _fits_values(label, stats)


def _fits_dtypes(label: Label, stats: LabelStatistics) -> bool:
    python = {PYTHON[np.dtype(name).kind] for name in label.stored_dtypes}
    return stats.dtypes.keys() <= {*label.stored_dtypes, *python}


def _fits_shapes(label: Label, stats: LabelStatistics) -> bool:
    declared = label.record_shape
    known = stats.shapes.keys() - {"..."}
    if len(known) < len(stats.shapes) and any(length is not None for length in declared):
        return False
    return all(fits_shape(declared, json.loads(shape)) for shape in known)


def _fits_values(label: Label, stats: LabelStatistics) -> bool:
    low, high = stats.low or 0, stats.high or 0
    if isinstance(label, ClassLabel):
        values = set(_ids(stats))
        if not values or stats.illegal_overflow:  # of another kind: the extremes are all there is
            values = {low, high} if not isinstance(label.class_ids, tuple) else set[int | float]()
        known = label.id_set
        return bool(values) and not stats.fractional and all(v in label.sentinels or v in known for v in values)
    if isinstance(label, RealLabel):
        least, most = label.minimum, label.maximum
        return (least is None or low >= least) and (most is None or high <= most)
    if isinstance(label, MultiLabel):
        return not stats.fractional and (low, high) == (0, 1)
    return low >= 0 and high <= 1


def _ids(stats: LabelStatistics) -> set[Any]:
    return {*stats.class_counts, *stats.sentinels, *stats.illegal}


def _covers(label: Label, stats: LabelStatistics) -> bool:
    """Whether ids fill most of the classes of ``label``, with enough records that this is not chance."""
    if not isinstance(label, ClassLabel) or stats.records < _RECORDS_PER_CLASS * label.num_classes:
        return False
    if stats.illegal_overflow:
        return 2 * (stats.high or 0) > label.num_classes
    known = label.id_set
    return 2 * sum(value in known for value in _ids(stats)) > label.num_classes
