"""From the statistics of one label to its likely cause: form first, then arithmetic, then the evidence of counts."""

from __future__ import annotations

from dataclasses import replace

from label_guard.core.plural import agreed, counted
from label_guard.diagnosis.arithmetic import arithmetic_cause
from label_guard.diagnosis.cause import LikelyCause, OtherCause, with_alternatives
from label_guard.diagnosis.form import dtype_cause, form_cause, missing_cause
from label_guard.diagnosis.readings import FAR
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.diagnosis.unused import legal_cause
from label_guard.diagnosis.values import value_cause
from label_guard.schema.labels import ClassLabel, Label, RealLabel

_UNLABELED = (255, -1, -100)


def diagnose(
    path: str,
    label: Label,
    stats: LabelStatistics,
    split: str | None = None,
    *,
    only_label: bool = True,
    run: int = 0,
) -> list[LikelyCause]:
    """Likely causes of what is wrong with one label, at most one of its form and one of its values.

    Args:
        path: path of the label, for patches.
        label: the resolved label.
        stats: its statistics.
        split: the split they are of, for patches that concern it alone.
        only_label: whether the schema has no other label: only then may a patch leave records out.
        run: records of the pipeline's run that the places of illegal values are in; 0: they are in files.
    """
    if not stats.records:
        return []
    form = form_cause(label, stats)
    few_texts = 0 < 2 * stats.texts.total() < stats.records  # numbers next to them have causes of their own
    if form is not None and form.cause != "trailing-axis" and not few_texts:
        return [form]
    values = _values(path, label, stats, split, only_label=only_label, run=run)
    if form is not None:
        return [form] if values is None else [form, replace(values, patch={})]
    return [] if values is None else [values]


def _values(
    path: str, label: Label, stats: LabelStatistics, split: str | None, *, only_label: bool, run: int
) -> LikelyCause | None:
    """The cause of the values; of a wrong dtype or missing values where the numbers themselves are right."""
    missing = missing_cause(stats)
    if isinstance(label, RealLabel):
        return _real_cause(stats, split) or missing or dtype_cause(label, stats)
    dtype = dtype_cause(label, stats)
    if not isinstance(label, ClassLabel) or max(map(abs, label.id_range)) >= FAR:
        return missing or dtype  # the readings of ids are computed in int64
    cause = arithmetic_cause(label, stats)
    cause = cause or value_cause(path, label, stats, split, only_label=only_label, run=run)
    if cause is not None and dtype is not None and dtype.cause == "narrow-dtype-wrap" and cause.cause.endswith("-wrap"):
        dtype = None  # the same, without the values
    if cause is None and dtype is None and missing is None:
        return legal_cause(label, stats) or _empty_lists(label, stats)
    first, *more = [one for one in (cause, missing, dtype) if one is not None]
    if not more:
        return first
    others = [OtherCause(one.cause, f"in addition, {one.text}") for one in more]
    return with_alternatives(first.cause, first.finding, [*first.alternatives, *others])


def _empty_lists(label: ClassLabel, stats: LabelStatistics) -> LikelyCause | None:
    empty = stats.shapes.get("[0]", 0)
    if not label.min_length or not empty or stats.violations.get("LG111", [0])[0] != empty:
        return None
    text = (
        f"{empty:,} of {counted(stats.records, 'record')} {agreed(empty, 'has', 'have')} an empty list of ids, and no "
        "other list is too short. Find out whether they have no object or no annotation"
    )
    return LikelyCause("empty-lists", text)


def _real_cause(stats: LabelStatistics, split: str | None) -> LikelyCause | None:
    outside = stats.violations.get("LG112", [0])[0]
    if outside != stats.records or stats.low != stats.high or stats.low not in _UNLABELED:
        return None
    where = f"the split {split}" if split else "the data"
    text = f"every target is {stats.low}: {where} looks unlabeled; a real_label has no value for that, so leave it out"
    return LikelyCause("unlabeled-split", text)
