"""JSON files of one value: an array of objects, an object of arrays, or COCO annotations; streamed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from label_guard.core.plural import counted
from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, LabelShapes, MetadataError, Piece, require_fields
from label_guard.sources.files import is_file_within, is_remote, opened_text
from label_guard.sources.json_stream import JsonStream
from label_guard.sources.jsonl import object_paths, require_object
from label_guard.sources.pieces import blocks, first_items, labels_of, records_piece
from label_guard.sources.tfds_metadata import Feature

_PEEKED = 64
_RECORD_BYTES = 256  # a guess, for blocks of about a chunk
ANNOTATIONS, CATEGORIES, CATEGORY = "annotations", "categories", "category_id"
_MAX_CATEGORIES = 1 << 20
_IMAGES_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """One JSON value: an array of objects or of labels, or an object of arrays of one length, a column each."""

    name: str = "json"

    def fields(self, path: str) -> Sequence[str]:
        with _stream(path, self.name) as stream:
            if stream.peek() == "[":
                values = first_items(_values(stream), _PEEKED)
                return _paths(iter(values)) if not values or isinstance(values[0], dict) else ("label",)
            return _column_names(stream)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        with _stream(path, self.name) as stream:
            if stream.peek() == "[":
                values = _values(stream)
                first = list(islice(values, 1))
                bare = bool(first) and not isinstance(first[0], dict)
                if bare and len(wanted) != 1:
                    labels = ", ".join(wanted)
                    raise ValueError(f"it is an array of values, one label, but {len(wanted)} are wanted: {labels}")
                yield from _records(chain(first, values), wanted, _bare_label if bare else _labels)
                stream.finish()
                return
            require_fields(wanted, _column_names(stream), path)
        yield from _columns(path, wanted)


@dataclass(frozen=True, slots=True)
class CocoFormat:
    """COCO: a record is an annotation, an object of the array ``annotations``."""

    name: str = "coco"

    def fields(self, path: str) -> Sequence[str]:
        with _stream(path, self.name) as stream:
            _enter(stream, ANNOTATIONS, path)
            return _paths(_values(stream))

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        with _stream(path, self.name) as stream:
            _enter(stream, ANNOTATIONS, path)
            yield from _records(_values(stream), wanted)
            _leave(stream, ANNOTATIONS)

    def pictures(self, path: str, rows: Iterable[int]) -> dict[int, str]:
        wanted = set(rows)
        with _stream(path, self.name) as stream:
            _enter(stream, ANNOTATIONS, path)
            numbered = enumerate(islice(_values(stream), max(wanted, default=-1) + 1))
            images = {row: _members(value).get("image_id") for row, value in numbered if row in wanted}
            images = {row: image for row, image in images.items() if isinstance(image, int | str)}
        files = _picture_files(path, lambda _, image: image.get("id") in images.values())
        by_id = {image["id"]: file for image, file in files}
        return {row: by_id[image] for row, image in images.items() if image in by_id}


@dataclass(frozen=True, slots=True)
class CocoImagesFormat:
    """COCO by image: a record is an image, and its label the list of what its annotations hold.

    The labels of a file are kept in memory, because annotations come in any order.
    """

    name: str = "coco_images"

    def fields(self, path: str) -> Sequence[str]:
        return CocoFormat().fields(path)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        places = _images(path)
        columns: dict[str, list[Any]] = {label: [[] for _ in places] for label in wanted}
        astray: list[tuple[int, str]] = []
        with _stream(path, self.name) as stream:
            _enter(stream, ANNOTATIONS, path)
            for number, value in enumerate(_values(stream)):
                record = _members(value)
                image = record.get("image_id")
                place = places.get(image) if isinstance(image, int | str) else None
                if place is None:
                    astray.append((len(places) + len(astray), f"annotation {number} is of no image: {image!r}"))
                    continue
                for label, found in labels_of(record, wanted).items():
                    columns[label][place].append(found)
            _leave(stream, ANNOTATIONS)
        for start in range(0, len(places), _IMAGES_AT_ONCE):
            rows = range(start, min(start + _IMAGES_AT_ONCE, len(places)))
            yield Piece(rows, {label: lists[start : rows.stop] for label, lists in columns.items()})
        if astray:
            yield Piece((), {label: [] for label in wanted}, astray)

    def pictures(self, path: str, rows: Iterable[int]) -> dict[int, str]:
        wanted = set(rows)
        places = _images(path)
        files = _picture_files(path, lambda place, _: place in wanted)
        return {places[image["id"]]: file for image, file in files}


def _picture_files(
    path: str, is_wanted: Callable[[int, Mapping[str, Any]], bool]
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Images of a COCO file, by their place and content, that have a picture on this machine, and its file."""
    if is_remote(path):
        return
    with _stream(path, "coco") as stream:
        _enter(stream, "images", path)
        for place, value in enumerate(_values(stream)):
            image = _members(value)
            file = _picture_file(Path(path), image.get("file_name")) if is_wanted(place, image) else None
            if file is not None:
                yield image, file


def _picture_file(path: Path, name: Any) -> str | None:
    """The picture that a COCO file calls ``name``: next to it, in ``images`` or ``train2017``, or in these one up.

    Neither a name nor a link that leads out of such a folder is followed; in the folder above it is only looked for
    directly where that of the file is ``annotations``.
    """
    if not isinstance(name, str) or not name:
        return None
    inner = ("images", path.stem.rpartition("_")[2])
    here, above = path.parent.resolve(), path.parent.resolve().parent
    folders = [(here, here), *((here / one, here) for one in inner), *((above / one, above) for one in inner)]
    folders += [(above, above)] if here.name == "annotations" else []
    return next((str(inside / name) for inside, root in folders if is_file_within(inside / name, inside, root)), None)


def _images(path: str) -> dict[int | str, int]:
    """The place of each image of a COCO file by its id."""
    places: dict[int | str, int] = {}
    with _stream(path, "coco_images") as stream:
        _enter(stream, "images", path)
        for number, value in enumerate(_values(stream)):
            image = _members(value).get("id")
            if not isinstance(image, int | str) or image in places:
                raise SourceError(f"{path}: image {number} has the id {image!r}; expected one of its own")
            places[image] = number
    return places


def image_categories(path: str) -> Mapping[str, Feature]:
    """As ``categories``, of the list of an image.

    Raises:
        SourceError: as ``categories``.
    """
    return {name: replace(feature, shape=(None,)) for name, feature in categories(path).items()}


def categories(path: str) -> Mapping[str, Feature]:
    """``category_id`` as the array ``categories`` of a COCO file declares it.

    Raises:
        SourceError: the file is missing or damaged; two categories have one id.
    """
    with _stream(path, "coco") as stream:
        _enter(stream, CATEGORIES, path)
        found = list(islice(_values(stream), _MAX_CATEGORIES))
    try:
        names = {int(one["id"]): str(one["name"]) for one in found}
    except (TypeError, KeyError, ValueError) as error:
        raise MetadataError(f"{path}: its categories are not as COCO writes them: {error}") from None
    if len(names) < len(found):
        raise MetadataError(f"{path}: two of its categories have the same id")
    ids = tuple(sorted(names))
    if not ids:
        return {}
    return {CATEGORY: Feature("ClassLabel", len(ids), tuple(names[one] for one in ids), class_ids=ids)}


@contextlib.contextmanager
def _stream(path: str, form: str) -> Generator[JsonStream]:
    with opened_text(path) as file:
        try:
            yield JsonStream(file)
        except ValueError as error:
            raise SourceError(f"cannot read {path} as {form.upper()}: {error}") from None


def _values(stream: JsonStream) -> Iterator[Any]:
    for _ in stream.elements():
        yield stream.value()


def _labels(value: Any, wanted: LabelShapes) -> dict[str, Any]:
    return labels_of(require_object(value), wanted)


def _bare_label(value: Any, wanted: LabelShapes) -> dict[str, Any]:
    """A record that is the label itself, such as the lists of ImageNet ReaL; an object among them is unreadable."""
    if isinstance(value, dict):
        raise ValueError("a JSON object among values")
    return dict.fromkeys(wanted, value)


def _records(
    values: Iterator[Any], wanted: LabelShapes, labels: Callable[[Any, LabelShapes], Mapping[str, Any]] = _labels
) -> Iterator[Piece]:
    row = 0
    for block in blocks(values, lambda _: _RECORD_BYTES, CHUNK_BYTES):
        yield records_piece(row, block, lambda value: labels(value, wanted), wanted)
        row += len(block)


def _members(value: Any) -> dict[str, Any]:
    """The members of a value; none where it is not an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _paths(values: Iterator[Any]) -> list[str]:
    names: dict[str, None] = {}
    for value in first_items(values, _PEEKED):
        names |= dict.fromkeys(object_paths(_members(value)))
    return list(names)


def _enter(stream: JsonStream, name: str, path: str) -> None:
    """Moves to the array ``name`` of the object."""
    if stream.peek() != "{":
        raise SourceError(f"{path} is not a COCO file: it is not one JSON object")
    for key in stream.members():
        if key == name:
            if stream.peek() != "[":
                raise SourceError(f"{path}: {name!r} is not an array")
            return
        stream.skip_member()
    raise SourceError(f"{path} is not a COCO file: it has no {name!r}")


def _leave(stream: JsonStream, name: str) -> None:
    """Reads the rest of the object, so that a file that is cut off is reported."""
    while stream.peek() == ",":
        stream.step(",")
        if stream.value() == name:
            raise ValueError(f"{name!r} occurs twice")
        stream.step(":")
        stream.skip_member()
    stream.step("}")
    stream.finish()


# An object of arrays --------------------------------------------------------------------------------------------------


def _column_names(stream: JsonStream) -> list[str]:
    found = [(key, stream.skip_member()) for key in stream.members()]
    stream.finish()
    names = [key for key, size in found if size is not None]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise ValueError(f"the key {doubled!r} occurs twice")
    if not names:
        raise ValueError(
            "it is neither an array of objects nor an object of arrays; pandas writes one by to_json(orient='records')"
        )
    sizes = {key: size for key, size in found if size is not None}
    other = next((key for key in names if sizes[key] != sizes[names[0]]), None)
    if other is not None:
        raise ValueError(
            f"its arrays differ in length: {names[0]!r} has {counted(sizes[names[0]], 'element')}, {other!r} has "
            f"{sizes[other]:,}"
        )
    return names


def _columns(path: str, wanted: LabelShapes) -> Iterator[Piece]:
    """Each column is read with a cursor of its own, side by side."""
    with contextlib.ExitStack() as stack:
        columns: dict[str, Iterator[Any]] = {}
        for label in wanted:
            stream = stack.enter_context(_stream(path, "json"))
            for key in stream.members():
                if key == label:
                    columns[label] = _values(stream)
                    break
                stream.skip_member()
        row = 0
        while True:
            block = {label: list(islice(values, CHUNK_BYTES // _RECORD_BYTES)) for label, values in columns.items()}
            count = max(map(len, block.values()), default=0)
            if not count:
                return
            if len(set(map(len, block.values()))) > 1:
                raise SourceError(f"{path} changed while it was read")
            yield Piece(range(row, row + count), dict(block))
            row += count
