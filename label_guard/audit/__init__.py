"""Every label of a dataset, folded into one report."""

from label_guard.audit.conclude import merge_reports, read_report
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import audit_dataset
from label_guard.audit.workers import AuditControl, Progress

__all__ = ["AuditControl", "AuditReport", "Progress", "audit_dataset", "merge_reports", "read_report"]
