"""CSV a block at a time: finds the fields of a whole block with NumPy, where nothing in it is unusual.

A block is read only where it is proven that ``csv.reader`` would give the same fields: every row has the width of the
header, quotes enclose whole fields, and nothing needs a message. Any other block is left to the strict reader.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import UntypedIntegers
from label_guard.sources.base import RawColumn

_NEWLINE, _RETURN, _QUOTE, _ZERO = b'\n\r"0'
ERASED = b"\xff" * 16
_MOST_DIGITS = 18  # of an int64

Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class CsvBlocks:
    """Reads the label columns of blocks of whole lines.

    Attributes:
        delimiter: between fields, one ASCII character.
        encoding: of the text, one in which a byte below 128 is always the ASCII character.
        width: number of fields of a row.
        indices: of the label columns, by path.
        value_of: the value of a field.
        texts: the label columns whose fields stay text.
    """

    delimiter: str
    encoding: str
    width: int
    indices: Mapping[str, int]
    value_of: Callable[[str], Any]
    texts: Sequence[str] = ()

    def read(self, block: bytes) -> tuple[int, dict[str, RawColumn]] | None:
        """Reads a block of whole lines.

        Returns:
            The number of rows, and the labels by path; None where the strict reader must look.
        """
        if b"\0" in block or ERASED in block or (b"\r" in block and block.count(b"\r") != block.count(b"\r\n")):
            return None
        data = block if block.endswith(b"\n") else block + b"\n"
        buffer = np.frombuffer(data, np.uint8)
        ends = self._ends(buffer)
        if ends is None:
            return None
        starts = np.empty_like(ends)
        starts[:, 1:] = ends[:, :-1] + 1
        starts[0, 0], starts[1:, 0] = 0, ends[:-1, -1] + 1
        lengths = ends[:, -1] - starts[:, 0]
        blank = (lengths == 0) | ((lengths == 1) & (buffer[starts[:, 0]] == _RETURN))
        if blank.any() or int(lengths.max()) >= csv.field_size_limit():
            return None
        ends[:, -1] -= buffer[ends[:, -1] - 1] == _RETURN
        columns: dict[str, RawColumn] = {}
        for path, index in self.indices.items():
            fields = starts[:, index], ends[:, index]
            numbers = None if path in self.texts else _digits(buffer, *fields)
            column = UntypedIntegers(numbers) if numbers is not None else self._column(path, data, *fields)
            if column is None:
                return None
            columns[path] = column
        return len(ends), columns

    def _ends(self, buffer: NDArray[np.uint8]) -> Positions | None:
        """Where the fields end, ``[rows, width]``; None where rows differ in width, or quotes are unusual."""
        delimiter = ord(self.delimiter)
        marks = np.flatnonzero((buffer == delimiter) | (buffer == _NEWLINE))
        quotes = np.flatnonzero(buffer == _QUOTE)
        if quotes.size:
            if not _enclose_fields(buffer, quotes, delimiter):
                return None
            marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
        if not marks.size or marks.size % self.width:
            return None
        ends = marks.reshape(-1, self.width)
        signs = buffer[ends]
        whole = bool((signs[:, -1] == _NEWLINE).all() and (signs[:, :-1] == delimiter).all())
        return ends if whole else None

    def _column(self, path: str, data: bytes, starts: Positions, ends: Positions) -> RawColumn | None:
        value_of = text_or_none if path in self.texts else self.value_of
        fields = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        values: dict[bytes, Any] = {}
        for field in set(fields):
            try:
                values[field] = value_of(_unquoted(field.decode(self.encoding)))
            except UnicodeDecodeError:
                return None
        return [values[field] for field in fields]


def _enclose_fields(buffer: NDArray[np.uint8], quotes: Positions, delimiter: int) -> bool:
    """Whether quotes come in pairs around whole fields; a doubled one within a field closes and opens."""
    if quotes.size % 2 or quotes[-1] + 1 >= buffer.size:
        return False
    before = buffer[quotes[::2] - 1]
    if quotes[0] == 0:
        before[0] = _NEWLINE
    behind = buffer[quotes[1::2] + 1]
    opened = (before == delimiter) | (before == _NEWLINE) | (before == _QUOTE)
    closed = (behind == delimiter) | (behind == _NEWLINE) | (behind == _RETURN) | (behind == _QUOTE)
    return bool(opened.all() and closed.all())


def text_or_none(field: str) -> str | None:
    """A field as text; None where it is blank."""
    return field if field.strip() else None


def number_or_text(text: str) -> int | float | str | None:
    """A number where a text without a type is plainly one; None where it is blank."""
    if not text.strip():
        return None
    if "_" in text or not text.isascii():
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if field.startswith('"') else field


def _digits(buffer: NDArray[np.uint8], starts: Positions, ends: Positions) -> NDArray[np.int64] | None:
    """The fields as whole numbers, where all consist of digits alone."""
    lengths = ends - starts
    longest = int(lengths.max())
    if int(lengths.min()) == 0 or longest > _MOST_DIGITS:
        return None
    numbers = np.zeros(len(starts), np.int64)
    for place in range(longest):
        inside = lengths > place
        digits = buffer[np.minimum(starts + place, buffer.size - 1)] - np.uint8(_ZERO)  # another byte wraps around
        if (digits > 9).any() and (digits[inside] > 9).any():
            return None
        numbers = np.where(inside, numbers * 10 + digits, numbers)
    return numbers
