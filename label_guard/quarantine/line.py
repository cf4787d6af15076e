"""The line format: one invalid record as one line of strict JSON, and back. Lines are foreign bytes to a reader.

The last field of a line, ``crc``, is the CRC-32 of all bytes before it: after a power loss or on a bad disk the bytes
of two lines may be joined into one that is JSON again, and a label must not be read from it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from label_guard.core.strict_json import refuse_constant, strict_json
from label_guard.errors import QuarantineError
from label_guard.quarantine import payload
from label_guard.quarantine.options import PayloadKind
from label_guard.quarantine.storage import open_folder
from label_guard.rules.violation import Value, Violation

VERSION = 2  # of the line format; lines of version 1 have no checksum, and are still read
MAX_LINE_BYTES = 256 << 20
_MAX_VALUE = 500  # characters of an invalid value
MAX_VALUES = 1_000_000  # lists, dicts and their items in one line
_MAX_COUNT = 2**63


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line is: the quarantine, the part file, the line (1-based), its first byte and its length."""

    url: str
    part: str
    line: int
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.part}:{self.line} of {self.url}"


@dataclass(frozen=True, slots=True)
class Written:
    """Who wrote an entry, and when.

    Attributes:
        time: UTC, such as ``2026-01-31T12:00:00Z``, by the clock of the host.
        host: name of the machine.
        process: index of the process.
        worker: index of the data-loading worker, 0 in the main process.
        step: number of batches delivered before the one with this record; None where it is not known.
    """

    time: str
    host: str
    process: int
    worker: int
    step: int | None = None


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """One quarantined record, as it was checked.

    Attributes:
        dataset: name of the schema.
        schema_version: version of the schema that it was checked against.
        schema_digest: digest of the label rules.
        source: id of the source it came from.
        split: split as given to the guard, or None.
        view: view as given to the guard, or None.
        record: its key, or None where the pipeline carried none. Keys may repeat.
        position: its place in the source, where that is known and unique; else None.
        content: digest of the whole record where no position is known, else None.
        digest: digest of the checked labels.
        labels: paths of the checked labels, absent ones included.
        violations: the rules it broke.
        payload_kind: ``full``, ``labels`` or ``none``: what ``payload`` holds.
        payload_limit: why less was kept than asked for: ``max_payload_bytes``, ``max_bytes``, or ``not_encodable``
            (no type-exact form in JSON); else None.
        place: where its line is.
        written: who wrote it and when; None in lines that do not say.
    """

    dataset: str
    schema_version: str
    schema_digest: str
    source: str
    split: str | None
    view: str | None
    record: str | None
    position: str | None
    content: str | None
    digest: str
    labels: tuple[str, ...]
    violations: tuple[Violation, ...]
    payload_kind: PayloadKind
    payload_limit: str | None
    place: Place
    written: Written | None = None

    @property
    def name(self) -> str:
        """The record's key, else the digest of its content."""
        return self.record if self.record is not None else str(self.content)

    @property
    def record_id(self) -> tuple[str | None, ...]:
        """What makes two entries the same record: dataset, source, split, and position, or else key and content."""
        key = self.record if self.position is None else None
        return (self.dataset, self.source, self.split, self.position, key, self.content)

    @property
    def identity(self) -> tuple[str | None, ...]:
        """What makes two lines the same entry: the record, and the view and the labels that were checked."""
        return (*self.record_id, self.view, self.digest)

    @property
    def payload(self) -> dict[str, Any]:
        """Leaves by path, with their exact types, read from the part file at each access.

        Raises:
            QuarantineError: the part file is gone or was changed.
        """
        return decode_payload(raw_line(self), self.place)


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A line, or a whole part file (line 0), that could not be read.

    Attributes:
        kind: ``torn`` (the last line, cut by a crash or a full disk), ``corrupt`` or ``unreadable``.
    """

    part: str
    line: int
    kind: Literal["torn", "corrupt", "unreadable"]
    reason: str

    def __str__(self) -> str:
        where = f"{self.part}:{self.line}" if self.line else self.part
        return f"{where}: {self.kind}: {self.reason}"


def raw_line(entry: QuarantineEntry) -> bytes:
    """The entry's line as it is in its part file, without the line break.

    Raises:
        QuarantineError: the part file is gone or cut.
    """
    place = entry.place
    try:
        raw = open_folder(place.url).read_range(place.part, place.offset, place.length)
    except FileNotFoundError:
        raise QuarantineError(
            f"cannot read {place}: the part was deleted or compacted, or the working directory changed, since the "
            "quarantine was read; read it again"
        ) from None
    except OSError as error:
        raise QuarantineError(f"cannot read {place}: {error.strerror or error}") from None
    if len(raw) != place.length:
        raise QuarantineError(f"{place} was cut while it was read")
    return raw.rstrip(b"\n")


def decode_payload(raw: bytes, place: Place) -> dict[str, Any]:
    """The payload in a line that was read before.

    Raises:
        QuarantineError: the line is not the one that was read.
    """
    try:
        found = _fields(raw)["payload"]
        return {path: payload.decode(value) for path, value in _object(found or {}).items()}
    except (ValueError, KeyError, RecursionError) as error:
        raise QuarantineError(f"{place} changed while it was read: {error}") from None


def identity_digest(identity: tuple[str | None, ...]) -> bytes:
    """16 bytes that stand for ``QuarantineEntry.identity``; no two identities have the same text."""
    text = "".join(["-" if part is None else f"{len(part)}:{part}" for part in identity])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def sealed(line: bytes) -> bytes:
    """``line``, a JSON object, with its checksum as the last field, and the line break."""
    body = line[:-1]
    return body + _seal(body) + b"\n"


def _seal(body: bytes) -> bytes:
    return b',"crc":"%08x"}' % zlib.crc32(body)


_SEAL_BYTES = len(_seal(b""))


def violation_fields(violation: Violation) -> dict[str, Any]:
    """A violation as the fields of a line."""
    value = strict_json(violation.value)
    value = value[:_MAX_VALUE] if isinstance(value, str) else value
    return {
        "label": violation.label, "rule": violation.rule, "value": value, "legal": violation.legal,
        "count": violation.count,
    }  # fmt: skip


def exceeded(raw: bytes) -> str | None:
    """The limit that a line, or a payload in it, is above; None for one that is read. Shared by writer and reader."""
    if len(raw) > MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES >> 20} MiB"
    if len(raw) > MAX_VALUES and raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        return f"more than {MAX_VALUES:,} values"
    return None


def parse_line(raw: bytes, place: Place) -> QuarantineEntry | LineProblem:
    """The entry of a whole line, or what is wrong with it. The payload is decoded once: every entry can be read."""
    try:
        limit = exceeded(raw)
        if limit:
            raise ValueError(limit)
        return _parse(raw, place)
    except (ValueError, KeyError, RecursionError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error) or "nested too deep"
        return LineProblem(place.part, place.line, "corrupt", reason[:500])


def _fields(raw: bytes) -> dict[str, Any]:
    """The fields of a line whose bytes are those that were written.

    Raises:
        ValueError: it is not JSON, is of another version, or does not have the checksum that it names.
    """
    line = _object(json.loads(raw, parse_constant=refuse_constant))
    version = line.get("v")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(
            f"line format {str(version)[:20]!r} is not 1 to {VERSION}; a newer label-guard may have written it"
        )
    written = raw.strip()
    if (version > 1 or "crc" in line) and written[-_SEAL_BYTES:] != _seal(written[:-_SEAL_BYTES]):
        raise ValueError("its checksum (crc) is of other bytes: the line was damaged or changed after it was written")
    return line


def _parse(raw: bytes, place: Place) -> QuarantineEntry:
    line = _fields(raw)
    record, content = _text(line, "record", optional=True), _text({"content": None, **line}, "content", optional=True)
    position = _text({"position": None, **line}, "position", optional=True)
    if position is None and content is None:
        position = record  # lines of the first releases: a key was taken for a place
    kind = line["payload_kind"]
    if kind not in get_args(PayloadKind) or (position is None and content is None):
        raise ValueError("neither key nor content digest" if kind in get_args(PayloadKind) else "unknown payload_kind")
    for value in _object(line["payload"] or {}).values():
        payload.decode(value)
    return QuarantineEntry(
        dataset=_required(line, "dataset"),
        schema_version=_required(line, "schema_version"),
        schema_digest=_required(line, "schema_digest"),
        source=_required(line, "source"),
        split=_text(line, "split", optional=True),
        view=_text(line, "view", optional=True),
        record=record,
        position=position,
        content=content,
        digest=_required(line, "digest"),
        labels=_texts(line["labels"]),
        violations=tuple(_violation(found, record) for found in _list(line["violations"])),
        payload_kind=cast("PayloadKind", kind),
        payload_limit=_text(line, "payload_limit", optional=True),
        place=place,
        written=_written(line.get("written")),
    )


def _violation(entry: Any, record: str | None) -> Violation:
    fields = _object(entry)
    value: Value = fields["value"]
    count = _count(fields, "count")
    if isinstance(value, list | dict):
        raise ValueError("a violation's value is not a number or text")
    label, rule, legal = (_required(fields, name) for name in ("label", "rule", "legal"))
    return Violation(label, rule, value, legal, record=record, count=count)


def _written(value: Any) -> Written | None:
    if value is None:
        return None
    fields = _object(value)
    step = None if fields.get("step") is None else _count(fields, "step")
    return Written(
        _required(fields, "time"), _required(fields, "host"), _count(fields, "process"), _count(fields, "worker"), step
    )


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int or not 0 <= value < _MAX_COUNT:
        raise ValueError(f"{name} is not a count")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} where an object is expected")
    return cast("dict[str, Any]", value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{type(value).__name__} where a list is expected")
    return cast("list[Any]", value)


def _texts(value: Any) -> tuple[str, ...]:
    items = _list(value)
    if not all(isinstance(item, str) for item in items):
        raise ValueError("labels are not text")
    return tuple(items)


def _required(line: Mapping[str, Any], name: str) -> str:
    return str(_text(line, name))


def _text(line: Mapping[str, Any], name: str, *, optional: bool = False) -> str | None:
    value = line[name]
    if not isinstance(value, str) and not (optional and value is None):
        raise ValueError(f"{name} is {type(value).__name__} where text is expected")
    return value
