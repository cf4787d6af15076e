"""Invalid records, as tests of the quarantine write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from label_guard.quarantine import BadRecord, Origin
from label_guard.rules.violation import Violation

ORIGIN = Origin("digits", "1.0.0", "d1", "train", None, "s1")


def bad(record: str | None, label: Any = 10, rule: str = "LG101", **features: Any) -> BadRecord:
    """A record whose ``label`` broke ``rule``; a label that is not a number or text is reported as 10."""
    number = int(label) if isinstance(label, int | np.integer) else 10
    value = label if isinstance(label, str) else number
    found = Violation("label", rule, value, "[0, 10)", record=record)
    return BadRecord(record, {"label": label, **features}, {"label": label}, (found,), position=record)


def unsealed(line: bytes) -> bytes:
    """A line of a part without its checksum and line break."""
    return line.partition(b',"crc":')[0] + b"}"
