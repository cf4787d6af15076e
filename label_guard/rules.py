"""The registry of rules. docs/rules.md, ``label-guard rule`` and SARIF are generated from it.

Codes are stable and never reused: LG1xx a record, LG2xx a schema file, LG3xx a schema change, LG4xx a dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its code, its name (the pattern found), and how it is told to people."""

    code: str
    name: str
    severity: Literal["error", "warning"]
    summary: str


_RULES = (
    Rule("LG101", "label-out-of-range", "error", "A class id is >= num_classes, or a raw id is not in class_ids."),
    Rule("LG102", "label-negative", "error", "A class id is negative and not declared."),
    Rule("LG103", "label-dtype", "error", "The dtype is not the declared one."),
    Rule("LG104", "label-missing", "error", "The label is absent or None."),
    Rule("LG105", "label-shape", "error", "The rank or a fixed dimension differs from the declared shape."),
    Rule("LG106", "label-not-integral", "error", "A float such as 2.7 stands where a class index is declared."),
    Rule("LG107", "label-not-finite", "error", "A value is NaN or infinite."),
    Rule("LG108", "label-not-binary", "error", "A multi_label value is not 0 or 1, or too few or too many are 1."),
    Rule("LG109", "label-not-normalized", "error", "A soft_label is negative or does not sum to 1."),
    Rule("LG110", "label-unlabeled", "error", "A value that only another split declares as unlabeled."),
    Rule("LG111", "label-length", "error", "A ragged label is too short, too long, or repeats an id."),
    Rule("LG112", "label-outside-limits", "error", "A real_label lies outside minimum..maximum."),
    Rule("LG120", "record-unreadable", "error", "The record cannot be decoded."),
    Rule("LG200", "unreadable-file", "error", "The file cannot be read as YAML or JSON."),
    Rule("LG201", "class-count-mismatch", "error", "num_classes disagrees with class_names or class_ids."),
    Rule("LG202", "duplicate-class-name", "error", "A class name stands twice."),
    Rule("LG203", "dtype-too-narrow", "error", "The dtype cannot hold or index the declared classes."),
    Rule("LG204", "ignore-inside-range", "error", "An ignore value is also a legal value."),
    Rule("LG205", "emit-narrows", "error", "The emitted dtype cannot hold every legal value."),
    Rule("LG206", "unknown-field", "error", "A field or label is not known."),
    Rule("LG207", "invalid-field", "error", "A field is missing, or its value has the wrong type or range."),
    Rule("LG211", "unlabeled-in-training", "error", "A training split declares unlabeled without on_unlabeled."),
    Rule("LG216", "unsatisfiable", "error", "Limits that no label can satisfy."),
    Rule("LG217", "unlabeled-inside-range", "error", "The unlabeled value is also a legal or ignore value."),
    Rule("LG218", "duplicate-class-id", "error", "A raw id stands twice in class_ids."),
)

RULES: dict[str, Rule] = {rule.code: rule for rule in _RULES}
