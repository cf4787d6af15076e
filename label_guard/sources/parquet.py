"""Parquet: only the label columns are read, nested ones included, and the footers alone where these suffice."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, Column, Piece, Wanted, framework, require_fields
from label_guard.sources.files import opened

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}


class GroupStatistics(NamedTuple):
    """What a footer says of one column in one row group: least and greatest value, nulls, rows, NumPy dtype."""

    minimum: int
    maximum: int
    null_count: int
    rows: int
    dtype: str


class Leaf(NamedTuple):
    """A leaf column: its number, the names on the way to it (lists have none), how many columns have this path."""

    number: int
    names: Sequence[str]
    columns: int = 1


@dataclass(frozen=True, slots=True)
class ParquetFormat:
    """Columns of Parquet files; ``objects/label`` names a field of a struct, or of a list of structs."""

    name: str = "parquet"

    def fields(self, path: str) -> Sequence[str]:
        with _file(path) as file:
            return list(_leaves(file.schema_arrow))

    def read(self, path: str, wanted: Wanted) -> Iterator[Piece]:
        with _file(path) as file:
            leaves = _wanted_leaves(file, wanted, path)
            columns = [file.schema.column(leaf.number) for leaf in leaves.values()]
            names = [column.path for column in columns]
            texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
            metadata = file.metadata
        with _file(path, metadata=metadata, read_dictionary=texts) as file:
            yield from _pieces(file, path, leaves, names)


def _pieces(file: Any, path: str, leaves: Mapping[str, Leaf], names: Sequence[str]) -> Iterator[Piece]:
    groups, fault = _readable_groups(file, names)
    size, row = _batch_rows(file.metadata, groups, [leaf.number for leaf in leaves.values()]), 0
    for batch in _batches(file, groups, names, size):
        columns = {label: _leaf_column(batch.column(leaf.names[0]), leaf.names[1:]) for label, leaf in leaves.items()}
        yield Piece(range(row, row + batch.num_rows), columns)
        row += batch.num_rows
    if fault:
        raise SourceError(f"cannot read {path} as Parquet, row group {groups}: {fault}")
    if row != file.metadata.num_rows:
        raise SourceError(f"{path} holds {row:,} rows, but its footer promises {file.metadata.num_rows:,}")


def _wanted_leaves(file: Any, wanted: Iterable[str], path: str) -> dict[str, Leaf]:
    """The leaf columns of the labels.

    Raises:
        SourceError: the file has no such column, or two of that name.
    """
    leaves = _leaves(file.schema_arrow)
    require_fields(wanted, list(leaves), path)
    doubled = next((label for label in wanted if leaves[label].columns > 1), None)
    if doubled is not None:
        raise SourceError(f"{path} has {leaves[doubled].columns} columns named {doubled!r}; rename one")
    return {label: leaves[label] for label in wanted}


def _readable_groups(file: Any, names: Sequence[str]) -> tuple[int, str]:
    """How many row groups can be read, and why the next one cannot.

    A first row of each is read: pyarrow ends the process when it is asked for the metadata of an encrypted column.
    """
    arrow = _arrow()[0]
    for group in range(file.num_row_groups):
        try:
            next(file.iter_batches(batch_size=1, row_groups=[group], columns=names, use_threads=False), None)
        except (arrow.ArrowException, OSError) as error:
            return group, str(error)
    return file.num_row_groups, ""


def column_statistics(path: str, label: str) -> list[GroupStatistics | None]:
    """Statistics of one label column from the footer, one entry a row group, without reading data.

    None where the footer proves nothing: no statistics, not integers (those of floats leave NaN out), or a list (it
    does not say whether a null is a list or in one).

    Raises:
        SourceError: the file is missing, not Parquet, or has no such column.
    """
    with _file(path) as file:
        number, names, _ = _wanted_leaves(file, [label], path)[label]
        arrow, metadata = _arrow()[0], file.metadata
        kind = file.schema_arrow.field(names[0]).type
        if len(names) > 1 or not arrow.types.is_integer(kind):
            return [None] * metadata.num_row_groups
        if _readable_groups(file, [file.schema.column(number).path])[1]:
            return [None] * metadata.num_row_groups
        groups = (metadata.row_group(k) for k in range(metadata.num_row_groups))
        return [_group_statistics(group, number, str(kind)) for group in groups]


def class_names(path: str, labels: Iterable[str]) -> dict[str, list[str]]:
    """Names in order of the ids of those ``labels`` that the metadata name, as Hugging Face datasets does.

    Raises:
        SourceError: the file is missing or not Parquet.
    """
    with _file(path) as file:
        metadata: dict[bytes, bytes] = file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        found = {label: features[label]["names"] for label in labels if features.get(label, {}).get("names")}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    return {label: list(map(str, cast("list[Any]", names))) for label, names in found.items() if type(names) is list}


def _group_statistics(group: Any, number: int, dtype: str) -> GroupStatistics | None:
    found = group.column(number).statistics
    if found is None or not found.has_null_count:
        return None
    if found.null_count == group.num_rows:
        return None
    if not found.has_min_max or type(found.min) is not int or type(found.max) is not int:
        return None
    return GroupStatistics(found.min, found.max, found.null_count, group.num_rows, dtype)


def _arrow() -> tuple[Any, ...]:
    return tuple(framework(name, "parquet") for name in ("pyarrow", "pyarrow.compute", "pyarrow.parquet"))


@contextmanager
def _file(path: str, **options: Any) -> Generator[Any]:
    arrow, _, parquet = _arrow()
    with opened(path) as stream:
        try:
            with parquet.ParquetFile(stream, page_checksum_verification=True, **options) as file:
                yield file
        except arrow.ArrowException as error:
            raise SourceError(f"cannot read {path} as Parquet: {error}") from None


def _batches(file: Any, groups: int, names: Sequence[str], size: int) -> Iterator[Any]:
    """Record batches in order. A batch spans small row groups; after a fault these are read one by one up to it."""
    arrow, row = _arrow()[0], 0
    options = {"batch_size": size, "columns": names, "use_threads": False}
    try:
        for batch in file.iter_batches(row_groups=list(range(groups)), **options):
            yield batch
            row += batch.num_rows
    except (arrow.ArrowException, OSError):
        start = 0
        for group in range(groups):
            for batch in file.iter_batches(row_groups=[group], **options):
                if start + batch.num_rows > row:
                    yield batch.slice(max(0, row - start))
                start += batch.num_rows


def _leaves(schema: Any) -> dict[str, Leaf]:
    """The leaf columns by label path."""
    found: dict[str, Leaf] = {}
    number = 0

    def walk(kind: Any, names: list[str]) -> None:
        nonlocal number
        types = _arrow()[0].types
        if types.is_struct(kind):
            for field in kind:
                walk(field.type, [*names, field.name])
        elif types.is_map(kind):
            walk(kind.key_type, [*names, "key"])
            walk(kind.item_type, [*names, "value"])
        elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            walk(kind.value_type, names)
        else:
            path = "/".join(names)
            first = found.get(path)
            found[path] = Leaf(number, names) if first is None else first._replace(columns=first.columns + 1)
            number += 1

    for field in schema:
        walk(field.type, [field.name])
    return found


def _batch_rows(metadata: Any, groups: int, numbers: Sequence[int]) -> int:
    """Rows that hold about a chunk of label values, lists and strings reckoned with."""
    total = rows = 0
    for k in range(groups):
        group = metadata.row_group(k)
        rows += group.num_rows
        for number in numbers:
            column = group.column(number)
            width = _WIDTHS.get(column.physical_type)
            total += column.num_values * width if width else column.total_uncompressed_size + 8 * column.num_values
    return max(1, min(CHUNK_BYTES // 8, CHUNK_BYTES * rows // max(1, total)))


def _leaf_column(array: Any, names: Sequence[str]) -> Column:
    """An Arrow array as a label column; ``names`` lead through its structs."""
    arrow, compute, _ = _arrow()
    types, kind = arrow.types, array.type
    if types.is_dictionary(kind):
        return _decoded(array)
    if types.is_struct(kind):
        return _leaf_column(array.flatten()[kind.get_field_index(names[0])], names[1:])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind):
        lengths = compute.fill_null(compute.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        inner = _leaf_column(array.flatten(), names)
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


def _decoded(array: Any) -> Column:
    """The values of a dictionary array: equal texts share one object, so that a text of a megabyte may repeat."""
    arrow, compute, _ = _arrow()
    values = _leaf_column(array.dictionary, [])
    if isinstance(values, np.ndarray) and not array.null_count:
        return values[array.indices.to_numpy(zero_copy_only=False)]
    places = compute.fill_null(array.indices.cast(arrow.int64()), -1).to_numpy(zero_copy_only=False).tolist()
    return [None if place < 0 else values[place] for place in places]


def _cut(inner: Column, lengths: Any, valid: Any) -> Column:
    """The values of all lists, one list a record; None for a null list."""
    count = int(lengths[0]) if len(lengths) else 0
    if isinstance(inner, np.ndarray) and valid.all() and (lengths == count).all():
        return inner.reshape(len(lengths), count, *inner.shape[1:])
    stops = np.cumsum(lengths).tolist()
    dtype: Any = next((cast("Any", item).dtype for item in inner if isinstance(item, np.generic)), None)
    pieces = [inner[stop - n : stop] for stop, n in zip(stops, lengths.tolist(), strict=True)]
    return [_one_list(piece, dtype) if ok else None for piece, ok in zip(pieces, valid.tolist(), strict=True)]


def _one_list(piece: Column, dtype: Any) -> Column:
    """The list of one record: of its stored dtype, but with a null inside as a list of NumPy numbers and None."""
    if not isinstance(piece, list) or dtype is None or any(item is None for item in piece):
        return piece
    return np.array(piece, dtype)
