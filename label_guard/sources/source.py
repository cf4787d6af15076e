"""A dataset opened for reading: its shards, and their labels in chunks with a key for every record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from label_guard.errors import SourceError
from label_guard.sources.base import (
    Chunk,
    DivisibleFormat,
    FilePart,
    Format,
    Keys,
    LabelShapes,
    Piece,
    Shard,
    Unreadable,
)
from label_guard.sources.files import identity_of, is_remote, size_of
from label_guard.sources.tfds_metadata import Feature

# A first shard may be damaged while the others are sound; where so many are, reading will report it.
_PEEKED_SHARDS = 8


@dataclass(frozen=True, slots=True)
class Source:
    """What ``open_source`` opened. Holds no open file, and pickles: each worker reads shards of its own.

    Attributes:
        uri: as it was given.
        split: the split whose records these are, or None.
        format: how a shard is read.
        files: the shards, in order of their names (of TFDS: of the metadata).
        labels: shape of one record's label by label path; None where it is not known.
        record_key: path of the feature that names a record, or None.
        numbered: keys are bare row numbers instead of ``file__index``.
        metadata: what the dataset says of itself, for the report.
        features: the labels as the dataset's own metadata declare them (TFDS, Hugging Face, COCO, ...), where they do.
        expected_records: how many records its metadata promise for the split, or None.
        metadata_fault: how these metadata contradict themselves, so that nothing was compared with them; else empty.
        quiet: label path and rule of the contradictions with its metadata that are not reported.
    """

    uri: str
    split: str | None
    format: Format
    files: tuple[Shard, ...]
    labels: LabelShapes
    record_key: str | None = None
    numbered: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    expected_records: int | None = None
    features: Mapping[str, Feature] = field(default_factory=dict[str, Feature])
    metadata_fault: str = ""
    quiet: frozenset[tuple[str, str]] = frozenset()

    def shards(self) -> list[Shard]:
        """The files. Any of them may be unreadable, which only ``read`` finds out."""
        return list(self.files)

    def parts(self, part_bytes: int) -> list[Shard]:
        """The units of work: the files, large ones in parts where the format finds records by their position.

        Args:
            part_bytes: the size of a part, about, 1 or more.
        """
        ranges: bool | None = getattr(self.format, "reads_ranges", None)
        if ranges is None:
            return list(self.files)
        return [
            part
            for shard in self.files
            for part in (_parts(shard, part_bytes) if ranges or not is_remote(shard.path) else [shard])
        ]

    def fields(self) -> list[str]:
        """Returns the names of the fields of the records; a source opened with them as labels reads whole records.

        Raises:
            SourceError: no shard can be read.
        """
        return peek_fields(self.format, self.files)

    def read(self, shard: Shard) -> Iterator[Chunk]:
        """The labels of one file, or of one part of it, in order, in chunks of about 2 MiB.

        Raises:
            SourceError: the shard is missing, truncated or of another format, or a local file changed while it was
                read. What could be read has been yielded.
        """
        before = None if is_remote(shard.path) else identity_of(shard.path)
        wanted = dict(self.labels)
        if self.record_key is not None:
            wanted.setdefault(self.record_key, ())
        prefix = "" if self.numbered else f"{shard.name}__"
        for piece in read_shard(self.format, shard, wanted):
            names = piece.names
            values = None if self.record_key is None else piece.columns[self.record_key]
            keys = Keys(prefix, piece.rows, values) if names is None else [names[row] for row in piece.rows]
            columns = {path: piece.columns[path] for path in self.labels}
            unreadable = tuple(
                Unreadable(row, names[row] if names is not None else f"{prefix}{row}", reason)
                for row, reason in piece.unreadable
            )
            yield Chunk(piece.rows, keys, columns, unreadable)
        if before is not None and identity_of(shard.path) != before:
            raise SourceError(f"{shard.path} changed while it was read; read it again once nothing writes to it")

    @property
    def untyped(self) -> frozenset[str]:
        """The labels whose values are text without types: columns of CSV, text members of WebDataset."""
        if self.format.name == "csv":
            return frozenset(self.labels)
        return frozenset(path for path in self.labels if self.format.name == "webdataset" and "/" not in path)

    def describe(self) -> dict[str, Any]:
        """Plain values for a report: where the records come from and how many files and bytes these are."""
        names = {path: list(one.class_names) for path, one in self.features.items() if one.class_names}
        files = () if self.format.name in ("python", "quarantine") else self.files
        sizes = [size_of(shard.path) if shard.size is None else shard.size for shard in files]
        return {
            "uri": self.uri,
            "format": self.format.name,
            "split": self.split,
            "shards": len(self.files),
            "bytes": sum(size for size in sizes if size is not None),
            "expected_records": self.expected_records,
            **self.metadata,
            **({"class_names": names} if names else {}),
        }


def read_shard(form: Format, shard: Shard, wanted: LabelShapes) -> Iterator[Piece]:
    """Reads the labels of a file, or of a part of one, with ``form``.

    Args:
        form: format of the file.
        shard: the file, or a part of it.
        wanted: paths of the labels, with declared shapes.

    Raises:
        SourceError: as ``Source.read``.
    """
    if shard.part is None:
        return form.read(shard.path, wanted)
    return cast("DivisibleFormat", form).read(shard.path, wanted, shard.part)


def _parts(shard: Shard, part_bytes: int) -> Iterator[Shard]:
    size = size_of(shard.path) if shard.size is None else shard.size
    count = -(-(size or 0) // part_bytes)
    if count < 2:
        yield shard
    else:
        yield from (replace(shard, size=size, part=FilePart(index, count)) for index in range(count))


def peek_fields(form: Format, files: Sequence[Shard]) -> list[str]:
    """What the records of the first readable file hold; empty where nothing can be said.

    Raises:
        SourceError: none of the files can be read.
    """
    faults: list[SourceError] = []
    for shard in files[:_PEEKED_SHARDS]:
        try:
            return list(form.fields(shard.path))
        except SourceError as error:
            faults.append(error)
    if faults and len(faults) == len(files):
        raise faults[0]
    return []
