"""The diff of two versions of a schema: what changed, whom it breaks, and whether the version says so."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from label_guard.core.plural import counted
from label_guard.diff.changes import Change, changed, label_changes, shortened, verdict
from label_guard.diff.semver import BUMPS, Bump, declares, is_before, version_for
from label_guard.rules.diagnostic import Diagnostic, Severity
from label_guard.rules.violation import Value
from label_guard.schema.dataset import DatasetSchema, Limits
from label_guard.schema.fields import Problem, SchemaPath
from label_guard.schema.reader import SchemaFile

FailOn = Literal["undeclared", "breaking", "any"]


def diff_schemas(old: DatasetSchema, new: DatasetSchema) -> list[Change]:
    """The changes from ``old`` to ``new``, labels as they are resolved for each split and view.

    >>> old = DatasetSchema(
    ...     format=1, name="pets", version="1.0.0",
    ...     labels={"label": {"kind": "class_label", "num_classes": 2, "class_names": ["cat", "dog"]}},
    ... )
    >>> new = old.model_copy(update={"labels": {
    ...     "label": old.labels["label"].model_copy(update={"class_names": ("dog", "cat")})}})
    >>> [change.what for change in diff_schemas(old, new)]
    ["label 'label': class_names are permuted: dog 1 -> 0, cat 0 -> 1"]
    >>> diff_schemas(old, old)
    []
    """
    return [
        *_dataset_changes(old, new),
        *_set_changes("label", _only_labels(old, new), _only_labels(new, old)),
        *_merged(_resolved_changes(old, new)),
        *_split_changes(old, new),
        *_set_changes("view", old.views, new.views),
    ]


def diff_files(old: SchemaFile, new: SchemaFile, fail_on: FailOn = "undeclared") -> list[Diagnostic]:
    """The changes between two sound schema files, at their places in ``new``, and what is wrong with its version.

    Args:
        old: the earlier file; its ``schema`` is not None.
        new: the later file; its ``schema`` is not None.
        fail_on: which changes are errors: those that the version does not declare, also all breaking ones, or all.
    """
    assert old.schema is not None  # noqa: S101
    assert new.schema is not None  # noqa: S101
    changes = diff_schemas(old.schema, new.schema)
    before, after = old.schema.version, new.schema.version
    bumps = {bump for bump in BUMPS if not declares(before, after, bump)}
    fix = f"write version: {version_for(before, _weightiest(changes)) if changes else before}"
    found = [_diagnostic(change, new, fix if change.bump in bumps else "", fail_on) for change in changes]
    found.sort(key=lambda diagnostic: (diagnostic.line, diagnostic.column, diagnostic.rule))
    undeclared = [change for change in changes if change.bump in bumps]
    return [*found, *(new.diagnostic(problem) for problem in _version_problems(before, after, undeclared, fix))]


def _version_problems(old: str, new: str, undeclared: Sequence[Change], fix: str) -> Iterator[Problem]:
    """What is wrong with the new version, if anything."""
    if is_before(new, old):
        yield Problem("LG351", ("version",), f"the version went back from {old} to {new}", fix)
    elif undeclared:
        weight = _weightiest(undeclared)
        kind = {"major": "breaking", "minor": "compatible", "patch": "documentation"}[weight]
        what = counted(sum(change.bump == weight for change in undeclared), f"{kind} change")
        still = f"is still {old}" if not is_before(old, new) else f"went from {old} to {new}"
        yield Problem("LG350", ("version",), f"the version {still}, which does not declare {what}", fix)


def _weightiest(changes: Sequence[Change]) -> Bump:
    return BUMPS[max(BUMPS.index(change.bump) for change in changes)]


def _diagnostic(change: Change, file: SchemaFile, undeclared_fix: str, fail_on: FailOn) -> Diagnostic:
    severity: Severity = "note"
    fix = ""
    if undeclared_fix:
        severity, fix = "error", f"{undeclared_fix}, or undo it"
    elif fail_on == "any" or (fail_on == "breaking" and change.breaking):
        severity, fix = "error", f"undo it: --fail-on {fail_on} lets no such change pass"
    message = f"{change.what} ({_scope(change)}): {change.reason}"
    is_entry = len(change.path) == 2 and change.path[0] in ("labels", "splits", "views")
    placed = file.diagnostic(Problem(change.rule, change.path, message, fix), key=is_entry)
    properties: dict[str, Value] = {
        "model": change.model,
        "pipeline": change.pipeline,
        "bump": change.bump,
        "declared": not undeclared_fix,
        "old": _plain(change.old),
        "new": _plain(change.new),
    }
    return dataclasses.replace(placed, severity=severity, properties=tuple(properties.items()))


def _scope(change: Change) -> str:
    verdicts = {"trained models": change.model, "training pipelines": change.pipeline}
    broken = [who for who, found in verdicts.items() if found == "breaking"]
    if broken:
        return f"breaks {' and '.join(broken)}"
    return "documentation" if change.documentation else "compatible"


def _plain(value: Any) -> Value:
    return value if value is None or isinstance(value, bool | int | float | str) else shortened(value)


def _dataset_changes(old: DatasetSchema, new: DatasetSchema) -> Iterator[Change]:
    if old.name != new.name:
        reason = "quarantines and reports know a dataset by its name: what they hold belongs to the old one"
        yield changed("LG330", ("name",), old.name, new.name, False, True, reason)
    if old.record_key != new.record_key:
        reason = "records go by other keys: those in quarantines, indices and reports name no record any more"
        yield changed("LG331", ("record_key",), old.record_key, new.record_key, False, True, reason)
    if old.description != new.description:
        yield _documentation(("description",), old.description or None, new.description or None, "description")
    yield from _limit_changes(("limits",), old.limits, new.limits, "")


def _limit_changes(path: SchemaPath, old: Limits, new: Limits, where: str) -> Iterator[Change]:
    # What the greater value accepts more of.
    for field, greater_accepts_more in (("max_invalid_ratio", True), ("min_class_count", False)):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            loosened = (after > before) == greater_accepts_more
            what = f"{where}{field} was {before}, is {after}"
            reason = f"only audits apply limits; data that {'failed may pass' if loosened else 'passed may fail'} now"
            rule = "LG333" if loosened else "LG332"
            yield changed(rule, (*path, field), before, after, False, False, reason, what)


def _documentation(path: SchemaPath, old: Any, new: Any, name: str) -> Change:
    what, reason = f"{name} changed", "it is for people"
    return Change("LG334", path, old, new, "compatible", "compatible", what, reason, documentation=True)


def _only_labels(schema: DatasetSchema, other: DatasetSchema) -> dict[str, Any]:
    """The labels that ``other`` does not declare: each in every split, as stored and in every view."""
    only = schema.labels.keys() - other.labels.keys()
    contexts = [(split, view) for split in schema.splits or (None,) for view in (None, *schema.views)] if only else []
    resolved = [(context, schema.checked(*context)) for context in contexts]
    return {path: [(context, labels[path]) for context, labels in resolved] for path in schema.labels if path in only}


def _only(entries: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if name not in other}


def _renamed(gone: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, str]:
    """New names by old ones, where one entry that is gone equals just one that is new."""
    by_entry: dict[str, list[str]] = {}
    for name, entry in fresh.items():
        by_entry.setdefault(repr(entry), []).append(name)
    olds = Counter(map(repr, gone.values()))
    found = {name: by_entry.get(key, []) for name, entry in gone.items() if olds[key := repr(entry)] == 1}
    return {name: others[0] for name, others in found.items() if len(others) == 1}


def _contexts(old: DatasetSchema, new: DatasetSchema) -> Iterator[tuple[str | None, str | None]]:
    """Pairs of an old and a new split to compare. A schema without splits is compared as if it were its own."""
    pairs = [(name, name) for name in old.splits if name in new.splits]
    pairs += _renamed(_only(old.splits, new.splits), _only(new.splits, old.splits)).items()
    if pairs:
        yield from pairs
    elif old.splits and new.splits:  # nothing says which is which; their order is the best guess
        yield from zip(old.splits, new.splits, strict=False)
    else:
        yield from ((a, b) for a in old.splits or (None,) for b in new.splits or (None,))


def _resolved_changes(old: DatasetSchema, new: DatasetSchema) -> Iterator[Change]:
    """The changes of labels as every guard meets them: those of a split first, then what each view adds."""
    views = [name for name in old.views if name in new.views]
    for splits in _contexts(old, new):
        reported: dict[str, set[str | int]] = {}
        for view in (None, *views):
            holder = ("splits", splits[1]) if view is None else ("views", view)
            before, after = old.checked(splits[0], view), new.checked(splits[1], view)
            for label in (label for label in before if label in after):
                own = _own_fields(old, splits[0], view, label) | _own_fields(new, splits[1], view, label)
                found = [
                    change
                    for change in label_changes(before[label], after[label])
                    if view is None or _is_news(change, own, reported[label])
                ]
                yield from (_placed(change, label, holder if change.path[0] in own else None) for change in found)
                reported.setdefault(label, {_topic(change.path[0]) for change in found})


def _is_news(change: Change, own_fields: set[str], reported: set[str | int]) -> bool:
    """Whether a view reports a change: of a field that it sets, or that its split did not report.

    The dtype that a view inherits is the emitted one, whose changes the split reports at dtype, emit or num_classes.
    """
    field = change.path[0]
    return field in own_fields or (_topic(field) not in reported and field != "dtype")


def _topic(field: str | int) -> str | int:
    """What a field is about: a sentinel and its treatment are reported together."""
    return {"on_ignore": "ignore", "on_unlabeled": "unlabeled"}.get(str(field), field)


def _own_fields(schema: DatasetSchema, split: str | None, view: str | None, label: str) -> set[str]:
    """Fields of a label that the split, or the view where there is one, sets itself."""
    holder = schema.views[view] if view is not None else schema.splits[split] if split is not None else None
    override = holder.labels.get(label) if holder is not None else None
    return set(override.model_fields_set) if override is not None else set()


def _placed(change: Change, label: str, holder: tuple[str, str | None] | None) -> Change:
    """A change of a label with its path from the root of the file; ``holder`` is the split or view that sets it."""
    if holder is None:
        where, name = (), f"label {label!r}"
    else:
        where, name = (holder[0], str(holder[1])), f"label {label!r} in {holder[0][:-1]} {holder[1]!r}"
    return dataclasses.replace(change, path=(*where, "labels", label, *change.path), what=f"{name}: {change.what}")


def _merged(changes: Iterable[Change]) -> list[Change]:
    """One change for each place, however many splits and views see it; the worst verdict counts."""
    found: dict[tuple[Any, ...], Change] = {}
    for change in changes:
        key = (change.rule, change.path, repr(change.old), repr(change.new), change.what)
        other = found.get(key, change)
        worse = change if BUMPS.index(change.bump) > BUMPS.index(other.bump) else other
        model = verdict("breaking" in (change.model, other.model))
        pipeline = verdict("breaking" in (change.pipeline, other.pipeline))
        found[key] = dataclasses.replace(worse, model=model, pipeline=pipeline)
    return list(found.values())


def _split_changes(old: DatasetSchema, new: DatasetSchema) -> Iterator[Change]:
    # Where a schema declares no split or one, pipelines need not name it.
    yield from _set_changes("split", old.splits, new.splits, must_name=len(old.splits) < 2 <= len(new.splits))
    for name in (name for name in old.splits if name in new.splits):
        before, after, where = old.splits[name], new.splits[name], f"split {name!r}: "
        if before.num_examples != after.num_examples:
            what = f"{where}num_examples was {shortened(before.num_examples)}, is {shortened(after.num_examples)}"
            path, reason = ("splits", name, "num_examples"), "no label rule changes; an epoch has another length"
            yield changed("LG324", path, before.num_examples, after.num_examples, False, False, reason, what)
        if before.source != after.source:
            yield _documentation(("splits", name, "source"), before.source, after.source, f"{where}source")
        if before.limits != after.limits:
            yield from _limit_changes(("splits", name, "limits"), old.limits_of(name), new.limits_of(name), where)


_ASKED = ("a pipeline that asks for it stops", "no pipeline asks for it yet", "a pipeline that asks for {!r} stops")
# The rules of what was removed, added and renamed, and the reasons; the last is given the old name.
_SETS = {
    "label": (
        ("LG301", "LG302", "LG303"),
        (
            "nothing is promised of it any more, and nothing checks it",
            "records without it, legal before, are refused",
            "the batch holds it under another key",
        ),
    ),
    "split": (("LG321", "LG322", "LG323"), _ASKED),
    "view": (("LG325", "LG326", "LG327"), _ASKED),
}


def _set_changes(
    noun: str, old: Mapping[str, Any], new: Mapping[str, Any], must_name: bool = False
) -> Iterator[Change]:
    """Labels, splits or views that were removed, added and renamed.

    must_name: pipelines that named none must name one from now on.
    """
    gone, fresh = _only(old, new), _only(new, old)
    renamed = _renamed(gone, fresh)
    rules, reasons = _SETS[noun]
    for before, after in renamed.items():
        what, path = f"{noun} {before!r} renamed to {after!r}", (f"{noun}s", after)
        yield changed(rules[2], path, before, after, False, True, reasons[2].format(before), what)
    for name in (name for name in gone if name not in renamed):
        what, path = f"{noun} {name!r} removed", (f"{noun}s", name)
        yield changed(rules[0], path, name, None, noun == "label", True, reasons[0], what)
    for name in (name for name in fresh if name not in renamed.values()):
        what, path, breaks = f"{noun} {name!r} added", (f"{noun}s", name), must_name or noun == "label"
        reason = f"a pipeline that names no {noun} must now say which" if must_name else reasons[1]
        yield changed(rules[1], path, None, name, False, breaks, reason, what)
