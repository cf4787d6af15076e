"""Reading a quarantine: entries merged by identity, damaged lines skipped and reported, payloads read on demand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, cast

from label_guard.errors import QuarantineError
from label_guard.quarantine import payload
from label_guard.quarantine.storage import LocalFolder, RemoteFolder, open_folder
from label_guard.rules.findings import Value, Violation

VERSION = 1  # of the line format
PAYLOAD_KINDS = ("full", "labels", "none")
# part-<process>-<worker>-<sequence>-<random>.jsonl: each writer takes the sequence after the highest one it finds,
# so parts sort by age without a clock.
_PART = re.compile(r"part-([0-9]+)-([0-9]+)-(?:([0-9]+)-)?[^/]*\.jsonl")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line lies: the quarantine, the part file, the line (1-based), its first byte and its length."""

    url: str
    part: str
    line: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """One quarantined record, as it was judged.

    Attributes:
        dataset: name of the schema.
        schema_version: version of the schema that judged it.
        schema_digest: digest of the label rules that judged it.
        source: id of the source it came from.
        split: split as given to the guard, or None.
        view: view as given to the guard, or None.
        record: its key, or None where the pipeline carried none.
        content: digest of the whole record where there is no key, else None.
        digest: digest of the judged labels.
        labels: paths of the labels that were judged, absent ones included.
        violations: what was wrong with it.
        payload_kind: ``full``, ``labels`` or ``none``: what ``payload`` holds.
        payload_limit: the limit that reduced the payload (``max_payload_bytes`` or ``max_bytes``), or None.
        place: where its line lies.
    """

    dataset: str
    schema_version: str
    schema_digest: str
    source: str
    split: str | None
    view: str | None
    record: str | None
    content: str | None
    digest: str
    labels: tuple[str, ...]
    violations: tuple[Violation, ...]
    payload_kind: Literal["full", "labels", "none"]
    payload_limit: str | None
    place: Place

    @property
    def name(self) -> str:
        """The record's key, else the digest of its content."""
        return self.record if self.record is not None else str(self.content)

    @property
    def record_id(self) -> tuple[Any, ...]:
        """What makes two entries the same record: dataset, source, split, and key or content."""
        return (self.dataset, self.source, self.split, self.record is None, self.name)

    @property
    def payload(self) -> dict[str, Any]:
        """Leaves by path, with their exact types, read from the part file anew at each access.

        Raises:
            QuarantineError: the part file is gone or was changed.
        """
        raw = raw_line(self)
        try:
            found = _object(json.loads(raw))["payload"]
            return {path: payload.decode(value) for path, value in _object(found or {}).items()}
        except (ValueError, KeyError, RecursionError) as error:
            raise QuarantineError(f"{_told(self.place)} changed while it was read: {error}") from None


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


@dataclass(frozen=True, slots=True)
class QuarantineContents:
    """What a quarantine holds.

    Attributes:
        url: the folder.
        entries: one for each identity, sorted by record, the newest of a record first.
        problems: lines that were skipped.
        lines: number of sound lines, repeated ones included.
        parts: number of part files.
    """

    url: str
    entries: tuple[QuarantineEntry, ...]
    problems: tuple[LineProblem, ...] = ()
    lines: int = 0
    parts: int = 0

    @property
    def records(self) -> tuple[tuple[QuarantineEntry, ...], ...]:
        """The entries of each distinct record, newest first; more than one where its labels changed."""
        return tuple(tuple(group) for _, group in groupby(self.entries, key=lambda entry: entry.record_id))


def read_quarantine(url: str) -> QuarantineContents:
    """Everything in the quarantine at ``url``, each record once. Memory grows with entries, not with payloads.

    Raises:
        QuarantineError: there is no such folder, or it cannot be listed.
    """
    folder, parts = _parts(url)
    merged: dict[tuple[Any, ...], QuarantineEntry] = {}
    problems: list[LineProblem] = []
    lines = 0
    for part in parts:
        for found in _scan(folder, url, part):
            if isinstance(found, LineProblem):
                problems.append(found)
                continue
            lines += 1
            identity = (*found.record_id, found.view, found.digest)
            merged.pop(identity, None)
            merged[identity] = found
    entries = list(reversed(merged.values()))
    entries.sort(key=lambda entry: (_natural(entry.record_id), repr(entry.record_id)))
    return QuarantineContents(url, tuple(entries), tuple(problems), lines, len(parts))


def raw_line(entry: QuarantineEntry) -> bytes:
    """The entry's line as it lies in its part file, without the line break.

    Raises:
        QuarantineError: the part file is gone or cut.
    """
    place = entry.place
    try:
        with open_folder(place.url).open(place.part) as file:
            file.seek(place.offset)
            raw = file.read(place.length)
    except OSError as error:
        raise QuarantineError(f"cannot read {_told(place)}: {error.strerror or error}") from None
    if len(raw) != place.length:
        raise QuarantineError(f"{_told(place)} was cut while it was read")
    return raw.rstrip(b"\n")


def next_sequence(names: list[str]) -> int:
    """The sequence of a part newer than all of ``names``."""
    matches = [_PART.fullmatch(name) for name in names]
    return 1 + max((int(match[3] or 0) for match in matches if match), default=0)


def _parts(url: str) -> tuple[LocalFolder | RemoteFolder, list[str]]:
    try:
        folder = open_folder(url)
        names = list(folder.sizes())
    except FileNotFoundError:
        raise QuarantineError(f"there is no quarantine at {url}: no such folder; check the path") from None
    except NotADirectoryError:
        raise QuarantineError(f"{url} is a file, not a quarantine; give the folder that holds the part files") from None
    except Exception as error:  # an fsspec backend may raise anything
        raise QuarantineError(f"cannot list the quarantine at {url}: {error}") from error
    matches = [match for name in names if (match := _PART.fullmatch(name))]
    matches.sort(key=lambda match: (int(match[3] or 0), int(match[1]), int(match[2]), match[0]))
    return folder, [match[0] for match in matches]


def _scan(folder: LocalFolder | RemoteFolder, url: str, part: str) -> Iterator[QuarantineEntry | LineProblem]:
    """Entries and problems of one part, in order."""
    try:
        with folder.open(part) as file:
            offset = 0
            for number, raw in enumerate(file, 1):
                place = Place(url, part, number, offset, len(raw))
                offset += len(raw)
                if raw.endswith(b"\n"):
                    yield _entry(raw, place)
                else:
                    yield LineProblem(part, number, "torn", f"{len(raw)} bytes without a line end")
    except Exception as error:  # an fsspec backend may raise anything
        yield LineProblem(part, 0, "unreadable", str(getattr(error, "strerror", None) or error))


def _entry(raw: bytes, place: Place) -> QuarantineEntry | LineProblem:
    try:
        return _parse(raw, place)
    except (ValueError, KeyError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error) or "nested too deep"
        return LineProblem(place.part, place.line, "corrupt", reason)


def _parse(raw: bytes, place: Place) -> QuarantineEntry:
    line = _object(json.loads(raw, parse_constant=_refuse_constant))
    if line.get("v") != VERSION:
        raise ValueError(f"line format {line.get('v')!r} is not {VERSION}; a newer label-guard may have written it")
    record, content = _text(line, "record", optional=True), _text(line, "content", optional=True)
    kind = line["payload_kind"]
    if kind not in PAYLOAD_KINDS or (record is None and content is None):
        raise ValueError("neither key nor content digest" if kind in PAYLOAD_KINDS else f"payload_kind {kind!r}")
    for value in _object(line["payload"] or {}).values():
        payload.decode(value)
    return QuarantineEntry(
        dataset=str(_text(line, "dataset")),
        schema_version=str(_text(line, "schema_version")),
        schema_digest=str(_text(line, "schema_digest")),
        source=str(_text(line, "source")),
        split=_text(line, "split", optional=True),
        view=_text(line, "view", optional=True),
        record=record,
        content=content,
        digest=str(_text(line, "digest")),
        labels=_texts(line["labels"]),
        violations=tuple(_violation(found, record) for found in _list(line["violations"])),
        payload_kind=kind,
        payload_limit=_text(line, "payload_limit", optional=True),
        place=place,
    )


def _violation(found: Any, record: str | None) -> Violation:
    fields = _object(found)
    value: Value = fields["value"]
    count = fields["count"]
    if isinstance(value, list | dict) or type(count) is not int:
        raise ValueError("a violation is of no known form")
    label, rule, legal = (str(_text(fields, name)) for name in ("label", "rule", "legal"))
    return Violation(label, rule, value, legal, record=record, count=count)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


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


def _text(line: dict[str, Any], name: str, *, optional: bool = False) -> str | None:
    value = line[name]
    if not isinstance(value, str) and not (optional and value is None):
        raise ValueError(f"{name} is {type(value).__name__} where text is expected")
    return value


def _natural(key: tuple[Any, ...]) -> list[Any]:
    """A sort key in which ``file__9`` stands before ``file__10``."""
    parts = re.split(r"([0-9]+)", "\n".join("" if part is None else str(part) for part in key))
    return [(len(part.lstrip("0")), part) if number % 2 else part for number, part in enumerate(parts)]


def _told(place: Place) -> str:
    return f"{place.part}:{place.line} of {place.url}"
