"""Schemas that the tests of several packages share."""

from __future__ import annotations

from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel

# A schema file of ten classes, for datasets with invalid labels at known places.
PLANTED = """
format: 1
name: planted
version: 1.0.0
labels:
  label: {kind: class_label, num_classes: 10}
"""


def one_label(path: str, num_classes: int) -> DatasetSchema:
    """A schema of one class label of scalars."""
    return DatasetSchema(format=1, name="n", version="1.0.0", labels={path: ClassLabel(num_classes=num_classes)})
