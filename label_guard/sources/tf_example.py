"""tf.Example records as label columns: walked all at once, and by protobuf where few or odd. No TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, ClassVar, NamedTuple

import numpy as np

from label_guard.errors import SourceError
from label_guard.sources import tf_example_wire as wire
from label_guard.sources.base import CHUNK_BYTES, WHOLE_FILE, FilePart, LabelShapes, Piece, RawColumn, framework
from label_guard.sources.encoded_labels import Encoding, decode_pieces
from label_guard.sources.tf_example_values import Values, column, decode

# A field that the first records lack may still be there; one that so many lack is a wrong name.
_PEEKED_RECORDS = 64
_PEEKED_LARGE_RECORDS = 8
# Below this many records NumPy's fixed cost per step is above that of protobuf.
_FEW_RECORDS = 128
# Checking a chunk costs 0.1 to 0.3 ms whatever its size; from here on its records cost more.
_ENOUGH_RECORDS = 1024


class Frames(NamedTuple):
    """Raw records of one file, in order, with their positions; and the positions of those that cannot be read."""

    rows: Sequence[int]
    records: Sequence[bytes] | wire.Slices
    unreadable: Sequence[tuple[int, str]] = ()


def _first(records: Iterator[wire.Record]) -> Iterator[wire.Record]:
    """A few records to look at: of large ones less, since a chunk of them is a second read of many bytes."""
    size = 0
    for count, record in enumerate(islice(records, _PEEKED_RECORDS), 1):
        yield record
        size += len(record)
        if size > CHUNK_BYTES and count >= _PEEKED_LARGE_RECORDS:
            return


@dataclass(frozen=True, slots=True)
class ExampleFormat:
    """tf.Example records in some framing.

    Attributes:
        name: of the framing: ``tfrecord`` or ``array_record``.
        frames: reads the raw records of one file, in pieces of about ``CHUNK_BYTES``.
        encodings: labels that are known to be stored as encoded bytes.
    """

    name: str
    frames: Callable[[str], Iterator[Frames]]
    encodings: Mapping[str, Encoding] = field(default_factory=dict[str, Encoding])

    def fields(self, path: str) -> Sequence[str]:
        names: dict[str, None] = {}
        faults: list[str] = []
        records = (record for frames in self.frames(path) for record in frames.records)
        try:
            for record in _first(records):
                try:
                    names |= dict.fromkeys(parse(record).features.feature)
                except ValueError as error:
                    faults.append(str(error))
        except SourceError:
            if not names:
                raise
        if faults and not names:
            raise SourceError(f"{path}: its records are not tf.Example: {faults[0]}")
        return sorted(names)  # protobuf keeps no order

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        return self._labels(self.frames(path), wanted)

    def _labels(self, blocks: Iterator[Frames], wanted: LabelShapes) -> Iterator[Piece]:
        stored = {label: () if label in self.encodings else shape for label, shape in wanted.items()}
        for frames in _gathered(blocks, wanted):
            columns, odd = read_labels(frames.records, stored)
            rows = frames.rows
            if odd:
                rows = [row for position, row in enumerate(rows) if position not in odd]
            unreadable = [*frames.unreadable, *((frames.rows[position], why) for position, why in odd.items())]
            del frames  # so that the next read finds their memory free and warm
            yield from decode_pieces(Piece(rows, columns, sorted(unreadable)), wanted, self.encodings)


@dataclass(frozen=True, slots=True)
class IndexedExampleFormat(ExampleFormat):
    """tf.Example records in files where a record is found by its position: ``frames`` can read a part of a file."""

    frames: Callable[..., Iterator[Frames]]
    reads_ranges: ClassVar[bool] = False

    def read(self, path: str, wanted: LabelShapes, part: FilePart = WHOLE_FILE) -> Iterator[Piece]:
        return self._labels(self.frames(path, part), wanted)


def _gathered(blocks: Iterator[Frames], wanted: LabelShapes) -> Iterator[Frames]:
    """Gathers the records of ``blocks`` into larger blocks.

    A block of few records, as large ones come, waits for the next blocks, without the pictures of its records.

    Raises:
        SourceError: as ``blocks`` does; what precedes the fault is yielded first.
    """
    names = {path.encode() for path in wanted}
    waiting: list[Frames] = []
    rows = size = 0
    try:
        for frames in blocks:
            many = len(frames.records) >= _FEW_RECORDS
            if not many:
                records = [bytes(wire.without_payloads(record, names)) for record in frames.records]
                waiting.append(frames._replace(records=records))
                rows, size = rows + len(records) + len(frames.unreadable), size + sum(map(len, records))
            if waiting and (many or rows >= _ENOUGH_RECORDS or size >= CHUNK_BYTES):
                yield _joined(waiting)
                waiting, rows, size = [], 0, 0
            if many:
                yield frames._replace(records=wire.Slices.of(frames.records))
            del frames  # so that the next read finds their memory free and warm
    except SourceError:
        if waiting:
            yield _joined(waiting)
        raise
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[Frames]) -> Frames:
    rows, records, unreadable = (list(chain.from_iterable(lists)) for lists in zip(*parts, strict=True))
    return Frames(rows, records, unreadable)


def read_labels(
    records: Sequence[bytes] | wire.Slices, wanted: LabelShapes
) -> tuple[dict[str, RawColumn], dict[int, str]]:
    """Reads the labels of serialized records.

    Args:
        records: serialized tf.Examples; ``Slices`` are walked directly, others after protobuf has accepted each.
        wanted: paths of the labels, with the declared shapes.

    Returns:
        The columns of the labels, without unreadable records; and the reason for each of those, by position.
    """
    if not isinstance(records, wire.Slices):
        return _read_few(records, wanted)
    values, odd = _decode(records, wanted)
    unreadable: dict[int, str] = {}
    if odd.any():
        plain: list[wire.Record] = list(records)
        for position in np.flatnonzero(odd).tolist():
            try:
                plain[position] = canonical(plain[position], wanted)
            except ValueError as error:
                unreadable[position] = str(error)
        records = wire.Slices.of([record for position, record in enumerate(plain) if position not in unreadable])
        values, odd = _decode(records, wanted)
        if odd.any():
            raise AssertionError("the wire walk refuses what protobuf wrote")
    columns = {path: column(found, len(records), wanted[path]) for path, found in zip(wanted, values, strict=True)}
    return columns, unreadable


def _read_few(records: Sequence[bytes], wanted: LabelShapes) -> tuple[dict[str, RawColumn], dict[int, str]]:
    unreadable: dict[int, str] = {}
    for position, record in enumerate(records):
        try:
            parse(record)
        except ValueError as error:
            unreadable[position] = str(error)
    sound = [record for position, record in enumerate(records) if position not in unreadable]
    columns, _ = read_labels(wire.Slices.of(sound), wanted)
    return columns, unreadable


def _decode(records: wire.Slices, wanted: LabelShapes) -> tuple[list[list[Values]], wire.Bools]:
    regions, odd = wire.find(records, [path.encode() for path in wanted])
    return [decode(region, odd) for region in regions], odd


@functools.cache
def _example_class() -> Any:
    """The message class of tf.Example, from a descriptor made here: TFDS's own would import all of TFDS."""
    descriptor_pb2, descriptor_pool, message_factory = (
        framework(f"google.protobuf.{name}", "records")
        for name in ("descriptor_pb2", "descriptor_pool", "message_factory")
    )
    proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="label_guard/example.proto", package="tensorflow", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, str], parent: Any = None) -> Any:
        """Adds a message type; a field is its name, type, cardinality, and the name of its message type."""
        made = (parent.nested_type if parent is not None else file.message_type).add(name=name)
        for label_name, kind, label, type_name in fields:
            number = len(made.field) + 1
            made.field.add(name=label_name, number=number, type=kind, label=label, type_name=type_name or None)
        return made

    one, many = proto.LABEL_OPTIONAL, proto.LABEL_REPEATED
    message("BytesList", ("value", proto.TYPE_BYTES, many, ""))
    message("FloatList", ("value", proto.TYPE_FLOAT, many, ""))
    message("Int64List", ("value", proto.TYPE_INT64, many, ""))
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    feature = message("Feature", *((n, proto.TYPE_MESSAGE, one, f".tensorflow.{t}") for n, t in lists))
    feature.oneof_decl.add(name="kind")
    for member in feature.field:
        member.oneof_index = 0
    entry = ".tensorflow.Features.FeatureEntry"
    features = message("Features", ("feature", proto.TYPE_MESSAGE, many, entry))
    pair = (("key", proto.TYPE_STRING, one, ""), ("value", proto.TYPE_MESSAGE, one, ".tensorflow.Feature"))
    message("FeatureEntry", *pair, parent=features).options.map_entry = True
    message("Example", ("features", proto.TYPE_MESSAGE, one, ".tensorflow.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def parse(record: wire.Record) -> Any:
    """The record as a ``tensorflow.Example`` message.

    Raises:
        ValueError: it is not one.
    """
    example = _example_class()
    try:
        return example.FromString(bytes(record))
    except framework("google.protobuf.message", "records").DecodeError:
        raise ValueError("not a tf.Example: the protobuf message is corrupt") from None


def canonical(record: wire.Record, wanted: LabelShapes) -> bytes:
    """The wanted features of a record in the plain form that the wire walk reads.

    Raises:
        ValueError: the record is not a tf.Example.
    """
    found = parse(record).features.feature
    plain = _example_class()()
    for path in wanted:
        if path in found:
            plain.features.feature[path].CopyFrom(found[path])
    plain.DiscardUnknownFields()
    return plain.SerializeToString()
