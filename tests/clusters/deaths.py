"""A worker that dies at the worst moment: after it has written invalid records, before anybody has its result."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from label_guard.audit.fold import SplitFold
from label_guard.audit.shard import ShardAuditor
from label_guard.sources.base import Shard

LIVES = "LABEL_GUARD_TEST_LIVES"  # a folder: each file in it lets one worker die


class MortalAuditor(ShardAuditor):
    """Ends its process after it has read a shard that is to kill it, once or always."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.jobs, os.environ[LIVES], list(sys.path))

    def __call__(self, item: tuple[int, Shard], go_on: Callable[[int], bool] | None = None) -> SplitFold:
        """Reads the shard; a file of the folder named as the shard is a life, one named ``always-...`` many."""
        found = super().__call__(item, go_on)
        folder = Path(os.environ[LIVES])
        if (folder / f"always-{item[1].name}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        life = folder / item[1].name
        if life.exists():
            life.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return found


def _made(jobs: Any, lives: str, path: list[str]) -> MortalAuditor:
    os.environ[LIVES] = lives
    sys.path[:] = path
    return MortalAuditor(jobs)
