"""The folder of invalid records: write, read back once, export, recheck, compact, replay."""

from label_guard.quarantine.compact import compact_quarantine
from label_guard.quarantine.line import LineProblem, QuarantineEntry
from label_guard.quarantine.options import BadRecord, Origin, QuarantineOptions
from label_guard.quarantine.reader import QuarantineContents, read_quarantine
from label_guard.quarantine.replay_source import replay
from label_guard.quarantine.summary import summarize_quarantine
from label_guard.quarantine.writer import QuarantineWriter

__all__ = [
    "BadRecord",
    "LineProblem",
    "Origin",
    "QuarantineContents",
    "QuarantineEntry",
    "QuarantineOptions",
    "QuarantineWriter",
    "compact_quarantine",
    "read_quarantine",
    "replay",
    "summarize_quarantine",
]
