"""NumPy files, never unpickled: ``.npy`` memory-mapped, members of ``.npz`` streamed side by side."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import numpy as np
from numpy.lib import format as npy_format

from label_guard.core.plural import counted
from label_guard.core.types import Array
from label_guard.errors import SourceError
from label_guard.sources.base import (
    CHUNK_BYTES,
    MAX_LABEL_BYTES,
    WHOLE_FILE,
    FilePart,
    LabelShapes,
    Piece,
    require_fields,
)
from label_guard.sources.files import is_remote, opened, require_length
from label_guard.sources.remote import RemoteRows, mapped_bytes

# NumPy parses a header as Python: damage there may be any of these.
_HEADER_ERRORS = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError)
_VERSIONS = ((1, 0), (2, 0), (3, 0))
_SHOWN = 200  # characters of a damaged header
_ZIP = b"PK"
_MAX_HEADER = 64 << 10  # NumPy would read a header of 4 GiB before it refuses one beyond 10,000 bytes
# zipfile and its decompressors raise any of these for damage; RuntimeError where a member is encrypted.
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, OverflowError, RuntimeError, ValueError
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NpyFormat:
    """One array ``[n, ...]``: it is the label, whatever the label is called; or a structured one, a field a label."""

    name: str = "npy"
    reads_ranges: ClassVar[bool] = True

    def fields(self, path: str) -> Sequence[str]:
        _, _, dtype, _ = _whole_header(path)
        return dtype.names or ("label",)

    def read(self, path: str, wanted: LabelShapes, part: FilePart = WHOLE_FILE) -> Iterator[Piece]:
        array = _rows(path)
        require_fields(wanted, array.dtype.names or (), path)
        if array.dtype.names is None and len(wanted) != 1:
            raise SourceError(f"{path} holds one array, but {len(wanted)} are wanted: {', '.join(wanted)}; use npz:")
        step = max(1, CHUNK_BYTES // max(1, array.dtype.itemsize * math.prod(array.shape[1:])))
        rows = part.of(len(array))
        for start in range(rows.start, rows.stop, step):
            require_length(path, mapped_bytes(array))
            block = array[start : min(rows.stop, start + step)]
            yield Piece(
                range(start, start + len(block)),
                {label: np.asarray(block[label] if array.dtype.names else block) for label in wanted},
            )


def _rows(path: str) -> Array | RemoteRows:
    """The array: of a local file mapped into memory, of a URL read by range."""
    shape, fortran, dtype, offset = _whole_header(path)
    if not is_remote(path):
        try:
            return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot read {path} as .npy: {error}") from None
    if fortran and len(shape) > 1:
        raise SourceError(f"{path} is in Fortran order; save it with numpy.ascontiguousarray")
    return RemoteRows(path, dtype, shape, offset)


def _whole_header(path: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, Fortran order and dtype of the array, and the size of the header; the file is as large as these say.

    NumPy multiplies a shape in int64, which may wrap around, before it maps the file.
    """
    with opened(path) as file:
        if file.read(len(_ZIP)) == _ZIP:
            raise SourceError(f"{path} is an .npz archive; use npz:{path}")
        file.seek(0)
        shape, fortran, dtype = _header(file, path)
        _require_rows(shape, dtype, path)
        start = file.tell()
        promised, size = start + dtype.itemsize * math.prod(shape), file.seek(0, os.SEEK_END)
        if promised > size:
            raise SourceError(
                f"{path} is truncated: its header promises {counted(promised, 'byte')}, and it has {size:,}"
            )
        if promised < size:
            raise SourceError(
                f"{path} has {counted(size - promised, 'byte')} after its array; save each array in its own file"
            )
        return shape, fortran, dtype, start


def _require_rows(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Checks that an array has rows, of a size that fits into memory."""
    if not shape:
        raise SourceError(f"{where} holds a single value, expected an array [n, ...]")
    row = dtype.itemsize * math.prod(shape[1:])
    if shape[0] and not row:  # a header of 80 bytes may promise 2**60 of such rows
        raise SourceError(f"{where} has rows without values: its shape is {list(shape)}")
    if row > MAX_LABEL_BYTES:
        raise SourceError(f"{where} has rows of {row:,} bytes; at most {MAX_LABEL_BYTES >> 20} MiB are read")


@dataclass(frozen=True, slots=True)
class NpzFormat:
    """An archive of arrays ``[n, ...]``, a member a label."""

    name: str = "npz"

    def fields(self, path: str) -> Sequence[str]:
        with _archive(path) as archive:
            members = archive.namelist()
        names = [name.removesuffix(".npy") for name in members]  # NumPy gives an array under a name without it, too
        doubled = next((name for name in names if names.count(name) > 1), None) if len({*names}) < len(names) else None
        if doubled is not None:
            raise SourceError(f"{path} has two arrays named {doubled!r}")
        return [name.removesuffix(".npy") for name in members if name.endswith(".npy")]

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        held = self.fields(path)
        require_fields(wanted, held, path)
        if missing := sorted({*wanted} - {*held}):
            raise SourceError(f"{path} has no array {missing[0]!r}; it is empty")
        with _archive(path) as archive, contextlib.ExitStack() as stack:
            members = {
                label: _Member(stack.enter_context(_open_member(archive, label, path)), f"{path}[{label}]")
                for label in wanted
            }
            counts = {label: member.count for label, member in members.items()}
            if len(set(counts.values())) > 1:
                raise SourceError(f"{path}: its arrays differ in length: {counts}")
            total = next(iter(counts.values()), 0)
            step = min((member.step for member in members.values()), default=1)
            for start in range(0, total, step):
                stop = min(total, start + step)
                yield Piece(range(start, stop), {label: m.take(stop - start) for label, m in members.items()})
            for member in members.values():
                member.finish()


@contextlib.contextmanager
def _archive(path: str) -> Generator[zipfile.ZipFile]:
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except _ARCHIVE_ERRORS as error:
            raise SourceError(f"cannot read {path} as .npz: {error}") from None


def _open_member(archive: zipfile.ZipFile, label: str, path: str) -> IO[bytes]:
    if archive.getinfo(f"{label}.npy").compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SourceError(f"{path}[{label}] is compressed as NumPy does not do it; save it with numpy.savez_compressed")
    return archive.open(f"{label}.npy")


class _Member:
    """One array of an archive, read row by row: an archive cannot be mapped."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file = file
        self._where = where
        shape, fortran, self._dtype = _header(file, where)
        _require_rows(shape, self._dtype, where)
        self.count, self._tail = shape[0], shape[1:]
        self._row_bytes = self._dtype.itemsize * math.prod(self._tail)
        self.step = max(1, CHUNK_BYTES // max(1, self._row_bytes))
        if fortran and len(shape) > 1:  # its first axis varies fastest: no row is whole before the last byte
            raise SourceError(f"{where} is in Fortran order; save it with numpy.ascontiguousarray")

    def take(self, count: int) -> Array:
        """The next ``count`` rows.

        Raises:
            SourceError: the data end before.
        """
        data = self._file.read(count * self._row_bytes)
        if len(data) < count * self._row_bytes:
            raise SourceError(f"{self._where} ends too early: the file is truncated")
        return np.frombuffer(data, self._dtype).reshape(count, *self._tail)

    def finish(self) -> None:
        """Reads to the end of the member, where zip verifies its checksum.

        Raises:
            SourceError: bytes follow the array.
        """
        if self._file.read(1):
            raise SourceError(f"{self._where} has bytes after its array: the header promises too few rows")


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy_format.read_magic(file)
        if version not in _VERSIONS:
            raise ValueError(f"it is of version {version}, expected one of {_VERSIONS}")
        size = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
        if size > _MAX_HEADER:
            raise ValueError(f"its header is longer than {_MAX_HEADER >> 10} KiB")
        head = file.read(size)
        if len(head) < size:
            raise ValueError(f"it ends within its header, of which {len(head):,} of {counted(size, 'byte')} are there")
        # A literal of Python: in Latin-1, or in UTF-8 from version 3 on.
        text = head.decode("utf-8" if version == (3, 0) else "latin-1").encode("ascii", "backslashreplace")
    except ValueError as error:
        raise SourceError(f"cannot read {where} as .npy: {error}") from None
    try:
        shape, fortran, dtype = _parsed(text)
    except _HEADER_ERRORS:  # NumPy's words are those of Python's parser, and may hold an address
        shown = text.decode().strip()
        raise SourceError(
            f"cannot read {where} as .npy: its header is not a dictionary of descr, fortran_order and shape that "
            f"NumPy writes: {shown[:_SHOWN]}{'...' if len(shown) > _SHOWN else ''}"
        ) from None
    if any(length < 0 for length in shape):
        raise SourceError(f"cannot read {where} as .npy: its shape is {shape}")
    if dtype.hasobject:
        raise SourceError(f"{where} holds pickled Python objects, which are never loaded; save it with a number dtype")
    return shape, fortran, dtype


@functools.lru_cache(64)  # read once to find the fields and again with the array; NumPy takes 50 us to parse one
def _parsed(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a header of Python 2 takes longer to parse
        return npy_format.read_array_header_2_0(io.BytesIO(len(text).to_bytes(4, "little") + text))
