"""The training run under faults: guarded batches, checkpoints after each few, resumed where it was."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np
from absl import flags
from lives import hold

from label_guard import DatasetSchema
from label_guard.errors import QuarantineError
from label_guard.grain import guard_labels, keyed, summary

SCHEMA = DatasetSchema.model_validate(
    {"format": 1, "name": "d", "version": "1.0.0", "labels": {"label": {"kind": "class_label", "num_classes": 10}}}
)
BATCH, EPOCHS = 8, 2
DISK_FULL = 3  # exit status


@dataclass(frozen=True)
class Run:
    """One host's run.

    Attributes:
        folder: of its checkpoint.
        quarantine: of all hosts.
        policy: ``drop`` or ``mask``.
        workers: Grain worker processes; the guard is inside them.
        hosts: number of simulated hosts, which share the records.
        host: which of them.
        number: records of the whole dataset.
        batches: whether the guard comes after a batch, and not in place of it.
        reused: whether batches, or else records, all live in the same arrays.
    """

    folder: Path
    quarantine: Path
    policy: str
    workers: int = 0
    hosts: int = 1
    host: int = 0
    number: int = 3000
    batches: bool = False
    reused: bool = False

    @property
    def good(self) -> list[int]:
        """Ids that must be delivered, once an epoch."""
        return [k for k in range(self.host, self.number, self.hosts) if not is_bad(k)]

    @property
    def bad(self) -> list[int]:
        """Ids that must be in the quarantine, once."""
        return [k for k in range(self.host, self.number, self.hosts) if is_bad(k)]

    def saved(self) -> dict[str, Any]:
        """The last checkpoint."""
        path = self.folder / "checkpoint.json"
        return json.loads(path.read_text()) if path.exists() else {"delivered": [], "sizes": {}, "done": False}

    def unsaved(self) -> list[Path]:
        """Files of the quarantine that have grown since the last checkpoint."""
        sizes = self.saved()["sizes"]
        paths = sorted(self.quarantine.glob("*"))
        return [path for path in paths if path.stat().st_size > sizes.get(path.name, 0)]


def is_bad(position: int) -> bool:
    """The planted faults."""
    return position % 7 == 3


def bad_label(position: int) -> int:
    """Too large, negative, or legal once cast to int32."""
    return (10, -1, 2**32 + 1)[position % 3]


def _record(k: int) -> dict[str, Any]:
    label = bad_label(k) if is_bad(k) else k % 10
    return {"id": np.int64(k), "label": np.int64(label), "image": np.full(64, k % 251, np.uint8)}


class SameArrays(grain.transforms.Map):
    """Returns every element in the same arrays, as loaders do that reuse their buffers."""

    def __init__(self) -> None:
        self._arrays: dict[str, Any] = {}

    def map(self, element: Any) -> Any:
        for name, value in element.items():
            array = self._arrays.setdefault(name, np.empty_like(np.asarray(value)))
            if array.shape != np.shape(value):
                return element  # the last batch, a short one
            array[...] = value
        return dict(self._arrays)


def _pipeline(run: Run) -> grain.IterDataset:
    records = grain.MapDataset.source(keyed([_record(k) for k in range(run.number)]))
    dataset = records[run.host :: run.hosts].shuffle(seed=5).repeat(EPOCHS).to_iter_dataset(grain.ReadOptions(0, 0))
    if run.batches:
        dataset = dataset.batch(BATCH)
    if run.reused:
        dataset = dataset.map(SameArrays())
    guarded = dataset.pipe(
        guard_labels,
        SCHEMA,
        batch_size=BATCH,
        on_invalid=run.policy,
        quarantine=str(run.quarantine),
        stop_above=None,
        process_index=run.host,
    )
    if not run.workers:
        return guarded
    return guarded.mp_prefetch(grain.MultiprocessingOptions(num_workers=run.workers))


def live(run: Run, max_file_bytes: int | None = None, hold_after: int | None = None) -> int:
    """Run to the end, or until killed; the exit status.

    Args:
        run: what to run.
        max_file_bytes: size that no file of the quarantine may exceed, as on a full disk.
        hold_after: batches after which the run stops itself, once the quarantine is ahead of the last checkpoint.
    """
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    if max_file_bytes is not None:
        _limit_files(max_file_bytes)
    saved = run.saved()
    iterator = iter(_pipeline(run))
    delivered: list[int] = saved["delivered"]
    if "state" in saved:
        iterator.set_state(saved["state"])
    try:
        for step, batch in enumerate(iterator):
            valid = batch.get("label_valid", np.ones(len(batch["id"]), np.bool_))
            if not ((batch["label"] >= 0) & (batch["label"] < 10)).all():
                raise AssertionError(f"a bad label reached the loop: {batch['label']}")
            delivered += batch["id"][valid].tolist()
            time.sleep(0.0005)  # the step
            if step % 3 == 0:
                _save(run, iterator, delivered, done=False)
            if hold_after is not None and step >= hold_after and run.unsaved():
                hold()
    except QuarantineError as error:
        _limit_files(None)  # the log is a file too
        print(f"{type(error).__name__}: {error}", flush=True)
        return DISK_FULL
    _save(run, iterator, delivered, done=True)
    iterator.close()
    return 0


def _save(run: Run, iterator: Any, delivered: list[int], *, done: bool) -> None:
    state = iterator.get_state()
    sizes = {path.name: path.stat().st_size for path in run.quarantine.glob("*")}
    conserved = summary(iterator).is_conserved
    text = json.dumps({"state": state, "delivered": delivered, "sizes": sizes, "done": done, "conserved": conserved})
    new = run.folder / "checkpoint.new"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    _limit_files(None)  # only the quarantine's disk is full
    new.write_text(text)
    new.replace(run.folder / "checkpoint.json")
    _limit_files(limit)


def _limit_files(size: int | None) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))
