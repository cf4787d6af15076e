"""tf.Example without a parser: where the labels lie, found by walking the entries of the wire format.

Payloads are stepped over, never looked at. What is not the plain form that every writer produces (one Features, key
before value, packed numbers) is reported as odd, for ``examples`` to settle with protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSING, BYTES, FLOATS, INTS = range(4)
_KIND_OF_TAG = {0x0A: BYTES, 0x12: FLOATS, 0x1A: INTS}
_KINDS = np.zeros(256, np.uint8)
for _tag, _kind in _KIND_OF_TAG.items():
    _KINDS[_tag] = _kind
# A walk may gather this far beyond a record before it finds that a length does not fit.
_PADDING = 32
# Below this many records NumPy's fixed cost per step is above that of a loop in Python.
_FEW_RECORDS = 128
_MAX_LENGTH_BYTES = 5  # longer varints stand for no real length

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Record = bytes | memoryview


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


def find(records: Sequence[Record], keys: Sequence[bytes]) -> tuple[list[Regions], Bools]:
    """Where each record keeps the features named ``keys``.

    Returns:
        one ``Regions`` for each key, and bool[n]: records in an odd form, whose regions mean nothing.
    """
    walk = _find_in_few if len(records) < _FEW_RECORDS else _find_in_many
    return walk(records, keys)


def _find_in_few(records: Sequence[Record], keys: Sequence[bytes]) -> tuple[list[Regions], Bools]:
    wanted = {key: position for position, key in enumerate(keys)}
    odd = np.zeros(len(records), np.bool_)
    kinds = np.zeros((len(keys), len(records)), np.uint8)
    lengths = np.zeros((len(keys), len(records)), np.int64)
    payloads: list[list[Record]] = [[] for _ in keys]
    for row, record in enumerate(records):
        found = walk_record(record, wanted)
        if found is None:
            odd[row] = True
            continue
        for position, (kind, start, stop) in found.items():
            kinds[position, row] = kind
            lengths[position, row] = stop - start
            payloads[position].append(record[start:stop])
    stops = np.cumsum(lengths, axis=1)
    data = [np.frombuffer(b"".join(parts), np.uint8) for parts in payloads]
    return [Regions(data[k], kinds[k], stops[k] - lengths[k], stops[k]) for k in range(len(keys))], odd


def walk_record(record: Record, wanted: Mapping[bytes, int]) -> dict[int, tuple[int, int, int]] | None:
    """Kind, start and stop of each wanted feature of one record, by its number; None where the form is odd.

    >>> walk_record(bytes.fromhex("0a0d 0a0b 0a0178 1206 1a04 0a02 ac02"), {b"x": 0})
    {0: (3, 13, 15)}
    """
    try:
        return _walk_record(record, wanted)
    except IndexError:  # a length points behind the record
        return None


def _walk_record(record: Record, wanted: Mapping[bytes, int]) -> dict[int, tuple[int, int, int]] | None:
    found: dict[int, tuple[int, int, int]] = {}
    size = len(record)
    pos = _enter(record, 0, 0x0A, size) if size else 0
    while 0 <= pos < size:
        length, key = record[pos + 1], pos + 2  # lengths below 128 without a call: twice the speed
        if length > 127:
            length, key = _long_length(record, key, length)
        end = key + length
        if record[pos] != 0x0A or end > size or record[key] != 0x0A:
            return None
        length, key = record[key + 1], key + 2
        if length > 127:
            length, key = _long_length(record, key, length)
        pos = key + length
        number = wanted.get(bytes(record[key:pos]))
        length, value = record[pos + 1], pos + 2
        if length > 127:
            length, value = _long_length(record, value, length)
        if record[pos] != 0x12 or value + length != end:
            return None
        if number is not None:
            region = _feature(record, value, end)
            if region is None:
                return None
            found[number] = region  # a later entry of the same key wins, as in any parser of maps
        pos = end
    return None if pos < 0 else found


def _long_length(record: Record, pos: int, first: int) -> tuple[int, int]:
    """A length of more bytes than its ``first``, which ends before ``pos``; and the position behind it."""
    value = first & 127
    for shift in range(7, 7 * _MAX_LENGTH_BYTES, 7):
        byte = record[pos]
        value |= (byte & 127) << shift
        pos += 1
        if byte < 128:
            return value, pos
    raise IndexError


def _enter(record: Record, pos: int, tag: int, end: int) -> int:
    """Start of the content of the field ``tag`` at ``pos`` where it reaches just to ``end``, else -1."""
    if record[pos] != tag:
        return -1
    length, pos = record[pos + 1], pos + 2
    if length > 127:
        length, pos = _long_length(record, pos, length)
    return pos if pos + length == end else -1


def _feature(record: Record, pos: int, end: int) -> tuple[int, int, int] | None:
    if pos == end:
        return MISSING, pos, pos
    tag = record[pos]
    kind = _KIND_OF_TAG.get(tag)
    if kind is None:
        return None
    pos = _enter(record, pos, tag, end)
    if 0 <= pos < end and kind != BYTES:
        pos = _enter(record, pos, 0x0A, end)
        if kind == FLOATS and (end - pos) % 4:
            return None
    return None if pos < 0 else (kind, pos, end)


def _find_in_many(records: Sequence[Record], keys: Sequence[bytes]) -> tuple[list[Regions], Bools]:
    """All records in lockstep: each step reads one entry of every record that has one left."""
    data = np.frombuffer(b"".join([*records, bytes(_PADDING)]), np.uint8)
    stops = np.cumsum(np.fromiter(map(len, records), np.int64, len(records)))
    starts = np.concatenate([np.zeros(1, np.int64), stops[:-1]])
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
