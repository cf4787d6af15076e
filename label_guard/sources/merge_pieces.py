"""Small pieces of a file put together: of records of 100 KB a block holds twenty, and each piece has its fixed cost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

import numpy as np

from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, Piece, RawColumn

# Checking a piece costs about 0.1 ms whatever its size; from here on its records cost more.
_ENOUGH_ROWS = 256


def merged(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same rows in fewer pieces, none of them held back once it has rows or label bytes enough.

    Raises:
        SourceError: as ``pieces`` does; what precedes the fault is yielded first.
    """
    waiting: list[Piece] = []
    rows = size = 0
    try:
        for piece in pieces:
            waiting.append(piece)
            rows += len(piece.rows) + len(piece.unreadable)
            size += sum(_size(column) for column in piece.columns.values())
            if rows >= _ENOUGH_ROWS or size >= CHUNK_BYTES:
                yield _join(waiting)
                waiting, rows, size = [], 0, 0
    except SourceError:
        if waiting:
            yield _join(waiting)
        raise
    if waiting:
        yield _join(waiting)


def _size(column: RawColumn) -> int:
    return column.nbytes if isinstance(column, np.ndarray) else sum(int(getattr(v, "nbytes", 8)) for v in column)


def _join(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    first, last = pieces[0], pieces[-1]
    whole = range(first.rows[0], last.rows[-1] + 1) if first.rows and last.rows else range(0)
    rows = list(chain.from_iterable(piece.rows for piece in pieces))
    columns = {path: _joined([piece.columns[path] for piece in pieces]) for path in first.columns}
    unreadable = list(chain.from_iterable(piece.unreadable for piece in pieces))
    return Piece(whole if len(whole) == len(rows) else rows, columns, unreadable)


def _joined(columns: list[RawColumn]) -> RawColumn:
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    alike = len(arrays) == len(columns) and len({(a.dtype, a.shape[1:]) for a in arrays}) == 1
    return np.concatenate(arrays) if alike else list(chain.from_iterable(cast("list[Any]", columns)))
