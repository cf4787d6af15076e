"""CSV files. Text has no width: columns are lists of Python values."""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from label_guard.core.plural import counted
from label_guard.errors import SourceError
from label_guard.sources.base import LabelShapes, Piece, RawColumn, did_you_mean, require_fields
from label_guard.sources.csv_blocks import ERASED, CsvBlocks, number_or_text, text_or_none
from label_guard.sources.files import opened_text
from label_guard.sources.line_blocks import LineBlocks
from label_guard.sources.pieces import blocks

# In these a byte below 128 is always the ASCII character.
_BLOCK_ENCODINGS = ("utf-8", "ascii", "latin-1", "iso-8859-15", "cp1250", "cp1251", "cp1252")
ENCODINGS = (
    *_BLOCK_ENCODINGS, "utf-16", "utf-16-le", "utf-16-be", "shift_jis", "euc-jp", "euc-kr", "gb18030", "big5",
)  # fmt: skip
_ROWS = 8192
_MAX_ROW = 32 << 20  # characters
_ERASED = "\udcff" * len(ERASED)  # as decoded where 255 is not text
_SKIPPED = 1 << 20
_LENGTH_OF_NOTE = len("sep=;")
_OTHER_DELIMITERS = {";": ";", "\t": "tab", "|": "|"}
# A row that cannot be read is tried again from its second line; text made for it could do so without end.
_MAX_REREAD = 4
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """CSV: whole numbers are ints, other numbers floats, an empty field is missing, the rest stays text.

    Attributes:
        delimiter: one character between fields.
        header: ``first``: the first line names the columns; ``none``: the file has none, columns are ``0``, ``1``,
            ...; ``""``: as ``first``, but a first line of numbers alone is refused.
        encoding: of the text; a byte that is not valid in it makes a record unreadable only inside a label.
        texts: columns of names, whose fields stay text: ``01`` is another name than ``1``.
    """

    delimiter: str = ","
    header: str = ""
    encoding: str = "utf-8"
    name: str = "csv"
    texts: tuple[str, ...] = ()

    def fields(self, path: str) -> Sequence[str]:
        with self._rows(path) as (header, *_):
            return header

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        with self._rows(path) as (header, rows, lines):
            require_fields(wanted, header, path)
            doubled = [label for label in wanted if header.count(label) > 1]
            if doubled:
                raise SourceError(f"{path} has {header.count(doubled[0])} columns named {doubled[0]!r}; rename one")
            indices = {label: header.index(label) for label in wanted}
            by_rows = self.encoding not in _BLOCK_ENCODINGS or not self.delimiter.isascii() or not wanted
            if by_rows or lines.has_lone_return:
                yield from _pieces(rows, 0, len(header), indices, self.texts)
                return
        yield from self._in_blocks(path, len(header), indices, lines.number)

    def _in_blocks(self, path: str, width: int, indices: Mapping[str, int], number: int) -> Iterator[Piece]:
        """The pieces of a file whose encoding is ASCII below 128, ``number`` lines of which precede the rows.

        Plain blocks are read at once, others row by row.
        """
        plain = CsvBlocks(self.delimiter, self.encoding, width, indices, number_or_text, self.texts)
        row = 0
        with opened_text(path) as file:
            if not number and self.encoding == "utf-8" and file.read(len(BOM_UTF8)) != BOM_UTF8:
                file.seek(0)
            for _ in range(number):
                file.readline()
            blocks_of_lines = LineBlocks(file, _MAX_ROW)
            for block in blocks_of_lines:
                found = plain.read(block)
                if found is not None:
                    if found[0]:
                        yield Piece(range(row, row + found[0]), found[1])
                    row, number = row + found[0], number + block.count(b"\n")
                    continue
                # Without quotes a row is a line, and nothing reaches into the next block.
                apart = b'"' not in block and block.endswith(b"\n")
                lines = _Lines(io.BytesIO(block) if apart else blocks_of_lines.rest(block), self.encoding, path, number)
                for piece in _pieces(_rows(lines, self.delimiter), row, width, indices, self.texts):
                    yield piece
                    row += len(piece.rows) + len(piece.unreadable)
                if not apart:
                    return
                lines.start()
                number = lines.number

    @contextmanager
    def _rows(self, path: str) -> Generator[tuple[list[str], Iterator[list[str] | str], _Lines]]:
        with opened_text(path) as file:
            lines = _Lines(file, self.encoding, path)
            rows = _rows(lines, self.delimiter)
            try:
                first = next(rows, None)
                if first is None:
                    raise SourceError(f"{path} is empty, expected CSV")
                if isinstance(first, str):
                    raise SourceError(f"cannot read {path} as CSV: {first}")
                if self.header == "none":
                    lines.again()
                    rows = _rows(lines, self.delimiter)
                    yield [str(number) for number in range(len(first))], rows, lines
                else:
                    self._check_header(first, path)
                    lines.start()
                    yield list(map(_shown, first)), rows, lines
            except UnicodeError as error:
                raise SourceError(f"cannot read {path} as {self.encoding}: {error}") from None

    def _check_header(self, header: list[str], path: str) -> None:
        if any(_shown(name) != name for name in header):
            raise SourceError(f"cannot read {path} as CSV: its header is not {self.encoding}; add ?encoding=NAME")
        first = self.delimiter.join(header)
        if first.startswith("sep=") and len(first) == _LENGTH_OF_NOTE:
            raise SourceError(f"{path}: its first line, {first!r}, is a note for Excel; remove it")
        other = next((sign for sign in _OTHER_DELIMITERS if len(header) == 1 and sign in header[0]), None)
        if other is not None:
            option = f"delimiter={_OTHER_DELIMITERS[other]}"
            raise SourceError(
                f"{path}: its header is one field with {other!r} inside; add ?{option}, as in csv:{path}?{option}"
            )
        if not self.header and all(isinstance(number_or_text(field), int | float) for field in header):
            shown = ", ".join(header[:5]) + (", ..." if len(header) > 5 else "")
            raise SourceError(
                f"{path}: its header looks like data ({shown}); add ?header=none where the file has none (columns are "
                "then 0, 1, ...), or ?header=first where these are names"
            )


def csv_format(options: Mapping[str, str]) -> CsvFormat:
    """The format that the query of a URI asks for.

    Raises:
        SourceError: an option has a value that is not legal.
    """
    delimiter = options.get("delimiter", ",")
    delimiter = _NAMED_DELIMITERS.get(delimiter, delimiter)
    if len(delimiter) != 1 or (not delimiter.isprintable() and delimiter != "\t") or delimiter in '"\r\n':
        raise SourceError(f"delimiter is {delimiter!r}; expected one character, or tab")
    header = options.get("header", "")
    if header not in ("", "first", "none"):
        raise SourceError(f"header is {header!r}; expected first or none")
    encoding = options.get("encoding", "utf-8").lower()
    if encoding not in ENCODINGS:
        raise SourceError(f"encoding is {encoding!r}{did_you_mean(encoding, ENCODINGS)}")
    return CsvFormat(delimiter, header, encoding)


class _Lines(Iterator[str]):
    """The lines of a text, bounded; knows the lines of the current row, to read it again."""

    def __init__(self, file: IO[bytes], encoding: str, path: str, number: int | None = None) -> None:
        encoding = "utf-8-sig" if encoding == "utf-8" and number is None else encoding
        self._text = io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")
        self._path = path
        self._waiting: deque[str] = deque()
        self._row: list[str] = []
        self._size = self._read = self._fed = 0
        self.number = number or 0  # of the row's first line
        self.has_lone_return = False  # whether a line has ended with "\r" alone

    def start(self) -> None:
        """Begins a row."""
        self.number += len(self._row)
        self._row = []
        self._size = 0

    def again(self) -> None:
        """Gives the lines of the current row once more."""
        self._waiting.extendleft(reversed(self._row))
        self._row = []

    def drop_first(self) -> None:
        """Gives the lines of the current row once more, all but the first."""
        self._waiting.extendleft(reversed(self._row[1:]))
        del self._row[1:]

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._next_line()
        self._row.append(line)
        self._size += len(line)
        self._fed += len(line)
        if self._size > _MAX_ROW:
            raise csv.Error(f"the row is longer than {_MAX_ROW >> 20} MiB")
        # csv.reader would take a hole, which swallowed newlines, for part of a field.
        if "\0" in line:
            raise csv.Error("it holds a zero byte, which text has not: the file is damaged, or in another encoding")
        if _ERASED in line:
            raise csv.Error(f"it holds {len(_ERASED)} bytes of 255 in a row, as erased flash memory has: it is damaged")
        if self._fed > _MAX_REREAD * self._read + _MAX_REREAD * _MAX_ROW:
            raise SourceError(f"cannot read {self._path} as CSV: too many quotes are opened and not closed")
        return line

    def _next_line(self) -> str:
        line = self._text.readline(_MAX_ROW + 1)
        if not line:
            raise StopIteration
        self._read += len(line)
        self.has_lone_return |= line[-1] == "\r"
        if len(line) > _MAX_ROW:
            while line and line[-1] not in "\r\n":
                line = self._text.readline(_SKIPPED)
            self._row.append("")
            raise csv.Error(f"the line is longer than {_MAX_ROW >> 20} MiB")
        return line


def _rows(lines: _Lines, delimiter: str) -> Iterator[list[str] | str]:
    """The rows, blank lines left out; of one that cannot be read the reason.

    Such a row is one line long: a quote that is never closed must not swallow the records behind it.
    """
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    while True:
        lines.start()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.drop_first()
            yield f"line {lines.number + 1}: {_reason(error)}"
        else:
            if row:
                yield row


def _pieces(
    rows: Iterator[list[str] | str], first: int, width: int, indices: Mapping[str, int], texts: Sequence[str]
) -> Iterator[Piece]:
    for block in blocks(rows, lambda _: 1, _ROWS):
        yield _piece(first, block, width, indices, texts)
        first += len(block)


def _reason(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote is opened and never closed"
    if "field larger" in str(error):
        return f"a field is longer than {csv.field_size_limit() >> 10} KiB, or a quote is never closed"
    return str(error)


def _piece(
    first: int, block: list[list[str] | str], width: int, indices: Mapping[str, int], texts: Sequence[str]
) -> Piece:
    unreadable: list[tuple[int, str]] = []
    rows: list[int] = []
    found: list[list[str]] = []
    for number, row in enumerate(block, first):
        fault = row if isinstance(row, str) else _fault(row, width, indices)
        if fault:
            unreadable.append((number, fault))
        elif not isinstance(row, str):
            rows.append(number)
            found.append(row)
    fields = {label: [row[k] for row in found] for label, k in indices.items()}
    columns: dict[str, RawColumn] = {
        label: list(map(text_or_none, column)) if label in texts else _numbers(column)
        for label, column in fields.items()
    }
    return Piece(rows if unreadable else range(first, first + len(block)), columns, unreadable)


def _fault(row: list[str], width: int, indices: Mapping[str, int]) -> str:
    if len(row) != width:
        return f"the row has {counted(len(row), 'field')}, the header {width}"
    broken = next((label for label, k in indices.items() if not row[k].isascii() and _shown(row[k]) != row[k]), None)
    return "" if broken is None else f"column {broken!r} holds bytes that are not text in this encoding"


def _shown(text: str) -> str:
    """``text`` with bytes that could not be decoded as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _numbers(texts: list[str]) -> RawColumn:
    together = "".join(texts)
    if "_" not in together and together.isascii():  # int() takes "1_0" for 10, and digits of any script
        try:
            return list(map(int, texts))
        except ValueError:
            pass
    return [number_or_text(text) for text in texts]
