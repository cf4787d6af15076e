"""Datasets of small files: a folder per class, PNG masks, YOLO texts. A unit of work is some files of one folder."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import numpy as np

from label_guard.core.files import read_bounded
from label_guard.core.plural import counted
from label_guard.errors import SourceError
from label_guard.sources.base import (
    CHUNK_BYTES,
    MAX_LABEL_BYTES,
    LabelShapes,
    MetadataError,
    Piece,
    Shard,
    require_fields,
)
from label_guard.sources.encoded_labels import Encoding, decode
from label_guard.sources.files import is_file_within
from label_guard.sources.pieces import records_piece, values_column
from label_guard.sources.tfds_metadata import Feature

_FILES = 2000  # of one unit of work
_MAX_TEXT = 32 << 20
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy", ".avif", ".jxl")
_NOT_LABELS = ("classes.txt", "names.txt", "obj.names", "readme.txt", "train.txt", "val.txt", "test.txt")
_YAML = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGES)


def is_png(name: str) -> bool:
    """Whether a file of this name is a mask."""
    return name.lower().endswith(".png")


def is_label_text(name: str) -> bool:
    """Whether a file of this name holds the labels of a picture, as YOLO keeps them."""
    return name.lower().endswith(".txt") and name.lower() not in _NOT_LABELS


def _entries(folder: str) -> tuple[list[str], list[str]]:
    """The visible files and sub-folders of a folder, sorted.

    Raises:
        SourceError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            visible = [entry for entry in found if not entry.name.startswith(".")]
            files = sorted(entry.name for entry in visible if not entry.is_dir())
            return files, sorted(entry.name for entry in visible if entry.is_dir())
    except OSError as error:
        raise SourceError(f"cannot read the folder {folder}: {error.strerror or error}") from None


def _shards(root: str, folders: Sequence[str], fits: Callable[[str], bool], pattern: str) -> tuple[Shard, ...]:
    """Units of work: at most ``_FILES`` files of one folder each, named by their folder and the first of them."""
    shards: list[Shard] = []
    for folder in folders:
        path = os.path.join(root, folder) if folder else root  # noqa: PTH118
        count = sum(fits(name) and fnmatchcase(name, pattern) for name in _entries(path)[0])
        for start in range(0, count, _FILES):
            name = (folder or Path(root).name) + (f"+{start}" if start else "")
            shards.append(Shard(f"{path}#{pattern}#{start}", name, len(shards)))
    return tuple(shards)


def _files_of(shard: str, fits: Callable[[str], bool]) -> tuple[str, list[str], dict[int, str]]:
    """The folder, the names of the files, and the keys of their records by position: the folder and the name."""
    folder, pattern, start = shard.rsplit("#", 2)
    files = [name for name in _entries(folder)[0] if fits(name) and fnmatchcase(name, pattern)]
    files = files[int(start) : int(start) + _FILES]
    return folder, files, {row: f"{Path(folder).name}/{name}" for row, name in enumerate(files)}


def _rows_of(shard: str, fits: Callable[[str], bool], keys: Iterable[str]) -> dict[int, str]:
    wanted = set(keys)
    return {row: key for row, key in _files_of(shard, fits)[2].items() if key in wanted}


def _chosen_files(where: str) -> tuple[str, str] | None:
    """The folder and the pattern of a path that names files in one folder; None for a path that is a folder."""
    path = Path(where)
    if path.is_dir() or not path.parent.is_dir():
        return None
    if path.is_file():  # a name may hold signs that look like wildcards
        return str(path.parent), glob.escape(path.name)
    return (str(path.parent), path.name) if glob.has_magic(path.name) and "#" not in path.name else None


def _tree(root: str, depth: int = 8) -> Iterator[str]:
    """``""`` and the paths of all folders below ``root``, links not followed."""
    pending = [("", depth)]
    while pending:
        folder, left = pending.pop(0)
        yield folder
        path = Path(root, folder)
        if left:
            inner = [name for name in _entries(str(path))[1] if not (path / name).is_symlink()]
            pending += [(f"{folder}/{name}" if folder else name, left - 1) for name in inner]


def split_folder(root: str, split: str | None) -> str:
    """The sub-folder of ``root`` that is called as the split, else ``root``.

    Raises:
        SourceError: ``root`` is not a folder.
    """
    if _chosen_files(root) is not None:
        return root
    if not Path(root).is_dir():
        raise SourceError(f"{root} is not a folder, or a pattern of files in one folder")
    inner = Path(root, split or "")
    return str(inner) if split and inner.is_dir() else root


def file_shards(where: str, fits: Callable[[str], bool], what: str) -> tuple[Shard, ...]:
    """Units of work over the files of a pattern, or of a folder and all folders below it.

    Args:
        where: the pattern or folder.
        fits: which names are those of records.
        what: these files, in words.

    Raises:
        SourceError: none is found.
    """
    chosen = _chosen_files(where)
    folder, inner, pattern = (where, list(_tree(where)), "*") if chosen is None else (chosen[0], [""], chosen[1])
    shards = _shards(folder, inner, fits, pattern)
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
    classes = _entries(root)[1]
    if not classes:
        raise SourceError(f"{root} holds no folders; expected one per class")
    for name in classes:
        files, inner = _entries(str(Path(root, name)))
        if inner and not any(map(_is_image, files)):
            raise SourceError(
                f"{root}/{name} holds folders, not pictures; remove it if it is not a class, or pass --split {name} "
                "if it is a split"
            )
        if not any(map(_is_image, files)):
            raise SourceError(f"{root}/{name} is a class folder without pictures; remove it, or restore its files")
        below = _tree(str(Path(root, name))) if inner else ()
        deeper = next((path for path in below if path and _has_image(root, name, path)), None)
        if deeper is not None:
            raise SourceError(f"{root}/{name} holds pictures, and {deeper} in it holds more; move them into one folder")
    return _shards(root, classes, _is_image, "*")


def _has_image(*folder: str) -> bool:
    return any(map(_is_image, _entries(str(Path(*folder)))[0]))


def class_splits(root: str) -> list[str]:
    """The sub-folders of ``root`` that hold class folders; empty where it holds class folders itself."""
    splits: list[str] = []
    for name in _entries(root)[1]:
        files, inner = _entries(str(Path(root, name)))
        if any(map(_is_image, files)):
            return []
        splits += [name] if inner else []
    return splits


def declared_classes(root: str) -> Mapping[str, Feature]:
    """The class names: those of the folders, sorted."""
    names = tuple(_entries(root)[1])
    return {"label": Feature("ClassLabel", len(names), names, "string")}


# Masks ----------------------------------------------------------------------------------------------------------------


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
        for row, name in enumerate(files):
            try:
                mask = decode(read_bounded(Path(folder, name), MAX_LABEL_BYTES), Encoding("image"), shape)
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
                Path(name).stem: name for name in (_entries(str(place))[0] if place.is_dir() else ()) if _is_image(name)
            }
            files_there = {row: place / names[stem] for row, stem in stems.items() if stem in names}
            found |= {row: str(file) for row, file in files_there.items() if is_file_within(file, root)}
        return found

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        require_fields(wanted, self.fields(path), path)
        folder, files, names = _files_of(path, is_label_text)
        yield records_piece(0, files, lambda name: _yolo_labels(Path(folder, name)), wanted)._replace(names=names)


def _pictures_folder(labels: Path) -> tuple[Path, Path]:
    """The folder that holds ``labels``, and ``images`` there, as Ultralytics' ``img2label_paths`` names it."""
    parts = list(labels.parts)
    places = [place for place, part in enumerate(parts) if part == "labels"]
    if not places:
        return labels, labels
    root = Path(*parts[: places[-1]])
    return root, Path(root, "images", *parts[places[-1] + 1 :])


def _yolo_labels(file: Path) -> dict[str, Any]:
    try:
        ids, boxes = _boxes(read_bounded(file, _MAX_TEXT))
    except (OSError, ValueError) as error:
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


def yolo_folder(root: str, split: str | None) -> str:
    """The folder of the labels of a split: as data.yaml names its pictures, else ``labels/SPLIT`` or ``SPLIT/labels``.

    Raises:
        SourceError: ``root`` is not a folder, or its data.yaml is damaged.
    """
    if split is None or _chosen_files(root) is not None:
        return split_folder(root, None)
    named = _data_yaml(root).get({"validation": "val"}.get(split, split))
    places = [named.replace("images", "labels").lstrip("./")] if isinstance(named, str) else []
    for place in (*places, f"labels/{split}", f"{split}/labels", split):
        if Path(root, place).is_dir() and ".." not in Path(place).parts:
            return str(Path(root, place))
    return split_folder(root, split)


def yolo_classes(root: str) -> Mapping[str, Feature]:
    """The class names of data.yaml, in the folder or one above it; empty where there is none.

    Raises:
        SourceError: data.yaml is damaged.
    """
    root = (_chosen_files(root) or (root,))[0]
    folders = (Path(root), *Path(root).resolve().parents[:2])
    found = next((data for folder in folders if (data := _data_yaml(str(folder)))), dict[str, Any]())
    names: Any = found.get("names")
    if isinstance(names, list):
        names = dict(enumerate(cast("list[Any]", names)))
    if isinstance(names, dict) and names:
        listed = cast("dict[object, object]", names)
        ids = tuple(sorted([key for key in listed if isinstance(key, int)]))
        if len(ids) < len(listed):
            raise MetadataError(f"{root}: the names of data.yaml are not numbered")
        if type(found.get("nc")) is int and found["nc"] != len(ids):
            raise MetadataError(
                f"{root}: data.yaml has nc: {found['nc']} but {counted(len(ids), 'name')}; correct what is wrong"
            )
        gaps = None if ids == tuple(range(len(ids))) else ids
        texts = tuple(str(listed[one]) for one in ids)
        return {"label": Feature("ClassLabel", len(ids), texts, shape=(None,), class_ids=gaps)}
    count = found.get("nc")
    return {"label": Feature("ClassLabel", count, shape=(None,))} if type(count) is int and count > 0 else {}


def _data_yaml(root: str) -> dict[str, Any]:
    from ruamel.yaml import YAML, YAMLError

    for name in _YAML:
        path = Path(root, name)
        if path.is_file():
            try:
                yaml: Any = YAML(typ="safe", pure=True)
                found: Any = yaml.load(read_bounded(path, 1 << 20).decode())
            except (OSError, ValueError, YAMLError, RecursionError) as error:
                raise MetadataError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
            return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    return {}
