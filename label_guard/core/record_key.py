"""The order of record keys: as people count, so that ``file__9`` comes before ``file__10``."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"[0-9]+")


def natural_order(key: str) -> str:
    """Sort key of a record key: runs of digits compare by value, everything else as text.

    >>> sorted(["f-2__10", "f-2__9", "f-10__1", "7"], key=natural_order)
    ['7', 'f-2__9', 'f-2__10', 'f-10__1']
    """
    return _DIGITS.sub(_with_length, key)


def _with_length(match: re.Match[str]) -> str:
    """A number after its length: the longer one is the greater one. int() refuses more than 4,300 digits."""
    digits = match[0].lstrip("0")
    return f"{chr(min(len(digits), 0x10FFFF))}{digits}"
