"""What a rule is: its row in the table of rules, and its page. Examples are data, so that a test can run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SchemaExample:
    """A schema file that lint checks; without ``format:`` only what comes after the head is shown."""

    text: str


@dataclass(frozen=True, slots=True)
class RecordExample:
    """A record that a guard checks: a schema, and a Python expression of one record with NumPy as ``np``."""

    schema: str
    record: str
    split: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeExample:
    """Two versions of a schema file that diff compares; an empty one is a file that is not there.

    ``moved``: the later file has another name; ``fail_on``: as the option of ``label-guard diff``.
    """

    old: str
    new: str
    moved: bool = False
    fail_on: Literal["undeclared", "any"] = "undeclared"


@dataclass(frozen=True, slots=True)
class SourceExample:
    """A schema file compared with the metadata of a TFDS folder: the features, and the records of each split."""

    schema: str
    features: str
    splits: str = '{"train": 100}'


@dataclass(frozen=True, slots=True)
class DatasetExample:
    """A dataset that an audit reads: a schema, and Python expressions of the text of train.csv and test.csv."""

    schema: str
    train: str
    test: str | None = None


Example = SchemaExample | RecordExample | ChangeExample | SourceExample | DatasetExample


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, and all that its page shows.

    Attributes:
        code: such as ``LG101``; never reused.
        name: the pattern found, such as ``label-out-of-range``.
        summary: when the rule is broken, in one sentence.
        why: what happens to a training run, measured (optax 0.2.8 on jax 0.10.2) where a number is given.
        breaks: an example that breaks the rule.
        holds: the same, corrected.
        fix: what to do.
        severity: ``error`` or ``warning``.
    """

    code: str
    name: str
    summary: str
    why: str
    breaks: Example
    holds: Example
    fix: str
    severity: Literal["error", "warning"] = "error"
