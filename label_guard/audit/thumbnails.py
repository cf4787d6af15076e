"""Small pictures of the example records of an audit, for its HTML report. Only these records are read once more."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.audit.baseline import BadPlace
from label_guard.audit.report import AuditReport, SplitReport
from label_guard.errors import LabelGuardError
from label_guard.sources.base import framework
from label_guard.sources.open import Shard, Source

SIDE = 96  # pixels, at most
MAX_THUMBNAILS = 60  # in one report, about 0.5 MB
_MAX_PIXELS = 1 << 26  # of a picture before it is shrunk: no decompression bomb is opened
# Without a list, bytes of data would choose the decoder, and some of these start programs (EPS: Ghostscript).
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
# Examples are the first by key, so near the start of their shard; looking further costs more than a picture is worth.
_MAX_BYTES = 256 << 20
_NAMES = ("image/encoded", "image/bytes", "image", "img", "picture", "png", "jpg", "jpeg", "x")


def gather_thumbnails(report: AuditReport, plans: Iterable[tuple[str | None, Source]]) -> AuditReport:
    """``report`` with a picture of every example record that has one.

    Args:
        report: a finished audit.
        plans: the opened source of each split.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    framework("PIL.Image", "tfds")
    found: dict[str, Mapping[str, str]] = {}
    left = MAX_THUMBNAILS
    sources = dict(plans)
    for split in report.splits:
        source = sources.get(split.split)
        if source is None or source.format.name == "python":
            continue
        pictures = _of_split(split, source, left)
        left -= len(pictures)
        if pictures:
            found[split.split or ""] = pictures
    return report.model_copy(update={"thumbnails": found})


def _of_split(split: SplitReport, source: Source, most: int) -> dict[str, str]:
    wanted = {one.record for found in split.labels.values() for kept in found.examples.values() for one in kept}
    places = {place.record: place for place in reversed(split.bad) if place.record in wanted}
    found: dict[str, str] = {}
    for shard in source.shards():
        rows = {row: key for key in sorted(wanted) if (row := _row_in(shard, key, places, source)) is not None}
        if rows and len(found) < most:
            try:
                found |= _of_shard(source, shard, rows)
            except LabelGuardError:
                continue  # the audit has named the damaged shard
    return dict(sorted(found.items())[:most])


def _row_in(shard: Shard, key: str, places: Mapping[str, BadPlace], source: Source) -> int | None:
    """The position of a record in ``shard``; None where it is in another, or is not known."""
    place = places.get(key)
    if place is not None:
        return place.row if place.shard == shard.name else None
    if source.record_key is not None:
        return None
    name, _, row = key.rpartition("__")
    if source.numbered:
        name, row = shard.name, key
    return int(row) if name == shard.name and row.isdecimal() else None


def _of_shard(source: Source, shard: Shard, rows: Mapping[int, str]) -> dict[str, str]:
    name = _picture_field(source.format.fields(shard.path))
    if name is None:
        return {}
    found: dict[str, str] = {}
    read = 0
    for chunk in replace(source, labels={name: None}, record_key=None).read(shard):
        column = chunk.columns[name]
        places = {int(row): place for place, row in enumerate(chunk.rows) if int(row) in rows}
        for row, place in places.items():
            picture = thumbnail(column[place])
            if picture is not None:
                found[rows[row]] = picture
        read += sum(_size(value) for value in column)
        if read > _MAX_BYTES or (len(chunk.rows) and chunk.rows[-1] >= max(rows)):
            break
    return found


def _picture_field(fields: Sequence[str]) -> str | None:
    return next((name for name in _NAMES if name in fields), None)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else int(getattr(value, "nbytes", 8))


def thumbnail(value: Any) -> str | None:
    """A picture as a PNG ``data:`` URI of at most ``SIDE`` pixels a side; None where ``value`` is not a picture.

    Args:
        value: the bytes of a PNG, JPEG, GIF, BMP or WebP file of at most 64 Mi pixels; or uint8
            ``[height, width]`` or ``[height, width, 1 | 3 | 4]``.
    """
    image: Any = framework("PIL.Image", "tfds")
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
        out = io.BytesIO()
        picture.save(out, "PNG")
    except Exception:  # Pillow raises errors of many kinds for damaged data
        return None
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _from_array(image: Any, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return None
    pixels = cast("NDArray[Any]", value)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        return None
    return image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
