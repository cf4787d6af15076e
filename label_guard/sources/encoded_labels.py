"""Labels that are stored as encoded bytes: PNG masks, and tensors that TFDS wrote as raw or zlib bytes."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from label_guard.sources.base import Column, Piece, Shape, Wanted, framework, values_column
from label_guard.sources.tf_example_values import record_shape

Array = NDArray[Any]
# A mask may grow a hundredfold when decoded: so many at a time keep memory flat (8 MiB each for 4K masks).
_DECODED_RECORDS = 16
_MAX_DECODED_BYTES = 1 << 30
_PNG = b"\x89PNG\r\n\x1a\n"


class Encoding(NamedTuple):
    """How a label's bytes were made: as an image, or as the bytes of an array of ``dtype``."""

    kind: Literal["image", "bytes", "zlib"]
    dtype: str = "uint8"


def decode_pieces(piece: Piece, wanted: Wanted, encodings: Mapping[str, Encoding]) -> Iterator[Piece]:
    """``piece`` with its encoded labels decoded, in smaller pieces; a record whose label cannot be is unreadable."""
    encoded = {path: how for path in wanted if (how := _encoding(path, piece.columns[path], wanted, encodings))}
    if not encoded:
        yield piece
        return
    unreadable = list(piece.unreadable)
    for start in range(0, max(1, len(piece.rows)), _DECODED_RECORDS):
        stop = start + _DECODED_RECORDS
        columns = {path: column[start:stop] for path, column in piece.columns.items()}
        yield _decoded(piece.rows[start:stop], columns, wanted, encoded, unreadable)
        unreadable = []


def _encoding(path: str, column: Column, wanted: Wanted, encodings: Mapping[str, Encoding]) -> Encoding | None:
    if not isinstance(column, list) or path in encodings:
        return encodings.get(path)
    rank = len(wanted[path] or ())  # a mask has height and width; the bytes of a scalar label are text
    return Encoding("image") if rank >= 2 and any(_is_png(value) for value in column) else None


def _is_png(value: object) -> bool:
    return isinstance(value, bytes) and value.startswith(_PNG)


def _decoded(
    rows: Sequence[int],
    columns: dict[str, Column],
    wanted: Wanted,
    encoded: Mapping[str, Encoding],
    unreadable: list[tuple[int, str]],
) -> Piece:
    failed: dict[int, str] = {}
    for path, how in encoded.items():
        values: list[Any] = list(columns[path])
        for position, value in enumerate(values):
            if isinstance(value, bytes):
                try:
                    values[position] = decode(value, how, wanted[path])
                except ValueError as error:
                    failed[position] = f"label {path!r}: {error}"
        columns[path] = values
    kept = [position for position in range(len(rows)) if position not in failed]
    found = {
        path: values_column([column[k] for k in kept]) if path in encoded else _at(column, kept)
        for path, column in columns.items()
    }
    unreadable += [(rows[position], why) for position, why in failed.items()]
    return Piece([rows[k] for k in kept] if failed else rows, found, sorted(unreadable))


def _at(column: Column, kept: list[int]) -> Column:
    return [column[k] for k in kept] if isinstance(column, list) else column[kept]


def decode(data: bytes, how: Encoding, shape: Shape | None) -> Array:
    """One label as an array, in the declared ``shape`` where it fits.

    Raises:
        ValueError: ``data`` are not so encoded.
    """
    array = _image(data) if how.kind == "image" else _tensor(data, how)
    if shape is not None and array.ndim + 1 == len(shape) and shape[-1] in (1, None) and how.kind == "image":
        return array[..., np.newaxis]  # TFDS declares the one channel that PNG leaves out
    return array if how.kind == "image" else array.reshape(record_shape(array.size, shape))


def _image(data: bytes) -> Array:
    image: Any = framework("PIL.Image", "tfds")
    try:
        with image.open(io.BytesIO(data)) as picture:
            return np.array(picture)  # of a palette image the indices, which are the class ids, not the colours
    except Exception as error:  # Pillow raises errors of many kinds for damaged data
        raise ValueError(f"no image: {error}") from None


def _tensor(data: bytes, how: Encoding) -> Array:
    if how.kind == "zlib":
        unzip = zlib.decompressobj()
        try:
            data = unzip.decompress(data, _MAX_DECODED_BYTES)
        except zlib.error as error:
            raise ValueError(f"no zlib data: {error}") from None
        if not unzip.eof:
            raise ValueError("zlib data that end too early, or are beyond 1 GiB")
    return np.frombuffer(data, how.dtype)
