"""Label values out of the regions of tf.Example records, at the width they are stored in: int64, float32, bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from label_guard.sources.base import RawColumn, Shape
from label_guard.sources.tf_example_wire import BYTES, FLOATS, INTS, Bools, Bytes, Ints, Regions

# Above this mean length the bytes of each record are copied whole instead of by an index of 8 bytes a byte.
_LONG_REGION = 64
_FLOAT32 = np.dtype("<f4")


class Values(NamedTuple):
    """Values of one label, flat over the records.

    Attributes:
        rows: int64[m]: which records.
        flat: int64 or float32 ``[total]``, or a list of bytes.
        counts: int64[m]: how many values each record has.
    """

    rows: Ints
    flat: NDArray[Any] | list[bytes]
    counts: Ints


def decode(regions: Regions, odd: Bools) -> list[Values]:
    """The values of one label by kind, missing and odd ones left out; marks as odd what are not plain varints."""
    found: list[Values] = []
    for kind, read in ((INTS, _integers), (FLOATS, _floats), (BYTES, _strings)):
        rows = np.flatnonzero((regions.kind == kind) & ~odd)
        if rows.size:
            flat, counts, broken = read(regions.data, regions.start[rows], regions.stop[rows])
            odd[rows[broken]] = True
            found.append(Values(rows, flat, counts))
    return found


def _gather(data: Bytes, start: Ints, lengths: Ints) -> Bytes:
    """The bytes of all regions, one behind the other."""
    total = int(lengths.sum())
    if total > _LONG_REGION * len(lengths):
        return np.concatenate([data[a : a + n] for a, n in zip(start.tolist(), lengths.tolist(), strict=True)])
    before = np.cumsum(lengths) - lengths
    return data[np.repeat(start - before, lengths) + np.arange(total)]


def _integers(data: Bytes, start: Ints, stop: Ints) -> tuple[NDArray[Any], Ints, Ints]:
    lengths = stop - start
    if (lengths == 1).all():  # class ids below 128
        packed = data[start]
        return packed.astype(np.int64), lengths, np.flatnonzero(packed > 127)
    packed = _gather(data, start, lengths)
    is_last = packed < 128
    stops = np.cumsum(lengths)
    full = lengths > 0
    cut = np.flatnonzero(full)[~is_last[stops[full] - 1]]
    ends = np.flatnonzero(is_last)
    if cut.size:  # a varint reaches into the next record: read the others without it
        others = np.setdiff1d(np.arange(len(start)), cut)
        flat, _, broken = _integers(data, start[others], stop[others])
        return flat, lengths, np.concatenate([cut, others[broken]])
    first = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1]) if ends.size else ends
    wide = ends - first > 9
    owner = np.searchsorted(stops, ends[wide], "right")
    counts = np.searchsorted(ends, stops) - np.searchsorted(ends, stops - lengths)
    return _varints(packed, first, ends), counts, np.unique(owner)


def _varints(packed: Bytes, first: Ints, last: Ints) -> Ints:
    """int64[n]: the varints that lie from ``first`` to ``last``, both inclusive; negatives take ten bytes."""
    value = (packed[first] & 127).astype(np.uint64)
    more = np.flatnonzero(last > first)
    for k in range(1, 10):
        if not more.size:
            break
        value[more] |= (packed[first[more] + k] & 127).astype(np.uint64) << np.uint64(7 * k)
        more = more[last[more] > first[more] + k]
    return value.view(np.int64)


def _floats(data: Bytes, start: Ints, stop: Ints) -> tuple[NDArray[Any], Ints, Ints]:
    packed = _gather(data, start, stop - start)
    return packed.view(_FLOAT32).astype(np.float32, copy=False), (stop - start) // 4, np.empty(0, np.int64)


def _strings(data: Bytes, start: Ints, stop: Ints) -> tuple[list[bytes], Ints, Ints]:
    flat: list[bytes] = []
    counts = np.zeros(len(start), np.int64)
    broken: list[int] = []
    for row, (a, b) in enumerate(zip(start.tolist(), stop.tolist(), strict=True)):
        items = _items(data[a:b].tobytes())
        if items is None:
            broken.append(row)
        else:
            flat += items
            counts[row] = len(items)
    return flat, counts, np.array(broken, np.int64)


def _items(packed: bytes) -> list[bytes] | None:
    """The items of a bytes_list; None where they do not end where it ends."""
    items: list[bytes] = []
    pos = 0
    while pos < len(packed):
        length, shift = 0, 0
        if packed[pos] != 0x0A:
            return None
        for byte in packed[pos + 1 : pos + 6]:
            pos += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        else:
            return None
        pos += 1 + length
        items.append(packed[pos - length : pos])
    return items if pos == len(packed) else None


def column(values: Sequence[Values], count: int, shape: Shape | None) -> RawColumn:
    """One value for each of ``count`` records: an array where they agree, else a list with None where missing.

    Args:
        values: what ``decode`` found.
        count: number of records.
        shape: shape of one record's label; None: not known, then a single value is taken for a scalar.
    """
    if len(values) == 1 and len(values[0].rows) == count:
        return _shaped(values[0], shape)
    out: list[Any] = [None] * count
    for part in values:
        shaped = _shaped(part, shape)
        for row, value in zip(part.rows.tolist(), shaped, strict=True):
            out[row] = value
    return out


def _shaped(values: Values, shape: Shape | None) -> RawColumn:
    flat, counts = values.flat, values.counts
    width = int(counts[0]) if len(counts) else 0
    if isinstance(flat, np.ndarray) and (counts == width).all():
        return flat.reshape(len(counts), *record_shape(width, shape))
    stops = np.cumsum(counts)
    strings = isinstance(flat, list)
    return [_one(flat[b - n : b], n, shape, strings) for b, n in zip(stops.tolist(), counts.tolist(), strict=True)]


def _one(items: Any, count: int, shape: Shape | None, strings: bool) -> Any:
    inner = record_shape(count, shape)
    if inner == () or (strings and count == 1 and len(shape or ()) > 1):
        return items[0]  # one item for a whole mask: encoded bytes
    return items if strings else items.reshape(inner)


def record_shape(count: int, shape: Shape | None) -> tuple[int, ...]:
    """The shape for ``count`` values stored flat that were declared as ``shape``; flat where they do not fit.

    >>> record_shape(6, (2, None)), record_shape(5, (2, None)), record_shape(1, ()), record_shape(1, (None,))
    ((2, 3), (5,), (), (1,))
    """
    if not shape:
        return () if count == 1 else (count,)
    free = shape.count(None)
    known = math.prod(n for n in shape if n is not None)
    if free == 0 and known == count:
        return tuple(n for n in shape if n is not None)
    if free == 1 and known and count % known == 0:
        return tuple(count // known if n is None else n for n in shape)
    return (count,)
