"""A source of some records of another: by position, by key, or by the index file of an audit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import spec_text
from label_guard.core.files import open_regular, read_text
from label_guard.core.plural import counted
from label_guard.errors import UsageError
from label_guard.pipeline.record_keys import KeyedSource, require_random_access


class SelectedRecords:
    """A source of some records of another. Made by ``select_records``."""

    def __init__(self, source: Any, positions: NDArray[np.int64]) -> None:
        self.source = source
        self._names = source if isinstance(source, KeyedSource) else KeyedSource(source)
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, position: Any) -> Any:
        return self.source[int(self._positions[position])]

    def whole_key(self, position: int) -> int:
        """The key of the record at ``position`` in the whole source: the record keeps its identity."""
        return self._names.whole_key(int(self._positions[position]))

    @property
    def is_identified(self) -> bool:
        """Whether ``source_id`` identifies the whole source."""
        return self._names.is_identified

    @property
    def source_id(self) -> str:
        """That of the whole source: its records keep their identity."""
        return self._names.source_id

    def record_key(self, position: int) -> str:
        """The name of the record in the source it was selected from."""
        return self._names.record_key(int(self._positions[position]))

    def __repr__(self) -> str:
        chosen = hashlib.sha256(self._positions.tobytes()).hexdigest()[:16]
        return f"SelectedRecords({self.source!r}, {len(self)} of {len(self.source)}, {chosen})"


def select_records(
    source: Any, records: Sequence[str] | Sequence[int] | NDArray[Any] | str | os.PathLike[str]
) -> SelectedRecords:
    """Reduces ``source`` to the given records: random access and even shards are kept, and no guard is needed.

    Args:
        source: a random-access source.
        records: positions; or record keys; or the file an audit wrote with ``--good-index`` (``.npz`` or ``.npy`` with
            positions, else a text file with one key a line).

    Raises:
        UsageError: the source has no random access; a position outside of it, a key it does not have, or what is
            neither (a mask); or a file that cannot be read.

    >>> selected = select_records(["a", "b", "c"], [2, 0])
    >>> list(selected), selected.record_key(0)
    (['c', 'a'], '2')
    """
    require_random_access(source, "select_records")
    if isinstance(records, str | os.PathLike):
        chosen: Any = _read_index(os.fspath(records), len(source))
    else:
        chosen = records
    if not hasattr(chosen, "__len__"):
        raise UsageError(f"select_records got {chosen!r} as records; give a list of positions or of keys, or a file")
    if len(chosen) and isinstance(chosen[0], str):
        chosen = _positions_of(source, chosen)
    array = np.asarray(chosen)
    if array.size and (array.ndim != 1 or array.dtype.kind not in "iu"):
        raise UsageError(
            f"select_records got records of {spec_text(array.dtype, array.shape)}; give positions, which are integers "
            "(of a mask: np.flatnonzero(mask)), or keys"
        )
    positions = array.astype(np.int64)
    if len(positions) and not (positions.min() >= 0 and positions.max() < len(source)):
        raise UsageError(
            f"positions {positions.min()}..{positions.max()} are not all in a source of "
            f"{counted(len(source), 'record')}"
        )
    return SelectedRecords(source, positions)


def _positions_of(source: Any, keys: Sequence[str]) -> list[int]:
    names = source if isinstance(source, KeyedSource) else KeyedSource(source)
    places = {names.record_key(position): position for position in range(len(source))}
    # A file that passed through an editor of Windows: a mark at its start, a carriage return at the end of each line.
    keys = [key if key in places else key.removeprefix("\ufeff").removesuffix("\r") for key in keys]
    unknown = [key for key in keys if key not in places]
    if unknown:
        begin = "" if names.name is None else f", which begin with '{names.name}/'"
        raise UsageError(
            f"the source has no record {unknown[0]!r} ({len(unknown)} of {counted(len(keys), 'key')} unknown); "
            f"pass only the keys of this source{begin}; for records named by a record_key pass their positions "
            "(label-guard quarantine recheck --keys FILE.npy)"
        )
    return [places[key] for key in keys]


def _read_index(path: str, size: int) -> Sequence[Any] | NDArray[Any]:
    try:
        if not path.endswith((".npy", ".npz")):
            return [key for key in read_text(path).split("\n") if key.strip("\r")]
        with open_regular(path):  # a pipe would block
            loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return cast("NDArray[Any]", loaded)
        positions, made_for = loaded["positions"], int(loaded["num_records"]) if "num_records" in loaded else size
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"cannot read record keys from {path}: {error}") from error
    if made_for != size:
        raise UsageError(f"{path} was made for a source of {counted(made_for, 'record')}, not of {size:,}")
    return cast("NDArray[Any]", positions)
