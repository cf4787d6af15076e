"""The likely cause in the error that stops a run: its places, its counts, and the change that it suggests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from label_guard import ClassLabel, TooManyInvalidError, guard_batches
from label_guard.core.types import Array

BATCH = 64


def stop_error(labels: dict[str, Array], *, done: int = 0, stop_above: float = 0.01) -> str:
    """The error that stops a run over ``labels``; ``done``: batches before a restart from a checkpoint."""

    def batches() -> Iterator[dict[str, Array]]:
        size = len(next(iter(labels.values())))
        for start in range(0, size, BATCH):
            yield {path: values[start : start + BATCH] for path, values in labels.items()}

    schema = {path: ClassLabel(num_classes=10) for path in labels}
    guarded = guard_batches(batches(), schema, on_invalid="mask", stop_above=stop_above)
    if done:
        for _, _batch in zip(range(done), guarded, strict=False):
            pass
        state = guarded.state()
        guarded = guard_batches(batches(), schema, on_invalid="mask", stop_above=stop_above)
        guarded.restore(state)
    with pytest.raises(TooManyInvalidError) as caught:
        for _ in guarded:
            pass
    return str(caught.value)


def ids(seed: int, size: int, classes: int = 10) -> Array:
    """Class ids, as likely one as the other."""
    return np.random.default_rng(seed).integers(0, classes, size)


@pytest.mark.parametrize("start", [9_984, 40_000, 150_000])
def test_ids_that_move_late_in_a_run_are_no_added_class(start: int) -> None:
    """Where the next id is in the last part of a run alone, these may count from 1: nothing is to be changed."""
    values = ids(start, start + 20_000)
    values[start:] += 1
    error = stop_error({"y": values})
    assert "this block follows another convention or is corrupt" in error
    assert "change the schema" not in error
    assert "of this run" in error


def test_a_corrupt_batch_is_said_to_be_a_block() -> None:
    """One batch of another value after 300 clean ones is a block by its records, and no other set of classes."""
    values = ids(1, 301 * BATCH)
    values[-BATCH:] = 77
    error = stop_error({"y": values}, stop_above=0.003)
    assert "all 64 illegal values are in a run of 64 of 19,264 records, from record 19,201 to record 19,264" in error


@pytest.mark.parametrize("done", [0, 300])
def test_a_class_that_occurs_all_along_is_suggested(done: int) -> None:
    """One class more, everywhere in the run or in what was seen since a checkpoint, stays a change to suggest."""
    values = ids(2, 40_000, 11)
    if done:
        values[: done * BATCH] = ids(3, done * BATCH)
    assert 'change the schema: {"num_classes": 11}' in stop_error({"y": values}, done=done)


def test_counts_from_a_sample_are_said_to_be_estimates() -> None:
    """Counts are exact where all batches were counted; in a longer run, of which some are, the error says so."""
    for size, estimated in ((2_048, False), (64_000, True)):
        values = ids(4, size)
        values[-200:] = -1
        error = stop_error({"y": values}, stop_above=150 / size)
        assert ("counts estimated from a sample of the run" in error) == estimated, error


def test_records_without_a_label_are_skipped_only_where_it_is_alone() -> None:
    """``on_unlabeled: skip`` is suggested where a record has one label, never where it would lose another."""
    values = np.where(np.random.default_rng(5).random(4_096) < 0.1, -1, ids(5, 4_096))
    assert '"on_unlabeled": "skip"' in stop_error({"y": values})
    both = stop_error({"y": values, "z": ids(6, 4_096)})
    assert '"unlabeled": -1' in both
    assert '"on_unlabeled": "replace"' in both
