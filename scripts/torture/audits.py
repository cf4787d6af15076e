"""Audits under faults, for ``torture.py``: killed, interrupted, with a worker killed, given corrupt shards."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from guarded import bad_label, is_bad
from lives import PATIENCE_S, Figures, children, end, fork, wait

from label_guard.core.plural import counted
from label_guard.quarantine.reader import read_quarantine

SHARDS, RECORDS = 4, 3000  # of each shard
SCHEMA = """
format: 1
name: toy
version: 1.0.0
labels: {label: {kind: class_label, num_classes: 10}}
splits: {train: {source: "tfds:.", num_examples: %d}}
"""
# How a process may die of a fault; Ctrl-C kills one that has printed its report and is on its way out.
_ENDS = {
    "audit killed": -signal.SIGKILL,
    "parent of workers killed": -signal.SIGKILL,
    "audit interrupted": -signal.SIGINT,
}
FAULTS = ("kill", "interrupt", "worker", "parent", "corrupt")
ORPHAN_SECONDS = 30.0  # workers end within a second of their parent; the machine may be busy


@dataclass(frozen=True)
class Data:
    """A dataset in a folder, with planted faults; some of its shards are corrupt."""

    folder: Path

    def make(self) -> int:
        """Write it as TFDS does; 0."""
        import tensorflow_datasets as tfds  # here: the workers of other scenarios import what this module imports
        from array_record.python.array_record_module import ArrayRecordWriter

        features = tfds.features.FeaturesDict({"label": tfds.features.Scalar(np.int64)})
        features.save_config(self.folder)
        for shard in range(SHARDS):
            writer = ArrayRecordWriter(str(self.path(shard)), "group_size:1")
            for row in range(RECORDS):
                label = bad_label(row) if is_bad(row) else row % 10
                writer.write(features.serialize_example({"label": label}))
            writer.close()
        split = {"name": "train", "shardLengths": [str(RECORDS)] * SHARDS, "numBytes": "1"}
        split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        info = {"name": "toy", "version": "1.0.0", "fileFormat": "array_record", "splits": [split]}
        (self.folder / "dataset_info.json").write_text(json.dumps(info))
        (self.folder / "toy.yaml").write_text(SCHEMA % (SHARDS * RECORDS))
        return 0

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / f"toy-train.array_record-{shard:05}-of-{SHARDS:05}"

    def corrupt(self, shard: int, chance: random.Random) -> None:
        """Flip bytes, blank a stretch or cut the end off."""
        data = bytearray(self.path(shard).read_bytes())
        place = chance.randrange(len(data))
        match chance.choice(("flip", "blank", "cut")):
            case "flip":
                data[place] ^= 1 << chance.randrange(8)
            case "blank":
                data[place : place + 4096] = bytes(len(data[place : place + 4096]))
            case _:
                del data[place:]
        self.path(shard).write_bytes(bytes(data))


def run_audits(place: Path, lives: int, chance: random.Random, figures: Figures) -> None:
    """Audit one dataset through faults, and check what the last audit says of it."""
    data = Data(place)
    # In a process of its own: ArrayRecord starts threads, which later forks of this one would not survive.
    if wait(fork(data.make, place / "make.log"), PATIENCE_S) != 0:
        raise RuntimeError((place / "make.log").read_text())
    damaged: set[int] = set()
    for _ in range(lives):
        fault = chance.choice(FAULTS)
        if fault == "corrupt":
            if len(damaged) < SHARDS - 1:
                shard = chance.choice([shard for shard in range(SHARDS) if shard not in damaged])
                data.corrupt(shard, chance)
                damaged.add(shard)
                figures.faults["shard corrupted"] += 1
            continue
        _one_life(place, fault, chance, figures)
    pid = fork(lambda: _audit(place, "0"), place / "life.log")
    figures.lives += 1
    _check(place, damaged, wait(pid, PATIENCE_S), figures)
    figures.runs += 1


def _audit(place: Path, workers: str) -> int:
    os.chdir(place)
    (place / "report.json").unlink(missing_ok=True)
    arguments = ["--workers", workers, "--quarantine", "q", "--report", "json=report.json"]
    # Not called here: its workers are spawned, and would import all that the harness has.
    os.execv(sys.executable, [sys.executable, "-m", "label_guard", "audit", "toy.yaml", *arguments])


def _one_life(place: Path, fault: str, chance: random.Random, figures: Figures) -> None:
    figures.lives += 1
    log = place / "life.log"
    log.write_bytes(b"")
    workers = "2" if fault in ("worker", "parent") or chance.random() < 0.2 else "0"
    pid = fork(lambda: _audit(place, workers), log)
    status = wait(pid, chance.uniform(0.3, 0.9 if workers == "2" else 0.7))
    done = ""
    if status is None:
        done = _strike(pid, fault, chance, figures)
        figures.faults[done] += 1
        status = wait(pid, PATIENCE_S)
    if status is None:
        figures.hangs += 1
    end(pid)
    if status is None:
        wait(pid, PATIENCE_S)
    text = log.read_text(errors="replace")
    raised = "Traceback" in text and not text.rstrip().endswith("KeyboardInterrupt")  # before our handler was set
    if status == 0 or raised or ((status or 0) < 0 and status != _ENDS.get(done)):
        figures.wrong.append(f"an audit of bad labels under {fault!r} ended with {status}: {text[-800:]}")
    report = place / "report.json"
    if report.exists():  # a report is written whole, or not at all
        _check_report(json.loads(report.read_text()), figures)


def _strike(pid: int, fault: str, chance: random.Random, figures: Figures) -> str:
    if fault == "worker":
        deadline = time.monotonic() + 1
        while not (workers := children(pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if workers:
            time.sleep(chance.uniform(0, 0.4))
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
            return "audit worker killed"
    if fault == "parent":
        workers = children(pid)
        os.kill(pid, signal.SIGKILL)  # the parent alone, as the system does when memory runs out
        _expect_ended(workers, figures)
        return "parent of workers killed"
    if fault == "interrupt":
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGINT)  # as the terminal does
        return "audit interrupted"
    end(pid)
    return "audit killed"


def _expect_ended(workers: list[int], figures: Figures) -> None:
    """Workers of a killed audit end by themselves."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := [pid for pid in workers if _is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    if left:
        figures.wrong.append(f"{len(left)} of {counted(len(workers), 'worker')} outlived the audit")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _check_report(report: dict[str, Any], figures: Figures) -> None:
    (split,) = report["splits"]
    if report["complete"] and split["records"] != SHARDS * RECORDS:
        text = f"{split['records']} of {SHARDS * RECORDS} records"
        figures.wrong.append(f"an audit that read {text} calls itself complete")


def _check(place: Path, damaged: set[int], status: int | None, figures: Figures) -> None:
    """Sound shards are accounted for to the last record; of damaged ones nothing is made up."""
    if status not in (1, 2):
        figures.wrong.append(f"the last audit ended with {status}")
    report = json.loads((place / "report.json").read_text())
    _check_report(report, figures)
    if not damaged and not report["complete"]:
        figures.wrong.append("the audit of a sound dataset is incomplete")
    found: Counter[str] = Counter()
    for entry in read_quarantine(str(place / "q")).entries:
        if entry.violations[0].rule != "LG120":
            found[str(entry.record)] += 1
    data = Data(place)
    sound = [shard for shard in range(SHARDS) if shard not in damaged]
    bad = [row for row in range(RECORDS) if is_bad(row)]
    names = {shard: f"{data.path(shard).name}__" for shard in range(SHARDS)}
    hidden = len(bad) * SHARDS - found.total()
    if report["complete"] and hidden > report["splits"][0]["unreadable"]:
        figures.wrong.append(f"of {hidden} bad records nothing is said, and the audit calls itself complete")
    for shard in range(SHARDS):
        rows = [int(key.removeprefix(names[shard])) for key in found.elements() if key.startswith(names[shard])]
        # What of a damaged shard is in the quarantine was bad, once each; what is missing was reported as unreadable.
        figures.compare(rows, bad if shard in sound else sorted(set(rows) & set(bad)), names[shard])
