"""Options that a file calls for but nobody gave: delimiter, header and encoding of CSV, dtype of bare numbers.

Only ``infer`` and ``check`` guess, and say what they took; an audit takes a source as it is written.
"""

from __future__ import annotations

import codecs
import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from label_guard.errors import SourceError
from label_guard.sources.csv import csv_format
from label_guard.sources.files import find_shards, is_remote, opened, opened_text
from label_guard.sources.raw_numbers import index_of
from label_guard.sources.uris import CONVERSIONS, full_uri, parse_uri

_HEAD = 1 << 16
_LINES = 50
_ZEROS = 0.1  # of all bytes: text in another script has ASCII in its numbers, delimiters and ends of lines
_DELIMITERS = {",": "comma", "\t": "tab", ";": ";", "|": "pipe"}
_SPACE = {" ": "space"}
_BOMS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def readable_uri(source: str) -> tuple[str, list[str]]:
    """The URI of ``source``, with the options that its content calls for.

    Args:
        source: a plain path, or a URI; one with options is taken as it is.

    Returns:
        The URI, and one note for each option that was guessed.

    Raises:
        SourceError: neither name nor content shows a format, or no file is there.
    """
    try:
        uri = full_uri(source)
    except SourceError:
        if Path(source).suffix.lower().removeprefix(".") in CONVERSIONS or not _is_text(source):
            raise
        uri = f"csv:{source}"
    scheme, where, options = parse_uri(uri)
    if scheme not in ("csv", "raw") or is_remote(where) or set(options) - {"delimiter"}:
        return uri, []
    first = find_shards(where)[0].path
    guess = _csv_options(first, options.get("delimiter")) if scheme == "csv" else _raw_options(first)
    added = {name: value for name, value in guess.items() if name not in options}
    if not added:
        return uri, []
    together = "&".join(f"{name}={value}" for name, value in {**options, **added}.items())
    notes = [_NOTES[name].format(_HEADERS.get(value, value)) for name, value in added.items()]
    return f"{scheme}:{where}?{together}", notes


_HEADERS = {
    "none": "the first line looks like data: columns are named 0, 1, ...",
    "first": "the first line counts 0, 1, ...: taken for the names of the columns",
}
_NOTES = {
    "delimiter": "taken for the delimiter: {}",
    "header": "{}",
    "encoding": "the text is not UTF-8: taken for {}",
    "dtype": "nothing in the file says what its numbers are: taken for {}",
    "offset": "taken for a header: the first {} bytes",
}


def _is_text(path: str) -> bool:
    """Whether a file of no known format holds lines of text."""
    try:
        if is_remote(path) or not Path(path).is_file():
            return False
        with opened(path, unzip=True) as file:
            head = file.read(_HEAD)
    except (SourceError, ValueError, OSError):
        return False
    if _encoding(head).startswith("utf-16"):  # of which every second byte may be 0
        head = head.decode(_encoding(head), "replace").removeprefix("\ufeff").encode()
    controls = sum(byte < 32 and byte not in b"\t\r\n" for byte in head)
    mostly_ascii = sum(byte < 128 for byte in head) > 0.7 * len(head) or not _encoding(head)
    return bool(head.strip()) and not controls and mostly_ascii and not head.lstrip().startswith(b"<")


# CSV ------------------------------------------------------------------------------------------------------------------


def _csv_options(path: str, delimiter: str | None) -> dict[str, str]:
    with opened_text(path) as file:
        head = file.read(_HEAD)
    encoding = _encoding(head)
    text = head.decode(encoding or "utf-8", "replace").removeprefix("\ufeff")
    lines = text.splitlines(keepends=True)
    lines = lines[: -1 if len(head) == _HEAD else None][:_LINES]
    sign = _delimiter(lines) if delimiter is None else csv_format({"delimiter": delimiter}).delimiter
    header = _header(_rows(lines, sign))
    found = {"delimiter": {**_DELIMITERS, **_SPACE}[sign]} if sign != "," and delimiter is None else {}
    return {**found, **({"header": header} if header else {}), **({"encoding": encoding} if encoding else {})}


def _encoding(head: bytes) -> str:
    """The encoding of a text; empty where it is UTF-8."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    even, odd = head[::2].count(0), head[1::2].count(0)  # ASCII in UTF-16 has a zero in every second byte
    if max(even, odd) > _ZEROS * len(head) and max(even, odd) > 10 * min(even, odd):
        return "utf-16-le" if odd else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return ""


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return []


def _delimiter(lines: list[str]) -> str:
    """The delimiter by which all lines have as many fields, more than one; a comma where none is."""
    for signs in (_DELIMITERS, _SPACE):
        for sign in signs:
            widths = {len(row) for row in _rows(lines, sign)}
            if len(widths) == 1 and widths != {1}:
                return sign
        if any(len(row) > 1 for row in _rows(lines, ",")):
            break
    return ","


def _header(rows: list[list[str]]) -> str:
    """``none`` where the first row looks like data, ``first`` where its numbers look like names, else empty."""
    if not rows:
        return ""
    first, rest = rows[0], rows[1:]
    names = first[1:] if not first[0].strip() else first
    if len(first) > 1 and names == [str(k) for k in range(len(names))]:  # as pandas numbers columns
        return "first"
    columns = [[row[k] for row in rest if k < len(row)] for k in range(len(first))]
    looks = [_looks_like_data(name, column) for name, column in zip(first, columns, strict=True)]
    return "none" if any(looks) else ""


def _looks_like_data(name: str, column: list[str]) -> bool:
    if not name.strip():
        return False
    if _is_number(name):
        return all(_is_number(text) or not text.strip() for text in column)
    return name in column


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


# Bare numbers ---------------------------------------------------------------------------------------------------------


def _raw_options(path: str) -> dict[str, str]:
    if Path(index_of(path)).is_file():
        return {}
    with opened(path) as file:
        head = file.read(_HEAD)
        size = file.seek(0, 2)
    if head.startswith(_LLM_C):  # karpathy/llm.c, dev/data/data_common.py: a header of 256 int32
        return {"dtype": "uint16", "offset": "1024"}
    return {"dtype": next(name for name, fits in _FITS if size % np.dtype(name).itemsize == 0 and fits(head))}


def _is_int64(head: bytes) -> bool:
    numbers = np.frombuffer(head[: len(head) // 8 * 8], "<i8")
    return bool(numbers.size) and numbers.min() >= _LEAST and numbers.max() < _MOST


def _is_int32(head: bytes) -> bool:
    """Whether the upper halves are those of small numbers, rather than numbers themselves."""
    halves = np.frombuffer(head[: len(head) // 4 * 4], "<i2").reshape(-1, 2)
    if not halves.size:
        return False
    upper = halves[:, 1]
    extended = upper == np.where(halves[:, 0] < 0, -1, 0)
    plain = (upper == 0) | (extended & (halves[:, 0] >= _LEAST))
    return bool(plain.all()) or bool(upper.min() >= 0 and upper.max() <= 3 and plain.mean() > 0.5)


def _is_uint16(head: bytes) -> bool:
    pairs = np.frombuffer(head[: len(head) // 2 * 2], np.uint8).reshape(-1, 2)
    if not pairs.size or not pairs[:, 1].any():
        return bool(pairs.size)
    low, high = pairs.mean(axis=0).tolist()
    return int(pairs[:, 0].max()) > 200 and high < 0.9 * low  # of single bytes both are alike


_LLM_C = (20240520).to_bytes(4, "little")
_LEAST, _MOST = -1000, 1 << 24  # ignore values, and the largest vocabularies
_FITS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("int64", _is_int64), ("int32", _is_int32), ("uint16", _is_uint16), ("uint8", lambda _: True),
)  # fmt: skip
