"""JSON Lines a block at a time: one regular expression, made of the first line, matches all lines of a block.

Programs write the same keys in the same order on every line. A block is read only where every line is proven to be
valid JSON of that one layout, without a doubled key; any other block is left to the strict reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from label_guard.check.columns import UntypedIntegers
from label_guard.sources.base import RawColumn

_MOST_KEYS = 200
# json.loads refuses whole numbers of more than 4,300 digits; those beyond 1,000 are left to it.
_NUMBER = rb"-?+(?:0|[1-9][0-9]{0,999}+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_STRING = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_WORD = rb"true|false|null"
_SEPARATORS = ((b", ", b": "), (b",", b":"))  # of Python, and of writers that leave out white space


class LinePattern:
    """Matches lines that have the layout of ``record``.

    Args:
        record: a line as JSON reads it.
        line: the line.
        wanted: paths of the labels.
    """

    def __init__(self, record: Mapping[str, Any], line: bytes, wanted: Mapping[str, Any]) -> None:
        self._wanted = wanted
        self._comma, self._colon = next((pair for pair in _SEPARATORS if b'"' + pair[1] in line), _SEPARATORS[0])
        self._paths: list[str] = []
        self._keys = 0
        body = self._object(record, "")
        self._pattern: re.Pattern[bytes] | None = None
        if body is not None and wanted and set(self._paths) == set(wanted):
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
        pattern = self._list(cast("list[Any]", value)) if isinstance(value, list) else _scalar(value)
        if pattern is None or path not in self._wanted:
            return pattern
        self._paths.append(path)
        return b"(" + pattern + b")"

    def _list(self, values: list[Any]) -> bytes | None:
        if any(isinstance(item, list | dict) for item in values):
            return None
        item = _scalar(values[0] if values else 0)
        return rb"\[(?:" + item + b"(?:" + self._comma + item + rb")*+)?+\]"

    def read(self, block: bytes) -> tuple[int, dict[str, RawColumn]] | None:
        """Number of lines and their labels; None where the strict reader must look."""
        data = block if block.endswith(b"\n") else block + b"\n"
        if self._pattern is None or not _is_utf8(data):
            return None
        found: list[Any] = self._pattern.findall(data)
        if len(found) != data.count(b"\n"):
            return None
        columns = [found] if len(self._paths) == 1 else list(map(list, zip(*found, strict=True)))
        values = {path: _values(texts) for path, texts in zip(self._paths, columns, strict=True)}
        return len(found), {path: values[path] for path in self._wanted}


def _scalar(value: Any) -> bytes:
    """Any text, number or word; that of ``value`` first, which most lines hold."""
    first, second = (_STRING, _NUMBER) if isinstance(value, str) else (_NUMBER, _STRING)
    return b"(?:" + first + b"|" + second + b"|" + _WORD + b")"


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _values(texts: list[bytes]) -> RawColumn:
    known = {text: json.loads(text) for text in set(texts)}
    if all(type(value) is int and -(2**63) <= value < 2**63 for value in known.values()):
        return UntypedIntegers(np.array(list(map(known.__getitem__, texts)), np.int64))
    shared = not any(isinstance(value, list) for value in known.values())
    return [known[text] for text in texts] if shared else [json.loads(text) for text in texts]
