"""What changed between two versions of a schema, and what each change breaks."""

from label_guard.diff.changes import Change
from label_guard.diff.schemas import diff_schemas

__all__ = ["Change", "diff_schemas"]
