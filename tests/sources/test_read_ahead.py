"""Reading ahead in a thread: the same items and the same errors, one item ahead at most, and nothing that hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard import DatasetSchema, audit_dataset
from label_guard.audit import shard as audit_shard
from label_guard.sources import read_ahead as module
from label_guard.sources.read_ahead import read_ahead


def threads() -> int:
    """Threads that read ahead."""
    return sum(thread.name == "label-guard-read-ahead" for thread in threading.enumerate())


@given(count=st.integers(0, 9), fault=st.integers(0, 12), taken=st.integers(0, 12))
def test_items_and_errors_are_those_of_the_iterator(count: int, fault: int, taken: int) -> None:
    """Whatever the place of an error and however many items are taken: it is closed, and one item is made ahead."""
    made, closed = [], []

    def items() -> Iterator[int]:
        try:
            for number in range(count):
                if number == fault:
                    raise ValueError("damaged")
                made.append(number)
                yield number
        finally:
            closed.append(True)

    found: list[int] = []
    ended = ""
    ahead = read_ahead(items())
    try:
        for _ in range(taken):
            found.append(next(ahead))
            assert len(made) <= len(found) + 1
    except (StopIteration, ValueError) as error:
        ended = type(error).__name__
    assert found == list(range(min(taken, count, fault)))
    assert ended == ("" if taken <= min(count, fault) else "ValueError" if fault < count else "StopIteration")
    ahead.close()
    assert closed == ([True] if made or found or taken else [])
    assert threads() == 0


def test_a_read_that_hangs_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the audit while a server does not answer: the thread is left behind after a time."""
    monkeypatch.setattr(module, "_END_SECONDS", 0.01)
    answer = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        answer.wait(60)

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(KeyboardInterrupt):
        ahead.throw(KeyboardInterrupt)
    assert threads() == 1
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "label-guard-read-ahead":
            thread.join(60)
    assert threads() == 0


def test_the_report_is_that_of_reading_and_checking_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet with faults and a damaged end, local and as an object, with a limit and without: byte for byte."""
    labels = np.random.default_rng(0).integers(0, 10, 600_000)
    labels[::10_000] = 12
    for number in range(3):
        pq.write_table(pa.table({"label": labels}), tmp_path / f"{number}.parquet", row_group_size=200_000)
    damaged = bytearray((tmp_path / "1.parquet").read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 64] = bytes(64)
    (tmp_path / "1.parquet").write_bytes(bytes(damaged))
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": {"kind": "class_label", "num_classes": 10}}}
    )

    def reports() -> list[object]:
        uri = f"parquet:{tmp_path}/*.parquet"
        return [audit_dataset(schema, source=uri, limit=limit, keep_bad=True).to_json() for limit in (None, 300_000)]

    ahead = reports()
    monkeypatch.setattr(audit_shard, "read_chunks", lambda source, shard: source.read(shard))
    assert ahead == reports()
    assert threads() == 0
