"""What labels, splits, views and limits of a schema may not say together; of one label: ``label_contradictions``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import ValidationError

from label_guard.core.plural import counted
from label_guard.schema.dataset import (
    DatasetSchema,
    Override,
    emitted_label,
    override_labels,
    problems_of,
)
from label_guard.schema.fields import Problem, SchemaPath
from label_guard.schema.label_contradictions import label_problems
from label_guard.schema.labels import ClassLabel, Label
from label_guard.schema.messages import MAX_SUGGESTIONS, suggestion
from label_guard.schema.split_spec import is_training

MAX_WORK = 20_000_000  # values of all labels as each split and view resolves them; about two seconds
_LABEL_WORK = 200  # what resolving a label costs, in values of its lists


def contradictions(schema: DatasetSchema) -> list[Problem]:
    """Returns every contradiction of a leniently validated schema: those of its labels, then those between them."""
    problems = [
        problem._replace(path=("labels", path, *problem.path))
        for path, label in schema.labels.items()
        for problem in label_problems(label)
    ]
    # An override inherits what is wrong with its label, a view what follows from it: reported once, at the label.
    reported = {(problem.rule, problem.path[1:]) for problem in problems}
    wrong = {("views", problem.path[1]) for problem in problems}
    return problems + [
        problem
        for problem in dataset_problems(schema)
        if (problem.rule, problem.path[3:]) not in reported and (problem.path[0], *problem.path[3:4]) not in wrong
    ]


def dataset_problems(schema: DatasetSchema) -> Iterator[Problem]:
    """Yields the contradictions between the labels, splits, views and limits of a schema, each once."""
    work = _work(schema)
    if work > MAX_WORK:
        message = (
            f"{counted(len(schema.labels), 'label')} in {counted(len(schema.splits), 'split')} and "
            f"{counted(len(schema.views), 'view')} are too many"
        )
        fix = f"split the schema into several files (its size is {work:,}, the limit {MAX_WORK:,})"
        yield Problem("LG207", ("splits" if schema.splits else "views",), message, fix)
        return
    seen: set[tuple[str, SchemaPath]] = set()
    for problem in (*_override_problems(schema), *_path_problems(schema), *_limit_problems(schema)):
        if (problem.rule, problem.path) not in seen:
            seen.add((problem.rule, problem.path))
            yield problem


def _work(schema: DatasetSchema) -> int:
    """How many values are looked at when every label is resolved for every split and view."""
    splits, views = max(1, len(schema.splits)), 1 + len(schema.views)
    of_splits = sum(_labels_work(split.labels) for split in schema.splits.values())
    of_views = sum(_labels_work(view.labels) for view in schema.views.values())
    return _labels_work(schema.labels) * splits * views + of_splits * views + of_views * splits


def _labels_work(labels: Mapping[str, Label | Override]) -> int:
    lists = ("class_names", "class_ids", "ignore", "columns", "shape")
    values: list[Any] = [getattr(label, name, None) for label in labels.values() for name in lists]
    sizes = (len(cast("tuple[Any, ...]", items)) for items in values if isinstance(items, tuple))
    return _LABEL_WORK * len(labels) + sum(sizes)


def _path_problems(schema: DatasetSchema) -> Iterator[Problem]:
    """Features that a label cannot name because it is the feature itself, or because it holds no numbers."""
    holders: list[tuple[SchemaPath, Mapping[str, Label | Override]]] = [(("labels",), schema.labels)]
    holders += [(("splits", name, "labels"), split.labels) for name, split in schema.splits.items()]
    holders += [(("views", name, "labels"), view.labels) for name, view in schema.views.items()]
    for place, labels in holders:
        for path, label in labels.items():
            where: str | None = getattr(label, "where", None)
            mask = schema.labels.get(where or "")
            if where == path or (mask is not None and mask.stores_names):
                what = "itself" if where == path else "that holds names, not numbers"
                message = f"where names the label {where!r} {what}"
                yield Problem("LG216", (*place, path, "where"), message, "name the feature that holds the mask")
            if path in (getattr(label, "columns", None) or ()):
                message = f"columns names the label {path!r} itself"
                yield Problem("LG216", (*place, path, "columns"), message, "give the label a path of its own")


def _override_problems(schema: DatasetSchema) -> Iterator[Problem]:
    bases = [schema.labels]
    for name, split in schema.splits.items():
        problems = list(_applied_problems(("splits", name, "labels"), schema.labels, split.labels))
        yield from problems
        if not problems:
            bases.append(override_labels(schema.labels, split.labels))
            yield from _unlabeled_problems(schema, name)
    for labels in bases if schema.views else ():  # a view must fit the labels of every split
        emitted = {path: emitted_label(label) for path, label in labels.items()}
        for name, view in schema.views.items():
            yield from _applied_problems(("views", name, "labels"), emitted, view.labels)


def _applied_problems(
    where: SchemaPath, labels: Mapping[str, Label], overrides: Mapping[str, Override]
) -> Iterator[Problem]:
    unknown = 0
    for path, override in overrides.items():
        if path not in labels:
            unknown += 1
            fix = suggestion(path, labels if unknown <= MAX_SUGGESTIONS else ())
            yield Problem("LG206", (*where, path), f"no label {path!r} is declared", fix)
            continue
        try:
            override.apply_to(labels[path])
        except ValidationError as error:
            for found in problems_of(error):
                yield found._replace(path=(*where, path, *found.path))


def _limit_problems(schema: DatasetSchema) -> Iterator[Problem]:
    """More records of each class than a split can hold."""
    for name, split in schema.splits.items():
        least, records = schema.limits_of(name).min_class_count, split.num_examples
        own = split.limits is not None and "min_class_count" in split.limits.model_fields_set
        if not records or not least:
            continue
        for path, label in schema.labels.items():
            if not isinstance(label, ClassLabel) or label.rank or path in split.labels:
                continue  # a split that overrides the label may be without labels
            if records < least * label.num_classes:
                place = (*(("splits", name) if own else ()), "limits", "min_class_count")
                message = f"{counted(records, 'record')} of {name!r} cannot hold {least} of each class of {path!r}"
                fix = f"lower min_class_count to at most {records // label.num_classes}"
                yield Problem("LG216", place, message, fix)


def _unlabeled_problems(schema: DatasetSchema, split: str) -> Iterator[Problem]:
    """A training split that declares ``unlabeled`` must say what happens to such records."""
    if not is_training(split):
        return
    for path, label in schema.stored(split).items():
        if isinstance(label, ClassLabel) and label.unlabeled is not None and label.on_unlabeled is None:
            own = path in schema.splits[split].labels
            where = ("splits", split, "labels", path) if own else ("labels", path)
            message = f"training split {split!r} declares unlabeled {label.unlabeled} but not what happens to it"
            yield Problem("LG211", (*where, "unlabeled"), message, "set on_unlabeled: skip, replace or keep")
