"""The lint of schema files: what keeps a file from loading, and what will hurt although it loads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain

from label_guard.core.similar import folded, quoted_apart
from label_guard.errors import UsageError
from label_guard.rules.diagnostic import Diagnostic
from label_guard.rules.registry import RULES
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.fields import Problem, SchemaPath
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel
from label_guard.schema.noqa import apply_noqa
from label_guard.schema.reader import SchemaFile, read_schema
from label_guard.schema.syntax import Node
from label_guard.sources.metadata_problems import source_problems
from label_guard.sources.tfds_metadata import TfdsMetadata

# What YAML 1.1 (PyYAML and many others) takes for a boolean, a number or a date, but YAML 1.2 for a string.
_YAML_1_1 = re.compile(
    r"y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF|<<|="
    r"|[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?[0-9][0-9_]*"
    r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
    r"|[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9_]+)([eE][-+]?[0-9]+)?"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"
)


def lint_file(path: str | os.PathLike[str] | SchemaFile, *, metadata: TfdsMetadata | None = None) -> list[Diagnostic]:
    """Everything to say about one schema file, in order of place; ``# noqa`` comments applied.

    With ``metadata`` (``sources.open.source_metadata``) also where they say otherwise.
    """
    file = path if isinstance(path, SchemaFile) else read_schema(path)
    advice = [file.diagnostic(problem) for problem in _advice(file)]
    if metadata is not None and file.schema is not None:
        problems = source_problems(file.schema, metadata)
        # A label or split as a whole is reported at its key.
        advice += [file.diagnostic(problem, key=len(problem.path) == 2) for problem in problems]
    found = [*file.diagnostics, *apply_noqa(file, advice, with_source=metadata is not None)]
    return sorted(found, key=lambda diagnostic: (diagnostic.line, diagnostic.column, diagnostic.rule))


def chosen_rules(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> frozenset[str]:
    """Codes of the rules to report. LG200 is always among them: a file that was not read was not linted.

    Raises:
        UsageError: a code is none of a rule, nor the beginning of one.

    >>> sorted(chosen_rules(select=["LG20"], ignore=["LG201", "LG202"]))[:3]
    ['LG200', 'LG203', 'LG204']
    """
    for code in (*select, *ignore):
        if not code or not any(rule.startswith(code) for rule in RULES):
            raise UsageError(f"no rule has the code {code!r}; label-guard rule lists them all")
    chosen = {rule for rule in RULES if not select or rule.startswith(tuple(select))}
    return frozenset({rule for rule in chosen if not rule.startswith(tuple(ignore))} | {"LG200"})


def _advice(file: SchemaFile) -> Iterator[Problem]:
    stored = _stored_names(file)
    for path, names in _class_names(file):
        yield from _name_advice(path, names, stored=path[-2] in stored)
    if file.schema is not None:
        yield from _split_advice(file.schema)
        yield from _sentinel_advice(file.schema)
        yield from _mask_advice(file.schema)


def _class_names(file: SchemaFile) -> Iterator[tuple[SchemaPath, list[Node]]]:
    """Every list of class names in the file, of labels and of overrides, with its path."""
    for section in ((), ("splits", "*"), ("views", "*")):
        for path, node in _below(file.root or Node(None), (*section, "labels", "*", "class_names")):
            if isinstance(node.value, list):
                yield path, node.value


def _stored_names(file: SchemaFile) -> set[str | int]:
    """The labels of which a split or view holds class names in place of ids."""
    dtypes = chain.from_iterable(
        _below(file.root or Node(None), (*section, "labels", "*", "dtype"))
        for section in ((), ("splits", "*"), ("views", "*"))
    )
    return {path[-2] for path, node in dtypes if "string" in _texts(node)}


def _texts(node: Node) -> list[object]:
    return [one.value for one in node.value] if isinstance(node.value, list) else [node.value]


def _below(node: Node, steps: Sequence[str], path: SchemaPath = ()) -> Iterator[tuple[SchemaPath, Node]]:
    """The nodes that ``steps`` lead to, where ``*`` is any key, with their paths."""
    if not steps:
        yield path, node
    for key, child in node.value.items() if steps and isinstance(node.value, dict) else ():
        if steps[0] in ("*", key):
            yield from _below(child, steps[1:], (*path, key))


def _name_advice(path: SchemaPath, names: list[Node], *, stored: bool) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for position, node in enumerate(names):
        name, place = node.value, (*path, position)
        if not isinstance(name, str):
            continue
        if node.plain is not None and _YAML_1_1.fullmatch(node.plain):
            message = f"class name {name} without quotes is not a string to a YAML 1.1 reader"
            yield Problem("LG213", place, message, f'write "{name}"', "quote")
        key = folded(name)
        if name != name.strip() or not key:
            what = "begins or ends with white space" if key else "is empty"
            fix, kind = ("remove it", "strip") if key else ("name the class", "")
            if key and stored:  # without it other values would be legal
                fix, kind = "remove it here and in the data", ""
            yield Problem("LG219", place, f"class name {name!r} {what}", fix, kind)
        if key in first and first[key] != name:
            message = f"class names {' and '.join(quoted_apart(first[key], name))} look alike"
            yield Problem("LG210", place, message, "make sure that they are two classes")
        first.setdefault(key, name)


def _split_advice(schema: DatasetSchema) -> Iterator[Problem]:
    for name, split in schema.splits.items():
        path = ("splits", name, "num_examples")
        if split.num_examples is None:
            message = f"split {name!r} declares no num_examples: an audit cannot see that records are missing"
            yield Problem("LG214", path, message, "add num_examples")
        elif split.num_examples == 0:
            yield Problem("LG214", path, f"split {name!r} declares 0 examples", "remove the split, or count again")


def _sentinel_advice(schema: DatasetSchema) -> Iterator[Problem]:
    seen: set[SchemaPath] = set()
    for split in schema.splits or (None,):
        overrides = {} if split is None else schema.splits[split].labels
        for path, label in schema.stored(split).items():
            own_fields = overrides[path].model_fields_set if path in overrides else set[str]()
            for field, value in _kept_negatives(label):
                section = ("splits", str(split)) if field in own_fields else ()
                place = (*section, "labels", path, field)
                if place not in seen:
                    seen.add(place)
                    fix = f"set on_{field}: replace" + (" or skip" if field == "unlabeled" else "")
                    yield Problem("LG215", place, _kept_message(label, value), fix)


def _mask_advice(schema: DatasetSchema) -> Iterator[Problem]:
    for path in schema.labels:
        if f"{path}_valid" in schema.labels:
            message = f"label {path}_valid has the name of the validity mask of {path}"
            yield Problem("LG223", ("labels", f"{path}_valid"), message, "rename the label, or pass another valid_key")


def _kept_negatives(label: Label) -> Iterator[tuple[str, float]]:
    """The first negative value of each field whose sentinels stay in the array."""
    if isinstance(label, SoftLabel):
        return
    negative = [value for value in label.ignore if value is not None and value < 0]
    if negative and label.on_ignore == "keep":
        yield "ignore", negative[0]
    if isinstance(label, ClassLabel) and label.unlabeled is not None and label.unlabeled < 0 and label.keeps_unlabeled:
        yield "unlabeled", label.unlabeled


def _kept_message(label: Label, value: float) -> str:
    classes = label.num_classes if isinstance(label, ClassLabel) else 0
    if isinstance(label, MultiLabel):
        effect = "a sigmoid loss without the mask takes it for a target and has no lower bound"
    elif isinstance(label, RealLabel):
        effect = "a loss without the mask takes it for a target"
    elif value >= -classes:
        effect = f"a loss without the mask trains class {classes + value}"
    else:
        effect = "a loss without the mask is NaN, with finite gradients"
    return f"{value} stays in what training gets: {effect}"
