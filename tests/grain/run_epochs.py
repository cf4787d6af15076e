"""A training run without the training: reads guarded batches, checkpoints after each few, resumes where it was.

usage: python run_epochs.py FOLDER WORKERS EPOCHS RECORDS [--until-killed]
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import grain
import numpy as np
from absl import flags

from label_guard.grain import guard_labels, keyed, summary
from label_guard.schema.dataset import DatasetSchema

SCHEMA = DatasetSchema.model_validate(
    {
        "format": 1,
        "name": "digits",
        "version": "1.0.0",
        "labels": {"label": {"kind": "class_label", "num_classes": 10}},
    }
)


def is_bad(position: int) -> bool:
    """The planted faults: 1 in 7, and a run of them at the end."""
    return position % 7 == 3


def records_of(number: int) -> list[dict[str, Any]]:
    """``number`` records, their position as id."""
    return [{"id": np.int64(k), "label": np.int64(99 if is_bad(k) else k % 10)} for k in range(number)]


def pipeline(folder: Path, workers: int, epochs: int, number: int) -> grain.IterDataset:
    """Shuffled, repeated, guarded; inside the workers where there are some."""
    ds = grain.MapDataset.source(keyed(records_of(number))).shuffle(seed=5).repeat(epochs)
    guarded = ds.to_iter_dataset(grain.ReadOptions(0, 0)).pipe(
        guard_labels, SCHEMA, batch_size=8, on_invalid="drop", quarantine=str(folder / "q"), stop_above=None
    )
    return guarded.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers)) if workers else guarded


def main() -> None:
    """Runs to the end, or until killed; with ``--until-killed`` it waits for that at its end."""
    folder, workers, epochs, number = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    flags.FLAGS.mark_as_parsed()
    checkpoint = folder / "checkpoint.json"
    iterator = iter(pipeline(folder, workers, epochs, number))
    delivered: list[int] = []
    if checkpoint.exists():
        saved = json.loads(checkpoint.read_text())
        iterator.set_state(saved["state"])
        delivered = saved["delivered"]
    for step, batch in enumerate(iterator):
        delivered += batch["id"].tolist()
        time.sleep(0.002)
        if step % 3 == 0:
            _save(checkpoint, {"state": iterator.get_state(), "delivered": delivered, "done": False})
    conserved = summary(iterator).is_conserved
    _save(checkpoint, {"state": iterator.get_state(), "delivered": delivered, "done": True, "conserved": conserved})
    if "--until-killed" in sys.argv:
        signal.pause()
    iterator.close()


def _save(path: Path, value: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value))
    new.replace(path)


if __name__ == "__main__":
    main()
