"""The good records of an audited split, for ``label_guard.grain.select_records``: no guard needed at training time."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from label_guard.audit.report import AuditReport, SplitReport
from label_guard.errors import UsageError


def check_target(path: str) -> None:
    """Refuses a file name that says no format.

    Raises:
        UsageError: it ends in neither ``.npz`` nor ``.txt``.
    """
    if not path.endswith((".npz", ".txt")):
        raise UsageError(f"--good-index {path}: expected .npz (positions) or .txt (one key a line)")


def good_positions(split: SplitReport) -> NDArray[np.int64]:
    """int64[k], ascending: positions in the source, its shards one after the other, of the records without a fault."""
    sizes = [shard.records for shard in split.shards]
    starts = dict(zip((shard.name for shard in split.shards), np.cumsum([0, *sizes]).tolist(), strict=False))
    good = np.ones(sum(sizes), np.bool_)
    good[split.bad.positions(starts)] = False
    return np.flatnonzero(good)


def write_good_index(report: AuditReport, file: BinaryIO, path: str) -> int:
    """Writes the good records of the one split of ``report`` to ``file``.

    An ``.npz`` holds ``positions`` int64[k], ``num_records``, and ``shards`` and ``shard_records``, which give each
    position its ``file__index``. A ``.txt`` holds the keys, one a line.

    Args:
        report: a whole audit of one split, which kept which records are bad.
        file: where to.
        path: its name, for the format.

    Returns:
        How many good records there are.

    Raises:
        UsageError: several splits, records that were not read, or a ``.txt`` where keys are not ``file__index``.
    """
    if len(report.splits) != 1:
        raise UsageError("--good-index is for one split; pass --split NAME")
    split = report.splits[0]
    if not report.complete or report.part is not None or not split.counted:
        raise UsageError("no index of good records was written: not all records were read, so positions are not known")
    positions = good_positions(split)
    names = [shard.name for shard in split.shards]
    sizes = np.array([shard.records for shard in split.shards], np.int64)
    if path.endswith(".txt"):
        if report.schema_file.record_key:
            raise UsageError("keys come from record_key, which an audit does not keep; write the index as .npz")
        _write_keys(file, positions, names, sizes)
    else:
        archive = io.BytesIO()  # closing a zip writes again: on a full disk that fails a second time, with a traceback
        np.savez_compressed(
            archive, positions=positions, num_records=sizes.sum(), shards=np.array(names), shard_records=sizes
        )
        file.write(archive.getbuffer())
    return len(positions)


def _write_keys(file: BinaryIO, positions: NDArray[np.int64], names: list[str], sizes: NDArray[np.int64]) -> None:
    start = 0
    for name, size in zip(names, sizes.tolist(), strict=True):
        first, last = np.searchsorted(positions, [start, start + size]).tolist()
        rows = (positions[first:last] - start).tolist()
        file.write("".join(f"{name}__{row}\n" for row in rows).encode("utf-8", "surrogateescape"))
        start += size
