"""Checks labels in the input pipeline, before they reach a JAX loss that cannot raise.

Names are loaded on use: ``import label_guard`` costs next to nothing, and the command line starts without NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from label_guard.audit.report import AuditReport as AuditReport
    from label_guard.audit.runner import audit_dataset as audit_dataset
    from label_guard.check.guard import Guard as Guard
    from label_guard.check.result import CheckResult as CheckResult
    from label_guard.diff import diff_schemas as diff_schemas
    from label_guard.errors import HostStoppedError as HostStoppedError
    from label_guard.errors import InvalidLabelError as InvalidLabelError
    from label_guard.errors import LabelGuardError as LabelGuardError
    from label_guard.errors import MissingDependencyError as MissingDependencyError
    from label_guard.errors import NoValidRecordsError as NoValidRecordsError
    from label_guard.errors import QuarantineError as QuarantineError
    from label_guard.errors import SchemaChangedError as SchemaChangedError
    from label_guard.errors import SchemaError as SchemaError
    from label_guard.errors import SourceError as SourceError
    from label_guard.errors import TooManyInvalidError as TooManyInvalidError
    from label_guard.errors import UsageError as UsageError
    from label_guard.infer import infer_schema as infer_schema
    from label_guard.infer.check import CheckReport as CheckReport
    from label_guard.infer.check import check_labels as check_labels
    from label_guard.lint import lint_schema as lint_schema
    from label_guard.pipeline.coordination import stop_requested as stop_requested
    from label_guard.pipeline.counts import Summary as Summary
    from label_guard.pipeline.events import GuardEvent as GuardEvent
    from label_guard.pipeline.loader import guard_batches as guard_batches
    from label_guard.pipeline.options import GuardOptions as GuardOptions
    from label_guard.pipeline.record_keys import keyed as keyed
    from label_guard.pipeline.select import select_records as select_records
    from label_guard.quarantine.options import QuarantineOptions as QuarantineOptions
    from label_guard.quarantine.reader import read_quarantine as read_quarantine
    from label_guard.rules.diagnostic import Diagnostic as Diagnostic
    from label_guard.rules.violation import Violation as Violation
    from label_guard.schema.dataset import DatasetSchema as DatasetSchema
    from label_guard.schema.labels import ClassLabel as ClassLabel
    from label_guard.schema.labels import Label as Label
    from label_guard.schema.labels import MultiLabel as MultiLabel
    from label_guard.schema.labels import RealLabel as RealLabel
    from label_guard.schema.labels import SoftLabel as SoftLabel
    from label_guard.schema.reader import load_schema as load_schema
    from label_guard.schema.writer import dump_schema as dump_schema

_HOMES = {
    "AuditReport": "audit.report",
    "CheckReport": "infer.check",
    "CheckResult": "check.result",
    "ClassLabel": "schema.labels",
    "DatasetSchema": "schema.dataset",
    "Diagnostic": "rules.diagnostic",
    "Guard": "check.guard",
    "GuardEvent": "pipeline.events",
    "GuardOptions": "pipeline.options",
    "HostStoppedError": "errors",
    "InvalidLabelError": "errors",
    "Label": "schema.labels",
    "LabelGuardError": "errors",
    "MissingDependencyError": "errors",
    "MultiLabel": "schema.labels",
    "NoValidRecordsError": "errors",
    "QuarantineError": "errors",
    "QuarantineOptions": "quarantine.options",
    "RealLabel": "schema.labels",
    "SchemaChangedError": "errors",
    "SchemaError": "errors",
    "SoftLabel": "schema.labels",
    "SourceError": "errors",
    "Summary": "pipeline.counts",
    "TooManyInvalidError": "errors",
    "UsageError": "errors",
    "Violation": "rules.violation",
    "audit_dataset": "audit.runner",
    "check_labels": "infer.check",
    "diff_schemas": "diff",
    "dump_schema": "schema.writer",
    "guard_batches": "pipeline.loader",
    "infer_schema": "infer",
    "keyed": "pipeline.record_keys",
    "lint_schema": "lint",
    "load_schema": "schema.reader",
    "read_quarantine": "quarantine.reader",
    "select_records": "pipeline.select",
    "stop_requested": "pipeline.coordination",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'label_guard' has no attribute {name!r}")
    return getattr(importlib.import_module(f"label_guard.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
