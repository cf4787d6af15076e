"""Parquet: only the label columns are read, nested ones included, and the footers alone where these suffice."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from label_guard.errors import SourceError
from label_guard.sources.arrow_columns import Leaf, features, leaf_column, leaf_names, pyarrow, wanted_leaves
from label_guard.sources.base import CHUNK_BYTES, LabelShapes, Piece
from label_guard.sources.encoded_labels import decode_pieces
from label_guard.sources.files import is_remote, opened
from label_guard.sources.tfds_metadata import Feature

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}


class GroupStatistics(NamedTuple):
    """What a footer says of one column in one row group: least and greatest value, nulls, rows, NumPy dtype."""

    minimum: int
    maximum: int
    null_count: int
    rows: int
    dtype: str


@dataclass(frozen=True, slots=True)
class ParquetFormat:
    """Columns of Parquet files; ``objects/label`` names a field of a struct, or of a list of structs."""

    name: str = "parquet"

    def fields(self, path: str) -> Sequence[str]:
        with _file(path) as file:
            return leaf_names(file.schema_arrow)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        with _file(path) as file:
            leaves = wanted_leaves(file.schema_arrow, wanted, path)
            columns = [file.schema.column(leaf.number) for leaf in leaves.values()]
            names = [column.path for column in columns]
            texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
            metadata = file.metadata
        with _file(path, metadata=metadata, read_dictionary=texts) as file:
            for piece in _pieces(file, path, leaves, names):
                yield from decode_pieces(piece, wanted, {})


def _pieces(file: Any, path: str, leaves: Mapping[str, Leaf], names: Sequence[str]) -> Iterator[Piece]:
    groups, fault = _readable_groups(file, names)
    size, row = _batch_rows(file.metadata, groups, [leaf.number for leaf in leaves.values()]), 0
    for batch in _batches(file, groups, names, size):
        columns = {label: leaf_column(batch.column(leaf.names[0]), leaf.names[1:]) for label, leaf in leaves.items()}
        yield Piece(range(row, row + batch.num_rows), columns)
        row += batch.num_rows
    if fault:
        raise SourceError(f"cannot read {path} as Parquet, row group {groups}: {fault}")
    if row != file.metadata.num_rows:
        raise SourceError(f"{path} holds {row:,} rows, but its footer promises {file.metadata.num_rows:,}")


def _readable_groups(file: Any, names: Sequence[str]) -> tuple[int, str]:
    """How many row groups can be read, and why the next one cannot.

    A first row of each is read: pyarrow ends the process when it is asked for the metadata of an encrypted column.
    """
    arrow = pyarrow()[0]
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
        number, names, _ = wanted_leaves(file.schema_arrow, [label], path)[label]
        arrow, metadata = pyarrow()[0], file.metadata
        kind = file.schema_arrow.field(names[0]).type
        if len(names) > 1 or not arrow.types.is_integer(kind):
            return [None] * metadata.num_row_groups
        if _is_signed(path, metadata):
            return [None] * metadata.num_row_groups
        groups = (metadata.row_group(k) for k in range(metadata.num_row_groups))
        return [_group_statistics(group, number, str(kind)) for group in groups]


def _is_signed(path: str, metadata: Any) -> bool:
    """Whether the footer is longer than its metadata: it is signed, so columns may be encrypted.

    Asked for the statistics of an encrypted column, pyarrow ends the process.
    """
    with opened(path) as file:
        file.seek(-8, 2)
        return int.from_bytes(file.read(4), "little") != metadata.serialized_size


def declared(path: str) -> dict[str, Feature]:
    """The columns of a file as its schema declares them.

    Raises:
        SourceError: the file is missing or not Parquet.
    """
    with _file(path) as file:
        return features(file.schema_arrow)


def _group_statistics(group: Any, number: int, dtype: str) -> GroupStatistics | None:
    found = group.column(number).statistics
    if found is None or not found.has_null_count:
        return None
    if found.null_count == group.num_rows:
        return None
    if not found.has_min_max or type(found.min) is not int or type(found.max) is not int:
        return None
    return GroupStatistics(found.min, found.max, found.null_count, group.num_rows, dtype)


@contextmanager
def _file(path: str, **options: Any) -> Generator[Any]:
    arrow, _, parquet = pyarrow()
    with opened(path) as stream:
        try:
            # A local file is opened by Arrow itself: its threads may still read when this process ends, and would
            # call Python then.
            source = stream if is_remote(path) else arrow.OSFile(path)
            with parquet.ParquetFile(source, page_checksum_verification=True, **options) as file:
                yield file
        except arrow.ArrowException as error:
            raise SourceError(f"cannot read {path} as Parquet: {error}") from None


def _batches(file: Any, groups: int, names: Sequence[str], size: int) -> Iterator[Any]:
    """Record batches in order. A batch spans small row groups; after a fault these are read one by one up to it."""
    arrow, row = pyarrow()[0], 0
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


def _batch_rows(metadata: Any, groups: int, numbers: Sequence[int]) -> int:
    """Rows that hold about a chunk of label values, counting lists and strings."""
    total = rows = 0
    for k in range(groups):
        group = metadata.row_group(k)
        rows += group.num_rows
        for number in numbers:
            column = group.column(number)
            width = _WIDTHS.get(column.physical_type)
            total += column.num_values * width if width else column.total_uncompressed_size + 8 * column.num_values
    return max(1, min(CHUNK_BYTES // 8, CHUNK_BYTES * rows // max(1, total)))
