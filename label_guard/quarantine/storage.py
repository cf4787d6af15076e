"""A folder of append-only files, on a local disk or behind any fsspec URL. Nothing is truncated or overwritten."""

from __future__ import annotations

import errno
import io
import os
import posixpath
import stat
from collections import deque
from collections.abc import Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from label_guard.core.files import atomic_write, filesystem_of, open_object
from label_guard.errors import UsageError

_IN_FLIGHT = 32  # requests to an object store at a time
_WHOLE_OBJECT_BYTES = 8 << 20
_BINARY: int = getattr(os, "O_BINARY", 0)  # of Windows
_APPEND = os.O_WRONLY | os.O_APPEND | _BINARY


def is_local(url: str) -> bool:
    """Whether ``url`` is a path, or a ``file://`` URL of one."""
    return "://" not in url or url.startswith(("file://", "local://"))


def open_folder(url: str, *, sync: bool = False, mode: int | None = None) -> LocalFolder | RemoteFolder:
    """The folder at ``url``; touches nothing yet.

    Args:
        url: a path or an fsspec URL.
        sync: whether each write is on the disk when it returns.
        mode: permission bits of new files; None: by the umask.
    """
    return LocalFolder(url, sync=sync, mode=mode) if is_local(url) else RemoteFolder(url)


@contextmanager
def whole_file(path: str) -> Generator[BinaryIO]:
    """``atomic_write`` whose error is about the output that the user named.

    Raises:
        UsageError: it cannot be written, the disk being full for example; nothing is left behind.
    """
    try:
        with atomic_write(path) as file:
            yield file
    except OSError as error:
        target = Path(path).resolve()
        written = (str(target), str(target.with_name(f".{target.name[:80]}.")))
        if error.filename is not None and not str(error.filename).startswith(written):
            raise  # of another file, which the body was reading
        raise UsageError(f"cannot write {path}: {error.strerror or error}; nothing of it was kept") from None


class LocalFolder:
    """Files are opened for each write: a part file deleted by hand is noticed, and no descriptor outlives a fork."""

    def __init__(self, url: str, *, sync: bool = False, mode: int | None = None) -> None:
        self._root = Path(url.split("://", 1)[-1])
        self._text = str(self._root)
        self._sync = sync
        self._mode = mode

    def names(self) -> list[str]:
        """Names of everything in the folder.

        Raises:
            OSError: the folder is not there, or cannot be read.
        """
        return os.listdir(self._root)  # noqa: PTH208  # pathlib makes a Path of each

    def holds(self, names: Collection[str]) -> bool:
        """Whether all of the files are there."""
        try:
            return set(names) <= set(self.names())
        except FileNotFoundError:
            return not names

    def open(self, name: str) -> BinaryIO:
        """The file ``name`` for reading.

        Raises:
            OSError: it cannot be read, or it is not a regular file (a pipe would block, a device may have no end).
        """
        descriptor = os.open(self._root / name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return os.fdopen(descriptor, "rb")

    def open_all(self, names: Sequence[str]) -> Iterator[tuple[str, BinaryIO | Exception]]:
        """Each of ``names`` opened in order, or why it cannot be."""
        for name in names:
            try:
                file = self.open(name)
            except OSError as error:
                yield name, error
                continue
            with file:
                yield name, file

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes of the file ``name`` from ``offset``."""
        with self.open(name) as file:
            file.seek(offset)
            return file.read(length)

    def create(self, name: str, data: bytes) -> None:
        """Make the file ``name``, which must not be there, with ``data``; the folder is made where needed.

        Raises:
            OSError: disk full, no permission, a file in the way. A part of ``data`` may have been written.
        """
        made = self._make_folder()
        path = self._root / name
        mode = 0o666 if self._mode is None else self._mode
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
        while True:
            descriptor = os.open(path, flags, mode)
            opened = os.fstat(descriptor)
            try:
                _write(descriptor, data, sync=self._sync)
                if self._mode is not None:
                    path.chmod(self._mode)  # the umask took bits away
                if os.path.samestat(opened, path.stat()):
                    break
            except FileNotFoundError:  # a compaction took the file while it was empty: it is made again
                continue
            except OSError:
                if path.stat().st_size == 0:  # so that retries on a full disk leave no heap of empty files
                    path.unlink(missing_ok=True)
                raise
        if self._sync:
            _sync_folder(self._root)
            if made:
                _sync_folder(self._root.parent)

    def _make_folder(self) -> bool:
        if self._root.is_dir():
            return False
        self._root.mkdir(parents=True, exist_ok=True)
        if self._mode is not None:
            self._root.chmod(self._mode | (self._mode & 0o444) >> 2)  # whoever may read it may enter it
        return True

    def append(self, name: str, data: bytes, *, end: int) -> bool:
        """Add ``data`` to the file ``name``, which only its maker writes to, in one write.

        Returns:
            False where the file was moved, deleted or changed by another, before the write or during it: ``data`` must
            be written elsewhere, too.

        Args:
            name: name of the file.
            data: whole lines.
            end: length in bytes that the file must have before.

        Raises:
            OSError: as for ``create``.
        """
        path = f"{self._text}{os.sep}{name}"  # runs for each batch with a bad record
        try:
            _write(os.open(path, _APPEND), data, sync=self._sync)
            return os.stat(path).st_size == end + len(data)  # noqa: PTH116
        except FileNotFoundError:
            return False

    def mode(self, names: Sequence[str]) -> int:
        """The permission bits that all of the files share, with read and write for the owner."""
        mode = 0o777
        for name in names:
            mode &= (self._root / name).stat().st_mode
        return mode | 0o600

    def rename(self, name: str, new: str) -> None:
        """Give a file another name."""
        (self._root / name).rename(self._root / new)

    def remove(self, names: Sequence[str]) -> None:
        """Delete files."""
        for name in names:
            (self._root / name).unlink(missing_ok=True)


class RemoteFolder:
    """A prefix of an object store, through fsspec. Objects cannot grow, so it has no ``append``."""

    def __init__(self, url: str) -> None:
        options = {"config_kwargs": {"max_pool_connections": _IN_FLIGHT}} if url.startswith(("s3://", "s3a://")) else {}
        self._filesystem, root = filesystem_of(url, **options)
        self._root: str = root.rstrip("/")
        self._sizes: dict[str, int] = {}

    def names(self) -> list[str]:
        """Names of all objects.

        Raises:
            OSError: the prefix is not there, or cannot be read.
        """
        self._filesystem.invalidate_cache()
        listed: list[dict[str, Any]] = self._filesystem.ls(self._root, detail=True)
        files = [entry for entry in listed if entry["type"] == "file"]
        self._sizes = {posixpath.basename(entry["name"]): int(entry["size"] or 0) for entry in files}
        return list(self._sizes)

    def open(self, name: str) -> BinaryIO:
        """The object ``name`` for reading: a small one whole, a large one in blocks."""
        path = f"{self._root}/{name}"
        if self._sizes.get(name, 0) > _WHOLE_OBJECT_BYTES:
            return open_object(self._filesystem, path)
        return io.BytesIO(self._filesystem.cat_file(path))

    def open_all(self, names: Sequence[str]) -> Iterator[tuple[str, BinaryIO | Exception]]:
        """Each of ``names`` opened in order, or why it cannot be; up to 32 requests are in flight."""
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            waiting: deque[tuple[str, Future[BinaryIO]]] = deque()
            for name in names:
                waiting.append((name, pool.submit(self.open, name)))
                if len(waiting) == _IN_FLIGHT:
                    yield _opened(*waiting.popleft())
            while waiting:
                yield _opened(*waiting.popleft())

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes of the object ``name`` from ``offset``."""
        return self._filesystem.cat_file(f"{self._root}/{name}", start=offset, end=offset + length)

    def create(self, name: str, data: bytes) -> None:
        """Make the object ``name`` with ``data``; a put is durable when it returns."""
        try:
            self._filesystem.pipe_file(f"{self._root}/{name}", data)
        except FileNotFoundError:
            # A real file system behind the URL needs its folder first; but a misspelt bucket must not be made.
            top = posixpath.join("/" if self._root.startswith("/") else "", self._root.strip("/").split("/")[0])
            if not self._filesystem.exists(top):
                raise
            self._filesystem.makedirs(self._root, exist_ok=True)
            self._filesystem.pipe_file(f"{self._root}/{name}", data)

    def remove(self, names: Sequence[str]) -> None:
        """Delete objects."""
        self._filesystem.rm([f"{self._root}/{name}" for name in names])


def _opened(name: str, future: Future[BinaryIO]) -> tuple[str, BinaryIO | Exception]:
    try:
        return name, future.result()
    except Exception as error:  # an fsspec backend may raise anything
        return name, error


def _write(descriptor: int, data: bytes, *, sync: bool = False) -> None:
    """Writes ``data`` to an open file and closes it: NFS reports a full disk only then."""
    try:
        rest = memoryview(data)
        while rest:  # one call, but for a disk that fills up or a write beyond 2 GiB
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    """Make the names in ``path`` durable; only POSIX lets a folder be opened for it."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
