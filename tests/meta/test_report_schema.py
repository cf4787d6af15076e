"""docs/audit_report.schema.json is the published form of the audit report."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from label_guard.audit import AuditReport

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "audit_report.schema.json"
MAKE = "import json; from label_guard.audit import AuditReport; print(json.dumps(AuditReport.json_schema(), indent=1))"


def test_the_published_schema_is_that_of_the_models() -> None:
    """A change of the report is seen in review."""
    published, models = json.loads(SCHEMA.read_text()), AuditReport.json_schema()
    # pydantic before 2.13 leaves out the docstring of a dataclass.
    models["$defs"]["OtherCause"].setdefault("description", published["$defs"]["OtherCause"]["description"])
    assert published == models, f"run: python -c '{MAKE}' > {SCHEMA.name}"


def test_a_report_fits_the_published_schema() -> None:
    """What the audit writes is what programs in other languages were promised; anything else is not."""
    validator = Draft202012Validator(AuditReport.json_schema())
    report = json.loads((ROOT / "tests" / "golden" / "audit" / "audit.json").read_text())
    assert list(validator.iter_errors(report)) == []
    assert list(validator.iter_errors({**report, "complete": "yes"}))
    assert list(validator.iter_errors({**report, "surprise": 1}))
