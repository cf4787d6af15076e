"""Record keys: one int64 position travels with a record and becomes a name only when a record is written."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from label_guard.errors import UsageError

KEY = "label_guard_key"
_POSITION_BITS = 40  # 10**12 records; the bits above hold the tag of a named source


class NamesRecords(Protocol):
    """A source that can name the record at a position."""

    def record_key(self, position: int) -> str:
        """The name of the record, such as ``file__index``."""
        ...


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
    """

    sources: Mapping[int, NamesRecords]

    def name(self, key: Any) -> str | None:
        """The record's name; its position where no source can tell more; None without a key."""
        if key is None:
            return None
        tag, position = divmod(int(key), 1 << _POSITION_BITS)
        source = self.sources.get(tag)
        return str(position) if source is None else source.record_key(position)


def key_in(element: Any, row: int | None = None) -> Any:
    """The travelling key in ``element`` (or in its ``row``), or None."""
    key = element.get(KEY) if isinstance(element, Mapping) else None
    if key is None or row is None:
        return key
    keys: Sequence[Any] | np.ndarray[Any, Any] = key
    return keys[row]


class KeyedSource:
    """A random-access source whose records carry their position. Made by ``keyed``."""

    def __init__(self, source: Any, name: str | None, parse: Callable[[Any], Any] | None) -> None:
        self.source = source
        self.name = name
        self.tag = tag_of(name)
        self._parse = parse

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: Any) -> dict[str, Any]:
        record = self.source[position]
        if self._parse is not None:
            record = self._parse(record)
        if not isinstance(record, Mapping):
            raise UsageError(
                f"keyed() adds a feature to dict records; the source yields {type(record).__name__}: pass parse= to "
                "turn it into a dict"
            )
        return {**record, KEY: key_of(int(position), self.tag)}

    def __repr__(self) -> str:
        return repr(self.source)  # Grain compares it to the one in a checkpoint made before the source was keyed

    @property
    def source_id(self) -> str:
        """What tells this source from another: its name, else its files, else its repr."""
        if self.name is not None:
            return self.name
        own = getattr(self.source, "source_id", None)
        return str(own) if own is not None else source_digest(_file_names(self.source) or [repr(self.source)])

    def record_key(self, position: int) -> str:
        """``file__index`` where the source tells, else the position; after the name of a named source."""
        own = getattr(self.source, "record_key", None)
        key = own(position) if own is not None else _array_record_key(self.source, position) or str(position)
        return key if self.name is None else f"{self.name}/{key}"


def _file_names(source: Any) -> list[str]:
    paths = getattr(source, "paths", None)
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths or ())
    return [os.path.basename(os.fspath(p)) for p in listed if isinstance(p, str | os.PathLike)]


def _array_record_key(source: Any, position: int) -> str | None:
    """``file__index`` in an ArrayRecordDataSource, from its read instructions and their running lengths."""
    instructions, ends = getattr(source, "_read_instructions", None), getattr(source, "_prefix_sums", None)
    if not instructions or ends is None:
        return None
    which = int(np.searchsorted(np.asarray(ends), position, "right"))
    start = int(ends[which - 1]) if which else 0
    instruction = instructions[which]
    return f"{os.path.basename(instruction.filename)}__{instruction.start + position - start}"


def keyed(source: Any, *, name: str | None = None, parse: Callable[[Any], Any] | None = None) -> KeyedSource:
    """``source`` with records that carry their position, so that a bad record can be named.

    One int64 a record; it becomes ``file__index`` only when a record is written, and the guard takes it off. The
    ``repr`` stays that of ``source``, so checkpoints made without it load.

    Args:
        source: a random-access source of dict records (``tfds.data_source``, ``label_guard.tfds.source``, a list...).
        name: what to call it; needed where several keyed sources are mixed.
        parse: turns a raw record (bytes) into a dict.
    """
    if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
        raise UsageError(
            f"keyed() takes a random-access source with __len__ and __getitem__, not {type(source).__name__}"
        )
    return KeyedSource(source, name, parse)


class SelectedRecords:
    """A source of some records of another. Made by ``select_records``."""

    def __init__(self, source: Any, positions: np.ndarray[Any, Any]) -> None:
        self.source = source
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, position: Any) -> Any:
        return self.source[int(self._positions[position])]

    def record_key(self, position: int) -> str:
        """The name of the record in the source it was selected from."""
        original = int(self._positions[position])
        own = getattr(self.source, "record_key", None)
        return own(original) if own is not None else _array_record_key(self.source, original) or str(original)

    def __repr__(self) -> str:
        return f"SelectedRecords({self.source!r}, {len(self)} of {len(self.source)}, {source_digest([str(self._positions.tobytes().hex())])})"


def select_records(
    source: Any, records: Sequence[str] | Sequence[int] | np.ndarray[Any, Any] | str | os.PathLike[str]
) -> SelectedRecords:
    """``source`` reduced to the given records: random access and even shards kept, no guard needed.

    Args:
        source: a random-access source.
        records: positions; or record keys; or the file an audit wrote with ``--good-index`` (``.npz`` or ``.npy`` with
            positions, else a text file with one key a line).

    Raises:
        UsageError: a position outside the source, or a key it does not have.
    """
    if isinstance(records, str | os.PathLike):
        records = _read_index(os.fspath(records))
    chosen = list(records)
    if chosen and isinstance(chosen[0], str):
        names = KeyedSource(source, None, None)
        places = {names.record_key(position): position for position in range(len(source))}
        unknown = [key for key in chosen if key not in places]
        if unknown:
            raise UsageError(
                f"the source has no record {unknown[0]!r} ({len(unknown)} of {len(chosen)} keys are unknown)"
            )
        chosen = [places[str(key)] for key in chosen]
    positions = np.asarray(chosen, np.int64)
    if len(positions) and not (positions.min() >= 0 and positions.max() < len(source)):
        raise UsageError(f"positions {positions.min()}..{positions.max()} are not in a source of {len(source)} records")
    return SelectedRecords(source, positions)


def _read_index(path: str) -> Any:
    if path.endswith((".npy", ".npz")):
        loaded: Any = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else loaded["positions"]
    return Path(path).read_text(encoding="utf-8").split("\n")[:-1]


def source_digest(names: Sequence[str]) -> str:
    """The id of a source made of the named files: 16 hex digits."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
