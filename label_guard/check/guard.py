"""Guard: a schema compiled once, checks each element. NumPy only, no I/O, safe to share between threads."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import BUFFERS, Column, Unreadable, UntypedIntegers, all_rows, as_array, spec_text
from label_guard.check.counted_positions import where_array
from label_guard.check.label_check import LabelCheck
from label_guard.check.reading import bool_words
from label_guard.check.result import CheckResult, RuleViolations, merged
from label_guard.core import tree
from label_guard.core.escape import terminal
from label_guard.core.types import Rows
from label_guard.errors import UsageError
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import Label
from label_guard.schema.reader import load_schema


class Guard:
    """A schema compiled for one split and view.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        split: the split whose rules hold; required where the schema declares several.
        view: a view of the emitted labels, for a guard after a crop, pad or k-hot.
        masks: by label, the path of its validity mask. Where elements have such a feature already, positions that it
            marks as padding are not checked.

    Raises:
        UsageError: unknown split or view.
        SchemaError: the file is not a valid schema.

    >>> import numpy as np
    >>> from label_guard.schema.dataset import DatasetSchema
    >>> guard = Guard(DatasetSchema(format=1, name="digits", version="1.0.0",
    ...     labels={"label": {"kind": "class_label", "num_classes": 10}}))
    >>> result = guard.check({"label": np.array([3, 10, -1])})
    >>> result.valid.tolist(), result.counts
    ([True, False, False], {'LG101': 1, 'LG102': 1})
    """

    def __init__(
        self,
        schema: DatasetSchema | str | os.PathLike[str],
        split: str | None = None,
        view: str | None = None,
        masks: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.schema = load_schema(schema)
        self.split = self.schema.split_name(split)
        self.view = view
        elsewhere = self.schema.unlabeled_elsewhere(split)
        checked = self.schema.checked(split, view)
        self.masks = dict(masks)
        self.checks = tuple(
            LabelCheck(path, label, elsewhere[path], self.masks.get(path)) for path, label in checked.items()
        )
        self._skips = any(check.skips for check in self.checks)
        self._decodes = any(check.reader.needs_reading for check in self.checks)
        self._declares_where = any(check.label.where is not None for check in self.checks)
        self._always_closer = self._skips or self._decodes or self._declares_where
        self._paths = tuple((check, check.path) for check in self.checks)
        own = (check.path for check in self.checks if not check.reader.columns)
        self._stored_paths = (*own, *(path for check in self.checks for path in check.reader.columns))
        self.where_paths = frozenset(check.where for check in self.checks if check.where is not None)
        self._has_nested_mask = any("/" in path for path in self.where_paths)

    def __reduce__(self) -> tuple[Any, ...]:
        return Guard, (self.schema, self.split, self.view, self.masks)

    def __repr__(self) -> str:
        place = "".join(f", {part}" for part in (self.split, self.view) if part)
        return terminal(f"Guard({self.schema.name}{place})")

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the label rules that this guard checks."""
        return self.schema.digest(self.split, self.view)

    @cached_property
    def labels(self) -> dict[str, Label]:
        """The labels that this guard checks, by path."""
        return {check.path: check.label for check in self.checks}

    @cached_property
    def read_labels(self) -> dict[str, Label]:
        """By path, the labels that describe the columns of ``record_columns``: ids in place of names and texts."""
        return {check.path: check.checked for check in self.checks}

    @cached_property
    def features(self) -> dict[str, str]:
        """By path, the features of an element that the labels are read from, and what each is for."""
        found: dict[str, str] = {}
        for check in self.checks:
            name = f"label {check.path!r}"
            found |= dict.fromkeys(check.reader.columns, f"a column of {name}") or {check.path: name}
            found |= {} if check.label.where is None else {check.label.where: f"where of {name}"}
        return found

    def check(self, element: Any, *, batched: bool | None = None) -> CheckResult:
        """Checks one element.

        Args:
            element: a tree of arrays; labels ``[batch, ...]`` or those of a single record.
            batched: whether it is a batch; None: inferred from the labels' ranks, where these are unambiguous.

        Raises:
            UsageError: ``batched`` is needed (lists, free shapes, batches of one).
        """
        if batched is None:
            batched = self.is_batched(element)
        return self.check_batch(element) if batched else self.check_records([element])

    def check_batch(self, element: Any) -> CheckResult:
        """Checks a batch: every label ``[batch, ...]``, at its stored width."""
        labels, invalid = self._clean(element)
        if not labels:
            return self._explain_batch(element, invalid)
        size = len(labels[self.checks[0].path])
        skipped = self._skipped(element) if self._skips else None
        if not self.where_paths:
            return CheckResult(size, (), skipped)
        if skipped is not None:
            return self._explain_batch(element)  # positions that do not count skip no record
        return CheckResult(size, (), None, self._padding_of(element, size))

    def clean_batch(self, batch: Any, size: int) -> dict[str, Any]:
        """By path, the labels of a batch of ``size`` if they are valid arrays, all of which counts, none to be skipped.

        The fast path for batches: nothing says only that ``check_batch`` must look closer.
        """
        return {} if self._always_closer else self._clean(batch, size, whole=True)[0]

    def _clean(self, element: Any, size: int = -1, *, whole: bool = False) -> tuple[dict[str, Any], LabelCheck | None]:
        """The labels of a batch if they are valid; else none, and the check that failed, if one did.

        Args:
            element: the batch.
            size: its number of records; -1 where it is not known.
            whole: a batch with a feature that says what counts is not for this.
        """
        features: Any = element
        is_flat = type(element) is dict
        if self._decodes or (whole and self.where_paths and self._has_mask(features)):
            return {}, None
        labels: dict[str, Any] = {}
        for check, path in self._paths:
            value: Any = features[path] if is_flat and path in features else tree.get(element, path)
            if type(value) is not np.ndarray:
                if not _is_plain_subclass(value):
                    return {}, None
                value = np.asarray(value)  # np.matrix has two dimensions, whatever is done to it
            if not value.ndim or size not in (-1, len(value)):
                return {}, None
            if not check.clean(value):
                return {}, check
            if self._declares_where and not check.is_counted_by(element, value.shape):
                return {}, None
            size = len(value)
            labels[path] = value
        return labels, None

    def _has_mask(self, element: Any) -> bool:
        """Whether ``element`` has a feature that may say which positions of a label count."""
        if type(element) is dict and not self._has_nested_mask:
            return not self.where_paths.isdisjoint(cast("dict[str, Any]", element))
        return any(not _is_absent(tree.get(element, path)) for path in self.where_paths)

    def check_records(self, records: Sequence[Any]) -> CheckResult:
        """Checks unbatched records, vectorised; each is checked independently of the others."""
        gathered = {check.path: self._counted_records(check, records) for check in self.checks}
        return self.check_columns(gathered, len(records))

    @staticmethod
    def _counted_records(check: LabelCheck, records: Sequence[Any]) -> tuple[list[Column], Rows]:
        columns, missing = check.reader.records(records)
        where = check.where
        if where is None or (check.label.where is None and records and _is_absent(tree.get(records[0], where))):
            return columns, missing
        return check.leave_out_uncounted(columns, missing, [tree.get(record, where) for record in records])

    @staticmethod
    def _counted_batch(check: LabelCheck, element: Any, size: int) -> tuple[list[Column] | None, Rows]:
        columns, missing = check.reader.batch(element, size)
        if check.where is None or columns is None:
            return columns, missing
        value = tree.get(element, check.where)
        if check.label.where is None and _is_absent(value):
            return columns, missing
        array = where_array(value)
        if array.ndim and array.shape[0] == size:
            return check.leave_out_uncounted(columns, missing, array if array.dtype.kind in "biuf" else list(array))
        if isinstance(value, list | tuple) and len(cast("Sequence[Any]", value)) == size:  # of several lengths
            return check.leave_out_uncounted(columns, missing, cast("Sequence[Any]", value))
        if check.label.where is None or _is_absent(value):
            return check.leave_out_uncounted(columns, missing, [tree.MISSING] * size)
        other = f"a batch of {size} under {check.where!r} of {spec_text(array.dtype, array.shape)}"
        return check.leave_out_uncounted(columns, missing, [Unreadable(other, "LG105")] * size)

    def check_columns(self, gathered: Mapping[str, tuple[list[Column], Rows]], size: int) -> CheckResult:
        """Checks ``size`` records that are gathered already: by label, columns and the rows that lack a value."""
        faults: list[RuleViolations] = []
        for check in self.checks:
            found, missing = gathered[check.path]
            faults += self._check(check, found, missing, size)
        return self._result(size, faults, gathered)

    def record_columns(self, records: Sequence[Any]) -> dict[str, list[Column]]:
        """By label path: what the records hold, gathered by dtype and shape."""
        return {check.path: self._counted_records(check, records)[0] for check in self.checks}

    def gathered(
        self, features: Mapping[str, Any], size: int, untyped: Collection[str] = ()
    ) -> dict[str, tuple[list[Column], Rows]]:
        """By label path, for ``check_columns``: columns of ``size`` records and the rows without a label.

        Args:
            features: values of ``size`` records by path.
            size: number of records.
            untyped: paths whose values are text without types, as in CSV, where bool is written ``True`` or ``false``.
        """
        masks = {path: bool_words(features[path]) for path in self.where_paths.intersection(untyped, features)}
        element = {**features, **masks}
        gathered: dict[str, tuple[list[Column], Rows]] = {}
        for check in self.checks:
            columns, missing = self._counted_batch(check, element, size)
            is_text = all(path in untyped for path in check.reader.columns or (check.path,))
            gathered[check.path] = (check.reader.from_text(columns or []) if is_text else columns or [], missing)
        return gathered

    def batch_columns(self, element: Any, size: int) -> dict[str, list[Column]]:
        """By label path: what a batch of ``size`` holds; empty where a label has no such leading axis."""
        return {check.path: self._counted_batch(check, element, size)[0] or [] for check in self.checks}

    def _explain_batch(self, element: Any, invalid: LabelCheck | None = None) -> CheckResult:
        """Finds all violations of a batch; ``invalid``: the check that already failed."""
        size = self._batch_size(element)
        faults: list[RuleViolations] = []
        gathered: dict[str, tuple[list[Column], Rows]] = {}
        for check in self.checks:
            found, missing = self._counted_batch(check, element, size)
            if found is None:
                found, missing = [], all_rows(size)
                faults += [check.wrong_length(missing, element)] if size else []
            else:
                faults += self._check(check, found, missing, size, invalid=check is invalid)
            gathered[check.path] = (found, missing)
        return self._result(size, faults, gathered)

    def _batch_size(self, element: Any) -> int:
        """Length of the leading axis: of a label if one has it, else of any leaf, else 1; a label may be empty."""
        size = None
        for path in self._stored_paths:
            length = _leading_length(tree.get(element, path))
            if length:
                return length
            size = length if size is None else size
        if size is None:
            lengths = (_leading_length(leaf) for _, leaf in tree.leaves(element))
            size = next((length for length in lengths if length is not None), 1)
        return size

    @staticmethod
    def _check(
        check: LabelCheck, columns: list[Column], missing: Rows, size: int, *, invalid: bool = False
    ) -> list[RuleViolations]:
        faults = [check.missing(missing)] if len(missing) else []
        for column in columns if size else ():  # a wrong dtype without a record broke no rule
            faults += check.faults(column, len(column.rows) == size, invalid=invalid)
        return merged(faults)

    def _result(
        self, size: int, faults: list[RuleViolations], gathered: Mapping[str, tuple[list[Column], Rows]]
    ) -> CheckResult:
        padding = _padding(gathered.values(), size) if self.where_paths else None
        columns = {path: found for path, (found, _) in gathered.items()}
        result = CheckResult(size, tuple(faults), padding=padding, columns=columns)
        if self._skips:
            skips = [one.rows[check.unlabeled_rows(one.array)] for check in self.checks for one in columns[check.path]]
            if any(len(rows) for rows in skips):
                rows = np.unique(np.concatenate(skips))
                result.skipped = rows[result.valid[rows]]
        return result

    def _skipped(self, element: Any) -> Rows | None:
        found = [check.unlabeled_rows(tree.get(element, check.path)) for check in self.checks]
        return np.unique(np.concatenate(found)) if any(map(len, found)) else None

    def _padding_of(self, element: Any, size: int) -> Rows | None:
        """Rows of a clean batch of which nothing counts in any label; None where there are none."""
        idle: NDArray[np.bool_] | None = None
        for check in self.checks:
            value = tree.MISSING if check.where is None else tree.get(element, check.where)
            own = None if _is_absent(value) else _idle_rows(value, size, check.rank)
            if own is None:
                return None
            idle = own if idle is None else idle & own
        return None if idle is None or not idle.any() else np.flatnonzero(idle)

    def clean_record(self, record: Any) -> dict[str, Any]:
        """By path, the labels of a record that are arrays or NumPy scalars and valid, the record not to be skipped.

        The fast path for records one by one: nothing says only that ``check_records`` must look closer.
        """
        features: Any = record
        is_flat = type(record) is dict
        if self._always_closer or (self.where_paths and self._has_mask(features)):
            return {}
        labels: dict[str, Any] = {}
        for check, path in self._paths:
            value: Any = features[path] if is_flat and path in features else tree.get(record, path)
            if type(value) is np.ndarray:
                if not check.clean(value[None]):
                    return {}
            elif not isinstance(value, np.generic) or not check.clean_scalar(cast("np.generic[Any]", value)):
                return {}
            labels[path] = value
        return labels

    def is_batched(self, element: Any) -> bool:
        """Whether ``element`` is a batch, inferred from the ranks of its labels.

        Raises:
            UsageError: the labels are ambiguous or disagree.
        """
        forms: set[bool] = set()
        for check in self.checks:
            columns = check.reader.columns
            value = tree.get(element, columns[0] if columns else check.path)
            if value is tree.MISSING or value is None:
                continue
            if isinstance(value, list | tuple) or check.has_free_shape:
                raise UsageError(
                    f"cannot distinguish a record from a batch by label {check.path!r} alone; pass batched=True "
                    "if each element is a batch, batched=False if each is one record"
                )
            array, _ = as_array(value)
            extra = array.ndim - check.rank + (1 if columns else 0)
            if extra not in (0, 1) or (extra == 1 and array.shape[0] == 1):
                shape = spec_text(array.dtype, array.shape)
                raise UsageError(
                    f"label {check.path!r} is {shape}: a record or a batch? pass batched={_trailing(array, extra)}"
                )
            forms.add(extra == 1)
        if len(forms) != 1:
            raise UsageError("the labels disagree on whether this is a batch, or are absent; pass batched=")
        return forms.pop()


def _trailing(array: NDArray[Any], extra: int) -> str:
    """The likely cause where a batch has one axis too many, of length 1, at its end; else nothing."""
    if extra != 2 or array.shape[-1] != 1:
        return ""
    return (
        "True. Likely cause: a trailing axis of one, which broadcasts silently in a loss; remove it where the labels "
        "are written"
    )


def _is_absent(value: Any) -> bool:
    return value is None or value is tree.MISSING


def _idle_rows(value: Any, size: int, rank: int) -> NDArray[np.bool_] | None:
    """bool[size]: the rows in which a feature that says what counts is 0 throughout; None where there are none."""
    array = where_array(value)
    if array.dtype.kind not in "biuf" or array.shape[:1] != (size,) or array.ndim > rank + 1 or not array.size:
        return None
    flat = array.reshape(size, -1)
    idle = flat[:, 0] == 0  # the first position alone rules most rows out
    if not idle.any():
        return None
    idle[idle] = ~flat[idle].any(axis=1)
    return idle


def _padding(gathered: Iterable[tuple[list[Column], Rows]], size: int) -> Rows | None:
    """Rows that are in no column and not missing, in any label: nothing of them counts."""
    found: list[Rows] = []
    for columns, missing in gathered:
        rows = [missing, *(column.rows for column in columns)]
        if sum(map(len, rows)) == size:
            return None
        found += rows
    idle = np.ones(size, np.bool_)
    for rows in found:
        idle[rows] = False
    return idle.nonzero()[0] if idle.any() else None


def _is_plain_subclass(value: Any) -> bool:
    """Whether ``value`` is an ndarray subclass that holds what it shows (Grain's SharedMemoryArray), unlike a mask."""
    return isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)


def _leading_length(value: Any) -> int | None:
    if type(value) is np.ndarray:  # nearly every label
        return len(value) if value.ndim else None
    if isinstance(value, list | tuple | UntypedIntegers):
        return len(cast("list[Any]", value))
    try:
        if hasattr(value, "shape"):
            return int(value.shape[0]) if value.shape else None
        sized = isinstance(value, BUFFERS) or hasattr(value, "__array__")  # such as an Arrow column
        return len(cast("Any", value)) if sized else None
    except Exception:  # a foreign attribute may raise anything
        return None
