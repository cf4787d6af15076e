"""The search for records of the same content on one machine: digests sorted on disk, compared in pieces.

Memory stays flat: digests of a million records at most are in memory at a time, whatever the size of the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from label_guard.audit.content import content_features, digest_shard, fields_of, record_prefix, refuse_incomparable
from label_guard.audit.duplicates import ROW, DigestRows, Duplicates, FoundGroups, thinned
from label_guard.audit.plan import AuditPlan, NumberedItem
from label_guard.audit.shard import SplitJob
from label_guard.audit.workers import AuditControl, run_shards
from label_guard.core.temporary import temporary_folder
from label_guard.errors import SourceError

_STOPPED = "stopped"  # in place of why a shard could not be read
_RUN_ROWS = 1 << 20  # of a sorted run, and about of a piece that is compared


def find_content(plan: AuditPlan) -> tuple[str, ...]:
    """The features to compare: those that records of any file hold, without labels and the key.

    Raises:
        UsageError: records hold nothing but labels, or a source is a function.
    """
    refuse_incomparable(plan)
    return content_features(plan.jobs, {name for item in plan.items for name in fields_of(plan.jobs, item)})


def find_duplicates(
    plan: AuditPlan,
    content: tuple[str, ...] | None = None,
    *,
    workers: int = 0,
    control: AuditControl = AuditControl(),
) -> Duplicates:
    """Compares the contents of all records of a dataset.

    Features are compared that the first records of any shard have. Cells of CSV are compared as they are parsed.

    Args:
        plan: what is read.
        content: the features to compare, from ``find_content``, which is called where it is None.
        workers: worker processes, on this machine: they share a folder with this process.
        control: stops the comparison; what was digested is then compared. Progress is not reported.

    Raises:
        UsageError: as ``find_content``.
    """
    content = find_content(plan) if content is None else content
    control = AuditControl(should_stop=control.should_stop)
    try:
        with temporary_folder("label-guard-duplicates-") as folder:
            return _find(plan, content, folder, workers, control)
    except OSError as error:
        reason = f"{error.strerror or error}; set TMPDIR to another disk"
        return Duplicates(unread=[(job.split or "", job.source.uri, reason) for job in plan.jobs], stopped=True)


def _find(plan: AuditPlan, content: tuple[str, ...], folder: Path, workers: int, control: AuditControl) -> Duplicates:
    items = list(enumerate(plan.items))
    unread: list[tuple[str, str, str]] = []
    done = 0
    work = partial(_digest_item, plan.jobs, content, folder)
    with closing(run_shards(items, work, workers=workers, control=control)) as results:
        for (_, (job, shard)), why in results:
            done += why != _STOPPED
            if why and why != _STOPPED:
                unread.append((plan.jobs[job].split or "", shard.name, why))
    found = FoundGroups([job.split or "" for job in plan.jobs])
    _compare(sorted(folder.glob("*.rows")), found, [record_prefix(plan.jobs[job], shard) for job, shard in plan.items])
    return found.result(unread, stopped=done < len(items))


# Digests --------------------------------------------------------------------------------------------------------------


def _digest_item(
    jobs: Sequence[SplitJob], content: Sequence[str], folder: Path, task: NumberedItem, go_on: Callable[[int], bool]
) -> str:
    """Writes sorted runs of the digests of one shard; returns why it could not be read to its end, or nothing."""
    number, (split, shard) = task
    waiting: list[DigestRows] = []
    why = ""
    try:
        for rows in digest_shard(jobs, split, number, shard, content):
            waiting.append(rows)
            if sum(map(len, waiting)) >= _RUN_ROWS:
                _write_run(folder, number, waiting)
            if not go_on(len(rows)):
                why = _STOPPED
                break
    except SourceError as error:
        why = str(error)
    _write_run(folder, number, waiting)
    return why


def _write_run(folder: Path, number: int, waiting: list[DigestRows]) -> None:
    if not sum(map(len, waiting)):
        return
    rows = thinned(np.concatenate(waiting))
    waiting.clear()
    path = folder / f"{number:08}-{rows['row'].min():016}.rows"
    try:
        rows.tofile(path.with_suffix(".partial"))
        path.with_suffix(".partial").rename(path)  # a killed worker leaves no half run
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"cannot write to {path.parent}: {reason}; set TMPDIR to a larger disk") from None


# Groups ---------------------------------------------------------------------------------------------------------------


def _compare(runs: Sequence[Path], groups: FoundGroups, prefixes: Sequence[str]) -> None:
    """Compares sorted runs piece by piece, each piece a range of digests."""
    for rows in _pieces(runs):
        same = (rows["high"][1:] == rows["high"][:-1]) & (rows["low"][1:] == rows["low"][:-1])
        # Where a group starts and ends: its first row, and one past its last.
        edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            groups.add(rows[first : last + 1], prefixes)


def _pieces(runs: Sequence[Path]) -> Iterator[DigestRows]:
    """Yields all rows in order of their digests, in pieces that cut no group in two; one file is open at a time."""
    total = sum(run.stat().st_size // ROW.itemsize for run in runs)
    count = max(1, -(-total // _RUN_ROWS))
    # Digests spread evenly over 64 bits.
    bounds = np.array([number * (1 << 64) // count for number in range(1, count)], np.uint64)
    cuts = [_cuts(run, bounds) for run in runs]
    for number in range(count):
        parts = [
            np.fromfile(run, ROW, cut[number + 1] - cut[number], offset=cut[number] * ROW.itemsize)
            for run, cut in zip(runs, cuts, strict=True)
            if cut[number] < cut[number + 1]
        ]
        rows = np.concatenate(parts or [np.empty(0, ROW)])
        yield rows[np.lexsort((rows["row"], rows["shard"], rows["low"], rows["high"]))]


def _cuts(run: Path, bounds: NDArray[np.uint64]) -> list[int]:
    """Where a sorted run is cut so that each part holds the digests between two bounds."""
    rows = np.memmap(run, ROW, "r")
    return [0, *np.searchsorted(rows["high"], bounds).tolist(), len(rows)]
