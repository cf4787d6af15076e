"""What legal labels show: classes never used, one class alone, nothing but ignore values, a dtype too narrow."""

from __future__ import annotations

import math

from label_guard.core.plural import counted
from label_guard.diagnosis.cause import LikelyCause, OtherCause, with_alternatives
from label_guard.diagnosis.evidence import log_classes
from label_guard.diagnosis.form import narrow_cause
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.labels import ClassLabel

LEGAL_CAUSES = ("unused-ids", "one-class-too-many", "constant-label", "narrow-dtype-wrap", "all-ignored")
_LEAST_RECORDS = 100  # before one class alone is worth a word
# Records that an unused class would have, were it as frequent as the rarest used one, summed over the unused ones: a
# class 10 times rarer than that is still absent by chance with a probability of e^-12 only.
_ENOUGH_UNUSED = 120
_EVIDENCE = math.log(1000)


def legal_cause(label: ClassLabel, stats: LabelStatistics) -> LikelyCause | None:
    """A likely cause although every value is legal; None where nothing is remarkable."""
    used = sorted(stats.class_counts)
    if not used:
        return _all_ignored(label, stats)
    narrow = narrow_cause(label, stats)
    if narrow is not None and used[-1] < label.id_range[1]:
        return narrow
    if label.class_ids is not None or stats.invalid:
        return None
    if len(used) == 1:
        return _constant(label, stats, used[0])
    return _unused(label, stats, used)


def _all_ignored(label: ClassLabel, stats: LabelStatistics) -> LikelyCause | None:
    ignored = sum(stats.sentinels[value] for value in label.ignore)
    if not ignored or ignored != stats.positions:
        return None
    return LikelyCause("all-ignored", "every value is an ignore value: no label left to learn from")


def _constant(label: ClassLabel, stats: LabelStatistics, value: int) -> LikelyCause | None:
    if stats.records < _LEAST_RECORDS or label.num_classes < 2:
        return None
    text = (
        f"all {stats.class_counts[value]:,} values are {value}: the label is always the same, one class only of "
        f"{label.num_classes:,}. Check that the right column or file is read"
    )
    return LikelyCause("constant-label", text)


def _unused(label: ClassLabel, stats: LabelStatistics, used: list[int]) -> LikelyCause | None:
    """The ends of the range are never used while everything between is, and often."""
    declared, first, last = label.num_classes, used[0], used[-1]
    if used != list(range(first, last + 1)) or len(used) == declared:
        return None
    counts = stats.class_counts.arrays()[1]
    if int(counts.min()) * (declared - len(used)) < _ENOUGH_UNUSED:
        return None
    if log_classes(counts, len(used)) - log_classes(counts, declared) < _EVIDENCE:
        return None
    text = f"only ids {first}..{last} of 0..{declared - 1} are ever used"
    if (first, last) == (0, declared - 2):
        return LikelyCause("one-class-too-many", f"{text}: num_classes may be one too many")
    if first == 1:
        text += f", {len(used)} of {declared} classes"
        other = OtherCause("one-based", f"ids that count from 1, with {counted(declared - last, 'class')} absent")
        return with_alternatives("unused-ids", text, [other])
    return LikelyCause("unused-ids", text)
