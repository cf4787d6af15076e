"""Tests of your own pipelines: records with known faults, and assertions about what a guarded pipeline delivers.

>>> from label_guard import ClassLabel, guard_batches
>>> import tempfile
>>> labels = {"label": ClassLabel(num_classes=10)}
>>> faulty = faulty_records(labels, 100, rate=0.2)
>>> folder = tempfile.mkdtemp()
>>> guarded = guard_batches(faulty.records, labels, batch_size=8, batched=False, quarantine=folder, stop_above=None)
>>> assert_guarded(list(guarded), faulty, quarantine=folder)
>>> assert_conserved(guarded.summary)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from label_guard.check.fill_values import FillValues
from label_guard.check.guard import Guard
from label_guard.core import tree
from label_guard.core.plural import counted
from label_guard.core.similar import shortened
from label_guard.errors import UsageError
from label_guard.pipeline.batching import stack
from label_guard.pipeline.counts import Summary
from label_guard.pipeline.loader import guard_batches
from label_guard.pipeline.options import SchemaLike, resolve_options
from label_guard.quarantine.reader import read_quarantine
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel

__all__ = ["FaultyRecords", "assert_conserved", "assert_guarded", "breakable_rules", "faulty_records"]

ID = "id"  # the feature that numbers the records


@dataclass(frozen=True)
class FaultyRecords:
    """Records of a schema, some of them invalid.

    Attributes:
        records: dicts of the schema's labels, and ``id``: 0, 1, ...
        broken: the rule that each invalid record breaks, by id.
        schema: the schema.
        split: the split that the records are of.
        view: the view that the records are of.
    """

    records: list[dict[str, Any]]
    broken: dict[int, str]
    schema: DatasetSchema
    split: str | None
    view: str | None

    def batches(self, batch_size: int) -> list[Any]:
        """The records stacked, ``batch_size`` at a time; the last batch may be shorter.

        Raises:
            UsageError: records cannot be stacked, because one lacks a label or has another shape; make them with
                ``stackable=True``.
        """
        return [stack(self.records[at : at + batch_size]) for at in range(0, len(self.records), batch_size)]


def breakable_rules(schema: SchemaLike, *, split: str | None = None, view: str | None = None) -> tuple[str, ...]:
    """The rules that ``faulty_records`` can break, such as ``("LG101", "LG102")``.

    Args:
        schema: a schema, its path, or label models by path.
        split: the split whose labels are meant.
        view: the view whose labels are meant.

    Returns:
        Rule codes, sorted.
    """
    return tuple(sorted(_Maker(schema, split, view).faults))


def faulty_records(
    schema: SchemaLike,
    num_records: int,
    *,
    rate: float = 0.1,
    rules: Sequence[str] = (),
    split: str | None = None,
    view: str | None = None,
    stackable: bool = False,
    seed: int = 0,
) -> FaultyRecords:
    """Makes records of a schema, of which a share breaks one rule each.

    Args:
        schema: a schema file, a ``DatasetSchema``, or a mapping from label paths to label models.
        num_records: how many.
        rate: share of invalid records, 0 to 1; at least one where it is above 0.
        rules: rules to break in turn, such as ``["LG101"]``; empty: all of ``breakable_rules``.
        split: split of the schema.
        view: view of the schema.
        stackable: whether only faults that keep dtype and shape are made, so that records can be batched.
        seed: draws the records; the same seed makes the same records.

    Raises:
        UsageError: a rule that these labels cannot break, or a label without a value that could be made.
    """
    if not 0 <= rate <= 1:
        raise UsageError(f"rate is {rate}; it is a share of records, 0 to 1")
    maker = _Maker(schema, split, view)
    faults = _chosen_faults(maker, rules, stackable)
    chance = np.random.default_rng(seed)
    number = min(num_records, max(1, round(rate * num_records))) if rate else 0
    invalid = sorted(chance.choice(num_records, number, replace=False).tolist())
    chosen = list(rules) or sorted(faults)
    broken = {row: chosen[place % len(chosen)] for place, row in enumerate(invalid)}
    records: list[dict[str, Any]] = []
    for row in range(num_records):
        record = maker.valid(chance)
        if row in broken:
            path, value = faults[broken[row]][int(chance.integers(len(faults[broken[row]])))]
            record = _changed(record, path, value)
        records.append({**record, ID: np.int64(row)})
    return FaultyRecords(records, broken, maker.guard.schema, split, view)


def _chosen_faults(maker: _Maker, rules: Sequence[str], stackable: bool) -> dict[str, list[tuple[str, Any]]]:
    faults: dict[str, list[tuple[str, Any]]] = {}
    for rule, values in maker.faults.items():
        usable = [(path, value) for path, value in values if not stackable or _stacks(value, maker.first(path))]
        faults |= {rule: usable} if usable else {}
    unknown = [rule for rule in rules if rule not in faults]
    if unknown or not faults:
        what = f"break {unknown[0]}" if unknown else "be made invalid"
        raise UsageError(
            f"records of this schema cannot {what}; they can break {', '.join(sorted(faults)) or 'no rule'}"
        )
    return faults


def assert_guarded(
    batches: Iterable[Any], faulty: FaultyRecords, *, quarantine: str | os.PathLike[str] | None = None
) -> None:
    """Asserts that nothing invalid was delivered, and that no record was lost, delivered twice or given other labels.

    Args:
        batches: what the guarded pipeline delivered of ``faulty.records``; dict batches that carry ``id``.
        faulty: the records.
        quarantine: the folder that the guard wrote to; None where it has none (``mask``).

    Raises:
        AssertionError: a delivered batch breaks a rule of the emitted schema; an invalid record was delivered
            without a mask; a valid one with other labels or another mask than the guard emits of it; or a record is
            neither delivered nor in the quarantine, or was delivered twice.
    """
    delivered = _delivered(batches, faulty)
    for row, count in delivered.items():
        _require(count == 1, f"record {row} was delivered {count:,} times, expected once")
    entries = () if quarantine is None else read_quarantine(quarantine).entries
    kept = {int(entry.payload[ID]) for entry in entries if ID in entry.payload}
    lost = sorted(set(range(len(faulty.records))) - delivered.keys() - kept)
    _require(
        not lost,
        f"{counted(len(lost), 'record is', 'records are')} neither delivered nor in the quarantine: {lost[:5]}",
    )
    sound = sorted(kept - faulty.broken.keys())
    _require(not sound, f"{counted(len(sound), 'valid record is', 'valid records are')} in the quarantine: {sound[:5]}")


def _delivered(batches: Iterable[Any], faulty: FaultyRecords) -> Counter[int]:
    """How often each record was delivered; padding, which repeats records under a mask, is not counted."""
    emitted = faulty.schema.emitted(faulty.split, faulty.view)
    guard = Guard(emitted, faulty.split if emitted.splits else None)
    expected = _expected(faulty)
    delivered: Counter[int] = Counter()
    for batch in batches:
        result = guard.check_batch(batch)
        _require(result.ok, f"a delivered batch is invalid: {'; '.join(map(str, result.violations[:3]))}")
        for place, (row, masked) in enumerate(_rows(batch, guard)):
            rule = faulty.broken.get(row)
            _require(rule is None or masked, f"record {row} breaks {rule} and was delivered without a mask")
            if masked and row in delivered:
                continue
            delivered[row] += 1
            if row in expected:
                _compare(batch, place, expected[row], guard.labels)
    return delivered


def _expected(faulty: FaultyRecords) -> dict[int, Any]:
    """What a guard emits of each valid record, by id."""
    valid = [record for row, record in enumerate(faulty.records) if row not in faulty.broken]
    batches = guard_batches(
        valid, faulty.schema, batch_size=1, batched=False, on_invalid="raise", split=faulty.split, view=faulty.view
    )
    return {int(batch[ID][0]): batch for batch in batches}


def _compare(batch: Any, row: int, expected: Any, labels: Iterable[str]) -> None:
    """Asserts that the labels at ``row`` are those of the record, and masked just where the guard masks them."""
    for path in labels:
        ours, theirs = (np.asarray(tree.get(found, path))[at] for found, at in ((expected, 0), (batch, row)))
        _require(
            np.array_equal(ours, theirs, equal_nan=True),
            f"record {batch[ID][row]} was delivered with {path!r} {_brief(theirs)}; the guard emits {_brief(ours)}",
        )
        ours, theirs = (_mask(found, path, at) for found, at in ((expected, 0), (batch, row)))
        _require(
            bool(np.all(ours == theirs)),
            f"valid record {batch[ID][row]} was delivered with {path!r} under the mask {_brief(theirs)}; "
            f"the guard emits {_brief(ours)}",
        )


def _mask(batch: Any, path: str, row: int) -> Any:
    """The validity mask of a label in one record; without one all of it is valid."""
    mask = tree.get(batch, f"{path}_valid")
    return True if mask is tree.MISSING else np.asarray(mask)[row]


def _brief(value: Any) -> str:
    return shortened(" ".join(str(value).split()), 80)


def _require(condition: bool, message: str) -> None:
    """An assertion that is also made under ``python -O``."""
    if not condition:
        raise AssertionError(message)


def assert_conserved(summary: Summary) -> None:
    """Asserts that every record seen is accounted for: delivered, quarantined, skipped, left over or pending.

    Raises:
        AssertionError: the counts do not add up.
    """
    _require(summary.is_conserved, f"records are missing: {summary}")


def _rows(batch: Any, guard: Guard) -> list[tuple[int, bool]]:
    """The id of each record, and whether a mask is False in it; padding has a mask that is False in every label."""
    ids = np.asarray(cast("Mapping[str, Any]", batch)[ID])
    masks = [tree.get(batch, f"{path}_valid") for path in guard.labels]
    flags = [np.asarray(mask).astype(bool).reshape(len(ids), -1) for mask in masks if mask is not tree.MISSING]
    masked = [any(not flag[row].all() for flag in flags) for row in range(len(ids))]
    return list(zip(ids.tolist(), masked, strict=True))


class _Maker:
    """Makes records of a schema, and knows by the guard's own check which values break which rule."""

    def __init__(self, schema: SchemaLike, split: str | None, view: str | None) -> None:
        config = resolve_options(schema, "faulty_records", split=split, view=view, on_invalid="raise")
        self.guard = config.guard
        self._values: dict[str, list[Any]] = {}
        record: dict[str, Any] = {}
        for path, label in self.guard.labels.items():
            texts = _texts(label)
            first = texts[0] if texts else FillValues(label).record(FillValues(label).dtype())
            record = _changed(record, path, first)
            if label.where is not None:
                counted = tuple(length or 1 for length in label.record_shape[:1])
                record = _changed(record, label.where, np.ones(counted, np.float32))
        for path, label in self.guard.labels.items():
            found = [value for value in _plausible(label) if not self._broken(_changed(record, path, value))]
            if not found:
                raise UsageError(f"cannot make a valid value of label {path!r}; make its records yourself")
            self._values[path] = found
            record = _changed(record, path, found[0])
        self._record = record
        self.faults = self._faults()

    def _broken(self, record: dict[str, Any]) -> dict[str, int]:
        return self.guard.check(record, batched=False).counts

    def valid(self, chance: np.random.Generator) -> dict[str, Any]:
        """A valid record."""
        record = self._record
        for path, values in self._values.items():
            record = _changed(record, path, values[int(chance.integers(len(values)))])
        return record

    def first(self, path: str) -> Any:
        """A valid value of a label."""
        return self._values[path][0]

    def _faults(self) -> dict[str, list[tuple[str, Any]]]:
        """By rule, the labels and values that break it and no other."""
        faults: dict[str, list[tuple[str, Any]]] = {}
        for path, label in self.guard.labels.items():
            for value in _implausible(label, self.first(path)):
                broken = self._broken(_changed(self._record, path, value))
                if len(broken) == 1:
                    faults.setdefault(next(iter(broken)), []).append((path, value))
        return faults


def _changed(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    return tree.without(record, path) if value is tree.MISSING else tree.put(record, path, value)


def _stacks(value: Any, like: Any) -> bool:
    if value is tree.MISSING or value is None:
        return False
    left, right = np.asarray(value), np.asarray(like)
    return left.dtype == right.dtype and left.shape == right.shape


def _plausible(label: Label) -> Iterator[Any]:
    """Values that are probably valid."""
    if texts := _texts(label):
        yield from texts
        return
    fill = FillValues(label)
    base = fill.record(fill.dtype())
    if base is None or 0 in base.shape:
        shape = tuple(length or 2 for length in label.record_shape)
        base = np.zeros(shape, fill.dtype())
    if isinstance(label, ClassLabel) and None in label.shape:  # distinct ids, one length for all records
        length = min(max(label.min_length or 0, 2), label.max_length or 2 + (label.min_length or 0))
        for start in range(4):
            yield np.array(list(label.raw_ids)[start : start + length], base.dtype)
        return
    if isinstance(label, ClassLabel):
        for raw in list(label.raw_ids)[:16]:
            yield base.dtype.type(raw) if base.ndim == 0 else np.full(base.shape, raw, base.dtype)
    yield base[()] if base.ndim == 0 else base
    yield from _others(label, base)


def _texts(label: Label) -> list[Any]:
    """Values of a label that is stored as names: a name, a list of names, or names in one text; else none."""
    if not isinstance(label, ClassLabel | MultiLabel) or not label.stores_names:
        return []
    names = list(label.class_names or ("",))[:16]
    length = max(1, label.min_length or 0)
    lists = [[*names[start:], *names[:start]][:length] for start in range(len(names))]
    if label.separator is not None:
        return [label.separator.join(chosen) for chosen in lists]
    single = isinstance(label, ClassLabel) and not label.shape
    return names if single else lists


def _others(label: Label, base: np.ndarray[Any, np.dtype[Any]]) -> Iterator[Any]:
    """Other values of dtype and shape of ``base``: records that are all alike would hide labels that change places."""
    if isinstance(label, MultiLabel | SoftLabel) and base.shape[-1:] == (label.num_classes,):
        for hot in range(min(label.num_classes, 16)):
            row = np.zeros_like(base)
            row[..., hot] = 1
            yield row
    if isinstance(label, RealLabel):
        for number in (label.minimum, label.maximum, 0, 0.5, 1, 2, 7):
            with np.errstate(all="ignore"):
                held = np.full(base.shape, 0.0 if number is None else number).astype(base.dtype)
            yield held[()] if held.ndim == 0 else held


def _implausible(label: Label, valid: Any) -> Iterator[Any]:
    """Values that probably break a rule, in the dtype of a valid one where it holds them."""
    yield tree.MISSING
    array = np.asarray(valid)
    yield array[None]  # a trailing or leading axis too many
    yield np.asarray(array, object)
    classes = label.num_classes if isinstance(label, ClassLabel | MultiLabel) else 10
    numbers = [-1, -7, classes, classes + 1, 2, 3, 255, 2**31, 2**32 + 1, 0.5, 2.7, np.nan, np.inf, 1e30, -1e30]
    for number in numbers if array.dtype.kind in "iuf" else []:
        yield from _with_number(array, number)
    if array.dtype.kind in "USO":
        yield "no such class"
    if array.ndim:
        yield np.zeros(array.shape, array.dtype)
        yield np.ones(array.shape, array.dtype)
        yield array[:0]


def _with_number(array: np.ndarray[Any, np.dtype[Any]], number: float) -> Iterator[Any]:
    """``array`` with ``number`` at its first position, in its own dtype, else as a 64-bit number."""
    for dtype in (array.dtype, np.dtype(np.int64), np.dtype(np.float64)):
        with np.errstate(all="ignore"):
            held = np.array(number).astype(dtype)
        if held == number or (number != number and held != held):
            changed = array.astype(dtype)
            changed[(0,) * array.ndim] = held
            yield changed[()] if array.ndim == 0 else changed
            return
