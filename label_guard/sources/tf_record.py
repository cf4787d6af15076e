"""TFRecord files without TensorFlow: u64 length, its masked CRC-32C, the data, its masked CRC-32C."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

import numpy as np

from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, framework
from label_guard.sources.encoded_labels import Encoding
from label_guard.sources.files import READ_ERRORS, opened
from label_guard.sources.tf_example import ExampleFormat, Frames
from label_guard.sources.tf_example_wire import Record

_HEADER = struct.Struct("<QI")
_CHECK = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
# protobuf reads no message beyond 2 GiB, so a greater length is a lie: never allocate for it.
_MAX_RECORD_BYTES = (1 << 31) - 1
_READ_BYTES = 16 << 20
# From here on a slice of the block would cost more to copy than a view costs to make.
_LARGE_RECORD = 4096

Checksum = Callable[[object], int]


def frames(path: str) -> Iterator[Frames]:
    """The records of one file (gzip where named ``.gz``), both checksums of each verified.

    A record whose data fail their checksum is unreadable, and reading goes on; a length that fails its own ends the
    file, because the next record cannot be found.

    Raises:
        SourceError: the file is missing, truncated, or not TFRecord.
    """
    split = _Splitter(framework("google_crc32c", "records").value)
    rest = b""
    with opened(path, unzip=True) as file:
        while True:
            try:
                block = _read(file, max(split.needed - len(rest), 0) or CHUNK_BYTES)
            except READ_ERRORS:
                if split.size:
                    yield split.take()
                raise
            if not block:
                break
            data = rest + block if rest else block
            rest = data[split.feed(data) :]
            del data, block  # so that the next read finds their memory free and warm
            if split.size >= (1 if split.fault else CHUNK_BYTES):
                yield split.take()
            if split.fault:
                raise SourceError(_no_length(path, split.row, rest, split.fault))
    if split.size:
        yield split.take()
    if rest:
        raise SourceError(f"{path} ends inside record {split.row}: the file is truncated")


def tf_record_format(encodings: Mapping[str, Encoding] | None = None) -> ExampleFormat:
    """tf.Example records in TFRecord files; ``encodings`` as of ``ExampleFormat``.

    A position is known only by reading what precedes it, so a file is one unit of work.
    """
    return ExampleFormat("tfrecord", frames, encodings or {})


def _read(file: IO[bytes], size: int) -> bytes:
    """Up to ``size`` bytes, allocated only as they come."""
    parts: list[bytes] = []
    try:
        while size > 0 and (part := file.read(min(size, _READ_BYTES))):
            parts.append(part)
            size -= len(part)
    except READ_ERRORS:  # the next call raises it again
        if not parts:
            raise
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


class _Splitter:
    """Takes records off blocks of a file and collects them.

    Attributes:
        row: position in the file of the next record.
        size: bytes collected.
        needed: bytes that the next record takes, framing included, 0 where not known yet.
        fault: what is wrong with the length of the next record, if anything.
    """

    def __init__(self, crc32c: Checksum) -> None:
        self.row = self.size = self.needed = 0
        self.fault = ""
        self._crc32c = crc32c
        self._clear()

    def _clear(self) -> None:
        self._records: list[Record] = []
        self._unreadable: list[tuple[int, str]] = []
        self._first = self.row
        self.size = 0

    def take(self) -> Frames:
        """What was collected."""
        rows: Sequence[int] = range(self._first, self.row)
        if self._unreadable:
            broken = {row for row, _ in self._unreadable}
            rows = [row for row in rows if row not in broken]
        frames = Frames(rows, self._records, self._unreadable)
        self._clear()
        return frames

    def feed(self, data: bytes) -> int:
        """Collect the whole records that ``data`` starts with; where the next one starts."""
        crc32c, unpack, unpack_check = self._crc32c, _HEADER.unpack_from, _CHECK.unpack_from
        view, array, end = memoryview(data), np.frombuffer(data, np.uint8), len(data) - 12
        position = self.needed = 0
        while position <= end:
            length, check = unpack(data, position)
            if _masked(crc32c(data[position : position + 8])) != check:
                self.fault = "its length fails its checksum"
                break
            start = position + 12
            stop = start + length
            if stop + 4 > len(data):
                self.needed = length + 16
                self.fault = f"its length {length} is beyond 2 GiB" if length > _MAX_RECORD_BYTES else ""
                break
            if length < _LARGE_RECORD:
                record = data[start:stop]
                crc = crc32c(record)
            else:
                record = view[start:stop]
                crc = crc32c(array[start:stop])  # it takes no memoryview
            if _masked(crc) == unpack_check(data, stop)[0]:
                self._records.append(record)
            else:
                self._unreadable.append((self.row, "its data fail their checksum"))
            self.row += 1
            position = stop + 4
        self.size += position
        return position


def _no_length(path: str, row: int, head: bytes, fault: str) -> str:
    if row:
        return f"{path} cannot be read from record {row} on: {fault}"
    hint = ": it is gzip, name it .gz" if head[:2] == b"\x1f\x8b" else f": of record 0, {fault}"
    return f"{path} is not a TFRecord file{hint}"
