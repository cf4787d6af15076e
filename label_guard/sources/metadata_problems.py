"""Compares a schema with what a dataset declares of itself (LG230 to LG234), for lint and audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from label_guard.core.similar import listed
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.fields import Problem, SchemaPath
from label_guard.schema.labels import ClassLabel, Label, RealLabel
from label_guard.schema.messages import suggestion
from label_guard.sources.tfds_metadata import Feature, TfdsMetadata


def source_problems(schema: DatasetSchema, metadata: TfdsMetadata) -> Iterator[Problem]:
    """Where the metadata contradict the schema."""
    features = metadata.features | metadata.stored_features
    for path, label in schema.labels.items():
        where = ("labels", path)
        feature = features.get(path)
        if feature is None and not metadata.complete:
            continue
        if feature is None:
            fix = suggestion(path, list(features))
            yield Problem("LG230", where, f"the dataset has no feature {path!r}", fix)
        else:
            yield from _label_problems(path, label, feature)
    for name, split in schema.splits.items() if metadata.splits else ():
        found = metadata.splits.get(name)
        if found is None:
            fix = suggestion(name, list(metadata.splits))
            yield Problem("LG234", ("splits", name), f"the dataset has no split {name!r}", fix)
        else:
            yield from _size_problems(name, split.num_examples, found.num_examples)


def _label_problems(path: str, label: Label, feature: Feature) -> Iterator[Problem]:
    """Where the metadata of one feature contradict the label at ``path``: count of classes, names, dtype, shape.

    Args:
        path: path of the label.
        label: as the schema declares it.
        feature: as the metadata declare it.
    """
    where = ("labels", path)
    if (
        feature.stores_names
        and label.stores_names
        and set(getattr(label, "class_names", None) or ()) != set(feature.class_names or ())
    ):
        yield from _stored_name_problems(where, label, feature)
    else:
        yield from _count_problems(where, label, feature)
        yield from _name_problems(where, label, feature)
    yield from _storage_problems(where, label, feature)


def _stored_name_problems(where: SchemaPath, label: Label, feature: Feature) -> Iterator[Problem]:
    """Class folders that a split lacks, or that no class is called as."""
    declared = () if isinstance(label, RealLabel) else label.class_names or ()
    found = feature.class_names or ()
    lacking = [name for name in declared if name not in found]
    if lacking:
        message = f"num_classes is {len(declared)} but the dataset lacks {listed(lacking, quote=True)}"
        yield Problem("LG231", (*where, "num_classes"), message, "find the records of these classes")
    others = [name for name in found if name not in declared]
    if others:
        message = f"the dataset has {listed(others, quote=True)}, which class_names do not declare"
        yield Problem("LG232", (*where, "class_names"), message, "correct the names there, or declare them")


def _count_problems(where: SchemaPath, label: Label, feature: Feature) -> Iterator[Problem]:
    if isinstance(label, RealLabel):
        return
    declared = feature.num_classes
    if not isinstance(label, ClassLabel) and declared is None and feature.shape:
        declared = feature.shape[-1]  # the class axis
    # TFDS counts raw ids up from 0, gaps included.
    accepted = {label.num_classes}
    if isinstance(label, ClassLabel) and label.remaps:
        accepted.add(label.id_range[1] + 1)
    if declared is not None and declared not in accepted:
        message = f"num_classes is {label.num_classes} but the dataset declares {declared}"
        yield Problem("LG231", (*where, "num_classes"), message, "audit the data to see which is right")


def _name_problems(where: SchemaPath, label: Label, feature: Feature) -> Iterator[Problem]:
    if isinstance(label, RealLabel) or label.class_names is None or feature.class_names is None:
        return
    for position, (name, raw) in enumerate(zip(label.class_names, label.raw_ids, strict=False)):
        theirs = feature.names_by_id.get(raw)
        if theirs is not None and theirs != name:
            moved = sorted(feature.class_names) == sorted(label.class_names)
            what = "have another order" if moved else "are others"
            message = f"the names of the dataset {what}: {raw} is {theirs!r} there and {name!r} here"
            yield Problem("LG232", (*where, "class_names", position), message, "take the names of the dataset")
            return


def _storage_problems(where: SchemaPath, label: Label, feature: Feature) -> Iterator[Problem]:
    handed_on = {feature.dtype, feature.stored_dtype} - {None}
    if handed_on and not handed_on & set(label.stored_dtypes):
        declared = ", ".join(label.dtype or label.DEFAULT_DTYPES)
        message = f"dtype is {declared} but the dataset declares {feature.dtype} ({feature.kind})"
        yield Problem("LG233", (*where, "dtype"), message, f"set dtype: {feature.stored_dtype or feature.dtype}")
    has_class_axis = not isinstance(label, ClassLabel | RealLabel)  # its length is num_classes
    shape = (*label.shape, None) if has_class_axis else label.shape
    pairs = zip(shape, feature.shape, strict=False)
    if len(shape) != len(feature.shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
        message = f"shape of a record is {_shown(shape)} but the dataset declares {_shown(feature.shape)}"
        yield Problem("LG233", (*where, "shape"), message, "declare the shape of the dataset")


def _shown(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('null' if length is None else str(length) for length in shape)}]"


def split_problems(
    schema: DatasetSchema, split: str | None, features: Mapping[str, Feature], promised: int | None
) -> Iterator[tuple[str, Problem]]:
    """Where the metadata of one split contradict the schema.

    Args:
        schema: the schema.
        split: the split; None where the schema declares none.
        features: its features by path, as far as the metadata declare them.
        promised: how many records they promise; None where they do not say.

    Yields:
        The path of the label, empty where it is about the size of the split, and the problem.
    """
    for path, label in schema.stored(split).items():
        if path in features:
            yield from ((path, problem) for problem in _label_problems(path, label, features[path]))
    if split is not None and split in schema.splits:
        declared = schema.splits[split].num_examples
        yield from (("", problem) for problem in _size_problems(split, declared, promised))


def _size_problems(split: str, declared: int | None, promised: int | None) -> Iterator[Problem]:
    """Where the metadata promise another number of records than the schema declares for ``split``."""
    if None not in (declared, promised) and declared != promised:
        message = f"num_examples is {declared} but the dataset declares {promised}"
        yield Problem("LG234", ("splits", split, "num_examples"), message, "find out which is right")
