"""Parquet: only the label columns are read, nested ones included, and the footers alone where these suffice."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from label_guard.core.plural import counted
from label_guard.errors import SourceError
from label_guard.sources.arrow_columns import features, leaf_column, leaf_names, pyarrow, wanted_leaves
from label_guard.sources.base import WHOLE_FILE, FilePart, LabelShapes, Piece
from label_guard.sources.encoded_labels import decode_pieces
from label_guard.sources.files import is_remote, opened
from label_guard.sources.tfds_metadata import Feature

# Decoded numbers are read again at once, to check and to count them: while they are in the cache of a core that takes
# half the time of 2 MiB.
CHUNK_BYTES = 512 << 10
_TOO_FEW = "it holds fewer rows than the footer says"
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
    reads_ranges: ClassVar[bool] = True

    def fields(self, path: str) -> Sequence[str]:
        with _file(path) as (file, _):
            return leaf_names(file.schema_arrow)

    def read(self, path: str, wanted: LabelShapes, part: FilePart = WHOLE_FILE) -> Iterator[Piece]:
        with _file(path) as (file, _):
            leaves = wanted_leaves(file.schema_arrow, wanted, path)
            columns = [file.schema.column(leaf.number) for leaf in leaves.values()]
            names = [column.path for column in columns]
            texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
            metadata = file.metadata
        with _file(path, metadata=metadata, read_dictionary=texts) as (file, signed):
            groups, numbers = part.of(metadata.num_row_groups), [leaf.number for leaf in leaves.values()]
            batches = _Batches(file, path, names, groups, numbers)
            for start, batch in batches.around_damage() if signed else batches.read():
                found = {
                    label: leaf_column(batch.column(leaf.names[0]), leaf.names[1:]) for label, leaf in leaves.items()
                }
                yield from decode_pieces(Piece(range(start, start + batch.num_rows), found), wanted, {})


class _Batches:
    """Record batches of some row groups in order, each with the position of its first row in the file.

    Which rows of a damaged row group are read, and what is said of it, does not depend on the other row groups: so a
    file gives the same whether it is read in parts or not.
    """

    def __init__(self, file: Any, path: str, names: Sequence[str], groups: range, columns: Sequence[int]) -> None:
        self._file = file
        self._path = path
        self._names = names
        self._groups = groups
        self._columns = columns
        rows = [file.metadata.row_group(group).num_rows for group in range(groups.stop)]
        self._starts = [0, *itertools.accumulate(rows)]

    def _iterate(self, groups: Sequence[int], rows: int) -> Iterator[Any]:
        return self._file.iter_batches(rows, list(groups), self._names, use_threads=False)  # type: ignore[no-any-return]

    def read(self) -> Iterator[tuple[int, Any]]:
        """Yields all batches. One spans small row groups.

        Raises:
            SourceError: a row group is damaged; what can be read of all of them has been yielded.
        """
        row = self._starts[self._groups.start]
        try:
            for batch in self._iterate(self._groups, _batch_rows(self._file.metadata, self._groups, self._columns)):
                yield row, batch
                row += batch.num_rows
        except (pyarrow()[0].ArrowException, OSError):
            yield from self.around_damage(row)
            return
        if row != self._starts[self._groups.stop]:
            raise SourceError(
                f"{self._path} does not hold the {counted(self._file.metadata.num_rows, 'row')} of its footer"
            )

    def around_damage(self, row: int = 0) -> Iterator[tuple[int, Any]]:
        """Yields the batches of each row group by itself, from ``row`` on.

        Raises:
            SourceError: as ``read``; the first fault.
        """
        faults: list[str] = []
        row = max(row, self._starts[self._groups.start])
        for group in self._groups:
            start, stop = self._starts[group], self._starts[group + 1]
            if row >= stop:
                continue
            try:
                # Asked for the metadata of an encrypted column, pyarrow ends the process; reading it is an error.
                next(self._iterate([group], 1), None)
                for batch in self._iterate([group], _batch_rows(self._file.metadata, [group], self._columns)):
                    if start + batch.num_rows > row:
                        yield row, batch.slice(max(0, row - start))
                        row = start + batch.num_rows
                    start += batch.num_rows
                if start < stop:
                    raise OSError(_TOO_FEW)
            except (pyarrow()[0].ArrowException, OSError):
                head, fault = self._head(group)
                if head is not None and self._starts[group] + head.num_rows > row:
                    yield row, head.slice(row - self._starts[group])
                faults.append(f"cannot read {self._path} as Parquet, row group {group}: {fault}")
            row = stop
        if faults:
            raise SourceError(faults[0])

    def _head(self, group: int) -> tuple[Any, str]:
        """As many of the first rows of a damaged row group as can be read, and why the next one cannot."""
        head, fault = None, _TOO_FEW
        good, bad = 0, self._starts[group + 1] - self._starts[group] + 1
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                found = next(self._iterate([group], middle), None)
            except (pyarrow()[0].ArrowException, OSError) as error:
                bad, fault = middle, str(error)
                continue
            if found is None or found.num_rows < middle:
                bad = middle
            else:
                good, head = middle, found
        return head, fault


def column_statistics(path: str, label: str) -> list[GroupStatistics | None]:
    """Statistics of one label column from the footer, one entry a row group, without reading data.

    None where the footer proves nothing: no statistics, not integers (those of floats leave NaN out), or a list (it
    does not say whether a null is a list or in one).

    Raises:
        SourceError: the file is missing, not Parquet, or has no such column.
    """
    with _file(path) as (file, signed):
        number, names, _ = wanted_leaves(file.schema_arrow, [label], path)[label]
        arrow, metadata = pyarrow()[0], file.metadata
        kind = file.schema_arrow.field(names[0]).type
        if signed or len(names) > 1 or not arrow.types.is_integer(kind):
            return [None] * metadata.num_row_groups
        groups = (metadata.row_group(k) for k in range(metadata.num_row_groups))
        return [_group_statistics(group, number, str(kind)) for group in groups]


def declared(path: str) -> dict[str, Feature]:
    """The columns of a file as its schema declares them.

    Raises:
        SourceError: the file is missing or not Parquet.
    """
    with _file(path) as (file, _):
        return features(file.schema_arrow)


def _group_statistics(group: Any, number: int, dtype: str) -> GroupStatistics | None:
    found = group.column(number).statistics
    if found is None or not found.has_null_count or found.null_count == group.num_rows:
        return None
    if not found.has_min_max or type(found.min) is not int or type(found.max) is not int:
        return None
    return GroupStatistics(found.min, found.max, found.null_count, group.num_rows, dtype)


@contextmanager
def _file(path: str, **options: Any) -> Generator[tuple[Any, bool]]:
    """The open file, and whether its footer is signed: then columns may be encrypted."""
    arrow, _, parquet = pyarrow()
    with opened(path) as stream:
        try:
            # A local file is opened by Arrow itself: its threads may still read when this process ends, and would
            # call Python then.
            source = stream if is_remote(path) else arrow.OSFile(path)
            with parquet.ParquetFile(source, page_checksum_verification=True, **options) as file:
                stream.seek(-8, 2)
                signed = int.from_bytes(stream.read(4), "little") != file.metadata.serialized_size
                yield file, signed
        except (arrow.ArrowException, UnicodeDecodeError) as error:  # names in a damaged footer
            raise SourceError(f"cannot read {path} as Parquet: {error}") from None


def _batch_rows(metadata: Any, groups: Sequence[int], numbers: Sequence[int]) -> int:
    """Rows that hold about a chunk of label values, counting lists and strings."""
    total = rows = 0
    for k in groups:
        group = metadata.row_group(k)
        rows += group.num_rows
        for number in numbers:
            column = group.column(number)
            width = _WIDTHS.get(column.physical_type)
            total += column.num_values * width if width else column.total_uncompressed_size + 8 * column.num_values
    return max(1, min(CHUNK_BYTES // 8, CHUNK_BYTES * rows // max(1, total)))
