"""coordinated=True: no host raises within a step; the stop is reported, and masked batches come until then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import guard_batches
from label_guard.errors import InvalidLabelError, LabelGuardError, TooManyInvalidError, UsageError
from label_guard.grain import data_loader_operations, guard_labels, stop_requested, summary
from label_guard.jax import sync_stop
from label_guard.testing import assert_conserved
from tests.schemas import one_label

SCHEMA = one_label("y", 4)
SIZE = 4


def records(bad_from: int = 9, count: int = 32) -> list[dict[str, Any]]:
    """Records of which those from ``bad_from`` on are bad."""
    return [{"x": np.full(2, k), "y": np.int64(k % 4 if k < bad_from else 4)} for k in range(count)]


def batched(data: list[dict[str, Any]], **options: Any) -> Any:
    """The guard after ``.batch``."""
    return grain.MapDataset.source(data).to_iter_dataset().batch(SIZE).pipe(guard_labels, SCHEMA, **options)


def stacked(data: list[dict[str, Any]], **options: Any) -> Any:
    """The guard in place of ``.batch``."""
    return grain.MapDataset.source(data).to_iter_dataset().pipe(guard_labels, SCHEMA, batch_size=SIZE, **options)


FORMS = pytest.mark.parametrize("form", [batched, stacked])


@FORMS
def test_after_the_end_the_last_good_batch_comes_masked_out(form: Callable[..., Any]) -> None:
    """What raise would have raised is reported; from then on the last good batch comes, fully masked."""
    iterator = iter(form(records(), on_invalid="raise", coordinated=True))
    good = [next(iterator) for _ in range(2)]
    assert stop_requested(iterator) is None
    assert all(batch["y_valid"].all() for batch in good)
    for _ in range(5):
        batch = next(iterator)
        assert not batch["y_valid"].any()
        np.testing.assert_array_equal(batch["y"], good[-1]["y"])
        np.testing.assert_array_equal(batch["x"], good[-1]["x"])
    assert isinstance(stop_requested(iterator), InvalidLabelError)
    assert good[-1]["y_valid"].all(), "what was delivered is not written"


@FORMS
def test_a_bad_first_batch_is_stood_in_for(form: Callable[..., Any]) -> None:
    """Before anything good was seen, a batch of the right form comes, legal and masked out."""
    iterator = iter(form(records(bad_from=0), on_invalid="raise", coordinated=True))
    batch = next(iterator)
    assert (batch["x"].shape, batch["y"].shape, batch["y_valid"].shape) == ((SIZE, 2), (SIZE,), (SIZE,))
    assert ((batch["y"] >= 0) & (batch["y"] < 4)).all()
    assert not batch["y_valid"].any()
    assert isinstance(stop_requested(iterator), InvalidLabelError)


@FORMS
def test_records_stay_accounted_for(form: Callable[..., Any]) -> None:
    """Batches that are masked out are not delivered again: what was refused is counted once."""
    iterator = iter(form(records(), on_invalid="raise", coordinated=True))
    for _ in range(6):
        next(iterator)
    found = summary(iterator)
    assert (found.seen, found.delivered, found.refused) == (12, 8, 4)
    assert_conserved(found)


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"on_invalid": "drop", "stop_above": 0.05}, TooManyInvalidError), ({"on_invalid": "mask"}, TooManyInvalidError)],
)
@FORMS
def test_every_terminal_condition_is_reported(
    form: Callable[..., Any], tmp_path: Path, options: dict[str, Any], kind: type[LabelGuardError]
) -> None:
    """A share of bad records above the limit stops as a bad record under raise does."""
    data = records(bad_from=1, count=400)
    iterator = iter(form(data, quarantine=tmp_path / "q", coordinated=True, **options))
    for batch in iterator:
        assert not stop_requested(iterator) or not batch["y_valid"].any()
    assert isinstance(stop_requested(iterator), kind)


def test_a_quarantine_that_cannot_be_written_stops_all_hosts(tmp_path: Path) -> None:
    """The disk of one host that fails does not make the others hang."""
    iterator = iter(stacked(records(), on_invalid="drop", stop_above=None, quarantine=tmp_path / "q", coordinated=True))
    (tmp_path / "q").write_text("a file where the folder should be")
    for _ in range(3):
        batch = next(iterator)
    assert type(stop_requested(iterator)).__name__ == "QuarantineError"
    assert not batch["y_valid"].any()


@FORMS
def test_a_state_taken_after_the_end_leads_to_it_again(form: Callable[..., Any]) -> None:
    """A checkpoint written on the way out loses no record: restored, the same batch stops the run again."""
    dataset = form(records(), on_invalid="raise", coordinated=True)
    iterator = iter(dataset)
    for _ in range(5):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    again = iter(dataset)
    again.set_state(state)
    assert not next(again)["y_valid"].any()
    assert isinstance(stop_requested(again), InvalidLabelError)
    assert json.dumps(again.get_state(), sort_keys=True) == json.dumps(state, sort_keys=True)


@FORMS
@pytest.mark.parametrize("policy", ["drop", "mask", "raise"])
def test_the_checkpoint_contract_holds(form: Callable[..., Any], tmp_path: Path, policy: str) -> None:
    """Coordinated or not, a restored iterator goes on as the first one would have."""
    bad_from = 32 if policy == "raise" else 30
    options: dict[str, Any] = {"quarantine": tmp_path / "q", "stop_above": None} if policy != "raise" else {}
    dataset = form(records(bad_from=bad_from), on_invalid=policy, coordinated=True, **options)
    grain.experimental.assert_equal_output_after_checkpoint(dataset)


def test_a_stop_is_seen_through_later_stages() -> None:
    """Maps and prefetching threads after the guard do not hide it."""
    dataset = stacked(records(), on_invalid="raise", coordinated=True).map(lambda batch: batch)
    iterator = iter(grain.experimental.ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=1))
    for _ in range(6):
        batch = next(iterator)
    assert not batch["y_valid"].any()
    assert isinstance(stop_requested(iterator), InvalidLabelError)


def test_a_stop_within_a_worker_process_is_seen() -> None:
    """From worker processes the kind of error comes back in the state."""
    dataset = stacked(records(), on_invalid="raise", coordinated=True).mp_prefetch(
        grain.MultiprocessingOptions(num_workers=1)
    )
    iterator = iter(dataset)
    assert stop_requested_after(iterator, 0) is None
    assert isinstance(stop_requested_after(iterator, 8), InvalidLabelError)


def stop_requested_after(iterator: Any, steps: int) -> LabelGuardError | None:
    """What is requested after some batches."""
    for _ in range(steps):
        next(iterator)
    return stop_requested(iterator)


def test_any_loader_can_be_coordinated() -> None:
    """guard_batches offers the same, and sync_stop raises what its guard met at the next multiple of every."""
    data = [{"y": np.array([0, 1])}, {"y": np.array([9, 1])}]
    guarded = guard_batches(data, SCHEMA, on_invalid="raise", coordinated=True)
    steps = 0

    def loop() -> None:
        nonlocal steps
        for _ in guarded:
            steps += 1
            sync_stop(guarded, every=3)

    with pytest.raises(InvalidLabelError, match="1 of 2 records is bad"):
        loop()
    assert steps == 2, "the end of the stream asks too"


@pytest.mark.parametrize("remainder", ["short", "drop", "pad"])
@pytest.mark.parametrize("policy", ["raise", "mask", "drop"])
@FORMS
def test_a_stopped_stream_ends_where_it_would_have_ended(
    form: Callable[..., Any], tmp_path: Path, policy: str, remainder: str
) -> None:
    """Wherever the first bad batch is, a stopped stream has as many batches as one that went on, all masked."""
    for bad_from in range(0, 15, 3):
        data = [{"x": np.full(2, k), "y": np.int64(4 if k >= bad_from and k % 4 == 1 else 0)} for k in range(14)]
        options: dict[str, Any] = {"quarantine": tmp_path / f"{bad_from}", "remainder": remainder, "on_invalid": policy}
        if policy == "raise":
            whole = len(list(form(data, **{**options, "on_invalid": "mask"}, stop_above=None)))
        else:
            whole = len(list(form(data, **options, stop_above=None)))
            options["quarantine"] = tmp_path / f"file {bad_from}"
        iterator = iter(form(data, **options, coordinated=True))
        if policy != "raise":
            options["quarantine"].write_text("no folder: the first bad record stops the run")
        batches = list(iterator)
        assert len(batches) == whole, bad_from
        assert (stop_requested(iterator) is not None) == any(record["y"] == 4 for record in data)
        valid = [bool(batch["y_valid"].any()) for batch in batches]
        assert valid == sorted(valid, reverse=True), "once stopped, nothing is valid"


def test_the_iterator_of_a_loader_can_be_asked_too() -> None:
    """What iter() gives serves as well as what guard_batches gave; a new pass does not hide a stop."""
    guarded = guard_batches([{"y": np.array([0, 9])}] * 2, SCHEMA, on_invalid="raise", coordinated=True)
    iterator = iter(guarded)
    next(iterator)
    assert isinstance(stop_requested(iterator), InvalidLabelError)
    with pytest.raises(InvalidLabelError):
        sync_stop(iterator)
    with pytest.raises(InvalidLabelError):
        iter(guarded)


def test_a_stop_at_the_very_end_is_kept() -> None:
    """A limit that only the end of the stream checks adds no batch; the last sync_stop raises it."""
    data = [{"y": np.array([0, 9])}] * 3
    guarded = guard_batches(data, SCHEMA, on_invalid="mask", coordinated=True)
    assert len(list(guarded)) == 3
    with pytest.raises(TooManyInvalidError, match="over the whole stream"):
        sync_stop(guarded)


def test_a_loader_that_reuses_its_arrays_does_not_change_the_last_batch() -> None:
    """The batch that comes after a stop holds what was delivered, not what the loader filled in since."""

    def loader() -> Any:
        x, y = np.zeros(2), np.zeros(2, np.int64)
        for k in range(4):
            x[:], y[:] = k, 9 if k == 2 else k
            yield {"x": x, "y": y}

    guarded = guard_batches(loader(), SCHEMA, on_invalid="raise", coordinated=True)
    batches = [{name: value.copy() for name, value in batch.items()} for batch in guarded]
    assert [batch["x"].tolist() for batch in batches] == [[0, 0], [1, 1], [1, 1], [1, 1]]
    assert [batch["y_valid"].tolist() for batch in batches] == [[True] * 2] * 2 + [[False] * 2] * 2


def test_a_sound_stream_ends_as_ever() -> None:
    """Without a terminal condition nothing stops, and the end of the stream is its end."""
    guarded = guard_batches([{"y": np.array([0, 1])}] * 4, SCHEMA, on_invalid="raise", coordinated=True)
    for _ in guarded:
        sync_stop(guarded)
    assert stop_requested(guarded) is None
    assert guarded.summary.delivered == 8


def test_misuse_is_refused() -> None:
    """Without a mask, without a state or without a coordinated guard there is nothing to coordinate."""
    source = grain.MapDataset.source(records())
    with pytest.raises(UsageError, match="or coordinated=True"):
        stacked(records(), on_invalid="raise", coordinated=True, valid_key=None)
    with pytest.raises(UsageError, match="needs a state, which a MapDataset does not have"):
        source.pipe(guard_labels, SCHEMA, on_invalid="raise", coordinated=True)
    with pytest.raises(UsageError, match="needs a state"):
        data_loader_operations(SCHEMA, on_invalid="raise", coordinated=True)
    for iterator in (iter([1, 2]), iter(source.to_iter_dataset())):
        with pytest.raises(UsageError, match="no guard with coordinated=True"):
            stop_requested(iterator)


def test_errors_of_others_are_not_kept() -> None:
    """An error that is not of the guard goes on as it is: it does not stop the hosts."""

    def broken() -> Any:
        yield {"y": np.array([0, 1])}
        raise OSError("the disk is gone")

    guarded = guard_batches(broken(), SCHEMA, on_invalid="raise", coordinated=True)
    next(guarded)
    with pytest.raises(OSError, match="the disk is gone"):
        next(guarded)
