"""A number and its noun."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun; ``plural`` where the noun takes more than an ``s``.

    >>> counted(1, "error"), counted(2000, "error"), counted(2, "class", "classes")
    ('1 error', '2,000 errors', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
