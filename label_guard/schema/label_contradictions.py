"""What the fields of one label may not say together. Every check is linear in what the file lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from label_guard.core import dtypes
from label_guard.core.plural import counted
from label_guard.schema.fields import Problem, SchemaPath

MOST_POSITIONS = 2**28  # of one record: a picture of 16,384 x 16,384 pixels

if TYPE_CHECKING:
    from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel


def label_problems(label: Label) -> Iterator[Problem]:
    """Yields the contradictions between the fields of one label; paths start at the label."""
    yield from _size_problems(label)
    if label.kind == "class_label":
        yield from _class_problems(label)
    elif label.kind == "multi_label":
        yield from _multi_problems(label)
    elif label.kind == "soft_label":
        yield from _soft_problems(label)
    else:
        yield from _real_problems(label)


def _size_problems(label: Label) -> Iterator[Problem]:
    """A record that was not measured, or is masked, takes this memory, however little the dataset holds."""
    classes = label.num_classes if label.kind == "multi_label" or label.kind == "soft_label" else 1
    size = math.prod(length for length in label.shape if length is not None) * classes
    if size > MOST_POSITIONS:
        message = f"one record has {size:,} positions, more than {MOST_POSITIONS:,}"
        field = "num_classes" if classes > MOST_POSITIONS else "shape"
        yield Problem("LG207", (field,), message, "declare null for a length that is not fixed, or fewer classes")


def number_text(value: float) -> str:
    """A number in a message; an integer of many digits is shortened.

    >>> number_text(0.5), number_text(10**400)
    ('0.5', 'an integer of 401 digits')
    """
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {int(value.bit_length() * math.log10(2)) + 1} digits"
    return str(value)


def is_finite(value: float) -> bool:
    """Whether a number is one that float64 holds without becoming infinite."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _class_problems(label: ClassLabel) -> Iterator[Problem]:
    yield from _names_of(label)
    if isinstance(label.class_ids, tuple):
        yield from _count_problems(label, "class_ids", label.class_ids)
        for raw in _repeated(label.class_ids):
            yield Problem("LG218", ("class_ids",), f"id {raw} is listed twice in class_ids", "remove one")
    yield from _class_sentinel_problems(label)
    yield from _class_dtype_problems(label)
    yield from _length_problems(label)
    if label.emit == "bool":
        yield Problem("LG205", ("emit",), "class ids are emitted as integers, not as bool", "set emit: int32")
    elif not label.stores_names:
        yield from _emit_problems(label, label.stored_dtypes, lambda target: _dense_ids_fit(label, target))
    elif not _dense_ids_fit(label, str(label.emitted_dtype)):
        yield Problem("LG205", ("emit",), f"emit {label.emit} cannot hold every class id", "emit a wider dtype")


def _count_problems(label: ClassLabel | MultiLabel, field: str, listed: Sequence[object]) -> Iterator[Problem]:
    if len(listed) != label.num_classes:
        message = f"num_classes is {label.num_classes} but {field} has {len(listed)}"
        yield Problem("LG201", (field,), message, f"set num_classes: {len(listed)} or correct {field}")


def _class_sentinel_problems(label: ClassLabel) -> Iterator[Problem]:
    ids = label.id_set
    dense = range(label.num_classes) if label.remaps and label.on_ignore == "keep" else ()
    span = f"{label.id_range[0]}..{label.id_range[1]}"
    for position, value in enumerate(label.ignore):
        if value in ids or value in dense:
            message = f"ignore value {value} is a legal class id ({span})"
            fix = "use a value outside the legal ids, or on_ignore: replace where only dense ids collide"
            yield Problem("LG204", ("ignore", position), message, fix)
        elif label.on_ignore == "keep":
            yield from _truncated(("ignore", position), value)
    if label.unlabeled is None:
        return
    ignored = label.unlabeled in label.ignore
    if ignored or label.unlabeled in ids:
        also = "an ignore value" if ignored else f"a legal class id ({span})"
        yield Problem("LG217", ("unlabeled",), f"unlabeled value {label.unlabeled} is {also}", "use another value")
    elif label.keeps_unlabeled and label.remaps and 0 <= label.unlabeled < label.num_classes:
        message = f"unlabeled value {label.unlabeled} would be emitted as well as the dense id {label.unlabeled}"
        fix = "use another value, or on_unlabeled: replace or skip"
        yield Problem("LG217", ("unlabeled",), message, fix)
    elif label.keeps_unlabeled:
        yield from _truncated(("unlabeled",), label.unlabeled)


def _class_dtype_problems(label: ClassLabel) -> Iterator[Problem]:
    found = next(_name_storage_problems(label), None) or next(_narrow_problems(label), None)
    if found is not None:
        yield found
        return
    named = _named(label)
    for name in named if label.emit is None else (label.emit,):
        if dtypes.is_integer(name) and not dtypes.can_index(name, label.num_classes):
            field = "dtype" if label.emit is None else "emit"
            message = f"{field} {name} cannot index {label.num_classes} classes in JAX: even legal labels go wrong"
            yield Problem("LG203", (field,), message, "set emit: int32")
            return


def _narrow_problems(label: ClassLabel) -> Iterator[Problem]:
    """Stored dtypes that cannot hold the declared ids."""
    named = _named(label)
    for name in named:
        if name == "bool" and (label.num_classes != 2 or label.class_ids is not None):
            message = f"bool holds the class ids 0 and 1, not {counted(label.num_classes, 'class')}"
            if label.class_ids is not None:
                message = "bool holds the class ids 0 and 1, which class_ids cannot rename"
            yield Problem("LG203", ("dtype",), message, "store integers")
    if not named or len(named) < len(label.dtype or ()):
        stored = (
            () if label.stores_names or not all(map(dtypes.is_integer, label.stored_dtypes)) else label.stored_dtypes
        )
        beyond = next((v for v in label.id_range if not any(dtypes.holds_value(name, v) for name in stored)), None)
        if stored and beyond is not None:
            field = "class_ids" if label.dtype is None else "dtype"
            message = f"none of the dtypes {', '.join(label.dtype or ('integer',))} can hold the class id {beyond}"
            yield Problem("LG203", (field,), message, "declare other ids or a wider dtype")
        return
    # A declared id needs one dtype that holds it: of [int8, uint8], int8 alone holds -1.
    out = [v for v in (*label.id_range, *label.sentinels) if not any(dtypes.holds_value(name, v) for name in named)]
    if out:
        low, high = dtypes.integer_range(named[0])
        shown = f"dtype {named[0]} ({low}..{high})" if len(named) == 1 else f"none of the dtypes {', '.join(named)}"
        verb = "cannot" if len(named) == 1 else "can"
        message = f"{shown} {verb} hold the declared id {out[0]}"
        yield Problem("LG203", ("dtype",), message, "declare a wider dtype")


def _name_storage_problems(label: ClassLabel | MultiLabel) -> Iterator[Problem]:
    """Names in place of ids: what else the label may then say."""
    if dtypes.STRING not in (label.dtype or ()):
        return
    if not label.stores_names:
        yield Problem("LG203", ("dtype",), "dtype string cannot be combined with other dtypes", "declare one of them")
    elif label.class_names is None:
        yield Problem("LG216", ("dtype",), "dtype string needs class_names: they are the legal values", "add them")
    elif label.kind == "class_label" and label.class_ids is not None:
        yield Problem("LG216", ("class_ids",), "class_ids are integers, but dtype string stores names", "remove them")
    elif label.sentinels:
        message = f"dtype string cannot hold the declared value {label.sentinels[0]}"
        yield Problem("LG203", ("dtype",), message, "leave ignore and unlabeled out, or store integers")


def _length_problems(label: ClassLabel | MultiLabel) -> Iterator[Problem]:
    low, high = label.min_length, label.max_length
    if low is not None and high is not None and low > high:
        yield Problem("LG216", ("min_length",), f"min_length {low} is above max_length {high}", "swap them")
    if label.unique and low is not None and low > label.num_classes:
        message = f"{counted(low, 'unique id')} cannot be drawn from {counted(label.num_classes, 'class')}"
        yield Problem("LG216", ("min_length",), message, "lower min_length")
    is_list = label.rank == 1 if label.kind == "class_label" else label.encoding == "ids" and not label.shape
    wanted = "set shape: [null]" if label.kind == "class_label" else "set encoding: ids, and leave shape out"
    for field in () if is_list else ("min_length", "max_length", "unique", "separator"):
        value = getattr(label, field)
        if value is not None and value is not False:
            yield Problem("LG216", (field,), f"{field} needs a list of ids", wanted)
            return
    if label.kind == "class_label":
        yield from _fixed_length_problems(label)
    yield from _separator_problems(label)


def _fixed_length_problems(label: ClassLabel) -> Iterator[Problem]:
    """A list of fixed length that no record can fill: sentinels are not counted, but have a place in it."""
    length = label.shape[0] if label.rank == 1 else None
    if length is None:
        return
    if label.min_length is not None and label.min_length > length:
        message = f"min_length {label.min_length} is above the length {length}"
        yield Problem("LG216", ("min_length",), message, "lower it")
    most = min(length if label.max_length is None else label.max_length, label.num_classes if label.unique else length)
    if most < length and not label.sentinels:
        field = "max_length" if label.max_length is not None and label.max_length < length else "unique"
        message = f"records have {counted(length, 'id')}, at most {most} of them legal, and no sentinel is declared"
        yield Problem("LG216", (field,), message, "set shape: [null], or declare the padding as ignore")


def _separator_problems(label: ClassLabel | MultiLabel) -> Iterator[Problem]:
    separator = label.separator
    if separator is None:
        return
    if not label.stores_names:
        if label.kind == "class_label" and not all(map(dtypes.is_integer, label.stored_dtypes)):
            yield Problem("LG203", ("dtype",), "a list stored as one text holds integers or names", "set dtype: string")
        if any(c in "0123456789" for c in separator):
            yield Problem("LG216", ("separator",), f"separator {separator!r} holds a digit of an id", "use another")
        return
    for position, name in enumerate(label.class_names or ()):
        if separator in name:
            message = f"class name {name!r} holds the separator {separator!r}: no text can name this class"
            yield Problem("LG216", ("class_names", position), message, "use another separator")
            return


def _dense_ids_fit(label: ClassLabel, target: str) -> bool:
    low, high = dtypes.integer_range(target)
    return low <= 0 and all(low <= value <= high for value in (label.num_classes - 1, *label.kept_sentinels))


def _multi_problems(label: MultiLabel) -> Iterator[Problem]:
    yield from _names_of(label)
    if label.encoding == "ids":
        yield from _id_rows_problems(label)
    else:
        yield from _k_hot_problems(label)
    if label.columns is not None:
        if label.class_names != label.columns:
            yield from _count_problems(label, "columns", label.columns)
        for column in _repeated(label.columns):
            yield Problem("LG216", ("columns",), f"column {column!r} is listed twice", "remove one")
    yield from _length_problems(label)
    low, most = label.min_positive, label.num_classes if label.max_positive is None else label.max_positive
    longest = most if label.max_length is None else min(most, label.max_length)
    if low is not None and low > longest:
        yield Problem("LG216", ("min_positive",), f"min_positive {low} is above {longest}", "lower it")
    elif label.unique and label.min_length is not None and most < label.min_length <= label.num_classes:
        message = f"{counted(label.min_length, 'unique id is', 'unique ids are')} more than max_positive {most}"
        yield Problem("LG216", ("min_length",), message, "lower min_length")
    stored = () if label.encoding == "ids" else label.stored_dtypes
    kept = label.kept_sentinels
    yield from _emit_problems(label, stored, lambda target: all(dtypes.holds_value(target, value) for value in kept))


def _id_rows_problems(label: MultiLabel) -> Iterator[Problem]:
    """A list of ids: what only k-hot rows can have."""
    yield from _name_storage_problems(label)
    for field, usual in (("positive", 1), ("negative", 0), ("ignore", ()), ("columns", None)):
        if getattr(label, field) != usual:
            yield Problem("LG216", (field,), f"{field} is for k-hot rows, not for encoding: ids", "leave it out")
    for name in _named(label):
        low, high = dtypes.integer_range(name)
        if not dtypes.is_integer(name) or not low <= label.num_classes - 1 <= high:
            message = f"dtype {name} cannot hold the class id {label.num_classes - 1}"
            yield Problem("LG203", ("dtype",), message, "declare a wider integer dtype")


def _k_hot_problems(label: MultiLabel) -> Iterator[Problem]:
    if dtypes.STRING in (label.dtype or ()):
        yield Problem("LG203", ("dtype",), "k-hot rows hold numbers, so dtype cannot be string", "set encoding: ids")
    if label.positive == label.negative:
        message = f"positive and negative are both {label.positive}"
        written = "positive" if "positive" in label.model_fields_set else "negative"
        yield Problem("LG216", (written,), message, "use two different values")
    for field, value in (("positive", label.positive), ("negative", label.negative)):
        for name in _named(label):
            if not dtypes.holds_value(name, value):
                yield Problem("LG203", ("dtype",), f"dtype {name} cannot hold {field} {value}", "declare a wider dtype")
    legal = {label.positive, label.negative}
    emitted = {0, 1} if label.on_ignore == "keep" else set[int]()
    for position, value in enumerate(label.ignore):
        if value in legal or value in emitted:
            fix = "use another value" if value in legal else "set on_ignore: replace"
            yield Problem("LG204", ("ignore", position), f"ignore value {value} is a legal value", fix)
    yield from _ignore_problems(label)


def _ignore_problems(label: MultiLabel | RealLabel) -> Iterator[Problem]:
    """Ignore values that are not finite, that the stored dtype cannot hold, or that do not survive."""
    named = _named(label)
    if label.on_ignore == "keep" and (label.ignores_nan or label.ignores_null):
        message = "a value that was not measured (.nan, null) cannot stay in the array"
        yield Problem("LG216", ("on_ignore",), message, "set on_ignore: replace")
    for position, value in enumerate(label.ignore):
        place = ("ignore", position)
        if value is None or value != value:
            if label.dtype is not None and not set(dtypes.FLOATING) & set(dtypes.expand(label.dtype)):
                shown, names = "null" if value is None else ".nan", ", ".join(label.dtype)
                message = f"dtype {names} cannot hold ignore value {shown}: what was not measured is read as NaN"
                yield Problem("LG203", ("dtype",), message, f"set dtype: [{names}, floating]")
            continue
        if not is_finite(value):
            yield Problem("LG216", place, f"ignore value {number_text(value)} is not finite", "remove it")
            continue
        whole = len(named) == len(label.dtype or ())
        if named and whole and not any(dtypes.holds_value(name, value) for name in named):
            message = f"dtype {' or '.join(named)} cannot hold ignore value {number_text(value)}"
            yield Problem("LG203", ("dtype",), message, "widen it")
        handed_on = (label.emit,) if label.emit is not None else label.stored_dtypes
        integral = float(value).is_integer() and any(map(dtypes.is_integer, handed_on))
        if integral and label.on_ignore == "keep":
            yield from _truncated(place, int(value))


def _soft_problems(label: SoftLabel) -> Iterator[Problem]:
    yield from _names_of(label)
    if dtypes.STRING in label.stored_dtypes:
        yield Problem("LG203", ("dtype",), "a soft_label holds numbers, not text", "declare a numeric dtype")
        return
    if not is_finite(label.tolerance) or label.tolerance >= 1:
        message = f"tolerance {number_text(label.tolerance)} lets a row of zeros pass: it must be below 1"
        yield Problem("LG216", ("tolerance",), message, "write the rounding error of a row, such as 0.001")
    # Rounding a probability keeps it legal; only a target that is not floating narrows. Every dtype holds 0 and 1.
    stored = () if label.emit in dtypes.FLOATING else label.stored_dtypes
    yield from _emit_problems(label, stored, lambda _: label.one_hot)


def _real_problems(label: RealLabel) -> Iterator[Problem]:
    for field, value in (("minimum", label.minimum), ("maximum", label.maximum)):
        if value is not None and not is_finite(value):
            message = f"{field} is {number_text(value)}, which is not a finite 64-bit float"
            yield Problem("LG216", (field,), message, "leave the field out")
            return
    low, high = label.minimum, label.maximum
    if low is not None and high is not None and low > high:
        yield Problem("LG216", ("minimum",), f"minimum {low} is above maximum {high}", "swap them")
        return
    yield from _limit_dtype_problems(label)
    yield from _ignore_problems(label)
    limited = low is not None or high is not None  # without limits any sentinel is accepted
    for position, value in enumerate(label.ignore if limited else ()):
        if value is not None and (low is None or value >= low) and (high is None or value <= high):
            yield Problem("LG204", ("ignore", position), f"ignore value {value} is a legal value", "use another value")
    for value in label.kept_sentinels if label.emit in dtypes.FLOATING else ():
        if not dtypes.holds_value(str(label.emit), value):
            message = f"emit {label.emit} cannot hold the kept ignore value {value}"
            yield Problem("LG205", ("emit",), message, "emit a wider dtype, or set on_ignore: replace")
    yield from _emit_problems(label, () if label.emit in dtypes.FLOATING else label.stored_dtypes, lambda _: False)


def _limit_dtype_problems(label: RealLabel) -> Iterator[Problem]:
    """Limits that leave nothing to store, or that the emitted dtype turns into infinity."""
    low = -math.inf if label.minimum is None else label.minimum
    high = math.inf if label.maximum is None else label.maximum
    field = "minimum" if label.minimum is not None else "maximum"
    if dtypes.STRING in label.stored_dtypes:
        yield Problem("LG203", ("dtype",), "a real_label holds numbers, not text", "declare a numeric dtype")
    elif not any(dtypes.has_value_between(name, low, high) for name in label.stored_dtypes):
        names = ", ".join(label.dtype or label.DEFAULT_DTYPES)
        message = f"no value of dtype {names} lies between minimum and maximum"
        yield Problem("LG216", (field,), message, "correct the limits or the dtype")
    if label.emit is None:
        return
    largest = dtypes.greatest(label.emit)
    for name, value in (("minimum", label.minimum), ("maximum", label.maximum)):
        if value is not None and not -largest - 1 <= value <= largest:
            message = f"emit {label.emit} (largest {largest:g}) cannot hold the legal {name} {value}"
            yield Problem("LG205", ("emit",), message, "emit a wider dtype")
            return
    if low <= high and not dtypes.has_value_between(label.emit, low, high):
        message = f"no value of emit {label.emit} lies between minimum and maximum"
        yield Problem("LG205", ("emit",), message, "emit a wider dtype")


def _emit_problems(label: Label, stored: Sequence[str], fit: Callable[[str], bool]) -> Iterator[Problem]:
    """An emitted dtype that cannot hold what is stored, nor the legal values."""
    if label.emit is None:
        return
    for name in stored:
        if not dtypes.holds(label.emit, name) and not fit(label.emit):
            message = f"emit {label.emit} cannot hold every legal value stored as {name}"
            yield Problem("LG205", ("emit",), message, "emit a wider dtype")
            return


def _named(label: Label) -> tuple[str, ...]:
    """The declared dtypes that are one NumPy dtype, not a family."""
    return tuple(name for name in label.dtype or () if name not in dtypes.FAMILIES and name != dtypes.STRING)


def _truncated(path: SchemaPath, value: int) -> Iterator[Problem]:
    if not dtypes.holds_value("int32", value):
        message = f"kept sentinel {value} does not survive JAX's int32: it would arrive as another value"
        yield Problem("LG205", path, message, "replace it (on_ignore or on_unlabeled: replace) or use one within int32")


def _repeated(values: Sequence[Any]) -> list[Any]:
    """The values that occur more than once, each once."""
    seen: set[Any] = set()
    return list(dict.fromkeys(value for value in values if value in seen or seen.add(value)))


def _names_of(label: ClassLabel | MultiLabel | SoftLabel) -> Iterator[Problem]:
    names, count = label.class_names, label.num_classes
    if names is None:
        return
    are_columns = label.kind == "multi_label" and label.columns == names
    if len(names) != count:
        message = f"num_classes is {count} but {'columns' if are_columns else 'class_names'} has {len(names)}"
        change = f"{'remove' if len(names) > count else 'add'} {abs(len(names) - count)}"
        yield Problem("LG201", ("num_classes",), message, f"{change} or set num_classes: {len(names)}")
    first: dict[str, int] = {}
    for position, name in enumerate(() if are_columns else names):
        if name in first:
            message = f"class name {name!r} is both {first[name]} and {position}"
            yield Problem("LG202", ("class_names", position), message, "give each class a name of its own")
        first.setdefault(name, position)
