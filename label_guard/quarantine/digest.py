"""Digests of records and labels: what makes two of them the same.

Every value is hashed as its kind, its size and its bytes, so that values of two kinds, or nested in two ways, never
hash the same bytes. Keys of a dict are hashed in the order of their bytes: the order of a dict says nothing about a
record, and nothing here depends on the process (hash seeds, addresses, names of modules).
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
from collections.abc import Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

import numpy as np

from label_guard.core import tree
from label_guard.core.types import Array
from label_guard.quarantine.payload import MAX_DEPTH, has_unused_bytes, holds_numbers, is_array

_MAX_NODES = 200_000
_FEW = 64  # features of a record
_TEXT = frozenset((str,))
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def digest(value: Any, *, exact: bool = False) -> str:
    """32 hex digits over kinds, dtypes, shapes and bytes of ``value``.

    Args:
        value: any tree of leaves.
        exact: whether a NumPy scalar differs from an array of no axes, and a leaf that has no type-exact form gets a
            digest of its own each time. Else such a leaf is known by its type and text, which two objects may share.

    >>> digest(np.int64(3)) == digest(np.array(3)), digest(np.int64(3)) == digest(np.int32(3))
    (True, False)
    """
    hasher = _Hasher(exact)
    hasher.add(value, MAX_DEPTH)
    return hasher.hash.hexdigest()


class _Hasher:
    def __init__(self, exact: bool) -> None:
        self.hash = hashlib.blake2b(digest_size=16)
        self._exact = exact
        self._left = _MAX_NODES

    def add(self, value: Any, depth: int) -> None:
        """Hashes ``value`` and what it holds, at most ``depth`` levels of it."""
        self._left -= 1
        if self._left < 0:  # a value that holds itself has no end
            self._put("unknown", os.urandom(16))
            return
        if type(value) is dict:
            self._add_dict(cast("dict[Any, Any]", value), depth)
            return
        if depth and holds_numbers(value):
            self._add_numbers(b"", value)
            return
        plain = _plain_bytes(value)
        array = _as_plain_array(value) if plain is None else None
        if plain is not None:
            self._put(type(value).__qualname__, plain)
        elif array is not None and depth:
            self._add_array(array, depth, self._array_kind(value))
        else:
            self._add_children(value, depth)

    def _add_numbers(self, key: bytes, value: Array) -> None:
        kind = "scalar" if self._exact and type(value) is not np.ndarray else "array"
        self.hash.update(key + _numbers_head(value.dtype, value.shape, kind))
        self.hash.update(value.tobytes())

    def _array_kind(self, value: Any) -> str:
        return "scalar" if self._exact and isinstance(value, np.generic) else "array"

    def _add_dict(self, value: dict[Any, Any], depth: int) -> None:
        if not depth or len(value) > _FEW or not _TEXT.issuperset(map(type, value)):
            self._add_children(value, depth)
            return
        head, names = _names_head(tuple(value))  # nearly every record
        self.hash.update(head)
        for key, name in names:
            item = value[name]
            if depth > 1 and self._left > 0 and holds_numbers(item):  # nearly every feature
                self._left -= 1
                self._add_numbers(key, item)
            else:
                self.hash.update(key)
                self.add(item, depth - 1)
            if self._left < 0:
                break

    def _add_children(self, value: Any, depth: int) -> None:
        pairs = self._pairs(value) if depth else None
        if pairs is None:
            self._put("object", os.urandom(16) if self._exact or not depth else _text_of(value))
            return
        self.hash.update(_head(_container(value), len(pairs)))
        for key, item in pairs:
            self.hash.update(key)
            self.add(item, depth - 1)
            if self._left < 0:
                break

    def _add_array(self, array: Array, depth: int, kind: str) -> None:
        kind = f"{kind} {_type_text(array.dtype)} {array.shape}"
        if array.dtype.names is not None and depth:  # field by field: what lies between fields is not part of the value
            self.hash.update(_head(kind, len(array.dtype.names)))
            for name in array.dtype.names:
                self._add_array(array[name], depth - 1, "field")
        elif array.dtype.hasobject:
            self.hash.update(_head(kind, array.size))
            for item in array.ravel().tolist():
                self.add(item, depth - 1)
        else:
            self._put(kind, _array_bytes(array))

    def _put(self, kind: str, data: bytes) -> None:
        self.hash.update(_head(kind, len(data)))
        self.hash.update(data)

    def _pairs(self, value: Any) -> list[tuple[bytes, Any]] | None:
        """The hashed key and the value of each child; None where ``value`` is a leaf."""
        if type(value) is dict or isinstance(value, Mapping):  # keys that are not text stay what they are
            items = cast("Mapping[Any, Any]", value).items()
            return sorted([(self._key(key), item) for key, item in items], key=itemgetter(0))
        pairs = tree.children(value)
        return None if pairs is None else [(_head(name, 0), item) for name, item in pairs]

    def _key(self, key: Any) -> bytes:
        plain = _plain_bytes(key)
        if plain is None:
            return _head("key", 0) + digest(key, exact=self._exact).encode()
        return _head(type(key).__qualname__, len(plain)) + plain


@lru_cache(maxsize=16)  # a run has few structures; others may come with names of any length
def _names_head(names: tuple[str, ...]) -> tuple[bytes, list[tuple[bytes, str]]]:
    """What is hashed before the features of a dict; and by name, in order, what is hashed before each of them."""
    texts = {name: name.encode("utf-8", "surrogatepass") for name in names}
    return _head("dict", len(names)), sorted((_head("str", len(text)) + text, name) for name, text in texts.items())


@lru_cache(maxsize=4096)
def _numbers_head(dtype: np.dtype[Any], shape: tuple[int, ...], kind: str) -> bytes:
    """What is hashed before the bytes of an array or scalar that ``holds_numbers``."""
    return _head(f"{kind} {_type_text(dtype)} {shape}", math.prod(shape) * dtype.itemsize)


def _head(kind: str, size: int) -> bytes:
    name = kind.encode("utf-8", "surrogatepass")
    return b"%d:%b %d:" % (len(name), name, size)


def _plain_bytes(value: Any) -> bytes | None:
    """The bytes of a number, of text or of bytes; None where it is none of them."""
    if isinstance(value, np.generic) and not isinstance(value, np.str_ | np.bytes_):
        return None
    if value is None or isinstance(value, bool):
        return repr(value).encode()
    if isinstance(value, int):
        return hex(value).encode()
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, complex):
        return struct.pack("<2d", value.real, value.imag)
    if isinstance(value, str):
        return str.encode(value, "utf-8", "surrogatepass")
    return memoryview(value).tobytes() if isinstance(value, bytes | bytearray) else None


def _array_bytes(array: Array) -> bytes:
    if has_unused_bytes(array.dtype):
        native = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1, 1)
        array = native.view(f"V{np.dtype('g').itemsize}").astype("V10")
    return array.tobytes()


def _container(value: Any) -> str:
    if type(value) is dict or isinstance(value, Mapping):
        return "dict"
    if tree.is_sequence(value):
        return "list" if isinstance(value, list) else "tuple"
    return f"fields {type(value).__qualname__}"  # the module of a class has another name in a spawned worker


def _as_plain_array(value: Any) -> Array | None:
    """``value`` as an array; None where it is none, or does not convert (deleted JAX arrays, PRNG keys)."""
    if not is_array(value) or isinstance(value, np.ma.MaskedArray):
        return None
    try:
        return np.asarray(value)
    except Exception:  # a foreign __array__ may raise anything
        return None


def _type_text(dtype: np.dtype[Any]) -> str:
    return dtype.str if dtype.names is None and dtype.kind != "V" and dtype.type.__module__ == "numpy" else str(dtype)


def _text_of(value: object) -> bytes:
    """Type and text of an object that has no exact form."""
    kind: type[Any] = type(value)
    try:
        text = _ADDRESS.sub("", repr(value))[:1000]
    except Exception as error:  # a foreign __repr__ may raise anything
        text = f"<no repr: {type(error).__name__}>"
    return f"{kind.__qualname__} {text}".encode("utf-8", "backslashreplace")
