"""The side file of bad records: append-only part files in a folder, one writer each, read back exactly once.

A line is written before its key goes into the ``.keys`` file beside its part, and a key says where its line ends: so
a key never vouches for a record that is not there, wherever a crash falls. Keys only spare a restarted run from
writing a record again; the reader (``read_quarantine``) merges repeats and is the authority.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import logging
import math
import os
import re
import threading
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from label_guard.core import tree
from label_guard.errors import MissingDependencyError, QuarantineError, UsageError
from label_guard.quarantine import payload
from label_guard.quarantine.reader import (
    VERSION,
    LineProblem,
    QuarantineContents,
    QuarantineEntry,
    next_sequence,
    read_quarantine,
)
from label_guard.quarantine.storage import LocalFolder, RemoteFolder, is_local, open_folder
from label_guard.rules.findings import Value, Violation

__all__ = [
    "BadRecord",
    "LineProblem",
    "Origin",
    "QuarantineContents",
    "QuarantineEntry",
    "QuarantineOptions",
    "QuarantineWriter",
    "read_quarantine",
]

PayloadKind = Literal["full", "labels", "none"]
Durability = Literal["flush", "fsync"]

_KEY_LINE = re.compile(rb"([0-9a-f]{32}) ([0-9]{1,19})\n")
_ADVICE = {
    errno.ENOSPC: "free space there or choose another folder, then resume from the last checkpoint",
    errno.EDQUOT: "free some of the quota or choose another folder, then resume from the last checkpoint",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), then resume from the last checkpoint",
    errno.EACCES: "make the folder writable for this user or choose another",
    errno.EPERM: "make the folder writable for this user or choose another",
    errno.EROFS: "choose a folder that is not on a read-only file system",
    errno.EEXIST: "a file stands where the folder should be; choose another name",
    errno.ENOTDIR: "a file stands where a folder should be; choose another name",
}
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_logger = logging.getLogger("label_guard")


@dataclass(frozen=True, slots=True)
class QuarantineOptions:
    """Where and how bad records are kept.

    Attributes:
        url: a folder, or any fsspec URL of one.
        payload: what of a record is kept: ``full``, its ``labels``, or ``none``.
        max_payload_bytes: a record whose encoded payload is larger keeps only its labels.
        max_bytes: once a writer has written this much, records keep only their labels.
        durability: ``flush`` survives a killed process, ``fsync`` a power loss.

    Raises:
        UsageError: a value is out of its range, or the URL names a file system that is not known.
        MissingDependencyError: the URL names a file system whose package is not installed.
    """

    url: str
    payload: PayloadKind = "full"
    max_payload_bytes: int = 1 << 20
    max_bytes: int = 1 << 30
    durability: Durability = "flush"

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or not self.url:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"quarantine url is {self.url!r}; give a folder or an fsspec URL as text")
        for name, known in (("payload", get_args(PayloadKind)), ("durability", get_args(Durability))):
            if getattr(self, name) not in known:
                raise UsageError(f"quarantine {name} is {getattr(self, name)!r}; it must be one of: {', '.join(known)}")
        for name in ("max_payload_bytes", "max_bytes"):
            limit = getattr(self, name)
            if type(limit) is not int or limit < 0:
                raise UsageError(f"quarantine {name} is {limit!r}; it must be a number of bytes, 0 or more")
        _check_protocol(self.url)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who judged: the same for all records of one writer.

    Attributes:
        dataset: name of the schema.
        schema_version: its version.
        schema_digest: ``schema.digest(split, view)``: the label rules that judged.
        split: as given to the guard.
        view: as given to the guard.
        source: id of the source, so that equal positions of two mixed sources are two records.
    """

    dataset: str
    schema_version: str
    schema_digest: str
    split: str | None
    view: str | None
    source: str


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record to write.

    Attributes:
        record: its key, or None.
        element: its tree: NumPy leaves, Python scalars, text, bytes, None, lists. None: it could not be read, and
            nothing of it is kept.
        labels: label value as judged by label path; ``tree.MISSING`` where it is absent.
        violations: what is wrong with it.
    """

    record: str | None
    element: Any
    labels: Mapping[str, Any]
    violations: tuple[Violation, ...]


class QuarantineWriter:
    """Appends bad records to part files of its own. Opens nothing before the first one.

    Threads may share a writer. A pickled copy, and a forked child, get part files of their own.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> writer = QuarantineWriter(QuarantineOptions(folder), Origin("digits", "1.0.0", "d1", "train", None, "s1"))
    >>> bad = BadRecord("7", {"label": 10}, {"label": 10}, (Violation("label", "LG101", 10, "[0, 10)"),))
    >>> writer.append([bad]), writer.append([bad])
    (1, 0)
    >>> [entry.payload for entry in read_quarantine(folder).entries]
    [{'label': 10}]
    """

    def __init__(self, options: QuarantineOptions, origin: Origin, *, process_index: int = 0, worker: int = 0) -> None:
        self._options = options
        self._origin = origin
        self._process_index = process_index
        self._worker = worker
        self._forget()
        _writers.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._options, self._origin, self._process_index, self._worker)

    def append(self, records: Sequence[BadRecord]) -> int:
        """Write the records not yet known; they are flushed (or synced, see ``durability``) on return.

        Returns:
            How many were new.

        Raises:
            QuarantineError: they could not be written. The writer stays usable: what was not written is tried
                again, on a part of its own.
        """
        if not records:
            return 0
        with self._lock:
            written = self._written
            try:
                return self._append(records)
            except Exception as error:  # an fsspec backend may raise anything
                self._written = written
                raise QuarantineError(_failure(self._options.url, error)) from error

    def close(self) -> None:
        """End the current part; a later ``append`` starts another."""
        with self._lock:
            self._part = None

    def _forget(self) -> None:
        """Start as new: also in a forked child, where another thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self._folder: LocalFolder | RemoteFolder | None = None
        self._known: set[bytes] = set()
        self._sequence = 0
        self._part: str | None = None
        self._end = 0
        self._written = 0

    def _append(self, records: Sequence[BadRecord]) -> int:
        folder = self._folder
        if folder is None:
            folder = open_folder(self._options.url, sync=self._options.durability == "fsync")
            self._read_keys(folder)
            self._folder = folder
        lines: dict[bytes, bytes] = {}
        for record in records:
            content = payload.digest(record.element) if record.record is None else None
            digest = payload.digest(_present(record.labels))
            key = self._key(record, content, digest)
            if key not in self._known and key not in lines:
                lines[key] = self._line(record, content, digest)
        if lines:
            self._write(folder, lines)
            self._known.update(lines)
        return len(lines)

    def _key(self, record: BadRecord, content: str | None, digest: str) -> bytes:
        origin = self._origin
        identity = [origin.dataset, origin.source, origin.split, origin.view, record.record, content, digest]
        return hashlib.blake2b(_json(identity), digest_size=16).digest()

    def _line(self, record: BadRecord, content: str | None, digest: str) -> bytes:
        kind, limit, encoded = self._payload(record)
        origin = self._origin
        line = {
            "v": VERSION,
            "dataset": origin.dataset,
            "schema_version": origin.schema_version,
            "schema_digest": origin.schema_digest,
            "source": origin.source,
            "split": origin.split,
            "view": origin.view,
            "record": record.record,
            "content": content,
            "digest": digest,
            "labels": list(record.labels),
            "violations": [_violation(found) for found in record.violations],
            "payload_kind": kind,
            "payload_limit": limit,
        }
        data = _json(line)[:-1] + b',"payload":' + encoded + b"}\n"
        self._written += len(data)
        return data

    def _payload(self, record: BadRecord) -> tuple[PayloadKind, str | None, bytes]:
        """What is kept of the record, the limit that reduced it, and it as JSON."""
        options = self._options
        if record.element is None:
            return "none", None, b"null"
        labels = _present(record.labels)
        limit = None
        if options.payload == "full":
            full = {**payload.flatten(record.element), **labels}
            encoded = _encoded(full, options.max_payload_bytes)
            limit = "max_payload_bytes" if encoded is None else None
            if encoded is not None and self._written + len(encoded) <= options.max_bytes:
                return "full", None, encoded
            limit = limit or "max_bytes"
        if options.payload != "none":
            encoded = _encoded(labels, options.max_payload_bytes)
            if encoded is not None:
                return "labels", limit, encoded
            limit = "max_payload_bytes"
        return "none", limit, b"null"

    def _write(self, folder: LocalFolder | RemoteFolder, lines: Mapping[bytes, bytes]) -> None:
        data = b"".join(lines.values())
        # A failed write may leave half a line, and the next one must not follow it: it starts a part of its own.
        part, self._part = self._part, None
        # One that is not as long as it was left: it was deleted or cut by hand.
        grown = isinstance(folder, LocalFolder) and part is not None and folder.append(part, data, end=self._end)
        if not grown or part is None:
            part = f"part-{self._process_index}-{self._worker}-{self._sequence:06d}-{uuid.uuid4().hex[:12]}.jsonl"
            self._sequence += 1
            self._end = 0
            folder.create(part, data)
        keys: list[str] = []
        for key, line in lines.items():
            self._end += len(line)
            keys.append(f"{key.hex()} {self._end}\n")
        try:
            folder.note(_keys_name(part), "".join(keys).encode())
        except Exception as error:  # the records are safe; a later run may write them again, and readers merge them
            _logger.warning("quarantine %s: %s not written: %s", self._options.url, _keys_name(part), error)
            return
        self._part = part if isinstance(folder, LocalFolder) else None

    def _read_keys(self, folder: LocalFolder | RemoteFolder) -> None:
        """Take over what earlier parts hold: keys whose line ends within its part."""
        try:
            sizes = folder.sizes()
        except FileNotFoundError:
            sizes = {}
        self._sequence = next_sequence(list(sizes))
        for part, size in sizes.items():
            if not part.endswith(".jsonl") or _keys_name(part) not in sizes:
                continue
            try:
                with folder.open(_keys_name(part)) as file:
                    found = [match for line in file if (match := _KEY_LINE.fullmatch(line))]
            except Exception as error:  # as for writing: it costs repeats, no more
                _logger.warning("quarantine %s: %s not read: %s", self._options.url, _keys_name(part), error)
                continue
            self._known.update(bytes.fromhex(match[1].decode()) for match in found if int(match[2]) <= size)


# A forked child has the parent's part name and perhaps its held lock: it must start anew.
_writers: weakref.WeakSet[QuarantineWriter] = weakref.WeakSet()


def _forget_parts() -> None:
    for writer in list(_writers):
        writer._forget()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parts)


def _rebuild(options: QuarantineOptions, origin: Origin, process_index: int, worker: int) -> QuarantineWriter:
    return QuarantineWriter(options, origin, process_index=process_index, worker=worker)


def _check_protocol(url: str) -> None:
    """Find a misspelt or uninstalled file system when the pipeline is built, not at the first bad record."""
    if is_local(url):
        return
    protocol = re.split("://|::", url, maxsplit=1)[0]
    try:
        importlib.import_module("fsspec").get_filesystem_class(protocol)
    except ValueError as error:
        raise UsageError(f"quarantine url {url}: {error}; give a folder or an fsspec URL") from None
    except ImportError as error:
        raise MissingDependencyError(f"quarantine url {url}: {error}") from None


def _present(labels: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in labels.items() if value is not tree.MISSING}


def _encoded(leaves: Mapping[str, Any], limit: int) -> bytes | None:
    """``leaves`` as JSON, or None where that takes more than ``limit`` bytes."""
    if payload.weight(leaves) > limit:  # spares encoding what is far too large
        return None
    encoded = _json({path: payload.encode(value) for path, value in leaves.items()})
    return encoded if len(encoded) <= limit else None


def _violation(found: Violation) -> dict[str, Any]:
    return {
        "label": found.label,
        "rule": found.rule,
        "value": _strict(found.value),
        "legal": found.legal,
        "count": found.count,
    }


def _strict(value: Value) -> Value:
    """``value`` as JSON that every reader takes alike: numbers not finite or beyond 2**53 become text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if math.isfinite(value) and abs(value) <= payload.EXACT:
        return value
    return hex(value) if isinstance(value, int) and value.bit_length() > 4096 else str(value)


def _json(value: Any) -> bytes:
    return _ENCODER.encode(value).encode("ascii")


def _keys_name(part: str) -> str:
    return part.removesuffix(".jsonl") + ".keys"


def _failure(url: str, error: Exception) -> str:
    reason = (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
    number = error.errno if isinstance(error, OSError) else None
    advice = _ADVICE.get(number or 0, "check the place and the rights to it, then resume from the last checkpoint")
    return f"cannot write the quarantine {url}: {reason}; no record was dropped without it; {advice}"
