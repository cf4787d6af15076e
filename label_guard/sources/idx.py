"""IDX files, as MNIST keeps its labels and pictures: one array behind a header that gives its dtype and shape.

The format is described at the end of http://yann.lecun.com/exdb/mnist: two zero bytes, a code of the dtype, the number
of dimensions, their lengths as big-endian uint32, and then the numbers, big-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from label_guard.core.plural import counted
from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, MAX_LABEL_BYTES, LabelShapes, Piece
from label_guard.sources.files import opened

_CODES = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}
_MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class IdxFormat:
    """An array ``[n, ...]``; a record is one entry of its first axis, in the byte order of this machine."""

    name: str = "idx"

    def fields(self, path: str) -> Sequence[str]:
        with opened(path, unzip=True) as file:
            _header(file, path)
        return ("label",)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        if len(wanted) != 1:
            raise SourceError(f"{path} holds one label, but {len(wanted)} are wanted: {', '.join(wanted)}")
        (label,) = wanted
        with opened(path, unzip=True) as file:
            dtype, shape = _header(file, path)
            size = dtype.itemsize * math.prod(shape[1:])
            row, step = 0, max(1, CHUNK_BYTES // size)
            while row < shape[0]:
                count = min(step, shape[0] - row)
                data = file.read(count * size)
                whole = len(data) // size
                numbers = np.frombuffer(data[: whole * size], dtype).reshape(whole, *shape[1:])
                if whole:
                    yield Piece(range(row, row + whole), {label: numbers.astype(dtype.newbyteorder("="))})
                row += whole
                if whole < count:
                    raise SourceError(f"{path} is truncated: it ends in record {row:,} of {shape[0]:,}")
            if file.read(1):
                raise SourceError(f"{path} has data after the {counted(shape[0], 'record')} that its header promises")


def is_idx(head: bytes) -> bool:
    """Whether ``head`` begins as an IDX file."""
    return len(head) > 3 and head[:2] == b"\0\0" and head[2] in _CODES and 1 <= head[3] <= _MAX_DIMENSIONS


def _header(file: IO[bytes], path: str) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    head = file.read(4)
    if not is_idx(head):
        raise SourceError(f"{path} is not an IDX file: it begins with {head.hex(' ') or 'nothing'}")
    lengths = file.read(4 * head[3])
    if len(lengths) < 4 * head[3]:
        raise SourceError(f"{path} is truncated: its header ends too early")
    shape = struct.unpack(f">{head[3]}I", lengths)
    dtype = np.dtype(">" + _CODES[head[2]])
    if 0 in shape[1:]:  # a few bytes would promise four thousand million of them
        raise SourceError(f"{path} has records without values: its shape is {list(shape)}")
    if dtype.itemsize * math.prod(shape[1:]) > MAX_LABEL_BYTES:
        raise SourceError(f"{path}: a record of shape {list(shape[1:])} is larger than {MAX_LABEL_BYTES >> 20} MiB")
    return dtype, shape
