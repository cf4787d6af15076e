"""Does a batch satisfy its schema? Pure NumPy: no I/O, no framework."""

from label_guard.check.guard import Guard
from label_guard.check.result import CheckResult

__all__ = ["CheckResult", "Guard"]
