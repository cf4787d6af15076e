"""A number and its noun, as people read them."""

from __future__ import annotations

import math
import struct
import sys

_WHOLE = 2**64  # beyond it no dtype holds whole numbers: it is the value of a float


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun; ``plural`` where that is not made by an ``s`` or ``es``, as of a noun with its verb.

    >>> counted(1, "error"), counted(2000, "error"), counted(2, "class"), counted(2, "value is", "values are")
    ('1 error', '2,000 errors', '2 classes', '2 values are')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + ('es' if noun.endswith('s') else 's')}"


def agreed(number: int, singular: str, plural: str) -> str:
    """The form of a verb that agrees with the number before "of".

    >>> [f"{n} of {counted(10, 'class')} {agreed(n, 'is', 'are')} never used" for n in (1, 2)]
    ['1 of 10 classes is never used', '2 of 10 classes are never used']
    """
    return singular if number == 1 else plural


def number(value: object) -> str:
    """A number of the data without the digits that its float32 does not have; what is not a number as it is.

    >>> number(0.30000001192092896), number(2.0), number(7), number(1 / 3), number(10**308)
    ('0.3', '2.0', '7', '0.333333333333', '1e+308')
    """
    if isinstance(value, int) and _WHOLE < abs(value) <= sys.float_info.max:
        return f"{float(value):.12g}"
    if not isinstance(value, float) or value.is_integer() or not math.isfinite(value):
        return str(value)
    if _single(value) != value:
        return f"{value:.12g}"
    return next(text for digits in range(1, 10) if _single(float(text := f"{value:.{digits}g}")) == value)


def _single(value: float) -> float:
    """The nearest float32; infinity where it overflows."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf


def times(count: int) -> str:
    """How often something occurs.

    >>> times(1), times(2000)
    ('once', '2,000 times')
    """
    return "once" if count == 1 else f"{count:,} times"
