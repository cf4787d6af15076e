"""An audit on a terminal: the text report in colour, with a small histogram of each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from label_guard.audit.report import AuditReport, SplitReport
from label_guard.core.escape import terminal
from label_guard.core.plural import counted
from label_guard.diagnosis.class_counts import exact_ids
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.report.audit_text import Line, text_lines
from label_guard.report.screen import show_lines
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = 60
_MOST_BARS = 12  # classes that have a bar each
_MOST_CHARACTERS = 30  # of a class name
_LEVELS = "▁▂▃▄▅▆▇█"
_EIGHTHS = "▏▎▍▌▋▊▉"


def show_audit(console: Console, report: AuditReport) -> None:
    """Prints an audit."""

    def histograms(split: SplitReport) -> Iterator[Line]:
        return iter(()) if console.options.ascii_only else _histograms(report, split, console.width)

    show_lines(console, text_lines(report, histograms))


def _histograms(report: AuditReport, split: SplitReport, width: int) -> Iterator[Line]:
    """A bar for each class of a few, a line of blocks for many classes and for numbers."""
    for path, label in report.schema_file.stored(split.split).items():
        found = split.labels[path]
        if isinstance(label, ClassLabel | MultiLabel) and label.num_classes <= _MOST_BARS:
            yield from _bars(terminal(path), label, found, width)
            continue
        heights = _class_heights(label, found) if isinstance(label, ClassLabel | MultiLabel) else _number_heights(found)
        if any(heights):
            yield Line(f"  {terminal(path)}  {_blocks(heights)}  {_range(label, found)}", "cause")


def _bars(path: str, label: ClassLabel | MultiLabel, stats: LabelStatistics, width: int) -> Iterator[Line]:
    rows: list[tuple[str, int]] = []
    for place, raw in enumerate(label.raw_ids):
        name = f" {label.class_names[place]}" if label.class_names else ""
        rows.append((terminal(f"{raw}{name}")[:_MOST_CHARACTERS], stats.class_counts[raw]))
    most = max((count for _, count in rows), default=0)
    if not most:
        return
    yield Line(f"  {path}", "title")
    names, digits = max(len(name) for name, _ in rows), len(f"{most:,}")
    room = max(8, min(50, width - names - digits - 9))
    for name, count in rows:
        eighths = max(1, round(8 * room * count / most)) if count else 0
        bar = "█" * (eighths // 8) + ("", *_EIGHTHS)[eighths % 8]
        yield Line(f"    {name:<{names}}  {bar:<{room}} {count:>{digits},}", "cause")


def _class_heights(label: ClassLabel | MultiLabel, stats: LabelStatistics) -> list[float]:
    """Occurrences of neighbouring classes, in columns of equal numbers of classes."""
    ids, counts = stats.class_counts.arrays()
    raw = label.raw_ids
    gaps = None if isinstance(raw, range) else np.sort(exact_ids(np.array(raw, np.object_)))
    places = ids - raw[0] if gaps is None else np.searchsorted(gaps, ids)
    columns = min(_COLUMNS, label.num_classes)
    return np.bincount(places.astype(np.int64) * columns // label.num_classes, counts, columns).tolist()


def _number_heights(stats: LabelStatistics) -> list[float]:
    """Occurrences of real numbers, or of the entropies of rows of probabilities, in columns of equal width."""
    numbers = stats.distribution.values if len(stats.distribution.values.counts) else stats.distribution.entropy
    bins = np.array(list(numbers.bins())).reshape(-1, 3)
    if not len(bins) or bins[0, 0] == bins[-1, 1]:
        return []
    middles = (bins[:, :2] / 4).mean(axis=1)  # a quarter: neither a sum nor the whole range overflows
    return np.histogram(middles, _COLUMNS, weights=bins[:, 2])[0].tolist()


def _blocks(heights: Sequence[float]) -> str:
    most = max(heights)
    return "".join(" " if not height else _LEVELS[min(7, int(8 * height / most))] for height in heights)


def _range(label: Label, stats: LabelStatistics) -> str:
    if isinstance(label, ClassLabel | MultiLabel):
        return f"{counted(label.num_classes, 'class')} in order of the ids"
    if isinstance(label, RealLabel) and stats.low is not None and stats.high is not None:
        return f"{stats.low:g} to {stats.high:g}"
    return "entropy of rows, certain ones on the left"
