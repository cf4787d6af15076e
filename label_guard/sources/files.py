"""Files by path, glob or URL: which there are, and opening them, local or through fsspec."""

from __future__ import annotations

import contextlib
import glob
import gzip
import posixpath
import stat
import zlib
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

from typing_extensions import override

from label_guard.core.files import filesystem_of, is_url, local_glob, open_object, open_regular, require_protocol
from label_guard.errors import LabelGuardError, SourceError
from label_guard.sources.base import Shard

# What reading a damaged file may raise: reported as one error, without a traceback.
READ_ERRORS = (OSError, EOFError, zlib.error)
_LOCAL = ("file://", "local://")
_HTTP = ("http://", "https://")
_HTTP_VERSIONS = ("ETag", "Content-MD5", "Digest", "Last-Modified")  # header fields, as fsspec names them


def is_remote(path: str) -> bool:
    """Whether ``path`` is a URL for fsspec."""
    return is_url(path)


def resolve(path: str, base_dir: str | None) -> str:
    """``path``, taken from ``base_dir`` where it is relative; a ``file://`` URL becomes a path.

    Raises:
        SourceError: the URL is chained, or of a protocol that a source may not name.
    """
    if is_remote(path):
        try:
            require_protocol(path)
        except ValueError as error:
            raise SourceError(f"cannot read {path}: {error}") from None
        return path.partition("://")[2] if path.startswith(_LOCAL) else path
    if base_dir is None or Path(path).is_absolute():
        return path
    return posixpath.join(base_dir, path) if is_remote(base_dir) else str(Path(base_dir) / path)


def find_shards(pattern: str) -> tuple[Shard, ...]:
    """The files that a path or glob names, in order of their names.

    Keys name a file by its path below the last folder without a wildcard, so files of one name stay apart.

    Raises:
        SourceError: no file is there, or a folder is.
    """
    files = _remote_files(pattern) if is_remote(pattern) else dict.fromkeys(_local_files(pattern))
    root = _root(pattern if is_remote(pattern) else Path(pattern).as_posix())
    return tuple(Shard(path, _below(root, path), index, size=size) for index, (path, size) in enumerate(files.items()))


def is_file_within(path: Path, *folders: Path) -> bool:
    """Whether ``path``, links followed, is a regular file in the first of ``folders``, each of these in the next."""
    try:
        real = [one.resolve() for one in (path, *folders)]
        inside = all(inner.is_relative_to(outer) for inner, outer in pairwise(real))
        return inside and real[0].is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a ring of links
        return False


def _root(pattern: str) -> str:
    parts = pattern.split("/")
    plain = next((k for k, part in enumerate(parts[:-1]) if glob.has_magic(part)), len(parts) - 1)
    return "/".join(parts[:plain]) + "/"


def _below(root: str, path: str) -> str:
    return path[len(root) :].lstrip("/") if path.startswith(root) else posixpath.basename(path)


def _local_files(pattern: str) -> list[str]:
    path = Path(pattern)
    try:
        if path.is_dir():
            raise SourceError(f"{pattern} is a folder, expected a file or a glob such as {path / '*'}")
        if path.exists():  # a name may hold signs that look like wildcards
            return [path.as_posix()]
    except OSError as error:
        raise SourceError(f"cannot read {pattern}: {_reason(error)}") from None
    plain = next((k for k, part in enumerate(path.parts) if glob.has_magic(part)), None)
    found: list[Path] = []
    if plain is not None:
        folder, names = Path(*path.parts[:plain]), "/".join(path.parts[plain:])
        found, closed = local_glob(folder, names)
        if closed:
            raise SourceError(f"cannot read the folder {closed[0]}, in which {pattern} may name files")
    # A link to a file that is gone, a pipe and a device are named when they are read, not left out.
    paths = sorted(name.as_posix() for name in found if not name.is_dir() and not name.name.startswith("."))
    if not paths:
        raise SourceError(f"no file matches {pattern}")
    return paths


def _remote_files(pattern: str) -> dict[str, int | None]:
    """Files by name with the sizes that the one listing has: a request for each would take minutes for thousands."""
    try:
        filesystem, path = filesystem_of(pattern)
        if not glob.has_magic(path):
            if filesystem.isdir(path):
                raise SourceError(f"{pattern} is a folder, expected a file or a glob such as {pattern.rstrip('/')}/*")
            found = {path: None} if filesystem.exists(path) else {}
        else:
            listed = sorted(filesystem.glob(path, detail=True).items())
            found = {name: info.get("size") for name, info in listed if info["type"] == "file"}
    except SourceError:
        raise
    except Exception as error:  # an fsspec backend may raise anything
        raise SourceError(f"cannot list {pattern}: {_reason(error)}") from None
    if not found:
        raise SourceError(f"no file matches {pattern}")
    scheme = pattern.split("://", 1)[0]
    return {
        name if is_remote(name) else f"{scheme}://{name.lstrip('/')}": size if isinstance(size, int) else None
        for name, size in found.items()
    }


@contextlib.contextmanager
def opened(path: str, *, unzip: bool = False) -> Generator[IO[bytes]]:
    """The file for reading, unzipped on the way where ``unzip`` and its name ends in ``.gz``.

    Raises:
        SourceError: it cannot be opened, or reading in the body fails.
    """
    try:
        with open_object(*filesystem_of(path)) if is_remote(path) else open_regular(path) as file:
            if unzip and path.endswith((".gz", ".gzip")):
                with unzipped(file) as plain:
                    yield cast("IO[bytes]", plain)
            else:
                yield file
    except LabelGuardError:
        raise
    except Exception as error:
        if isinstance(error, READ_ERRORS) or is_remote(path):  # an fsspec backend may raise anything
            raise SourceError(f"cannot read {path}: {_reason(error)}") from None
        raise


@contextlib.contextmanager
def opened_text(path: str) -> Generator[IO[bytes]]:
    """A file of text for reading, unzipped on the way where its name ends in ``.gz``.

    Raises:
        SourceError: as ``opened``; or the file is packed under the name of a text: its bytes would be taken for rows.
    """
    with opened(path, unzip=True) as file:
        head = file.read(4)
        file.seek(0)
        if head.startswith(b"\x1f\x8b"):
            raise SourceError(f"{path} is packed by gzip; unpack it, or give it a name that ends in .gz")
        if head == b"PK\x03\x04":
            raise SourceError(f"{path} is a zip archive or a workbook; unpack it, or save its sheet as CSV")
        yield file


def unzipped(file: IO[bytes]) -> gzip.GzipFile:
    """What a gzip file holds.

    Raises:
        EOFError: the file is empty, which is cut before its header; ``gzip`` takes it for one that holds nothing.
    """
    if not file.read(1):
        raise EOFError
    file.seek(0)
    return _Unzipped(fileobj=file)


class _Unzipped(gzip.GzipFile):
    """A gzip file of which ``read`` gives what precedes a fault; the next call raises it."""

    _fault: Exception | None = None

    @override
    def read(self, size: int | None = -1) -> bytes:
        if self._fault is not None:
            raise self._fault
        parts: list[bytes] = []
        left = -1 if size is None else size
        try:
            while left and (part := self.read1(left)):
                parts.append(part)
                left -= len(part) if left > 0 else 0
        except READ_ERRORS as fault:
            if not parts:
                raise
            self._fault = fault
        return b"".join(parts)

    @override
    def readinto(self, buffer: Any) -> int:  # a GzipFile that has its own would bypass read()
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, EOFError):
        return "the compressed data end too early: the file is truncated"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def identity_of(path: str) -> list[str] | None:
    """What changes with the content of a file: size and modification time, or what an object store keeps of it."""
    try:
        if is_remote(path):
            filesystem, name = filesystem_of(path)
            if not path.startswith(_HTTP):
                return [str(filesystem.ukey(name))]
            about = filesystem.info(name)  # fsspec makes its key of the address alone
            versions = [f"{key} {about[key]}" for key in _HTTP_VERSIONS if about.get(key)]
            return [str(about.get("size")), *versions] if versions else None
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):  # what a folder holds changes without it
            return None
        return [str(found.st_size), str(found.st_mtime_ns)]
    except Exception:  # an fsspec backend may raise anything; without an identity a file is read
        return None


def require_length(path: str, length: int | None) -> None:
    """Checks that a mapped file still has ``length`` bytes: reading beyond the end of a file ends the process.

    Args:
        path: a local file; anything where ``length`` is None.
        length: how many bytes are mapped; None where none are.

    Raises:
        SourceError: the file is shorter than when it was opened.
    """
    found = None if length is None else size_of(path)
    if length is not None and (found is None or found < length):
        raise SourceError(f"{path} got shorter while it was read; read it again once nothing writes to it")


def sizes_in(folder: str) -> dict[str, int]:
    """Sizes by name of the objects under a URL, by one listing; empty for a local folder and where none are known."""
    if not is_remote(folder):
        return {}
    try:
        filesystem, name = filesystem_of(folder)
        listed: list[dict[str, Any]] = filesystem.ls(name, detail=True)
        return {posixpath.basename(entry["name"]): int(entry["size"]) for entry in listed if entry["type"] == "file"}
    except Exception:  # an fsspec backend may raise anything
        return {}


def size_of(path: str) -> int | None:
    """Size in bytes; None where it is not known."""
    try:
        if not is_remote(path):
            return Path(path).stat().st_size
        filesystem, name = filesystem_of(path)
        return filesystem.size(name)
    except Exception:  # an fsspec backend may raise anything
        return None
