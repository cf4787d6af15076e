"""Profile of a column, and the label declaration that fits it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from label_guard.check.columns import as_array, as_float, gather, is_python_number
from label_guard.core import dtypes
from label_guard.core.plural import agreed, counted
from label_guard.core.similar import shortened
from label_guard.core.types import Array
from label_guard.diagnosis.illegal import extreme
from label_guard.infer.classes import Drafted, declared_classes, draft_classes, occurs, refused
from label_guard.infer.names import draft_names, known_names, lists_of_ids, separator_of_ids
from label_guard.infer.rows import STRAYS, RowProperties, nearly_rows
from label_guard.sources.base import RawColumn

_MAX_DISTINCT = 100_000
_MAX_SAMPLE = 10_000
PNG = b"\x89PNG\r\n\x1a\n"
_NAN = float("nan")  # one object, so that ``in`` finds it
_UNMEASURED = {sign * nines for sign in (-1.0, 1.0) for nines in (99, 999, 9999, 99999)}
_FEW_TEXTS = 3  # among numbers, fewer than which are strays in any data
_LEAST_WIDTH = 8  # of a picture
_FREQUENT = 20  # occurrences of NaN, fewer in small data, that make it a value for "not measured"


@dataclass(slots=True)
class ColumnProfile:
    """What the records of one label hold.

    Attributes:
        records: records looked at.
        missing: records without a value.
        texts: records by text, of ``_MAX_DISTINCT`` texts at most.
        other: records whose value is not a number, an array of numbers or a text, by type.
        dtypes: records by stored dtype; Python numbers are float64 where a fraction is among them.
        has_widths: whether any record was an array, or a number of NumPy: of a dtype of its own.
        shapes: records by shape.
        counts: occurrences of whole numbers, of ``_MAX_DISTINCT`` of them at most.
        many: whether there are more distinct numbers than are kept.
        low: least finite value.
        high: greatest finite value.
        fractions: how many values have a fraction.
        nan: how many values are NaN.
        infinite: how many values are infinite.
        rows: what holds for every row.
        pictures: records whose value is bytes that begin as a PNG.
        sample: the first numbers that are not whole, ``_MAX_SAMPLE`` of them at most, for a histogram.
    """

    records: int = 0
    missing: int = 0
    texts: Counter[str] = field(default_factory=Counter[str])
    other: Counter[str] = field(default_factory=Counter[str])
    dtypes: Counter[str] = field(default_factory=Counter[str])
    has_widths: bool = False
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter[tuple[int, ...]])
    counts: Counter[int] = field(default_factory=Counter[int])
    many: bool = False
    low: float | None = None
    high: float | None = None
    fractions: int = 0
    nan: int = 0
    infinite: int = 0
    rows: RowProperties = field(default_factory=RowProperties)
    pictures: int = 0
    sample: list[float] = field(default_factory=list[float])

    @property
    def is_scalar(self) -> bool:
        """Whether every record holds one number, one text or nothing."""
        return set(self.shapes) <= {()}

    @property
    def is_float(self) -> bool:
        """Whether any number is stored as a float."""
        return any(np.dtype(name).kind == "f" for name in self.dtypes)

    @property
    def is_ragged(self) -> bool:
        """Whether records differ in rank: a single value, or arrays of several; an empty list may have any but 0."""
        ranks = {len(shape) for shape in self.shapes if shape != (0,)}
        return len(ranks) > 1 or (ranks == {0} and (0,) in self.shapes)

    @property
    def shape_text(self) -> str:
        """The shape of a record in words."""
        if set(self.shapes) == {()}:
            return "one value a record"
        if self.is_ragged:
            return "some records hold one value, others a list" if () in self.shapes else "records have several ranks"
        return f"shape [{', '.join('any' if n is None else str(n) for n in self.record_shape)}]"

    @property
    def record_shape(self) -> list[int | None]:
        """Shape of a record, of the rank that most have; None for a dimension that differs between records."""
        shapes = [shape for shape in self.shapes if shape != (0,)] or [(0,)]
        ranks: Counter[int] = Counter()
        for shape in shapes:
            ranks[len(shape)] += self.shapes[shape]
        rank = max(ranks, key=lambda one: (ranks[one], -one))
        shapes = [shape for shape in shapes if len(shape) == rank]
        if rank and (0,) in self.shapes:  # an empty list shows its first dimension alone
            shapes.append((0, *shapes[0][1:]))
        return [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]

    @property
    def size(self) -> int:
        """Number of values of all records."""
        return sum(math.prod(shape) * records for shape, records in self.shapes.items())

    @property
    def has_stray_texts(self) -> bool:
        """Whether some records hold a text where nearly all hold a number, such as a header within a file."""
        count = sum(self.texts.values())
        return 0 < count <= max(_FEW_TEXTS, STRAYS * self.records) < self.records / 2 and self.is_scalar

    @property
    def has_colours(self) -> bool:
        """Whether the records look like pictures of several channels, not like masks."""
        shape, high = self.record_shape, self.high or 0
        if len(shape) != 3 or "uint8" not in self.dtypes:
            return False
        wide = all(length is None or length >= _LEAST_WIDTH for length in shape[:2])
        return (shape[-1] in (3, 4) and high > 100) or (shape[-1] in (2, 3, 4) and wide and high > 1)

    def summary(self) -> str:
        """What the column holds, in a few words.

        >>> profile = ColumnProfile()
        >>> profile.add(np.array([3, 1, 4]))
        >>> profile.summary()
        'int64, 1 to 4'
        """
        parts = [", ".join(sorted(self.dtypes))] if self.low is not None else []
        parts += [_range(self.low, self.high)] if self.low is not None and self.high is not None else []
        parts += [self.shape_text] if self.low is not None and not self.is_scalar else []
        if self.texts:
            parts.append(f"text, {'more than ' if self.many else ''}{len(self.texts):,} distinct")
        if self.other:
            parts.append("PNG pictures" if self.pictures else f"values of type {', '.join(sorted(self.other))}")
        parts += [f"{self.missing:,} without a value"] if self.missing else []
        return ", ".join(parts) or "no value"

    def add(self, column: RawColumn) -> None:
        """Looks at the records of one chunk."""
        self.records += len(column)
        if isinstance(column, np.ndarray) and column.dtype != object:
            self._add_array(column)
            return
        self._add_texts(value for value in column if isinstance(value, str | bytes))
        values = [value for value in column if not isinstance(value, str | bytes)]
        columns, missing = gather(values)
        self.missing += len(missing)
        for rows, array, typed, *_ in columns:
            if not array.size:
                self.shapes[(0,)] += len(rows)
            elif array.dtype.kind in "biuf":
                self._add_array(array, has_width=typed)
            else:
                for row in rows.tolist():
                    self._add_mixed(values[row])

    def _add_mixed(self, value: Any) -> None:
        """Looks at one record whose values are not of one kind of numbers."""
        array, kind = as_array(value)[0], type(value).__name__
        items = array.reshape(-1).tolist() if array.dtype.kind in "OUS" else []
        if isinstance(value, list) and any(item is None for item in cast("list[Any]", value)):
            self.missing += 1
        elif items and all(map(is_python_number, items)):
            whole: Array = np.asarray(items)  # of uint64, where int64 is too short
            numbers = whole if whole.dtype.kind == "u" else np.array(list(map(as_float, items)))
            self._add_array(numbers.reshape(1, *array.shape), has_width=False)
        else:
            texts = bool(items) and all(isinstance(item, str | bytes) for item in items)
            self.other["list of text" if texts else kind] += 1

    def _add_array(self, array: Array, *, has_width: bool = True) -> None:
        """Looks at ``array``, ``[records, ...]``."""
        if not len(array):
            return
        if array.dtype.kind in "SU" and array.ndim == 1:
            self._add_texts(array.tolist())
            return
        if array.dtype.kind not in "biuf":
            self.other["list of text" if array.dtype.kind in "SU" else array.dtype.name] += len(array)
            return
        self._add_dtype(array.dtype, len(array), has_width=has_width)
        self.shapes[array.shape[1:]] += len(array)
        numbers = array.astype(np.int8) if array.dtype.kind == "b" else array
        finite = numbers[np.isfinite(numbers)] if numbers.dtype.kind == "f" else numbers.reshape(-1)
        nan = int(np.count_nonzero(numbers != numbers))
        self.nan += nan
        self.infinite += numbers.size - finite.size - nan
        if finite.size:
            self._add_values(finite)
        if array.ndim > 1 and array.shape[-1] > 1:
            self.rows.add(numbers)

    def _add_dtype(self, dtype: np.dtype[Any], count: int, *, has_width: bool) -> None:
        self.dtypes[dtype.name] += count
        self.has_widths |= has_width
        if not self.has_widths and "float64" in self.dtypes:  # a text writes 40.0 as 40
            self.dtypes["float64"] += self.dtypes.pop("int64", 0) + self.dtypes.pop("uint64", 0)

    def _add_texts(self, values: Iterable[str | bytes]) -> None:
        for value, count in Counter(values).items():
            try:
                text = value if isinstance(value, str) else value.decode()
            except UnicodeDecodeError:
                self.other["bytes"] += count
                self.pictures += count * (isinstance(value, bytes) and value.startswith(PNG))
                continue
            if text in self.texts or len(self.texts) < _MAX_DISTINCT:
                self.texts[text] += count
            else:
                self.many = True

    def _add_values(self, finite: Array) -> None:
        self.low = extreme(min, self.low, finite.min().item())
        self.high = extreme(max, self.high, finite.max().item())
        if finite.dtype.kind == "f":
            self.fractions += int(np.count_nonzero(np.floor(finite) != finite))
            if self.fractions:
                self.sample += finite[: _MAX_SAMPLE - len(self.sample)].tolist()
                return
        if not self.many:
            values, counts = np.unique(finite, return_counts=True)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                self.counts[int(value)] += count
            self.many = len(self.counts) > _MAX_DISTINCT


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if low < high else f"always {number(low)}"


def number(value: float) -> str:
    """A whole number with all its digits, another one with six."""
    return f"{int(value):,}" if value == math.floor(value) and abs(value) < 1e15 else f"{value:g}"


def infer_label(
    profile: ColumnProfile,
    *,
    only_label: bool = True,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> Drafted:
    """The label that holds what was seen; without fields where there can be none, and why.

    Args:
        profile: what the column holds.
        only_label: whether the schema has no other label.
        class_names: names of the classes by the dataset's own metadata: they count more than what was seen.
        num_classes: the number of classes by these metadata, where they have no names.

    >>> profile = ColumnProfile()
    >>> profile.add(np.array([0, 1, 2, 2]))
    >>> infer_label(profile).fields
    {'kind': 'class_label', 'num_classes': 3, 'dtype': ['int64'], 'shape': []}
    """
    kinds = {np.dtype(name).kind for name in profile.dtypes}
    if profile.texts and not kinds and not profile.other:
        return _texts(profile, class_names)
    no_numbers = _no_numbers(profile, kinds)
    if no_numbers is not None:
        return no_numbers
    if kinds == {"b"}:
        drafted = _bools(profile)
    elif (class_names or num_classes) and "f" not in kinds:
        number = len(class_names or ()) or num_classes or 0
        is_scalar = not profile.record_shape
        drafted = declared_classes(number, class_names, profile.counts, scalar=is_scalar, only_label=only_label)
        drafted.fields |= {"dtype": sorted(profile.dtypes), "shape": profile.record_shape}
    else:
        drafted = _rows(profile) or (
            _real(profile) if kinds == {"f"} and profile.fractions else _ids(profile, only_label=only_label)
        )
    return _with_notes(drafted, profile) if drafted.fields else drafted


def _with_notes(drafted: Drafted, profile: ColumnProfile) -> Drafted:
    """``drafted`` with what was observed, and what of it is left illegal."""
    field_name = "num_classes" if "num_classes" in drafted.fields else "kind"
    for text, count in profile.texts.most_common(_FEW_TEXTS):
        seen = f"the text {shortened(text, 40)!r} {occurs(count, profile.records)}"
        drafted.mark(field_name, f"{seen} and is left illegal")
    values = f"values {profile.low or 0:g} to {profile.high or 0:g}"
    notes = [f"seen: {', '.join(sorted(profile.dtypes))}; {profile.shape_text}; {values}"]
    ignore = drafted.fields.get("ignore", ())
    notes += [] if None in ignore else _missing_note(profile)
    if wrong := profile.infinite + (0 if _NAN in ignore else profile.nan):
        notes.append(f"TODO check: {counted(wrong, 'value is', 'values are')} NaN or infinite, which breaks LG107")
    drafted.notes = [*notes, *drafted.notes]
    return drafted


def _no_numbers(profile: ColumnProfile, kinds: set[str]) -> Drafted | None:
    """Returns why no label of numbers can hold what was seen; None where one may."""
    if profile.texts and kinds:
        separator = separator_of_ids(profile.texts)
        if separator is not None:
            return lists_of_ids(separator)
        if not profile.has_stray_texts:
            text, count = profile.texts.most_common(1)[0]
            found = f"such as {shortened(text, 40)!r}, which {occurs(count, profile.records)}"
            return refused(f"holds text in some records and numbers in others, {found}")
    if profile.other.keys() == {"list of text"}:
        return refused(
            "holds lists of text: several names a record",
            by_hand="kind: multi_label with encoding: ids and dtype: string",
        )
    if profile.other.keys() == {"Decimal"}:
        return refused("holds decimals, which NumPy has no dtype for: convert the column to integers or floats")
    if profile.other:
        return refused(f"holds values of type {', '.join(sorted(profile.other))}, which are not numbers")
    unknown = sorted(set(profile.dtypes) - set(dtypes.NAMES))
    if unknown:
        return refused(f"holds {unknown[0]}, a dtype that labels cannot have: convert it to float64")
    if not kinds or profile.low is None or profile.high is None:
        return refused("holds no value")
    if kinds > {"b"} or len(kinds - {"u"}) > 1 or len({len(shape) for shape in profile.shapes if shape != (0,)}) > 1:
        return refused(f"holds records of several forms: {', '.join(sorted(profile.dtypes))}; {profile.shape_text}")
    return None


def _texts(profile: ColumnProfile, class_names: Sequence[str] | None) -> Drafted:
    """Class names in place of ids."""
    if profile.many:
        return refused(f"holds more than {_MAX_DISTINCT:,} distinct texts: captions or identifiers")
    drafted = known_names(class_names, profile.texts) if class_names else draft_names(profile.texts)
    if drafted.fields:
        drafted.fields["shape"] = []
        seen_as = f"seen: text; one value a record; {len(profile.texts):,} distinct"
        drafted.notes = [seen_as, *_missing_note(profile), *drafted.notes]
    return drafted


def _missing_note(profile: ColumnProfile) -> list[str]:
    if not profile.missing:
        return []
    return [f"TODO check: {counted(profile.missing, 'record has', 'records have')} no value, which breaks LG104"]


def _bools(profile: ColumnProfile) -> Drafted:
    """Two classes, or k-hot rows, stored as bool."""
    shape = profile.record_shape
    if len(shape) == 1 and shape[0] is not None and shape[0] > 1:
        drafted = Drafted({"kind": "multi_label", "num_classes": shape[0], "dtype": ["bool"], "shape": []})
        drafted.mark("kind", "every row is bool: taken for k-hot")
    else:
        drafted = Drafted({"kind": "class_label", "num_classes": 2, "dtype": ["bool"], "shape": shape})
        drafted.mark("kind", "stored as bool: taken for two classes, False and True")
        if len(profile.counts) < 2:
            drafted.mark("num_classes", f"every value is {bool(profile.high)}")
    return drafted


def _rows(profile: ColumnProfile) -> Drafted | None:
    """A row of a number for each class: probabilities, one-hot or k-hot."""
    shape, rows = profile.record_shape, profile.rows
    if not shape or shape[-1] is None or shape[-1] < 2 or profile.infinite or (profile.nan and len(shape) > 1):
        return None
    classes, outer = {"num_classes": shape[-1]}, {"dtype": sorted(profile.dtypes), "shape": shape[:-1]}
    if rows.one_hot == rows.count:
        return Drafted(
            {"kind": "soft_label", **classes, "one_hot": True, **outer}, notes=["every row is one 1 and zeros"]
        )
    if rows.zeros_and_ones == rows.count and len(shape) == 1:
        drafted = Drafted({"kind": "multi_label", **classes, **outer})
        alike = f", though {rows.one_hot:,} of {rows.count:,} {agreed(rows.one_hot, 'is', 'are')} one 1 and zeros"
        mostly = alike if rows.one_hot >= (1 - STRAYS) * rows.count else ""
        drafted.mark("kind", f"every row is zeros and ones: taken for k-hot{mostly}")
        _ignore_unmeasured(drafted, profile)
        return drafted
    if rows.sums == rows.count and profile.fractions:
        return Drafted({"kind": "soft_label", **classes, **outer}, notes=["every row sums to 1"])
    if rows.percent:
        return refused("holds rows that sum to 100: percentages; divide them by 100 for a soft_label")
    if len(shape) == 1 and not profile.fractions and {-1} < set(profile.counts) <= {-1, 0, 1}:
        if 0 in profile.counts:
            return refused(
                "holds rows of -1, 0 and 1, where 0 or -1 may mean: not known",
                by_hand="kind: multi_label with positive, negative and ignore",
            )
        drafted = Drafted({"kind": "multi_label", **classes, "positive": 1, "negative": -1, **outer})
        drafted.mark("kind", "every row is -1 and 1: taken for k-hot")
        _ignore_unmeasured(drafted, profile)
        return drafted
    nearly = nearly_rows(rows, {**classes, **outer}, whole=not profile.fractions) if len(shape) == 1 else None
    if nearly is not None:
        return nearly
    if profile.has_colours:
        channels = "2 channels, such as grey and alpha" if shape[-1] == 2 else f"{shape[-1]} colour channels"
        return refused(f"has {channels}: a picture of a mask; map each colour to its id")
    return None


def _real(profile: ColumnProfile) -> Drafted:
    shape = profile.record_shape
    drafted = Drafted({"kind": "real_label", "dtype": sorted(profile.dtypes), "shape": shape})
    drafted.mark("kind", "add minimum and maximum where the target has bounds")
    total = profile.size
    if 0 < profile.fractions <= STRAYS * total:
        few = counted(profile.fractions, "value has", "values have")
        drafted.mark("kind", f"of {counted(total, 'value')} {few} a fraction: strays among class ids?")
    for value in sorted({profile.low or 0.0, profile.high or 0.0} & _UNMEASURED):
        drafted.mark("kind", f"{value:g} may mean that nothing was measured")
    _ignore_unmeasured(drafted, profile)
    return drafted


def _ignore_unmeasured(drafted: Drafted, profile: ColumnProfile) -> None:
    """Declares NaN, and missing single values, to be values for "not measured" where they are frequent."""
    total = profile.size + profile.missing
    unmeasured = [("NaN", profile.nan, _NAN), ("null", 0 if profile.record_shape else profile.missing, None)]
    frequent = max(min(_FREQUENT, max(3, total / 20)), total / 1000)
    ignored = [(name, count, value) for name, count, value in unmeasured if count >= frequent]
    if ignored:
        drafted.fields["ignore"] = [value for _, _, value in ignored]
        shown = ", ".join(f"{name} {occurs(count, total)}" for name, count, _ in ignored)
        drafted.mark("ignore", f"{shown}: taken for: not measured")


def _ids(profile: ColumnProfile, *, only_label: bool) -> Drafted:
    """Class ids: how many there are, where they start, which values are not classes."""
    shape = profile.record_shape
    if profile.many:
        return refused(f"holds values up to {profile.high:g}: an id or a count rather than a class")
    drafted = draft_classes(profile.counts, scalar=not shape, only_label=only_label)
    if profile.is_float and not drafted.fields and min(profile.counts) < -100:
        return _real(profile)
    if not drafted.fields:
        return drafted
    drafted.fields |= {"dtype": sorted(profile.dtypes), "shape": shape}
    if profile.is_float:
        drafted.fields["emit"] = "int32"
        drafted.mark("dtype", "ids are stored as floats")
    elif "int8" in profile.dtypes and max(profile.counts) > 126:
        drafted.mark("dtype", "int8 cannot index this many classes")
    return drafted
