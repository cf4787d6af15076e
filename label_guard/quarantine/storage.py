"""A folder of append-only files, on a local disk or behind any fsspec URL. Nothing is truncated or overwritten."""

from __future__ import annotations

import importlib
import io
import os
import posixpath
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from label_guard.errors import UsageError


def is_local(url: str) -> bool:
    """Whether ``url`` is a path, or a ``file://`` URL of one."""
    return "://" not in url or url.startswith(("file://", "local://"))


def open_folder(url: str, *, sync: bool = False) -> LocalFolder | RemoteFolder:
    """The folder at ``url``; touches nothing yet. With ``sync`` each write is on the disk when it returns."""
    return LocalFolder(url, sync=sync) if is_local(url) else RemoteFolder(url)


@contextmanager
def whole_file(path: str) -> Generator[BinaryIO]:
    """A file that appears at ``path`` complete or not at all; what is there already is replaced at the end.

    Raises:
        UsageError: it cannot be written, the disk being full for example; nothing is left behind.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():  # a pipe or /dev/stdout is written into, never replaced
        with target.open("wb") as file:
            yield file
        return
    temporary = target.with_name(f".{target.name[:80]}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if error.filename not in (None, str(temporary)):  # of another file, which the body was reading
            raise
        raise UsageError(f"cannot write {path}: {error.strerror or error}; nothing of it was kept") from None
    finally:
        temporary.unlink(missing_ok=True)


class LocalFolder:
    """Files are opened for each write: a part file deleted by hand is noticed, and no descriptor outlives a fork."""

    def __init__(self, url: str, *, sync: bool = False) -> None:
        self._root = Path(url.split("://", 1)[-1])
        self._sync = sync

    def sizes(self) -> dict[str, int]:
        """Size in bytes of each file by name.

        Raises:
            OSError: the folder is not there, or cannot be read.
        """
        with os.scandir(self._root) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def size(self, name: str) -> int:
        """Size in bytes of one file, 0 where it is not there."""
        try:
            return (self._root / name).stat().st_size
        except FileNotFoundError:
            return 0

    def open(self, name: str) -> BinaryIO:
        """The file ``name`` for reading."""
        return (self._root / name).open("rb")

    def create(self, name: str, data: bytes) -> None:
        """Make the file ``name``, which must not be there, with ``data``; the folder is made where needed.

        Raises:
            OSError: disk full, no permission, a file in the way. A part of ``data`` may have been written.
        """
        made = not self._root.is_dir()
        if made:
            self._root.mkdir(parents=True, exist_ok=True)
        path = self._root / name
        try:
            with path.open("xb", buffering=0) as file:
                _write(file, data, sync=self._sync)
        except OSError:
            if self.size(name) == 0:  # so that retries on a full disk leave no heap of empty files
                path.unlink(missing_ok=True)
            raise
        if self._sync:
            _sync_folder(self._root)
            if made:
                _sync_folder(self._root.parent)

    def append(self, name: str, data: bytes, *, end: int) -> bool:
        """Add ``data`` to the file ``name`` in one write; False where it is not, or no longer, ``end`` bytes long.

        Raises:
            OSError: as for ``create``.
        """
        try:
            descriptor = os.open(self._root / name, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            return False
        with io.FileIO(descriptor, "ab") as file:
            if file.tell() != end:
                return False
            _write(file, data, sync=self._sync)
        return True

    def note(self, name: str, data: bytes) -> None:
        """Add ``data``, never synced, to the file ``name``, which is made where needed."""
        with (self._root / name).open("ab", buffering=0) as file:
            _write(file, data)


class RemoteFolder:
    """A prefix of an object store, through fsspec. Objects cannot grow: there is no ``append``."""

    def __init__(self, url: str) -> None:
        # Imported here: it costs start-up time, and most quarantines are local.
        self._filesystem, root = importlib.import_module("fsspec.core").url_to_fs(url)
        self._root: str = root.rstrip("/")

    def sizes(self) -> dict[str, int]:
        """Size in bytes of each object by name.

        Raises:
            OSError: the prefix is not there, or cannot be read.
        """
        self._filesystem.invalidate_cache()
        listed: list[dict[str, Any]] = self._filesystem.ls(self._root, detail=True)
        files = [entry for entry in listed if entry["type"] == "file"]
        return {posixpath.basename(entry["name"]): int(entry["size"] or 0) for entry in files}

    def open(self, name: str) -> BinaryIO:
        """The object ``name`` for reading."""
        return io.BytesIO(self._filesystem.cat_file(f"{self._root}/{name}"))

    def create(self, name: str, data: bytes) -> None:
        """Make the object ``name`` with ``data``; a put is durable when it returns."""
        try:
            self._filesystem.pipe_file(f"{self._root}/{name}", data)
        except FileNotFoundError:
            # A real file system behind the URL wants its folder first; but a misspelt bucket is not to be made.
            top = posixpath.join("/" if self._root.startswith("/") else "", self._root.strip("/").split("/")[0])
            if not self._filesystem.exists(top):
                raise
            self._filesystem.makedirs(self._root, exist_ok=True)
            self._filesystem.pipe_file(f"{self._root}/{name}", data)

    def note(self, name: str, data: bytes) -> None:
        """Make the object ``name`` with ``data``."""
        self.create(name, data)


def _write(file: io.FileIO, data: bytes, *, sync: bool = False) -> None:
    # Files are unbuffered, so that a failed write is not tried again on close; and closed after each write, because
    # NFS reports a full disk only then.
    rest = memoryview(data)
    while rest:  # one call, but for a disk that fills up or a write beyond 2 GiB
        rest = rest[file.write(rest) :]
    if sync:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make the names in ``path`` durable; only POSIX lets a folder be opened for it."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
