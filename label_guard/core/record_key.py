"""The order of record keys: as people count, so that ``file__9`` comes before ``file__10``."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"([0-9]+)")


def natural_order(key: str) -> list[str | tuple[int, str]]:
    """Sort key of a record key: runs of digits compare by value, everything else as text.

    >>> sorted(["f-2__10", "f-2__9", "f-10__1", "7"], key=natural_order)
    ['7', 'f-2__9', 'f-2__10', 'f-10__1']
    """
    parts = _DIGITS.split(key)
    # Digits stay text, because int() refuses more than 4,300 of them.
    return [(len(digits := part.lstrip("0")), digits) if number % 2 else part for number, part in enumerate(parts)]
