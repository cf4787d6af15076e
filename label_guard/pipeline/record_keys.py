"""Record keys: one int64 position travels with a record and becomes a name only when a record is written."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np

from label_guard.core import tree
from label_guard.errors import UsageError
from label_guard.pipeline import source_names

KEY = "label_guard_key"
UNREADABLE = "label_guard_unreadable"
OnUnreadable = Literal["raise", "quarantine"]
_MAX_REASON = 500
_MOST_NAMES = 8  # of a row that was made of several records
_POSITION_BITS = 40  # 10**12 records; the bits above hold the tag of a named source


def tag_of(name: str | None) -> int:
    """A small number for a named source, 0 for an unnamed one: mixed sources share positions, not keys."""
    return 0 if name is None else (zlib.crc32(name.encode()) & 0x3FFFFF) or 1


def key_of(position: int, tag: int = 0) -> np.int64:
    """The int64 that travels with the record at ``position``."""
    return np.int64(position | (tag << _POSITION_BITS))


@dataclass(frozen=True, slots=True)
class RecordNames:
    """Turns travelling keys back into names.

    Attributes:
        sources: by tag, the source that can name its records.
        unique: whether every key of a known source belongs to one element; not after a flat map, for example.
    """

    sources: Mapping[int, KeyedSource]
    unique: bool = True

    def position(self, key: Any) -> str | None:
        """The key as text where it identifies a record; None without one, and where its source is not known."""
        keys = [] if key is None else _keys(key)
        if len(keys) != 1 or not self.unique:
            return None
        tag, position = divmod(keys[0], 1 << _POSITION_BITS)
        source = self.sources.get(tag)
        # A list says nothing of itself but its length: two of them would share their positions.
        return str(source.whole_key(position)) if source is not None and source.is_identified else None

    def name(self, key: Any) -> str | None:
        """Returns the record's name; None without a key.

        Where the source is not known (it was made inside a map) the name is the position, after the tag of a source
        that has a name: so the records of two named sources have different names. A row that was made of several
        records (``[devices, batch]``) has the names of all, at most 8.
        """
        if key is None:
            return None
        keys = _keys(key)
        shown = ", ".join(map(self._name, keys[:_MOST_NAMES])) + ", ..." * (len(keys) > _MOST_NAMES)
        return shown or None

    def _name(self, key: int) -> str:
        tag, position = divmod(key, 1 << _POSITION_BITS)
        source = self.sources.get(tag)
        if source is None:
            return f"source-{tag:06x}/{position}" if tag else str(position)
        return source.record_key(position)

    def name_of(self, record: Any, path: str | None) -> str | None:
        """The name of ``record``: by the feature at ``path``, else by its key; None without both."""
        own = own_name(record, path)
        return self.name(key_in(record)) if own is None else own


def _keys(key: Any) -> list[int]:
    """The keys in a row: one, or several where a map reshaped the batch."""
    return [int(one) for one in np.asarray(key).reshape(-1).tolist()]


def own_name(element: Any, path: str | None) -> str | None:
    """What the feature at ``path`` calls a record; None where that feature is absent or not a single value.

    >>> own_name({"id": b"img_7"}, "id"), own_name({"id": np.int64(7)}, "id"), own_name({}, "id")
    ('img_7', '7', None)
    """
    value: Any = None if path is None else tree.get(element, path)
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = cast("Any", value).item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, str | int) else None


def key_in(element: Any, row: int | None = None) -> Any:
    """The travelling key in ``element`` (or in its ``row``), or None."""
    key = _feature(element, KEY)
    return key if key is None or row is None else key[row]


def reason_in(element: Any) -> str | None:
    """Returns why ``element`` could not be read; None if it was read."""
    return _feature(element, UNREADABLE)


def _feature(element: Any, name: str) -> Any:
    features: Any = element
    return features.get(name) if type(element) is dict or isinstance(element, Mapping) else None


class KeyedSource:
    """A random-access source whose records carry their position. Made by ``keyed``."""

    def __init__(
        self,
        source: Any,
        name: str | None = None,
        parse: Callable[[Any], Any] | None = None,
        on_unreadable: OnUnreadable = "raise",
    ) -> None:
        self.source = source
        self.name = name
        self.tag = tag_of(name)
        self._tag_bits = int(key_of(0, self.tag))
        self.identity = uuid.uuid4().hex  # of this source and its copies, which Grain makes for threads and workers
        self.on_unreadable = on_unreadable
        self._parse = parse

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: Any) -> dict[str, Any]:
        # Runs once a record, where np.int64(position) alone would take half the time; batching makes int64 of the int.
        record: Any
        try:
            record = self.source[position]
            if self._parse is not None:
                record = self._mapping(self._parse(record))
        except Exception as error:
            if isinstance(error, StopIteration) and self.on_unreadable == "raise":  # within next, it ends the stream
                raise RuntimeError(f"record {position} cannot be read: StopIteration was raised") from error
            if self.on_unreadable == "raise":
                raise
            record = {UNREADABLE: f"{type(error).__name__}: {error}"[:_MAX_REASON]}
        with_key: dict[str, Any] = record.copy() if record.__class__ is dict else dict(self._mapping(record))
        with_key[KEY] = (position if position.__class__ is int else int(position)) | self._tag_bits
        return with_key

    def _mapping(self, record: Any) -> Mapping[str, Any]:
        if isinstance(record, Mapping):
            return cast("Mapping[str, Any]", record)
        kind = type(record).__name__
        if self._parse is not None:
            raise UsageError(
                f"keyed() adds the record key to dict records, and parse= returned {kind}; return a dict from it"
            )
        raise UsageError(
            f"keyed() adds the record key to dict records, and the source yields {kind}; turn a "
            "record into a dict within keyed(), not in a later map: keyed(source, parse=decode)"
        )

    def __repr__(self) -> str:
        return repr(self.source)  # Grain compares it to the one in a checkpoint made before the source was keyed

    def whole_key(self, position: int) -> int:
        """The key of the record at ``position``, in the whole source where this one is a selection."""
        inner: Callable[[int], int] | None = getattr(self.source, "whole_key", None)
        if inner is None:
            return position | self._tag_bits
        key = inner(position)
        return key if self.name is None else key & ((1 << _POSITION_BITS) - 1) | self._tag_bits

    @property
    def is_identified(self) -> bool:
        """Whether ``source_id`` identifies this source: not for an unnamed list or array, for example."""
        if self.name is None and hasattr(self.source, "is_identified"):
            return bool(self.source.is_identified)
        return self.name is not None or source_names.is_identified(self.source)

    @property
    def source_id(self) -> str:
        """Identifies this source in every process: its name, its fingerprint, its files, or its ``repr``."""
        return source_names.source_id(self.source) if self.name is None else self.name

    def record_key(self, position: int) -> str:
        """``file__index`` where the source knows its files, else the position; after the name of a named source."""
        key = source_names.record_key(self.source, position)
        return key if self.name is None else f"{self.name}/{key}"


def require_random_access(source: Any, caller: str) -> None:
    """Refuses a source whose records cannot be read by position.

    Raises:
        UsageError: it has no ``__len__`` or ``__getitem__``, or is a class in place of an instance, a path or bytes.
    """
    if isinstance(source, str | bytes):
        raise UsageError(
            f"{caller} takes a random-access source of records, not {type(source).__name__}; open the file, such as "
            "with grain.sources.ArrayRecordDataSource(path)"
        )
    if isinstance(source, type) or not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
        found = f"the class {source.__name__}" if isinstance(source, type) else type(source).__name__
        raise UsageError(f"{caller} takes a random-access source with __len__ and __getitem__, not {found}")


def keyed(
    source: Any,
    *,
    name: str | None = None,
    parse: Callable[[Any], Any] | None = None,
    on_unreadable: OnUnreadable = "raise",
) -> KeyedSource:
    """Adds a record key to each record of ``source``, so that a bad record can be named.

    One int64 a record; it becomes ``file__index`` only when a record is written, and the guard takes it off. The
    ``repr`` stays that of ``source``, so checkpoints made without it load.

    Args:
        source: a random-access source of dict records (``tfds.data_source``, ``label_guard.tfds.source``, a list...).
        name: what to call it; needed where several keyed sources are mixed.
        parse: turns a raw record (bytes) into a dict.
        on_unreadable: ``raise``: an error of the source or of ``parse`` goes on as it is. ``quarantine``: the record
            becomes an element that holds only its key and, as ``label_guard_unreadable``, the reason; the guard counts
            it under LG120 and never delivers it. Maps on the way there must pass such an element on.

    Raises:
        UsageError: the source has no random access, ``on_unreadable`` is unknown, ``parse`` is not a function, or
            ``name`` is not text.

    >>> source = keyed([b"3", b"x"], parse=lambda raw: {"label": int(raw)}, on_unreadable="quarantine")
    >>> source[0]["label"], source[1]["label_guard_unreadable"]
    (3, "ValueError: invalid literal for int() with base 10: b'x'")
    """
    if isinstance(source, Mapping):
        first = next(iter(cast("Mapping[Any, Any]", source)), "train")
        raise UsageError(f"keyed() takes the source of one split, not a dict of splits: keyed(source[{first!r}])")
    require_random_access(source, "keyed()")
    if name is not None and (not isinstance(cast("object", name), str) or not name):
        raise UsageError(f"name is {name!r}; it must be a string or None")
    if on_unreadable not in get_args(OnUnreadable):
        raise UsageError(f"on_unreadable is {on_unreadable!r}; choose one of {', '.join(get_args(OnUnreadable))}")
    if parse is not None and not callable(cast("object", parse)):
        raise UsageError(f"parse is {parse!r}; it must be a function of one raw record that returns a dict, or None")
    return KeyedSource(source, name, parse, on_unreadable)
