"""The folder of invalid records: write, read back once, export, recheck, compact, replay.

Names are loaded on use, so that importing one of them does not import the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from label_guard.quarantine.compact import compact_quarantine as compact_quarantine
    from label_guard.quarantine.line import LineProblem as LineProblem
    from label_guard.quarantine.line import QuarantineEntry as QuarantineEntry
    from label_guard.quarantine.options import BadRecord as BadRecord
    from label_guard.quarantine.options import Origin as Origin
    from label_guard.quarantine.options import QuarantineOptions as QuarantineOptions
    from label_guard.quarantine.reader import QuarantineContents as QuarantineContents
    from label_guard.quarantine.reader import read_quarantine as read_quarantine
    from label_guard.quarantine.replay_source import replay as replay
    from label_guard.quarantine.summary import summarize_quarantine as summarize_quarantine
    from label_guard.quarantine.writer import QuarantineWriter as QuarantineWriter

_HOMES = {
    "BadRecord": "options",
    "LineProblem": "line",
    "Origin": "options",
    "QuarantineContents": "reader",
    "QuarantineEntry": "line",
    "QuarantineOptions": "options",
    "QuarantineWriter": "writer",
    "compact_quarantine": "compact",
    "read_quarantine": "reader",
    "replay": "replay_source",
    "summarize_quarantine": "summary",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'label_guard.quarantine' has no attribute {name!r}")
    return getattr(importlib.import_module(f"label_guard.quarantine.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
