"""Schema files: the models, reading and writing them, finding them."""

from label_guard.schema.as_json_schema import json_schema
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel
from label_guard.schema.reader import load_schema
from label_guard.schema.writer import dump_schema

__all__ = [
    "ClassLabel",
    "DatasetSchema",
    "Label",
    "MultiLabel",
    "RealLabel",
    "SoftLabel",
    "dump_schema",
    "json_schema",
    "load_schema",
]
