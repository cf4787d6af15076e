"""TFRecord files without TensorFlow: u64 length, its masked CRC-32C, the data, its masked CRC-32C."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, framework
from label_guard.sources.files import opened
from label_guard.sources.tf_example import ExampleFormat, Frames
from label_guard.sources.tf_example_wire import PADDING, Bytes, Ints, Slices

_HEADER = struct.Struct("<QI")
_FRAMING_BYTES = _HEADER.size + 4
# protobuf reads no message beyond 2 GiB, so a greater length is a lie: never allocate for it.
_MAX_RECORD_BYTES = (1 << 31) - 1


class _Cut(NamedTuple):
    """The whole records at the beginning of a block.

    Attributes:
        starts: first byte of the data of each.
        stops: byte behind the last.
        crcs: CRC-32C of the data.
        needed: bytes that the next record takes at least, framing included.
        fault: what is wrong with the length of the next record, if anything.
    """

    starts: Ints
    stops: Ints
    crcs: NDArray[np.uint32]
    needed: int
    fault: str


def frames(path: str) -> Iterator[Frames]:
    """The records of one file (gzip where named ``.gz``), both checksums of each verified.

    All pieces share one buffer: the records of a piece are valid until the next piece is asked for. A record whose data
    fail their checksum is unreadable, and reading goes on; a length that fails its own ends the file, because the next
    record cannot be found.

    Raises:
        SourceError: the file is missing, truncated, or not TFRecord.
    """
    buffer, held, row, needed = np.empty(CHUNK_BYTES + PADDING, np.uint8), 0, 0, _FRAMING_BYTES
    with opened(path, unzip=True) as file:
        while True:
            block = buffer.data[: min(len(buffer) - PADDING, max(CHUNK_BYTES, needed))]
            size = cast("BufferedIOBase", file).readinto(block[held:])
            if not size:
                break
            held += size
            cut = _cut(buffer[:held])
            if len(cut.starts):
                yield _frames(buffer, row, cut)
            end = int(cut.stops[-1]) + 4 if len(cut.stops) else 0
            row, needed = row + len(cut.starts), cut.needed
            if cut.fault:
                raise SourceError(_no_length(path, row, bytes(buffer[end : end + 2]), cut.fault))
            rest = buffer[end:held]
            if needed > len(buffer) - PADDING and held == len(block):
                buffer = np.empty(min(needed, 2 * len(buffer)) + PADDING, np.uint8)  # allocated only as data come
            held = len(rest)
            buffer[:held] = rest
    if held:
        raise SourceError(f"{path} ends inside record {row}: the file is truncated")


def _cut(block: Bytes) -> _Cut:
    crc32c, unpack, size = framework("google_crc32c", "records").value, _HEADER.unpack_from, len(block)
    starts: list[int] = []
    crcs: list[int] = []
    position, needed, fault = 0, _FRAMING_BYTES, ""
    while position + _HEADER.size <= size:
        length, check = unpack(block.data, position)
        if _length_check(length) != check:
            fault = "its length fails its checksum"
            break
        if position + length + _FRAMING_BYTES > size:
            needed = length + _FRAMING_BYTES
            fault = f"its length {length} is beyond 2 GiB" if length > _MAX_RECORD_BYTES else ""
            break
        start = position + _HEADER.size
        starts.append(start)
        crcs.append(crc32c(block[start : start + length]))
        position += length + _FRAMING_BYTES
    first = np.array(starts, np.int64)
    behind = np.append(first[1:] - _HEADER.size, position)[: len(first)]
    return _Cut(first, behind - 4, np.array(crcs, np.uint32), needed, fault)


def _frames(buffer: Bytes, row: int, cut: _Cut) -> Frames:
    """The records of ``cut``, of which the first is the record ``row`` of the file, without those that are damaged."""
    checks = buffer[cut.stops[:, np.newaxis] + np.arange(4)].view("<u4")[:, 0]
    sound = _masked(cut.crcs) == checks
    rows = range(row, row + len(sound))
    if sound.all():
        return Frames(rows, Slices(buffer, cut.starts, cut.stops))
    damaged = [(row + place, "its data fail their checksum") for place in np.flatnonzero(~sound).tolist()]
    return Frames((row + np.flatnonzero(sound)).tolist(), Slices(buffer, cut.starts[sound], cut.stops[sound]), damaged)


@functools.lru_cache(4096)
def _length_check(length: int) -> int:
    """The masked checksum of a length: few lengths differ."""
    crc: int = framework("google_crc32c", "records").value(length.to_bytes(8, "little"))
    return int(_masked(np.array([crc], np.uint32))[0])


def _masked(crc: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8)


def _no_length(path: str, row: int, head: bytes, fault: str) -> str:
    if row:
        return f"{path} cannot be read from record {row} on: {fault}"
    hint = ": it is gzip, name it .gz" if head == b"\x1f\x8b" else f": of record 0, {fault}"
    return f"{path} is not a TFRecord file{hint}"


# A record is found only by reading what precedes it, so a file is one unit of work.
FORMAT = ExampleFormat("tfrecord", frames)
