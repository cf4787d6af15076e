"""The registry of rules. docs/rules.md, ``label-guard rule`` and SARIF are generated from it.

Codes are stable and never reused: LG1xx a record, LG2xx a schema file, LG3xx a schema change, LG4xx a dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its code, its name (the pattern found), and how it is described to people."""

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
    Rule("LG106", "label-not-integral", "error", "A float such as 2.7 where a class index is declared."),
    Rule("LG107", "label-not-finite", "error", "A value is NaN or infinite."),
    Rule("LG108", "label-not-binary", "error", "A multi_label value is not 0 or 1, or too few or too many are 1."),
    Rule("LG109", "label-not-normalized", "error", "A soft_label is negative or does not sum to 1."),
    Rule("LG110", "label-unlabeled", "error", "A value that only another split declares as unlabeled."),
    Rule("LG111", "label-length", "error", "A ragged label is too short, too long, or repeats an id."),
    Rule("LG112", "label-outside-limits", "error", "A real_label lies outside minimum..maximum."),
    Rule("LG113", "label-unknown-name", "error", "A stored class name is not one of class_names."),
    Rule("LG120", "record-unreadable", "error", "The record cannot be decoded."),
    Rule("LG200", "unreadable-file", "error", "The file cannot be read as YAML or JSON."),
    Rule("LG201", "class-count-mismatch", "error", "num_classes disagrees with class_names or class_ids."),
    Rule("LG202", "duplicate-class-name", "error", "A class name is duplicated."),
    Rule("LG203", "dtype-too-narrow", "error", "The dtype cannot hold or index the declared classes."),
    Rule("LG204", "ignore-inside-range", "error", "An ignore value is also a legal value."),
    Rule("LG205", "emit-narrows", "error", "The emitted dtype cannot hold every legal value."),
    Rule("LG206", "unknown-field", "error", "A field or label is not known."),
    Rule("LG207", "invalid-field", "error", "A field is missing, or its value has the wrong type or range."),
    Rule("LG208", "unsupported-format", "error", "The file format is not one this release reads."),
    Rule("LG209", "invalid-version", "error", "The version is missing or is not a semantic version."),
    Rule("LG210", "similar-class-names", "warning", "Two class names differ only by case or white space."),
    Rule("LG211", "unlabeled-in-training", "error", "A training split declares unlabeled without on_unlabeled."),
    Rule("LG212", "unquoted-class-name", "error", "A class name without quotes is a number, a date, true or null."),
    Rule("LG213", "ambiguous-class-name", "warning", "An unquoted class name is not a string in YAML 1.1."),
    Rule("LG214", "split-without-examples", "warning", "A split promises no number of examples, or none at all."),
    Rule("LG215", "negative-sentinel-kept", "warning", "A negative sentinel stays in what training gets."),
    Rule(
        "LG216", "unsatisfiable", "error", "Fields that no label can satisfy together, or a limit that checks nothing."
    ),
    Rule("LG217", "unlabeled-inside-range", "error", "The unlabeled value is also a legal or ignore value."),
    Rule("LG218", "duplicate-class-id", "error", "A raw id is listed twice in class_ids."),
    Rule("LG219", "padded-class-name", "warning", "A class name begins or ends with white space, or is empty."),
    Rule("LG220", "blanket-noqa", "warning", "A noqa comment names no rule."),
    Rule("LG221", "unused-noqa", "warning", "A noqa comment suppresses nothing."),
    Rule("LG222", "duplicate-key", "error", "A key is repeated in one mapping."),
    Rule("LG223", "mask-name-taken", "warning", "A label has the name of the validity mask of another label."),
    Rule("LG230", "source-label-missing", "error", "The dataset has no feature of the label's name."),
    Rule("LG231", "source-class-count", "error", "The dataset's metadata declares another number of classes."),
    Rule("LG232", "source-class-names", "error", "The dataset's metadata has other class names or another order."),
    Rule("LG233", "source-dtype", "error", "The dataset's metadata declares another dtype or shape."),
    Rule("LG234", "source-split", "error", "The dataset's metadata has no such split, or another size."),
    Rule("LG301", "label-removed", "error", "A label is no longer declared."),
    Rule("LG302", "label-added", "error", "A label is declared that records may not have."),
    Rule("LG303", "label-renamed", "error", "A label has another path."),
    Rule("LG304", "kind-changed", "error", "A label is of another kind."),
    Rule("LG305", "class-count-changed", "error", "A label has more or fewer classes."),
    Rule("LG306", "class-reordered", "error", "Class names have other ids: permuted, or shifted."),
    Rule("LG307", "class-renamed", "error", "A class has another name at the same id."),
    Rule("LG308", "class-respelled", "warning", "A class name differs by case, white space, - or _ only."),
    Rule("LG309", "class-names-removed", "error", "The classes have no names any more."),
    Rule("LG310", "class-names-added", "warning", "The classes have names now."),
    Rule("LG311", "class-ids-changed", "error", "A class has another raw id."),
    Rule("LG312", "dtype-changed", "error", "The stored dtypes changed."),
    Rule("LG313", "emit-changed", "error", "The emitted dtype changed."),
    Rule("LG314", "shape-changed", "error", "The shape of a label changed."),
    Rule("LG315", "ignore-removed", "error", "An ignore value is no longer declared."),
    Rule("LG316", "ignore-added", "error", "A value is newly declared as ignored."),
    Rule("LG317", "unlabeled-changed", "error", "The value for unlabeled records is another, new or gone."),
    Rule("LG318", "sentinel-handling-changed", "error", "on_ignore or on_unlabeled changed."),
    Rule("LG319", "label-rule-tightened", "error", "A rule of a label refuses what it accepted."),
    Rule("LG320", "label-rule-loosened", "error", "A rule of a label accepts what it refused."),
    Rule("LG321", "split-removed", "error", "A split is no longer declared."),
    Rule("LG322", "split-added", "warning", "A split is newly declared."),
    Rule("LG323", "split-renamed", "error", "A split has another name."),
    Rule("LG324", "split-size-changed", "warning", "A split promises another number of records."),
    Rule("LG325", "view-removed", "error", "A view is no longer declared."),
    Rule("LG326", "view-added", "warning", "A view is newly declared."),
    Rule("LG327", "view-renamed", "error", "A view has another name."),
    Rule("LG330", "name-changed", "error", "The dataset has another name."),
    Rule("LG331", "record-key-changed", "error", "Records are known by another key."),
    Rule("LG332", "limit-tightened", "warning", "An audit accepts less."),
    Rule("LG333", "limit-loosened", "warning", "An audit accepts more."),
    Rule("LG334", "documentation-changed", "warning", "A description or source changed."),
    Rule(
        "LG335", "encoding-changed", "error", "A label is stored in another form: encoding, values, separator, columns."
    ),
    Rule("LG336", "where-changed", "error", "Another feature says which positions of a label count."),
    Rule("LG340", "schema-removed", "error", "A schema file is gone."),
    Rule("LG341", "schema-added", "warning", "A schema file is new."),
    Rule("LG342", "schema-moved", "warning", "A schema file has another place."),
    Rule("LG343", "old-schema-unreadable", "error", "The earlier schema cannot be read, so nothing can be compared."),
    Rule("LG350", "version-not-moved", "error", "The version does not declare what changed."),
    Rule("LG351", "version-went-back", "error", "The version is lower than before."),
    Rule("LG401", "record-count-mismatch", "error", "There are more or fewer records than the metadata promise."),
    Rule("LG402", "unreadable-shard", "error", "A file of the dataset cannot be read to its end."),
    Rule("LG403", "class-never-used", "warning", "A declared class has no record."),
    Rule("LG404", "class-below-minimum", "error", "A class has fewer records than min_class_count."),
    Rule("LG405", "split-departs", "warning", "The class distribution of a split differs from train's."),
    Rule("LG406", "conflicting-duplicates", "error", "Records of the same content have different labels."),
    Rule("LG407", "shared-duplicates", "warning", "Records of the same content are in several splits."),
    Rule("LG408", "nothing-to-learn", "warning", "Every position of a record is ignored, unlabeled or not measured."),
)

RULES: dict[str, Rule] = {rule.code: rule for rule in _RULES}
