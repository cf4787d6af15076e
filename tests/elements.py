"""Elements that are not dicts, for the tests of every package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """An element as a named tuple."""

    x: Any
    y: Any


@dataclass(frozen=True)
class Example:
    """An element as a dataclass."""

    x: Any
    y: Any
