"""JSON Lines a block at a time: one regular expression, made of the first line, matches all lines of a block.

Programs write the same keys in the same order on every line. A block is read only where every line is proven to be
valid JSON of that one layout, without a doubled key; any other block is left to the strict reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from label_guard.check.columns import UntypedIntegers
from label_guard.core.strict_json import unique_pairs
from label_guard.sources.base import RawColumn

_MOST_KEYS = 200
_MAX_FAILURES = 4  # blocks that are not plain, after which no other is tried
# json.loads refuses whole numbers of more than 4,300 digits; those beyond 1,000 are left to it.
_NUMBER = rb"-?+(?:0|[1-9][0-9]{0,999}+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_STRING = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_WORD = rb"true|false|null"
_SHORT_INTEGER = rb"(?:[1-9][0-9]{0,17}+|0|-(?:[1-9][0-9]{0,17}+|0))"  # an int64
_PLAIN = {  # by the type of the value on the first line
    int: _SHORT_INTEGER,
    float: rb"(?:" + _SHORT_INTEGER + rb"(?:\.[0-9]++|)(?:[eE][+-]?+[0-9]++|)|null)",
    str: rb'(?:"[^"]*+"|null)',  # of text without backslashes and control characters
}
_SEPARATORS = ((b", ", b": "), (b",", b":"))  # of Python, and of writers that leave out white space
_SPACE = 0x20  # control characters are below it


class LinePatterns:
    """Reads blocks of lines by the layout of the first line of one; gives up on files whose lines differ in layout.

    Blocks without escapes whose values have the types of that line, as nearly all have, are matched by a plain pattern
    in half the time of the general one.

    Args:
        wanted: paths of the labels.
    """

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._wanted = wanted
        self._layouts: tuple[_Layout, ...] = ()  # the plain and the general one
        self._failures = 0

    def read(self, block: bytes) -> tuple[int, dict[str, RawColumn]] | None:
        """Reads a block of whole lines.

        Returns:
            The number of lines, and the labels by path; None where the strict reader must look.
        """
        if self._failures >= _MAX_FAILURES:
            return None
        data = block if block.endswith(b"\n") else block + b"\n"
        # No pattern lets a control character through but those that end lines.
        lines = int(np.count_nonzero(np.frombuffer(data, np.uint8) < _SPACE))
        if b"\r" in data:
            lines -= data.count(b"\r\n")
        columns = self._columns(data, lines)
        if columns is None:
            self._layouts = self._layouts_of(block.partition(b"\n")[0])
            columns = self._columns(data, lines)
        self._failures += columns is None
        return None if columns is None else (lines, columns)

    def _layouts_of(self, line: bytes) -> tuple[_Layout, ...]:
        try:
            record: Any = json.loads(line, object_pairs_hook=unique_pairs)
        except (ValueError, RecursionError):
            return ()
        if not isinstance(record, dict):
            return ()
        members = cast("dict[str, Any]", record)
        return tuple(_Layout(members, line, self._wanted, scalar) for scalar in (_plain_scalar, _scalar))

    def _columns(self, data: bytes, lines: int) -> dict[str, RawColumn] | None:
        try:
            if not data.isascii():
                data.decode()
        except UnicodeDecodeError:
            return None
        layouts = self._layouts[1:] if b"\\" in data else self._layouts
        return next((found for layout in layouts if (found := layout.read(data, lines)) is not None), None)


class _Layout:
    """A pattern of one line, which captures the labels; ``scalar`` gives that of a value."""

    def __init__(
        self, record: Mapping[str, Any], line: bytes, wanted: Mapping[str, Any], scalar: Callable[[Any], bytes]
    ) -> None:
        self._wanted = wanted
        self._scalar = scalar
        self._comma, self._colon = next((pair for pair in _SEPARATORS if b'"' + pair[1] in line), _SEPARATORS[0])
        self._integers: dict[str, bool] = {}  # whether the labels in the pattern are whole numbers, by path
        self._keys = 0
        body = self._object(record, "")
        self._pattern: re.Pattern[bytes] | None = None
        if body is not None and wanted and set(self._integers) == set(wanted):
            self._pattern = re.compile(rb"(?m:^)" + body + rb"\r?+\n")

    def _object(self, record: Mapping[str, Any], prefix: str) -> bytes | None:
        members: list[bytes] = []
        for key, value in record.items():
            self._keys += 1
            quoted = json.dumps(key, ensure_ascii=False)
            inner = self._value(value, f"{prefix}{key}")
            if inner is None or quoted != f'"{key}"' or "/" in key or self._keys > _MOST_KEYS:
                return None
            try:
                members.append(re.escape(quoted.encode() + self._colon) + inner)
            except UnicodeEncodeError:
                return None
        return rb"\{" + self._comma.join(members) + rb"\}"

    def _value(self, value: Any, path: str) -> bytes | None:
        if isinstance(value, dict):
            return self._object(cast("dict[str, Any]", value), f"{path}/")
        pattern = self._list(cast("list[Any]", value)) if isinstance(value, list) else self._scalar(value)
        if pattern is None or path not in self._wanted:
            return pattern
        self._integers[path] = pattern == _SHORT_INTEGER
        return b"(" + pattern + b")"

    def _list(self, values: list[Any]) -> bytes | None:
        if any(isinstance(item, list | dict) for item in values):
            return None
        item = self._scalar(values[0] if values else 0)
        return rb"\[(?:" + item + b"(?:" + self._comma + item + rb")*+)?+\]"

    def read(self, data: bytes, lines: int) -> dict[str, RawColumn] | None:
        """The labels of ``lines`` lines, all of which end with a newline; None where one does not match."""
        found: list[Any] = self._pattern.findall(data) if self._pattern else []
        if len(found) != lines:
            return None
        columns = [found] if len(self._integers) == 1 else list(map(list, zip(*found, strict=True)))
        values = {
            path: _integers(texts) if whole else _values(texts)
            for (path, whole), texts in zip(self._integers.items(), columns, strict=True)
        }
        return {path: values[path] for path in self._wanted}


def _scalar(value: object) -> bytes:
    """Any text, number or word; that of ``value`` first, which most lines hold."""
    first, second = (_STRING, _NUMBER) if isinstance(value, str) else (_NUMBER, _STRING)
    return b"(?:" + first + b"|" + second + b"|" + _WORD + b")"


def _plain_scalar(value: object) -> bytes:
    """A value of the type of ``value``, in text without backslashes and control characters."""
    kind: Any = type(value)
    return _PLAIN.get(kind) or _scalar(value)


def _integers(texts: list[bytes]) -> RawColumn:
    return UntypedIntegers(np.fromstring(b",".join(texts), dtype=np.int64, sep=","))


def _values(texts: list[bytes]) -> RawColumn:
    known = {text: json.loads(text) for text in set(texts)}
    if all(type(value) is int and -(2**63) <= value < 2**63 for value in known.values()):
        return UntypedIntegers(np.array(list(map(known.__getitem__, texts)), np.int64))
    shared = not any(isinstance(value, list) for value in known.values())
    return [known[text] for text in texts] if shared else [json.loads(text) for text in texts]
