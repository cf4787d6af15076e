"""What may be opened (regular files, URLs of a short list of protocols), and writing a file whole or not at all."""

from __future__ import annotations

import errno
import importlib
import io
import os
import posixpath
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from glob import has_magic
from pathlib import Path
from typing import IO, Any, BinaryIO

from label_guard.core.temporary import locked, remove_orphans

# A URL may come from a schema that somebody else wrote. Other protocols of fsspec run code (reference), start programs,
# open SSH connections, or read what a browser or a cluster keeps.
PROTOCOLS = (
    "file", "local", "http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "memory",
)  # fmt: skip
ALLOW_VARIABLE = "LABEL_GUARD_PROTOCOLS"
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_OBJECT_BUFFER = 64 << 10  # bytes: what is read is passed on by blocks of that, out of the larger ones of fsspec
_IRREGULAR = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def is_url(path: str) -> bool:
    """Whether fsspec would take ``path`` for a URL, chained ones included.

    >>> is_url("s3://bucket/a.csv"), is_url("zip::a.zip"), is_url("data/a.csv")
    (True, True, False)
    """
    return "://" in path or "::" in path


def require_protocol(url: str) -> None:
    """Checks that ``url`` names one file system of the list, before fsspec is asked for it.

    The environment variable ``LABEL_GUARD_PROTOCOLS`` may name more, separated by commas.

    Raises:
        ValueError: the URL is chained (``a://x::b://y``), or its protocol is not allowed.
    """
    if "::" in url:
        raise ValueError(f"the chained URL {url!r} is not allowed; name one file system, such as s3://bucket/file")
    protocol = url.partition("://")[0]
    more = {name.strip() for name in os.environ.get(ALLOW_VARIABLE, "").split(",")} - {""}
    if protocol not in PROTOCOLS and protocol not in more:
        known = ", ".join(PROTOCOLS)
        raise ValueError(
            f"protocol {protocol!r} is not allowed in {url!r}; allowed are {known}; to allow more, set {ALLOW_VARIABLE}"
        )


def filesystem_of(url: str, **options: Any) -> tuple[Any, str]:
    """Opens the fsspec file system of ``url`` with ``options``.

    Returns:
        The file system, and the path within it.

    Raises:
        ValueError: as ``require_protocol``.
    """
    require_protocol(url)
    core: Any = importlib.import_module("fsspec.core")  # costs start-up time, and most files are local
    return core.url_to_fs(url, **options)


def place_of(path: str) -> tuple[str, str]:
    """Where a path or URL points: the same for all ways to write it.

    >>> place_of("a.csv"), place_of("file:///data/a.csv"), place_of("local:///data/a.csv"), place_of("memory://a")
    (('', 'a.csv'), ('', '/data/a.csv'), ('', '/data/a.csv'), ('MemoryFileSystem', '/a'))

    Returns:
        The class of the file system, ``""`` for this machine's; and the name within it.
    """
    if not is_url(path):
        return "", path
    protocol = path.partition("://")[0]
    try:
        require_protocol(path)
        kind: Any = importlib.import_module("fsspec").get_filesystem_class(protocol)
    except (ImportError, ValueError):  # whoever opens it names the reason
        return protocol, path
    name = kind._strip_protocol(path)  # what the file system itself does with every URL
    return "" if protocol in ("file", "local") else kind.__name__, name


def same_place(first: str, second: str) -> bool:
    """Whether two paths or URLs name one folder, links followed on this machine."""
    (system, name), (other, again) = place_of(first), place_of(second)
    if system or other:
        return (system, name.rstrip("/")) == (other, again.rstrip("/"))
    return os.path.realpath(name) == os.path.realpath(again)


def open_object(filesystem: Any, name: str) -> BinaryIO:
    """Opens a file of an fsspec file system for reading.

    As a file of Python: those of object stores lack ``readline(size)``, which bounds the memory that a line takes.

    Args:
        filesystem: from ``filesystem_of``.
        name: the path within it.
    """
    return io.BufferedReader(filesystem.open(name, "rb"), _OBJECT_BUFFER)


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Opens a local file for reading. A pipe would block forever, a device may never end.

    Raises:
        OSError: the file does not exist, or it is not a regular one.
    """
    mode = Path(path).stat().st_mode
    kind = next((name for test, name in _IRREGULAR if test(mode)), None)
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # one that cannot be listed is named as that
    if kind is not None:
        raise OSError(errno.EINVAL, f"it is {kind}, expected a regular file")
    return Path(path).open("rb")


def local_glob(folder: Path, pattern: str) -> tuple[list[Path], list[Path]]:
    """What a glob finds in and below a local folder; ``**`` does not follow links.

    ``Path.glob`` passes over folders that may not be read, and Python 3.12 lists a folder where a name alone is asked
    for, so that it finds less than 3.11.

    Returns:
        The files and folders, each once; and the folders that the glob looks into and may not read.
    """
    closed: dict[Path, None] = {}
    places: dict[Path, None] = {folder: None}
    for part in pattern.split("/"):
        found: dict[Path, None] = {}
        for place in places:
            found |= dict.fromkeys(_folders_below(place, closed) if part == "**" else _entries(place, part, closed))
        places = found
    return list(places), list(closed)


def _entries(folder: Path, part: str, closed: dict[Path, None]) -> list[Path]:
    """The entries of a folder that one part of a glob means; a folder that cannot be read is added to ``closed``."""
    try:
        if not has_magic(part):
            (folder / part).lstat()
            return [folder / part]
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if fnmatch(entry.name, part)]
    except ValueError:  # a NUL
        return []
    except OSError as error:
        if error.errno not in _NOT_THERE:
            closed[folder] = None
        return []


def _folders_below(top: Path, closed: dict[Path, None]) -> Iterator[Path]:
    """A folder and all below it, links left out; one that cannot be read is added to ``closed``."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                waiting += [folder / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            if error.errno in _NOT_THERE:
                continue
            closed[folder] = None
        yield folder


def read_text(path: str | os.PathLike[str]) -> str:
    """The UTF-8 text of a regular local file.

    Raises:
        OSError: as ``open_regular``.
        ValueError: it is not UTF-8.
    """
    with open_regular(path) as file:
        return file.read().decode()


def join(folder: str, name: str) -> str:
    """The place of ``name`` in a folder, which is a path or a URL.

    >>> join("s3://bucket/data", "a"), join("data/", "a")
    ('s3://bucket/data/a', 'data/a')
    """
    return posixpath.join(folder, name) if is_url(folder) else str(Path(folder) / name)


def read_bounded(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a regular local file, or of a URL as text, of at most ``limit`` bytes.

    Raises:
        OSError: as ``open_regular``, or the file is larger.
    """
    if isinstance(path, str) and is_url(path):
        try:
            filesystem, name = filesystem_of(path)
            with filesystem.open(name, "rb") as file:
                data: bytes = file.read(limit + 1)
        except (OSError, ValueError):
            raise
        except Exception as error:  # an fsspec backend may raise anything
            raise OSError(f"{type(error).__name__}: {error}") from None
    else:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit >> 20} MiB")
    return data


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Generator[BinaryIO]:
    """Opens a file that appears at ``path``, a link followed, complete or not at all; its mode stays.

    A pipe or a device is written into, never replaced; so is what the process has open (``/dev/stdout``). What killed
    processes left next to it is removed.

    Raises:
        OSError: it cannot be written, the disk being full for example; nothing is left behind.
    """
    given = Path(path)
    opened = given.parts[:2] in (("/", "dev"), ("/", "proc"))  # a link there to a pipe leads to a name without a file
    if given.exists() and (opened or not given.is_file()):
        with given.open("ab") as file:
            yield file
        return
    target = given.resolve()
    name = f".{target.name[:80]}."
    remove_orphans(target.parent, re.escape(name) + "[0-9]+-[0-9a-f]{8}")
    temporary = target.with_name(f"{name}{os.getpid()}-{os.urandom(4).hex()}")
    try:
        # What it replaces may be a file that others cannot read: so is this one, before it has that file's mode.
        mode = 0o600 if target.exists() else 0o666
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file, locked(temporary):
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
