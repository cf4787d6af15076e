"""tf.Example without a parser: where the labels lie, found by walking the entries of the wire format.

Payloads are stepped over, never looked at. What is not the plain form that every writer produces (one Features, key
before value, packed numbers) is reported as odd, for ``tf_example`` to read with protobuf.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSING, BYTES, FLOATS, INTS = range(4)
_KINDS = np.zeros(256, np.uint8)
_KINDS[[0x0A, 0x12, 0x1A]] = BYTES, FLOATS, INTS
# A walk may gather this far beyond a record before it finds that a length does not fit.
PADDING = 32
_MAX_LENGTH_BYTES = 5  # no real length has a longer varint
# From here on it takes longer to copy a record than to look for what may be left out.
_LARGE = 4096
_LENGTH = rb"([\x80-\xff]{1,4}[\x01-\x7f])"  # a varint of 128 or more, as short as can be
_FEATURES = re.compile(rb"\x0a" + _LENGTH)
_ENTRY = re.compile(  # with a key of printable ASCII: the feature, its bytes_list, the item
    rb"\x0a" + _LENGTH + rb"(?:\x0a([\x00-\x7f])([ -~]*)\x12" + rb"\x0a".join([_LENGTH] * 3) + rb")?", re.DOTALL
)

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Record = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Slices:
    """Records that lie in one array, so that they are walked without a copy.

    Attributes:
        data: the array, with ``PADDING`` bytes or more behind the last record.
        starts: first byte of each record.
        stops: byte behind the last.
    """

    data: Bytes
    starts: Ints
    stops: Ints

    @staticmethod
    def of(records: Sequence[Record] | Slices) -> Slices:
        """Returns ``records``, copied one behind the other where they do not lie in one array."""
        if isinstance(records, Slices):
            return records
        data = np.frombuffer(b"".join([*records, bytes(PADDING)]), np.uint8)
        lengths = np.fromiter(map(len, records), np.int64, len(records))
        stops = np.cumsum(lengths)
        return Slices(data, stops - lengths, stops)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[memoryview]:
        return (
            self.data.data[start:stop] for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True)
        )


class Regions(NamedTuple):
    """Where the values of one label lie.

    Attributes:
        data: the bytes that ``start`` and ``stop`` point into.
        kind: uint8[n], MISSING, BYTES, FLOATS or INTS.
        start: int64[n], first byte of the packed numbers (of the bytes_list where the kind is BYTES).
        stop: int64[n], byte behind the last.
    """

    data: Bytes
    kind: NDArray[np.uint8]
    start: Ints
    stop: Ints


def without_payloads(record: Record, wanted: Collection[bytes]) -> Record:
    """A record without the pictures and other bytes that are not wanted, where that is shorter by much.

    Left out are entries of the map of features that are provably sound and hold one item of bytes; the rest stays as it
    is. So protobuf reads the wanted features alike out of what is returned, and refuses it where it refuses ``record``.
    """
    data, stop = memoryview(record), len(record)
    head = _FEATURES.match(data)
    if stop < _LARGE or head is None or head.end() + _number(head[1]) != stop:
        return record
    kept: list[memoryview] = []
    first = position = head.end()
    while position + 1 < stop and data[position] == 0x0A:
        if data[position + 1] < 128:
            position += 2 + data[position + 1]
            continue
        entry = _ENTRY.match(data, position)
        if entry is None:
            break
        end = entry.end(1) + _number(entry[1])
        if _is_payload(entry, end, wanted):
            kept.append(data[first:position])
            first = end
        position = end
    if position != stop or not kept:
        return record
    rest = b"".join([*kept, data[first:]])
    return bytes([0x0A, *_varint(len(rest))]) + rest


def _is_payload(entry: re.Match[bytes], end: int, wanted: Collection[bytes]) -> bool:
    """Whether an entry is a key that is not wanted, and one item of bytes."""
    key_length, key = entry.group(2, 3)
    if key is None or key_length[0] != len(key) or key in wanted:
        return False
    return (
        end == entry.end(4) + _number(entry[4]) == entry.end(5) + _number(entry[5]) == entry.end() + _number(entry[6])
    )


def _number(varint: bytes) -> int:
    number = 0
    for byte in reversed(varint):
        number = number << 7 | byte & 127
    return number


def _varint(number: int) -> Iterator[int]:
    while number > 127:
        yield number & 127 | 128
        number >>= 7
    yield number


def find(records: Slices, keys: Sequence[bytes]) -> tuple[list[Regions], Bools]:
    """Where each record keeps the features named ``keys``: each step reads one entry of every record that has one left.

    Returns:
        One ``Regions`` for each key, and bool[n]: records in an odd form, whose regions mean nothing.
    """
    data, starts, stops = records.data, records.starts, records.stops
    odd = np.zeros(len(records), np.bool_)
    values = np.full((2, len(keys), len(records)), -1, np.int64)
    rows = np.flatnonzero(starts < stops)
    pos, fits = _enter_many(data, starts[rows], 0x0A, stops[rows])
    odd[rows[~fits]] = True
    state = _active(np.stack([rows, pos, stops[rows]]), fits & (pos < stops[rows]))
    while state.shape[1]:
        state = _step(data, state, keys, values, odd)
    regions = [_features_many(data, values[0, k], values[1, k], odd) for k in range(len(keys))]
    return regions, odd


def _active(state: Ints, keep: Bools) -> Ints:
    return state if keep.all() else state[:, keep]


def _step(data: Bytes, state: Ints, keys: Sequence[bytes], values: Ints, odd: Bools) -> Ints:
    """Read one entry of each record in ``state`` (rows, positions, ends) and step behind it."""
    rows, pos, stop = state
    length, after = _lengths(data, pos + 1)
    end = after + length
    fits = (data[pos] == 0x0A) & (end < stop + 1) & (data[after] == 0x0A)
    key_length, key = _lengths(data, after + 1)
    fits &= key + key_length < end
    if not fits.all():
        odd[rows[~fits]] = True
        rows, stop, end, key, key_length = (a[fits] for a in (rows, stop, end, key, key_length))
    value, fits = _enter_many(data, key + key_length, 0x12, end)
    if not fits.all():
        odd[rows[~fits]] = True
        rows, stop, end, key, key_length, value = (a[fits] for a in (rows, stop, end, key, key_length, value))
    for number, wanted in enumerate(keys):
        hit = np.flatnonzero(key_length == len(wanted))
        for offset, byte in enumerate(wanted):
            if not hit.size:
                break
            hit = hit[data[key[hit] + offset] == byte]
        values[0, number, rows[hit]] = value[hit]
        values[1, number, rows[hit]] = end[hit]
    return _active(np.stack([rows, end, stop]), end < stop)


def _lengths(data: Bytes, pos: Ints) -> tuple[Ints, Ints]:
    """The varints at ``pos`` and the positions behind them; one that is too long comes out as a huge length."""
    value = data[pos].astype(np.int64)
    after = pos + 1
    more = np.flatnonzero(value > 127)
    if more.size:
        value[more] &= 127
        for shift in range(7, 7 * _MAX_LENGTH_BYTES, 7):
            byte = data[after[more]].astype(np.int64)
            value[more] |= (byte & 127) << shift
            after[more] += 1
            more = more[byte > 127]
            if not more.size:
                return value, after
        value[more] = 1 << 40
    return value, after


def _enter_many(data: Bytes, pos: Ints, tag: int, end: Ints) -> tuple[Ints, Bools]:
    length, after = _lengths(data, pos + 1)
    return after, (data[pos] == tag) & (after + length == end)


def _features_many(data: Bytes, start: Ints, stop: Ints, odd: Bools) -> Regions:
    """Regions of the Feature messages from ``start`` to ``stop``; both -1 where the record has none."""
    kind = np.zeros(len(start), np.uint8)
    first = start.copy()
    rows = np.flatnonzero(start < stop)
    kind[rows] = _KINDS[data[start[rows]]]
    length, pos = _lengths(data, start[rows] + 1)
    fits = (kind[rows] != MISSING) & (pos + length == stop[rows])
    odd[rows[~fits]] = True
    first[rows] = pos
    packed = rows[fits & (kind[rows] != BYTES) & (pos < stop[rows])]
    pos, fits = _enter_many(data, first[packed], 0x0A, stop[packed])
    fits &= (kind[packed] == INTS) | ((stop[packed] - pos) % 4 == 0)
    odd[packed[~fits]] = True
    first[packed] = pos
    return Regions(data, kind, first, stop)
