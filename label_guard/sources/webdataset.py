"""WebDataset: tar files whose neighbouring members with one key make a record."""

from __future__ import annotations

import tarfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, cast

from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, MAX_LABEL_BYTES, LabelShapes, Piece
from label_guard.sources.csv_blocks import number_or_text, text_or_none
from label_guard.sources.encoded_labels import decode_pieces
from label_guard.sources.files import opened, unzipped
from label_guard.sources.jsonl import MAX_LINE_BYTES, object_paths, parse_object
from label_guard.sources.pieces import blocks, first_items, labels_of, records_piece

_PEEKED = 64
_TEXT = 64 << 10
_HEADER = 16 << 10  # the time that tarfile takes for one is quadratic (CVE-2024-6232)
_BINARY = ("png", "npy", "bin")
Sample = dict[str, bytes | str]


@dataclass(frozen=True, slots=True)
class WebDatasetFormat:
    """A record is a sample: ``cls`` is a number or text, ``json/PATH`` a value inside, ``png`` a mask.

    Attributes:
        texts: members that hold names, which stay text: ``01`` is another name than ``1``.
    """

    name: str = "webdataset"
    texts: tuple[str, ...] = ()

    def fields(self, path: str) -> Sequence[str]:
        names: dict[str, None] = {}
        with _archive(path) as archive:
            for sample in first_items(_samples(archive, ("json",)), _PEEKED):
                for extension, data in sample.items():
                    names[extension] = None
                    if extension == "json" and isinstance(data, bytes):
                        with suppress(ValueError):
                            names |= {f"json/{inner}": None for inner in object_paths(parse_object(data))}
        return list(names)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        def labels(sample: Sample) -> dict[str, Any]:
            return {label: _value(sample, label, wanted, self.texts) for label in wanted}

        extensions = tuple({label.partition("/")[0] for label in wanted})
        row = 0
        with _archive(path) as archive:
            for block in blocks(
                _samples(archive, extensions), lambda one: 64 + sum(map(len, one.values())), CHUNK_BYTES
            ):
                piece = records_piece(row, block, labels, wanted)
                yield from decode_pieces(piece, wanted, {})
                row += len(block)


@contextmanager
def _archive(path: str) -> Generator[tarfile.TarFile]:
    with opened(path) as file:
        stream: Any = unzipped(file) if path.endswith((".gz", ".tgz")) else file
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", _Bounded(stream)), mode="r:") as archive:
                yield archive
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise SourceError(f"cannot read {path} as tar: {error}") from None


class _Bounded:
    """A file of which no more is read at a time than a label may take: headers of tar have a size of their own."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._offset = 0
        self._last = self._again = b""
        self.limit = _HEADER

    def tell(self) -> int:
        """Position of the next byte."""
        return self._offset

    def seek(self, offset: int) -> int:
        """Moves; one byte back is free, where gzip would unpack the file once more."""
        if offset == self._offset - 1 and self._last and not self._again:
            self._again = self._last
        else:
            self._file.seek(offset)
            self._again = b""
        self._offset, self._last = offset, b""
        return offset

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes."""
        if not 0 <= size <= self.limit:
            raise ValueError(f"a header is larger than {_HEADER >> 10} KiB")
        data = self._again + self._file.read(size - len(self._again)) if size else b""
        self._again = b"" if size else self._again
        self._offset += len(data)
        self._last = data[-1:] or self._last
        return data


def _samples(archive: tarfile.TarFile, extensions: Sequence[str]) -> Iterator[Sample]:
    """The wanted members by extension; the others are named, with no data; a text in place of one that is too large."""
    sample: Sample = {}
    key = None
    while (member := archive.next()) is not None:
        cast("Any", archive).members = []  # tarfile keeps every member it has seen
        if not member.isfile():
            continue
        folder, slash, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        if not stem:
            continue
        if folder + slash + stem != key:
            if sample:
                yield sample
            sample, key = {}, folder + slash + stem
        extension = extension.lower()
        if extension in sample:
            raise ValueError(f"{member.name} occurs twice")
        sample[extension] = _data(archive, member) if extension in extensions else b""
    if sample:
        yield sample
    _require_end(archive, key or "no sample")


def _require_end(archive: tarfile.TarFile, last: str) -> None:
    """Checks that only zeros follow: tarfile takes any fault, and a block of zeros anywhere, for the end.

    A compressed archive is read to its checksum by this.
    """
    file = cast("IO[bytes]", archive.fileobj)
    file.seek(archive.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if block != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"it is damaged or truncated at byte {archive.offset:,}, after {last}")
    while block := file.read(_HEADER):
        if block.count(0) < len(block):
            raise ValueError(
                f"data follow its end mark at byte {archive.offset:,}, after {last}: "
                "it is damaged, or several archives in one file"
            )


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | str:
    if member.size > MAX_LABEL_BYTES:
        return f"{member.name} is larger than {MAX_LABEL_BYTES >> 20} MiB"
    bounded = cast("_Bounded", archive.fileobj)
    file = archive.extractfile(member)
    bounded.limit = MAX_LABEL_BYTES
    data = b"" if file is None else file.read()
    bounded.limit = _HEADER
    if len(data) < member.size:
        raise ValueError(f"{member.name} ends too early: the file is truncated")
    return data


def _value(sample: Sample, label: str, wanted: LabelShapes, texts: Sequence[str]) -> Any:
    extension, _, inner = label.partition("/")
    data = sample.get(extension)
    if data is None:
        return None
    if isinstance(data, str):
        raise ValueError(data)
    if extension == "json":
        if len(data) > MAX_LINE_BYTES:
            raise ValueError("its JSON is longer than 32 MiB")
        try:
            record = parse_object(data)
        except ValueError as error:
            raise ValueError(f"its JSON: {error}") from None
        return labels_of(record, [inner])[inner] if inner else record
    if len(wanted[label] or ()) >= 2 or extension.rpartition(".")[2] in _BINARY:
        return data
    if len(data) > _TEXT:
        raise ValueError("its text is longer than 64 KiB")
    text = data.decode().strip()
    return text_or_none(text) if label in texts else number_or_text(text)
