"""The same content under two labels, and in two splits: payloads digested, sorted on disk, compared in pieces.

Content is everything a record holds but its labels and its key. Memory stays flat: digests of a million records at most
are in memory at a time, whatever the size of the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from label_guard.audit.baseline import Count
from label_guard.audit.workers import AuditControl, run_shards
from label_guard.core.escape import terminal
from label_guard.core.record_key import natural_order
from label_guard.core.temporary import temporary_folder
from label_guard.errors import SourceError, UsageError
from label_guard.quarantine.digest import digest
from label_guard.quarantine.payload import NotEncodableError, encode
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label
from label_guard.sources.open import Chunk, Shard, Source

DigestRows = NDArray[Any]
Splits = Sequence[tuple[str | None, Source]]
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


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Model):
    """A record of a group: its split, its name, its labels in short."""

    split: str
    record: str
    labels: str


class Groups(_Model):
    """Groups of records of the same content.

    Attributes:
        groups: how many.
        records: records in them.
        examples: the first by key order, and of each the first members.
    """

    groups: Count = 0
    records: Count = 0
    examples: list[list[Member]] = Field(default_factory=list[list[Member]])

    @model_validator(mode="after")
    def _has_an_example(self) -> Groups:
        if self.groups and not (self.examples and all(self.examples)):
            raise ValueError("groups without an example")
        return self


class Duplicates(_Model):
    """What was found of the same content.

    Attributes:
        conflicting: under different labels.
        shared: in more than one split.
        repeated: several times in one split under one label.
        unread: split, shard and why, of shards whose records could not all be read as wholes.
        stopped: whether it was stopped before all records were read.
    """

    conflicting: Groups = Groups()
    shared: Groups = Groups()
    repeated: Groups = Groups()
    unread: list[tuple[str, str, str]] = Field(default_factory=list[tuple[str, str, str]])
    stopped: StrictBool = False


class _Job(NamedTuple):
    """What the shards of one split have in common: plain and picklable."""

    source: Source
    split: int
    labels: Mapping[str, Label]
    content: tuple[str, ...]
    folder: str


class _Item(NamedTuple):
    """One shard to digest: the number of its job, and its own number among all shards."""

    job: int
    number: int
    shard: Shard


def find_duplicates(
    schema: DatasetSchema,
    splits: Splits,
    *,
    content: tuple[str, ...] | None = None,
    workers: int = 0,
    control: AuditControl = AuditControl(),
) -> Duplicates:
    """Compares the contents of all records of a dataset.

    Features are compared that the first records of any shard have. Cells of CSV are compared as they are parsed.

    Args:
        schema: names the labels and the key, which are not content.
        splits: the opened source of each split.
        content: the features to compare, from ``find_content``.
        workers: worker processes, on this machine: they share a folder with this process.
        control: stops the comparison; what was digested is then compared. Progress is not reported.

    Raises:
        UsageError: records hold nothing but labels, or a source is a function.
    """
    content = find_content(schema, splits) if content is None else content
    control = AuditControl(should_stop=control.should_stop)
    try:
        with temporary_folder("label-guard-duplicates-") as folder:
            return _find(schema, splits, content, folder, workers, control)
    except OSError as error:
        reason = f"{error.strerror or error}; set TMPDIR to another disk"
        return Duplicates(unread=[(split or "", source.uri, reason) for split, source in splits], stopped=True)


def _find(
    schema: DatasetSchema, splits: Splits, content: tuple[str, ...], folder: Path, workers: int, control: AuditControl
) -> Duplicates:
    jobs, items = _plan(schema, splits, content, str(folder))
    unread: list[tuple[str, str, str]] = []
    done = 0
    with closing(run_shards(items, partial(_digest_item, jobs), workers=workers, control=control)) as results:
        for item, why in results:
            done += why != _STOPPED
            if why and why != _STOPPED:
                unread.append((splits[item.job][0] or "", item.shard.name, why))
    found = _compare(sorted(folder.glob("*.rows")), [_Name.of(item, jobs, splits) for item in items])
    return found.model_copy(update={"unread": sorted(unread), "stopped": done < len(items)})


def _plan(
    schema: DatasetSchema, splits: Splits, content: tuple[str, ...], folder: str
) -> tuple[list[_Job], list[_Item]]:
    jobs = [
        _Job(replace(source, files=(), metadata={}), place, schema.stored(split), content, folder)
        for place, (split, source) in enumerate(splits)
    ]
    shards = [(place, shard) for place, (_, source) in enumerate(splits) for shard in source.shards()]
    return jobs, [_Item(place, number, shard) for number, (place, shard) in enumerate(shards)]


def find_content(schema: DatasetSchema, splits: Splits) -> tuple[str, ...]:
    """The features that are not labels, not the key, and hold none: the same for all splits, in one order.

    Raises:
        UsageError: records hold nothing but labels, or a source is a function.
    """
    others = {*schema.labels, *([schema.record_key] if schema.record_key else [])}
    found: set[str] = set()
    for _, source in splits:
        if source.format.name == "python":
            raise UsageError(f"duplicates are looked for among records in files; {source.uri} is a function")
        for shard in source.shards():
            with suppress(SourceError):  # reading it names the fault
                found.update(source.format.fields(shard.path))
    content = {name for name in found - others if not any(other.startswith(f"{name}/") for other in others)}
    if not content:
        uris = ", ".join(sorted({source.uri for _, source in splits}))
        raise UsageError(f"duplicates are found by the features that are not labels; records of {uris} have none")
    return tuple(sorted(content))


class _Name(NamedTuple):
    """How the records of a shard are called."""

    split: str
    prefix: str

    @classmethod
    def of(cls, item: _Item, jobs: Sequence[_Job], splits: Splits) -> _Name:
        """The name of an item's shard."""
        return cls(splits[item.job][0] or "", "" if jobs[item.job].source.numbered else f"{item.shard.name}__")


# Digests --------------------------------------------------------------------------------------------------------------


def _digest_item(jobs: Sequence[_Job], item: _Item, go_on: Callable[[int], bool]) -> str:
    """Writes sorted runs of the digests of one shard; returns why it could not be read to its end, or nothing."""
    # One column for each field as it is stored: no shape is known of what is not a label.
    job = jobs[item.job]
    source, key = job.source, job.source.record_key
    here = set(source.format.fields(item.shard.path)) if source.format.name == "parquet" else None
    content = [name for name in job.content if here is None or name in here]
    wanted = {**dict.fromkeys(content), **{path: source.labels.get(path) for path in job.labels}}
    wanted |= {} if key is None else {key: ()}
    waiting: list[DigestRows] = []
    why = ""
    try:
        for chunk in replace(source, labels=wanted, record_key=None).read(item.shard):
            waiting.append(_digests(job, item.number, chunk, content))
            if sum(map(len, waiting)) >= _RUN_ROWS:
                _write_run(job, item.number, waiting)
            if not go_on(len(chunk)):
                why = _STOPPED
                break
    except SourceError as error:
        why = str(error)
    _write_run(job, item.number, waiting)
    return why


def _digests(job: _Job, number: int, chunk: Chunk, content: Sequence[str]) -> DigestRows:
    rows = np.zeros(len(chunk), _ROW)
    keys = chunk.columns.get(job.source.record_key or "")
    for place in range(len(chunk)):
        # A feature that a record lacks is left out, so that one may also be missing from a whole file.
        held = {name: v for name in content if (v := chunk.columns[name][place]) is not None}
        found = bytes.fromhex(digest(held))
        labels = {path: _plain(chunk.columns[path][place]) for path in job.labels}
        rows[place] = (
            int.from_bytes(found[:8], "big"), int.from_bytes(found[8:], "big"), _label_digest(job.labels, labels),
            job.split, number, chunk.rows[place], 1, _short(_in_short(labels), _TEXT),
            b"" if keys is None else _short(_as_text(keys[place]), _KEY),
        )  # fmt: skip
    return rows


def _label_digest(declared: Mapping[str, Label], labels: Mapping[str, Any]) -> int:
    """By values, whatever their widths; of a record that is declared to have no label, ``_NO_LABEL``."""
    for path, label in declared.items():
        if isinstance(label, ClassLabel) and label.unlabeled is not None and labels[path] == label.unlabeled:
            return _NO_LABEL
    return int(digest(dict(labels))[:16], 16)


def _in_short(labels: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}: {_shown(value)}" for path, value in labels.items())


def _shown(value: Any) -> str:
    try:
        return json.dumps(encode(value))
    except NotEncodableError:
        return f"a {type(value).__name__}"


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _short(text: str, size: int) -> bytes:
    return terminal(text).encode("ascii", "backslashreplace")[:size]


def _plain(value: Any) -> Any:
    return cast("DigestRows", value).tolist() if isinstance(value, np.ndarray | np.generic) else value


def _write_run(job: _Job, number: int, waiting: list[DigestRows]) -> None:
    if not sum(map(len, waiting)):
        return
    rows = _thinned(np.concatenate(waiting))
    waiting.clear()
    path = Path(job.folder) / f"{number:08}-{rows['row'].min():016}.rows"
    try:
        rows.tofile(path.with_suffix(".partial"))
        path.with_suffix(".partial").rename(path)  # a killed worker leaves no half run
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"cannot write to {path.parent}: {reason}; set TMPDIR to a larger disk") from None


def _thinned(rows: DigestRows) -> DigestRows:
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
    for rows in _pieces(runs):
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
    conflicting, shared, repeated = (groups.groups() for groups in kept.values())
    return Duplicates(conflicting=conflicting, shared=shared, repeated=repeated)


def _pieces(runs: Sequence[Path]) -> Iterator[DigestRows]:
    """Yields all rows in order of their digests, in pieces that cut no group in two; one file is open at a time."""
    total = sum(run.stat().st_size // _ROW.itemsize for run in runs)
    count = max(1, -(-total // _RUN_ROWS))
    # Digests spread evenly over 64 bits.
    bounds = np.array([number * (1 << 64) // count for number in range(1, count)], np.uint64)
    cuts = [_cuts(run, bounds) for run in runs]
    for number in range(count):
        parts = [
            np.fromfile(run, _ROW, cut[number + 1] - cut[number], offset=cut[number] * _ROW.itemsize)
            for run, cut in zip(runs, cuts, strict=True)
            if cut[number] < cut[number + 1]
        ]
        rows = np.concatenate(parts or [np.empty(0, _ROW)])
        yield rows[np.lexsort((rows["row"], rows["shard"], rows["low"], rows["high"]))]


def _cuts(run: Path, bounds: NDArray[np.uint64]) -> list[int]:
    """Where a sorted run is cut so that each part holds the digests between two bounds."""
    rows = np.memmap(run, _ROW, "r")
    return [0, *np.searchsorted(rows["high"], bounds).tolist(), len(rows)]


class _Kept:
    """Exact counts, and the first groups by key order: whatever the order they come in."""

    def __init__(self, names: Sequence[_Name]) -> None:
        self._names = names
        self._groups = self._records = 0
        self._examples: list[list[Member]] = []

    def add(self, group: DigestRows) -> None:
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
        return Member(split=name.split, record=key, labels=bytes(row["text"]).decode("ascii"))

    def groups(self) -> Groups:
        """What was counted."""
        return Groups(groups=self._groups, records=self._records, examples=self._examples)


def _order(member: Member) -> tuple[Any, ...]:
    return (natural_order(member.record), member.record, member.split)
