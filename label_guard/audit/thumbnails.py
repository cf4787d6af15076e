"""Small pictures, or the first words, of the example records of an audit, for its HTML report.

Only these records are read once more. A mask is drawn next to the picture it belongs to, its invalid pixels marked.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.audit.report import AuditReport, SplitReport
from label_guard.check.guard import Guard
from label_guard.check.reading import stored_features
from label_guard.core.files import read_bounded
from label_guard.core.types import Rows
from label_guard.errors import LabelGuardError
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel
from label_guard.sources.base import FilesFormat, PicturedFormat, Shard, framework
from label_guard.sources.source import Source

SIDE = 96  # pixels, at most
MAX_THUMBNAILS = 60  # in one report, about 0.5 MB
_MAX_PIXELS = 1 << 26  # of a picture before it is shrunk: no decompression bomb is opened
# Without a list, bytes of data would choose the decoder, and some of these start programs (EPS: Ghostscript).
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
# Examples are the first by key, so near the start of their shard; looking further costs more than a picture is worth.
_MAX_BYTES = 256 << 20
_MAX_FILE = 64 << 20  # bytes of a picture in a file of its own
_PICTURES = ("image/encoded", "image/bytes", "image", "img", "picture", "png", "jpg", "jpeg", "x")
_TEXTS = ("text", "sentence", "sentence1", "title", "caption", "question", "prompt", "review", "content", "txt")
_MAX_TEXT = 160  # characters
_GAP = 2  # pixels between two pictures of one record
_RED = (255, 40, 40)


def gather_thumbnails(report: AuditReport, plans: Iterable[tuple[str | None, Source]]) -> AuditReport:
    """``report`` with a picture, or the first words, of every example record that has one.

    Args:
        report: a finished audit.
        plans: the opened source of each split.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    framework("PIL.Image", "records")
    found: dict[str, Mapping[str, str]] = {}
    left = MAX_THUMBNAILS
    sources = dict(plans)
    for split in report.splits:
        source = sources.get(split.split)
        if source is None or source.format.name == "python":
            continue
        pictures = _of_split(split, source, _masks_of(report.schema_file, split.split), left)
        left -= len(pictures)
        if pictures:
            found[split.split or ""] = pictures
    return report.model_copy(update={"thumbnails": found})


def _of_split(split: SplitReport, source: Source, masks: Guard, most: int) -> dict[str, str]:
    wanted = {one.record for found in split.labels.values() for kept in found.examples.values() for one in kept}
    places, form = _places(split, source, wanted), source.format
    found: dict[str, str] = {}
    for shard in source.shards():
        try:
            if isinstance(form, FilesFormat) and source.record_key is None:
                rows = form.rows(shard.path, wanted)
            else:
                rows = places.get(shard.name, {})
            if rows and len(found) < most:
                found |= _of_shard(source, shard, rows, masks)
        except LabelGuardError:
            continue  # the audit has named the damaged shard
    return dict(sorted(found.items())[:most])


def _places(split: SplitReport, source: Source, wanted: set[str]) -> dict[str, dict[int, str]]:
    """Keys by file and position: where invalid records were kept, else where an invalid value or the key itself says.

    A key of several records names none of them.
    """
    kept = {place.record: (place.shard, place.row) for place in reversed(split.bad) if place.record in wanted}
    named: dict[str, set[tuple[str, int]]] = {}
    for statistics in split.labels.values():
        for value in statistics.illegal_values.values.values():
            for shard, row, key in (value.first, value.last):
                if key in wanted:
                    named.setdefault(key, set()).add((shard, row))
    places = {key: next(iter(several)) for key, several in named.items() if len(several) == 1} | kept
    names = {shard.name for shard in source.shards()}
    for key in wanted - places.keys() if source.record_key is None else ():
        shard, _, row = (min(names), "", key) if source.numbered else key.rpartition("__")
        if shard in names and row.isdecimal():
            places[key] = shard, int(row)
    found: dict[str, dict[int, str]] = {}
    for key in sorted(places):
        shard, row = places[key]
        found.setdefault(shard, {})[row] = key
    return found


def _of_shard(source: Source, shard: Shard, rows: Mapping[int, str], masks: Guard) -> dict[str, str]:
    if isinstance(source.format, PicturedFormat):
        return _of_files(source.format.pictures(shard.path, rows), rows)
    fields = source.format.fields(shard.path)
    picture, text = (next((name for name in names if name in fields), None) for names in (_PICTURES, _TEXTS))
    features = stored_features(masks.labels)
    wanted = {name: None for name in (picture, text) if name is not None} | {
        path: source.labels[path] for path in features if path in source.labels
    }
    found: dict[str, str] = {}
    read = 0
    for chunk in replace(source, labels=wanted, record_key=None).read(shard) if wanted else ():
        places = {int(row): place for place, row in enumerate(chunk.rows) if int(row) in rows}
        for row, place in places.items():
            shown = _shown({name: column[place] for name, column in chunk.columns.items()}, picture, text, masks)
            if shown is not None:
                found[rows[row]] = shown
        read += sum(_size(value) for column in chunk.columns.values() for value in column)
        if read > _MAX_BYTES or (len(chunk.rows) and chunk.rows[-1] >= max(rows)):
            break
    return found


def _of_files(files: Mapping[int, str], rows: Mapping[int, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row, file in files.items():
        with suppress(OSError):  # it is gone, or too large
            if (shown := thumbnail(read_bounded(Path(file), _MAX_FILE))) is not None:
                found[rows[row]] = shown
    return found


def _shown(values: Mapping[str, Any], picture: str | None, text: str | None, masks: Guard) -> str | None:
    """What is shown of a record: its pictures side by side, else the start of its text."""
    pictures = [] if picture is None else [_picture(values[picture])]
    pictures += [_drawn(values[path], found) for path, found in _invalid_pixels(values, masks).items()]
    return _uri([one for one in pictures if one is not None]) or _start_of(values.get(text or ""))


def _start_of(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value[:_MAX_TEXT] + ("..." if len(value) > _MAX_TEXT else "") if isinstance(value, str) else None


def _size(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else int(getattr(value, "nbytes", 8))


def thumbnail(value: Any) -> str | None:
    """A picture as a PNG ``data:`` URI of at most ``SIDE`` pixels a side; None where ``value`` is not a picture.

    Args:
        value: the bytes of a PNG, JPEG, GIF, BMP or WebP file of at most 64 Mi pixels; or uint8
            ``[height, width]`` or ``[height, width, 1 | 3 | 4]``.
    """
    picture = _picture(value)
    return None if picture is None else _uri([picture])


def _picture(value: Any) -> Any:
    """A Pillow image of at most ``SIDE`` pixels a side; None where ``value`` is not a picture."""
    image: Any = framework("PIL.Image", "records")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's of a bomb, which the next line refuses
            picture = (
                image.open(io.BytesIO(value), formats=_FORMATS)
                if isinstance(value, bytes)
                else _from_array(image, value)
            )
        if picture is None or picture.width * picture.height > _MAX_PIXELS:
            return None
        picture.draft("RGB", (SIDE, SIDE))
        picture = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
        picture.thumbnail((SIDE, SIDE))
    except Exception:  # Pillow raises errors of many kinds for damaged data
        return None
    return picture


def _uri(pictures: Sequence[Any]) -> str | None:
    """Pictures side by side as a PNG ``data:`` URI; None where there are none."""
    if not pictures:
        return None
    sheet = pictures[0]
    if len(pictures) > 1:
        image: Any = framework("PIL.Image", "records")
        width = sum(one.width for one in pictures) + _GAP * (len(pictures) - 1)
        sheet = image.new("RGBA", (width, max(one.height for one in pictures)))
        left = 0
        for one in pictures:
            sheet.paste(one, (left, 0))
            left += one.width + _GAP
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _from_array(image: Any, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return None
    pixels = cast("NDArray[Any]", value)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        return None
    return image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)


# Masks ----------------------------------------------------------------------------------------------------------------


def _masks_of(schema: DatasetSchema, split: str | None) -> Guard:
    """A guard of the labels that are images of class ids; an axis of length 1 does not count."""
    masks = {
        path: label
        for path, label in schema.stored(split).items()
        if isinstance(label, ClassLabel) and len([size for size in label.shape if size != 1]) == 2
    }
    return Guard(schema.model_copy(update={"labels": masks, "splits": {}, "views": {}}))


def _invalid_pixels(values: Mapping[str, Any], masks: Guard) -> dict[str, Rows]:
    """By path of a mask of one record, the flat positions that break a rule."""
    found = {path: np.empty(0, np.intp) for path in masks.labels if path in values}
    if len(found) < len(masks.labels):
        return {}
    gathered = masks.gathered({path: [value] for path, value in values.items()}, 1)
    for fault in masks.check_columns(gathered, 1).faults:
        if fault.positions is not None:
            found[fault.label] = np.concatenate([found[fault.label], fault.positions])
    return found


def _drawn(value: Any, invalid: Rows) -> Any:
    """A mask in the colours of PASCAL VOC, dimmed where pixels are invalid, which are red; None for anything else.

    Args:
        value: the mask.
        invalid: flat positions of its invalid pixels.
    """
    if not isinstance(value, np.ndarray):
        return None
    pixels = cast("NDArray[Any]", value).squeeze()
    if pixels.ndim != 2 or pixels.dtype.kind not in "biu" or not pixels.size:
        return None
    image: Any = framework("PIL.Image", "records")
    step = -(-max(pixels.shape) // SIDE)
    colors = _colors(pixels[::step, ::step])
    if len(invalid):
        marked = np.zeros(pixels.shape, np.bool_)
        marked.reshape(-1)[invalid] = True
        marked = _any_in_blocks(marked, step)
        colors //= 3
        colors[_widened(marked) if max(marked.shape) > SIDE // 3 else marked] = _RED
    height, width = (max(1, round(size * min(1.0, SIDE / max(pixels.shape)))) for size in pixels.shape)
    return image.fromarray(colors).resize((width, height), image.Resampling.NEAREST)


def _colors(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """The bits of an id, in turn, as the high bits of red, green and blue: VOCdevkit's ``VOClabelcolormap``."""
    rest = ids.astype(np.int64) & 255
    colors = np.zeros((*ids.shape, 3), np.uint8)
    for bit in range(7, -1, -1):
        for channel in range(3):
            colors[..., channel] |= ((rest >> channel & 1) << bit).astype(np.uint8)
        rest >>= 3
    return colors


def _any_in_blocks(marked: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Whether any pixel of each block of ``step`` by ``step`` is marked, so that a single one is not lost."""
    rows, columns = (range(0, size, step) for size in marked.shape)
    return np.logical_or.reduceat(np.logical_or.reduceat(marked, rows, axis=0), columns, axis=1)


def _widened(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``marked`` and its neighbours, so that a single pixel is seen."""
    wide = np.pad(marked, 1)
    wide = wide | np.roll(wide, 1, 0) | np.roll(wide, -1, 0)
    wide = wide | np.roll(wide, 1, 1) | np.roll(wide, -1, 1)
    return wide[1:-1, 1:-1]
