"""Datasets of small files: a folder per class, PNG masks, YOLO texts. A unit of work is some files of one folder."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from label_guard.core.files import read_bounded
from label_guard.core.plural import counted
from label_guard.errors import SourceError
from label_guard.sources.base import (
    CHUNK_BYTES,
    MAX_LABEL_BYTES,
    LabelShapes,
    Piece,
    Shard,
    require_fields,
)
from label_guard.sources.encoded_labels import Encoding, decode
from label_guard.sources.files import is_file_within
from label_guard.sources.pieces import records_piece, values_column
from label_guard.sources.tfds_metadata import Feature

_FILES = 2000  # of one unit of work
MAX_TEXT = 32 << 20
SPLITS = ("train", "val", "valid", "validation", "test")
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy", ".avif", ".jxl")
_NOT_LABELS = ("classes.txt", "names.txt", "obj.names", "readme.txt", "train.txt", "val.txt", "test.txt")


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGES)


def is_png(name: str) -> bool:
    """Whether a file of this name is a mask."""
    return name.lower().endswith(".png")


def is_label_text(name: str) -> bool:
    """Whether a file of this name holds the labels of a picture, as YOLO keeps them."""
    return name.lower().endswith(".txt") and name.lower() not in _NOT_LABELS


def entries(folder: str) -> tuple[list[str], list[str]]:
    """The visible files and sub-folders of a folder, sorted.

    Raises:
        SourceError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            visible = {entry.name: _is_folder(entry) for entry in found if not entry.name.startswith(".")}
    except OSError as error:
        raise SourceError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    return sorted(n for n in visible if not visible[n]), sorted(n for n in visible if visible[n])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a ring of links, which is named when it is read
        return False


def _shards(root: str, folders: Sequence[str], fits: Callable[[str], bool], pattern: str) -> tuple[Shard, ...]:
    """Units of work: at most ``_FILES`` files of one folder each, named by their folder and the first of them."""
    shards: list[Shard] = []
    for folder in folders:
        path = os.path.join(root, folder) if folder else root  # noqa: PTH118
        count = sum(fits(name) and fnmatchcase(name, pattern) for name in entries(path)[0])
        for start in range(0, count, _FILES):
            name = (folder or Path(root).name) + (f"+{start}" if start else "")
            shards.append(Shard(f"{path}#{pattern}#{start}/{count}", name, len(shards)))
    return tuple(shards)


def _files_of(shard: str, fits: Callable[[str], bool]) -> tuple[str, list[str], dict[int, str]]:
    """The folder, the names of the files, and the keys of their records by position: the folder and the name.

    Raises:
        SourceError: the folder cannot be listed, or has gained or lost files: a unit of work would hold others.
    """
    folder, pattern, places = shard.rsplit("#", 2)
    start, count = map(int, places.split("/"))
    files = [name for name in entries(folder)[0] if fits(name) and fnmatchcase(name, pattern)]
    if len(files) != count:
        raise SourceError(
            f"{folder} has {counted(len(files), 'file')} of records and had {count:,}; read it again once nothing "
            "writes to it"
        )
    files = files[start : start + _FILES]
    return folder, files, {row: f"{Path(folder).name}/{name}" for row, name in enumerate(files)}


def _rows_of(shard: str, fits: Callable[[str], bool], keys: Iterable[str]) -> dict[int, str]:
    wanted = set(keys)
    return {row: key for row, key in _files_of(shard, fits)[2].items() if key in wanted}


def _content(file: Path, limit: int, closed: list[str]) -> bytes:
    """What a file of a record holds; one that cannot be opened or read is added to ``closed``.

    Raises:
        ValueError: it cannot be read, or is larger than ``limit``.
    """
    try:
        return read_bounded(file, limit)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno != errno.EFBIG:  # which is a fault of the record, and nothing is left to read
            closed.append(f"{file.name}: {reason}")
        raise ValueError(reason) from None


def _require_opened(folder: str, closed: Sequence[str]) -> None:
    """Checks that all files could be opened: what is in the others is not known, whatever share of the records it is.

    Raises:
        SourceError: some could not.
    """
    if closed:
        raise SourceError(f"cannot read {counted(len(closed), 'file')} of {folder}; first {closed[0]}")


def chosen_files(where: str) -> tuple[str, str] | None:
    """The folder and the pattern of a path that names files in one folder; None for a path that is a folder."""
    path = Path(where)
    if path.is_dir() or not path.parent.is_dir():
        return None
    if path.is_file():  # a name may hold signs that look like wildcards
        return str(path.parent), glob.escape(path.name)
    return (str(path.parent), path.name) if glob.has_magic(path.name) and "#" not in path.name else None


def tree(root: str) -> Iterator[str]:
    """``""`` and the paths of all folders below ``root``, links not followed."""
    pending = [""]
    while pending:
        folder = pending.pop(0)
        yield folder
        path = Path(root, folder)
        inner = [name for name in entries(str(path))[1] if not (path / name).is_symlink()]
        pending += [f"{folder}/{name}" if folder else name for name in inner]


def split_folder(root: str, split: str | None) -> str:
    """The sub-folder of ``root`` that is called as the split, else ``root``.

    Raises:
        SourceError: ``root`` is not a folder.
    """
    if chosen_files(root) is not None:
        return root
    if not Path(root).is_dir():
        raise SourceError(f"{root} is not a folder, or a pattern of files in one folder")
    inner = Path(root, split or "")
    return str(inner) if split and inner.is_dir() else root


def require_split(root: str, split: str, there: Iterable[str]) -> None:
    """Checks that ``root`` does not hold other splits instead: their records would be taken for those of ``split``.

    Raises:
        SourceError: ``split`` and some of ``there`` are usual names of splits.
    """
    others = sorted(set(there) & set(SPLITS))
    if split in SPLITS and others:
        raise SourceError(f"{root} has no split {split!r}; it has {', '.join(map(repr, others))}")


def file_shards(
    where: str, fits: Callable[[str], bool], what: str, inner: Sequence[str] | None = None
) -> tuple[Shard, ...]:
    """Units of work over the files of a pattern, or of a folder and all folders below it.

    Args:
        where: the pattern or folder.
        fits: which names are those of records.
        what: these files, in words.
        inner: paths of the folders in ``where`` that are read, instead of all.

    Raises:
        SourceError: none is found.
    """
    chosen = chosen_files(where)
    if chosen is None:
        shards = _shards(where, list(tree(where)) if inner is None else inner, fits, "*")
    else:
        shards = _shards(chosen[0], [""], fits, chosen[1])
    if not shards:
        raise SourceError(f"{where} holds no {what}")
    return shards


# A folder per class ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """A folder per class: a record is a picture, its label the name of its folder."""

    name: str = "folder"

    def fields(self, path: str) -> Sequence[str]:
        del path
        return ("label",)

    def rows(self, path: str, keys: Iterable[str]) -> dict[int, str]:
        return _rows_of(path, _is_image, keys)

    def pictures(self, path: str, rows: Iterable[int]) -> dict[int, str]:
        folder, files, _ = _files_of(path, _is_image)
        found = {row: Path(folder, files[row]) for row in rows if row < len(files)}
        return {row: str(file) for row, file in found.items() if is_file_within(file, Path(folder).parent)}

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        folder, files, names = _files_of(path, _is_image)
        yield Piece(range(len(files)), {label: [Path(folder).name] * len(files) for label in wanted}, (), names)


def class_shards(root: str) -> tuple[Shard, ...]:
    """One unit of work or more per class folder.

    Raises:
        SourceError: no folder holds pictures; a class folder is empty, or pictures are in folders below it.
    """
    classes = entries(root)[1]
    if not classes:
        raise SourceError(f"{root} holds no folders; expected one per class")
    for name in classes:
        files, inner = entries(str(Path(root, name)))
        if inner and not any(map(_is_image, files)):
            raise SourceError(
                f"{root}/{name} holds folders, not pictures; remove it if it is not a class, or pass --split {name} "
                "if it is a split"
            )
        if not any(map(_is_image, files)):
            raise SourceError(f"{root}/{name} is a class folder without pictures; remove it, or restore its files")
        below = tree(str(Path(root, name))) if inner else ()
        deeper = next((path for path in below if path and holds(root, f"{name}/{path}", _is_image)), None)
        if deeper is not None:
            raise SourceError(f"{root}/{name} holds pictures, and {deeper} in it holds more; move them into one folder")
    return _shards(root, classes, _is_image, "*")


def class_splits(root: str) -> list[str]:
    """The sub-folders of ``root`` that hold class folders; empty where it holds class folders itself."""
    splits: list[str] = []
    for name in entries(root)[1]:
        files, inner = entries(str(Path(root, name)))
        if any(map(_is_image, files)):
            return []
        splits += [name] if inner else []
    return splits


def declared_classes(root: str) -> Mapping[str, Feature]:
    """The class names: those of the folders, sorted."""
    names = tuple(entries(root)[1])
    return {"label": Feature("ClassLabel", len(names), names, "string")}


# Masks ----------------------------------------------------------------------------------------------------------------


def mask_shards(where: str, split: str | None) -> tuple[Shard, ...]:
    """Units of work over PNG files: of a pattern, of the sub-folder that is called as the split, or of the folder.

    Raises:
        SourceError: there are none, or sub-folders for other splits.
    """
    folder = split_folder(where, split)
    if split and folder == where:
        require_split(where, split, mask_splits(where))
    return file_shards(folder, is_png, "PNG files")


def mask_splits(where: str) -> list[str]:
    """The sub-folders that are called as a split usually is."""
    return [name for name in entries(where)[1] if name in SPLITS] if Path(where).is_dir() else []


def whole_mask_splits(where: str) -> list[str]:
    """The splits, where they hold all masks; else none: a mask outside them would be left out."""
    names = mask_splits(where)
    folders = [folder for folder in tree(where) if holds(where, folder, is_png)] if names else []
    return names if all(folder.partition("/")[0] in names for folder in folders) else []


def holds(root: str, folder: str, fits: Callable[[str], bool]) -> bool:
    """Whether a folder in ``root`` holds a file of such a name itself."""
    return any(map(fits, entries(str(Path(root, folder)))[0]))


@dataclass(frozen=True, slots=True)
class MaskFolder:
    """A folder of PNG masks: a record is a file."""

    name: str = "masks"

    def fields(self, path: str) -> Sequence[str]:
        del path
        return ("mask",)

    def rows(self, path: str, keys: Iterable[str]) -> dict[int, str]:
        return _rows_of(path, is_png, keys)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        folder, files, keys = _files_of(path, is_png)
        shape = next(iter(wanted.values()), None)  # a label comes before the record key
        size, start = 0, 0
        masks: list[Any] = []
        unreadable: list[tuple[int, str]] = []
        rows: list[int] = []
        closed: list[str] = []
        for row, name in enumerate(files):
            try:
                mask = decode(_content(Path(folder, name), MAX_LABEL_BYTES, closed), Encoding("image"), shape)
                if mask.ndim > 2 and shape is not None and len(shape) < 3:
                    raise ValueError(
                        f"{counted(mask.shape[-1], 'channel')}: colours, not class ids; convert it to one channel"
                    )
            except (OSError, ValueError) as error:
                unreadable.append((row, f"{name}: {error}"))
            else:
                rows.append(row)
                masks.append(mask)
                size += mask.nbytes
            if size >= CHUNK_BYTES or row == len(files) - 1:
                names = {k: keys[k] for k in range(start, row + 1)}
                yield Piece(rows, dict.fromkeys(wanted, values_column(masks)), unreadable, names)
                rows, masks, unreadable, size, start = [], [], [], 0, row + 1
        _require_opened(folder, closed)


# YOLO -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class YoloFolder:
    """YOLO text files: a record is a picture, its labels the class ids and numbers of the lines of its file."""

    name: str = "yolo"

    def fields(self, path: str) -> Sequence[str]:
        del path
        return ("label", "bbox")

    def rows(self, path: str, keys: Iterable[str]) -> dict[int, str]:
        return _rows_of(path, is_label_text, keys)

    def pictures(self, path: str, rows: Iterable[int]) -> dict[int, str]:
        folder, files, _ = _files_of(path, is_label_text)
        stems = {row: Path(files[row]).stem for row in rows if row < len(files)}
        found: dict[int, str] = {}
        root, pictures = _pictures_folder(Path(folder))
        for place in (Path(folder), pictures):
            names = {
                Path(name).stem: name for name in (entries(str(place))[0] if place.is_dir() else ()) if _is_image(name)
            }
            files_there = {row: place / names[stem] for row, stem in stems.items() if stem in names}
            found |= {row: str(file) for row, file in files_there.items() if is_file_within(file, root)}
        return found

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        require_fields(wanted, self.fields(path), path)
        folder, files, names = _files_of(path, is_label_text)
        closed: list[str] = []
        yield records_piece(0, files, lambda name: _yolo_labels(Path(folder, name), closed), wanted)._replace(
            names=names
        )
        _require_opened(folder, closed)


def _pictures_folder(labels: Path) -> tuple[Path, Path]:
    """The folder that holds ``labels``, and ``images`` there, as Ultralytics' ``img2label_paths`` names it."""
    parts = list(labels.parts)
    places = [place for place, part in enumerate(parts) if part == "labels"]
    if not places:
        return labels, labels
    root = Path(*parts[: places[-1]])
    return root, Path(root, "images", *parts[places[-1] + 1 :])


def _yolo_labels(file: Path, closed: list[str]) -> dict[str, Any]:
    try:
        ids, boxes = _boxes(_content(file, MAX_TEXT, closed))
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None
    return {"label": ids, "bbox": boxes}


def _boxes(data: bytes) -> tuple[Any, Any]:
    """Class ids ``[n]``, as int64 where all are whole numbers, and boxes float64 ``[n, 4]``.

    Raises:
        ValueError: a line is not ``class x y width height``, with further numbers for polygons and key points.
    """
    ids: list[Any] = []
    boxes: list[list[float]] = []
    for number, line in enumerate(data.decode().splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) < 5 or "_" in line or not line.isascii():
            raise ValueError(f"line {number} is not 'class x y width height': {line[:60]!r}")
        try:
            numbers = [float(word) for word in words[1:]]
            ids.append(int(words[0]) if words[0].lstrip("+-").isdigit() else float(words[0]))
        except ValueError:
            raise ValueError(f"line {number} is not 'class x y width height': {line[:60]!r}") from None
        boxes.append(numbers[:4])
    return ids, np.array(boxes, np.float64).reshape(-1, 4)
