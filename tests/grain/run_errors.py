"""Runs guards inside a Grain worker into each of their errors and prints what arrived in the main process.

usage: python run_errors.py FOLDER CASE...
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grain
import numpy as np
from absl import app

from label_guard.errors import LabelGuardError
from label_guard.grain import guard_labels, keyed
from label_guard.quarantine.options import QuarantineOptions
from label_guard.schema.dataset import DatasetSchema

SCHEMA = DatasetSchema.model_validate(
    {
        "format": 1,
        "name": "digits",
        "version": "1.0.0",
        "labels": {"label": {"kind": "class_label", "num_classes": 10}},
    }
)


def pipeline(labels: list[int], epochs: int | None, batch_size: int, **options: Any) -> grain.IterDataset:
    """A guard inside one worker."""
    records = [{"label": np.int64(label)} for label in labels]
    ds = grain.MapDataset.source(keyed(records)).repeat(epochs).to_iter_dataset(grain.ReadOptions(0, 0))
    ds = ds.pipe(guard_labels, SCHEMA, batch_size=batch_size, **options)
    return ds.mp_prefetch(grain.MultiprocessingOptions(num_workers=1))


def outcome(ds: grain.IterDataset) -> dict[str, Any]:
    """The error that ends ``ds``, as the main process sees it."""
    iterator = iter(ds)
    try:
        for _ in iterator:
            pass
    except LabelGuardError as error:
        return {
            "type": type(error).__name__,
            "message": str(error),
            "records": [violation.record for violation in getattr(error, "violations", ())],
            "counts": getattr(error, "counts", {}),
        }
    finally:
        iterator.close()
    return {"type": "none"}


def main(arguments: list[str]) -> None:
    """Print one JSON object: by case, what arrived."""
    folder = Path(arguments[1])
    keys_only = QuarantineOptions(str(folder / "bad"), payload="none")
    cases = {
        "raise": pipeline([1, 2, 99, -1], 1, 4, on_invalid="raise"),
        "quarantine": pipeline([1, 2, 99, -1], 1, 4, quarantine=str(folder / "file"), stop_above=None),
        "share": pipeline([99] * 40, 1, 32, quarantine=str(folder / "many")),
        "none valid": pipeline([99] * 100, None, 500, quarantine=keys_only, stop_above=None),
    }
    (folder / "file").write_text("not a folder")
    print(json.dumps({name: outcome(ds) for name, ds in cases.items() if name in arguments[2:]}))


if __name__ == "__main__":
    app.run(main)
