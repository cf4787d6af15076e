"""Labels kept beside a dataset, so that an audit after a schema change does not read the dataset again.

One file, a zip archive of plain ``.npy`` and JSON members, never pickle. What it holds of a shard counts only while the
shard's path, size and modification time (of an object store: what it keeps to tell versions apart), the labels
wanted and their shapes are the same; anything else is read anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from label_guard.errors import SourceError, UsageError
from label_guard.quarantine.payload import decode, encode
from label_guard.quarantine.storage import whole_file
from label_guard.sources.base import Column, Format, Piece, Wanted
from label_guard.sources.files import identity_of
from label_guard.sources.open import Source

VERSION = 1  # of the file
_INDEX = "index.json"
_DAMAGE = (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, EOFError)


class LabelCache(NamedTuple):
    """A label cache in use: the file, and the folder where shards read in this run are gathered."""

    path: str
    folder: str

    @property
    def fresh(self) -> list[Path]:
        """The entries of shards that were read in this run."""
        return sorted(Path(self.folder).glob("*.zip"))


@contextmanager
def open_label_cache(path: str) -> Generator[LabelCache]:
    """A label cache for one audit; at the end what was read goes into the file, which appears whole or not at all.

    Raises:
        UsageError: the file is no label cache, or cannot be written.
    """
    parent = Path(path).resolve().parent
    if not parent.is_dir():
        raise UsageError(f"--label-cache {path}: the folder {parent} is not there")
    _read_index(path)
    with tempfile.TemporaryDirectory(prefix=".label_cache-", dir=parent) as folder:
        label_cache = LabelCache(path, folder)
        yield label_cache
        if label_cache.fresh:
            _gather(label_cache)


def through_label_cache(source: Source, label_cache: LabelCache) -> Source:
    """``source``, whose shards are read through the label_cache.

    Raises:
        UsageError: a Python function is the source: it has no identity.
    """
    if source.format.name == "python":
        raise UsageError(f"--label-cache keeps the labels of files; {source.uri} is none")
    return replace(source, format=_KeptFormat(source.format, label_cache))


@dataclass(frozen=True, slots=True)
class _KeptFormat:
    """A format whose files are read once."""

    format: Format
    label_cache: LabelCache

    @property
    def name(self) -> str:
        return self.format.name

    def fields(self, path: str) -> Sequence[str]:
        return self.format.fields(path)

    def read(self, path: str, wanted: Wanted) -> Iterator[Piece]:
        identity = identity_of(path)
        if identity is None:
            yield from self.format.read(path, wanted)
            return
        about = [path, identity, self.name, sorted((label, shape) for label, shape in wanted.items())]
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
        entry = f"{name}.zip"
        if entry in _read_index(self.label_cache.path):
            yield from _kept(self.label_cache.path, entry)
        else:
            yield from self._read_and_keep(path, wanted, entry)

    def _read_and_keep(self, path: str, wanted: Wanted, entry: str) -> Iterator[Piece]:
        partial = Path(self.label_cache.folder) / f"{entry}.partial"
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr("path", path)
                for number, piece in enumerate(self.format.read(path, wanted)):
                    _write_piece(archive, number, piece)
                    yield piece
            partial.rename(partial.with_suffix(""))  # only what was read to its end is kept
        except OSError as error:
            raise UsageError(
                f"cannot keep labels in the label cache {self.label_cache.path}: {error.strerror}"
            ) from None


def _write_piece(archive: zipfile.ZipFile, number: int, piece: Piece) -> None:
    rows = piece.rows
    plain = [rows.start, rows.stop] if isinstance(rows, range) and rows.step == 1 else [int(row) for row in rows]
    kind = "range" if isinstance(rows, range) and rows.step == 1 else "rows"
    columns: dict[str, Any] = {}
    for place, (label, column) in enumerate(piece.columns.items()):
        if isinstance(column, np.ndarray) and not column.dtype.hasobject:
            columns[label] = {"npy": f"{number}.{place}.npy"}
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, column, allow_pickle=False)
            archive.writestr(f"{number}.{place}.npy", buffer.getvalue())
        else:
            columns[label] = {"values": [encode(value) for value in column]}
    about = {kind: plain, "columns": columns, "unreadable": list(piece.unreadable)}
    archive.writestr(f"{number}.json", json.dumps(about))


def _kept(path: str, entry: str) -> Iterator[Piece]:
    """The pieces of one shard, in order.

    Raises:
        SourceError: the label cache is damaged.
    """
    try:
        with zipfile.ZipFile(path) as outer, outer.open(entry) as stream, zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
            number = 0
            while f"{number}.json" in names:
                yield _read_piece(archive, number)
                number += 1
    except _DAMAGE as error:
        raise SourceError(f"the label cache {path} is damaged: {error}; delete it, and it is made anew") from None


def _read_piece(archive: zipfile.ZipFile, number: int) -> Piece:
    about = json.loads(archive.read(f"{number}.json"))
    columns = {label: _read_column(archive, column) for label, column in about["columns"].items()}
    rows: Sequence[int] = range(*about["range"]) if "range" in about else about["rows"]
    return Piece(rows, columns, [(int(row), str(reason)) for row, reason in about["unreadable"]])


def _read_column(archive: zipfile.ZipFile, column: dict[str, Any]) -> Column:
    if "values" in column:
        return [decode(value) for value in column["values"]]
    loaded: Any = np.lib.format.read_array(io.BytesIO(archive.read(column["npy"])), allow_pickle=False)
    return cast("Column", loaded)


def _read_index(path: str) -> dict[str, str]:
    """The shard that each entry of a label cache is of; nothing where there is no file yet.

    Raises:
        UsageError: the file is no label cache of this version.
    """
    if not Path(path).exists():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            index = json.loads(archive.read(_INDEX))
        if index["label_cache"] != VERSION:
            raise ValueError(f"it says version {index['label_cache']!r}")
        return {str(entry): str(shard) for entry, shard in index["shards"].items()}
    except (*_DAMAGE, AttributeError) as error:
        raise UsageError(
            f"{path} is no label cache of version {VERSION}: {error}; delete it, and it is made anew"
        ) from None


def _gather(label_cache: LabelCache) -> None:
    """Write the file anew: what was read in this run, and what is kept of other shards."""
    index: dict[str, str] = {}
    for entry in label_cache.fresh:
        with zipfile.ZipFile(entry) as archive:
            index[entry.name] = archive.read("path").decode()
    fresh = set(index.values())
    kept = {entry: shard for entry, shard in _read_index(label_cache.path).items() if shard not in fresh}
    with whole_file(label_cache.path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_INDEX, json.dumps({"label_cache": VERSION, "shards": {**index, **kept}}, indent=1))
        for entry in label_cache.fresh:
            archive.write(entry, entry.name)
        if kept:
            with zipfile.ZipFile(label_cache.path) as before:
                for entry in sorted(kept):
                    with before.open(entry) as old, archive.open(entry, "w", force_zip64=True) as new:
                        shutil.copyfileobj(old, new)
