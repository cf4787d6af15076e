"""Pydantic model of a schema file: what the labels of a dataset are promised to be, per split and view.

The label kinds are in ``labels``; reading files is ``reader``; checking arrays is ``check``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    BeforeValidator,
    Field,
    GetPydanticSchema,
    StrictStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from label_guard.core.similar import closest, listed
from label_guard.errors import UsageError
from label_guard.schema.fields import (
    PROBLEMS,
    Count,
    Model,
    Problem,
    Ratio,
    SchemaPath,
    raise_problems,
)
from label_guard.schema.labels import (
    KINDS,
    AnyLabel,
    ClassIdRange,
    ClassLabel,
    Label,
    MultiLabel,
    RealLabel,
    SoftLabel,
)
from label_guard.schema.messages import in_words
from label_guard.schema.split_spec import split_bases
from label_guard.schema.stored_dtypes import emitted_dtypes, rounding_of_sums

# semver.org's own expression, with ASCII digits.
_IDENTIFIER = r"(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = (
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    rf"(-{_IDENTIFIER}(\.{_IDENTIFIER})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
)
_LABEL: TypeAdapter[Label] = TypeAdapter(AnyLabel)
SplitName = Annotated[StrictStr, Field(pattern=r"^[^\[(+]+$")]  # [, ( and + make a sub-split or a sum of splits


def _only_integer(value: object) -> object:
    if type(value) is not int:  # Literal[1] alone takes true and 1.0 for 1
        raise PydanticCustomError("format", "format must be an integer")
    return value


# Fields of several kinds that do not mean the same in each; ignore stays only between kinds of classes.
_OF_KIND = {"unique", "min_length", "max_length", "separator"}


class Override(Model):
    """Base class of ``LabelOverride``, whose fields are made from those of the label kinds."""

    def apply_to(self, label: Label) -> Label:
        """``label`` with the fields of this override; fields that a new kind does not know are left behind.

        Raises:
            pydantic.ValidationError: the result is not a sound label.
        """
        changed = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        kind = changed.get("kind") or label.kind
        known = set(KINDS[kind].model_fields)
        if kind != label.kind:
            known -= _OF_KIND | ({"ignore", "on_ignore"} if kind == "real_label" else set())
        kept = {name: getattr(label, name) for name in sorted(label.model_fields_set & known)}
        return _LABEL.validate_python({**kept, **changed, "kind": kind})


def _override_fields() -> dict[str, Any]:
    """Every field of a label kind, none of them required; ``ignore`` has the type of the last kind, the widest."""
    fields: dict[str, Any] = {"kind": None}  # the first
    for model in KINDS.values():
        hints = get_type_hints(model, include_extras=True)
        fields |= {name: (hints[name] | None, field.description) for name, field in model.model_fields.items()}
    kind: Any = Literal[tuple(KINDS)]
    fields["kind"] = (kind | None, "Another kind of label.")
    return {name: (hint, Field(default=None, description=about)) for name, (hint, about) in fields.items()}


LabelOverride = create_model(
    "LabelOverride",
    __base__=Override,
    __module__=__name__,
    __doc__="Fields of a label that a split or a view changes; those left out stay as they are.",
    **_override_fields(),
)
_Overrides = Annotated[
    dict[StrictStr, Override], GetPydanticSchema(lambda _, handler: handler(dict[StrictStr, LabelOverride]))
]


class Limits(Model):
    """What an audit accepts."""

    max_invalid_ratio: Ratio = Field(default=0.0, description="Greatest accepted share of bad records.")
    min_class_count: Count = Field(default=0, description="Least accepted number of records of each class.")


class Split(Model):
    """One split: how many records, where they are, and how its labels differ."""

    num_examples: Count | None = Field(default=None, description="Number of records this split promises.")
    source: StrictStr | None = Field(default=None, description="URI of the records; paths are relative to this file.")
    labels: _Overrides = Field(default_factory=dict, description="Overrides by label.")
    limits: Limits | None = Field(default=None, description="What an audit accepts of this split in place of `limits`.")


class View(Model):
    """What emitted labels look like later in the pipeline, after a crop, a pad or a k-hot."""

    labels: _Overrides = Field(default_factory=dict, description="Overrides by label.")


class DatasetSchema(Model):
    """Schema of the labels of one dataset.

    >>> schema = DatasetSchema(
    ...     format=1, name="digits", version="1.0.0",
    ...     labels={"label": {"kind": "class_label", "num_classes": 10}},
    ... )
    >>> schema.labels["label"].legal
    '[0, 10)'
    """

    format: Annotated[Literal[1], BeforeValidator(_only_integer)] = Field(description="Version of this file format.")
    name: Annotated[StrictStr, Field(min_length=1)] = Field(description="Name of the dataset.")
    version: Annotated[StrictStr, Field(pattern=_SEMVER, max_length=128)] = Field(description="Semver of the promise.")
    description: StrictStr = Field(default="", description="What the dataset is and where its labels are documented.")
    record_key: StrictStr | None = Field(default=None, description="Path of a feature that identifies a record.")
    labels: Annotated[dict[StrictStr, AnyLabel], Field(min_length=1)] = Field(description="Labels by path.")
    splits: dict[SplitName, Split] = Field(default_factory=dict, description="Splits by name.")
    views: dict[StrictStr, View] = Field(default_factory=dict, description="Named views of emitted labels.")
    limits: Limits = Field(default_factory=Limits, description="What an audit accepts; absent: no bad record.")

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> DatasetSchema:
        from label_guard.schema.dataset_contradictions import dataset_problems  # that module needs this one

        raise_problems(dataset_problems(self), info)
        return self

    def split_name(self, split: str | None) -> str | None:
        """The declared split that ``split`` (``train[:90%]``, ``train``) means; None where none is declared.

        Raises:
            UsageError: the split is unknown or malformed, or left out where several are declared.
        """
        if split in self.splits:
            return split
        if split is None:
            if len(self.splits) > 1:
                raise UsageError(f"schema {self.name} declares several splits ({listed(self.splits)}); pass split=")
            return next(iter(self.splits), None)
        bases = split_bases(split)
        unknown = sorted(bases - set(self.splits))
        if unknown:
            raise UsageError(
                f"schema {self.name} has no split {unknown[0]!r}{_did_you_mean(unknown[0], self.splits)}; it declares: "
                f"{listed(self.splits) or 'none'}"
            )
        if len({self.splits[base].model_dump_json(include={"labels"}) for base in bases}) > 1:
            raise UsageError(f"the splits of {split!r} have different label rules; guard each by itself")
        return min(bases)

    def limits_of(self, split: str | None) -> Limits:
        """Returns what an audit of ``split`` accepts: the limits that the split sets, else the global ones."""
        own = self.splits[split].limits if split in self.splits else None
        return self.limits if own is None else self.limits.model_copy(update=own.model_dump(exclude_unset=True))

    def stored(self, split: str | None = None) -> dict[str, Label]:
        """Labels by path as the source of ``split`` holds them."""
        name = self.split_name(split)
        overrides = {} if name is None else self.splits[name].labels
        return override_labels(self.labels, overrides)

    def checked(self, split: str | None = None, view: str | None = None) -> dict[str, Label]:
        """Labels by path as a guard for ``split`` and ``view`` checks them: stored, or emitted and then viewed."""
        stored = self.stored(split)
        if view is None:
            return stored
        if view not in self.views:
            known = ", ".join(self.views) or "none"
            raise UsageError(
                f"schema {self.name} has no view {view!r}{_did_you_mean(view, self.views)}; it declares: {known}"
            )
        return override_labels({path: emitted_label(label) for path, label in stored.items()}, self.views[view].labels)

    def emitted(self, split: str | None = None, view: str | None = None) -> DatasetSchema:
        """The schema of what leaves a guard for ``split`` and ``view``.

        >>> schema = DatasetSchema(
        ...     format=1, name="coco", version="1.0.0",
        ...     labels={"id": {"kind": "class_label", "num_classes": 2, "class_ids": [1, 90], "emit": "int32"}},
        ... )
        >>> schema.emitted().labels["id"].legal
        '[0, 2)'
        """
        labels = {path: emitted_label(label) for path, label in self.checked(split, view).items()}
        name = self.split_name(split)
        splits = {} if name is None else {name: Split(num_examples=self.splits[name].num_examples)}
        return self.model_copy(update={"labels": labels, "splits": splits, "views": {}})

    def unlabeled_elsewhere(self, split: str | None = None) -> dict[str, frozenset[int]]:
        """By label path: values that other splits declare as unlabeled and this one does not."""
        own = self.stored(split)
        values: dict[str, set[int]] = {path: set() for path in own}
        for other in self.splits:
            for path, label in self.stored(other).items():
                if isinstance(label, ClassLabel) and label.unlabeled is not None:
                    values[path].add(label.unlabeled)
        return {path: frozenset(found - set(own[path].sentinels)) for path, found in values.items()}

    def digest(self, split: str | None = None, view: str | None = None) -> str:
        """16 hex digits over the label rules of ``split`` and ``view``: not over names, limits or versions."""
        rules = {
            path: [
                label.kind,
                label.model_dump(exclude_defaults=True, exclude=set() if label.stores_names else {"class_names"}),
            ]
            for path, label in self.checked(split, view).items()
        }
        elsewhere = {path: sorted(found) for path, found in self.unlabeled_elsewhere(split).items()}
        text = json.dumps([rules, elsewhere], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _did_you_mean(name: str, choices: Iterable[str]) -> str:
    near = closest(name, choices)
    return f"; did you mean {near!r}?" if near else ""


def override_labels(labels: Mapping[str, Label], overrides: Mapping[str, Override]) -> dict[str, Label]:
    """Returns ``labels`` with the overrides of a split or a view applied."""
    return {path: overrides[path].apply_to(label) if path in overrides else label for path, label in labels.items()}


def emitted_label(label: Label) -> Label:
    """Returns ``label`` as it leaves the guard."""
    update: dict[str, Any] = {"emit": None, "dtype": emitted_dtypes(label)}
    if isinstance(label, ClassLabel):
        update |= {"class_ids": None, "separator": None}
        if label.unlabeled is not None and label.on_unlabeled in ("replace", "skip"):
            update["unlabeled"] = update["on_unlabeled"] = None
        if set(label.sentinels) - set(label.kept_sentinels):  # replaced, they are counted as ids
            update |= {"unique": False, "max_length": None}
    elif isinstance(label, MultiLabel):
        update |= dict.fromkeys(("separator", "columns", "min_length", "max_length"))
        update |= {"positive": 1, "negative": 0, "encoding": "k_hot", "unique": False}
    if isinstance(label, ClassLabel | MultiLabel | RealLabel) and label.on_ignore == "replace":
        update["ignore"] = ()
    if isinstance(label, SoftLabel):
        update["tolerance"] = label.tolerance + rounding_of_sums(label)
    return label.model_copy(update={**update})


def problems_of(error: ValidationError) -> Iterator[Problem]:
    """Every problem of a failed validation, contradictions unfolded; paths start at the validated model."""
    tag = 2 if error.title == DatasetSchema.__name__ else 0  # where pydantic puts the kind of a label
    others: list[Any] = []
    for found in error.errors(include_url=False):
        path = loc = tuple(found["loc"])
        if len(loc) > tag and loc[tag] in KINDS and (tag == 0 or loc[0] == "labels"):
            path = (*loc[:tag], *loc[tag + 1 :])
        if found["type"] == PROBLEMS:
            for problem in found.get("ctx", {})["problems"]:
                yield problem._replace(path=(*path, *problem.path))
        else:
            others.append({**found, "loc": path, "fields": _fields_at(loc[:-1])})
    yield from in_words(others)


def _fields_at(loc: SchemaPath) -> list[str]:
    """Names of the fields that the section at ``loc`` knows."""
    model: type[Model] = DatasetSchema
    match loc:
        case (*_, str(kind)) if kind in KINDS and (len(loc) == 1 or loc[0] == "labels"):
            model = KINDS[kind]
        case (*_, "ClassIdRange"):
            model = ClassIdRange
        case ("splits" | "views", _, "labels", _):
            model = LabelOverride
        case ("splits", _):
            model = Split
        case ("views", _):
            model = View
        case ("limits",) | ("splits", _, "limits"):
            model = Limits
        case _:
            pass
    return list(model.model_fields)
