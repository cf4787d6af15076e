"""Every rule by its code, with its page; the values that report a broken one."""

from label_guard.rules.diagnostic import Diagnostic, Severity
from label_guard.rules.registry import RULES
from label_guard.rules.rule import Rule
from label_guard.rules.violation import Violation

__all__ = ["RULES", "Diagnostic", "Rule", "Severity", "Violation"]
