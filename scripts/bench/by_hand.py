"""The least that a stage can do about bad labels after ``.batch``: what the guard is compared with.

One test of the range, one JSON line with payload and digest, one write, and the next batch fills the gaps. No schema,
no names, no counts, no state: a restored run repeats and loses records, and a killed one leaves a torn line.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import grain
import numpy as np

CLASSES = 10


def by_hand(dataset: Any, folder: str) -> Any:
    """A stage that leaves bad records out of ``dataset`` and writes them to ``folder``."""
    return _ByHand(dataset, folder)


class _ByHand(grain.IterDataset):
    def __init__(self, parent: Any, folder: str) -> None:
        super().__init__(parent)
        self._folder = folder

    def __iter__(self) -> Any:
        return _ByHandIterator(self._parent.__iter__(), self._folder)


class _ByHandIterator(grain.DatasetIterator):
    def __init__(self, parent: Any, folder: str) -> None:
        super().__init__(parent)
        self._file = Path(folder, "bad.jsonl").open("ab", buffering=0)  # noqa: SIM115  # close closes it
        self._spare: Any = None
        self._used = 0

    def __next__(self) -> Any:
        batch = next(self._parent)
        labels = batch["label"].view(np.uint32)
        if np.maximum.reduce(labels) < CLASSES:
            return batch
        bad = np.flatnonzero(labels >= CLASSES)
        self._file.write(b"".join(_line(batch, row) for row in bad.tolist()))
        if self._spare is None or self._used + len(bad) > len(self._spare["label"]):
            self._spare, self._used = next(self._parent), 0
        kept, rows = np.flatnonzero(labels < CLASSES), slice(self._used, self._used + len(bad))
        self._used = rows.stop
        return {name: np.concatenate([array[kept], self._spare[name][rows]]) for name, array in batch.items()}

    def close(self) -> None:
        self._file.close()
        super().close()

    def get_state(self) -> Any:
        return self._parent.get_state()

    def set_state(self, state: Any) -> None:
        self._parent.set_state(state)


def _line(batch: Any, row: int) -> bytes:
    image, label = batch["image"][row], int(batch["label"][row])
    stored = image.tobytes()
    fields = {
        "rule": "out of range",
        "value": label,
        "time": time.time(),
        "digest": hashlib.blake2b(stored + label.to_bytes(8)).hexdigest(),
        "image": {"dtype": "uint8", "shape": image.shape, "data": base64.b64encode(stored).decode()},
    }
    return json.dumps(fields).encode() + b"\n"
