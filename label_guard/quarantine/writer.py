"""Writes invalid records to part files in a folder: append-only, one writer a file.

Nothing is read from other writers. A restarted writer on a local folder reads the lines of its own process and worker
index, and writes no record again whose line can be read; in an object store it reads nothing. Records that were written
twice anyway are merged by the reader (``read_quarantine``), which is the authority.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from label_guard.core import tree
from label_guard.core.strict_json import to_json
from label_guard.errors import QuarantineError
from label_guard.quarantine import payload
from label_guard.quarantine.digest import digest as digest_of
from label_guard.quarantine.line import (
    VERSION,
    QuarantineEntry,
    exceeded,
    identity_digest,
    sealed,
    violation_fields,
)
from label_guard.quarantine.options import BadRecord, Origin, PayloadKind, QuarantineOptions
from label_guard.quarantine.reader import own_parts, scan, sequence_of
from label_guard.quarantine.storage import LocalFolder, RemoteFolder, open_folder

_MAX_READ_LINES = 100_000  # of earlier runs; repeats beyond them are left to the reader
_MAX_READ_BYTES = 256 << 20
_MAX_KNOWN = 1_000_000  # entries whose identity is kept in memory
_MAX_NAME = 1_000  # characters of a record's key
_ADVICE = {
    errno.ENOSPC: "free space there or choose another folder, then resume from the last checkpoint",
    errno.EDQUOT: "free some of the quota or choose another folder, then resume from the last checkpoint",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), then resume from the last checkpoint",
    errno.EACCES: "make the folder writable for this user or choose another",
    errno.EPERM: "make the folder writable for this user or choose another",
    errno.EROFS: "choose a folder that is not on a read-only file system",
    errno.EEXIST: "a file is in the place of the folder; choose another name",
    errno.ENOTDIR: "a file is in the place of a folder; choose another name",
}


class QuarantineWriter:
    """Appends invalid records to part files of its own. Opens nothing before the first one.

    Threads may share a writer. A pickled copy, and a forked child, get part files of their own.

    >>> import tempfile
    >>> from label_guard.quarantine.reader import read_quarantine
    >>> from label_guard.rules.violation import Violation
    >>> folder = tempfile.mkdtemp()
    >>> writer = QuarantineWriter(QuarantineOptions(folder), Origin("digits", "1.0.0", "d1", "train", None, "s1"))
    >>> violation = Violation("label", "LG101", 10, "[0, 10)")
    >>> bad = BadRecord("7", {"label": 10}, {"label": 10}, (violation,), position="7")
    >>> writer.append([bad]), writer.append([bad])
    (1, 0)
    >>> [entry.payload for entry in read_quarantine(folder).entries]
    [{'label': 10}]
    """

    def __init__(self, options: QuarantineOptions, origin: Origin, *, process_index: int = 0, worker: int = 0) -> None:
        self._options = options
        self._origin = origin
        names = ("dataset", "schema_version", "schema_digest", "source", "split", "view")
        self._head = to_json({"v": VERSION, **{name: getattr(origin, name) for name in names}})  # of each line
        self._process_index = process_index
        self._worker = worker
        self._host = socket.gethostname()
        self._second, self._time = -1, ""
        self._forget()
        _writers.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._options, self._origin, self._process_index, self._worker)

    def append(self, records: Sequence[BadRecord], *, step: int | None = None) -> int:
        """Write the records not yet known; they are flushed (or synced, see ``durability``) on return.

        Args:
            records: invalid records.
            step: number of batches delivered before the one with these records, for people.

        Returns:
            How many were new.

        Raises:
            QuarantineError: they could not be written. The writer stays usable: what was not written is tried
                again, in a new part.
        """
        if not records:
            return 0
        with self._lock:
            written = self._written
            try:
                return self._append(records, step)
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
        self._read: set[str] = set()  # parts whose lines are known
        self._sequence = 0
        self._part: str | None = None
        self._end = 0
        self._written = 0

    def _append(self, records: Sequence[BadRecord], step: int | None) -> int:
        folder = self._folder
        if folder is None:
            options = self._options
            folder = open_folder(options.folder, sync=options.durability == "fsync", mode=options.file_mode)
            if isinstance(folder, LocalFolder):
                self._read_own_parts(folder)
            self._folder = folder
        lines: dict[bytes, bytes] = {}
        looked = False
        for record in records:
            labels = {path: value for path, value in record.labels.items() if value is not tree.MISSING}
            content = None if record.position is not None else _content(record.element)
            # The digest of a small label gives its value away, so a quarantine without payloads leaves it out.
            digest = "" if self._options.payload == "none" else digest_of(labels)
            key = self._key(record, content, digest)
            if key in self._known and not looked:  # once, and only where a record is not written
                looked = True
                self._forget_deleted(folder)
            if key not in self._known and key not in lines:
                lines[key] = self._line(record, labels, content, digest, step)
        if lines:
            self._write(folder, b"".join(lines.values()))
            if len(self._known) + len(lines) > _MAX_KNOWN:
                self._known.clear()
            self._known.update(lines)
        return len(lines)

    def _key(self, record: BadRecord, content: str | None, digest: str) -> bytes:
        """As of ``QuarantineEntry.identity``."""
        origin = self._origin
        name = _short(record.record) if record.position is None else None
        place = (origin.dataset, origin.source, origin.split, record.position, name, content)
        return identity_digest((*place, origin.view, digest))

    def _line(
        self, record: BadRecord, labels: Mapping[str, Any], content: str | None, digest: str, step: int | None
    ) -> bytes:
        kind, limit, encoded = self._payload(record.element, labels)
        fields = {
            "record": _short(record.record),
            "position": record.position,
            "content": content,
            "digest": digest,
            "labels": list(record.labels),
            "violations": [violation_fields(self._options.visible(found)) for found in record.violations],
            "written": self._stamp(step),
            "payload_kind": kind,
            "payload_limit": limit,
        }
        data = sealed(b'%b,%b,"payload":%b}' % (self._head[:-1], to_json(fields)[1:-1], encoded))
        self._written += len(data)
        return data

    def _stamp(self, step: int | None) -> dict[str, Any]:
        second = int(time.time())
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        return {
            "time": self._time,
            "host": self._host,
            "process": self._process_index,
            "worker": self._worker,
            "step": step,
        }

    def _payload(self, element: Any, labels: Mapping[str, Any]) -> tuple[PayloadKind, str | None, bytes]:
        """What is kept of a record, why it is less than asked for, and it as JSON."""
        options = self._options
        if element is None or options.payload == "none":
            return "none", None, b"null"
        limit = None
        if options.payload == "full":
            encoded, limit = _encoded(element, labels, options.max_payload_bytes)
            if encoded is not None and self._written + len(encoded) <= options.max_bytes:
                return "full", None, encoded
            limit = limit or "max_bytes"
        encoded, reason = _encoded(None, labels, options.max_payload_bytes)
        return ("none", reason, b"null") if encoded is None else ("labels", limit, encoded)

    def _write(self, folder: LocalFolder | RemoteFolder, data: bytes) -> None:
        # A failed write may leave half a line, and the next one must not follow it: it starts a new part.
        part, self._part = self._part, None
        if isinstance(folder, LocalFolder) and part is not None and folder.append(part, data, end=self._end):
            self._part, self._end = part, self._end + len(data)
            return
        # The sequence orders parts by age: the clock where it goes forward, else the last one plus 1.
        self._sequence = max(self._sequence + 1, time.time_ns() // 1_000)
        part = f"part-{self._process_index}-{self._worker}-{self._sequence:016d}-{os.urandom(6).hex()}.jsonl"
        folder.create(part, data)
        if isinstance(folder, LocalFolder):
            self._part, self._end = part, len(data)
            self._read.add(part)

    def _forget_deleted(self, folder: LocalFolder | RemoteFolder) -> None:
        """Where someone deleted a part, reads again which records there are: the others must be written again."""
        if isinstance(folder, LocalFolder) and not folder.holds(self._read):
            self._known.clear()
            self._read_own_parts(folder)

    def _read_own_parts(self, folder: LocalFolder) -> None:
        """Take over what earlier parts of this process and worker index hold, line by line, newest part first."""
        self._read.clear()
        try:
            names = folder.names()
        except FileNotFoundError:
            return
        if not names:
            return
        self._sequence = sequence_of(names)
        lines, size = 0, 0
        for found in scan(folder, self._options.url, own_parts(names, self._process_index, self._worker)):
            if lines >= _MAX_READ_LINES or size >= _MAX_READ_BYTES:
                break
            if isinstance(found, QuarantineEntry):
                lines, size = lines + 1, size + found.place.length
                self._read.add(found.place.part)
                self._known.add(identity_digest(found.identity))


# A forked child has the parent's part name and perhaps its held lock: it must start as new.
_writers: weakref.WeakSet[QuarantineWriter] = weakref.WeakSet()


def _forget_parts() -> None:
    for writer in list(_writers):
        writer._forget()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parts)


def _rebuild(options: QuarantineOptions, origin: Origin, process_index: int, worker: int) -> QuarantineWriter:
    return QuarantineWriter(options, origin, process_index=process_index, worker=worker)


def _content(element: Any) -> str:
    # Of a record that could not be read nothing is known: it must not be taken for another one.
    return uuid.uuid4().hex if element is None else digest_of(element, exact=True)


def _short(name: str | None) -> str | None:
    """A key of bounded length; what is cut off is still part of the content's digest."""
    return name if name is None or len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}..."


def _encoded(element: Any, labels: Mapping[str, Any], limit: int) -> tuple[bytes | None, str | None]:
    """The leaves of ``element`` and the labels as JSON; or None and why they cannot be kept."""
    try:
        leaves = labels if element is None else {**payload.flatten(element), **labels}
        if payload.weight(list(leaves.values()), limit) > limit:  # spares encoding what is too large
            return None, "max_payload_bytes"
        encoded = payload.encode_leaves(leaves)
    except Exception:  # foreign leaves may raise anything, and no record may be lost for one of its features
        return None, "not_encodable"
    return (None, "max_payload_bytes") if len(encoded) > limit or exceeded(encoded) else (encoded, None)


def _failure(url: str, error: Exception) -> str:
    reason = (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
    number = error.errno if isinstance(error, OSError) else None
    advice = _ADVICE.get(number or 0, "check the place and the rights to it, then resume from the last checkpoint")
    return f"cannot write the quarantine {url}: {reason}; no record was dropped without it; {advice}"
