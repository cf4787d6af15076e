# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Elements are users' own trees: isinstance narrows Any to Unknown here, which says nothing about this code.
"""Elements as trees: dicts, tuples, lists, named tuples and dataclasses of leaves. No JAX needed.

A path is a flat dict key as it is (``image/class/label``), else keys joined by ``/`` (``objects/label``),
or a tuple index (``1``); the empty path is an element that is one array or list as a whole. Functions never change
their input.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, Final, cast

import numpy as np


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
_TEXT = frozenset((str,))
_LEAVES = frozenset((np.ndarray, str, bytes, int, float, bool, type(None)))  # nearly all


def children(node: Any) -> list[tuple[str, Any]] | None:
    """Name and value of each child in order, or None where ``node`` is a leaf."""
    kind = type(node)
    if kind in _LEAVES or issubclass(kind, np.generic):
        return None
    if kind is dict or _is_mapping(node):
        return [(str(key), value) for key, value in node.items()]
    fields: tuple[str, ...] | None = getattr(node, "_fields", None) if isinstance(node, tuple) else None
    if fields is not None:
        return [(name, getattr(node, name)) for name in fields]
    if isinstance(node, tuple | list):
        return [(str(position), value) for position, value in enumerate(node)]
    # What has a shape is an array or the spec of one, even as a dataclass (Grain's ShapeDtypeStruct).
    if dataclasses.is_dataclass(node) and not isinstance(node, type) and not hasattr(node, "shape"):
        return [(name, getattr(node, name)) for name in _fields_set(node)]
    return None


def _fields_set(node: Any) -> list[str]:
    """Names of the fields of a dataclass that have a value: one of ``field(init=False)`` may come later."""
    return [field.name for field in dataclasses.fields(node) if hasattr(node, field.name)]


def rebuild(node: Any, values: Sequence[Any]) -> Any:
    """A container like ``node`` with ``values`` in place of its children.

    Code of the element's class does not run again: a ``__post_init__`` that scales a feature would scale it twice.
    """
    if _is_mapping(node):
        return mapping_like(node, dict(zip(node, values, strict=True)))
    if type(node) in (tuple, list):
        return type(node)(values)
    if isinstance(node, tuple):
        return _tuple_like(node, values)
    made = copy.copy(node)
    if isinstance(node, list):
        made[:] = values
        return made
    for name, value in zip(_fields_set(node), values, strict=True):
        object.__setattr__(made, name, value)  # also where the class is frozen
    _forget_cached(made)
    return made


def _tuple_like(node: tuple[Any, ...], values: Sequence[Any]) -> Any:
    """A tuple of the type of ``node``, a named tuple or another subclass, with its attributes."""
    kind = type(node)
    made: Any = tuple.__new__(kind, values) if isinstance(kind.__new__, FunctionType) else kind(values)
    if hasattr(node, "__dict__"):
        vars(made).update(vars(node))
        _forget_cached(made)
    return made


def _forget_cached(made: Any) -> None:
    """Removes what a ``cached_property`` computed from the former values."""
    for name in list(getattr(made, "__dict__", ())):
        if isinstance(getattr(type(made), name, None), functools.cached_property):
            del vars(made)[name]


def _is_mapping(node: Any) -> bool:
    """Whether the features of ``node`` are items; those of a chex dataclass that is a mapping are its fields."""
    return isinstance(node, dict | UserDict) or (isinstance(node, Mapping) and not dataclasses.is_dataclass(node))


def mapping_like(node: Any, features: dict[Any, Any]) -> Any:
    """``features`` in a mapping of the type of ``node``, a subclass of dict or UserDict; in a dict for any other.

    >>> from collections import OrderedDict
    >>> list(mapping_like(OrderedDict(a=1), {"a": 2, "b": 3}).items())
    [('a', 2), ('b', 3)]
    """
    if type(node) is dict or not isinstance(node, dict | UserDict):
        return features
    made: Any
    attributes: dict[str, Any] = getattr(node, "__dict__", {})
    if isinstance(node, OrderedDict):  # copy.copy() would call its class
        made = OrderedDict.__new__(type(node))
        OrderedDict.update(made, features)  # a ModelOutput refuses update()
        vars(made).update(attributes)
    else:
        made = copy.copy(node)  # with its attributes: a default factory, the tokens of a BatchEncoding
        made.clear()
        made.update(features)
    if attributes is node:  # the idiom self.__dict__ = self
        made.__dict__ = made
        return made
    for name in attributes.keys() & features.keys():  # features that can be read as attributes, too
        object.__setattr__(made, name, features[name])
    _forget_cached(made)
    return made


def split_path(node: Any, path: str) -> tuple[str, str | None]:
    """Splits a path at its first step: a key may hold slashes.

    Returns:
        The child of ``node`` that ``path`` goes through; and the rest of the path, None at its end.
    """
    if "/" not in path:
        return path, None
    if type(node) is dict:  # what runs for each record is quick
        head, _, last = path.partition("/")
        if path in node:
            return path, None
        if "/" not in last and head in node:
            return head, last
    names: Any = node if _is_plain(node) else [name for name, _ in children(node) or ()]
    if path in names:
        return path, None
    parts = path.split("/")
    for length in range(len(parts) - 1, 0, -1):
        head = "/".join(parts[:length])
        if head in names:
            return head, "/".join(parts[length:])
    return parts[0], "/".join(parts[1:])


def _is_plain(node: Any) -> bool:
    """Whether ``node`` is a dict with keys of text, as nearly every element is."""
    return type(node) is dict and _TEXT.issuperset(map(type, cast("dict[Any, Any]", node)))


def is_bare(node: Any) -> bool:
    """Whether ``node`` as a whole is a value: an array, or a list of numbers."""
    return isinstance(node, list) or children(node) is None


def get(node: Any, path: str) -> Any:
    """The value at ``path``, or ``MISSING``.

    >>> get({"objects": {"label": 3}}, "objects/label"), get(("x", 7), "1"), get({}, "label")
    (3, 7, MISSING)
    """
    if type(node) is dict:  # as above
        if path in node:
            return node[path]
        head, _, last = path.partition("/")
        if last and "/" not in last and head in node:
            return get(node[head], last)
    if _is_plain(node):
        if "/" not in path:
            return MISSING
        name, rest = split_path(node, path)
        return MISSING if name not in node or rest is None else get(node[name], rest)
    if path == "" and is_bare(node):
        return node
    name, rest = split_path(node, path)
    for child, value in children(node) or ():
        if child == name:
            return value if rest is None else get(value, rest)
    return MISSING


def put(node: Any, path: str, value: Any) -> Any:
    """``node`` with ``value`` at ``path``; a new key may be added to a dict, an index past the end to a tuple.

    >>> put({"a": {"b": 1}}, "a/c", 2)
    {'a': {'b': 1, 'c': 2}}

    Args:
        node: dict, tuple, list, dataclass or named tuple; not changed.
        path: names joined by ``/``; a missing one of a dict is made.
        value: the new leaf or tree.
    """
    if path == "" and is_bare(node):
        return value
    name, rest = split_path(node, path)
    if _is_plain(node):
        return {**node, name: value if rest is None else put(node.get(name, {}), rest, value)}
    pairs = children(node)
    if pairs is None:
        raise TypeError(f"cannot put {path!r} into a leaf of type {type(node).__name__}")
    names = [child for child, _ in pairs]
    values = [child for _, child in pairs]
    if name in names:
        position = names.index(name)
        values[position] = value if rest is None else put(values[position], rest, value)
        return rebuild(node, values)
    added = value if rest is None else put({}, rest, value)
    if _is_mapping(node):
        return mapping_like(node, {**node, name: added})
    if type(node) in (tuple, list):
        return rebuild(node, [*values, added])
    if dataclasses.is_dataclass(node) and name in {field.name for field in dataclasses.fields(node)}:
        made = copy.copy(node)  # a field that has no value yet
        object.__setattr__(made, name, added)
        return made
    raise TypeError(f"cannot add {name!r} to a {type(node).__name__}")


def put_beside(node: Any, neighbour: str, path: str, value: Any) -> Any:
    """``node`` with ``value`` at ``path``, in the container that holds ``neighbour``.

    >>> put_beside({"image/label": 1}, "image/label", "image/label_valid", True)
    {'image/label': 1, 'image/label_valid': True}

    Args:
        node: the tree, not changed.
        neighbour: path of the feature whose container takes the value.
        path: path of the new feature.
        value: the new leaf.
    """
    name, rest = split_path(node, neighbour)
    if rest is None:
        flat = "/" in neighbour and _is_mapping(node)
        return mapping_like(node, {**node, path: value}) if flat else put(node, path, value)
    inner = dict(children(node) or ())
    if name in inner and path.startswith(f"{name}/"):
        return put(node, name, put_beside(inner[name], rest, path[len(name) + 1 :], value))
    return put(node, path, value)


def parent(node: Any, path: str) -> Any:
    """The container that holds the value at ``path``, or would."""
    name, rest = split_path(node, path)
    inner = {} if rest is None else dict(children(node) or ())
    return parent(inner[name], rest) if rest is not None and name in inner else node


def is_sequence(node: Any) -> bool:
    """Whether ``node`` is a plain tuple or list, whose items have no names."""
    return isinstance(node, tuple | list) and not hasattr(node, "_fields")


def without(node: Any, path: str) -> Any:
    """``node`` without the dict key or last tuple place at ``path``."""
    name, rest = split_path(node, path)
    pairs = children(node) or []
    if rest is not None:
        return rebuild(node, [without(value, rest) if child == name else value for child, value in pairs])
    if _is_mapping(node):
        return mapping_like(node, {key: value for key, value in node.items() if str(key) != name})
    return rebuild(node, [value for child, value in pairs if child != name])


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of every leaf, in order."""
    pairs = children(node)
    if pairs is None:
        yield prefix, node
        return
    for name, value in pairs:
        yield from leaves(value, f"{prefix}/{name}" if prefix else name)


def map_leaves(function: Callable[[Any], Any], node: Any) -> Any:
    """``node`` with ``function(leaf)`` at every leaf."""
    pairs = children(node)
    return function(node) if pairs is None else rebuild(node, [map_leaves(function, value) for _, value in pairs])
