"""Exactly once under real kills: SIGKILL at random points, resumed from the last checkpoint, over epochs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from label_guard.quarantine.reader import read_quarantine

SCRIPT = Path(__file__).with_name("run_epochs.py")
LIMIT_SECONDS = 300  # a machine may be busy; a hang is forever


def _run(folder: Path, workers: int, number: int, kill_after: float | None) -> None:
    """Starts the run, and kills it with its workers ``kill_after`` seconds after it got going; None: to its end."""
    checkpoint = folder / "checkpoint.json"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    command = [sys.executable, str(SCRIPT), str(folder), str(workers), "2", str(number)]
    command += [] if kill_after is None else ["--until-killed"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if kill_after is None:
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0, output.decode()[-2000:]
        return
    deadline = time.monotonic() + LIMIT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
            time.sleep(kill_after)
            break
        time.sleep(0.005)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == -signal.SIGKILL, output.decode()[-2000:]


def _assert_exactly_once(folder: Path, workers: int, kills: int, number: int) -> None:
    chance = random.Random(workers * 100 + kills)
    for _ in range(kills):
        _run(folder, workers, number, chance.uniform(0.0, 0.15))
    _run(folder, workers, number, None)
    saved = json.loads((folder / "checkpoint.json").read_text())
    good = [k for k in range(number) if k % 7 != 3]
    assert saved["done"]
    assert saved["conserved"]
    assert sorted(saved["delivered"]) == sorted(good * 2)
    entries = read_quarantine(str(folder / "q")).entries
    assert sorted(int(entry.record or -1) for entry in entries) == [k for k in range(number) if k % 7 == 3]


@pytest.mark.parametrize(("workers", "kills"), [(0, 2), (2, 1)])
def test_kills(tmp_path: Path, workers: int, kills: int) -> None:
    """A run that is killed delivers each good record once an epoch, and the quarantine holds each bad one once."""
    _assert_exactly_once(tmp_path, workers, kills, number=2000)


@pytest.mark.long
@pytest.mark.parametrize(("workers", "kills"), [(0, 20), (2, 12)])
def test_many_kills(tmp_path: Path, workers: int, kills: int) -> None:
    """As above, over many kills."""
    _assert_exactly_once(tmp_path, workers, kills, number=6000)
