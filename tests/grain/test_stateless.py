"""A MapDataset and a DataLoader keep no counts for the user; what they log and write is true all the same."""

from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, QuarantineOptions, read_quarantine
from label_guard.grain import data_loader_operations, guard_labels
from label_guard.pipeline import checker

N, BAD = 60, (7, 20, 41)
RECORDS = [{"y": np.int64(9 if k in BAD else k % 4), "id": k} for k in range(N)]
SCHEMA = {"y": ClassLabel(num_classes=4)}
LINE = re.compile(r"; (\d+) of (\d+) records bad so far in this process, those read ahead or twice included\)")


def _map(**options: Any) -> list[Any]:
    ds = grain.MapDataset.source(RECORDS).pipe(guard_labels, SCHEMA, **options)
    return list(ds.to_iter_dataset(grain.ReadOptions(0, 0)))


def _batches(**options: Any) -> list[Any]:
    ds = grain.MapDataset.source(RECORDS).batch(4).pipe(guard_labels, SCHEMA, **options)
    return list(ds.to_iter_dataset(grain.ReadOptions(0, 0)))


def _loader(**options: Any) -> list[Any]:
    operations = data_loader_operations(SCHEMA, **options)
    sampler = grain.samplers.IndexSampler(N, num_epochs=1)
    return list(
        grain.DataLoader(
            data_source=RECORDS, sampler=sampler, operations=operations, read_options=grain.ReadOptions(0, 0)
        )
    )


@pytest.mark.parametrize(
    ("run", "policy", "expected"),
    [
        (_map, "drop", [(1, 8), (2, 21), (3, 42)]),
        (_map, "mask", [(1, 8), (2, 21), (3, 42)]),
        (_batches, "mask", [(1, 8), (2, 24), (3, 44)]),
        (_loader, "drop", [(1, 8), (2, 21), (3, 42)]),
        (_loader, "report", [(1, 8), (2, 21), (3, 42)]),
    ],
)
def test_the_log_counts_every_record(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    run: Any,
    policy: str,
    expected: Any,
) -> None:
    """N of M: M is the number of all records that were checked so far, valid ones included."""
    monkeypatch.setattr(checker, "_LOG_EVERY_SECONDS", 0.0)
    with caplog.at_level(logging.WARNING, "label_guard"):
        run(on_invalid=policy, quarantine=str(tmp_path / "q"))
    assert [(int(n), int(m)) for n, m in LINE.findall(caplog.text)] == expected
    entries = read_quarantine(str(tmp_path / "q")).entries
    assert len(entries) == len(BAD)
    assert {entry.written.step for entry in entries} == {None}


def test_bad_records_that_are_not_in_a_row_end_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejected records count as in a row only where no valid one is between them."""
    monkeypatch.setattr("label_guard.pipeline.thresholds.MAX_REJECTED", 2)
    records = [{"y": np.int64(9 * (k % 2))} for k in range(1_000)]
    ds = grain.MapDataset.source(records).pipe(guard_labels, SCHEMA, quarantine=QuarantineOptions(str(tmp_path / "q")))
    assert len(list(ds.to_iter_dataset(grain.ReadOptions(0, 0)))) == 500


def test_counts_stay_in_their_process(tmp_path: Path) -> None:
    """A stage that is sent to a worker process counts from zero there."""
    ds = grain.MapDataset.source(RECORDS).pipe(guard_labels, SCHEMA, on_invalid="mask", quarantine=str(tmp_path / "q"))
    list(ds)
    stage: Any = ds._transform
    assert stage._counts.seen == N
    assert pickle.loads(pickle.dumps(stage))._counts.seen == 0


def test_a_stop_names_the_records_and_the_command(tmp_path: Path) -> None:
    """Where all of the first records are invalid, the error says where they are and how to look at them."""
    folder = tmp_path / "bad ones"
    ds = grain.MapDataset.source([{"y": np.int64(9)}] * 64).pipe(guard_labels, SCHEMA, quarantine=str(folder))
    command = re.escape(f"The bad records are in {folder}: run label-guard quarantine summary '{folder}'")
    with pytest.raises(Exception, match=command):
        list(ds.to_iter_dataset(grain.ReadOptions(0, 0)))
