"""Restoring a checkpoint under other options: no record is lost or delivered twice, or the restore is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import (
    ClassLabel,
    DatasetSchema,
    SchemaChangedError,
    TooManyInvalidError,
    UsageError,
    guard_batches,
)
from label_guard.grain import guard_labels, strip_state, summary
from label_guard.quarantine.reader import read_quarantine
from label_guard.testing import assert_conserved

SCHEMA = DatasetSchema.model_validate(
    {
        "format": 1,
        "name": "n",
        "version": "1.0.0",
        "labels": {"y": {"kind": "class_label", "num_classes": 10}},
        "views": {"late": {"labels": {"y": {"num_classes": 5}}}},
    }
)
COUNT = 40
BAD = {3, 12, 13, 14, 30}
DATA = [{"id": np.int64(k), "y": np.int64(77 if k in BAD else k % 10)} for k in range(COUNT)]
# form, batch size; "single" has none
PLACES = [("batches", 8), ("batches", 5), ("records", 8), ("records", 5), ("single", None)]
WAYS = list(itertools.product(PLACES, ["drop", "mask", "report"]))


def pipeline(place: tuple[str, int | None], policy: str, folder: Path, **options: Any) -> Any:
    """A Grain pipeline with the guard after a batch, in place of it, or on single records."""
    form, size = place
    dataset = grain.MapDataset.source(DATA).to_iter_dataset(grain.ReadOptions(0, 0))
    own: dict[str, Any] = {"on_invalid": policy, "quarantine": str(folder), "stop_above": None, **options}
    if form == "batches":
        dataset = dataset.batch(size)
    elif form == "records":
        own["batch_size"] = size
    else:
        own["batched"] = False
    return dataset.pipe(guard_labels, SCHEMA, **own)


def valid_ids(batch: dict[str, Any]) -> list[int]:
    """Ids of the delivered records, those that are False in the mask left out."""
    ids = np.atleast_1d(batch["id"])
    return ids[np.atleast_1d(batch.get("y_valid", np.ones(len(ids), bool)))].tolist()


@pytest.mark.parametrize(("before", "after"), [*itertools.product(WAYS, WAYS)], ids=str)
def test_every_pair_of_policy_form_and_batch_size(tmp_path: Path, before: Any, after: Any) -> None:
    """Every valid record is delivered exactly once over both runs, or the restore says what changed."""
    iterator = iter(pipeline(*before, tmp_path))
    delivered: list[int] = []
    for _ in range(2 if before[0][1] else 14):
        delivered += valid_ids(next(iterator))
    state = json.loads(json.dumps(iterator.get_state()))
    again = iter(pipeline(*after, tmp_path))
    try:
        again.set_state(state)
    except UsageError as error:
        assert "restore" in str(error)  # noqa: PT017
        assert state["label_guard"]["pending"]
        return
    for batch in again:
        delivered += valid_ids(batch)
    good = [k for k in delivered if k not in BAD]
    assert sorted(good) == [k for k in range(COUNT) if k not in BAD]
    assert {int(entry.payload["id"]) for entry in read_quarantine(str(tmp_path)).entries} == BAD
    total = summary(again)
    assert_conserved(total)
    assert (total.seen, total.pending) == (COUNT, 0)


@pytest.mark.parametrize("remainder", ["short", "drop", "pad"])
@pytest.mark.parametrize("policy", ["drop", "mask", "report", "raise"])
def test_records_read_ahead_come_first(tmp_path: Path, policy: str, remainder: str) -> None:
    """What drop read ahead is delivered under every policy and remainder, or refused with what to do."""
    batches = [
        {"id": np.arange(k, k + 8), "y": np.array([77 if i == 3 else i % 10 for i in range(k, k + 8)])}
        for k in range(0, 40, 8)
    ]
    options: dict[str, Any] = {"quarantine": tmp_path, "stop_above": None, "batched": True}
    first = guard_batches(batches, SCHEMA, on_invalid="drop", **options)
    delivered = next(first)["id"].tolist()
    again = guard_batches(batches, SCHEMA, on_invalid=policy, remainder=remainder, **options)
    if remainder == "drop" and policy in ("report", "raise"):
        with pytest.raises(UsageError, match=r"7 records that .* read ahead"):
            again.restore(first.state())
        return
    again.restore(first.state())
    assert_conserved(again.summary)
    sizes = []
    for batch in again:
        delivered += valid_ids(batch)
        sizes.append(len(batch["id"]))
    lost = 7 if (policy, remainder) == ("drop", "drop") else 0
    assert len(delivered) == 39 - lost
    assert again.summary.remainder == lost
    assert again.summary.pending == 0
    if policy == "mask" or remainder == "pad":
        assert set(sizes) == {8}, "static shapes hold where there is a mask"


def test_what_changed_is_in_the_message(tmp_path: Path) -> None:
    """Other label rules, another batch size before the guard, another pipeline: each is refused by name."""
    iterator = iter(pipeline(("batches", 8), "drop", tmp_path))
    next(iterator)
    state = iterator.get_state()
    with pytest.raises(SchemaChangedError, match=r"n 1.0.0, split \w+ .*this guard checks .*view late"):
        iter(pipeline(("batches", 8), "drop", tmp_path, view="late")).set_state(state)
    with pytest.raises(UsageError, match="records of a batch of 8, and now upstream yields"):
        iter(pipeline(("batches", 16), "drop", tmp_path)).set_state(state)
    with pytest.raises(UsageError, match="another pipeline"):
        guard_batches([], SCHEMA, on_invalid="mask", batched=True).restore(state)


@pytest.mark.parametrize("inside", [True, False])
def test_another_number_of_workers_is_refused(tmp_path: Path, inside: bool) -> None:
    """Grain gives each worker a share by their number, so a state of two workers is not one of three or none."""

    def made(workers: int) -> Any:
        dataset = grain.MapDataset.source(DATA).to_iter_dataset(grain.ReadOptions(0, 0))
        options: dict[str, Any] = {"on_invalid": "mask", "stop_above": None}
        prefetch = grain.MultiprocessingOptions(num_workers=workers)
        if inside:
            return dataset.pipe(guard_labels, SCHEMA, batch_size=4, **options).mp_prefetch(prefetch)
        return dataset.batch(4).mp_prefetch(prefetch).pipe(guard_labels, SCHEMA, **options)

    iterator = iter(made(2))
    for _ in range(2):
        next(iterator)
    state = iterator.get_state()
    iterator.close()
    again = iter(made(0))
    with pytest.raises(UsageError, match="another pipeline" if inside else "with 2 worker processes"):
        again.set_state(state)
    if not inside:  # inside, the workers refuse it, when they start
        with pytest.raises(UsageError, match="with 2 worker processes and this pipeline has 3"):
            iter(made(3)).set_state(state)


def test_a_state_without_the_guard(tmp_path: Path) -> None:
    """strip_state gives a state for the pipeline without the guard, and a state from before the guard is taken."""
    iterator = iter(pipeline(("records", 8), "drop", tmp_path))
    next(iterator)
    plain = grain.MapDataset.source(DATA).to_iter_dataset(grain.ReadOptions(0, 0)).batch(8)
    bare = iter(plain)
    bare.set_state(strip_state(iterator.get_state()))
    assert next(bare)["id"][0] == 9
    guarded = iter(pipeline(("records", 8), "drop", tmp_path))
    guarded.set_state(bare.get_state())
    assert next(guarded)["id"][0] == 17


@pytest.mark.parametrize("form", ["records", "batches", "single"])
def test_limits_begin_again_under_corrected_rules(tmp_path: Path, form: str) -> None:
    """A run that stopped at a share of invalid records goes on once the schema accepts them, and stops for new ones."""

    def guarded(classes: int, bad: int, **options: Any) -> Any:
        labels = [bad if k > 2_000 and k % 2 else k % 11 for k in range(4_000)]
        records: Any = [{"y": np.int64(y), "id": np.int64(k)} for k, y in enumerate(labels)]
        if form == "batches":
            records = [{"y": np.array(labels[k : k + 50]), "id": np.arange(k, k + 50)} for k in range(0, 4_000, 50)]
        size = {"batch_size": 50} if form == "records" else {}
        schema = {"y": ClassLabel(num_classes=classes)}
        return guard_batches(
            records, schema, batched=form == "batches", quarantine=str(tmp_path / "q"), **size, **options
        )

    stopped = guarded(10, 0)
    with pytest.raises(TooManyInvalidError):
        list(stopped)
    resumed = guarded(11, 0, allow_schema_change=True)
    resumed.restore(stopped.state())
    list(resumed)
    assert_conserved(resumed.summary)
    assert resumed.summary.seen == 4_000
    again = guarded(11, 99, allow_schema_change=True)
    again.restore(stopped.state())
    with pytest.raises(TooManyInvalidError):
        list(again)


@pytest.mark.parametrize("sizes", [(4, 8), (8, 4)])
@pytest.mark.parametrize("policy", ["drop", "mask", "raise", "report"])
def test_another_size_of_full_batches(tmp_path: Path, policy: str, sizes: tuple[int, int]) -> None:
    """After .batch(N, drop_remainder=True) the batches of another N go on as Grain's own would; none is left out."""
    data = [{"id": np.int64(k), "y": np.int64(k % 10)} for k in range(40)]

    def batched(size: int) -> Any:
        return grain.MapDataset.source(data).to_iter_dataset(grain.ReadOptions(0, 0)).batch(size, drop_remainder=True)

    plain = [iter(batched(size)) for size in sizes]
    next(plain[0])
    plain[1].set_state(plain[0].get_state())
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": str(tmp_path)}
    first, second = (iter(batched(size).pipe(guard_labels, SCHEMA, **options)) for size in sizes)
    next(first)
    second.set_state(json.loads(json.dumps(first.get_state())))
    assert [batch["id"].tolist() for batch in second] == [batch["id"].tolist() for batch in plain[1]]
    assert summary(second).remainder == 0


@pytest.mark.parametrize("policy", ["mask", "raise", "report"])
def test_other_sizes_under_remainder_drop(tmp_path: Path, policy: str) -> None:
    """A loader does not show its batch size: larger batches go on, a stream of smaller ones asks for batch_size=.

    They go on at the same record, so that none is lost; where no batch ends there it is an error.
    """

    def guarded(size: int, count: int = 48, **more: Any) -> Any:
        batches = [{"y": np.arange(size) % 10} for _ in range(count // size)]
        return guard_batches(batches, SCHEMA, on_invalid=policy, remainder="drop", batched=True, **more)

    first = guarded(8)
    next(first)
    with pytest.raises(UsageError, match="8 records were read when the state was made, and now no batch ends there"):
        guarded(16).restore(first.state())
    next(first)
    for size, more in [(16, {}), (4, {"batch_size": 4}), (8, {})]:
        again = guarded(size, **more)
        again.restore(first.state())
        assert [len(batch["y"]) for batch in again] == [size] * ((48 - 16) // size)
    again = guarded(4)
    again.restore(first.state())
    with pytest.raises(UsageError, match=r"with batches of 8 records.*batches of 4 that come now: pass batch_size="):
        list(again)
    last = guarded(4, 20)  # one short batch is the last one
    last.restore(first.state())
    assert not list(last)
    assert last.summary.remainder == 4
