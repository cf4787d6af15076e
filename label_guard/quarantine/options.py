"""What a quarantine keeps, and the records that are written to it."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from label_guard.core.files import require_protocol
from label_guard.errors import MissingDependencyError, UsageError
from label_guard.quarantine.storage import is_local
from label_guard.rules.violation import Violation

PayloadKind = Literal["full", "labels", "none"]
Durability = Literal["flush", "fsync"]

MAX_PAYLOAD_BYTES = 128 << 20  # a reader accepts lines of 256 MiB
HIDDEN = "(not kept)"


@dataclass(frozen=True, slots=True)
class QuarantineOptions:
    """Where and how invalid records are kept.

    Attributes:
        url: a folder (text or ``os.PathLike``), or any fsspec URL of one. A relative path starts at the working
            directory of this moment, in every process and after a change of the directory.
        folder: ``url``, as an absolute path where it is local.
        payload: what is kept of a record: ``full``, its ``labels``, or ``none`` (then no label value appears in the
            quarantine, the log or an error either).
        max_payload_bytes: a record whose encoded payload is larger keeps only its labels; 0 to 128 MiB.
        max_bytes: once a writer has written this much, records keep only their labels.
        durability: ``flush`` survives a killed process, ``fsync`` a power loss.
        file_mode: permission bits of new files, such as ``0o600``; a new folder can also be entered by those who may
            read. None: by the umask. Local folders only.

    Raises:
        UsageError: a value is out of its range, or the URL names an unknown file system.
        MissingDependencyError: the URL names a file system whose package is not installed.
    """

    url: str
    payload: PayloadKind = "full"
    max_payload_bytes: int = 1 << 20
    max_bytes: int = 1 << 30
    durability: Durability = "flush"
    file_mode: int | None = None
    folder: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", folder_url(self.url))
        object.__setattr__(self, "folder", _absolute(self.url))
        for name, known in (("payload", get_args(PayloadKind)), ("durability", get_args(Durability))):
            if getattr(self, name) not in known:
                raise UsageError(f"quarantine {name} is {getattr(self, name)!r}; it must be one of: {', '.join(known)}")
        for name in ("max_payload_bytes", "max_bytes"):
            limit = getattr(self, name)
            if type(limit) is not int or limit < 0:
                raise UsageError(f"quarantine {name} is {limit!r}; it must be a number of bytes, 0 or more")
        if self.max_payload_bytes > MAX_PAYLOAD_BYTES:
            raise UsageError(f"quarantine max_payload_bytes is {self.max_payload_bytes}; it must be at most 134217728")
        self._check_mode()
        _check_protocol(self.url)

    def _check_mode(self) -> None:
        mode = self.file_mode
        if mode is None:
            return
        if type(mode) is not int or not 0 <= mode <= 0o777 or mode & 0o600 != 0o600:
            raise UsageError(
                f"quarantine file_mode is {mode!r}; it must be permission bits such as 0o600, with read and write for "
                "the owner"
            )
        if not is_local(self.url):
            raise UsageError(f"quarantine file_mode is for local folders; set the access rights of {self.url} there")

    def visible(self, violation: Violation) -> Violation:
        """``violation`` as it may be shown: with ``payload="none"`` without the value."""
        return dataclasses.replace(violation, value=HIDDEN) if self.payload == "none" else violation


@dataclass(frozen=True, slots=True)
class Origin:
    """What checked the records: the same for all records of one writer.

    Attributes:
        dataset: name of the schema.
        schema_version: its version.
        schema_digest: ``schema.digest(split, view)``: digest of the label rules.
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
        record: its key, or None. A key is a name; it may repeat.
        element: its tree: NumPy leaves, Python scalars, text, bytes, None, lists. None: it could not be read, and
            nothing of it is kept.
        labels: checked label values by label path; ``tree.MISSING`` where a label is absent.
        violations: the rules it broke.
        position: its place in the source (``file__index``), only where it is unique. None: the digest of the content
            becomes part of the record's identity, because two records may share a key.
    """

    record: str | None
    element: Any
    labels: Mapping[str, Any]
    violations: tuple[Violation, ...]
    position: str | None = None


def _absolute(url: str) -> str:
    """``url``, where it is a path in full: records must not go on elsewhere after a change of the working directory."""
    if not is_local(url):
        return url
    try:
        return str(Path(url.split("://", 1)[-1]).absolute())
    except OSError:  # the working directory was deleted
        return url


def folder_url(value: object) -> str:
    """The path or URL of a folder as text.

    Raises:
        UsageError: ``value`` is not a path or URL, or it is empty.
    """
    url = os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value
    if not isinstance(url, str) or not url:
        raise UsageError(f"quarantine url is {value!r}; give a folder or an fsspec URL")
    if url.startswith("~") and os.path.expanduser(url) != url:  # noqa: PTH111  # the text is compared
        raise UsageError(
            f"quarantine url is {url!r}, where '~' would be a folder of that name; give {os.path.expanduser(url)}"  # noqa: PTH111
        )
    return url


def options_of(value: QuarantineOptions | str | os.PathLike[str] | None) -> QuarantineOptions | None:
    """The options of a quarantine that may be given as its folder alone.

    Raises:
        UsageError: ``value`` is something else.
    """
    return value if value is None or isinstance(value, QuarantineOptions) else QuarantineOptions(folder_url(value))


def require_folder(url: str) -> None:
    """Finds a file where the folder should be when the pipeline is built, not at the first invalid record.

    Raises:
        UsageError: the local path ``url``, or a folder that it is in, is a file.
    """
    if not is_local(url):
        return
    path = Path(url.split("://", 1)[-1])
    # Path.exists() may raise, for a folder that must not be entered.
    there = next((place for place in (path, *path.parents) if os.path.exists(place)), None)  # noqa: PTH110
    if there is not None and not os.path.isdir(there):  # noqa: PTH112
        raise UsageError(f"quarantine url is {url!r}, but {there} is not a folder; give a folder or an fsspec URL")


def _check_protocol(url: str) -> None:
    """Find a misspelt or uninstalled file system when the pipeline is built, not at the first invalid record."""
    if is_local(url):
        return
    try:
        require_protocol(url)
        importlib.import_module("fsspec").get_filesystem_class(url.partition("://")[0])
    except ValueError as error:
        raise UsageError(f"quarantine url {url}: {error}; give a folder or an fsspec URL") from None
    except ImportError as error:
        raise MissingDependencyError(f"quarantine url {url}: {error}") from None
