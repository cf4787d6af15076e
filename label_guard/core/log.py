"""The logger of this package: names, keys and values that a line quotes were written by others, and are escaped."""

from __future__ import annotations

import logging

from label_guard.core.escape import lines, terminal


class _Escape(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_escaped, record.args))
        return True


def _escaped(value: object) -> object:
    if isinstance(value, int | float):
        return value
    return lines(str(value)) if isinstance(value, Exception) else terminal(str(value))


logger = logging.getLogger("label_guard")
logger.addFilter(_Escape())
