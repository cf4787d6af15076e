"""Record leaves as strict JSON and back, type-exact, without pickle; and digests of leaves.

JSON's own null, true, text, lists and small numbers stand for themselves; everything else is an object whose one
telling key names its type: ``dtype`` (arrays), ``int``, ``float``, ``complex``, ``str``, ``bytes``, ``tuple``,
``dict`` and ``opaque``. What is read back was written by others, so decoding trusts nothing and builds plain values.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from label_guard.core import tree

Array = np.ndarray[Any, np.dtype[Any]]

EXACT = 2**53  # a JSON reader may hold every number as a double
_PLAIN_DTYPE = re.compile(r"[<>|=][?biufcmMSUV][0-9]*(\[[0-9A-Za-z]+\])?")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Opaque:
    """A leaf that JSON cannot hold: the name of its type and how it shows itself, for people only."""

    type: str
    text: str


def flatten(element: Any) -> dict[str, Any]:
    """Leaves of ``element`` by path. Lists below the top stay whole: they are values (ragged ids), not structure.

    >>> flatten({"image": 7, "objects": {"label": [1, 2]}, "pair": (3, 4)})
    {'image': 7, 'objects/label': [1, 2], 'pair/0': 3, 'pair/1': 4}
    """
    found: dict[str, Any] = {}
    for path, value in _walk(element, "", top=True):
        name, number = path, 2
        while name in found:  # a flat key "a/b" beside a nested one
            name, number = f"{path}#{number}", number + 1
        found[name] = value
    return found


def _walk(node: Any, path: str, *, top: bool) -> Iterator[tuple[str, Any]]:
    pairs = None if isinstance(node, list) and not top else tree.children(node)
    if not pairs:
        yield path, node
        return
    for name, value in pairs:
        yield from _walk(value, name if top else f"{path}/{name}", top=False)


def encode(value: Any) -> Any:
    """``value`` as strict JSON that ``decode`` reads back with its exact type.

    >>> encode([1, 2**60, b"ok"]), encode(np.int16(3))["dtype"]
    ([1, {'int': '1152921504606846976'}, {'bytes': 'b2s='}], '<i2')
    """
    if _is_array(value):
        return _encode_array(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | complex):
        return _encode_number(value)
    if isinstance(value, str):
        return value if _is_unicode(value) else {"str": _base64(value.encode("utf-8", "surrogatepass"))}
    if isinstance(value, bytes | bytearray):
        return {"bytes": _base64(value)}
    if isinstance(value, list):
        return [encode(item) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {"dict": [[encode(key), encode(item)] for key, item in cast("Mapping[Any, Any]", value).items()]}
    if type(value) is tuple:
        return {"tuple": [encode(item) for item in cast("tuple[Any, ...]", value)]}
    pairs = tree.children(value)
    return _opaque(value) if pairs is None else {"dict": [[name, encode(item)] for name, item in pairs]}


def _encode_number(value: complex) -> Any:
    if isinstance(value, int):
        if abs(value) <= EXACT:
            return int(value)
        # Python refuses decimal text beyond 4300 digits, in both directions; hexadecimal has no limit.
        return {"int": str(int(value)) if value.bit_length() < 4096 else hex(value)}
    if isinstance(value, float):
        small = math.isfinite(value) and abs(value) <= EXACT
        return float(value) if small else {"float": repr(float(value))}
    return {"complex": [repr(value.real), repr(value.imag)]}


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.str_):  # an array of it would gain or lose trailing NULs
        data = value.encode("utf-32-le", "surrogatepass")
        return {"dtype": f"<U{len(value)}", "shape": [], "scalar": True, "data": _base64(data)}
    if isinstance(value, np.bytes_):
        return {"dtype": f"|S{len(value)}", "shape": [], "scalar": True, "data": _base64(value)}
    array: Array = np.asarray(value)
    shape: dict[str, Any] = {"shape": list(array.shape)}
    if isinstance(value, np.generic):
        shape["scalar"] = True
    if array.dtype == object or array.dtype.kind == "T":
        name = "object" if array.dtype == object else "str"
        return {"dtype": name, **shape, "items": [encode(item) for item in array.ravel().tolist()]}
    if array.dtype.hasobject:
        return _opaque(value)
    return {**_describe(array.dtype), **shape, "data": _base64(array.tobytes())}


def _describe(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.names is not None:
        return {"dtype": np.lib.format.dtype_to_descr(dtype)}
    if dtype.kind == "V" and dtype.type is not np.void:  # bfloat16 and its kin: NumPy's own text says only "2 bytes"
        return {"dtype": dtype.name, "itemsize": dtype.itemsize}
    return {"dtype": dtype.str}


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__")


def _opaque(value: Any) -> Any:
    kind = type(cast("object", value))
    try:
        text = _ADDRESS.sub("", repr(value))[:1000]
    except Exception as error:  # a foreign __repr__ may raise anything, and no record may be lost to it
        text = f"<no repr: {type(error).__name__}>"
    return {"opaque": [f"{kind.__module__}.{kind.__qualname__}", text]}


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode("ascii")


def decode(value: Any) -> Any:
    """The leaf that ``encode`` wrote.

    Raises:
        ValueError: ``value`` is nothing that ``encode`` writes.

    >>> decode({"dtype": ">i4", "shape": [2], "data": "AAAAAQAAAAI="})
    array([1, 2], dtype='>i4')
    """
    try:
        return _decode(value)
    except (TypeError, ValueError, SyntaxError, OverflowError, RecursionError, MemoryError, LookupError) as error:
        raise ValueError(f"not a payload value: {error}") from None


def _decode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_decode(item) for item in cast("list[Any]", value)]
    if "dtype" in value:
        return _decode_array(value)
    [(tag, content)] = value.items()
    if tag in _TEXT_TAGS and isinstance(content, str):
        return _TEXT_TAGS[tag](content)
    if tag in _LIST_TAGS and isinstance(content, list):
        return _LIST_TAGS[tag](cast("list[Any]", content))
    raise ValueError(f"{tag!r} with a {type(content).__name__} is of no known form")


_TEXT_TAGS: dict[str, Callable[[str], Any]] = {
    "int": lambda text: int(text, 0),
    "float": float,
    "str": lambda text: base64.b64decode(text, validate=True).decode("utf-8", "surrogatepass"),
    "bytes": lambda text: base64.b64decode(text, validate=True),
}
_LIST_TAGS: dict[str, Callable[[list[Any]], Any]] = {
    "complex": lambda parts: complex(*(float(part) for part in parts)),
    "tuple": lambda items: tuple(_decode(item) for item in items),
    "dict": lambda pairs: {_decode(key): _decode(item) for key, item in pairs},
    "opaque": lambda texts: Opaque(*(str(text) for text in texts)),
}


def _decode_array(value: dict[str, Any]) -> Any:
    dtype, shape = value["dtype"], value["shape"]
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"{shape} is no shape")
    if dtype in ("object", "str"):
        array = _decode_items([_decode(item) for item in value["items"]], tuple(shape), dtype)
    else:
        data = base64.b64decode(value["data"], validate=True)
        resolved = _resolve(dtype, value.get("itemsize"))
        if value.get("scalar") and resolved.kind in "US":
            return _text_scalar(data, resolved)
        # frombuffer refuses items of no size, and its result is read-only
        array = np.frombuffer(data, resolved) if data else np.ndarray((math.prod(shape),), resolved)
        if not data and array.nbytes:
            raise ValueError(f"no data for {array.nbytes} bytes")
        array = array.reshape(shape).copy()
    return array[()] if value.get("scalar") else array


def _decode_items(items: list[Any], shape: tuple[int, ...], dtype: str) -> Array:
    if dtype == "str" and hasattr(np.dtypes, "StringDType") and all(isinstance(item, str) for item in items):
        return np.array(items, np.dtypes.StringDType()).reshape(shape)
    array: Array = np.empty(len(items), object)
    for position, item in enumerate(items):
        array[position] = item
    return array.reshape(shape)


def _text_scalar(data: bytes, dtype: np.dtype[Any]) -> np.generic:
    """A text scalar from its own constructor, for the same reason."""
    return np.bytes_(data) if dtype.kind == "S" else np.str_(data.decode("utf-32-le", "surrogatepass"))


def _resolve(dtype: Any, itemsize: Any) -> np.dtype[Any]:
    if isinstance(dtype, list):
        return np.lib.format.descr_to_dtype(_descr(cast("list[Any]", dtype)))
    if not isinstance(dtype, str):
        raise ValueError(f"{dtype!r} is no dtype")
    if _PLAIN_DTYPE.fullmatch(dtype):
        return np.dtype(dtype)
    if not dtype.isidentifier() or type(itemsize) is not int or not 0 < itemsize <= 16:
        raise ValueError(f"{dtype!r} is no dtype")
    try:
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), dtype))
    except (ImportError, AttributeError):  # read on a machine without JAX: the raw bytes are still right
        return np.dtype(f"V{itemsize}")


def _descr(fields: list[Any]) -> list[Any]:
    """JSON lists of a structured dtype as the tuples that NumPy wants, plain dtypes only."""
    result: list[Any] = []
    for name, kind, *shape in fields:
        if isinstance(kind, list):
            kind = _descr(cast("list[Any]", kind))
        elif not _PLAIN_DTYPE.fullmatch(kind):
            raise ValueError(f"{kind!r} is no dtype")
        named = tuple(cast("list[Any]", name)) if isinstance(name, list) else name
        result.append((named, kind, *(tuple(lengths) for lengths in shape)))
    return result


def weight(value: Any) -> int:
    """About how many bytes ``encode(value)`` takes, without encoding it: at most the true number."""
    if _is_array(value):
        return getattr(value, "nbytes", 0) * 4 // 3
    if isinstance(value, str):
        return len(value)
    if isinstance(value, bytes | bytearray):
        return len(value) * 4 // 3
    pairs = tree.children(value)
    return 1 if pairs is None else sum(weight(item) for _, item in pairs)


def digest(value: Any) -> str:
    """32 hex digits over types, shapes and bytes of ``value``; an array and a scalar of the same bytes are one.

    >>> digest(np.int64(3)) == digest(np.array(3)), digest(np.int64(3)) == digest(np.int32(3))
    (True, False)
    """
    hasher = hashlib.blake2b(digest_size=16)
    for chunk in _chunks(value):
        hasher.update(chunk)
    return hasher.hexdigest()


def _chunks(value: Any) -> Iterator[Any]:
    if _is_array(value):
        array: Array = np.asarray(value)
        if array.dtype.hasobject:
            yield from _chunks(["object", list(array.shape), *array.ravel().tolist()])
        else:
            yield json.dumps([_describe(array.dtype), array.shape]).encode() + b"\n"
            yield array.tobytes()
        return
    pairs = None if isinstance(value, str | bytes) else tree.children(value)
    if pairs is None:
        yield json.dumps(encode(value)).encode() + b"\n"
        return
    yield f"{len(pairs)}\n".encode()
    for name, item in pairs:
        yield json.dumps(name).encode() + b"\n"
        yield from _chunks(item)
