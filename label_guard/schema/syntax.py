"""Text of a YAML 1.2 or JSON file as values that know their line and column.

YAML is scanned by ruamel.yaml and put together here, from its events: a schema file needs no more than the core
schema, the place of each key, which scalars are quoted, and an answer to every text, however broken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from label_guard.core.strict_json import refuse_constant

Scalar = str | int | float | bool | None

MAX_BYTES = 2 * 1024 * 1024  # 21,841 names of ImageNet-21k are 0.6 MB; ruamel reads about 0.3 MB a second
MAX_DEPTH = 50  # a schema is 6 deep
MAX_DIGITS = 1_000  # Python refuses to print integers of more than 4,300 digits
MAX_VALUES = 250_000  # keys included, and again with every alias expanded; ruamel reads about 40,000 a second

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq")}


class UnreadableError(Exception):
    """The text is not YAML or JSON that a schema file can be; ``args`` are message, line, column."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message, line, column)
        self.message, self.line, self.column = message, line, column


@dataclass(slots=True)
class Node:
    """A value and its place in the text.

    Attributes:
        value: a scalar, a list of nodes, or nodes by key.
        line: first line, 1-based.
        column: first column, 1-based, in characters.
        start: offset of its first character in the text.
        end: offset after the last character of a scalar; of a list or mapping it says nothing.
        plain: the text of a scalar without quotes, such as ``010``; None for everything else.
        keys: the keys of a mapping, as nodes of their own.
        repeated: the later ones of keys that occur twice.
    """

    value: Scalar | list[Node] | dict[str, Node]
    line: int = 0
    column: int = 0
    start: int = 0
    end: int = 0
    plain: str | None = None
    keys: dict[str, Node] = field(default_factory=dict[str, "Node"])
    repeated: list[Node] = field(default_factory=list["Node"])

    def child(self, step: str | int) -> Node | None:
        """The node under a key or list position, or None."""
        if isinstance(self.value, dict):
            return self.value.get(str(step))
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step]
        return None

    def walk(self) -> Iterator[Node]:
        """This node and all below it, each once, in order."""
        seen: set[int] = set()
        todo: list[Node] = [self]
        while todo:
            node = todo.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            if isinstance(node.value, dict | list):
                children = node.value.values() if isinstance(node.value, dict) else node.value
                todo.extend(reversed(list(children)))


def read_text(data: bytes) -> str:
    """The text of a file.

    Raises:
        UnreadableError: too large, not UTF-8, or with control characters.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"the file has {len(data):,} bytes; a schema file may have {MAX_BYTES:,}")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UnreadableError("the file is UTF-16 text; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableError(f"byte 0x{data[error.start]:02x} is not UTF-8 text", line, 1) from None
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        raise UnreadableError(f"control character U+{ord(found[0]):04X} in the text", line, column)
    return text


def parse(text: str, *, is_json: bool = False) -> Node:
    """The nodes of a text.

    Raises:
        UnreadableError: bad syntax, or nested too deeply.

    >>> node = parse("labels: {label: {num_classes: 10}}").child("labels")
    >>> node.line, node.column, to_plain(node)
    (1, 9, {'label': {'num_classes': 10}})
    """
    if not is_json:
        return _parse_yaml(text)
    try:
        values = json.loads(text, parse_constant=refuse_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"not JSON: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise UnreadableError(f"not JSON: nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        _parse_yaml(text)  # it knows the place of a number that is too long
        raise UnreadableError(f"not JSON: {error}") from None
    root = _parse_yaml(text)  # for the places
    _take_values(root, values)
    return root


def to_plain(node: Node) -> Any:
    """Dicts, lists and scalars without places.

    Raises:
        UnreadableError: aliases expand to more values than a schema can have.
    """
    left = MAX_VALUES

    def expand(node: Node) -> Any:
        """The plain value of a node; every node counts, those of an alias each time."""
        nonlocal left
        left -= 1
        if left < 0:
            raise UnreadableError(f"aliases expand to more than {MAX_VALUES:,} values", node.line, node.column)
        if isinstance(node.value, dict):
            return {key: expand(value) for key, value in node.value.items()}
        return [expand(value) for value in node.value] if isinstance(node.value, list) else node.value

    return expand(node)


def resolve(plain: str) -> Scalar:
    """What YAML 1.2 (core schema) takes an unquoted scalar for.

    >>> [resolve(text) for text in ("no", "010", "12:30", "true", "1e3", "~")]
    ['no', 10, '12:30', True, 1000.0, None]
    """
    if plain in _NULL:
        return None
    if plain in _BOOL:
        return _BOOL[plain]
    if _INT.fullmatch(plain):
        if len(plain) > MAX_DIGITS:
            raise ValueError(plain)
        return int(plain) if plain.lstrip("+-").isdigit() else int(plain, 0)
    if not _FLOAT.fullmatch(plain):
        return plain
    word = plain.lower()
    return float(word.replace(".", "")) if word.endswith((".inf", ".nan")) else float(word)


def _parse_yaml(text: str) -> Node:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLStreamError

    try:
        return _Composer(YAML(typ="safe", pure=True).parse(text)).document()  # pyright: ignore[reportUnknownMemberType]
    except UnreadableError:
        raise
    except MarkedYAMLError as found:
        error: Any = found  # ruamel's errors carry no types
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        words = f"not YAML: {error.problem}" + (f" {error.context}" if error.context is not None else "")
        if "'\\t'" in str(error.problem):
            indents = not text.splitlines()[line - 1][: column - 1].strip()
            words = f"a tab {'indents' if indents else 'is in'} this line; write spaces"
        raise UnreadableError(words, line, column) from None
    except YAMLStreamError as error:
        raise UnreadableError(f"not YAML: {error}") from None
    except Exception as error:  # ruamel's scanner answers some broken texts with IndexError, ValueError and others
        raise UnreadableError(f"not YAML ({type(error).__name__}: {error})") from None


class _Composer:
    """Nodes from the events of ruamel's parser."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._left = MAX_VALUES

    def document(self) -> Node:
        """Returns the one document of the file."""
        node: Node | None = None
        for event in self._events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent" and node is not None:
                raise UnreadableError("a second document starts here; one file holds one schema", *_place(event))
            if kind not in ("StreamStartEvent", "StreamEndEvent", "DocumentStartEvent", "DocumentEndEvent"):
                node = self._node(event, 0)
        return Node(None, 1, 1) if node is None else node

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event).__name__
        if kind == "AliasEvent":
            if event.anchor not in self._anchors:
                raise UnreadableError(f"alias *{event.anchor} has no anchor before it", *_place(event))
            return self._anchors[event.anchor]
        self._count(event)
        if depth > MAX_DEPTH:
            raise UnreadableError(f"nested more than {MAX_DEPTH} deep", *_place(event))
        if event.tag is not None and str(event.tag) not in _CORE_TAGS:
            raise UnreadableError(f"tag {event.tag} is not used in schema files", *_place(event))
        if kind == "ScalarEvent":
            node = _scalar(event)
        elif kind == "SequenceStartEvent":
            node = Node([*self._items(depth)], *_span(event))
        else:
            node = self._mapping(Node({}, *_span(event)), depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _count(self, event: Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise UnreadableError(f"more than {MAX_VALUES:,} values; split the schema", *_place(event))

    def _items(self, depth: int) -> Iterator[Node]:
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            yield self._node(event, depth + 1)

    def _mapping(self, node: Node, depth: int) -> Node:
        values: dict[str, Node] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            if type(event).__name__ != "ScalarEvent":
                raise UnreadableError("a key must be a name, not a list, mapping or alias", *_place(event))
            self._count(event)
            key = _joined(str(event.value))
            if key in node.keys:
                node.repeated.append(Node(key, *_span(event)))
            else:
                node.keys[key] = Node(key, *_span(event))
            values[key] = self._node(next(self._events), depth + 1)
        node.value = values
        return node


def _scalar(event: Any) -> Node:
    if event.style is not None or event.tag is not None or not event.implicit[0]:
        return Node(_joined(str(event.value)), *_span(event))
    text = str(event.value)
    try:
        return Node(resolve(text), *_span(event), plain=text)
    except ValueError:
        raise UnreadableError(f"the number {text[:20]}... is too long", *_place(event)) from None


def _joined(text: str) -> str:
    """``text`` with surrogate pairs, which escapes can write, as the characters they mean."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if _SURROGATE.search(text) else text


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _span(event: Any) -> tuple[int, int, int, int]:
    return *_place(event), event.start_mark.index, event.end_mark.index


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"the number {digits[:20]}... is too long")
    return int(digits)


def _take_values(node: Node, value: Any) -> None:
    """Puts the values that json read into nodes: YAML folds some line breaks and reads ``1e5`` otherwise."""
    if isinstance(node.value, dict) and isinstance(value, dict):
        for child, (key, item) in zip(node.value.values(), cast("dict[str, Any]", value).items(), strict=True):
            _refuse_surrogate(key, node)
            _take_values(child, item)
    elif isinstance(node.value, list) and isinstance(value, list):
        for child, item in zip(node.value, cast("list[Any]", value), strict=True):
            _take_values(child, item)
    else:
        _refuse_surrogate(value, node)
        node.value, node.plain = value, None


def _refuse_surrogate(value: object, node: Node) -> None:
    if isinstance(value, str) and _SURROGATE.search(value):  # no text file could hold it
        raise UnreadableError("not JSON: a string holds half a surrogate pair", node.line, node.column)
