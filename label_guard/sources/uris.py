"""Source URIs: their scheme, place and options; and the scheme of a plain path, by its name or its content."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

from label_guard.core.similar import closest, listed
from label_guard.errors import SourceError
from label_guard.sources.base import did_you_mean
from label_guard.sources.files import is_remote, opened
from label_guard.sources.idx import is_idx
from label_guard.sources.schemes import NAMES, SCHEMES

_QUERY = re.compile(r"[a-z_]+=[^&]*(&[a-z_]+=[^&]*)*")
_SUFFIXES = {suffix: name for name, scheme in SCHEMES.items() for suffix in scheme.suffixes}
_MAGIC = ((b"PAR1", "parquet"), (b"\x93NUMPY", "npy"), (b"ARROW1", "arrow"))
_ZIP = b"PK\x03\x04"
_HEAD = 1 << 16
_MARKS = (("state.json", "arrow"), ("dataset_dict.json", "arrow"), ("dataset_info.json", "tfds"))
_QUARANTINE_PART = re.compile(r"(?:compacting-)?part-(?:[0-9]+|compact)-[0-9]+-[0-9]{16,18}-[0-9a-f]{12}\.jsonl")
_MAX_FILES = 8  # of a folder that a message lists
_NOT_DATA = ("readme", "license", "licence", "classes", "requirements")
# Files that people keep labels in and that are not read: how to turn them into one that is.
CONVERSIONS = {
    "mat": "MATLAB files are not read; save the arrays of scipy.io.loadmat with numpy.savez",
    "xlsx": "workbooks are not read; save the sheet as CSV",
    "xls": "workbooks are not read; save the sheet as CSV",
    "h5": "HDF5 files are not read; save the label array with numpy.save",
    "hdf5": "HDF5 files are not read; save the label array with numpy.save",
    "pkl": "pickles are never loaded, because they can run code; save the labels with numpy.save, or as JSON",
    "pickle": "pickles are never loaded, because they can run code; save the labels with numpy.save, or as JSON",
    "pt": "pickles are never loaded, because they can run code; save the tensor with numpy.save",
    "pth": "pickles are never loaded, because they can run code; save the tensor with numpy.save",
    "xml": "XML annotations are not read; convert them to COCO JSON or YOLO",
    "zip": "archives are not read; unpack it and pass the folder",
    "gz": "it does not show what it holds once unpacked; rename it, such as labels.csv.gz",
    "sqlite": "databases are not read; export the table as CSV or Parquet",
    "db": "databases are not read; export the table as CSV or Parquet",
}  # fmt: skip


def parse_uri(uri: str) -> tuple[str, str, dict[str, str]]:
    """Parses a source URI.

    >>> parse_uri("csv:labels.csv?delimiter=;&header=none")
    ('csv', 'labels.csv', {'delimiter': ';', 'header': 'none'})

    Returns:
        The scheme, the place, and the options of the query.

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
    given = [(name, unquote(value)) for name, _, value in (part.partition("=") for part in query.split("&"))]
    options = dict(given)
    wrong = next((name for name in options if name not in known), None)
    if wrong is None and len(options) < len(given):
        raise SourceError(f"{uri}: an option is given twice")
    if wrong is None:
        return scheme, place, options
    if place.startswith(("http://", "https://")):  # the query is the server's
        return scheme, where, {}
    near = did_you_mean(wrong, known) if known else f"; {scheme}: has no options"
    raise SourceError(f"{uri}: unknown option {wrong!r}{near}")


def _unknown(uri: str, scheme: str) -> str:
    if scheme in NAMES:
        return f"{uri!r} names no file; write {scheme}:WHERE"
    if scheme in _SUFFIXES:
        meant = f"{_SUFFIXES[scheme]}:{uri.partition(':')[2]}"
        return f"unknown source scheme {scheme!r}; did you mean {meant!r}?"
    guess = None if closest(scheme, NAMES) else guess_uri(uri)
    if guess is not None:
        return f"{uri!r} names no format; did you mean {guess!r}?"
    if scheme and "/" not in scheme and not uri.startswith(f"{scheme}://"):
        return f"unknown source scheme {scheme!r} in {uri!r}{did_you_mean(scheme, NAMES)}"
    path = Path(uri)
    if uri and not is_remote(uri) and path.is_dir():
        return _unknown_folder(path)
    how = CONVERSIONS.get(path.suffix.lower().removeprefix("."))
    if how is not None:
        return f"{uri}: {how}"
    exists = os.path.exists(uri)  # noqa: PTH110 - False where a text cannot be a name, which Path.exists raises for
    if uri and not is_remote(uri) and not exists and not re.search(r"[*?\[]", uri):
        return f"{uri!r} does not exist: no such file or folder"
    return f"{uri!r} does not show its format; write SCHEME:WHERE with a scheme of {', '.join(NAMES)}"


def _unknown_folder(path: Path) -> str:
    names = _visible(path)
    found = _folder_uris(path, names)
    if found:
        return f"{path} holds several datasets; pass one of: {', '.join(found)}"
    return f"{path} holds no labels in a format that is read; it holds {listed(sorted(names)) or 'nothing'}"


def _visible(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}


# A plain path ---------------------------------------------------------------------------------------------------------


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
    if head.startswith(_ZIP):
        return "npz" if _is_npz(path) else None
    if is_idx(head):
        return "idx"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        return "json"
    if not text.startswith(b"{"):
        return None
    if re.search(rb'"(annotations|categories|images)"\s*:\s*\[', text):
        return "coco"
    first, _, rest = text.partition(b"\n")
    if not first.rstrip().endswith(b"}") or (rest.strip() and not rest.lstrip().startswith(b"{")):
        return "json"
    return "json" if not rest.strip() and _holds_columns(first) else "jsonl"


def _is_npz(path: str) -> bool:
    """Whether a zip file holds arrays of NumPy alone."""
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except (SourceError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return Path(path).suffix == ".npz"


def _holds_columns(text: bytes) -> bool:
    """Whether the one object of a file holds arrays of one length: columns, rather than one record."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    values = list(cast("dict[str, Any]", found).values())
    lengths = {len(cast("list[Any]", value)) if isinstance(value, list) else 0 for value in values}
    return len(lengths) == 1 and lengths != {0}


def _guess_folder(path: Path) -> str | None:
    found = [marked] if (marked := _by_mark(path)) else _folder_uris(path, _visible(path))
    return found[0] if len(found) == 1 else None


def _by_mark(path: Path) -> str | None:
    """The URI of a folder that a library prepared, by a file that it writes there; None of any other."""
    return next((f"{scheme}:{path}" for name, scheme in _MARKS if (path / name).is_file()), None)


def _prepared_below(path: Path, depth: int = 3) -> list[str]:
    """URIs of the prepared datasets below a folder that holds folders alone, such as a ``data_dir`` of TFDS."""
    found: list[str] = []
    with os.scandir(path) as entries:
        inner = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in sorted(inner, key=lambda one: one.name):
        if not entry.is_dir() or entry.is_symlink():
            return found
        marked = _by_mark(Path(path, entry.name))
        found += [marked] if marked else _prepared_below(Path(path, entry.name), depth - 1) if depth > 1 else []
    return found


def _folder_uris(path: Path, names: set[str]) -> list[str]:
    """The URIs of what a folder with the entries ``names`` may hold, by their endings."""
    if names & {"data.yaml", "dataset.yaml", "data.yml"}:
        return [f"yolo:{path}"]
    folders = {name for name in names if (path / name).is_dir()}
    files = sorted(name for name in names - folders if Path(name).stem.lower() not in _NOT_DATA)
    if files and all(_QUARANTINE_PART.fullmatch(name) for name in files):
        return [f"quarantine:{path}"]
    suffixes = {Path(name).suffix.lower() for name in files}
    found = [one for suffix in sorted(suffixes) for one in _of_suffix(path, suffix, files)]
    found += [f"yolo:{path}"] if ".txt" in suffixes else []
    if not found:
        guesses = [guess_uri(str(path / name)) for name in files[:_MAX_FILES]]
        found = [guess for guess in guesses if guess is not None]
    if not found and folders:
        inner = {Path(file).suffix.lower() for name in folders for file in _first_files(path / name)}
        found = [f"yolo:{path}"] if inner == {".txt"} or ("labels" in folders and _holds_texts(path / "labels")) else []
        found = found or _prepared_below(path)[:_MAX_FILES] or [f"folder:{path}"]
    return found


def _holds_texts(labels: Path) -> bool:
    """Whether the folder ``labels`` of YOLO, or the splits in it, hold texts alone."""
    inner = [name for name in _visible(labels) if (labels / name).is_dir()]
    files = [*_first_files(labels), *(file for name in inner for file in _first_files(labels / name))]
    return {Path(file).suffix.lower() for file in files} == {".txt"}


def _of_suffix(path: Path, suffix: str, files: Sequence[str]) -> list[str]:
    """The files of one ending: together by a pattern, or one by one where a source is one file."""
    scheme = _SUFFIXES.get(suffix[1:])
    if scheme is None:
        return []
    if SCHEMES[scheme].splits and suffix == ".png":
        return [f"{scheme}:{path}"]
    named = [name for name in files if name.lower().endswith(suffix)]
    if SCHEMES[scheme].one_file or len(named) == 1:
        return [f"{scheme}:{path / name}" for name in named[:_MAX_FILES]]
    return [f"{scheme}:{path / f'*{suffix}'}"]


def _first_files(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, 100) if entry.is_file() and not entry.name.startswith(".")]


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


def separates_splits(source: str) -> bool:
    """Whether one source may hold several splits.

    Raises:
        SourceError: as ``full_uri``.
    """
    scheme = full_uri(source).partition(":")[0]
    return scheme not in SCHEMES or SCHEMES[scheme].splits
