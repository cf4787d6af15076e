"""The checks of one iterator: when a run is stopped, what errors and logs say, what is written."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label_guard.errors import InvalidLabelError, TooManyInvalidError
from label_guard.pipeline.checker import ElementChecker
from label_guard.pipeline.counts import Counts
from label_guard.pipeline.options import resolve_options
from label_guard.pipeline.record_keys import KEY, KeyedSource, RecordNames
from label_guard.quarantine.reader import read_quarantine
from label_guard.schema.dataset import DatasetSchema


def _checker(folder: Path, label: dict[str, Any] | None = None, **options: Any) -> ElementChecker:
    fields = {"kind": "class_label", "num_classes": 10, **(label or {})}
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "digits", "version": "1.0.0", "labels": {"label": fields}}
    )
    plan = resolve_options(schema, **{"quarantine": str(folder / "q"), **options})
    return ElementChecker(plan.replace(names=RecordNames({0: KeyedSource(["x"] * 100_000)})))


def _batch(size: int, bad: int, start: int = 0, wrong: int = 99) -> dict[str, Any]:
    labels = np.arange(size) % 10
    labels[:bad] = wrong
    return {"label": labels, KEY: np.arange(start, start + size)}


@pytest.mark.parametrize("names", [np.array([b"img_0", b"img_1"], object), np.array(["img_0", "img_1"])])
def test_a_record_is_called_as_an_audit_calls_it(tmp_path: Path, names: Any) -> None:
    """Where the schema says what identifies a record, the quarantine and the error say that, not its position."""
    schema = DatasetSchema.model_validate(
        {
            "format": 1, "name": "n", "version": "1.0.0", "record_key": "meta/id",
            "labels": {"label": {"kind": "class_label", "num_classes": 10}},
        }
    )  # fmt: skip
    checker = ElementChecker(resolve_options(schema, on_invalid="raise", quarantine=str(tmp_path / "q")))
    with pytest.raises(InvalidLabelError, match="record img_1: 99"):
        checker.check_batch({"label": np.array([1, 99]), "meta": {"id": names}, KEY: np.array([70, 71])})
    with pytest.raises(InvalidLabelError, match="record 71: 98"):
        checker.check_records([{"label": 98, KEY: np.int64(71)}])
    assert [entry.record for entry in read_quarantine(str(tmp_path / "q")).entries] == ["71", "img_1"]


def test_a_first_batch_all_bad_stops_at_once(tmp_path: Path) -> None:
    """A first full batch of at least 32 records, all bad, stops the run; a smaller one, or a later one, does not."""
    _checker(tmp_path).check_batch(_batch(31, 31))
    with pytest.raises(TooManyInvalidError, match=r"32 of 32 records \(the whole first batch\)"):
        _checker(tmp_path).check_batch(_batch(32, 32))
    later = _checker(tmp_path)
    later.check_batch(_batch(64, 0))
    later.check_batch(_batch(32, 32))


def test_a_short_first_window_is_no_full_batch(tmp_path: Path) -> None:
    """Where batch_size says what full is, fewer records do not stop a run at once."""
    _checker(tmp_path, batch_size=64).check_batch(_batch(32, 32))
    with pytest.raises(TooManyInvalidError):
        _checker(tmp_path, batch_size=64).check_batch(_batch(64, 64))


def test_the_share_over_the_run(tmp_path: Path) -> None:
    """From 1,000 records on, a share above stop_above stops the run, also when the thousandth batch is clean."""
    checker = _checker(tmp_path, stop_above=0.05)
    checker.check_batch(_batch(900, 60))
    with pytest.raises(TooManyInvalidError, match=r"60 of 1,000 records \(over the run\)"):
        checker.check_batch(_batch(100, 0))
    just = _checker(tmp_path, stop_above=0.06)
    just.check_batch(_batch(900, 60))
    just.check_batch(_batch(100, 0))


def test_each_window(tmp_path: Path) -> None:
    """Late damage stops the run by its window of 10,000, however clean the run was before."""
    checker = _checker(tmp_path, stop_above=0.05)
    for _ in range(20):
        checker.check_batch(_batch(5_000, 0))
    checker.check_batch(_batch(5_000, 600))
    with pytest.raises(TooManyInvalidError, match=r"600 of 10,000 records \(of a window of 10,000\)"):
        checker.check_batch(_batch(5_000, 0))


def test_the_end_at_any_count(tmp_path: Path) -> None:
    """At the end of the stream the share is checked at any count, each time the end is met."""
    checker = _checker(tmp_path, stop_above=0.05)
    checker.check_batch(_batch(10, 1))
    for _ in range(2):
        with pytest.raises(TooManyInvalidError, match="over the whole stream"):
            checker.end()
    never = _checker(tmp_path, stop_above=None)
    never.check_batch(_batch(10, 10))
    never.end()


def test_a_resumed_run_decides_alike(tmp_path: Path) -> None:
    """Counts restored from a state stop a run at the same record as one that was never interrupted."""
    first = _checker(tmp_path, stop_above=0.05)
    first.check_batch(_batch(900, 60))
    resumed = _checker(tmp_path, stop_above=0.05)
    resumed.restart(Counts.from_state(first.counts.to_state()))
    with pytest.raises(TooManyInvalidError, match="60 of 1,000"):
        resumed.check_batch(_batch(100, 0))
    again = _checker(tmp_path)
    again.restart(Counts.from_state(first.counts.to_state()))
    again.check_batch(_batch(32, 32))  # no first batch: the run is under way


@pytest.mark.parametrize(
    ("label", "batch", "cause"),
    [
        ({}, {"label": np.arange(64) % 10 + 1}, "1-based"),
        ({}, {"label": np.where(np.arange(64) % 2, 255, 3)}, "255"),
        ({}, {"label": np.where(np.arange(64) % 2, -100, 3)}, "-100"),
        ({}, {"label": np.where(np.arange(64) % 2, -1, 3)}, "-1"),
        ({"dtype": "int64"}, {"label": np.arange(64, dtype=np.float32) % 10}, "float32"),
    ],
)
def test_the_error_carries_a_diagnosis(
    tmp_path: Path, label: dict[str, Any], batch: dict[str, Any], cause: str
) -> None:
    """TooManyInvalidError gives the likely cause, the record and the legal set, and survives pickling."""
    checker = _checker(tmp_path, label, stop_above=0.05)
    batch = {name: np.tile(array, 20) for name, array in batch.items()}
    batch[KEY] = np.arange(len(batch["label"]))
    with pytest.raises(TooManyInvalidError) as caught:
        checker.check_batch(batch)
    message = str(pickle.loads(pickle.dumps(caught.value)))
    assert "Likely cause: label: " in message
    assert cause in message.split("Likely cause")[1]
    assert "record " in message


def test_raise_names_records(tmp_path: Path) -> None:
    """InvalidLabelError carries violations with record keys, and exact counts."""
    checker = _checker(tmp_path, on_invalid="raise")
    with pytest.raises(InvalidLabelError) as caught:
        checker.check_batch(_batch(40, 20, start=100))
    assert [violation.record for violation in caught.value.violations] == ["100", "101", "102", "103", "104"]
    assert caught.value.counts == {"LG101": 20}
    assert "20 of 40 records are bad" in str(caught.value)


def test_logs_are_rate_limited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first bad record is logged with its key and reason, and no more within the minute; the end sums up."""
    checker = _checker(tmp_path, stop_above=None)
    with caplog.at_level(logging.INFO, logger="label_guard"):
        for start in range(5):
            checker.check_batch(_batch(10, 1, start=start * 10))
        checker.end()
        checker.end()
    first, last = caplog.messages
    assert "LG101 label: record 0: 99, expected [0, 10)" in first
    assert "seen 50 = " in last


def test_nothing_is_opened_without_need(tmp_path: Path) -> None:
    """No folder appears before the first bad record."""
    checker = _checker(tmp_path)
    checker.check_batch(_batch(10, 0))
    checker.close()
    assert not (tmp_path / "q").exists()


def test_a_list_of_labels_is_read_once_however_many_are_bad(tmp_path: Path) -> None:
    """The cost of a batch grows with its records: its list of labels is not read again for each bad one."""

    class Counted(list[int]):
        reads = 0

        def __iter__(self) -> Any:
            self.reads += 1
            return super().__iter__()

    reads: list[int] = []
    for bad in (1, 40):
        labels = Counted([99] * bad + [0] * (64 - bad))
        _checker(tmp_path, stop_above=None).check_batch({"label": labels, KEY: np.arange(64) + bad})
        reads.append(labels.reads)
    assert reads[0] == reads[1] < 20
    assert len(read_quarantine(str(tmp_path / "q")).entries) == 41
