"""An audit as one HTML file for people: no script, nothing fetched, everything from the data escaped."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from label_guard.audit.report import AuditReport, SplitAudit
from label_guard.core.escape import terminal
from label_guard.diagnosis.label import Diagnosis
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.report.summary import percent
from label_guard.rules.findings import Diagnostic
from label_guard.rules.pages import PAGES
from label_guard.rules.registry import RULES
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label, MultiLabel
from label_guard.schema.writer import flow, quoted

_WIDTH, _HEIGHT = 960, 160  # of a histogram, in the units of its drawing
_MOST_TICKS = 20  # ids of up to five digits under a histogram do not touch
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*")


@dataclass(frozen=True, slots=True)
class Bar:
    """One class of a histogram: where it stands, and what it counts."""

    id: int
    name: str
    count: int
    records: int
    share: float
    x: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class LabelView:
    """One label of one split, as the page shows it."""

    path: str
    found: LabelStatistics
    bars: Sequence[Bar]
    ticks: Sequence[Bar]
    most: int
    unused: int
    others: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class SplitView:
    """One split, as the page shows it."""

    anchor: str
    name: str
    split: SplitAudit
    bad: int
    findings: Sequence[Diagnostic]
    causes: Sequence[tuple[Diagnosis, Sequence[str]]]
    labels: Sequence[LabelView]
    examples: Sequence[Mapping[str, Any]]
    broken: Sequence[str]
    shards: Sequence[Mapping[str, Any]]


def render(report: AuditReport) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("label_guard", "report"), autoescape=True, undefined=StrictUndefined, finalize=_visible,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    schema = DatasetSchema.model_validate(dict(report.schema))
    rules = sorted({finding.rule for finding in report.findings})
    return (
        environment.get_template("audit.html.j2")
        .render(
            report=report,
            errors=sum(finding.severity == "error" for finding in report.findings),
            warnings=sum(finding.severity == "warning" for finding in report.findings),
            splits=[_split_view(report, split, schema, number) for number, split in enumerate(report.splits)],
            rules=[(RULES[code], PAGES[code]) for code in rules],
            names={code: RULES[code].name for code in rules},
            percent=percent,
            width=_WIDTH,
            height=_HEIGHT,
        )
        .rstrip("\n")
    )


def _visible(value: Any) -> Any:
    """Control, bidirectional and invisible characters of the data as escapes; markup of the page as it is."""
    return terminal(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _split_view(report: AuditReport, split: SplitAudit, schema: DatasetSchema, number: int) -> SplitView:
    return SplitView(
        anchor=f"split-{number}",
        name=split.split or "(no split)",
        split=split,
        bad=split.invalid + split.unreadable,
        findings=[finding for finding in report.findings if finding.path[0] == (split.split or "")],
        causes=[(cause, _patch_lines(cause)) for of, cause in report.diagnoses if of == split.split],
        labels=[_label_view(path, split.labels[path], label) for path, label in schema.stored(split.split).items()],
        examples=list(_examples(report, split)),
        broken=sorted({rule for shard in split.shards for rule in shard["violations"]}),
        shards=[shard for shard in split.shards if shard["violations"] or shard["unreadable"] or shard["error"]],
    )


def _patch_lines(cause: Diagnosis) -> list[str]:
    return [f"{quoted(field)}: {flow(value)}" for field, value in cause.patch.items()]


def _label_view(path: str, found: LabelStatistics, label: Label) -> LabelView:
    counted = isinstance(label, ClassLabel | MultiLabel) and bool(found.class_counts)
    bars = list(_bars(found, label)) if counted and isinstance(label, ClassLabel | MultiLabel) else []
    others = [(f"declared {value}", count) for value, count in sorted(found.sentinels.items())]
    others += [(f"illegal {value}", count) for value, count in sorted(found.illegal.items())]
    if found.illegal_overflow:
        others.append(("other illegal values", found.illegal_overflow))
    most, unused = max((bar.count for bar in bars), default=0), sum(not bar.count for bar in bars)
    return LabelView(path, found, bars, bars[:: _tick_step(len(bars))], most, unused, others)


def _tick_step(classes: int) -> int:
    """1, 2 or 5 times a power of ten: every how many classes an id stands under the histogram.

    >>> [_tick_step(classes) for classes in (10, 20, 21, 100, 1000)]
    [1, 1, 2, 5, 50]
    """
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    return next(step for step in steps if step * _MOST_TICKS >= classes)


def _bars(found: LabelStatistics, label: ClassLabel | MultiLabel) -> Iterator[Bar]:
    ids = label.raw_ids if isinstance(label, ClassLabel) else range(label.num_classes)
    names = label.class_names or ()
    most, total, step = max(found.class_counts.values()), sum(found.class_counts.values()), _WIDTH / label.num_classes
    for place, raw in enumerate(ids):
        count = found.class_counts[raw]
        # A class that occurs stays visible beside one that occurs a million times as often.
        height = max(1.5, _HEIGHT * count / most) if count else 0.0
        yield Bar(
            raw, names[place] if names else "", count, found.class_records[raw], count / total,
            round(place * step, 3), round(step * (0.85 if step > 3 else 1), 3), round(height, 2),
        )  # fmt: skip


def _examples(report: AuditReport, split: SplitAudit) -> Iterator[dict[str, Any]]:
    pictures = report.thumbnails.get(split.split or "", {})
    for path, found in split.labels.items():
        for rule, kept in sorted(found.examples.items()):
            for key, violation in kept:
                picture = pictures.get(key, "")
                yield {
                    "key": key, "label": path, "rule": rule, "value": str(violation.value), "legal": violation.legal,
                    "places": violation.count,
                    "picture": Markup(picture) if _PICTURE.fullmatch(picture) else "",  # noqa: S704 (matched above)
                }  # fmt: skip
    for shard in split.shards:
        for key, reason in shard["unreadable_examples"]:
            yield {
                "key": key, "label": "", "rule": "LG120", "value": reason, "legal": "a readable record", "places": 1,
                "picture": "",
            }  # fmt: skip
