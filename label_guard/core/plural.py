"""A number and its noun."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun; ``plural`` where the noun takes more than an ``s``.

    >>> counted(1, "error"), counted(2000, "error"), counted(2, "class", "classes")
    ('1 error', '2,000 errors', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def times(count: int) -> str:
    """How often something occurs.

    >>> times(1), times(2000)
    ('once', '2,000 times')
    """
    return "once" if count == 1 else f"{count:,} times"
