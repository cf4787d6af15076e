"""Renders an audit as one HTML file: readable without script, nothing loaded, everything from the data escaped."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from label_guard.audit.report import AuditReport, ShardReport, SplitReport
from label_guard.audit.suggest import patch_yaml, suggest
from label_guard.core.escape import terminal
from label_guard.core.plural import agreed, counted, number
from label_guard.diagnosis.illegal import IllegalValue
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.report.charts import (
    HEIGHT,
    MAX_BARS,
    WIDTH,
    Chart,
    Line,
    block_strip,
    class_charts,
    comparison,
    ranges,
    strip,
)
from label_guard.report.common import percent
from label_guard.report.number_charts import MAX_GRID, HistogramView, histogram_view, pair_grid, rank_chart
from label_guard.rules.registry import RULES
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel
from label_guard.schema.writer import flow, quoted

MAX_ROWS = 100  # classes of one table; above it the most frequent, the rarest and the unused ones are listed
_HEAD = 25  # rows of the most frequent and of the rarest classes
_SKEWED = 20  # times the mean count: from there on the bars of most classes are flat on a linear scale
_VOCABULARY = 1000  # classes; above it the counts are drawn by rank, as those of words
_NEAR = 4  # ids on both sides of the limit of a vocabulary
_MOST_IDS = 1 << 20  # classes that are gone through one by one; of more only those in use
_MAX_ILLEGAL = 40  # invalid values of one label
_MAX_DRAWN = 10  # labels with charts on one page: the four charts of one take up to 90 kB
_MAX_LINES = 6  # splits in one comparison
_MAX_FILES = 200
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*")


# Its caption; id, name, positions, records and share of each class, the share of a multi_label that of records; and
# whether a class is at several positions of one record.
ClassTable = tuple[str, list[tuple[int, str, int, int, float]], bool]


def render(report: AuditReport) -> str:
    """The whole page, without a newline at its end."""
    environment = Environment(
        loader=PackageLoader("label_guard", "report"), autoescape=True, undefined=StrictUndefined, finalize=_visible,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    rules = sorted({finding.rule for finding in report.findings})
    suggestion = suggest(report)
    page = environment.get_template("audit.html.j2").render(
        report=report,
        verdict=_verdict(report),
        tiles=_tiles(report),
        suggestion=patch_yaml(suggestion).split("\n") if suggestion.patch else [],
        splits=_split_views(report),
        comparisons=list(_comparisons(report)),
        rules=[RULES[code] for code in rules],
        names={code: RULES[code].name for code in rules},
        percent=percent,
        number=number,
        command=_command(report),
        quoted=quoted,
        flow=flow,
        block_strip=block_strip,
        counted=counted,
        width=WIDTH,
        height=HEIGHT,
        max_bars=MAX_BARS,
    )
    return page.rstrip("\n")


def _visible(value: Any) -> Any:
    """Control, bidirectional and invisible characters of the data as escapes; markup of the page as it is."""
    return terminal(value) if isinstance(value, str) and not isinstance(value, Markup) else value


# The top of the page --------------------------------------------------------------------------------------------------


def _verdict(report: AuditReport) -> tuple[str, str]:
    """CSS class and sentence."""
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    if not report.findings:
        if report.complete:
            return "good", "✓ Every label is as the schema declares it"
        return "error", "⚠ Nothing was found, but not all records were read"
    found = [counted(errors, "error") if errors else "No errors"]
    found += [counted(warnings, "warning")] if warnings else []
    records = sum(split.unpadded for split in report.splits)
    bad = sum(split.invalid + split.unreadable for split in report.splits)
    share = f": {bad:,} of {counted(records, 'record')} {agreed(bad, 'is', 'are')} invalid" if bad else ""
    return ("error", "✗ " + " and ".join(found) + share) if errors else ("warning", "! " + ", ".join(found) + share)


def _tiles(report: AuditReport) -> list[tuple[str, str, str]]:
    """Caption, number and CSS class of each tile."""
    splits = report.splits
    bad = sum(split.invalid + split.unreadable for split in splits)
    rules = {finding.rule for finding in report.findings}
    unused = _unused_anywhere(report)
    tiles = [
        ("records", f"{sum(split.unpadded for split in splits):,}", ""),
        ("invalid records", f"{bad:,}", "error" if bad else "good"),
        ("rules broken", f"{len(rules):,}", _verdict(report)[0]),
        ("splits", f"{len(splits):,}", ""),
    ]
    padding = sum(split.padding for split in splits)
    if padding:
        tiles.insert(1, ("padding, not checked", f"{padding:,}", ""))
    if unused is not None:
        caption = "classes never used" if len(splits) == 1 else "classes unused in a split"
        state = "warning" if "LG403" in rules else "" if unused else "good"
        tiles.insert(-1, (caption, f"{unused:,}", state))
    return tiles


def _unused_anywhere(report: AuditReport) -> int | None:
    """The number of classes that some split does not use, each counted once; None where no class was counted."""
    used: dict[str, tuple[Sequence[int], set[int]]] = {}
    for split in report.splits:
        for path, label in report.schema_file.stored(split.split).items():
            counts = split.labels[path].class_counts
            if counts and (ids := label.raw_ids):
                legal = label.id_set
                found = {raw for raw, count in counts.items() if count and raw in legal}
                used[path] = ids, found & used[path][1] if path in used else found
    return sum(len(ids) - len(found) for ids, found in used.values()) if used else None


def _command(report: AuditReport) -> str:
    """The command of this audit, without an option that keeps what was found."""
    words = ["label-guard", "audit", report.schema_place.path if report.schema_place else "SCHEMA"]
    declared = {name: split.source for name, split in report.schema_file.splits.items()}
    given = {split.source.uri for split in report.splits if split.source.uri != declared.get(split.split or "")}
    words += ["--source", *given] if len(given) == 1 else []
    if len(report.splits) < len(declared):
        words += [word for split in report.splits for word in ("--split", split.split or "")]
    return shlex.join(words)


# Splits ---------------------------------------------------------------------------------------------------------------


def _split_views(report: AuditReport) -> list[dict[str, Any]]:
    """What the page shows of each split, apart from its report."""
    left = _MAX_DRAWN
    views: list[dict[str, Any]] = []
    for place, split in enumerate(report.splits):
        labels: list[LabelView] = []
        for path, label in report.schema_file.stored(split.split).items():
            labels.append(LabelView(path, label, split.labels[path], draw=left > 0))
            left -= bool(labels[-1].charts)
        dirty = [shard for shard in split.shards if shard.violations or shard.unreadable or shard.error]
        views.append({
            "anchor": f"split-{place}",
            "name": split.split or "(no split)",
            "split": split,
            "bad": split.invalid + split.unreadable,
            "findings": [finding for finding in report.findings if finding.split == split.split],
            "labels": labels,
            "examples": list(_examples(report, split)),
            "broken": sorted({rule for shard in split.shards for rule in shard.violations}),
            "strip": strip([_bad_share(shard) for shard in split.shards]) if dirty and len(split.shards) > 1 else [],
            "shards": dirty[:_MAX_FILES],
            "more_shards": max(0, len(dirty) - _MAX_FILES),
        })  # fmt: skip
    return views


def _bad_share(shard: ShardReport) -> float:
    """Share of invalid records of a file; 1 where it could not be read, at most 1 where a record breaks two rules."""
    if shard.error:
        return 1.0
    bad = max([shard.unreadable, *shard.violations.values()])
    records = shard.records - shard.padding
    return min(1.0, bad / records) if records else 0.0


def _examples(report: AuditReport, split: SplitReport) -> Iterator[dict[str, Any]]:
    pictures = report.thumbnails.get(split.split or "", {})
    for path, found in split.labels.items():
        for rule, kept in sorted(found.examples.items()):
            for example in kept:
                shown = pictures.get(example.record, "")
                is_picture = _PICTURE.fullmatch(shown) is not None
                yield {
                    "key": example.record, "label": path, "rule": rule, "value": number(example.value),
                    "place": list(example.place), "legal": example.legal, "places": example.count,
                    "picture": Markup(shown) if is_picture else "",  # noqa: S704 (matched above)
                    "start": "" if is_picture else shown,
                }  # fmt: skip
    for shard in split.shards:
        for key, reason in shard.unreadable_examples:
            yield {
                "key": key, "label": "", "rule": "LG120", "value": reason, "place": [], "legal": "a readable record",
                "places": 1, "picture": "", "start": "",
            }  # fmt: skip


# Labels ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelView:
    """One label of one split, as the page shows it.

    Attributes:
        path: path of the label.
        label: the label of the schema.
        stats: its statistics.
        draw: whether the page has room for its charts.
    """

    path: str
    label: Label
    stats: LabelStatistics
    draw: bool

    @cached_property
    def ids(self) -> Sequence[int]:
        """Stored ids of the classes; none where the label has none or none was counted."""
        return self.label.raw_ids if self.stats.class_counts else ()

    @cached_property
    def names(self) -> Sequence[str]:
        """Names of the classes, in the order of the ids; or none."""
        return (self.label.class_names or ()) if isinstance(self.label, ClassLabel | MultiLabel) else ()

    @cached_property
    def charts(self) -> Sequence[Chart]:
        """Drawings of the counts; none where nothing was counted or the page has enough of them."""
        if not self.draw or not self.ids:
            return []
        drawn = _drawn(self.ids, self.stats.class_counts)
        charts = class_charts(drawn, self._names_of(drawn), self.stats.class_counts)
        return [*charts[:-1], rank_chart(self.stats.class_counts)] if charts and len(drawn) > _VOCABULARY else charts

    @property
    def skewed(self) -> bool:
        """Whether most bars are flat on a linear scale."""
        return bool(self.ids) and _is_skewed(self.ids, self.stats.class_counts)

    @cached_property
    def unused(self) -> tuple[int, list[str]]:
        """The number of classes that are never used, and the first of them as ranges."""
        ids, counts = self.ids, self.stats.class_counts
        if not isinstance(ids, range):
            unused = [raw for raw in ids if not counts.get(raw)]
            return len(unused), ranges(unused, MAX_ROWS)
        edges = [ids.start - 1, *(raw for raw in sorted(counts) if counts[raw] and raw in ids), ids.stop]
        gaps = [(a + 1, b - 1) for a, b in pairwise(edges) if b - a > 1]
        shown = [f"{a}..{b}" if a < b else str(a) for a, b in gaps[:MAX_ROWS]]
        return len(ids) - len(edges) + 2, [*shown, *(["..."] if len(gaps) > MAX_ROWS else [])]

    @cached_property
    def illegal(self) -> Sequence[tuple[int | float, IllegalValue]]:
        """Invalid values, the rarest first; of many, the rarest and the most frequent ones."""
        found = sorted(self.stats.illegal_values.values.items(), key=lambda pair: (pair[1].positions, pair[0]))
        half = _MAX_ILLEGAL // 2
        return found if len(found) <= _MAX_ILLEGAL else [*found[:half], *found[-half:]]

    @property
    def more_illegal(self) -> int:
        """Positions of invalid values that are not in ``illegal``."""
        return self.stats.illegal_values.positions - sum(one.positions for _, one in self.illegal)

    @property
    def histograms(self) -> list[HistogramView]:
        """Drawings of numbers that are not class ids."""
        label, numbers = self.label, self.stats.distribution
        views: list[HistogramView | None] = []
        if self.draw and isinstance(label, RealLabel):
            views.append(histogram_view("Values", numbers.values, label.minimum, label.maximum))
        if self.draw and isinstance(label, SoftLabel):
            views.append(histogram_view("Entropy of each row in bits; 0: one class is certain", numbers.entropy, 0.0))
            views.append(histogram_view("Sum of each row; 1 is expected", numbers.sums))
        return [view for view in views if view is not None]

    @cached_property
    def grid(self) -> tuple[list[str], list[list[tuple[int, float]]]]:
        """Names of the most frequent classes of a multi_label, and how often they occur together."""
        counts, pairs = self.stats.class_counts, self.stats.distribution.pairs
        if not isinstance(self.label, MultiLabel) or not pairs:
            return [], []
        top = sorted(range(self.label.num_classes), key=lambda index: (-counts[index], index))[:MAX_GRID]
        names = [f"{index} {self.names[index]}" if self.names else str(index) for index in top]
        return names, pair_grid(top, counts, pairs, self.label.num_classes)

    @cached_property
    def around(self) -> list[tuple[int, int, bool]]:
        """The last ids of a vocabulary and those after it, where some after it occur; whether they are legal."""
        if len(self.ids) <= _VOCABULARY:
            return []
        end = 1 + (self.ids[-1] if isinstance(self.ids, range) else max(self.ids))
        beyond = [raw for raw in range(end, end + _NEAR) if self.stats.illegal.get(raw)]
        if not beyond:
            return []
        legal = [(raw, self.stats.class_counts[raw], True) for raw in range(end - _NEAR, end)]
        return legal + [(raw, self.stats.illegal.get(raw, 0), False) for raw in range(end, beyond[-1] + 1)]

    @property
    def tables(self) -> Iterator[ClassTable]:
        """Tables of all classes, or of the most frequent and the rarest."""
        if not self.ids or not isinstance(self.label, ClassLabel | MultiLabel):
            return
        counts, ids = self.stats.class_counts, _drawn(self.ids, self.stats.class_counts)
        if len(ids) <= MAX_ROWS:
            yield self._table(f"Counts of {counted(len(ids), 'class', 'classes')}", ids, range(len(ids)))
            return
        used = [at for at in range(len(ids)) if counts[ids[at]]]
        used.sort(key=lambda at: (-counts[ids[at]], ids[at]))
        most = f"The {min(_HEAD, len(used))} most frequent of {self.label.num_classes:,} classes"
        yield self._table(most, ids, used[:_HEAD])
        if len(used) > _HEAD:
            rarest = used[::-1][: min(_HEAD, len(used) - _HEAD)]
            yield self._table(f"The {counted(len(rarest), 'rarest class')} in use", ids, rarest)

    def _table(self, caption: str, ids: Sequence[int], indices: Sequence[int]) -> ClassTable:
        total, names = self.stats.class_counts.total(), self._names_of(ids)
        rows: list[tuple[int, str, int, int, float]] = []
        for at in indices:
            count, records = self.stats.class_counts[ids[at]], self.stats.class_records[ids[at]]
            share = records / self.stats.records if isinstance(self.label, MultiLabel) else count / total
            rows.append((ids[at], names[at] if names else "", count, records, share))
        return caption, rows, any(count != records for _, _, count, records, _ in rows)

    def _names_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Names of some classes, in the order of ``ids``; or none."""
        if ids is self.ids or not self.names:
            return self.names
        places = {raw: at for at, raw in enumerate(self.ids)}
        return [self.names[places[raw]] for raw in ids]


def _drawn(ids: Sequence[int], *counts: Mapping[int, int]) -> Sequence[int]:
    """The ids of charts and tables: all, or of more than ``_MOST_IDS`` those in use, whatever a schema declares."""
    return ids if len(ids) <= _MOST_IDS else sorted({raw for some in counts for raw in some})


def _is_skewed(ids: Sequence[int], counts: Mapping[int, int]) -> bool:
    """Whether a logarithmic scale is the better first view."""
    return max(counts.values()) > _SKEWED * sum(counts.values()) / len(ids)


def _same(first: Sequence[int], second: Sequence[int]) -> bool:
    both = isinstance(first, range) and isinstance(second, range)
    return first == second if both else tuple(first) == tuple(second)


def _comparisons(report: AuditReport) -> Iterator[tuple[str, Sequence[Line], bool]]:
    """Each label whose classes were counted in several splits with the same stored ids, its lines, and their scale."""
    schema = report.schema_file
    for path, label in schema.labels.items():
        ids = label.raw_ids
        found = [
            (split.split or "", split.labels[path].class_counts, split.records)
            for split in report.splits
            if path in split.labels
            and any(split.labels[path].class_counts.values())
            and _same(schema.stored(split.split)[path].raw_ids, ids)
        ]
        if ids and len(found) > 1:
            log = any(_is_skewed(ids, counts) for _, counts, _ in found)
            drawn = _drawn(ids, *(counts for _, counts, _ in found))
            yield path, comparison(drawn, found[:_MAX_LINES], log=log), log
