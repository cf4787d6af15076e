"""Threads, forks, spawned processes, asynchronous checkpoints and xdist: each ends within its limit, records whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from label_guard.quarantine.reader import read_quarantine

LIMIT_SECONDS = 300  # three imports of Grain on a loaded machine; a deadlock is forever
NUMBER = 400
BAD = [k for k in range(NUMBER) if k % 9 == 4]

COMMON = """
import sys, threading
import grain, numpy as np
from absl import flags
from label_guard import DatasetSchema, guard_batches
from label_guard.grain import data_loader_operations, guard_labels, keyed, summary

FOLDER, NUMBER = sys.argv[1], 400
SCHEMA = DatasetSchema.model_validate({"format": 1, "name": "n", "version": "1.0.0",
    "labels": {"y": {"kind": "class_label", "num_classes": 4}}})
RECORDS = keyed([{"id": np.int64(k), "y": np.int64(4 if k % 9 == 4 else k % 4)} for k in range(NUMBER)])
OPTIONS = {"on_invalid": "drop", "quarantine": FOLDER + "/q"}

def dataset(**options):
    return grain.MapDataset.source(RECORDS).to_iter_dataset().pipe(
        guard_labels, SCHEMA, batch_size=4, stop_above=None, **OPTIONS, **options)

def check(batches):
    ids = sorted(int(k) for batch in batches for k in batch["id"])
    assert ids == [k for k in range(NUMBER) if k % 9 != 4], len(ids)
"""

PROGRAMS = {
    # Operations inside the worker processes of a DataLoader.
    "data-loader": """
def main():
    check(grain.DataLoader(
        data_source=RECORDS, sampler=grain.samplers.IndexSampler(num_records=NUMBER, num_epochs=1), worker_count=2,
        operations=[*data_loader_operations(SCHEMA, source=RECORDS, **OPTIONS), grain.transforms.Batch(4)]))
""",
    # The guard behind processes and before a thread, its iterator given up half-way and closed each time.
    "prefetch": """
def main():
    ds = grain.MapDataset.source(RECORDS).to_iter_dataset().mp_prefetch(grain.MultiprocessingOptions(num_workers=1))
    ds = ds.pipe(guard_labels, SCHEMA, batch_size=4, stop_above=None, **OPTIONS)
    threaded = grain.experimental.ThreadPrefetchIterDataset(ds, prefetch_buffer_size=4)
    iterator = iter(threaded)
    next(iterator)
    iterator.close()
    check(threaded)
""",
    # Checkpoints written by Orbax's threads while the guard goes on; the last one is restored.
    "orbax": """
import warnings
warnings.simplefilter("ignore")
import orbax.checkpoint as ocp

def main():
    ds = dataset().mp_prefetch(grain.MultiprocessingOptions(num_workers=1))
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
    with ocp.CheckpointManager(FOLDER + "/checkpoints", options=options) as manager:
        iterator = iter(ds)
        batches = []
        for step, batch in enumerate(iterator):
            batches.append(batch)
            if step % 20 == 10:
                manager.save(step, args=ocp.args.Composite(
                    data=grain.checkpoint.CheckpointSave(iterator), x=ocp.args.StandardSave({"x": np.ones(200_000)})))
        iterator.close()
        manager.wait_until_finished()
        last = manager.latest_step()
        again = iter(ds)
        manager.restore(last, args=ocp.args.Composite(data=grain.checkpoint.CheckpointRestore(again)))
        check([*batches[: last + 1], *again])
        again.close()
""",
    # Threads and forks: each thread has an iterator, and children are forked while the others write.
    "threads": """
import os, warnings
warnings.simplefilter("ignore")  # Python says what this test is about: fork and threads

def read(found, k):
    found[k] = list(dataset(process_index=k))

def main():
    found = {}
    threads = [threading.Thread(target=read, args=(found, k)) for k in range(4)]
    for thread in threads:
        thread.start()
    batches = [{"id": np.arange(4), "y": np.array([0, 1, 2, 4])}] * 50
    children = []
    for k in range(4):
        child = os.fork()
        if not child:
            list(guard_batches(batches, SCHEMA, on_invalid="mask", stop_above=None, quarantine=FOLDER + "/other"))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    for thread in threads:
        thread.join()
    for batches in found.values():
        check(batches)
""",
    # A spawned process gets a pickled iterable and guards it.
    "spawn": """
import multiprocessing

def child(queue):
    queue.put([batch["id"].tolist() for batch in dataset(process_index=1)])

def main():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    mine = list(dataset())
    theirs = [{"id": ids} for ids in queue.get(timeout=240)]
    process.join(240)
    check(mine)
    check(theirs)
""",
}
END = """
if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()
    main()
    print("done", flush=True)
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_ends(tmp_path: Path, name: str) -> None:
    """The program ends in time, each good record came once, and each bad one is in the quarantine once."""
    script = tmp_path / "program.py"
    script.write_text(COMMON + PROGRAMS[name] + END)
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.stdout.endswith("done\n"), done.stderr[-3000:]
    assert done.returncode == 0, done.stderr[-3000:]
    entries = read_quarantine(str(tmp_path / "q")).entries
    assert sorted(int(entry.payload["id"]) for entry in entries) == BAD


UNDER_XDIST = """
import pathlib
import pytest
from program import OPTIONS, check, dataset, flags
import grain

flags.FLAGS.mark_as_parsed()

@pytest.mark.parametrize("case", range(4))
def test_case(case):
    guarded = dataset(process_index=case)
    check(guarded.mp_prefetch(grain.MultiprocessingOptions(num_workers=1)) if case % 2 else guarded)
"""


@pytest.mark.long
def test_it_ends_under_xdist(tmp_path: Path) -> None:
    """Test processes of xdist, each with Grain workers of its own, write into one quarantine."""
    (tmp_path / "program.py").write_text(COMMON.replace("sys.argv[1]", repr(str(tmp_path))))
    (tmp_path / "test_program.py").write_text(UNDER_XDIST)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "test_program.py"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        cwd=tmp_path,
        env=_environment(tmp_path),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "4 passed" in done.stdout
    entries = read_quarantine(str(tmp_path / "q")).entries
    assert sorted(int(entry.payload["id"]) for entry in entries) == BAD


def _environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(folder), kept.get("PYTHONPATH", "")])}
