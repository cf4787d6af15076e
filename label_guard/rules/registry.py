"""All rules by code. docs/rules.md, ``label-guard rule`` and SARIF are generated from them.

Codes are stable and never reused: LG1xx a record, LG2xx a schema file, LG3xx a schema change, LG4xx a dataset.
"""

from __future__ import annotations

from label_guard.rules import change, dataset, record, schema_file
from label_guard.rules.rule import Rule

RULES: dict[str, Rule] = {
    rule.code: rule for rule in (*record.RULES, *schema_file.RULES, *change.RULES, *dataset.RULES)
}
