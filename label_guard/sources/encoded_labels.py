"""Labels that are stored as encoded bytes: PNG masks, and tensors that TFDS wrote as raw or zlib bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from label_guard.core.types import Array
from label_guard.sources.base import CHUNK_BYTES, MAX_LABEL_BYTES, LabelShapes, Piece, RawColumn, Shape, framework
from label_guard.sources.pieces import values_column
from label_guard.sources.tf_example_values import record_shape

_PNG = b"\x89PNG\r\n\x1a\n"
_IHDR = struct.Struct(">IIBBBBB")
_GRAY = 0
_CHANNELS = {_GRAY: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class Encoding(NamedTuple):
    """How a label's bytes were made: as an image, or as the bytes of an array of ``dtype``."""

    kind: Literal["image", "bytes", "zlib"]
    dtype: str = "uint8"


def decode_pieces(piece: Piece, wanted: LabelShapes, encodings: Mapping[str, Encoding]) -> Iterator[Piece]:
    """``piece`` with its encoded labels decoded, in smaller pieces; a record whose label cannot be is unreadable.

    Args:
        piece: labels as stored.
        wanted: paths of the labels, with declared shapes.
        encodings: how each encoded label is stored, by path.
    """
    encoded = {path: how for path in wanted if (how := _encoding(path, piece.columns[path], wanted, encodings))}
    if not encoded:
        yield piece
        return
    rows: list[int] = []
    columns: dict[str, list[Any]] = {path: [] for path in piece.columns}
    unreadable, size = list(piece.unreadable), 0
    for position, row in enumerate(piece.rows):
        record = {path: column[position] for path, column in piece.columns.items()}
        try:
            record |= {path: _decoded(path, record[path], how, wanted) for path, how in encoded.items()}
        except ValueError as error:
            unreadable.append((row, str(error)))
            continue
        rows.append(row)
        for path, value in record.items():
            columns[path].append(value)
        size += sum(int(getattr(record[path], "nbytes", 8)) for path in encoded)
        if size >= CHUNK_BYTES:  # a mask may grow a thousandfold when it is decoded
            yield _piece(rows, columns, unreadable)
            rows, unreadable, size = [], [], 0
            columns = {path: [] for path in piece.columns}
    yield _piece(rows, columns, unreadable)


def _piece(rows: list[int], columns: dict[str, list[Any]], unreadable: list[tuple[int, str]]) -> Piece:
    return Piece(rows, {path: values_column(values) for path, values in columns.items()}, sorted(unreadable))


def _decoded(path: str, value: Any, how: Encoding, wanted: LabelShapes) -> Any:
    """``value`` decoded where it is bytes; another value is left for the check to report."""
    if not isinstance(value, bytes):
        return value
    try:
        return decode(value, how, wanted[path])
    except ValueError as error:
        raise ValueError(f"label {path!r}: {error}") from None


def _encoding(path: str, column: RawColumn, wanted: LabelShapes, encodings: Mapping[str, Encoding]) -> Encoding | None:
    if not isinstance(column, list) or path in encodings:
        return encodings.get(path)
    rank = len(wanted[path] or ())  # a mask has height and width; the bytes of a scalar label are text
    return Encoding("image") if rank >= 2 and any(isinstance(value, bytes) for value in column) else None


def decode(data: bytes, how: Encoding, shape: Shape | None) -> Array:
    """One label as an array, in the declared ``shape`` where it fits.

    Args:
        data: bytes of a PNG or a serialized tensor.
        how: which of both, and the dtype.
        shape: declared shape of the label; None where it is not known.

    Raises:
        ValueError: ``data`` are not so encoded.
    """
    array = _image(data) if how.kind == "image" else _tensor(data, how)
    if shape is not None and array.ndim + 1 == len(shape) and shape[-1] in (1, None) and how.kind == "image":
        return array[..., np.newaxis]  # TFDS declares the one channel that PNG leaves out
    return array if how.kind == "image" else array.reshape(record_shape(array.size, shape))


def _image(data: bytes) -> Array:
    """The stored numbers of a PNG: of a palette image its indices, which are the class ids, never the colours."""
    width, height, depth, color = _png_header(data)
    channels = _CHANNELS[color]
    size = width * height * channels * max(1, depth // 8)
    if size > MAX_LABEL_BYTES:
        raise ValueError(f"its {width} x {height} pixels take more than {MAX_LABEL_BYTES >> 20} MiB")
    if depth == 16 and channels > 1:  # Pillow would drop the low bits
        raise ValueError(f"a PNG of {channels} channels of 16 bits is not read; store one channel")
    image: Any = framework("PIL.Image", "records")
    try:
        # Without `formats`, bytes of data would choose the decoder, and some of these start programs.
        with image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            pixels = np.array(picture)
    except Exception as error:  # Pillow raises errors of many kinds for damaged data
        raise ValueError(f"not a PNG: {error}") from None
    if depth == 16:
        return pixels.astype(np.uint16)
    if depth < 8 and color == _GRAY:  # Pillow spreads 2 and 4 bits over 0..255
        return pixels.astype(np.uint8) // np.uint8(1 if depth == 1 else 255 // (2**depth - 1))
    return pixels


def _png_header(data: bytes) -> tuple[int, int, int, int]:
    """Width and height in pixels, bits a channel, and PNG's colour type of an image without damage.

    The checksum of every chunk is verified: Pillow skips those of pixels.

    Raises:
        ValueError: ``data`` are not a PNG, or are damaged.
    """
    if not data.startswith(_PNG):
        raise ValueError("not a PNG")
    view, position, last = memoryview(data), len(_PNG), b""
    while last != b"IEND":
        if position + 12 > len(data):
            raise ValueError("a PNG that ends too early")
        length, last = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        stop = position + 8 + length
        if stop + 4 > len(data):
            raise ValueError("a PNG that ends too early")
        if zlib.crc32(view[position + 4 : stop]) != int.from_bytes(data[stop : stop + 4], "big"):
            raise ValueError("a PNG whose checksum fails")
        if position == len(_PNG) and (last != b"IHDR" or length != _IHDR.size):
            raise ValueError("a PNG without a header")
        position = stop + 4
    width, height, depth, color, *_ = _IHDR.unpack_from(data, len(_PNG) + 8)
    if color not in _CHANNELS or not width or not height:
        raise ValueError("a PNG whose header is damaged")
    return width, height, depth, color


def _tensor(data: bytes, how: Encoding) -> Array:
    if how.kind == "zlib":
        unzip = zlib.decompressobj()
        try:
            data = unzip.decompress(data, MAX_LABEL_BYTES)
        except zlib.error as error:
            raise ValueError(f"not zlib data: {error}") from None
        if not unzip.eof:
            raise ValueError(f"zlib data that end too early, or unpack to more than {MAX_LABEL_BYTES >> 20} MiB")
    return np.frombuffer(data, how.dtype)
