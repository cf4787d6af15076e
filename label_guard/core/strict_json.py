"""JSON that every reader takes alike: it has no NaN, a number may be held as a double, and a key is there once."""

from __future__ import annotations

import json
from typing import Any, NoReturn

EXACT = 2**53  # up to here a double holds every integer
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_DECIMAL_BITS = 4096  # Python refuses decimal text beyond 4,300 digits, in both directions; hexadecimal has no limit


def is_exact(value: float) -> bool:
    """Whether JSON holds ``value`` exactly for every reader."""
    return abs(value) <= EXACT  # False for NaN


def integer_text(value: int) -> str:
    """Returns an integer of any size as text that ``int(text, 0)`` reads."""
    return str(int(value)) if value.bit_length() < _DECIMAL_BITS else hex(value)


def strict_json(value: int | float | str | None) -> int | float | str | None:
    """Returns ``value``, as text where it is a number that JSON does not hold exactly.

    >>> strict_json(7), strict_json(2**53 + 1), strict_json(float("nan")), strict_json("cat")
    (7, '9007199254740993', 'nan', 'cat')
    """
    if not isinstance(value, int | float) or is_exact(value):
        return value
    return integer_text(value) if isinstance(value, int) else str(value)


def to_json(value: Any) -> bytes:
    """``value`` as strict JSON in ASCII."""
    return _ENCODER.encode(value).encode("ascii")


def refuse_constant(name: str) -> NoReturn:
    """For ``parse_constant``: refuses NaN and infinities, which Python's json takes for numbers."""
    raise ValueError(f"{name} is not a JSON number")


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``object_pairs_hook``: refuses a doubled key, of which json keeps the last and other readers the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return found
