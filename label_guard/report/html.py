"""Renders an audit as one HTML file: readable without script, nothing loaded, everything from the data escaped."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from label_guard.audit.report import AuditReport, Cause, Finding, ShardReport, SplitReport
from label_guard.audit.suggest import patch_yaml, suggest
from label_guard.core.escape import terminal
from label_guard.core.plural import agreed, counted, number
from label_guard.diagnosis.illegal import IllegalValue
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.report.charts import (
    HEIGHT,
    MAX_BARS,
    WIDTH,
    Bar,
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
from label_guard.schema.dataset import DatasetSchema
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


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class in a table; ``share`` is that of positions, or of a multi_label that of records."""

    id: int
    name: str
    count: int
    records: int
    share: float


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Some classes of a label; a column that says nothing new is left out.

    Attributes:
        caption: which classes.
        rows: one for each class.
        named: whether classes have names.
        places: whether a class is at several positions of one record.
    """

    caption: str
    rows: Sequence[ClassRow]
    named: bool
    places: bool


@dataclass(frozen=True, slots=True)
class LabelView:
    """One label of one split, as the page shows it.

    Attributes:
        path: path of the label.
        kind: kind of the label.
        found: its statistics.
        classes: number of classes; 0 where the label has none or none was counted.
        charts: drawings of the counts; empty where nothing was counted or the page has enough of them.
        tables: tables of classes.
        skewed: whether a logarithmic scale is the better first view.
        unused: number of classes that are never used, and their ids as ranges.
        sentinels: declared values outside the classes, with their counts.
        illegal: invalid values, the rarest first; of many, the rarest and the most frequent ones.
        more_illegal: positions of invalid values that are not in ``illegal``.
        histograms: drawings of numbers that are not class ids.
        grid: names of the most frequent classes of a multi_label, and how often they occur together.
        around: ids near the limit of a vocabulary, with their counts and whether they are legal.
    """

    path: str
    kind: str
    found: LabelStatistics
    classes: int
    charts: Sequence[Chart]
    tables: Sequence[ClassTable]
    skewed: bool
    unused: tuple[int, Sequence[str]]
    sentinels: Sequence[tuple[int, int]]
    illegal: Sequence[tuple[int | float, IllegalValue]]
    more_illegal: int
    histograms: Sequence[HistogramView]
    grid: tuple[Sequence[str], Sequence[Sequence[tuple[int, float]]]]
    around: Sequence[tuple[int, int, bool]]


@dataclass(frozen=True, slots=True)
class SplitView:
    """One split, as the page shows it."""

    anchor: str
    name: str
    split: SplitReport
    bad: int
    findings: Sequence[Finding]
    labels: Sequence[LabelView]
    examples: Sequence[Mapping[str, Any]]
    broken: Sequence[str]
    strip: Sequence[Bar]
    shards: Sequence[ShardReport]
    more_shards: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One label over several splits."""

    path: str
    lines: Sequence[Line]
    log: bool


def render(report: AuditReport) -> str:
    """The whole page, without a newline at its end."""
    environment = Environment(
        loader=PackageLoader("label_guard", "report"), autoescape=True, undefined=StrictUndefined, finalize=_visible,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    schema = report.schema_file
    rules = sorted({finding.rule for finding in report.findings})
    splits, suggestion = _split_views(report, schema), suggest(report)
    page = environment.get_template("audit.html.j2").render(
        report=report,
        verdict=_verdict(report),
        tiles=_tiles(report, splits),
        unchecked=report.not_checked,
        suggestion=patch_yaml(suggestion).split("\n") if suggestion.patch else [],
        splits=splits,
        comparisons=list(_comparisons(report, schema)),
        rules=[RULES[code] for code in rules],
        names={code: RULES[code].name for code in rules},
        percent=percent,
        number=number,
        command=_command(report),
        patch_lines=_patch_lines,
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


def _tiles(report: AuditReport, splits: Sequence[SplitView]) -> list[tuple[str, str, str]]:
    """Caption, number and CSS class of each tile."""
    bad = sum(view.bad for view in splits)
    rules = {finding.rule for finding in report.findings}
    unused = _unused_anywhere(report)
    tiles = [
        ("records", f"{sum(split.unpadded for split in report.splits):,}", ""),
        ("invalid records", f"{bad:,}", "error" if bad else "good"),
        ("rules broken", f"{len(rules):,}", _verdict(report)[0]),
        ("splits", f"{len(splits):,}", ""),
    ]
    padding = sum(split.padding for split in report.splits)
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
                legal = ids if isinstance(ids, range) else frozenset(ids)
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


def _patch_lines(cause: Cause) -> list[str]:
    return [f"{quoted(field)}: {flow(value)}" for field, value in cause.patch.items()]


# Splits ---------------------------------------------------------------------------------------------------------------


def _split_views(report: AuditReport, schema: DatasetSchema) -> list[SplitView]:
    left = _MAX_DRAWN
    views: list[SplitView] = []
    for place, split in enumerate(report.splits):
        labels: list[LabelView] = []
        for path, label in schema.stored(split.split).items():
            labels.append(_label_view(path, split.labels[path], label, draw=left > 0))
            left -= bool(labels[-1].charts)
        views.append(_split_view(report, split, place, labels))
    return views


def _split_view(report: AuditReport, split: SplitReport, place: int, labels: Sequence[LabelView]) -> SplitView:
    dirty = [shard for shard in split.shards if shard.violations or shard.unreadable or shard.error]
    return SplitView(
        anchor=f"split-{place}",
        name=split.split or "(no split)",
        split=split,
        bad=split.invalid + split.unreadable,
        findings=[finding for finding in report.findings if finding.split == split.split],
        labels=labels,
        examples=list(_examples(report, split)),
        broken=sorted({rule for shard in split.shards for rule in shard.violations}),
        strip=strip([_bad_share(shard) for shard in split.shards]) if dirty and len(split.shards) > 1 else [],
        shards=dirty[:_MAX_FILES],
        more_shards=max(0, len(dirty) - _MAX_FILES),
    )


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


def _label_view(path: str, found: LabelStatistics, label: Label, *, draw: bool) -> LabelView:
    ids = label.raw_ids if found.class_counts else ()
    names = (label.class_names or ()) if isinstance(label, ClassLabel | MultiLabel) else ()
    drawn = _drawn(ids, found.class_counts)
    illegal = sorted(found.illegal_values.values.items(), key=lambda pair: (pair[1].positions, pair[0]))
    left_out = illegal[_MAX_ILLEGAL // 2 : -_MAX_ILLEGAL // 2] if len(illegal) > _MAX_ILLEGAL else []
    return LabelView(
        path=path,
        kind=label.kind,
        found=found,
        classes=len(ids),
        charts=_class_charts(drawn, names, found) if draw and ids else [],
        tables=list(_tables(label, drawn, names, found)) if isinstance(label, ClassLabel | MultiLabel) and ids else [],
        skewed=bool(ids) and max(found.class_counts.values()) > _SKEWED * sum(found.class_counts.values()) / len(ids),
        unused=_unused(ids, found.class_counts),
        sentinels=sorted(found.sentinels.items()),
        illegal=[*illegal[: _MAX_ILLEGAL // 2], *illegal[-_MAX_ILLEGAL // 2 :]] if left_out else illegal,
        more_illegal=found.illegal_overflow + sum(one.positions for _, one in left_out),
        histograms=[view for view in _histograms(label, found) if view] if draw else [],
        grid=_grid(label, names, found),
        around=_around(ids, found) if len(ids) > _VOCABULARY else [],
    )


def _drawn(ids: Sequence[int], *counts: Mapping[int, int]) -> Sequence[int]:
    """The ids of charts and tables: all, or of more than ``_MOST_IDS`` those in use, whatever a schema declares."""
    return ids if len(ids) <= _MOST_IDS else sorted({raw for some in counts for raw in some})


def _unused(ids: Sequence[int], counts: Mapping[int, int]) -> tuple[int, list[str]]:
    """The number of classes that are never used, and the first of them as ranges."""
    if not isinstance(ids, range):
        unused = [raw for raw in ids if not counts.get(raw)]
        return len(unused), ranges(unused, MAX_ROWS)
    edges = [ids.start - 1, *(raw for raw in sorted(counts) if counts[raw] and raw in ids), ids.stop]
    gaps = [(a + 1, b - 1) for a, b in pairwise(edges) if b - a > 1]
    shown = [f"{a}..{b}" if a < b else str(a) for a, b in gaps[:MAX_ROWS]]
    return len(ids) - len(edges) + 2, [*shown, *(["..."] if len(gaps) > MAX_ROWS else [])]


def _class_charts(ids: Sequence[int], names: Sequence[str], found: LabelStatistics) -> list[Chart]:
    charts = class_charts(ids, names, found.class_counts)
    return [*charts[:-1], rank_chart(found.class_counts)] if charts and len(ids) > _VOCABULARY else charts


def _histograms(label: Label, found: LabelStatistics) -> Iterator[HistogramView | None]:
    numbers = found.distribution
    if isinstance(label, RealLabel):
        yield histogram_view("Values", numbers.values, label.minimum, label.maximum)
    elif isinstance(label, SoftLabel):
        yield histogram_view("Entropy of each row in bits; 0: one class is certain", numbers.entropy, 0.0)
        yield histogram_view("Sum of each row; 1 is expected", numbers.sums)


def _grid(
    label: Label, names: Sequence[str], found: LabelStatistics
) -> tuple[list[str], list[list[tuple[int, float]]]]:
    pairs = found.distribution.pairs
    if not isinstance(label, MultiLabel) or not pairs:
        return [], []
    top = sorted(range(label.num_classes), key=lambda index: (-found.class_counts[index], index))[:MAX_GRID]
    return (
        [f"{index} {names[index]}" if names else str(index) for index in top],
        pair_grid(top, found.class_counts, pairs, label.num_classes),
    )


def _around(ids: Sequence[int], found: LabelStatistics) -> list[tuple[int, int, bool]]:
    """The last ids of a vocabulary and those after it, where some after it occur."""
    last = ids[-1] if isinstance(ids, range) else max(ids)
    beyond = [raw for raw in range(last + 1, last + 1 + _NEAR) if found.illegal.get(raw)]
    if not beyond:
        return []
    legal = [(raw, found.class_counts[raw], True) for raw in range(last + 1 - _NEAR, last + 1)]
    return legal + [(raw, found.illegal.get(raw, 0), False) for raw in range(last + 1, beyond[-1] + 1)]


def _tables(
    label: ClassLabel | MultiLabel, ids: Sequence[int], names: Sequence[str], found: LabelStatistics
) -> Iterator[ClassTable]:
    total = sum(found.class_counts.values())

    def row(at: int) -> ClassRow:
        raw = ids[at]
        count, records = found.class_counts[raw], found.class_records[raw]
        share = records / found.records if isinstance(label, MultiLabel) else count / total
        return ClassRow(raw, names[at] if names else "", count, records, share)

    def table(caption: str, places: Sequence[int]) -> ClassTable:
        rows = [row(at) for at in places]
        return ClassTable(caption, rows, bool(names), any(one.count != one.records for one in rows))

    if len(ids) <= MAX_ROWS:
        yield table(f"Counts of {counted(len(ids), 'class', 'classes')}", range(len(ids)))
        return
    used = [at for at in range(len(ids)) if found.class_counts[ids[at]]]
    used.sort(key=lambda at: (-found.class_counts[ids[at]], ids[at]))
    yield table(f"The {min(_HEAD, len(used))} most frequent of {label.num_classes:,} classes", used[:_HEAD])
    if len(used) > _HEAD:
        rarest = used[::-1][: min(_HEAD, len(used) - _HEAD)]
        yield table(f"The {counted(len(rarest), 'rarest class')} in use", rarest)


def _same(first: Sequence[int], second: Sequence[int]) -> bool:
    both = isinstance(first, range) and isinstance(second, range)
    return first == second if both else tuple(first) == tuple(second)


def _comparisons(report: AuditReport, schema: DatasetSchema) -> Iterator[Comparison]:
    """Each label whose classes were counted in several splits, with the same stored ids."""
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
            log = any(max(counts.values()) > _SKEWED * sum(counts.values()) / len(ids) for _, counts, _ in found)
            drawn = _drawn(ids, *(counts for _, counts, _ in found))
            yield Comparison(path, comparison(drawn, found[:_MAX_LINES], log=log), log)
