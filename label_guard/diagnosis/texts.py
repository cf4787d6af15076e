"""What text in place of numbers is: a number, a name, or nothing."""

from __future__ import annotations

from typing import Any


def as_text(value: Any) -> str | None:
    """``value`` where it is text."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None


def kind_of_text(value: str) -> str:
    """``number``, ``name`` or ``blank``."""
    if not value.strip():
        return "blank"
    try:
        return "number" if float(value) == float(value) else "name"
    except ValueError:
        return "name"
