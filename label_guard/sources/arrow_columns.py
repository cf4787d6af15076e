"""Arrow data as label columns, for Parquet and Arrow files: leaf columns by path, values at their stored width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from label_guard.errors import SourceError
from label_guard.sources.base import RawColumn, framework, require_fields
from label_guard.sources.huggingface import class_names
from label_guard.sources.tfds_metadata import Feature

_BYTES = "/bytes"
_NUMPY_NAMES = {"halffloat": "float16", "float": "float32", "double": "float64"}  # by Arrow's name
_TEXTS = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")


class Leaf(NamedTuple):
    """A leaf column: its number, the names on the way to it (lists have none), how many columns have this path."""

    number: int
    names: Sequence[str]
    columns: int = 1


def pyarrow() -> tuple[Any, ...]:
    """``pyarrow``, ``pyarrow.compute`` and ``pyarrow.parquet``."""
    return tuple(framework(name, "parquet") for name in ("pyarrow", "pyarrow.compute", "pyarrow.parquet"))


def leaves_of(schema: Any) -> dict[str, Leaf]:
    """The leaf columns by label path."""
    leaves: dict[str, Leaf] = {}
    columns = (names for field in schema for names in _leaf_columns(field.type, [field.name]))
    for number, names in enumerate(columns):
        path = "/".join(names)
        first = leaves.get(path)
        leaves[path] = Leaf(number, names) if first is None else first._replace(columns=first.columns + 1)
    return leaves


def _leaf_columns(kind: Any, names: list[str]) -> Iterator[list[str]]:
    """The names on the way to each leaf column of a type, in the order in which a file numbers its columns."""
    types = pyarrow()[0].types
    if types.is_struct(kind):
        for field in kind:
            yield from _leaf_columns(field.type, [*names, field.name])
    elif types.is_map(kind):
        yield from _leaf_columns(kind.key_type, [*names, "key"])
        yield from _leaf_columns(kind.item_type, [*names, "value"])
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        yield from _leaf_columns(kind.value_type, names)
    else:
        yield names


def leaf_names(schema: Any) -> list[str]:
    """The label paths of a schema; of an image of Hugging Face (a struct of bytes and path) its own name too."""
    leaves = leaves_of(schema)
    names = [path.removesuffix(_BYTES) for path in leaves if path.endswith(_BYTES)]
    return [*(name for name in names if f"{name}/path" in leaves), *leaves]


def wanted_leaves(schema: Any, wanted: Iterable[str], path: str) -> dict[str, Leaf]:
    """The leaf columns of the labels.

    Raises:
        SourceError: the file has no such column, or two of that name.
    """
    require_fields(wanted, leaf_names(schema), path)
    leaves = leaves_of(schema)
    found = {label: leaves[label] if label in leaves else leaves[label + _BYTES] for label in wanted}
    doubled = next((label for label, leaf in found.items() if leaf.columns > 1), None)
    if doubled is not None:
        raise SourceError(f"{path} has {found[doubled].columns} columns named {doubled!r}; rename one")
    return found


def features(schema: Any) -> dict[str, Feature]:
    """The leaf columns as the schema declares them; of a ``ClassLabel`` of Hugging Face with its class names."""
    names = class_names(schema.metadata)
    return {
        path: _feature(schema, leaf, names.get(path)) for path, leaf in leaves_of(schema).items() if leaf.columns == 1
    }


def _feature(schema: Any, leaf: Leaf, names: tuple[str, ...] | None) -> Feature:
    types = pyarrow()[0].types
    kind: Any = schema.field(schema.names.index(leaf.names[0])).type
    shape: list[int | None] = []
    steps = list(leaf.names[1:])
    while types.is_nested(kind) or types.is_run_end_encoded(kind):
        if types.is_struct(kind):
            kind = kind.field(kind.get_field_index(steps.pop(0))).type
        elif types.is_map(kind):
            shape.append(None)
            kind = kind.key_type if steps.pop(0) == "key" else kind.item_type
        elif types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            shape.append(kind.list_size if types.is_fixed_size_list(kind) else None)
            kind = kind.value_type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    # to_pandas_dtype() would need pandas.
    name = str(kind)
    dtype = _NUMPY_NAMES.get(name, name) if number else "string" if name.partition("[")[0] in _TEXTS else None
    if names is not None:
        return Feature("ClassLabel", len(names), names, dtype, tuple(shape))
    return Feature(str(kind), dtype=dtype, shape=tuple(shape))


def leaf_column(array: Any, names: Sequence[str]) -> RawColumn:
    """An Arrow array as a label column; ``names`` lead through its structs."""
    arrow, compute, _ = pyarrow()
    types, kind = arrow.types, array.type
    if types.is_dictionary(kind):
        return _decoded(array)
    if types.is_struct(kind):
        return leaf_column(array.flatten()[kind.get_field_index(names[0])], names[1:])
    if types.is_map(kind):  # Arrow's functions of lists take no map whose texts are a dictionary
        entries = arrow.struct([("key", kind.key_type), ("value", kind.item_type)])
        return leaf_column(array.cast(arrow.list_(entries)), names)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lengths = compute.fill_null(compute.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        inner = leaf_column(array.flatten(), names)
        return _cut(inner, lengths, array.is_valid().to_numpy(zero_copy_only=False))
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return array.to_pylist()  # type: ignore[no-any-return]
    if not array.null_count:
        return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    filled = array
    if not types.is_floating(kind):  # of which a null becomes NaN by itself; Arrow before 21 fills no float16
        filled = compute.fill_null(array, arrow.scalar(False if types.is_boolean(kind) else 0).cast(kind))
    values = list(filled.to_numpy(zero_copy_only=False))
    for position in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
        values[position] = None
    return values


def _decoded(array: Any) -> RawColumn:
    """The values of a dictionary array: equal texts share one object, so that a text of a megabyte may repeat."""
    arrow, compute, _ = pyarrow()
    values = leaf_column(array.dictionary, [])
    if isinstance(values, np.ndarray) and not array.null_count:
        return values[array.indices.to_numpy(zero_copy_only=False)]
    places = compute.fill_null(array.indices.cast(arrow.int64()), -1).to_numpy(zero_copy_only=False).tolist()
    return [None if place < 0 else values[place] for place in places]


def _cut(inner: RawColumn, lengths: Any, valid: Any) -> RawColumn:
    """The values of all lists, one list a record; None for a null list."""
    count = int(lengths[0]) if len(lengths) else 0
    if isinstance(inner, np.ndarray) and valid.all() and (lengths == count).all():
        if not count and inner.ndim > 1:  # no list is there that would show its length
            return [[] for _ in lengths]
        return inner.reshape(len(lengths), count, *inner.shape[1:])
    stops = np.cumsum(lengths).tolist()
    dtype: Any = next((cast("Any", item).dtype for item in inner if isinstance(item, np.generic)), None)
    pieces = [inner[stop - n : stop] for stop, n in zip(stops, lengths.tolist(), strict=True)]
    return [_one_list(piece, dtype) if ok else None for piece, ok in zip(pieces, valid.tolist(), strict=True)]


def _one_list(piece: RawColumn, dtype: Any) -> RawColumn:
    """The list of one record: of its stored dtype, but with a null inside as a list of NumPy numbers and None."""
    if not isinstance(piece, list) or dtype is None or any(item is None for item in piece):
        return piece
    return np.array(piece, dtype)
