"""Guard: a schema compiled once, asked for each element. NumPy only, no I/O, safe to share between threads."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column, as_array, gather
from label_guard.check.kinds import value_check
from label_guard.check.primitives import member
from label_guard.check.result import CheckResult, Rows, RuleViolations
from label_guard.core import dtypes, tree
from label_guard.errors import UsageError
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel
from label_guard.schema.reader import load_schema

Array = NDArray[Any]
_NO_ROWS: Rows = np.empty(0, np.intp)


class LabelCheck:
    """One label of a schema, compiled: judges columns ``[n, ...]`` of its values.

    Attributes:
        path: path of the label in an element.
        label: the resolved label.
    """

    def __init__(self, path: str, label: Label, elsewhere: frozenset[int] = frozenset()) -> None:
        self.path = path
        self.label = label
        self.elsewhere = elsewhere
        self._check = value_check(label, elsewhere)
        self._admitted = frozenset(np.dtype(name) for name in label.stored_dtypes if _width_is_right(label, name))
        self._tail = label.record_shape
        self._fixed = None not in self._tail

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether ``shape`` is the shape of one record's label."""
        if self._fixed:
            return shape == self._tail
        return len(shape) == len(self._tail) and all(
            want is None or want == have for want, have in zip(self._tail, shape, strict=True)
        )

    @property
    def rank(self) -> int:
        """Number of dimensions of one record's label."""
        return len(self._tail)

    @property
    def has_free_shape(self) -> bool:
        """Whether a dimension of the label may have any length."""
        return not self._fixed

    def clean(self, array: Array) -> bool:
        """Whether every record of ``array`` (``[n, ...]``) is legal: the fast path."""
        return array.dtype in self._admitted and self.fits(array.shape[1:]) and self._check.clean(array)

    def faults(self, column: Column, whole: bool, *, dirty: bool = False) -> Iterator[RuleViolations]:
        """The rules that records of ``column`` broke.

        Args:
            column: labels of some records.
            whole: whether its rows are all rows of the batch.
            dirty: whether the column is known to break a rule.
        """
        array, rows = column.array, column.rows
        if array.dtype == object:
            yield from self._judge_items(array, rows)
        elif not column.typed and not self._kind_is_right(array):
            yield from self._judge_kind(array, rows)
        elif column.typed and array.dtype not in self._admitted:
            yield self.bad_rows("LG103", rows, _spec(array.dtype, array.shape[1:]), self._dtype_legal())
        elif not self.fits(array.shape[1:]):
            yield self.bad_rows("LG105", rows, _spec(array.dtype, array.shape[1:]), self._shape_legal())
        elif dirty or not self._check.clean(array):
            yield from self._judge_values(array, rows, whole)

    def _judge_values(self, array: Array, rows: Rows, whole: bool) -> Iterator[RuleViolations]:
        per = max(1, array.size // max(1, array.shape[0]))
        for found in self._check.find(array):
            if len(found.positions):
                broken, first, counts = found.by_row(per)
                told = found.positions if whole and not found.whole else None
                values = found.values if first is None else found.values[first]
                yield RuleViolations(self.path, found.rule, self.label.legal, rows[broken], counts, values, told)

    def bad_rows(self, rule: str, rows: Rows, value: str, legal: str) -> RuleViolations:
        """A fault of whole labels: missing, wrong dtype or shape."""
        return RuleViolations(self.path, rule, legal, rows, np.ones(len(rows), np.intp), value)

    def missing(self, rows: Rows) -> RuleViolations:
        """The fault of records without this label."""
        return self.bad_rows("LG104", rows, "missing", self.label.legal)

    def _kind_is_right(self, array: Array) -> bool:
        return array.size == 0 or any(dtype.kind in _KINDS[array.dtype.kind] for dtype in self._admitted)

    def _judge_kind(self, array: Array, rows: Rows) -> Iterator[RuleViolations]:
        """Python numbers of the wrong kind; floats for class ids are told apart value by value."""
        if isinstance(self.label, ClassLabel) and array.dtype.kind == "f":
            yield from self._judge_items(array.astype(object), rows)
        else:
            yield self.bad_rows("LG103", rows, _spec(array.dtype, array.shape[1:]), self._dtype_legal())

    def _judge_items(self, array: Array, rows: Rows) -> Iterator[RuleViolations]:
        """Object arrays, item by item."""
        if not self.fits(array.shape[1:]):
            yield self.bad_rows("LG105", rows, _spec(array.dtype, array.shape[1:]), self._shape_legal())
            return
        found: dict[str, list[tuple[int, Any]]] = {}
        for row, items in zip(rows.tolist(), array.reshape(array.shape[0], -1).tolist(), strict=True):
            for item in items:
                rule = self._item_rule(item)
                if rule:
                    found.setdefault(rule, []).append((row, item))
        for rule, hits in found.items():
            broken, first, counts = np.unique([row for row, _ in hits], return_index=True, return_counts=True)
            legal = self._dtype_legal() if rule == "LG103" else self.label.legal
            yield RuleViolations(self.path, rule, legal, broken.astype(np.intp), counts, [hits[k][1] for k in first])

    def _item_rule(self, item: Any) -> str | None:
        if item is None:
            return "LG104"
        if isinstance(item, float) and isinstance(self.label, ClassLabel):
            return _float_rule(item)
        if type(item) is not int or not isinstance(self.label, ClassLabel):
            return "LG103"
        if item in self.label.raw_ids or item in self.label.sentinels:
            return None
        if item in self.elsewhere:
            return "LG110"
        return "LG102" if item < 0 else "LG101"

    def _dtype_legal(self) -> str:
        names = self.label.dtype or self.label.DEFAULT_DTYPES
        text = f"dtype {' or '.join(names)}"
        admitted = {dtype.name for dtype in self._admitted}
        if isinstance(self.label, ClassLabel) and not admitted.issuperset(self.label.stored_dtypes):
            return f"{text} wide enough to index {self.label.num_classes} classes"
        return text

    def _shape_legal(self) -> str:
        return f"shape {list(self._tail)}".replace("None", "null")

    @property
    def skips(self) -> bool:
        """Whether records that hold the unlabeled value are left out of the stream."""
        label = self.label
        return isinstance(label, ClassLabel) and label.unlabeled is not None and label.on_unlabeled == "skip"

    def unlabeled_rows(self, array: Array) -> Rows:
        """Rows of ``array`` that hold the unlabeled value, where such records are skipped."""
        unlabeled = self.label.unlabeled if isinstance(self.label, ClassLabel) else None
        if not self.skips or unlabeled is None or array.dtype.kind not in "iuf":
            return _NO_ROWS
        hit = member(array, (unlabeled,))
        return np.flatnonzero(hit.reshape(array.shape[0], -1).any(axis=1))


_KINDS = {"i": "iu", "u": "iu", "f": "f", "b": "b"}


def _float_rule(item: float) -> str:
    if item != item or item in (float("inf"), float("-inf")):
        return "LG107"
    return "LG103" if item.is_integer() else "LG106"


def _width_is_right(label: Label, name: str) -> bool:
    """Narrow ids that JAX would index wrongly are no legal dtype, unless ``emit`` widens them."""
    if not isinstance(label, ClassLabel) or label.emit is not None or not dtypes.is_integer(name):
        return True
    return dtypes.can_index(name, label.num_classes)


def _spec(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    name = dtype.name if dtype.isnative else dtype.str
    return f"{name}[{', '.join(map(str, shape))}]" if shape else name


class Guard:
    """A schema compiled for one split and view.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        split: the split whose rules hold; required where the schema declares several.
        view: a view of the emitted labels, for a guard after a crop, pad or k-hot.

    Raises:
        UsageError: unknown split or view.
        SchemaError: the file is no sound schema.

    >>> import numpy as np
    >>> from label_guard.schema.dataset import DatasetSchema
    >>> guard = Guard(DatasetSchema(format=1, name="digits", version="1.0.0",
    ...     labels={"label": {"kind": "class_label", "num_classes": 10}}))
    >>> result = guard.check({"label": np.array([3, 10, -1])})
    >>> result.valid.tolist(), result.counts
    ([True, False, False], {'LG101': 1, 'LG102': 1})
    """

    def __init__(
        self, schema: DatasetSchema | str | os.PathLike[str], split: str | None = None, view: str | None = None
    ) -> None:
        self.schema = load_schema(schema)
        self.split = self.schema.split_name(split)
        self.view = view
        elsewhere = self.schema.unlabeled_elsewhere(split)
        judged = self.schema.judged(split, view)
        _refuse_uncompiled(judged)
        self.judges = tuple(LabelCheck(path, label, elsewhere[path]) for path, label in judged.items())
        self._skips = any(judge.skips for judge in self.judges)
        self.digest = self.schema.digest(split, view)

    def __reduce__(self) -> tuple[Any, ...]:
        return Guard, (self.schema, self.split, self.view)

    def __repr__(self) -> str:
        place = "".join(f", {part}" for part in (self.split, self.view) if part)
        return f"Guard({self.schema.name}{place})"

    @property
    def labels(self) -> dict[str, Label]:
        """The labels this guard judges, by path."""
        return {judge.path: judge.label for judge in self.judges}

    def check(self, element: Any, *, batched: bool | None = None) -> CheckResult:
        """Judge one element.

        Args:
            element: a tree of arrays; labels ``[batch, ...]`` or those of a single record.
            batched: whether it is a batch; None: told from the labels' ranks where these leave no doubt.

        Raises:
            UsageError: ``batched`` is needed (lists, free shapes, batches of one).
        """
        if batched is None:
            batched = self.is_batched(element)
        return self.check_batch(element) if batched else self.check_records([element])

    def check_batch(self, element: Any) -> CheckResult:
        """Judge a batch: every label ``[batch, ...]``, at its stored width."""
        flat = cast("dict[str, Any]", element) if type(element) is dict else None
        size = -1
        for judge in self.judges:
            value: Any = flat.get(judge.path) if flat is not None else tree.get(element, judge.path)
            if type(value) is not np.ndarray and not _is_plain_subclass(value):
                return self._explain_batch(element)
            if not value.ndim or size not in (-1, value.shape[0]):
                return self._explain_batch(element)
            if not judge.clean(value):
                return self._explain_batch(element, judge)
            size = value.shape[0]
        return CheckResult(size, (), self._skipped(element) if self._skips else None)

    def check_records(self, records: Sequence[Any]) -> CheckResult:
        """Judge unbatched records, vectorised over them; a verdict never hangs on the neighbours."""
        gathered = {judge.path: gather([tree.get(record, judge.path) for record in records]) for judge in self.judges}
        return self.check_columns(gathered, len(records))

    def check_columns(self, gathered: Mapping[str, tuple[list[Column], Rows]], size: int) -> CheckResult:
        """Judge ``size`` records whose labels are gathered already: by path, columns and the rows that lack a value."""
        faults: list[RuleViolations] = []
        columns: list[tuple[LabelCheck, Column]] = []
        for judge in self.judges:
            found, missing = gathered[judge.path]
            faults += self._judge(judge, found, missing, size)
            columns += [(judge, column) for column in found]
        return self._result(size, faults, columns)

    def record_columns(self, records: Sequence[Any]) -> dict[str, list[Column]]:
        """By label path: what the records hold, gathered by dtype and shape."""
        return {judge.path: gather([tree.get(record, judge.path) for record in records])[0] for judge in self.judges}

    def batch_columns(self, element: Any, size: int) -> dict[str, list[Column]]:
        """By label path: what a batch of ``size`` holds; empty where a label has no such leading axis."""
        return {judge.path: _batch_columns(tree.get(element, judge.path), size)[0] or [] for judge in self.judges}

    def _explain_batch(self, element: Any, dirty: LabelCheck | None = None) -> CheckResult:
        """Judge a batch that is not plainly clean; ``dirty``: who found its own label unclean already."""
        values = [(judge, tree.get(element, judge.path)) for judge in self.judges]
        size = _batch_size([value for _, value in values], element)
        rows = np.arange(size)
        faults: list[RuleViolations] = []
        columns: list[tuple[LabelCheck, Column]] = []
        for judge, value in values:
            found, missing = _batch_columns(value, size)
            if found is None:
                faults.append(judge.bad_rows("LG105", rows, _told(value), f"[{size}, ...]"))
                continue
            faults += self._judge(judge, found, missing, size, dirty=judge is dirty)
            columns += [(judge, column) for column in found]
        return self._result(size, faults, columns)

    @staticmethod
    def _judge(
        judge: LabelCheck, columns: list[Column], missing: Rows, size: int, *, dirty: bool = False
    ) -> list[RuleViolations]:
        faults = [judge.missing(missing)] if len(missing) else []
        for column in columns if size else ():  # a wrong dtype without a record broke no rule
            faults += judge.faults(column, len(column.rows) == size, dirty=dirty)
        return _merged(faults)

    def _result(self, size: int, faults: list[RuleViolations], columns: list[tuple[LabelCheck, Column]]) -> CheckResult:
        result = CheckResult(size, tuple(faults))
        skips = [column.rows[judge.unlabeled_rows(column.array)] for judge, column in columns]
        if any(len(rows) for rows in skips):
            rows = np.unique(np.concatenate(skips))
            result.skipped = rows[result.valid[rows]]
        return result

    def _skipped(self, element: Any) -> Rows | None:
        found = [judge.unlabeled_rows(tree.get(element, judge.path)) for judge in self.judges]
        return np.unique(np.concatenate(found)) if any(map(len, found)) else None

    def is_batched(self, element: Any) -> bool:
        """Whether ``element`` is a batch, told from the ranks of its labels.

        Raises:
            UsageError: the labels leave a doubt or disagree.
        """
        told: set[bool] = set()
        for judge in self.judges:
            value = tree.get(element, judge.path)
            if value is tree.MISSING or value is None:
                continue
            if isinstance(value, list | tuple) or judge.has_free_shape:
                raise UsageError(f"cannot tell a record from a batch by label {judge.path!r} alone; pass batched=")
            array, _ = as_array(value)
            extra = array.ndim - judge.rank
            if extra not in (0, 1) or (extra == 1 and array.shape[0] == 1):
                shape = _spec(array.dtype, array.shape)
                raise UsageError(f"label {judge.path!r} is {shape}: a record or a batch? pass batched=")
            told.add(extra == 1)
        if len(told) != 1:
            raise UsageError("the labels disagree on whether this is a batch, or are absent; pass batched=")
        return told.pop()


def _refuse_uncompiled(labels: Mapping[str, Label]) -> None:
    for path, label in labels.items():
        for field in _uncompiled(label):
            raise UsageError(f"label {path!r}: a guard cannot check {field} yet; leave it out of the schema")


def _uncompiled(label: Label) -> Iterator[str]:
    """Fields of a schema that are read and linted, but not yet checked."""
    if label.where is not None:
        yield "where"
    if label.stores_names:
        yield "dtype: string"
    if isinstance(label, ClassLabel | MultiLabel) and label.separator is not None:
        yield "separator"
    if isinstance(label, ClassLabel) and "bool" in label.stored_dtypes:
        yield "dtype: bool"
    if isinstance(label, MultiLabel):
        yield from (name for name in ("positive", "negative", "encoding", "columns") if _is_set(label, name))
    if isinstance(label, RealLabel) and label.ignore:
        yield "ignore of a real_label"
    if isinstance(label, MultiLabel) and not all(isinstance(value, int) for value in label.ignore):
        yield "an ignore value that is not an integer"


def _is_set(label: Label, field: str) -> bool:
    return getattr(label, field) != type(label).model_fields[field].default


def _is_plain_subclass(value: Any) -> bool:
    """Whether ``value`` is an ndarray subclass that holds what it shows (Grain's SharedMemoryArray), unlike a mask."""
    return isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)


def _batch_size(labels: list[Any], element: Any) -> int:
    """Length of the leading axis: the labels' if any has one, else that of any leaf, else 1."""
    for value in itertools.chain(labels, (leaf for _, leaf in tree.leaves(element))):
        if isinstance(value, list | tuple):
            return len(cast("list[Any]", value))
        shape = getattr(value, "shape", ())
        if shape:
            return int(shape[0])
    return 1


def _batch_columns(value: Any, size: int) -> tuple[list[Column] | None, Rows]:
    """Columns of one label of a batch; None where it has no leading axis of ``size``."""
    everything = np.arange(size)
    if value is tree.MISSING or value is None:
        return [], everything
    if isinstance(value, np.ndarray) and cast(Array, value).dtype.hasobject and value.ndim:
        value = list(cast(Array, value))  # ragged batches: judged record by record
    if isinstance(value, list | tuple):
        values = cast("Sequence[Any]", value)
        return gather(values) if len(values) == size else (None, _NO_ROWS)
    array, typed = as_array(value)
    if not array.ndim or array.shape[0] != size:
        return None, _NO_ROWS
    return [Column(everything, array, typed)], _NO_ROWS


def _told(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"length {len(value)}" if shape is None and hasattr(value, "__len__") else f"shape {list(shape or ())}"


def _merged(faults: list[RuleViolations]) -> list[RuleViolations]:
    """Faults of one label with one entry for each rule, rows ascending."""
    by_rule: dict[tuple[str, str], list[RuleViolations]] = {}
    for fault in faults:
        by_rule.setdefault((fault.rule, fault.legal), []).append(fault)
    return [same[0] if len(same) == 1 else _join(same) for same in by_rule.values()]


def _join(faults: list[RuleViolations]) -> RuleViolations:
    rows = np.concatenate([fault.rows for fault in faults])
    order = np.argsort(rows, kind="stable")
    values = [v for f in faults for v in ([f.values] * len(f.rows) if isinstance(f.values, str) else list(f.values))]
    counts = np.concatenate([fault.counts for fault in faults])[order]
    first = faults[0]
    return RuleViolations(first.label, first.rule, first.legal, rows[order], counts, [values[k] for k in order])
