"""JSON Lines: one object a line. Text has no width: columns are lists of Python values."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

from label_guard.core.strict_json import unique_pairs
from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, LabelShapes, Piece
from label_guard.sources.files import opened_text
from label_guard.sources.json_lines_pattern import LinePatterns
from label_guard.sources.line_blocks import LineBlocks
from label_guard.sources.pieces import blocks, first_items, labels_of, records_piece

MAX_LINE_BYTES = 32 << 20  # Python takes up to 24 bytes for each byte of JSON
_SKIPPED = 1 << 20
_PEEKED_LINES = 64
_TOO_LONG = b""


@dataclass(frozen=True, slots=True)
class JsonLinesFormat:
    """JSON Lines: one object a line; another line is an unreadable record."""

    name: str = "jsonl"

    def fields(self, path: str) -> Sequence[str]:
        names: dict[str, None] = {}
        faults: list[str] = []
        with opened_text(path) as file:
            for line in first_items(_lines(file), _PEEKED_LINES):
                try:
                    names |= dict.fromkeys(object_paths(parse_object(line)))
                except ValueError as error:
                    faults.append(str(error))
        if faults and not names:
            raise SourceError(f"{path} is not a JSON Lines file: {faults[0]}")
        return list(names)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        with opened_text(path) as file:
            row, patterns = 0, LinePatterns(wanted)
            whole_lines = LineBlocks(file, MAX_LINE_BYTES)
            for text in whole_lines:
                plain = patterns.read(text)
                if plain is not None:
                    count, columns = plain
                    yield Piece(range(row, row + count), columns)
                    row += count
                    continue
                lines = io.BytesIO(text) if text.endswith(b"\n") else whole_lines.rest(text)
                for block in blocks(_lines(lines), len, CHUNK_BYTES):
                    yield records_piece(row, block, lambda line: labels_of(parse_object(line), wanted), wanted)
                    row += len(block)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines that are not blank; an empty one in place of one that is too long, which is not kept."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(_SKIPPED)
            yield _TOO_LONG
        elif not line.isspace():
            yield line


def parse_object(text: bytes) -> dict[str, Any]:
    """Parses a line of JSON Lines.

    Raises:
        ValueError: ``text`` is too long, not JSON, or no object.
    """
    if text == _TOO_LONG:
        raise ValueError(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
    try:
        record: Any = json.loads(text, object_pairs_hook=unique_pairs)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    return require_object(record)


def require_object(value: Any) -> dict[str, Any]:
    """Returns a value of JSON that is an object.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return cast("dict[str, Any]", value)


def object_paths(record: Any, prefix: str = "") -> Iterator[str]:
    """The paths of all values of ``record``, objects included."""
    for name, value in record.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from object_paths(value, f"{prefix}{name}/")
