"""Right and wrong calls of the guard's entry points, for test_typing.py; it is only type-checked, never imported.

A line with ``# wrong: TEXT`` must be an error whose message contains TEXT; every other line must be accepted.
"""

from pathlib import Path
from typing import Any

from label_guard import ClassLabel, DatasetSchema, GuardOptions, QuarantineOptions, guard_batches
from label_guard.grain import data_loader_operations, guard_labels


def calls(batches: list[dict[str, Any]]) -> None:
    """Never called."""
    schema = DatasetSchema(format=1, name="d", version="1.0.0", labels={"label": ClassLabel(num_classes=10)})
    shared: GuardOptions = {"on_invalid": "mask", "split": "train"}

    guard_batches(batches, schema, on_invalid="mask", stop_above=None)
    guard_batches(batches, "digits.yaml", quarantine=Path("q"), batch_size=4, remainder="pad")
    guard_batches(batches, Path("digits.yaml"), quarantine=QuarantineOptions("q"))
    guard_batches(batches, {"label": ClassLabel(num_classes=10)}, valid_key=None, on_invalid="raise")
    guard_batches(batches, schema, **shared)
    guard_labels(batches, schema, valid_key="weights", valid_dtype="float32", batched=True, name="a")
    guard_labels(batches, schema, coordinated=True, keep_key=True, allow_schema_change=True, view="batch")
    data_loader_operations(schema, quarantine="q", process_index=1, source=None)

    guard_batches(batches, schema, on_invald="mask")  # wrong: on_invald
    guard_labels(batches, schema, batchsize=4)  # wrong: batchsize
    data_loader_operations(schema, policy="drop")  # wrong: policy
    guard_batches(batches, schema, on_invalid="discard")  # wrong: discard
    guard_labels(batches, schema, remainder="keep")  # wrong: keep
    guard_batches(batches, schema, batch_size="4")  # wrong: batch_size
    guard_labels(batches, schema, stop_above="5%")  # wrong: stop_above
    guard_batches(batches, schema, batched="yes")  # wrong: batched
    guard_labels(batches, 10)  # wrong: "schema"
    guard_batches(batches, {"label": 10})  # wrong: "schema"
    guard_batches(batches)  # wrong: schema
    shared.update({"splt": "train"})  # wrong: splt
