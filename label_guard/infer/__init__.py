"""A draft schema from metadata or from the data."""

from label_guard.infer.draft import Draft
from label_guard.infer.draft import infer as infer_schema

__all__ = ["Draft", "infer_schema"]
