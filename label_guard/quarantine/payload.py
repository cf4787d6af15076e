"""Record leaves as strict JSON and back, type-exact, without pickle.

JSON's own null, true, text, lists and small numbers are themselves; everything else is an object whose one
distinctive key names its type: ``dtype`` (arrays), ``int``, ``float``, ``complex``, ``str``, ``bytes``, ``tuple`` and
``dict``. ``encode`` refuses what ``decode`` could not give back. ``decode`` reads foreign bytes: it builds plain values
only, and checks every size before it allocates.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import json
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeGuard, cast

import numpy as np

from label_guard.core import tree
from label_guard.core.plural import counted
from label_guard.core.strict_json import integer_text, is_exact, to_json
from label_guard.core.types import Array

_ARRAYS = (np.ndarray, np.generic)
_TEXTS = (np.str_, np.bytes_)
MAX_DEPTH = 64  # nested lists, tuples and dicts of one leaf
MAX_KEYS = 1_000  # of one dict: keys made to collide cost their square
MAX_FIELDS = 1_000  # of a structured dtype
_MAX_KEY = 2**60  # beyond it different integers have one hash
_END = b'"}'  # of an array's JSON
_MAX_EMPTY = 1_000_000  # items of no size, such as empty text
_PLAIN_DTYPE = re.compile(r"[<>|=][?biufcmMSUV][0-9]*(\[[0-9A-Za-z]+\])?")


class NotEncodableError(ValueError):
    """A leaf has no type-exact form in JSON."""


def flatten(element: Any) -> dict[str, Any]:
    """Leaves of ``element`` by path. Lists below the top stay whole: they are values (ragged ids), not structure.

    >>> flatten({"image": 7, "objects": {"label": [1, 2]}, "pair": (3, 4)})
    {'image': 7, 'objects/label': [1, 2], 'pair/0': 3, 'pair/1': 4}
    """
    found: dict[str, Any] = {}
    _collect(element, "", found, top=True)
    return found


def _collect(node: Any, path: str, leaves: dict[str, Any], *, top: bool) -> None:
    pairs = None if isinstance(node, list) and not top else tree.children(node)
    for name, value in pairs or ():
        inner = name if top else f"{path}/{name}"
        if holds_numbers(value) and inner not in leaves:  # nearly every leaf
            leaves[inner] = value
        else:
            _collect(value, inner, leaves, top=False)
    if pairs:
        return
    name, number = path, 2
    while name in leaves:  # a flat key "a/b" next to a nested one
        name, number = f"{path}#{number}", number + 1
    leaves[name] = node


def encode_leaves(leaves: Mapping[str, Any]) -> bytes:
    """A JSON object with the leaves of a record by path, each as of ``encode``.

    Raises:
        NotEncodableError: a leaf has no type-exact form.
    """
    return b"{%b}" % b",".join([b"%b:%b" % (to_json(path), _leaf_json(leaf)) for path, leaf in leaves.items()])


def _leaf_json(leaf: Any) -> bytes:
    if holds_numbers(leaf):  # nearly every leaf, and JSON would scan all of its text for characters to escape
        head = _json_head(leaf.dtype, leaf.shape, is_scalar=isinstance(leaf, np.generic))
        return head + binascii.b2a_base64(leaf.tobytes(), newline=False) + _END
    return to_json(encode(leaf))


@lru_cache(maxsize=4096)
def _json_head(dtype: np.dtype[Any], shape: tuple[int, ...], *, is_scalar: bool) -> bytes:
    """The JSON of an array or scalar that ``holds_numbers``, as far as its bytes."""
    return to_json({**_describe(dtype), **_shape_fields(shape, is_scalar=is_scalar), "data": ""})[: -len(_END)]


def encode(value: Any, *, depth: int = MAX_DEPTH) -> Any:
    """``value`` as strict JSON that ``decode`` reads back with its exact type.

    Raises:
        NotEncodableError: it has no type-exact form: an object of another library, a dtype that NumPy's text does not
            describe, a masked array, or lists nested more than ``depth`` deep.

    >>> encode([1, 2**60, b"ok"]), encode(np.int16(3))["dtype"]
    ([1, {'int': '1152921504606846976'}, {'bytes': 'b2s='}], '<i2')
    """
    if value is None or isinstance(value, bool):
        return value
    if is_array(value):
        return _encode_array(value, depth)
    if isinstance(value, int | float | complex):
        return _encode_number(value)
    if isinstance(value, str):
        return str(value) if _is_unicode(value) else {"str": _base64(value.encode("utf-8", "surrogatepass"))}
    if isinstance(value, bytes | bytearray):
        return {"bytes": _base64(value)}
    if depth == 0:
        raise NotEncodableError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [encode(item, depth=depth - 1) for item in cast("list[Any]", value)]
    if type(value) is tuple:
        return {"tuple": [encode(item, depth=depth - 1) for item in cast("tuple[Any, ...]", value)]}
    return _encode_mapping(value, depth)


def _encode_mapping(value: Any, depth: int) -> Any:
    """A dict, or a named tuple or dataclass as a dict of its fields."""
    pairs: list[tuple[Any, Any]] | None = tree.children(value)
    if isinstance(value, Mapping):  # keys that are not text stay what they are
        pairs = list(cast("Mapping[Any, Any]", value).items())
    if pairs is None:
        kind = type(cast("object", value))
        raise NotEncodableError(f"{kind.__module__}.{kind.__qualname__} has no form in JSON")
    if len(pairs) > MAX_KEYS or not all(_is_key(key) for key, _ in pairs):
        raise NotEncodableError(f"a dict in a list holds at most {MAX_KEYS} keys of text, bytes or small integers")
    return {"dict": [[encode(key), encode(item, depth=depth - 1)] for key, item in pairs]}


def _is_key(key: Any) -> bool:
    return key is None or type(key) in (str, bytes, bool) or (type(key) is int and abs(key) < _MAX_KEY)


def _encode_number(value: complex) -> Any:
    if isinstance(value, int):
        return int(value) if is_exact(value) else {"int": integer_text(value)}
    if isinstance(value, float):
        return float(value) if is_exact(value) else {"float": repr(float(value))}
    return {"complex": [repr(value.real), repr(value.imag)]}


def _encode_array(value: Any, depth: int) -> Any:
    if isinstance(value, _TEXTS):
        return _encode_text(value)
    if isinstance(value, np.ma.MaskedArray):
        raise NotEncodableError("a masked array has no form in JSON")
    try:
        array: Array = np.asarray(value)
    except Exception as error:  # a foreign __array__ may raise anything
        raise NotEncodableError(f"{type(value).__qualname__} has no NumPy form: {error}") from None
    shape = _shape_fields(array.shape, is_scalar=isinstance(value, np.generic))
    if array.dtype == object or array.dtype.kind == "T":
        if depth == 0:
            raise NotEncodableError(f"nested more than {MAX_DEPTH} deep")
        if array.dtype != object and array.dtype != np.dtypes.StringDType():  # of another missing value
            raise NotEncodableError(f"{array.dtype} has no form in JSON")
        name = "object" if array.dtype == object else "str"
        return {"dtype": name, **shape, "items": [encode(item, depth=depth - 1) for item in array.ravel().tolist()]}
    if array.itemsize == 0 and array.size > _MAX_EMPTY:
        raise NotEncodableError(f"more than {_MAX_EMPTY} items of no size")
    return {**_describe(array.dtype), **shape, "data": _base64(_cleared(array).tobytes())}


def _cleared(array: Array) -> Array:
    """``array`` with zeros where no value is: such bytes hold what was in memory before, parts of other records too."""
    if array.dtype.names is not None:
        result = np.zeros(array.shape, array.dtype)
        for name in array.dtype.names:
            result[name] = _cleared(array[name])
        return result
    if not has_unused_bytes(array.dtype):
        return array
    result = np.array(array, order="C")
    numbers = result.reshape(-1).view(np.uint8).reshape(-1, np.dtype(np.longdouble).itemsize)
    numbers[:, slice(10, None) if array.dtype.isnative else slice(-10)] = 0
    return result


def has_unused_bytes(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of ``dtype`` are long doubles of 80 bits, whose other bytes hold anything."""
    return dtype.type in (np.longdouble, np.clongdouble) and np.finfo(np.longdouble).nmant == 63


def _shape_fields(shape: tuple[int, ...], *, is_scalar: bool) -> dict[str, Any]:
    return {"shape": list(shape), "scalar": True} if is_scalar else {"shape": list(shape)}


def _encode_text(value: np.str_ | np.bytes_) -> dict[str, Any]:
    """A text scalar by its length: an array of it would gain or lose trailing NULs."""
    if isinstance(value, np.bytes_):
        return {"dtype": f"|S{len(value)}", "shape": [], "scalar": True, "data": _base64(value)}
    data = value.encode("utf-32-le", "surrogatepass")
    return {"dtype": f"<U{len(value)}", "shape": [], "scalar": True, "data": _base64(data)}


def _describe(dtype: np.dtype[Any]) -> dict[str, Any]:
    """The dtype in JSON.

    Raises:
        NotEncodableError: reading it would give another dtype.
    """
    return _readable(dtype, "" if dtype.names is None else str(dtype))


@lru_cache(maxsize=256)
def _readable(dtype: np.dtype[Any], _: str) -> dict[str, Any]:
    """As ``_describe``; with the text of a dtype with fields: NumPy calls some equal that are written differently."""
    described = _described(dtype)
    try:
        back = _resolve(json.loads(json.dumps(described["dtype"])), described.get("itemsize"))
    except (TypeError, ValueError) as error:
        raise NotEncodableError(f"{dtype} has no form in JSON: {error}") from None
    if back != dtype or str(back) != str(dtype):
        raise NotEncodableError(f"{dtype} has no form in JSON")
    return described


def _described(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.names is not None:
        try:
            return {"dtype": np.lib.format.dtype_to_descr(dtype)}
        except ValueError as error:  # overlapping fields
            raise NotEncodableError(f"{dtype} has no form in JSON: {error}") from None
    if dtype.type.__module__.partition(".")[0] == "ml_dtypes":  # NumPy's own text says only how many bytes
        return {"dtype": dtype.name, "itemsize": dtype.itemsize}
    return {"dtype": dtype.str}


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array of NumPy or of a library that converts to one."""
    return isinstance(value, _ARRAYS) or hasattr(value, "__array__")


def holds_numbers(value: Any) -> TypeGuard[Array]:
    """Whether ``value`` is an array or scalar of numbers: of them, equal dtypes are the same dtype."""
    if type(value) is not np.ndarray and not isinstance(value, np.generic):
        return False
    dtype = cast(Array, value).dtype
    if dtype.names is not None:  # an integer with fields, such as the bytes of a color
        return False
    return dtype.kind in "biufc" and dtype.char not in "gG"  # long doubles have unused bytes


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _base64(data: bytes | bytearray) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode(value: Any) -> Any:
    """The leaf that ``encode`` wrote.

    Raises:
        ValueError: ``encode`` does not write such a value.

    >>> decode({"dtype": ">i4", "shape": [2], "data": "AAAAAQAAAAI="})
    array([1, 2], dtype='>i4')
    """
    try:
        return _decode(value)
    except (TypeError, ValueError, SyntaxError, OverflowError, RecursionError, MemoryError, LookupError) as error:
        raise ValueError(f"not a payload value: {error}") from None


def _decode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return cast("Any", value)
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
    "dict": lambda pairs: _decode_dict(pairs),
}


def _decode_dict(pairs: list[Any]) -> dict[Any, Any]:
    if len(pairs) > MAX_KEYS:
        raise ValueError(f"a dict of {len(pairs)} keys; at most {MAX_KEYS} are read")
    decoded = [(_decode(key), item) for key, item in pairs]
    if not all(_is_key(key) for key, _ in decoded):
        raise ValueError("a key is neither text, bytes nor a small integer")
    return {key: _decode(item) for key, item in decoded}


def _decode_array(value: dict[str, Any]) -> Any:
    dtype, shape = value["dtype"], _shape(value["shape"])
    if dtype in ("object", "str"):
        array = _decode_items([_decode(item) for item in value["items"]], shape, dtype)
    else:
        data = base64.b64decode(value["data"], validate=True)
        resolved = _resolve(dtype, value.get("itemsize"))
        if value.get("scalar") and resolved.kind in "US":
            return np.bytes_(data) if resolved.kind == "S" else np.str_(data.decode("utf-32-le", "surrogatepass"))
        array = _array(data, resolved, shape)
    return array[()] if value.get("scalar") else array


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(cast("list[Any]", value)) > 64:
        raise ValueError("shape is not a list of at most 64 lengths")
    lengths = cast("list[Any]", value)
    if not all(type(length) is int and 0 <= length < 2**63 for length in lengths):
        raise ValueError("a length in the shape is not an integer of 0 or more")
    return tuple(lengths)


def _array(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """An array of its own memory; its size is checked against the data before it is made."""
    items = math.prod(shape)
    if items * dtype.itemsize != len(data):
        raise ValueError(
            f"{counted(len(data), 'byte')} for {counted(items, 'item')} of {counted(dtype.itemsize, 'byte')}"
        )
    if not data:  # frombuffer refuses items of no size
        if items > _MAX_EMPTY:
            raise ValueError(f"{items} items of no size; at most {_MAX_EMPTY} are read")
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _decode_items(items: list[Any], shape: tuple[int, ...], dtype: str) -> Array:
    if math.prod(shape) != len(items):
        raise ValueError(f"{counted(len(items), 'item')} for shape {list(shape)}")
    if dtype == "str" and hasattr(np.dtypes, "StringDType") and all(isinstance(item, str) for item in items):
        return np.array(items, np.dtypes.StringDType()).reshape(shape)
    array: Array = np.empty(len(items), object)
    for position, item in enumerate(items):
        array[position] = item
    return array.reshape(shape)


def _resolve(dtype: Any, itemsize: Any) -> np.dtype[Any]:
    if isinstance(dtype, list):
        return np.lib.format.descr_to_dtype(_descr(cast("list[Any]", dtype)))
    if not isinstance(dtype, str):
        raise ValueError(f"{dtype!r} is not a dtype")
    if _PLAIN_DTYPE.fullmatch(dtype):
        return np.dtype(dtype)
    if not dtype.isidentifier() or type(itemsize) is not int or not 0 < itemsize <= 16:
        raise ValueError(f"{dtype!r} is not a dtype")
    try:
        kind = getattr(importlib.import_module("ml_dtypes"), dtype)
    except (ImportError, AttributeError):  # read on a machine without JAX: the raw bytes are still right
        return np.dtype(f"V{itemsize}")
    if not (isinstance(kind, type) and kind.__module__.partition(".")[0] == "ml_dtypes"):
        raise ValueError(f"{dtype!r} is not a dtype")
    resolved = np.dtype(kind)
    if resolved.hasobject or resolved.itemsize != itemsize:
        raise ValueError(f"{dtype!r} is not a dtype of {counted(itemsize, 'byte')}")
    return resolved


def _descr(fields: list[Any]) -> list[Any]:
    """JSON lists of a structured dtype as the tuples that NumPy wants, plain dtypes only."""
    if len(fields) > MAX_FIELDS:
        raise ValueError(f"a dtype of {len(fields)} fields; at most {MAX_FIELDS} are read")
    result: list[Any] = []
    for name, kind, *shape in fields:
        if isinstance(kind, list):
            kind = _descr(cast("list[Any]", kind))
        elif not _PLAIN_DTYPE.fullmatch(kind):
            raise ValueError(f"{kind!r} is not a dtype")
        named = tuple(cast("list[Any]", name)) if isinstance(name, list) else name
        result.append((named, kind, *(_shape(lengths) for lengths in shape)))
    return result


def weight(value: Any, limit: float = math.inf) -> int:
    """About how many bytes ``encode(value)`` takes, without encoding it: at most the true number.

    Counts no further once it is above ``limit``.
    """
    total, waiting = 0, [value]
    while waiting and total <= limit:
        node = waiting.pop()
        if holds_numbers(node):  # nearly every leaf
            total += node.nbytes * 4 // 3
        elif is_array(node):
            by_item = getattr(getattr(node, "dtype", None), "hasobject", False)
            total += node.size if by_item else getattr(node, "nbytes", 0) * 4 // 3
        elif isinstance(node, str):
            total += len(node)
        elif isinstance(node, bytes | bytearray):
            total += len(node) * 4 // 3
        elif type(node) in (list, tuple):
            total += 2
            waiting.extend(node)
        else:
            total += 1
            waiting += [item for _, item in tree.children(node) or ()]
    return total
