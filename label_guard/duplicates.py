"""The same content under two labels, and in two splits: payloads digested, sorted on disk, compared in pieces.

Content is everything a record holds but its labels and its key. Memory stays flat: digests of a million records at most
are in memory at a time, whatever the size of the dataset.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.audit_workers import run_shards
from label_guard.errors import SourceError, UsageError
from label_guard.escape import terminal
from label_guard.payload import digest, encode
from label_guard.schema import DatasetSchema
from label_guard.sources import Chunk, Shard, Source
from label_guard.statistics import key_order

Rows = NDArray[Any]
MAX_EXAMPLES = 5  # groups kept for each finding, and members of each
_RUN_ROWS = 1 << 20  # of a sorted run, and about of a piece that is compared
_TEXT = 48  # characters kept of the labels of a record, for the report
_ROW = np.dtype(
    [
        ("high", "<u8"), ("low", "<u8"), ("label", "<u8"), ("split", "<u2"), ("shard", "<u4"), ("row", "<u8"),
        ("text", f"S{_TEXT}"),
    ]
)  # fmt: skip


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
    """

    conflicting: Groups
    shared: Groups
    repeated: Groups

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name).to_json() for name in ("conflicting", "shared", "repeated")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Duplicates:
        """The duplicates that ``to_json`` wrote."""
        return cls(*(Groups.from_json(data[name]) for name in ("conflicting", "shared", "repeated")))


class _Task(NamedTuple):
    """One shard to digest: plain and picklable."""

    source: Source
    shard: Shard
    split: int
    number: int
    content: tuple[str, ...]
    labels: tuple[str, ...]
    folder: str


def find_duplicates(
    schema: DatasetSchema,
    plans: Sequence[tuple[str | None, Source]],
    *,
    workers: int = 0,
    stop: Callable[[], bool] | None = None,
) -> Duplicates:
    """Compare the contents of all records of a dataset.

    A record or shard that cannot be read is left out; the audit tells of it.

    Args:
        schema: names the labels and the key, which are no content.
        plans: the opened source of each split.
        workers: processes beside this one.
        stop: once it says True, what was digested is compared.

    Raises:
        UsageError: records hold nothing but labels, or the disk for temporary files is full.
    """
    with tempfile.TemporaryDirectory(prefix="label-guard-") as folder:
        tasks = list(_tasks(schema, plans, folder))
        for _ in run_shards(tasks, _digest_shard, workers, None, stop):
            pass
        names = [(split or "", task.shard.name) for task in tasks for split in [plans[task.split][0]]]
        return _compare(sorted(Path(folder).glob("*.rows")), names)


def _tasks(schema: DatasetSchema, plans: Sequence[tuple[str | None, Source]], folder: str) -> Iterator[_Task]:
    number = 0
    for place, (split, source) in enumerate(plans):
        labels = tuple(schema.stored(split))
        if source.format.name == "python":
            raise UsageError(f"--duplicates reads whole records of files; {source.uri} is a function")
        others = {*labels, *([schema.record_key] if schema.record_key else [])}
        content = tuple(sorted(name for name in source.fields() if name not in others))
        if not content:
            raise UsageError(f"duplicates are told by what is beside the labels; records of {source.uri} hold nothing")
        for shard in source.shards():
            yield _Task(source, shard, place, number, content, labels, folder)
            number += 1


# Digests --------------------------------------------------------------------------------------------------------------


def _digest_shard(task: _Task, go_on: Callable[[int], bool]) -> None:
    """Write sorted runs of the digests of one shard."""
    # One column for each field as it is stored: no shape is known of what is no label.
    wanted = {**dict.fromkeys(task.content), **{path: task.source.labels.get(path) for path in task.labels}}
    waiting: list[Rows] = []
    try:
        for chunk in replace(task.source, labels=wanted, record_key=None).read(task.shard):
            waiting.append(_digests(task, chunk))
            if sum(map(len, waiting)) >= _RUN_ROWS:
                _write_run(task, waiting)
            if not go_on(len(chunk)):
                break
    except SourceError:
        pass  # the audit tells of it
    _write_run(task, waiting)


def _digests(task: _Task, chunk: Chunk) -> Rows:
    rows = np.zeros(len(chunk), _ROW)
    for place in range(len(chunk)):
        content = bytes.fromhex(digest({name: chunk.columns[name][place] for name in task.content}))
        labels = {path: chunk.columns[path][place] for path in task.labels}
        rows[place] = (
            int.from_bytes(content[:8], "big"), int.from_bytes(content[8:], "big"), int(digest(labels)[:16], 16),
            task.split, task.number, chunk.rows[place], _told(labels),
        )  # fmt: skip
    return rows


def _told(labels: Mapping[str, Any]) -> bytes:
    """Labels in short, for people; arrays as their values."""
    texts = (f"{path}: {json.dumps(encode(_plain(value)))}" for path, value in labels.items())
    return terminal(", ".join(texts)).encode("ascii", "replace")[:_TEXT]


def _plain(value: Any) -> Any:
    return cast("Rows", value).tolist() if isinstance(value, np.ndarray | np.generic) else value


def _write_run(task: _Task, waiting: list[Rows]) -> None:
    if not waiting:
        return
    rows = np.concatenate(waiting)
    waiting.clear()
    rows = rows[np.lexsort((rows["low"], rows["high"]))]
    path = Path(task.folder) / f"{task.number:08}-{rows['row'].min():016}.rows"
    try:
        rows.tofile(path)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write to {path.parent}: {reason}; set TMPDIR to a larger disk") from None


# Groups ---------------------------------------------------------------------------------------------------------------


def _compare(runs: Sequence[Path], names: Sequence[tuple[str, str]]) -> Duplicates:
    """Compare sorted runs piece by piece, each piece a range of digests."""
    kept: dict[str, _Kept] = {name: _Kept(names) for name in ("conflicting", "shared", "repeated")}
    for rows in _pieces([np.memmap(run, _ROW, "r") for run in runs if run.stat().st_size]):
        same = (rows["high"][1:] == rows["high"][:-1]) & (rows["low"][1:] == rows["low"][:-1])
        # Where a group starts and ends: its first row, and one past its last.
        edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            group = rows[first : last + 1]
            conflicting, shared = len(np.unique(group["label"])) > 1, len(np.unique(group["split"])) > 1
            if conflicting:
                kept["conflicting"].add(group)
            if shared:
                kept["shared"].add(group)
            if not conflicting and not shared:
                kept["repeated"].add(group)
    return Duplicates(*(found.groups() for found in kept.values()))


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

    def __init__(self, names: Sequence[tuple[str, str]]) -> None:
        self._names = names
        self._groups = self._records = 0
        self._examples: list[list[Member]] = []

    def add(self, group: Rows) -> None:
        """Count a group."""
        self._groups += 1
        self._records += len(group)
        members = sorted((self._member(row) for row in group[: 1 << 10]), key=_order)
        self._examples.append(members[:MAX_EXAMPLES])
        self._examples = sorted(self._examples, key=lambda found: _order(found[0]))[:MAX_EXAMPLES]

    def _member(self, row: Any) -> Member:
        split, shard = self._names[int(row["shard"])]
        return Member(split, f"{shard}__{int(row['row'])}", bytes(row["text"]).decode("ascii"))

    def groups(self) -> Groups:
        """What was counted."""
        return Groups(self._groups, self._records, self._examples)


def _order(member: Member) -> tuple[Any, ...]:
    return (*key_order(member.record), member.split)
