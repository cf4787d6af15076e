"""The report of ``check`` as text: what each label is, its histogram, what looks wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from label_guard.core.escape import shell_word, terminal
from label_guard.core.plural import counted
from label_guard.core.similar import listed, shortened
from label_guard.diagnosis.cause import TO_CHANGE
from label_guard.infer.dataset_profile import ONLY_FIELD
from label_guard.infer.histogram import bars, drawn
from label_guard.infer.profile import ColumnProfile
from label_guard.rules.registry import RULES
from label_guard.schema.labels import KINDS
from label_guard.sources.schemes import NAMES

if TYPE_CHECKING:
    from label_guard.audit.report import Cause
    from label_guard.infer.check import CheckReport, LabelOverview

_MAX_OTHERS = 12
_MAX_IDS = 8
_OF_SMALL_FILES = ("folder", "masks", "yolo")  # whose units of work are not files


def render(report: CheckReport) -> Iterator[tuple[str, str]]:
    """The lines of a report, safe for a terminal and the log of a CI runner, with the role that a terminal colours."""
    return ((terminal(line), role) for line, role in _lines(report))


def _lines(report: CheckReport) -> Iterator[tuple[str, str]]:
    yield from _roles(_head(report), "title", "muted")
    if report.is_empty:
        yield "", ""
        yield from _roles(_nothing(report), "error")
        return
    for label in report.labels:
        yield "", ""
        yield from _roles(_label(label, report.why), "title")
    if report.others:
        yield "", ""
        yield from _roles(_others(report), "title")
    yield "", ""
    bad = "error" if _violated(report) else "warning"
    good = "good" if report.audit is not None else "warning"
    yield from _roles(_findings(report), bad if _violated(report) else good, bad)
    commands = list(_next(report))
    if commands:
        yield "", ""
        yield from _roles(["next:", *(f"  {command}" for command in commands)], "title", "command")


def _nothing(report: CheckReport) -> Iterator[str]:
    yield "no labels: 0 records"
    fields = [*(label.path for label in report.labels), *report.others]
    if fields:
        yield f"  fields: {listed(fields, most=_MAX_OTHERS)}"


def _roles(lines: Iterable[str], first: str, others: str = "plain") -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        yield line, others if number else first


def _head(report: CheckReport) -> Iterator[str]:
    files = sum(files for _, files in report.splits.values())
    form = report.uri.partition(":")[0]
    parts = [form] if ":" in report.uri else []
    parts += [counted(files, "file")] if form in NAMES and form not in _OF_SMALL_FILES and files else []
    some = " were read; there are more" if not report.whole and not report.faults else ""
    parts.append(counted(report.records, "record") + some)
    yield f"{report.name}: {', '.join(parts)}"
    if report.assumed:
        yield f"  read as {report.uri}"
        yield from (f"  {note}" for note in report.assumed)
    if len(report.splits) > 1:
        yield "  " + ", ".join(f"{split}: {records:,}" for split, (records, _) in report.splits.items())


def _label(label: LabelOverview, why: str) -> Iterator[str]:
    profile, fields = label.profile, label.drafted.fields
    yield f"{label.path}: {_kind(fields, profile)}{f'  ({why})' if why else ''}"
    yield from (f"  {line}" for line in drawn(bars(profile, fields)))
    if not profile.is_scalar and profile.shapes.get((0,)):
        yield f"  {counted(profile.shapes[(0,)], 'record')} with an empty list"
    if profile.missing:
        yield f"  {counted(profile.missing, 'record')} without a value"
    if not fields:
        yield f"  undecided: it {'; '.join(label.drafted.notes)}"
    for name, texts in label.drafted.marks.items():
        yield from (f"  in doubt: {name} {shortened(str(fields.get(name)), 40)}: {text}" for text in texts)


def _kind(fields: Mapping[str, Any], profile: ColumnProfile) -> str:
    """What a label is, such as ``class ids, int64, 10 classes``."""
    kind, classes = fields.get("kind"), counted(fields.get("num_classes", 0), "class", "classes")
    stored = ", ".join(sorted(profile.dtypes)) or "text"
    if kind == "class_label":
        what = "class names" if profile.texts and not profile.dtypes else "class ids"
        parts = [what, stored, classes, *_ids(fields), *([] if profile.is_scalar else [profile.shape_text])]
    elif kind == "multi_label":
        parts = ["lists of class ids" if fields.get("encoding") == "ids" else "k-hot rows", stored, classes]
    elif kind == "soft_label":
        parts = ["one-hot rows" if fields.get("one_hot") else "probabilities", stored, classes]
    elif kind == "real_label":
        parts = ["real numbers", profile.summary()]
    else:
        parts = [profile.summary()]
    for name in ("ignore", "unlabeled"):
        if fields.get(name) is not None:
            parts.append(f"{name} {fields[name]}")
    return ", ".join(parts)


def _ids(fields: Mapping[str, Any]) -> list[str]:
    ids: Any = fields.get("class_ids")
    if ids is None:
        return []
    if isinstance(ids, Mapping):
        return [f"ids from {ids['start']}"]
    return [f"ids {', '.join(map(str, ids[:_MAX_IDS]))}{', ...' if len(ids) > _MAX_IDS else ''}"]


def _others(report: CheckReport) -> Iterator[str]:
    what = "other fields" if report.labels else "fields, none of which looks like a label"
    first = f" (by the first {counted(report.peeked, 'record')})" if report.peeked < report.records else ""
    yield f"{what}{first}:"
    shown = list(report.others.items())[:_MAX_OTHERS]
    width = max(len(terminal(path)) for path, _ in shown)
    for path, what in shown:
        yield f"  {terminal(path):<{width}}  {what}"
    if len(report.others) > len(shown):
        yield f"  ... and {len(report.others) - len(shown):,} more"


def _violated(report: CheckReport) -> bool:
    unread = report.problem or report.faults or (report.unreadable and report.audit is None)
    return bool(unread) or any(finding.severity == "error" for finding in report.findings)


def _findings(report: CheckReport) -> Iterator[str]:
    lines = list(_problems(report))
    violated = _violated(report)
    records = counted(report.records, "record")
    if report.audit is None and not lines:
        yield "nothing was checked: no label is known"
    elif not violated:
        yield f"no violation in {records}" if report.validated else f"nothing looks wrong in {records}"
    if lines:
        yield ("violations:" if report.validated else "looks wrong:") if violated else "warnings:"
        yield from (f"  {line}" for line in lines)
    if report.validated and not report.whole and not report.faults:
        yield "not complete: --limit left records out, so the exit code is 2"


def _problems(report: CheckReport) -> Iterator[str]:
    if report.problem:
        yield f"not validated: {report.problem}"
    yield from (f"not read to the end: {fault}" for fault in report.faults)
    if report.unreadable and report.audit is None:
        yield f"LG120 {RULES['LG120'].name}: {report.fault_of_records}"
    for finding in report.findings:
        if finding.rule == "LG404" and report.faults:  # said above
            continue
        where = f"{finding.split}: " if len(report.splits) > 1 and finding.split else ""
        mark = "" if finding.severity == "error" else "[warning] "
        yield f"{finding.rule} {RULES[finding.rule].name}: {mark}{where}{finding.message}"
        if finding.fix:
            yield f"  {finding.fix}"
    for cause in report.causes:
        yield f"likely cause: {cause.label}: {_in_words(cause)}"


def _in_words(cause: Cause) -> str:
    """A cause; its patch as fields to declare, since no schema is there to be changed."""
    fields = ", ".join(f"{name}: {shortened(str(value), 40)}" for name, value in cause.patch.items())
    text = cause.text.removesuffix(TO_CHANGE)
    return f"{text}; if this is intended, declare {fields}" if fields and text != cause.text else text


def _next(report: CheckReport) -> Iterator[str]:
    """The commands that go on from here, each as it can be typed."""
    if report.uri == "array":
        yield from _next_in_python(report)
        return
    data = shell_word(report.name)
    if not report.labels:
        for path in list(report.others)[:3] or ["PATH"]:
            yield f"label-guard check {data} --label {shell_word(path)}"
        return
    named = ["" if report.why == ONLY_FIELD else f" --label {shell_word(label.path)}" for label in report.labels]
    if not report.validated and not report.labels[0].profile.has_colours:
        first = report.labels[0]
        yield f"label-guard check {data}{f'{named[0]}{_expectation(first)}' or f' --label {shell_word(first.path)}'}"
    elif report.findings:
        yield f"label-guard rule {report.findings[0].rule}"
    if report.audit is not None and all(map(_is_drafted_by_infer, report.labels)):
        name = shell_word(f"{report.audit.dataset}.yaml")
        yield f"label-guard infer {data}{''.join(named)} --output {name}"


def _is_drafted_by_infer(label: LabelOverview) -> bool:
    """Whether ``infer`` drafts a label: it leaves lists of ids to be written by hand, and refuses colours."""
    return label.drafted.fields.get("encoding") != "ids" and not label.profile.has_colours


def _expectation(label: LabelOverview) -> str:
    fields = label.drafted.fields
    if label.profile.texts and not label.profile.dtypes:
        return " --class-names NAMES.txt"
    if fields.get("kind") == "real_label" or "class_ids" in fields:
        return ""
    return f" --num-classes {fields.get('num_classes', 'N')}"


def _next_in_python(report: CheckReport) -> Iterator[str]:
    if report.validated or not report.labels:
        return
    first = report.labels[0]
    yield f"label_guard.check_labels(labels, num_classes={first.drafted.fields.get('num_classes', 'N')})"
    if first.drafted.fields:
        yield f'label_guard.guard_batches(loader, {{"{first.path}": {_model(first.drafted.fields)}}}, batch_size=128)'


def _model(fields: Mapping[str, Any]) -> str:
    """The label as Python writes it."""
    name = KINDS[fields["kind"]].__name__
    shown = {key: value for key, value in fields.items() if key != "kind" and value not in ([], None)}
    arguments = ", ".join(f"{key}={shortened(str(value), 40)}" for key, value in shown.items())
    return f"label_guard.{name}({arguments})"
