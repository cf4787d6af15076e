"""The schemes of source URIs: how each finds its files and reads them. What is not in this table does not exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from label_guard.core.similar import closest
from label_guard.errors import SourceError
from label_guard.sources import array_record, arrow_files, folders, json_array, parquet, tf_record
from label_guard.sources.base import Format, Shard, did_you_mean
from label_guard.sources.csv import csv_format
from label_guard.sources.files import find_shards, is_remote
from label_guard.sources.jsonl import JsonLinesFormat
from label_guard.sources.numpy_files import NpyFormat, NpzFormat
from label_guard.sources.raw_numbers import raw_format
from label_guard.sources.tf_example import ExampleFormat
from label_guard.sources.tfds_metadata import Feature
from label_guard.sources.webdataset import WebDatasetFormat

Options = Mapping[str, str]
_QUERY = re.compile(r"[a-z_]+=[^&]*(&[a-z_]+=[^&]*)*")


def _files(where: str, split: str | None) -> tuple[Shard, ...]:
    del split
    return find_shards(where)


def _one_file(where: str, split: str | None) -> tuple[Shard, ...]:
    files = _files(where, split)
    if len(files) > 1:
        raise SourceError(f"{where} names {len(files)} files; expected one")
    return files


def _nothing(where: str, split: str | None, files: tuple[Shard, ...]) -> Mapping[str, Feature]:
    del where, split, files
    return {}


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of source.

    Attributes:
        form: makes the format from the options of the query.
        shards: the units of work, from the path and the split.
        declared: what the dataset's own metadata declare, from the path, the split and the units of work.
        options: names of the options of the query.
        suffixes: endings of the names of such files.
        named: whether a label is looked for under its name; without, the one label is whatever it is called.
        numbered: whether keys are bare row numbers instead of ``file__index``.
        splits: whether one path may hold several splits.
    """

    form: Callable[[Options], Format]
    shards: Callable[[str, str | None], tuple[Shard, ...]] = _files
    declared: Callable[[str, str | None, tuple[Shard, ...]], Mapping[str, Feature]] = _nothing
    options: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    named: bool = True
    numbered: bool = False
    splits: bool = False


def _folder_of(where: str, split: str | None) -> str:
    return folders.split_folder(where, split)


SCHEMES: dict[str, Scheme] = {
    "array_record": Scheme(
        lambda _: ExampleFormat("array_record", array_record.frames), suffixes=("array_record", "arrayrecord")
    ),
    "tfrecord": Scheme(
        lambda _: ExampleFormat("tfrecord", tf_record.frames), suffixes=("tfrecord", "tfrecords", "tfrec")
    ),
    "parquet": Scheme(
        lambda _: parquet.ParquetFormat(),
        declared=lambda _where, _split, files: parquet.declared(files[0].path),
        suffixes=("parquet", "pq"),
    ),
    "csv": Scheme(csv_format, options=("delimiter", "header", "encoding"), suffixes=("csv", "tsv")),
    "json": Scheme(lambda _: json_array.JsonFormat(), suffixes=("json",)),
    "jsonl": Scheme(lambda _: JsonLinesFormat(), suffixes=("jsonl", "ndjson", "jsonlines")),
    "npy": Scheme(lambda _: NpyFormat(), _one_file, suffixes=("npy",), named=False, numbered=True),
    "npz": Scheme(lambda _: NpzFormat(), _one_file, suffixes=("npz",), numbered=True),
    "raw": Scheme(raw_format, options=("dtype", "shape", "offset"), suffixes=("bin",), named=False),
    "arrow": Scheme(
        lambda _: arrow_files.ArrowFormat(),
        arrow_files.arrow_shards,
        lambda _where, _split, files: arrow_files.declared(files[0].path),
        suffixes=("arrow", "feather"),
        splits=True,
    ),
    "webdataset": Scheme(lambda _: WebDatasetFormat(), suffixes=("tar", "tgz")),
    "coco": Scheme(
        lambda _: json_array.CocoFormat(), declared=lambda _where, _split, files: json_array.categories(files[0].path)
    ),
    "yolo": Scheme(
        lambda _: folders.YoloFolder(),
        lambda where, split: folders.yolo_shards(folders.yolo_folder(where, split)),
        lambda where, _split, _files: folders.yolo_classes(where),
        splits=True,
    ),
    "folder": Scheme(
        lambda _: folders.ClassFolders(),
        lambda where, split: folders.class_shards(_folder_of(where, split)),
        lambda where, split, _files: folders.declared_classes(_folder_of(where, split)),
        named=False,
        splits=True,
    ),
    "masks": Scheme(
        lambda _: folders.MaskFolder(),
        lambda where, split: folders.mask_shards(_folder_of(where, split)),
        named=False,
        splits=True,
    ),
}
NAMES = ("tfds", *SCHEMES, "quarantine", "python")


def parse_uri(uri: str) -> tuple[str, str, dict[str, str]]:
    """Scheme, place and options of a source URI.

    >>> parse_uri("csv:labels.csv?delimiter=;&header=none")
    ('csv', 'labels.csv', {'delimiter': ';', 'header': 'none'})

    Raises:
        SourceError: no such scheme or option.
    """
    scheme, colon, where = uri.partition(":")
    if not colon or scheme not in NAMES or not where:
        raise SourceError(_unknown(uri, scheme if colon else ""))
    if scheme not in SCHEMES:
        return scheme, where, {}
    known = SCHEMES[scheme].options
    place, mark, query = where.rpartition("?")
    if not mark or not place or not _QUERY.fullmatch(query):
        return scheme, where, {}
    options = {name: unquote(value) for name, _, value in (part.partition("=") for part in query.split("&"))}
    wrong = next((name for name in options if name not in known), None)
    if wrong is None:
        return scheme, place, options
    if place.startswith(("http://", "https://")):  # the query is the server's
        return scheme, where, {}
    near = did_you_mean(wrong, known) if known else f"; {scheme}: has no options"
    raise SourceError(f"{uri}: unknown option {wrong!r}{near}")


def _unknown(uri: str, scheme: str) -> str:
    if scheme in NAMES:
        return f"{uri!r} names no file; write {scheme}:WHERE"
    guess = None if closest(scheme, NAMES) else guess_uri(uri)
    if guess is not None:
        return f"{uri!r} names no format; did you mean {guess!r}?"
    if scheme and "/" not in scheme and not uri.startswith(f"{scheme}://"):
        return f"unknown source scheme {scheme!r} in {uri!r}{did_you_mean(scheme, NAMES)}"
    return f"{uri!r} is not a source; write SCHEME:WHERE with a scheme of {', '.join(NAMES)}"


# A plain path ---------------------------------------------------------------------------------------------------------

_SUFFIXES = {suffix: name for name, scheme in SCHEMES.items() for suffix in scheme.suffixes}
_MAGIC = ((b"PAR1", "parquet"), (b"\x93NUMPY", "npy"), (b"PK\x03\x04", "npz"), (b"ARROW1", "arrow"))
_HEAD = 1 << 16


def guess_uri(path: str) -> str | None:
    """The URI of a plain path or glob, by its name or its content; None where neither shows a format."""
    if not path or "\0" in path:
        return None
    try:
        if not is_remote(path) and Path(path).is_dir():
            return _guess_folder(Path(path))
    except OSError:
        return None
    scheme = _by_name(path)
    if scheme == "json" or scheme is None:
        scheme = _by_content(path) or scheme
    if scheme is None:
        return None
    is_tabs = scheme == "csv" and path.removesuffix(".gz").endswith(".tsv")
    return f"{scheme}:{path}{'?delimiter=tab' if is_tabs else ''}"


def _by_name(path: str) -> str | None:
    words = Path(path.partition("?")[0] if path.startswith("http") else path).name.lower().split(".")[1:]
    for word in reversed(words):
        scheme = _SUFFIXES.get(word.partition("-")[0])
        if scheme is not None:
            return scheme
    return None


def _by_content(path: str) -> str | None:
    from label_guard.sources.files import opened

    if is_remote(path) or not Path(path).is_file():
        return None
    try:
        with opened(path, unzip=True) as file:
            head = file.read(_HEAD)
    except SourceError:
        return None
    magic = next((scheme for start, scheme in _MAGIC if head.startswith(start)), None)
    if magic is not None:
        return magic
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        return "json"
    if not text.startswith(b"{"):
        return None
    if re.search(rb'"(annotations|categories|images)"\s*:\s*\[', text):
        return "coco"
    first, _, rest = text.partition(b"\n")
    return "jsonl" if first.rstrip().endswith(b"}") and (not rest.strip() or rest.lstrip().startswith(b"{")) else "json"


def _guess_folder(path: Path) -> str | None:
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    if "state.json" in names or "dataset_dict.json" in names:
        return f"arrow:{path}"
    if "dataset_info.json" in names:
        return f"tfds:{path}"
    suffixes = {Path(name).suffix.lower() for name in names if (path / name).is_file()}
    if names & {"data.yaml", "dataset.yaml", "data.yml"} or suffixes == {".txt"}:
        return f"yolo:{path}"
    if suffixes == {".png"}:
        return f"masks:{path}"
    schemes = {(scheme, suffix) for suffix in suffixes if (scheme := _SUFFIXES.get(suffix.removeprefix(".")))}
    if len(schemes) == 1 and not any((path / name).is_dir() for name in names):
        ((scheme, suffix),) = schemes
        return f"{scheme}:{path}/*{suffix}"
    if not suffixes and names:
        return f"folder:{path}"
    return None


def full_uri(source: str, base_dir: str | None = None) -> str:
    """``source`` with its scheme: a plain path gets that of its name or content.

    Raises:
        SourceError: neither shows a format.
    """
    scheme, colon, where = source.partition(":")
    if colon and where and scheme in NAMES:
        return source
    place, mark, query = source.rpartition("?")
    path, query = (place, query) if mark and place and _QUERY.fullmatch(query) else (source, "")
    anchored = path if base_dir is None or is_remote(path) or Path(path).is_absolute() else str(Path(base_dir) / path)
    found = guess_uri(anchored)
    if found is None or (colon and not is_remote(path) and not Path(anchored).exists()):
        raise SourceError(_unknown(source, scheme if colon else ""))
    found = found.replace(anchored, path, 1)
    return f"{found}{'&' if '?delimiter' in found else '?'}{query}" if query else found


def separates_splits(source: str, base_dir: str | None = None) -> bool:
    """Whether one source may hold several splits.

    Raises:
        SourceError: as ``full_uri``.
    """
    scheme = full_uri(source, base_dir).partition(":")[0]
    return scheme not in SCHEMES or SCHEMES[scheme].splits
