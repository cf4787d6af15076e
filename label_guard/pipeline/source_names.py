"""How the sources of other packages name themselves and their records, without importing those packages.

All that they keep private and this package reads is here: the one file to look at when they change. Tested with
``TESTED_VERSIONS``. Where an attribute is missing, a record is named by its position.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

TESTED_VERSIONS = {"array-record": ("0.8.1", "0.8.6"), "datasets": ("5.2.0",)}


def is_identified(source: Any) -> bool:
    """Whether ``source_id`` identifies ``source`` in every process: not for a list or an array, for example."""
    known = getattr(source, "source_id", None) is not None or _fingerprint(source) is not None
    return known or bool(_file_names(source)) or not _is_opaque(source)


def source_id(source: Any) -> str:
    """Identifies a source: what it calls itself, its fingerprint, its files, or its ``repr``."""
    own = getattr(source, "source_id", None)
    own = _fingerprint(source) if own is None else str(own)
    return own or source_digest(_file_names(source) or [_described(source)])


def record_key(source: Any, position: int) -> str:
    """``file__index`` where ``source`` knows its files, else the position."""
    own = getattr(source, "record_key", None)
    return own(position) if own is not None else _array_record_key(source, position) or str(position)


def source_digest(names: Sequence[str]) -> str:
    """The id of a source made of the named files: 16 hex digits."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _fingerprint(source: Any) -> str | None:
    """That of a Hugging Face dataset: two tables may have one repr."""
    found = getattr(source, "_fingerprint", None)
    return found if isinstance(found, str) else None


def _is_opaque(source: Any) -> bool:
    """Whether ``repr(source)`` shows its whole content, or an address in memory."""
    kind: Any = source.__class__
    return kind in (list, tuple, np.ndarray) or kind.__repr__ is object.__repr__


def _described(source: Any) -> str:
    kind: Any = source.__class__
    return f"{kind.__module__}.{kind.__qualname__}[{len(source)}]" if _is_opaque(source) else repr(source)


def _base_name(path: Any) -> str:
    name = cast("str", os.fspath(path))
    return name.rpartition("/")[2]


def _file_names(source: Any) -> list[str]:
    paths: Any = getattr(source, "paths", None)
    listed: list[Any] = [paths] if isinstance(paths, str | os.PathLike) else list(paths or ())
    return [_base_name(path) for path in listed if isinstance(path, str | os.PathLike)]


def _array_record_key(source: Any, position: int) -> str | None:
    """``file__index`` in an ArrayRecordDataSource, from its read instructions and their running lengths."""
    instructions, ends = getattr(source, "_read_instructions", None), getattr(source, "_prefix_sums", None)
    if not instructions or ends is None:
        return None
    which = int(np.searchsorted(np.asarray(ends), position, "right"))
    start = int(ends[which - 1]) if which else 0
    instruction = instructions[which]
    return f"{_base_name(instruction.filename)}__{instruction.start + position - start}"
