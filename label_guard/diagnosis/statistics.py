"""Mergeable statistics of one label: exact and order-independent, so any cut into shards gives the same report.

A commutative monoid: ``LabelStatistics()`` is the unit, ``merge`` the operation. Bounded parts keep the first in a
fixed order (magnitude, name or key) and count the rest, so the result does not depend on the order of merging. There
are not float sums: those would.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    field_serializer,
    field_validator,
)

from label_guard.check.columns import Column
from label_guard.check.integer_set import IntegerSet
from label_guard.check.primitives import member
from label_guard.check.reading import known_values
from label_guard.check.result import RuleViolations
from label_guard.core.record_key import natural_order
from label_guard.core.strict_json import strict_json
from label_guard.core.types import Array
from label_guard.diagnosis.class_counts import ClassCounts, JsonCounts, count_ids, exact_ids
from label_guard.diagnosis.distribution import Distribution
from label_guard.diagnosis.illegal import IllegalValues, RecordPlace, extreme, whole
from label_guard.diagnosis.overflow import Count
from label_guard.rules.registry import RULES
from label_guard.schema.labels import ClassLabel, Label, MultiLabel

PlaceOf = Callable[[int], RecordPlace]
Rule = Annotated[str, StringConstraints(pattern=f"^({'|'.join(RULES)})$")]
MAX_SHAPES = 16
_TOLERANCE = 1e-3  # of the sum of a row of probabilities, as soft_label has by default
MAX_EXAMPLES = 5
# Labels that were Python numbers: a kind, but no width of their own.
PYTHON = {"i": "Python int", "u": "Python int", "f": "Python float", "b": "Python bool"}


class Example(BaseModel):
    """A record that broke a rule.

    Attributes:
        record: its key.
        value: its first offending value.
        legal: the legal set in words.
        count: number of offending positions in it.
        place: of the first of them within the label, such as ``(17, 203)`` in a mask; empty where it has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    record: str
    value: StrictBool | StrictInt | StrictFloat | str | None
    legal: str
    count: Count
    place: tuple[Count, ...] = ()

    @field_validator("value", mode="before")
    @classmethod
    def _strict_json(cls, value: Any) -> Any:
        return strict_json(value)


class LabelStatistics(BaseModel):
    """What one label of one split holds.

    Attributes:
        records: records checked.
        invalid: records that broke a rule in this label.
        class_counts: positions by stored class id (``multi_label``: ones by class).
        class_records: records by stored class id that hold it at least once.
        sentinels: positions by declared sentinel.
        violations: by rule, ``[records, positions]``.
        illegal_values: illegal integers, with records, places and files.
        texts: positions that hold text: ``number``, ``class name``, ``name`` or ``blank``.
        not_finite: positions that hold NaN or infinity.
        normalized: records whose label is a row of numbers from 0 to 1 that sum to 1.
        nothing_left: records whose every position holds a declared sentinel, is not measured, or does not count.
        low: smallest finite value seen, None where there was none.
        high: greatest finite value seen.
        dtypes: records by stored dtype; ``python int`` and the like where values had no width.
        shapes: records by shape of the label, the first ``MAX_SHAPES`` in order; the rest under ``...``.
        fractional: positions with a value that is not a whole number.
        one_hot: records whose label is one 1 and zeros.
        distribution: how numbers are distributed, and which classes occur together.
        examples: by rule, the first records by key order with what they broke.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

    records: Count = 0
    invalid: Count = 0
    class_counts: JsonCounts = Field(default_factory=ClassCounts)
    class_records: JsonCounts = Field(default_factory=ClassCounts)
    sentinels: Counter[int] = Field(default_factory=Counter[int])
    violations: dict[Rule, Annotated[list[Count], Field(min_length=2, max_length=2)]] = Field(
        default_factory=dict[str, list[int]]
    )
    illegal_values: IllegalValues = Field(default_factory=IllegalValues)
    texts: Counter[str] = Field(default_factory=Counter[str])
    not_finite: Count = 0
    normalized: Count = 0
    nothing_left: Count = 0
    low: StrictInt | StrictFloat | None = None
    high: StrictInt | StrictFloat | None = None
    dtypes: Counter[str] = Field(default_factory=Counter[str])
    shapes: dict[str, Count] = Field(default_factory=dict[str, int])
    fractional: Count = 0
    one_hot: Count = 0
    distribution: Distribution = Field(default_factory=Distribution)
    examples: dict[Rule, list[Example]] = Field(default_factory=dict[str, list[Example]])

    @field_serializer("violations", "texts", "dtypes", "shapes", "examples", "sentinels")
    def _in_order(self, mapping: dict[Any, Any]) -> dict[str, Any]:
        """One order, whatever order they came in."""
        return {str(key): mapping[key] for key in sorted(mapping)}

    @property
    def illegal(self) -> dict[int | float, int]:
        """Positions by illegal value; see ``illegal.MAX_VALUES`` for how many are kept."""
        return {value: found.positions for value, found in self.illegal_values.values.items()}

    @property
    def illegal_overflow(self) -> int:
        """Positions of illegal values that are not in ``illegal``."""
        return self.illegal_values.overflow.positions

    @property
    def positions(self) -> int:
        """Integer values seen: class ids, sentinels and illegal ones."""
        return self.class_counts.total() + self.sentinels.total() + self.illegal_values.positions

    # Adding -------------------------------------------------------------------------------------------------------

    def add(
        self,
        label: Label,
        columns: Sequence[Column],
        faults: Iterable[RuleViolations],
        size: int,
        keys: Sequence[str],
        *,
        file: str = "",
        rows: Sequence[int] = (),
    ) -> None:
        """Counts ``size`` records.

        Args:
            label: the resolved label.
            columns: what the records hold, by dtype and shape.
            faults: what the check found in this label.
            size: number of records, those without the label included.
            keys: their record keys.
            file: the file that they are in.
            rows: their numbers in it; 0, 1, ... where empty.
        """
        self.records += size
        bad: set[int] = set()
        seen = [column.rows for column in columns]
        for fault in faults:
            seen.append(fault.rows)
            counted = self.violations.setdefault(fault.rule, [0, 0])
            counted[0] += len(fault.rows)
            counted[1] += int(fault.counts.sum())
            bad.update(fault.rows.tolist())
            self._add_examples(fault, keys)
        self.invalid += len(bad)
        if label.where is not None:  # records of which nothing counts are in no column
            self.nothing_left += size - len(np.unique(np.concatenate(seen))) if seen else size
        for column in columns:
            self._add_column(label, column, lambda row: (file, int(rows[row]) if len(rows) else row, str(keys[row])))

    def add_legal_ids(self, label: ClassLabel, values: Array) -> None:
        """Counts ``values`` of records that are known to be legal, without their dtype and shape."""
        self._add_ids(label, values.reshape(-1, 1), None, lambda row: ("", row, ""))

    def end_of_file(self, name: str, *, whole: bool = True) -> None:
        """Notes that these are the statistics of one file and of nothing else.

        Args:
            name: the file.
            whole: whether of all of it; after parts, ``illegal_values.close_files`` is called once all are merged.
        """
        ids = self.class_counts.arrays()[0]
        span = (int(ids[0]), int(ids[-1])) if ids.size else (None, None)
        self.illegal_values.end_of_file(name, self.positions, *span, whole=whole)

    def _add_examples(self, fault: RuleViolations, keys: Sequence[str]) -> None:
        order = sorted(range(len(fault.rows)), key=lambda place: natural_order(keys[int(fault.rows[place])]))
        for place in order[:MAX_EXAMPLES]:
            one, key = fault.violation(place), keys[int(fault.rows[place])]
            example = Example(record=key, value=one.value, legal=one.legal, count=one.count, place=one.place)
            self._keep_examples(fault.rule, [example])

    def _keep_examples(self, rule: str, examples: Sequence[Example]) -> None:
        both = [*self.examples.get(rule, []), *examples]
        self.examples[rule] = sorted(both, key=lambda example: natural_order(example.record))[:MAX_EXAMPLES]

    def _add_column(self, label: Label, column: Column, place_of: PlaceOf) -> None:
        self._add_nothing_left(label, column)
        stored, column = column, known_values(label, column)
        array = column.array
        name = array.dtype.name if array.dtype.isnative else array.dtype.str
        self.dtypes[name if column.typed else PYTHON.get(array.dtype.kind, "Python object")] += len(column.rows)
        self._add_shapes({str(list(array.shape[1:])): len(column.rows)})
        if array.dtype.kind in "OSU":
            self._add_texts(label, array)
        if array.dtype.kind not in "biuf" or not array.dtype.isnative or not array.size:
            return
        if array.dtype.itemsize > 8:  # a long double, whose numbers are none of Python's
            array = array.astype(np.float64)
        counted = column.counts
        self._add_range(array if counted is None else array[counted])
        self.distribution.add(label, stored)
        classes = getattr(label, "num_classes", None)
        if array.ndim == 2 and array.shape[1] == classes and not isinstance(label, MultiLabel):
            self._add_rows(array)
        if isinstance(label, MultiLabel) and array.ndim > 1 and array.shape[-1] == classes:
            self._add_ones(array, counted)
        if isinstance(label, ClassLabel | MultiLabel):
            self._add_ids(label, array, counted, lambda row: place_of(int(column.rows[row])))

    def _add_nothing_left(self, label: Label, column: Column) -> None:
        """Counts records in which no position is left to learn from."""
        array = column.array
        if array.dtype.kind not in "biuf" or not array.size:
            return
        idle = member(array, label.sentinels)
        if column.counts is not None:
            idle |= ~column.counts
        if array.dtype.kind == "f" and (label.ignores_nan or label.ignores_null):
            idle |= np.isnan(array)
        self.nothing_left += int(np.count_nonzero(idle.reshape(len(array), -1).all(axis=1)))

    def _add_shapes(self, shapes: Mapping[str, int]) -> None:
        both = Counter(self.shapes)
        both.update(shapes)
        names = sorted(both.keys() - {"..."})
        for name in names[MAX_SHAPES:]:
            both["..."] += both.pop(name)
        self.shapes = dict(both)

    def _add_texts(self, label: Label, array: Array) -> None:
        names: set[str] = set(getattr(label, "class_names", None) or ())
        texts = Counter(value for value in array.reshape(-1).tolist() if isinstance(value, str | bytes))
        for value, count in texts.items():
            text = value if isinstance(value, str) else value.decode(errors="replace")
            self.texts["class name" if text in names else _kind_of_text(text)] += count

    def _add_range(self, array: Array) -> None:
        if array.dtype.kind == "f":
            finite = array[np.isfinite(array)]
            self.fractional += int(np.count_nonzero(np.floor(finite) != finite))
            self.not_finite += array.size - finite.size
        else:
            finite = array
        if finite.size:
            self.low = extreme(min, self.low, whole(finite.min().item()))
            self.high = extreme(max, self.high, whole(finite.max().item()))

    def _add_rows(self, array: Array) -> None:
        """Counts rows that are one-hot, or probabilities."""
        binary = np.asarray((array == 0) | (array == 1)).all(axis=1)
        self.one_hot += int(np.count_nonzero(binary & (np.count_nonzero(array, axis=1) == 1)))
        if array.dtype.kind == "f":
            sums = array.sum(axis=1, dtype=np.float64)
            good = (np.abs(sums - 1) <= _TOLERANCE) & np.asarray((array >= 0) & (array <= 1)).all(axis=1)
            self.normalized += int(np.count_nonzero(good))

    def _add_ones(self, array: Array, counted: Array | None) -> None:
        hot = np.asarray(array == 1) if counted is None else (array == 1) & counted
        self.distribution.add_pairs(hot.reshape(-1, array.shape[-1]))
        rows = hot.reshape(array.shape[0], -1, array.shape[-1])
        classes = np.arange(rows.shape[2])
        self.class_counts.add(classes, rows.sum(axis=(0, 1)))
        self.class_records.add(classes, rows.any(axis=1).sum(axis=0))

    def _add_ids(self, label: ClassLabel | MultiLabel, array: Array, counted: Array | None, place_of: PlaceOf) -> None:
        """Counts class ids, sentinels and illegal integers where ``counted``; of k-hot rows the last two alone."""
        values = array.reshape(array.shape[0], -1)
        if array.dtype.kind == "f":
            finite = np.where(np.isfinite(values), values, 0.5)  # floor of some NaN bits gives a warning
            values = np.where(np.floor(finite) == finite, values, np.nan)
        if values.dtype.kind == "b":
            values = values.astype(np.int8)
        low, high, known = _ids_of(label)
        everything = known is None and counted is None
        if everything and low <= values.min() and values.max() <= high:  # as nearly all chunks are
            if isinstance(label, ClassLabel):
                rows = None if values.shape[1] == 1 else np.repeat(np.arange(len(values)), values.shape[1])
                ids = exact_ids(values.reshape(-1))
                count_ids(self.class_counts, self.class_records, ids, rows, low, high)
            return
        inside = np.asarray((values >= low) & (values <= high))
        if counted is not None:
            inside &= counted.reshape(values.shape)
        ids = exact_ids(values[inside])
        legal = _are_declared(label, known, ids)
        if isinstance(label, ClassLabel):
            rows = np.nonzero(inside)[0][legal] if inside.shape[1] > 1 else None
            count_ids(self.class_counts, self.class_records, ids[legal], rows, low, high)
        if legal.all() and ids.size == values.size:
            return
        illegal = ~inside & (values == values)
        illegal[inside] = ~legal
        if counted is not None:
            illegal &= counted.reshape(values.shape)
        self._add_outside(label, values, illegal, place_of)

    def _add_outside(self, label: ClassLabel | MultiLabel, values: Array, illegal: Array, place_of: PlaceOf) -> None:
        """Counts sentinels, and values that are neither ids nor sentinels."""
        marked = np.zeros(values.shape, np.bool_)
        for sentinel in label.sentinels:
            if sentinel != sentinel:
                continue  # NaN is not an integer
            hit = illegal & np.asarray(values == sentinel)
            count = int(np.count_nonzero(hit))
            if count:
                self.sentinels[int(sentinel)] += count
                marked |= hit
        illegal &= ~marked
        if illegal.any():
            self.illegal_values.add(values[illegal], np.nonzero(illegal)[0], place_of)

    # Merging ------------------------------------------------------------------------------------------------------

    def merge(self, other: LabelStatistics) -> LabelStatistics:
        """Returns the statistics of both together; neither is changed."""
        both = LabelStatistics()
        both.update(self)
        both.update(other)
        return both

    def update(self, other: LabelStatistics) -> None:
        """Adds ``other``, which is not changed. The cost is that of ``other``, whatever is here already."""
        self.records += other.records
        self.invalid += other.invalid
        self.class_counts.update(other.class_counts)
        self.class_records.update(other.class_records)
        self.sentinels.update(other.sentinels)
        self.distribution.update(other.distribution)
        self.illegal_values.update(other.illegal_values)
        self.texts.update(other.texts)
        self.not_finite += other.not_finite
        self.normalized += other.normalized
        self.nothing_left += other.nothing_left
        self.low = extreme(min, self.low, other.low)
        self.high = extreme(max, self.high, other.high)
        self.dtypes.update(other.dtypes)
        self.fractional += other.fractional
        self.one_hot += other.one_hot
        for rule, (records, positions) in other.violations.items():
            mine = self.violations.get(rule, [0, 0])
            self.violations[rule] = [mine[0] + records, mine[1] + positions]
            self._keep_examples(rule, other.examples.get(rule, []))
        self._add_shapes(other.shapes)


def _kind_of_text(value: str) -> str:
    """``number``, ``name`` or ``blank``."""
    if not value.strip():
        return "blank"
    try:
        return "number" if float(value) == float(value) else "name"
    except ValueError:
        return "name"


# The set of a label with gaps in its ids costs as much as it has classes: made once for a label, not for a chunk.
_sets: OrderedDict[int, tuple[Label, int, int, IntegerSet]] = OrderedDict()
_MAX_SETS = 16


def _ids_of(label: ClassLabel | MultiLabel) -> tuple[int, int, IntegerSet | None]:
    """Smallest and greatest class id, and the declared ids; None where all between the two are declared."""
    if not isinstance(label, ClassLabel):
        return 0, 1, None
    ids = label.raw_ids
    if isinstance(ids, range):
        return ids.start, ids.stop - 1, None
    found = _sets.get(id(label))
    if found is None:
        low, high = label.id_range
        # The label is kept, so that no other one has its id.
        found = _sets[id(label)] = (label, low, high, IntegerSet(np.dtype(np.int64), ids))
        if len(_sets) > _MAX_SETS:
            _sets.popitem(last=False)
    return found[1:]


def _are_declared(label: ClassLabel | MultiLabel, known: IntegerSet | None, ids: Array) -> NDArray[np.bool_]:
    """Which of ``ids``, all from the smallest to the greatest class id, are declared."""
    if known is not None and ids.dtype == np.object_:
        declared = label.id_set
        return np.array([one in declared for one in ids.tolist()])
    legal = np.ones(ids.size, np.bool_)
    if known is not None:
        legal[known.illegal_positions(ids)] = False
    return legal
