"""Temporary folders and files that a killed process leaves behind, removed by the next run."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves stays there
    fcntl = None

_MIN_AGE = 1.0  # seconds: a younger one may not have its lock yet


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Generator[Path]:
    """A folder that is removed at the end. Folders of this prefix that killed processes left are removed first.

    Args:
        prefix: start of its name.
        parent: where to make it; the system's folder for temporary files, where None.

    Raises:
        OSError: it cannot be made.
    """
    place = parent or Path(tempfile.gettempdir())
    remove_orphans(place, re.escape(prefix) + "[a-z0-9_]{8}")
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True) as folder, locked(folder):
        yield Path(folder)


@contextmanager
def locked(path: Path | str) -> Generator[None]:
    """Holds a lock on ``path`` that ends with this process: it says that ``path`` is in use."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_orphans(parent: Path, name: str) -> None:
    """Removes the entries of ``parent`` whose whole name matches, that belong to this user and are in use nowhere.

    Args:
        parent: a folder.
        name: a regular expression that no file of a user matches.
    """
    with suppress(OSError):
        for entry in os.scandir(parent):
            if re.fullmatch(name, entry.name) and not entry.is_symlink():
                with suppress(OSError):
                    _remove_if_unused(entry)


def _remove_if_unused(entry: os.DirEntry[str]) -> None:
    found = entry.stat(follow_symlinks=False)
    if fcntl is None or found.st_uid != os.getuid() or time.time() - found.st_mtime < _MIN_AGE:
        return
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()
    finally:
        os.close(descriptor)
