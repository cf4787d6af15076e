"""Ctrl-C, or a signal handler that raises, at any point within ``next``: nothing is lost, going on or resuming."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, guard_batches, read_quarantine
from label_guard.grain import guard_labels, keyed, summary

LABELS = {"label": ClassLabel(num_classes=10)}
BAD = {3, 9, 10, 17}
RECORDS = [{"label": np.int64(99 if k in BAD else k % 10), "id": np.int64(k)} for k in range(24)]
POINTS = 40  # of each case
_CLOSING = ("close", "__del__", "<genexpr>")  # also entered where Python only prints what is raised, and goes on


class _Interrupt:
    """Raises KeyboardInterrupt where a function of the package is entered: there Python runs signal handlers too."""

    def __init__(self, point: int | None = None) -> None:
        self.point, self.passed = point, 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or "/label_guard/" not in code.co_filename or code.co_name in _CLOSING:
            return
        self.passed += 1
        if self.passed == self.point:
            sys.settrace(None)
            raise KeyboardInterrupt


def _pipeline(form: str, policy: Any, folder: Path) -> Any:
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": folder, "stop_above": None}
    if form == "guard_batches":
        return guard_batches(RECORDS, LABELS, batched=False, batch_size=4, **options)
    read = grain.MapDataset.source(keyed(RECORDS, name="d")).to_iter_dataset(grain.ReadOptions(0, 0))
    if form == "batches":
        return iter(read.batch(4).pipe(guard_labels, LABELS, **options))
    own = {"batch_size": 4} if form == "records" else {"batched": False}
    return iter(read.pipe(guard_labels, LABELS, **own, **options))


def _read(make: Callable[[], Any], interrupt: _Interrupt, *, resumes: bool) -> tuple[list[int], Any]:
    """The records of a whole pass, with ``interrupt`` in one of its steps but the last; and its summary."""
    iterator, ids = make(), list[int]()
    while True:
        if len(ids) < len(RECORDS) - len(BAD):
            sys.settrace(interrupt)
        try:
            element = next(iterator)
        except StopIteration:
            return ids, iterator.summary if hasattr(iterator, "summary") else summary(iterator)
        except KeyboardInterrupt:
            if resumes:
                iterator = _resumed(make(), iterator)
        else:
            ids += np.atleast_1d(element["id"]).tolist()
        finally:
            sys.settrace(None)


def _resumed(new: Any, old: Any) -> Iterator[Any]:
    if hasattr(new, "set_state"):
        new.set_state(old.get_state())
    else:
        new.restore(old.state())
    return new


@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("form", ["records", "batches", "records out", "guard_batches"])
def test_an_interrupt_loses_no_record(tmp_path: Path, form: str, policy: str, resumes: bool) -> None:
    """Each record is delivered once and each bad one is in the quarantine, whether the loop goes on or is resumed."""
    counter = _Interrupt()
    expected, counts = _read(lambda: _pipeline(form, policy, tmp_path / "whole"), counter, resumes=False)
    assert len(expected) == len(RECORDS) - (len(BAD) if policy == "drop" else 0)
    for point in np.linspace(1, counter.passed, POINTS, dtype=int).tolist():
        folder = tmp_path / str(point)
        ids, found = _read(lambda folder=folder: _pipeline(form, policy, folder), _Interrupt(point), resumes=resumes)
        assert ids == expected, point
        assert (found.seen, found.invalid, found.is_conserved) == (counts.seen, counts.invalid, True), point
        assert sorted(int(entry.payload["id"]) for entry in read_quarantine(folder).entries) == sorted(BAD), point
