"""What ``data.yaml`` says of a YOLO dataset: the class names, and where the labels of a split are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from label_guard.core.files import read_bounded
from label_guard.core.plural import counted
from label_guard.errors import SourceError
from label_guard.sources.base import MetadataError
from label_guard.sources.folders import (
    MAX_TEXT,
    SPLITS,
    chosen_files,
    entries,
    holds,
    is_label_text,
    require_split,
    split_folder,
    tree,
)
from label_guard.sources.tfds_metadata import Feature

_YAML = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")


def label_folders(root: str, split: str | None) -> tuple[str, Sequence[str] | None]:
    """A folder, and which folders in it hold the labels of a split; None: all.

    data.yaml names the pictures of a split: a folder, a text that lists them, or several of these. Their labels are in
    ``labels`` instead of ``images``. Where it names none, or a folder outside ``root``, as one that was written on
    another machine does, they are in ``labels/SPLIT``, ``SPLIT/labels`` or ``SPLIT``.

    Raises:
        SourceError: ``root`` is not a folder, its data.yaml is damaged, or the labels of the split are not there.
    """
    if split is None or chosen_files(root) is not None:
        return split_folder(root, None), None
    data = _data_yaml(root)
    base = _inside(root, str(data.get("path") or ""))
    base = base if base is not None and Path(root, base).is_dir() else ""
    named = _listed(data.get({"validation": "val"}.get(split, split)))
    places = [_inside(root, place, base) for place in named]
    if len(places) == 1 and (places[0] is None or not Path(root, places[0]).is_file()):
        usual = _labels_of(places[0]) if places[0] is not None else _usual_folder(root, split)
        if usual is None or not Path(root, usual).is_dir():
            raise SourceError(_not_there(root, split, named[0], usual))
        return str(Path(root, usual)), None
    if places:
        pairs = zip(named, places, strict=True)
        folders = [folder for name, place in pairs for folder in _folders(root, split, name, place)]
        return root, list(dict.fromkeys(folders))
    usual = _usual_folder(root, split)
    if usual is None:
        require_split(root, split, _named_splits(root))
    return str(Path(root, usual or "")), None


def split_names(root: str) -> list[str]:
    """The splits that ``root`` holds, by their usual names.

    Empty where they do not hold all labels below ``root``: those outside would be left out.
    """
    found: list[str] = []
    read: set[Path] = set()
    for name in () if chosen_files(root) is not None or not Path(root).is_dir() else _named_splits(root):
        with contextlib.suppress(SourceError):  # data.yaml may name more than is there
            folder, inner = label_folders(root, name)
            read |= {Path(folder, one) for one in (tree(folder) if inner is None else inner)}
            found.append(name)
    below = [one for one in tree(root) if one and holds(root, one, is_label_text)] if found else []
    return found if all(Path(root, one) in read for one in below) else []


def _named_splits(root: str) -> list[str]:
    data = _data_yaml(root)
    folders = [folder for folder in (Path(root), Path(root, "labels")) if folder.is_dir()]
    there = {name for folder in folders for name in entries(str(folder))[1]}
    return [name for name in SPLITS if name in there or data.get(name)]


def _listed(value: object) -> list[str]:
    return [str(one) for one in cast("list[object]", value)] if isinstance(value, list) else [str(value)] * bool(value)


def _usual_folder(root: str, split: str) -> str | None:
    return next((one for one in (f"labels/{split}", f"{split}/labels", split) if Path(root, one).is_dir()), None)


def _inside(root: str, place: str, base: str = "") -> str | None:
    """``place`` as a path in ``root``; None where it is outside. Roboflow writes ``../train/images`` for one inside."""
    path = PurePosixPath(place)
    if path.is_absolute():
        path, base = Path(place).resolve(), ""
        if not path.is_relative_to(Path(root).resolve()):
            return None
        path = path.relative_to(Path(root).resolve())
    parts = list(path.parts)
    while parts[:1] == [".."]:
        parts.pop(0)
    return None if ".." in parts else str(PurePosixPath(base, *parts))


def _labels_of(pictures: str) -> str:
    """The folder of the labels of a folder of pictures, as Ultralytics' ``img2label_paths`` names it."""
    parts = list(PurePosixPath(pictures).parts)
    for place in reversed(range(len(parts))):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return str(PurePosixPath(*parts))


def _not_there(root: str, split: str, name: str, folder: str | None) -> str:
    missing = "a place outside the dataset" if folder is None else f"but {folder} is not a folder in it"
    return (
        f"{root}: its data.yaml names {name!r} for the split {split!r}, {missing}; "
        f"correct it, or name the folder of the labels, as in yolo:{root}/labels/{split}"
    )


def _folders(root: str, split: str, name: str, place: str | None) -> Sequence[str]:
    """The folders that hold the labels of a folder of pictures, or of a text that lists pictures.

    Raises:
        SourceError: they are not there, or hold labels of other pictures too.
    """
    if place is not None and Path(root, place).is_file():
        return _folders_of_list(root, place)
    folder = None if place is None else _labels_of(place)
    if folder is None or not Path(root, folder).is_dir():
        raise SourceError(_not_there(root, split, name, folder))
    return [str(PurePosixPath(folder, inner)) for inner in tree(str(Path(root, folder)))]


def _folders_of_list(root: str, place: str) -> Sequence[str]:
    try:
        lines = read_bounded(Path(root, place), MAX_TEXT).decode().split("\n")
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read {Path(root, place)}: {error}") from None
    listed: dict[str, set[str]] = {}
    for line in filter(None, map(str.strip, lines)):
        picture = _inside(root, line, str(PurePosixPath(place).parent))
        if picture is None:
            raise SourceError(f"{Path(root, place)} lists {line!r}, which is outside the dataset; write paths in it")
        path = PurePosixPath(_labels_of(picture))
        listed.setdefault(str(path.parent), set()).add(path.stem)
    folders = [folder for folder in listed if Path(root, folder).is_dir()]
    for folder in folders:
        texts = [file for file in entries(str(Path(root, folder)))[0] if is_label_text(file)]
        if other := next((file for file in texts if Path(file).stem not in listed[folder]), None):
            raise SourceError(
                f"{Path(root, place)} lists some pictures of {folder} only, not that of {other}, and a folder is read "
                f"as a whole; move the labels of each split into a folder of its own"
            )
    if not folders:
        raise SourceError(f"{Path(root, place)} lists pictures of {next(iter(listed), 'none')}, which is not a folder")
    return folders


def class_names(root: str) -> Mapping[str, Feature]:
    """The class names of data.yaml, in the folder or one above it; empty where there is none.

    Raises:
        SourceError: data.yaml is damaged.
    """
    root = (chosen_files(root) or (root,))[0]
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
