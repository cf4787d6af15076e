"""Numbers that every JSON reader takes alike: JSON has no NaN, and a reader may hold every number as a double."""

from __future__ import annotations

EXACT = 2**53  # up to here a double holds every integer
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
