"""The guard around any loader: batches, records, generators, Grain iterators; state and restore."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import guard_batches
from label_guard.errors import InvalidLabelError, SchemaChangedError, UsageError
from label_guard.quarantine.reader import read_quarantine
from label_guard.schema.dataset import DatasetSchema
from label_guard.testing import assert_conserved


def _schema(num_classes: int = 10) -> DatasetSchema:
    fields = {"kind": "class_label", "num_classes": num_classes}
    return DatasetSchema.model_validate(
        {"format": 1, "name": "digits", "version": "1.0.0", "labels": {"label": fields}}
    )


def _batches(number: int = 10) -> list[dict[str, Any]]:
    """Batches of 4; the second record of each third batch is bad."""
    found = [{"id": np.arange(4 * k, 4 * k + 4), "label": np.arange(4)} for k in range(number)]
    for batch in found[::3]:
        batch["label"] = np.array([0, 55, 2, 3])
    return found


def _options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"quarantine": str(folder / "q"), "stop_above": None, **more}


def test_batches_of_a_loader(tmp_path: Path) -> None:
    """Batches are topped up; the summary counts every record; the bad ones are in the quarantine."""
    guarded = guard_batches(_batches(), _schema(), **_options(tmp_path))
    sizes = [len(batch["id"]) for batch in guarded]
    assert sizes == [4] * 9
    assert (guarded.summary.seen, guarded.summary.delivered, guarded.summary.quarantined) == (40, 36, 4)
    assert_conserved(guarded.summary)
    assert len(read_quarantine(str(tmp_path / "q")).entries) == 4
    guarded.close()


def test_records_of_a_generator(tmp_path: Path) -> None:
    """Records of a generator are stacked into batches."""
    records = ({"id": k, "label": 55 if k == 2 else k % 10} for k in range(7))
    guarded = guard_batches(records, _schema(), batch_size=3, **_options(tmp_path))
    assert [batch["id"].tolist() for batch in guarded] == [[0, 1, 3], [4, 5, 6]]


@pytest.mark.parametrize("steps", range(9))
def test_restore(tmp_path: Path, steps: int) -> None:
    """A new guard over the same loader goes on after the last batch; over a fresh generator too."""
    straight = [batch["id"].tolist() for batch in guard_batches(_batches(), _schema(), **_options(tmp_path))]
    guarded = guard_batches(_batches(), _schema(), **_options(tmp_path))
    for _ in range(steps):
        next(guarded)
    state = json.loads(json.dumps(guarded.state()))
    for loader in (_batches(), (batch for batch in _batches())):
        resumed = guard_batches(loader, _schema(), **_options(tmp_path))
        resumed.restore(state)
        assert [batch["id"].tolist() for batch in resumed] == straight[steps:]
        assert_conserved(resumed.summary)
        assert resumed.summary.seen == 40


def test_a_generator_cannot_go_back(tmp_path: Path) -> None:
    """Restoring an earlier place into a generator under way is an error with the remedy; too short a loader as well."""
    guarded = guard_batches((batch for batch in _batches()), _schema(), **_options(tmp_path))
    next(guarded)
    state = guarded.state()
    next(guarded)
    with pytest.raises(UsageError, match="fresh iterable"):
        guarded.restore(state)
    late = guard_batches(_batches(), _schema(), **_options(tmp_path))
    list(late)
    with pytest.raises(UsageError, match="ends at 2"):
        guard_batches(_batches(2), _schema(), **_options(tmp_path)).restore(late.state())


def test_states_that_do_not_fit(tmp_path: Path) -> None:
    """A state of something else, or made under other rules, is refused."""
    guarded = guard_batches(_batches(), _schema(), **_options(tmp_path))
    with pytest.raises(UsageError, match="not a state of guard_batches"):
        guarded.restore({"next_index": 3})
    with pytest.raises(SchemaChangedError):
        guard_batches(_batches(), _schema(12), **_options(tmp_path)).restore(guarded.state())


def _loader(size: int) -> list[dict[str, Any]]:
    """40 records of which some are bad, one by one where ``size`` is 0, else in batches."""
    labels = np.where(np.arange(40) % 7 == 3, 55, np.arange(40) % 10)
    if not size:
        return [{"id": k, "label": labels[k]} for k in range(40)]
    return [{"id": np.arange(k, min(40, k + size)), "label": labels[k : k + size]} for k in range(0, 40, size)]


@pytest.mark.parametrize("policy", ["drop", "mask", "report"])
@pytest.mark.parametrize("sizes", [(a, b) for a in (0, 1, 3, 4, 8) for b in (0, 1, 3, 4, 8)])
def test_restore_over_other_elements(tmp_path: Path, policy: Any, sizes: tuple[int, int]) -> None:
    """A loader with another batch size, or of records in place of batches: every record once, or an error."""
    options = _options(tmp_path, on_invalid=policy)

    def guard(size: int) -> Any:
        return guard_batches(_loader(size), _schema(), batched=size > 0, batch_size=size or 4, **options)

    for steps in range(4):
        first, second = guard(sizes[0]), guard(sizes[1])
        ids = [k for _ in range(steps) for k in next(first)["id"].tolist()]
        try:
            second.restore(first.state())
        except UsageError:
            assert sizes[0] != sizes[1]
            continue
        ids += [k for batch in second for k in batch["id"].tolist()]
        dropped = [k for k in range(40) if k % 7 == 3] if policy == "drop" else []
        assert sorted(ids) == sorted(set(range(40)) - set(dropped))


def test_raise_tries_again(tmp_path: Path) -> None:
    """After an error the next call refuses the same batch again, and nothing is skipped."""
    guarded = guard_batches(_batches(), _schema(), on_invalid="raise")
    for _ in range(2):
        with pytest.raises(InvalidLabelError):
            next(guarded)
    assert guarded.summary.refused == 4
    assert guarded.state()["parent"] == {"read": 0, "rows": 0}


def test_a_loader_that_restarts(tmp_path: Path) -> None:
    """A loader that is iterated again each epoch is guarded epoch by epoch."""

    class Loader:
        def __iter__(self) -> Iterator[Any]:
            return iter(_batches(4))

    for _ in range(2):
        assert len(list(guard_batches(Loader(), _schema(), **_options(tmp_path)))) == 4
    assert len(read_quarantine(str(tmp_path / "q")).entries) == 2


def test_a_grain_iterator(tmp_path: Path) -> None:
    """An iterator with a state of its own is set, not read up to its place."""
    records = [{"id": np.int64(k), "label": np.int64(k % 10)} for k in range(20)]
    ds = grain.MapDataset.source(records).to_iter_dataset(grain.ReadOptions(0, 0))
    guarded = guard_batches(iter(ds), _schema(), batch_size=5, **_options(tmp_path))
    next(guarded)
    resumed = guard_batches(iter(ds), _schema(), batch_size=5, **_options(tmp_path))
    resumed.restore(guarded.state())
    assert next(resumed)["id"].tolist() == [5, 6, 7, 8, 9]


def test_report_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A dry run says at its start and its end that bad labels are delivered."""
    with caplog.at_level(logging.WARNING, logger="label_guard"):
        guarded = guard_batches(_batches(), _schema(), on_invalid="report", **_options(tmp_path))
        assert sum(int((batch["label"] > 9).sum()) for batch in guarded) == 4
    assert "DELIVERED" in caplog.messages[0]
    assert "4 delivered records are bad" in caplog.messages[-1]


@pytest.mark.parametrize("policy", ["mask", "drop"])
def test_each_iter_is_an_epoch(tmp_path: Path, policy: str) -> None:
    """A loader that can be iterated again yields its batches in every epoch; the counts go on and stay conserved."""
    guarded = guard_batches(_batches(), _schema(), **_options(tmp_path, on_invalid=policy))
    epochs = [[batch["id"].tolist() for batch in guarded] for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2] != []
    assert guarded.summary.seen == 120
    assert_conserved(guarded.summary)


@pytest.mark.parametrize("taken", [1, 2, 5])
def test_an_epoch_that_was_left_early(tmp_path: Path, taken: int) -> None:
    """After a break the next loop begins at the first batch; records read ahead are counted as left out."""
    guarded = guard_batches(_batches(), _schema(), **_options(tmp_path))
    first = [batch["id"].tolist() for batch, _ in zip(guarded, range(taken), strict=False)]
    again = [batch["id"].tolist() for batch in guarded]
    assert again[:taken] == first
    assert len(again) == 9
    assert_conserved(guarded.summary)


def test_a_restored_epoch_is_followed_by_whole_ones(tmp_path: Path) -> None:
    """After restore the first loop goes on, in any epoch; the next one begins at the first batch."""
    guarded = guard_batches(_batches(), _schema(), **_options(tmp_path, on_invalid="mask"))
    list(guarded)
    epoch = iter(guarded)
    for _ in range(4):
        next(epoch)
    state = json.loads(json.dumps(guarded.state()))
    resumed = guard_batches(_batches(), _schema(), **_options(tmp_path, on_invalid="mask"))
    resumed.restore(state)
    assert [len(list(resumed)) for _ in range(2)] == [6, 10]
    resumed.restore(state)
    assert len(list(resumed)) == 6


def test_a_second_epoch_over_an_iterator_is_refused(tmp_path: Path) -> None:
    """What can be iterated only once is refused in the second loop, with what to pass instead."""
    grain_iterator = iter(grain.MapDataset.source(_batches()).to_iter_dataset(grain.ReadOptions(0, 0)))
    for loader in (iter(_batches()), (batch for batch in _batches()), grain_iterator):
        guarded = guard_batches(loader, _schema(), batched=True, **_options(tmp_path))
        assert len(list(guarded)) == 9
        with pytest.raises(UsageError, match="only once"):
            list(guarded)
    guarded = guard_batches(iter(_batches()), _schema(), **_options(tmp_path))
    for _ in range(9):
        next(guarded)
    assert next(guarded, None) is None
    with pytest.raises(UsageError, match="only once"):
        list(guarded)


def test_two_loops_at_once_are_refused(tmp_path: Path) -> None:
    """An iterator of an earlier epoch says so instead of taking batches from the later one."""
    guarded = guard_batches(_batches(), _schema(), **_options(tmp_path))
    early = iter(guarded)
    next(early)
    late = iter(guarded)
    next(late)
    with pytest.raises(UsageError, match="another iter"):
        next(early)


def test_the_length_is_that_of_an_epoch(tmp_path: Path) -> None:
    """len() is the number of batches where the loader has a length, else a TypeError as for any iterator."""
    records = [{"label": np.int64(1)}] * 10
    for remainder, expected in (("short", 3), ("pad", 3), ("drop", 2)):
        options = _options(tmp_path, batch_size=4, remainder=remainder, on_invalid="mask")
        guarded = guard_batches(records, _schema(), **options)
        assert len(guarded) == expected == len(list(guarded))
    guarded = guard_batches(_batches(), _schema(), **_options(tmp_path, on_invalid="mask"))
    assert len(guarded) == 10 == len(list(guarded))
    with pytest.raises(TypeError):
        len(guard_batches(iter(records), _schema(), on_invalid="mask"))


@pytest.mark.parametrize("wrong", ["digits.yaml", _schema(), {"train": [], "test": []}, 7, None])
def test_what_is_not_a_loader_is_refused(wrong: Any) -> None:
    """Arguments in the wrong order, a dict of splits and a single batch are refused before the first element."""
    with pytest.raises(UsageError, match=r"guard_batches got .* first argument"):
        guard_batches(wrong, _schema(), on_invalid="mask")


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("steps", range(12))
def test_restore_over_epochs(tmp_path: Path, policy: str, steps: int) -> None:
    """A state between two epochs goes on with the next one, as the loop that was not interrupted did."""

    def epochs(guarded: Any, first: int) -> Iterator[tuple[int, list[int] | None, str]]:
        for epoch in range(first, 3):
            for batch in guarded:
                yield epoch, batch["id"].tolist(), json.dumps(guarded.state())
            yield epoch, None, json.dumps(guarded.state())

    options = _options(tmp_path, on_invalid=policy)
    whole = list(epochs(guard_batches(_batches(5), _schema(), **options), 0))
    epoch, ids, state = whole[steps]
    again = guard_batches(_batches(5), _schema(), **options)
    again.restore(json.loads(state))
    resumed = list(epochs(again, epoch + (ids is None)))
    assert [found[:2] for found in resumed] == [found[:2] for found in whole[steps + 1 :]]
    assert again.summary.seen == 60


class _TorchLike(list[Any]):
    """A loader that names its choice as PyTorch's does, by itself or by its sampler of batches."""

    drop_last = False
    batch_sampler: Any = None


class _Sampler:
    drop_last = True


@pytest.mark.parametrize("by", ["itself", "its sampler", "neither"])
@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_drop_last_of_a_loader_is_kept(tmp_path: Path, policy: str, by: str) -> None:
    """A loader that leaves out an incomplete last batch goes on doing so when the guard takes records out."""
    loader = _TorchLike(_batches(5))
    loader.drop_last, loader.batch_sampler = by == "itself", _Sampler() if by == "its sampler" else None
    guarded = guard_batches(loader, _schema(), on_invalid=policy, **_options(tmp_path))
    left = [2] if by == "neither" else []
    assert [len(batch["id"]) for batch in guarded] == ([4] * 4 + left if policy == "drop" else [4] * 5)
    assert guarded.summary.remainder == (2 if policy == "drop" and not left else 0)
    given = guard_batches(loader, _schema(), remainder="short", **_options(tmp_path))
    assert [len(batch["id"]) for batch in given] == [4] * 4 + [2]
    single = guard_batches(loader, _schema(), batched=False, on_invalid="raise")  # no remainder of single records
    assert "GuardedBatches" in repr(single)
