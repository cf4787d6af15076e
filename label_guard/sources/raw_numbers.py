"""Files of bare numbers, memory-mapped: tokens of nanoGPT and llm.c, and Megatron's ``.bin`` with its ``.idx``."""

from __future__ import annotations

import math
import posixpath
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from label_guard.core.plural import counted
from label_guard.core.types import Array
from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, MAX_LABEL_BYTES, WHOLE_FILE, FilePart, LabelShapes, Piece
from label_guard.sources.files import is_remote, opened, require_length, size_of
from label_guard.sources.pieces import blocks, records_piece
from label_guard.sources.remote import RemoteRows, local_copy, mapped_bytes

_DTYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip
# Megatron-LM, indexed_dataset.py: the header of .idx, and its codes of dtypes.
_MAGIC = b"MMIDIDX\x00\x00"
_HEAD = struct.Struct("<QBQQ")
_CODES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float64", 7: "float32", 8: "uint16"}


@dataclass(frozen=True, slots=True)
class RawFormat:
    """Numbers of one dtype, little-endian, one behind the other.

    Attributes:
        dtype: NumPy name; ``""``: that of the ``.idx`` next to the file.
        shape: of one record.
        offset: bytes before the first number.
    """

    dtype: str = ""
    shape: tuple[int, ...] = ()
    offset: int = 0
    name: str = "raw"
    reads_ranges: ClassVar[bool] = True

    def fields(self, path: str) -> Sequence[str]:
        if not self.dtype and size_of(index_of(path)) is None:
            raise SourceError(f"{path} holds bare numbers; say which: raw:{path}?dtype=uint16")
        return ("label",)

    def read_with(self, path: str) -> Sequence[str]:
        return () if self.dtype else (index_of(path),)

    def read(self, path: str, wanted: LabelShapes, part: FilePart = WHOLE_FILE) -> Iterator[Piece]:
        if len(wanted) != 1:
            raise SourceError(f"{path} holds one label, but {len(wanted)} are wanted: {', '.join(wanted)}")
        (label,) = wanted
        if self.dtype:
            yield from self._rows(path, label, part)
        else:
            yield from _sequences(path, label, part)

    def _rows(self, path: str, label: str, part: FilePart) -> Iterator[Piece]:
        numbers = _mapped(path, self.dtype, self.offset)
        width = math.prod(self.shape)
        records, step = len(numbers) // width, max(1, CHUNK_BYTES // (numbers.itemsize * width))
        rows = part.of(records)
        for start in range(rows.start, rows.stop, step):
            stop = min(rows.stop, start + step)
            require_length(path, mapped_bytes(numbers))
            block = numbers[start * width : stop * width]
            yield Piece(range(start, stop), {label: block.reshape(stop - start, *self.shape)})
        if len(numbers) % width and rows.stop == records:
            raise SourceError(
                f"{path} ends inside record {records}: {len(numbers) % width} of {counted(width, 'number')} left"
            )


def raw_format(options: Mapping[str, str]) -> RawFormat:
    """The format that the query of a URI asks for.

    Raises:
        SourceError: an option has a value that is not legal.
    """
    dtype = options.get("dtype", "")
    if dtype and dtype not in _DTYPES:
        raise SourceError(f"dtype is {dtype!r}; expected one of: {', '.join(_DTYPES)}")
    lengths = [part.strip() for part in options.get("shape", "").strip("[]()").split(",") if part.strip()]
    offset = options.get("offset", "0")
    if not all(part.isdecimal() and 0 < int(part) < 1 << 31 for part in (*lengths, "1")) or not offset.isdecimal():
        raise SourceError("shape and offset are whole numbers, such as ?dtype=uint16&shape=1024&offset=0")
    if math.prod(map(int, lengths)) * 8 > MAX_LABEL_BYTES:
        raise SourceError(f"a record of shape [{', '.join(lengths)}] is larger than {MAX_LABEL_BYTES >> 20} MiB")
    return RawFormat(dtype, tuple(map(int, lengths)), int(offset))


def _mapped(path: str, dtype: str, offset: int = 0) -> Array | RemoteRows:
    kind = np.dtype(dtype).newbyteorder("<")
    with opened(path) as file:
        size = file.seek(0, 2) - offset
    if size < 0:
        raise SourceError(f"{path} has {counted(size + offset, 'byte')}, fewer than its offset {offset}")
    if size % kind.itemsize:
        raise SourceError(
            f"{path} has {counted(size, 'byte')} after offset {offset}, which is not a whole number of {dtype}"
        )
    if not size:
        return np.empty(0, kind)
    if is_remote(path):
        return RemoteRows(path, kind, (size // kind.itemsize,), offset)
    return np.memmap(path, kind, "r", offset)


def index_of(path: str) -> str:
    """Where Megatron keeps the index of ``path``."""
    return f"{posixpath.splitext(path)[0]}.idx"


def _sequences(path: str, label: str, part: FilePart) -> Iterator[Piece]:
    """The sequences of a Megatron dataset, as its index cuts them; one that lies outside the file is unreadable."""
    index = index_of(path)
    with opened(index) as file:
        head = file.read(len(_MAGIC) + _HEAD.size)
        size = file.seek(0, 2)
    if len(head) < len(_MAGIC) + _HEAD.size or not head.startswith(_MAGIC):
        raise SourceError(f"{index} is not a Megatron index: its first bytes are not MMIDIDX")
    version, code, count, _ = _HEAD.unpack_from(head, len(_MAGIC))
    if version != 1 or code not in _CODES or len(head) + 12 * count > size:
        raise SourceError(f"{index} is damaged: version {version}, dtype code {code}, {counted(count, 'sequence')}")
    if not count:
        return
    numbers, mine = _mapped(path, _CODES[code]), part.of(count)
    width = numbers.itemsize

    def labels(sequence: tuple[int, int, int]) -> dict[str, Any]:
        """The label of one sequence: its row, its first byte, and its length."""
        row, place, length = sequence
        first, rest = divmod(place, width)
        if rest or length < 0 or place < 0 or first + length > len(numbers):
            raise ValueError(f"sequence {row} lies outside {path}")
        return {label: numbers[first : first + length]}

    with local_copy(index) as copy:
        lengths = np.memmap(copy, "<i4", "r", len(head), (count,))[mine.start : mine.stop]
        places = np.memmap(copy, "<i8", "r", len(head) + 4 * count, (count,))[mine.start : mine.stop]
        sequences = zip(mine, map(int, places), map(int, lengths), strict=True)
        for block in blocks(sequences, lambda one: max(1, one[2]) * width, CHUNK_BYTES):
            require_length(path, mapped_bytes(numbers))
            yield records_piece(block[0][0], block, labels, [label])
