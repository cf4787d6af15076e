"""Processes that are killed and restarted, and what is counted, for ``torture.py``."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_S = 90  # a life that takes longer hangs


@dataclass
class Figures:
    """What a scenario did, and what it found.

    Attributes:
        runs: brought to their end and checked.
        lives: processes, or groups of them.
        faults: number of each fault that took effect.
        lost: records neither delivered nor in the quarantine.
        twice: records delivered or read more than once.
        wrong: records that are where they must not be, and other breaches, in words.
        hangs: lives that had to be ended.
    """

    runs: int = 0
    lives: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    twice: int = 0
    wrong: list[str] = field(default_factory=list)
    hangs: int = 0

    @property
    def sound(self) -> bool:
        """Whether every promise held."""
        return not (self.lost or self.twice or self.wrong or self.hangs)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "faults": dict(self.faults)}

    def compare(self, found: list[int], expected: list[int], what: str) -> None:
        """Counts what is missing from ``found``, and what is there too often or wrongly."""
        left, right = Counter(found), Counter(expected)
        self.lost += (right - left).total()
        surplus = left - right
        self.twice += sum(count for key, count in surplus.items() if key in right)
        if strangers := sorted(key for key in surplus if key not in right):
            self.wrong.append(f"{what}: {strangers[:5]}")


def fork(task: Callable[[], int], log: Path) -> int:
    """Run ``task`` in a process, and process group, of its own. Real, and without the seconds of imports."""
    pid = os.fork()
    if pid:
        with suppress(PermissionError, ProcessLookupError):  # it has gone on already
            os.setpgid(pid, pid)  # here too: a signal to its group must not come before the group
        return pid
    status = 70
    try:
        os.setpgid(0, 0)
        with log.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        status = task()
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pid: int, seconds: float) -> int | None:
    """The exit status of a process, negative for a signal; None where it goes on after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.002)


def wait_until_held(pid: int, seconds: float) -> int | None:
    """The exit status of a process that ended without stopping itself; None once it did, or after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found:
            return None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def hold() -> None:
    """Stop this process until it gets SIGCONT, or is killed."""
    os.kill(os.getpid(), signal.SIGSTOP)


def end(pid: int) -> None:
    """Kill a process and its group; what of it goes on after its parent too."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The worker processes of ``pid``, without multiprocessing's tracker of resources."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == pid and b"spawn_main" in command:
            found.append(int(path.parent.name))
    return found
