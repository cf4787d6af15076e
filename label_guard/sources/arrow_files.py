"""Arrow files, such as those of Hugging Face ``save_to_disk``: only the label columns are read."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from label_guard.core.files import read_bounded
from label_guard.errors import SourceError
from label_guard.sources.arrow_columns import features, leaf_column, leaf_names, pyarrow, wanted_leaves
from label_guard.sources.base import CHUNK_BYTES, LabelShapes, Piece, Shard, did_you_mean, framework, require_distinct
from label_guard.sources.encoded_labels import decode_pieces
from label_guard.sources.files import find_shards, is_remote, opened, require_length
from label_guard.sources.tfds_metadata import Feature

_MAX_JSON = 64 << 20
_STATE, _DICT = "state.json", "dataset_dict.json"
_FILE_MAGIC = b"ARROW1"
_CONTINUATION = b"\xff" * 4


@dataclass(frozen=True, slots=True)
class ArrowFormat:
    """Columns of Arrow files, in the stream or the file form."""

    name: str = "arrow"

    def fields(self, path: str) -> Sequence[str]:
        with _reader(path) as (reader, _):
            return leaf_names(reader.schema)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        with _reader(path) as (reader, _):
            leaves = wanted_leaves(reader.schema, wanted, path)
            tops = {leaf.names[0] for leaf in leaves.values()}
            chosen = [number for number, name in enumerate(reader.schema.names) if name in tops]
        row = 0
        with _reader(path, chosen) as (reader, file):
            for batch in _batches(reader, file):
                batch.validate(full=True)  # offsets of a damaged file may point anywhere
                step = max(1, CHUNK_BYTES * batch.num_rows // max(1, batch.nbytes))
                for start in range(0, batch.num_rows, step):
                    part = batch.slice(start, step)
                    columns = {
                        label: leaf_column(part.column(leaf.names[0]), leaf.names[1:]) for label, leaf in leaves.items()
                    }
                    yield from decode_pieces(Piece(range(row, row + part.num_rows), columns), wanted, {})
                    require_length(path, None if is_remote(path) else file.size())
                    row += part.num_rows


@contextmanager
def _reader(path: str, chosen: Sequence[int] | None = None) -> Generator[tuple[Any, Any]]:
    arrow = pyarrow()[0]
    ipc: Any = framework("pyarrow.ipc", "parquet")
    options = ipc.IpcReadOptions(included_fields=chosen, use_threads=False)
    with opened(path) as file:
        try:
            is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
            file.seek(0)
            # Mapped, so that columns that are not wanted are never read.
            source = file if is_remote(path) else arrow.memory_map(path)
            with (ipc.open_file if is_file else ipc.open_stream)(source, options=options) as reader:
                yield reader, source
        except (arrow.ArrowException, ValueError) as error:
            raise SourceError(f"cannot read {path} as Arrow: {error}") from None


def _batches(reader: Any, file: Any) -> Iterator[Any]:
    count = getattr(reader, "num_record_batches", None)
    if count is None:
        yield from reader
        _require_end(file)
        return
    for number in range(count):
        yield reader.get_batch(number)


def _require_end(file: Any) -> None:
    """Checks that a stream was read up to its end mark, and that nothing follows.

    The format allows a stream without the mark, but writers write it, and without it a stream that was cut behind a
    batch looks whole (Arrow columnar format, "IPC Streaming Format"). Before Arrow 0.15 it was four zeros.

    Raises:
        ValueError: the mark is not there, or data follow.
    """
    end = file.tell()
    file.seek(0)
    current = file.read(4) == _CONTINUATION
    file.seek(max(0, end - 8))
    mark = file.read(8)
    if mark != _CONTINUATION + bytes(4) and (current or mark[-4:] != bytes(4)):
        raise ValueError("the stream has no end mark: it is truncated, or its writer has not ended")
    if file.read(1):
        raise ValueError(f"data follow the end mark at byte {end:,}: several streams in one file")


def arrow_shards(where: str, split: str | None) -> tuple[Shard, ...]:
    """The files of a folder of ``save_to_disk``, of one split where it holds several; or of a path or glob.

    Raises:
        SourceError: no such folder, file or split; or rows were selected without being rewritten.
    """
    root = Path(where)
    if is_remote(where) or not root.is_dir():
        return find_shards(where)
    if splits := split_names(where):
        if split not in splits:
            raise SourceError(f"{where} has no split {split!r}{did_you_mean(split or '', splits)}")
        root /= str(split)
    state = _read(root / _STATE)
    if state.get("_indices_data_files"):
        raise SourceError(f"{root} keeps a selection of rows; call flatten_indices() before save_to_disk()")
    entries = _listed(state, "_data_files", root / _STATE)
    listed = [
        str(cast("dict[str, Any]", one).get("filename")) if isinstance(one, dict) else str(one) for one in entries
    ]
    names = listed or sorted(path.name for path in root.glob("*.arrow"))
    if not names:
        raise SourceError(f"{root} holds no Arrow files")
    if any(Path(name).name != name for name in names):
        raise SourceError(f"{root / _STATE} names files outside its folder")
    require_distinct(names, str(root / _STATE))
    return tuple(Shard(str(root / name), name, index) for index, name in enumerate(names))


def split_names(where: str) -> list[str]:
    """The splits of a folder of ``DatasetDict.save_to_disk``; empty where it holds one dataset."""
    place = Path(where) / _DICT
    return [] if is_remote(where) else list(map(str, _listed(_read(place), "splits", place)))


def _listed(found: Mapping[str, Any], name: str, place: Path) -> list[object]:
    """An array of a JSON object; empty where it has none.

    Raises:
        SourceError: it is something else.
    """
    value = found.get(name)
    if not isinstance(value, list | None):
        raise SourceError(f"{place} is not as datasets writes it: {name!r} is not an array")
    return cast("list[object]", value or [])


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found: Any = json.loads(read_bounded(path, _MAX_JSON))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"cannot read {path}: {error}") from None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def declared(path: str) -> Mapping[str, Feature]:
    """The columns of a file as its schema declares them.

    Raises:
        SourceError: the file is missing or not Arrow.
    """
    with _reader(path) as (reader, _):
        return features(reader.schema)
