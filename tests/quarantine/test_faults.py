"""The quarantine under real faults: killed processes, a full disk, a folder without rights, forks, many writers."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from label_guard.quarantine.reader import read_quarantine

# The program under test: appends its records in batches, then says so. argv: folder, first, last, process index.
RUN = """
import sys
import numpy as np
from label_guard.quarantine.options import BadRecord, Origin, QuarantineOptions
from label_guard.quarantine.writer import QuarantineWriter
from label_guard.rules.violation import Violation

def bad(key):
    image = np.random.default_rng(key).integers(0, 255, 1000 + 37 * (key % 100), np.uint8)
    found = (Violation("label", "LG101", key, "[0, 10)"),)
    return BadRecord(f"shard__{key}", {"label": np.int64(key), "image": image}, {"label": np.int64(key)}, found,
                     position=f"shard__{key}")

folder, first, last, index = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
writer = QuarantineWriter(QuarantineOptions(folder), Origin("d", "1.0.0", "x", "train", None, "s"), process_index=index)
"""
APPEND = """
print("started", flush=True)
for start in range(first, last, 5):
    writer.append([bad(key) for key in range(start, min(start + 5, last))])
print("done", flush=True)
"""
UNTIL_KILLED = """
import signal
signal.pause()
"""


def start(program: str, folder: Path, first: int, last: int, index: int = 0) -> subprocess.Popen[str]:
    """Run ``program`` as a process of its own."""
    command = [sys.executable, "-c", program, str(folder), str(first), str(last), str(index)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """What the process printed; it must have ended well."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def planted(first: int, last: int) -> list[str]:
    """Keys in the order in which they are read back."""
    return [f"shard__{key}" for key in range(first, last)]


def test_exactly_once_over_random_kills(tmp_path: Path) -> None:
    """Killed with SIGKILL again and again and restarted, the set read equals the planted set, each record once."""
    generator = random.Random(7)
    last = 400
    for _ in range(8):
        process = start(RUN + APPEND + UNTIL_KILLED, tmp_path, 0, last)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(generator.uniform(0.0, 0.03))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert finish(start(RUN + APPEND, tmp_path, 0, last)).endswith("done\n")
    contents = read_quarantine(str(tmp_path))
    assert [entry.record for entry in contents.entries] == planted(0, last)
    assert [int(entry.payload["label"]) for entry in contents.entries] == list(range(last))
    assert all(problem.kind == "torn" for problem in contents.problems)


def test_several_hosts_write_into_one_folder(tmp_path: Path) -> None:
    """Processes with overlapping records write at the same time, none harms another, each record is read once."""
    processes = [start(RUN + APPEND, tmp_path, 50 * index, 50 * index + 100, index) for index in range(3)]
    for process in processes:
        finish(process)
    contents = read_quarantine(str(tmp_path))
    assert [entry.record for entry in contents.entries] == planted(0, 200)
    assert contents.problems == ()
    assert contents.parts in (2, 3)  # the records of the middle one lie with the others, who may have been first


FULL = """
import resource
from label_guard.errors import QuarantineError

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
try:
    for key in range(first, last):
        writer.append([bad(key)])
except QuarantineError as error:
    print(key, error)
try:
    writer.append([bad(key) for key in range(key, key + 40)])
except QuarantineError as error:
    print("again", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for start in range(key, last):
    writer.append([bad(start)])
"""


def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    """A write cut off in the middle is a QuarantineError that says what to do; retried later, every record is there."""
    output = finish(start(RUN + FULL, tmp_path, 0, 60))
    first, again = output.splitlines()
    assert f"cannot write the quarantine {tmp_path}" in first
    assert "ulimit -f" in first
    assert again.startswith("again cannot write")
    contents = read_quarantine(str(tmp_path))
    assert [entry.record for entry in contents.entries] == planted(0, 60)
    assert [problem.kind for problem in contents.problems] == ["torn", "torn"]


NO_RIGHTS = """
import os
from label_guard.errors import QuarantineError

record = bad(first)  # made first: the user "nobody" may not be allowed to import what this needs
if os.getuid() == 0:
    os.setuid(65534)
try:
    writer.append([record])
except QuarantineError as error:
    print(error)
"""


def test_a_folder_without_rights_stops_the_run() -> None:
    """Writing into a folder that this user may not write is a QuarantineError that says so."""
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to other users
        Path(place).chmod(0o755)
        folder = Path(place, "read_only")
        folder.mkdir(mode=0o555)
        output = finish(start(RUN + NO_RIGHTS, folder, 0, 1))
        assert list(folder.iterdir()) == []
    assert "Permission denied" in output
    assert "make the folder writable" in output


FORK = """
import os

writer.append([bad(first)])
writer._lock.acquire()  # as another thread of the parent would hold it at this moment
child = os.fork()
if child == 0:
    writer.append([bad(first), bad(first + 1)])
    os._exit(0)
writer._lock.release()
assert os.waitpid(child, 0)[1] == 0
writer.append([bad(first + 2)])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_writes_a_part_of_its_own(tmp_path: Path) -> None:
    """Parent and child never write into one file, and a lock held while forking does not hang the child."""
    finish(start(RUN + FORK, tmp_path, 0, 3))
    contents = read_quarantine(str(tmp_path))
    assert [entry.record for entry in contents.entries] == planted(0, 3)
    assert (contents.parts, contents.lines) == (2, 3)
