"""The same content under two labels, and in two splits: payloads digested, sorted on disk, compared in pieces.

Content is everything a record holds but its labels and its key. Memory stays flat: digests of a million records at most
are in memory at a time, whatever the size of the dataset.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.audit.workers import run_shards
from label_guard.core.escape import terminal
from label_guard.diagnosis.statistics import key_order
from label_guard.errors import SourceError, UsageError
from label_guard.quarantine.payload import digest, encode
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label
from label_guard.sources.open import Chunk, Shard, Source

Rows = NDArray[Any]
_STOPPED = "stopped"  # in place of why a shard could not be read
MAX_EXAMPLES = 5  # groups kept for each finding, and members of each
_RUN_ROWS = 1 << 20  # of a sorted run, and about of a piece that is compared
_KEPT_ROWS = 16  # of a run, of one content, label and split: the rest are counted, so blank pictures take no memory
_TEXT, _KEY = 48, 80  # characters kept of the labels and of the key of a record, for the report
_ROW = np.dtype(
    [
        ("high", "<u8"), ("low", "<u8"), ("label", "<u8"), ("split", "<u2"), ("shard", "<u4"), ("row", "<u8"),
        ("count", "<u8"), ("text", f"S{_TEXT}"), ("key", f"S{_KEY}"),
    ]
)  # fmt: skip
_NO_LABEL = 0  # digest of a record that is declared to have none


class Member(NamedTuple):
    """A record of a group: its split, its name, its labels in short."""

    split: str
    record: str
    labels: str


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of records of the same content.

    Attributes:
        groups: how many.
        records: records in them.
        examples: the first by key order, and of each the first members.
    """

    groups: int = 0
    records: int = 0
    examples: Sequence[Sequence[Member]] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        examples = [[member._asdict() for member in group] for group in self.examples]
        return {"groups": self.groups, "records": self.records, "examples": examples}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Groups:
        """The groups that ``to_json`` wrote."""
        return cls(data["groups"], data["records"], [[Member(**one) for one in group] for group in data["examples"]])


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found of the same content.

    Attributes:
        conflicting: under different labels.
        shared: in more than one split.
        repeated: several times in one split under one label.
        unread: split, shard and why, of shards whose records could not all be read as wholes.
        stopped: whether it was stopped before all records were read.
    """

    conflicting: Groups
    shared: Groups
    repeated: Groups
    unread: Sequence[tuple[str, str, str]] = ()
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        groups = {name: getattr(self, name).to_json() for name in ("conflicting", "shared", "repeated")}
        return {**groups, "unread": [list(entry) for entry in self.unread], "stopped": self.stopped}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Duplicates:
        """The duplicates that ``to_json`` wrote."""
        conflicting, shared, repeated = (Groups.from_json(data[name]) for name in ("conflicting", "shared", "repeated"))
        unread = [(str(split), str(shard), str(why)) for split, shard, why in data["unread"]]
        return cls(conflicting, shared, repeated, unread, bool(data["stopped"]))


class _Task(NamedTuple):
    """One shard to digest: plain and picklable."""

    source: Source
    shard: Shard
    split: int
    number: int
    content: tuple[str, ...]
    labels: Mapping[str, Label]
    folder: str


def find_duplicates(
    schema: DatasetSchema,
    plans: Sequence[tuple[str | None, Source]],
    *,
    workers: int = 0,
    stop: Callable[[], bool] | None = None,
) -> Duplicates:
    """Compare the contents of all records of a dataset.

    Features are compared that the first records of any shard have. Cells of CSV are compared as they are parsed.

    Args:
        schema: names the labels and the key, which are no content.
        plans: the opened source of each split.
        workers: processes beside this one.
        stop: once it says True, what was digested is compared.

    Raises:
        UsageError: records hold nothing but labels, or the disk for temporary files is full.
    """
    with tempfile.TemporaryDirectory(prefix="label-guard-") as folder:
        tasks = _tasks(schema, plans, folder)
        unread: list[tuple[str, str, str]] = []
        done = 0
        for task, why in run_shards(tasks, _digest_shard, workers, None, stop):
            done += why != _STOPPED
            if why and why != _STOPPED:
                unread.append((plans[task.split][0] or "", task.shard.name, why))
        found = _compare(sorted(Path(folder).glob("*.rows")), [_Name.of(task, plans) for task in tasks])
        return replace(found, unread=sorted(unread), stopped=done < len(tasks))


def _tasks(schema: DatasetSchema, plans: Sequence[tuple[str | None, Source]], folder: str) -> list[_Task]:
    content = _content(schema, plans)
    shards = [(place, split, source, shard) for place, (split, source) in enumerate(plans) for shard in source.shards()]
    return [
        _Task(source, shard, place, number, content, schema.stored(split), folder)
        for number, (place, split, source, shard) in enumerate(shards)
    ]


def _content(schema: DatasetSchema, plans: Sequence[tuple[str | None, Source]]) -> tuple[str, ...]:
    """The features that are no label, no key, and hold none: the same for all splits, in one order."""
    others = {*schema.labels, *([schema.record_key] if schema.record_key else [])}
    found: set[str] = set()
    for _, source in plans:
        if source.format.name == "python":
            raise UsageError(f"duplicates are told of records in files; {source.uri} is a function")
        for shard in source.shards():
            with suppress(SourceError):  # reading it tells
                found.update(source.format.fields(shard.path))
    content = {name for name in found - others if not any(other.startswith(f"{name}/") for other in others)}
    if not content:
        uris = ", ".join(sorted({source.uri for _, source in plans}))
        raise UsageError(f"duplicates are told by what is beside the labels; records of {uris} hold nothing")
    return tuple(sorted(content))


class _Name(NamedTuple):
    """How the records of a shard are called."""

    split: str
    prefix: str

    @classmethod
    def of(cls, task: _Task, plans: Sequence[tuple[str | None, Source]]) -> _Name:
        """The name of a task's shard."""
        return cls(plans[task.split][0] or "", "" if task.source.numbered else f"{task.shard.name}__")


# Digests --------------------------------------------------------------------------------------------------------------


def _digest_shard(task: _Task, go_on: Callable[[int], bool]) -> str:
    """Write sorted runs of the digests of one shard; why it could not be read to its end, or nothing."""
    # One column for each field as it is stored: no shape is known of what is no label.
    key = task.source.record_key
    here = set(task.source.format.fields(task.shard.path)) if task.source.format.name == "parquet" else None
    content = [name for name in task.content if here is None or name in here]
    wanted = {**dict.fromkeys(content), **{path: task.source.labels.get(path) for path in task.labels}}
    wanted |= {} if key is None else {key: ()}
    waiting: list[Rows] = []
    why = ""
    try:
        for chunk in replace(task.source, labels=wanted, record_key=None).read(task.shard):
            waiting.append(_digests(task, chunk, content))
            if sum(map(len, waiting)) >= _RUN_ROWS:
                _write_run(task, waiting)
            if not go_on(len(chunk)):
                why = _STOPPED
                break
    except SourceError as error:
        why = str(error)
    _write_run(task, waiting)
    return why


def _digests(task: _Task, chunk: Chunk, content: Sequence[str]) -> Rows:
    rows = np.zeros(len(chunk), _ROW)
    keys = chunk.columns.get(task.source.record_key or "")
    for place in range(len(chunk)):
        # A feature that a record lacks is left out, so that one may also be missing from a whole file.
        held = {name: v for name in content if (v := chunk.columns[name][place]) is not None}
        found = bytes.fromhex(digest(held))
        labels = {path: _plain(chunk.columns[path][place]) for path in task.labels}
        rows[place] = (
            int.from_bytes(found[:8], "big"), int.from_bytes(found[8:], "big"), _label_digest(task.labels, labels),
            task.split, task.number, chunk.rows[place], 1, _short(_told(labels), _TEXT),
            b"" if keys is None else _short(_as_text(keys[place]), _KEY),
        )  # fmt: skip
    return rows


def _label_digest(declared: Mapping[str, Label], labels: Mapping[str, Any]) -> int:
    """By values, whatever their widths; of a record that is declared to have no label, ``_NO_LABEL``."""
    for path, label in declared.items():
        if isinstance(label, ClassLabel) and label.unlabeled is not None and labels[path] == label.unlabeled:
            return _NO_LABEL
    return int(digest(dict(labels))[:16], 16)


def _told(labels: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}: {json.dumps(encode(value))}" for path, value in labels.items())


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _short(text: str, size: int) -> bytes:
    return terminal(text).encode("ascii", "backslashreplace")[:size]


def _plain(value: Any) -> Any:
    return cast("Rows", value).tolist() if isinstance(value, np.ndarray | np.generic) else value


def _write_run(task: _Task, waiting: list[Rows]) -> None:
    if not sum(map(len, waiting)):
        return
    rows = _thinned(np.concatenate(waiting))
    waiting.clear()
    path = Path(task.folder) / f"{task.number:08}-{rows['row'].min():016}.rows"
    try:
        rows.tofile(path)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write to {path.parent}: {reason}; set TMPDIR to a larger disk") from None


def _thinned(rows: Rows) -> Rows:
    """The rows in order of their digests; of many alike the first, which the last of these counts for."""
    rows = rows[np.lexsort([rows[name] for name in ("row", "shard", "split", "label", "low", "high")])]
    alike = np.ones(len(rows), np.bool_)
    for name in ("high", "low", "label", "split"):
        alike[1:] &= rows[name][1:] == rows[name][:-1]
    alike[0] = False
    starts = np.flatnonzero(~alike)
    sizes = np.diff(np.append(starts, len(rows)))
    rank = np.arange(len(rows)) - np.repeat(starts, sizes)
    keep = rank < _KEPT_ROWS
    rows["count"][starts + np.minimum(sizes, _KEPT_ROWS) - 1] += np.maximum(sizes - _KEPT_ROWS, 0).astype(np.uint64)
    return rows[keep]


# Groups ---------------------------------------------------------------------------------------------------------------


def _compare(runs: Sequence[Path], names: Sequence[_Name]) -> Duplicates:
    """Compare sorted runs piece by piece, each piece a range of digests."""
    kept: dict[str, _Kept] = {name: _Kept(names) for name in ("conflicting", "shared", "repeated")}
    for rows in _pieces([np.memmap(run, _ROW, "r") for run in runs if run.stat().st_size]):
        same = (rows["high"][1:] == rows["high"][:-1]) & (rows["low"][1:] == rows["low"][:-1])
        # Where a group starts and ends: its first row, and one past its last.
        edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            group = rows[first : last + 1]
            labels = set(group["label"].tolist()) - {_NO_LABEL}
            conflicting, shared = len(labels) > 1, len(set(group["split"].tolist())) > 1
            if conflicting:
                kept["conflicting"].add(group)
            if shared:
                kept["shared"].add(group)
            if not conflicting and not shared:
                kept["repeated"].add(group)
    return Duplicates(kept["conflicting"].groups(), kept["shared"].groups(), kept["repeated"].groups())


def _pieces(runs: Sequence[Rows]) -> Iterator[Rows]:
    """All rows in order of their digests, in pieces that never cut a group in two."""
    total = sum(map(len, runs))
    count = max(1, -(-total // _RUN_ROWS))
    starts = [0] * len(runs)
    for number in range(1, count + 1):
        bound = number * (1 << 64) // count  # digests spread evenly
        stops = [len(run) if number == count else int(np.searchsorted(run["high"], np.uint64(bound))) for run in runs]
        rows = np.concatenate([run[a:b] for run, a, b in zip(runs, starts, stops, strict=True)] or [np.empty(0, _ROW)])
        yield rows[np.lexsort((rows["row"], rows["shard"], rows["low"], rows["high"]))]
        starts = stops


class _Kept:
    """Exact counts, and the first groups by key order: whatever the order they come in."""

    def __init__(self, names: Sequence[_Name]) -> None:
        self._names = names
        self._groups = self._records = 0
        self._examples: list[list[Member]] = []

    def add(self, group: Rows) -> None:
        """Count a group, and show a member for each of its labels and splits before others."""
        self._groups += 1
        self._records += int(group["count"].sum())
        telling = np.unique(group[["label", "split"]], return_index=True)[1][:MAX_EXAMPLES].tolist()
        others = [place for place in range(min(len(group), 2 * MAX_EXAMPLES)) if place not in telling]
        shown = [self._member(group[place]) for place in [*telling, *others][:MAX_EXAMPLES]]
        self._examples.append(sorted(shown, key=_order))
        self._examples = sorted(self._examples, key=lambda found: _order(found[0]))[:MAX_EXAMPLES]

    def _member(self, row: Any) -> Member:
        name = self._names[int(row["shard"])]
        key = bytes(row["key"]).decode("ascii") or f"{name.prefix}{int(row['row'])}"
        return Member(name.split, key, bytes(row["text"]).decode("ascii"))

    def groups(self) -> Groups:
        """What was counted."""
        return Groups(self._groups, self._records, self._examples)


def _order(member: Member) -> tuple[Any, ...]:
    return (*key_order(member.record), member.split)
