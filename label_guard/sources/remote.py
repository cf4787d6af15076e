"""Objects whose readers take local files alone: rows of numbers by range, and copies on the disk of the worker."""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from label_guard.core.files import filesystem_of
from label_guard.core.plural import counted
from label_guard.core.temporary import temporary_folder
from label_guard.core.types import Array
from label_guard.errors import SourceError
from label_guard.sources.files import is_remote, opened, size_of

_BLOCK = 16 << 20  # bytes of one request: it takes 20 to 100 ms, whatever its size


class RemoteRows:
    """Rows of numbers in an object, read by range, as NumPy maps those of a local file.

    Args:
        path: URL of the object.
        dtype: of the numbers.
        shape: ``[n, ...]`` of all rows.
        offset: bytes before the first row.
    """

    def __init__(self, path: str, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int = 0) -> None:
        self.dtype, self.shape = dtype, shape
        self._filesystem, self._name = filesystem_of(path)
        self._path = path
        self._offset = offset
        self._row = dtype.itemsize * math.prod(shape[1:])
        self._start, self._block = 0, b""

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(len(self))
        count = max(0, stop - start)
        data = self._read(start * self._row, count * self._row)
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def _read(self, start: int, size: int) -> bytes:
        if not self._start <= start <= start + size <= self._start + len(self._block):
            begin = self._offset + start
            end = min(begin + max(size, _BLOCK), self._offset + self._row * len(self))
            try:
                block = self._filesystem.cat_file(self._name, start=begin, end=end)
            except Exception as error:  # an fsspec backend may raise anything
                raise SourceError(f"cannot read {self._path}: {error or type(error).__name__}") from None
            if len(block) > end - begin:  # its first bytes would be taken for those that were asked for
                raise SourceError(f"cannot read {self._path}: its server ignores ranges; download it first")
            self._start, self._block = start, block
        data = self._block[start - self._start : start - self._start + size]
        if len(data) < size:
            raise SourceError(f"{self._path} ends too early: it has changed while it was read")
        return data


def mapped_bytes(rows: Array | RemoteRows) -> int | None:
    """How long the file must be that the rows are mapped from; None where they are read by range."""
    return rows.offset + rows.nbytes if isinstance(rows, np.memmap) else None


@contextmanager
def local_copy(path: str) -> Generator[str]:
    """``path`` itself, or of a URL a copy in the folder for temporary files, removed at the end.

    A worker has one copy at a time. What a killed one left is removed by the next run on its machine.

    Raises:
        SourceError: the object cannot be read, or the disk has no room for it.
    """
    if not is_remote(path):
        yield path
        return
    with temporary_folder("label-guard-copy-") as folder:
        size, free = size_of(path), shutil.disk_usage(folder).free
        if size is not None and size > free:
            raise SourceError(
                f"{path} has {counted(size, 'byte')}, and {folder.parent} has room for {free:,}: set TMPDIR to a "
                "larger disk"
            )
        copy = folder / Path(path).name
        try:
            with opened(path) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target, _BLOCK)
        except OSError as error:
            raise SourceError(f"cannot copy {path} to {folder.parent}: {error.strerror or error}") from None
        yield str(copy)
