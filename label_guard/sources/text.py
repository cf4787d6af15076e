"""CSV with a header, and JSON Lines. Text has no width: columns are lists of Python values."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from label_guard.core import tree
from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, Column, Piece, Wanted, require_fields
from label_guard.sources.files import opened

_CSV_ROWS = 8192
_MAX_LINE_BYTES = 256 << 20
_PEEKED_LINES = 64


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """CSV: whole numbers are ints, other numbers floats, an empty field is missing, the rest stays text."""

    name: str = "csv"

    def fields(self, path: str) -> Sequence[str]:
        with _rows(path) as (header, _):
            return header

    def read(self, path: str, wanted: Wanted) -> Iterator[Piece]:
        with _rows(path) as (header, rows):
            require_fields(wanted, header, path)
            places = [header.index(label) for label in wanted]
            row = 0
            while block := list(islice(rows, _CSV_ROWS)):
                yield _csv_piece(row, block, len(header), dict(zip(wanted, places, strict=True)))
                row += len(block)


@contextmanager
def _rows(path: str) -> Generator[tuple[list[str], Iterator[list[str]]]]:
    with opened(path, unzip=True) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        # Without strict, an unclosed quote swallows all the records that follow it.
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, None)
            if not header:
                raise SourceError(f"{path} is empty, expected a CSV header")
            yield header, (row for row in reader if row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise SourceError(f"cannot read {path} as CSV, line {reader.line_num + 1}: {error}") from None


def _csv_piece(first: int, block: list[list[str]], width: int, places: dict[str, int]) -> Piece:
    rows: Sequence[int] = range(first, first + len(block))
    unreadable = [(first + k, _misfit(row, width)) for k, row in enumerate(block) if len(row) != width]
    if unreadable:
        rows = [first + k for k, row in enumerate(block) if len(row) == width]
        block = [row for row in block if len(row) == width]
    return Piece(rows, {label: _numbers([row[k] for row in block]) for label, k in places.items()}, unreadable)


def _misfit(row: list[str], width: int) -> str:
    return f"the row has {len(row)} fields, the header {width}"


def _numbers(texts: list[str]) -> Column:
    together = "".join(texts)
    if "_" not in together and together.isascii():  # int() takes "1_0" for 10, and digits of any script
        try:
            return list(map(int, texts))
        except ValueError:
            pass
    return [_number(text) for text in texts]


def _number(text: str) -> int | float | str | None:
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


@dataclass(frozen=True, slots=True)
class JsonLinesFormat:
    """JSON Lines: one object a line; a line that is none is an unreadable record."""

    name: str = "jsonl"

    def fields(self, path: str) -> Sequence[str]:
        names: dict[str, None] = {}
        faults: list[str] = []
        with opened(path, unzip=True) as file:
            for line in islice(_lines(file, path), _PEEKED_LINES):
                record, why = _object(line)
                names |= dict.fromkeys(_paths(record))
                faults += [why] if why else []
        if faults and not names:
            raise SourceError(f"{path} is no JSON Lines file: {faults[0]}")
        return list(names)

    def read(self, path: str, wanted: Wanted) -> Iterator[Piece]:
        with opened(path, unzip=True) as file:
            lines, row = _lines(file, path), 0
            while block := _block(lines):
                rows, columns, unreadable = _parsed(row, block, wanted)
                yield Piece(rows, columns, unreadable)
                row += len(block)


def _lines(file: Any, path: str) -> Iterator[bytes]:
    number = 0
    while line := file.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) == _MAX_LINE_BYTES:
            raise SourceError(f"{path}, line {number} is longer than {_MAX_LINE_BYTES >> 20} MiB")
        if not line.isspace():
            yield line


def _block(lines: Iterator[bytes]) -> list[bytes]:
    block: list[bytes] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            break
    return block


def _object(line: bytes) -> tuple[Any, str]:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"no JSON: {error}"
    if not isinstance(record, dict):
        return {}, "no JSON object"
    return cast("Any", record), ""


def _paths(record: Any, prefix: str = "") -> Iterator[str]:
    for name, value in record.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{name}/")


def _parsed(
    first: int, block: list[bytes], wanted: Wanted
) -> tuple[Sequence[int], dict[str, Column], list[tuple[int, str]]]:
    rows: list[int] = []
    unreadable: list[tuple[int, str]] = []
    columns: dict[str, list[Any]] = {label: [] for label in wanted}
    for row, line in enumerate(block, first):
        record, why = _object(line)
        if why:
            unreadable.append((row, why))
            continue
        rows.append(row)
        for label, values in columns.items():
            value = tree.get(record, label)
            values.append(None if value is tree.MISSING else value)
    return rows if unreadable else range(first, first + len(block)), dict(columns), unreadable
