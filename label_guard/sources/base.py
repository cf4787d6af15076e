"""What every source yields, and what a file format has to offer. Plain values: workers and Beam pickle them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, overload, runtime_checkable

from numpy.typing import NDArray

from label_guard.check.columns import UntypedIntegers
from label_guard.core.similar import closest, listed
from label_guard.errors import MissingDependencyError, SourceError
from label_guard.sources.tfds_metadata import Shape

# An array where all records agree in dtype and shape; else one value a record: None is missing, and Python numbers
# (of text formats) have a kind but no width.
RawColumn = NDArray[Any] | list[Any] | UntypedIntegers
LabelShapes = Mapping[str, Shape | None]
# What is read at a time: 26 k image records/s with 16-record chunks against 5 k with 1,024 (100 KB each).
CHUNK_BYTES = 2 << 20
# What one record's label may take once it is unpacked: a file of kilobytes may promise terabytes.
MAX_LABEL_BYTES = 256 << 20


class FilePart(NamedTuple):
    """One of the parts that a large file is read in: its number, from 0, and how many there are.

    Which records these are follows from the file alone, so that planning opens no file.
    """

    number: int
    parts: int

    def of(self, total: int) -> range:
        """The positions of this part among ``total``: parts are disjoint, and together they are all.

        >>> [list(FilePart(number, 3).of(5)) for number in range(3)]
        [[0], [1, 2], [3, 4]]
        """
        return range(total * self.number // self.parts, total * (self.number + 1) // self.parts)


WHOLE_FILE = FilePart(0, 1)


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work: one file, or a part of a large one.

    Attributes:
        path: the file, a local path or a URL; for ``python:`` the function.
        name: the file's part of a record key, unique within the source.
        index: position among the source's shards, from 0.
        expected_records: how many records the dataset's metadata promise; None where nothing does.
        size: of the file in bytes, where the listing of the files has it.
        part: which part of the file this is; None: all of it.
    """

    path: str
    name: str
    index: int
    expected_records: int | None = None
    size: int | None = None
    part: FilePart | None = None


class Unreadable(NamedTuple):
    """A record that cannot be decoded (LG120): its position in the shard, its key, and why."""

    row: int
    key: str
    reason: str


class Keys(Sequence[str]):
    """Record keys, made only when asked for: ``prefix`` and the position in the shard, or the value of a feature.

    >>> list(Keys("train-00000.tfrecord__", range(7, 9)))
    ['train-00000.tfrecord__7', 'train-00000.tfrecord__8']

    Args:
        prefix: what precedes the position.
        rows: positions of the records.
        values: of the feature that names a record; one without it (None) keeps its position for a key.
    """

    __slots__ = ("_prefix", "_rows", "_values")

    def __init__(self, prefix: str, rows: Sequence[int], values: RawColumn | None = None) -> None:
        self._prefix = prefix
        self._rows = rows
        self._values = values

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Keys: ...
    def __getitem__(self, index: int | slice) -> str | Keys:
        if isinstance(index, slice):
            return Keys(self._prefix, self._rows[index], None if self._values is None else self._values[index])
        value = None if self._values is None else self._values[index]
        if value is None:
            return f"{self._prefix}{self._rows[index]}"
        return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Labels of some records of one shard, in order.

    Attributes:
        rows: positions in the shard of the records that could be read, ascending.
        keys: their record keys.
        columns: by label path, one value per entry of ``rows``: an array ``[n, ...]`` of the stored dtype where all
            records agree, else a list of per-record values with None for a missing one.
        unreadable: records that cannot be decoded; they are not in ``rows``.
    """

    rows: Sequence[int]
    keys: Sequence[str]
    columns: dict[str, RawColumn]
    unreadable: tuple[Unreadable, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> Chunk:
        """Returns the first ``count`` records, or all of fewer; those that cannot be decoded are included."""
        if len(self) + len(self.unreadable) <= count:
            return self
        end = sorted([*self.rows, *(one.row for one in self.unreadable)])[count]
        size = sum(row < end for row in self.rows)
        columns = {path: column[:size] for path, column in self.columns.items()}
        unreadable = tuple(one for one in self.unreadable if one.row < end)
        return Chunk(self.rows[:size], list(self.keys[:size]), columns, unreadable)


class Piece(NamedTuple):
    """What a format yields: a chunk before its records have keys.

    Attributes:
        rows: positions in the shard of the records that could be read.
        columns: their labels.
        unreadable: positions of the others, and why.
        names: key of each of these positions, where a record is a file of its own; None: ``file__index``.
    """

    rows: Sequence[int]
    columns: dict[str, RawColumn]
    unreadable: Sequence[tuple[int, str]] = ()
    names: Mapping[int, str] | None = None


class Format(Protocol):
    """How one kind of file is read. Frozen and picklable; files are opened in ``read`` alone."""

    @property
    def name(self) -> str:
        """Name of the format in reports, such as ``parquet``."""
        ...

    def fields(self, path: str) -> Sequence[str]:
        """Names of what the records of a file hold; empty where nothing can be said.

        Raises:
            SourceError: the file is missing or not of this format.
        """
        ...

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        """Labels of one file in order, in bounded pieces; what precedes a fault is yielded first.

        Raises:
            SourceError: the file is missing, truncated or not of this format.
        """
        ...


class DivisibleFormat(Format, Protocol):
    """A format that finds a record by its position, so that a large file can be read in parts.

    Attributes:
        reads_ranges: whether a part of an object in a store is read without the others.
    """

    reads_ranges: ClassVar[bool]

    def read(self, path: str, wanted: LabelShapes, part: FilePart = WHOLE_FILE) -> Iterator[Piece]:
        """Labels of one file, or of one part of it. Positions are those in the whole file, and so is every fault.

        Raises:
            SourceError: as ``Format.read``.
        """
        ...


@runtime_checkable
class IndexedFormat(Format, Protocol):
    """A format whose files may have others next to them that say how they are read."""

    def read_with(self, path: str) -> Sequence[str]:
        """Paths of the other files that are read with the file ``path``."""
        ...


@runtime_checkable
class FilesFormat(Format, Protocol):
    """A format whose records are files of their own, by which they are named."""

    def rows(self, path: str, keys: Iterable[str]) -> dict[int, str]:
        """The records of one unit of work that have one of ``keys``: their keys by position."""
        ...


@runtime_checkable
class PicturedFormat(Format, Protocol):
    """A format that says where the pictures of its records are."""

    def pictures(self, path: str, rows: Iterable[int]) -> dict[int, str]:
        """Local files of the pictures of some records, by position; without those that are not there."""
        ...


class MetadataError(SourceError):
    """The metadata of a dataset contradict themselves; its records can be read."""


def framework(module: str, extra: str) -> Any:
    """The optional ``module``, imported only when a source needs it.

    Raises:
        MissingDependencyError: it is not installed; names the ``extra`` of this package that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingDependencyError.for_extra(module.split(".")[0], extra) from None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the near name, else some of those there are."""
    names = sorted(set(known))
    near = closest(name, names)
    if near is not None:
        return f"; did you mean {near!r}?"
    return f"; there are {listed(names, quote=True)}" if names else ""


def require_distinct(names: Sequence[str], where: str) -> None:
    """Checks that no file is named twice: its records would be counted twice, under the same keys.

    Args:
        names: names of files.
        where: what names them, for the message.

    Raises:
        SourceError: two are the same.
    """
    if len(set(names)) < len(names):
        raise SourceError(f"{where} names {next(name for name in names if names.count(name) > 1)!r} twice")


def require_fields(wanted: Iterable[str], known: Sequence[str], where: str) -> None:
    """Refuse a label path that no record has.

    Args:
        wanted: label paths.
        known: fields of the records; empty where they are not known.
        where: the source, for errors.

    Raises:
        SourceError: a path is not among ``known``; names the near one.
    """
    for path in wanted:
        if known and path not in known:
            raise SourceError(f"{where} has no field {path!r}{did_you_mean(path, known)}")
