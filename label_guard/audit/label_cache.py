"""Labels of a dataset kept in one file, so that an audit after a schema change does not read the dataset again.

One file, a zip archive of plain ``.npy`` and JSON members, never pickle. What it holds of a shard counts only while the
shard's path, size and modification time (of an object store: what it keeps to distinguish versions), the labels
wanted and their shapes are the same, and its bytes have the digest that the index names; anything else is read again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import math
import shutil
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np

from label_guard.core.files import open_regular
from label_guard.core.log import logger
from label_guard.core.plural import counted
from label_guard.core.temporary import temporary_folder
from label_guard.errors import LabelGuardError, SourceError, UsageError
from label_guard.quarantine.payload import NotEncodableError, decode, encode
from label_guard.quarantine.storage import whole_file
from label_guard.sources.base import FilePart, Format, IndexedFormat, LabelShapes, Piece, RawColumn, Shard
from label_guard.sources.files import identity_of
from label_guard.sources.source import Source, read_shard

VERSION = 3  # of the file, and of how sources are read: labels that an older reader joined are not used
_INDEX = "index.json"
_MAX_MEMBER = 256 << 20  # bytes of one member once it is unpacked; a shard with larger pieces is not kept
_MAX_ROW = 1 << 53


class Entry(NamedTuple):
    """What the index says of one entry: the shard that it holds, and the SHA-256 of its bytes."""

    shard: str
    digest: str


@dataclass(frozen=True, slots=True)
class LabelCache:
    """A label cache in use.

    Attributes:
        path: the file.
        entries: what it held when this run began, by name.
        folder: where shards that are read in this run are gathered.
    """

    path: str
    entries: Mapping[str, Entry]
    folder: str

    def save(self) -> list[str]:
        """Writes the file with what was read in this run; it appears complete or not at all.

        Returns:
            Why it could not be written; nothing where it could.
        """
        fresh = sorted(Path(self.folder).glob("*.zip"))
        try:
            if fresh:
                _gather(self, fresh)
        except (LabelGuardError, OSError, zipfile.BadZipFile) as error:
            return [f"cannot keep labels in the label cache {self.path}: {error}"]
        return []


@contextmanager
def open_label_cache(path: str, problems: list[str]) -> Generator[LabelCache | None]:
    """The label cache at ``path`` for one audit; call ``save`` once all shards were read.

    Args:
        path: the file.
        problems: gets why it cannot be written; the audit goes on without it then.

    Raises:
        UsageError: its folder is not there, or the file is not a label cache.
    """
    parent = Path(path).resolve().parent
    if not parent.is_dir():
        raise UsageError(f"--label-cache {path}: the folder {parent} does not exist")
    entries = _read_index(path)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(".label_cache-", parent))
        except OSError as error:
            problems.append(f"cannot keep labels in the label cache {path}: {error.strerror}")
            yield None
        else:
            yield LabelCache(path, entries, str(folder))


def require_files(source: Source) -> None:
    """Refuses a source whose labels cannot be kept.

    Raises:
        UsageError: a Python function is the source: it has no identity.
    """
    if source.format.name == "python":
        raise UsageError(f"--label-cache keeps the labels of files; {source.uri} is a function")


@dataclass(slots=True)
class CachedFormat:
    """A format whose files are read once.

    Attributes:
        format: how a file is read that the cache does not hold.
        cache: the label cache.
        error: why labels of a file could not be kept; empty where they could.
    """

    format: Format
    cache: LabelCache
    error: str = field(default="", init=False)
    reads_ranges: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """As of ``format``."""
        return self.format.name

    def fields(self, path: str) -> Sequence[str]:
        """As of ``format``."""
        return self.format.fields(path)

    def read(self, path: str, wanted: LabelShapes, part: FilePart | None = None) -> Iterator[Piece]:
        """The labels of one file, out of the label cache where it holds them; each part of it is an entry of its own.

        Raises:
            SourceError: the file cannot be read, or its entry in the label cache is damaged.
        """
        shard = Shard(path, path, 0, part=part)
        others = self.format.read_with(path) if isinstance(self.format, IndexedFormat) else ()
        identities = [identity_of(one) for one in (path, *others)]
        if None in identities:
            yield from read_shard(self.format, shard, wanted)
            return
        about = [path, identities, self.name, _settings(self.format), sorted(wanted.items()), *(part or ())]
        name = f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]}.zip"
        entry = self.cache.entries.get(name)
        if entry is not None and _is_intact(self.cache.path, name, entry):
            yield from _kept(self.cache.path, name, wanted)
        else:
            yield from self._read_and_keep(shard, wanted, name)

    def _read_and_keep(self, shard: Shard, wanted: LabelShapes, name: str) -> Iterator[Piece]:
        partial = Path(self.cache.folder) / f"{name}.partial"
        entry = _written_entry(partial, shard.path)

        def keep(piece: Piece | None) -> None:
            """Writes a piece (None starts and completes the entry); a failure is noted, and the audit continues."""
            try:
                entry.send(piece)
            except StopIteration:  # it is complete, or could not be kept before
                pass
            except (OSError, _TooLargeError, NotEncodableError) as error:
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                self.error = f"cannot keep labels in the label cache {self.cache.path}: {reason}"

        try:
            keep(None)
            for piece in read_shard(self.format, shard, wanted):
                keep(piece)
                yield piece
            keep(None)  # only what was read to its end is kept
        finally:
            with suppress(OSError):
                entry.close()
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def _settings(form: Format) -> list[str]:
    """The options of a format, such as a delimiter or how labels are encoded: they change what is read."""
    found = {one.name: getattr(form, one.name) for one in dataclasses.fields(cast("Any", form))}
    encodings: Mapping[str, Any] = found.pop("encodings", {})
    plain = [f"{name}={value}" for name, value in found.items() if isinstance(value, str | int | tuple)]
    return [*plain, *(f"{label}: {how}" for label, how in sorted(encodings.items()))]


def _written_entry(partial: Path, shard: str) -> Generator[None, Piece | None]:
    """Writes the pieces of one shard that are sent, up to None, which completes the entry."""
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("path", shard)
        for number in itertools.count():
            piece = yield
            if piece is None:
                break
            _write_piece(archive, number, piece)
    partial.rename(partial.with_suffix(""))


class _TooLargeError(Exception):
    """A piece is too large to be kept."""


def _write_piece(archive: zipfile.ZipFile, number: int, piece: Piece) -> None:
    rows = piece.rows
    if isinstance(rows, range) and rows.step == 1:
        about: dict[str, Any] = {"range": [rows.start, rows.stop]}
    else:
        about = {"rows": [int(row) for row in rows]}
    columns: dict[str, Any] = {}
    for place, (label, column) in enumerate(piece.columns.items()):
        if isinstance(column, np.ndarray) and not column.dtype.hasobject:
            columns[label] = {"npy": f"{number}.{place}.npy"}
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, column, allow_pickle=False)
            _write_member(archive, f"{number}.{place}.npy", buffer.getvalue())
        else:
            columns[label] = {"values": [encode(value) for value in column]}
    about |= {"columns": columns, "unreadable": list(piece.unreadable)}
    if piece.names is not None:
        about["names"] = [[int(row), name] for row, name in piece.names.items()]
    _write_member(archive, f"{number}.json", json.dumps(about).encode())


def _write_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    if len(data) > _MAX_MEMBER:
        raise _TooLargeError(f"labels of more than {_MAX_MEMBER >> 20} MiB in one piece are not kept")
    archive.writestr(name, data)


# Reading --------------------------------------------------------------------------------------------------------------


def _is_intact(path: str, name: str, entry: Entry) -> bool:
    """Whether the bytes of an entry are those that were written."""
    try:
        with zipfile.ZipFile(path) as outer, outer.open(name) as stream:
            intact = hashlib.file_digest(cast("Any", stream), "sha256").hexdigest() == entry.digest
    except Exception:  # a damaged archive raises almost anything
        intact = False
    if not intact:
        logger.warning("the entry of %s in the label cache %s is damaged and not used", entry.shard, path)
    return intact


def _kept(path: str, entry: str, wanted: LabelShapes) -> Iterator[Piece]:
    """The pieces of one shard, in order.

    Raises:
        SourceError: the entry is damaged.
    """
    try:
        with zipfile.ZipFile(path) as outer, outer.open(entry) as stream, zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
            number = start = 0
            while f"{number}.json" in names:
                piece = _read_piece(archive, number, wanted, start)
                start = max([start, *(row + 1 for row in piece.rows[-1:]), *(row + 1 for row, _ in piece.unreadable)])
                yield piece
                number += 1
    except Exception as error:  # a damaged archive raises almost anything
        text = str(error) or type(error).__name__
        raise SourceError(f"the label cache {path} is damaged: {text}; delete it, and it is made again") from None


def _read_piece(archive: zipfile.ZipFile, number: int, wanted: LabelShapes, start: int) -> Piece:
    """One piece whose parts agree with each other; its rows begin at ``start`` or later."""
    about = json.loads(_read_member(archive, f"{number}.json"))
    rows: Sequence[int] = range(*_rows(about["range"])) if "range" in about else _rows(about["rows"])
    unreadable = [(int(row), str(reason)) for row, reason in about["unreadable"]]
    for places in (rows, [row for row, _ in unreadable]):
        if len(places) and not start <= places[0] <= places[-1] < _MAX_ROW:
            raise ValueError(f"piece {number} has rows {places[0]} to {places[-1]}, expected {start} or more")
        if not isinstance(places, range) and any(a >= b for a, b in itertools.pairwise(places)):
            raise ValueError(f"the rows of piece {number} are not in order")
    columns = {str(label): _read_column(archive, column) for label, column in about["columns"].items()}
    if columns.keys() != set(wanted):
        raise ValueError(f"piece {number} has labels {sorted(columns)}, expected {sorted(wanted)}")
    if any(len(column) != len(rows) for column in columns.values()):
        raise ValueError(f"piece {number} has {counted(len(rows), 'row')}, but its labels have other lengths")
    names = {int(row): str(name) for row, name in about["names"]} if "names" in about else None
    if names is not None and not names.keys() >= {*rows, *(row for row, _ in unreadable)}:
        raise ValueError(f"a record of piece {number} has no name")
    return Piece(rows, columns, unreadable, names)


def _rows(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(type(row) is int for row in cast("list[Any]", value)):
        raise ValueError("rows are not a list of integers")
    return cast("list[int]", value)


def _read_column(archive: zipfile.ZipFile, column: dict[str, Any]) -> RawColumn:
    if "values" in column:
        return [decode(value) for value in column["values"]]
    file = io.BytesIO(_read_member(archive, column["npy"]))
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    position = file.tell()
    # Before memory is taken for it: an array is as long as its bytes.
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != file.getbuffer().nbytes - position:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} does not have that many bytes")
    file.seek(0)
    loaded: Any = np.lib.format.read_array(file, allow_pickle=False)
    return cast("RawColumn", loaded)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        data = file.read(_MAX_MEMBER + 1)
    if len(data) > _MAX_MEMBER:
        raise ValueError(f"{name} has more than {_MAX_MEMBER >> 20} MiB")
    return data


def _read_index(path: str) -> dict[str, Entry]:
    """The entries of a label cache; nothing before there is a file.

    Raises:
        UsageError: the file is not a label cache of this version.
    """
    if not Path(path).exists():
        return {}
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            index = json.loads(_read_member(archive, _INDEX))
        if index["label_cache"] != VERSION:
            raise ValueError(f"it says version {index['label_cache']!r}")
        return {str(name): Entry(str(shard), str(digest)) for name, (shard, digest) in index["entries"].items()}
    except Exception as error:  # a damaged archive raises almost anything
        raise UsageError(
            f"{path} is not a label cache of version {VERSION}: {error}; delete it, and it is made again"
        ) from None


# Writing --------------------------------------------------------------------------------------------------------------


def _gather(cache: LabelCache, fresh: Sequence[Path]) -> None:
    """Writes the file again: what was read in this run, and what is kept of other shards."""
    entries: dict[str, Entry] = {}
    for entry in fresh:
        with zipfile.ZipFile(entry) as archive, entry.open("rb") as file:
            entries[entry.name] = Entry(archive.read("path").decode(), hashlib.file_digest(file, "sha256").hexdigest())
    read = {entry.shard for entry in entries.values()}
    others = {name: entry for name, entry in cache.entries.items() if entry.shard not in read}
    kept = {name: entry for name, entry in others.items() if _is_intact(cache.path, name, entry)}
    with whole_file(cache.path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_INDEX, json.dumps({"label_cache": VERSION, "entries": {**entries, **kept}}, indent=1))
        for entry in fresh:
            archive.write(entry, entry.name)
        if kept:
            with zipfile.ZipFile(cache.path) as before:
                for name in sorted(kept):
                    with before.open(name) as old, archive.open(name, "w", force_zip64=True) as new:
                        shutil.copyfileobj(old, new)
