"""Every rule by its code: the registry, the values that report it, the page of each rule."""

from label_guard.rules.findings import Diagnostic, Violation
from label_guard.rules.registry import RULES, Rule

__all__ = ["RULES", "Diagnostic", "Rule", "Violation"]
