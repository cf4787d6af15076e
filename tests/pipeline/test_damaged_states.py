"""States that were damaged where they were stored: refused with the field, or the stream goes on as it would have."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, SchemaChangedError, UsageError, guard_batches
from label_guard.grain import guard_labels
from label_guard.pipeline.saved_state import own_part

SCHEMA = {"y": ClassLabel(num_classes=10)}
BAD = {1, 5, 6, 14}
DATA = [{"id": np.int64(k), "y": np.int64(77 if k in BAD else k % 10)} for k in range(20)]
ABSENT = object()
VALUES = [ABSENT, None, -1, -7, 2**70, float("nan"), 1.5, "x", True, [], [3], {}]


def _pipeline(form: str, folder: Path) -> Any:
    dataset = grain.MapDataset.source(DATA).to_iter_dataset(grain.ReadOptions(0, 0))
    options: dict[str, Any] = {"quarantine": str(folder), "stop_above": None, "batched": form == "batches"}
    if form == "batches":
        dataset = dataset.batch(4)
    elif form == "records":
        options["batch_size"] = 3
    return iter(dataset.pipe(guard_labels, SCHEMA, **options))


def _rest(iterator: Any) -> list[list[int]]:
    return [np.atleast_1d(batch["id"]).tolist() for batch in iterator]


def _places(state: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the guard's own fields, and of what holds them."""
    yield path
    for name in state if isinstance(state, dict) and path != ("spare",) else ():
        yield from _places(state[name], (*path, name))


def _damaged(state: Any, path: tuple[str, ...], value: Any) -> Any:
    changed = copy.deepcopy(state)
    inner = changed
    *parents, last = ("label_guard", *path)
    for name in parents:
        inner = inner[name]
    if value is ABSENT:
        del inner[last]
    else:
        inner[last] = value
    return changed


@pytest.mark.parametrize("form", ["batches", "records", "single"])
def test_every_field_of_a_state(tmp_path: Path, form: str) -> None:
    """Each field absent, of another type, negative or huge: refused, or it makes no difference to what follows."""
    iterator = _pipeline(form, tmp_path)
    for _ in range(2):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    assert (state["label_guard"]["pending"] > 0) == (form == "batches")
    expected = _rest(iterator)
    refused = 0
    for path in _places(state["label_guard"]):
        for value in VALUES:
            damaged = _damaged(state, path, value)
            if "label_guard" not in damaged or damaged == state:
                continue
            other = _pipeline(form, tmp_path)
            try:
                other.set_state(damaged)
            except UsageError as error:
                refused += "the checkpoint is damaged: the state of the guard" in str(error)
                continue
            except SchemaChangedError:
                assert path == ("digest",)
                continue
            assert _rest(other) == expected, (path, value)
    assert refused > 200


@pytest.mark.parametrize("field", ["seen", "delivered", "quarantined", "skipped", "remainder"])
def test_counts_that_do_not_add_up(tmp_path: Path, field: str) -> None:
    """A count that was changed to another number is refused: the state says that records are missing or doubled."""
    iterator = _pipeline("batches", tmp_path)
    next(iterator)
    state = iterator.get_state()
    with pytest.raises(UsageError, match="records seen, and"):
        _pipeline("batches", tmp_path).set_state(_damaged(state, ("counts", field), 1000))


@pytest.mark.parametrize("state", [None, 3, "x", [], {}, {"label_guard": 3}])
def test_what_is_no_state(tmp_path: Path, state: Any) -> None:
    """Neither a traceback nor a start at the first record."""
    with pytest.raises(UsageError):
        _pipeline("records", tmp_path).set_state(state)
    with pytest.raises(UsageError):
        guard_batches(DATA, SCHEMA, on_invalid="mask", batch_size=3, batched=False).restore(state)


@pytest.mark.parametrize("read", [None, -1, "x", 1.5, True, 2**70])
def test_place_in_a_loader(read: Any) -> None:
    """The place that ``guard_batches`` reads a loader up to is checked too."""
    guarded = guard_batches(DATA, SCHEMA, on_invalid="mask", batch_size=3, batched=False)
    next(iter(guarded))
    state = guarded.state() | {"parent": {"read": read}}
    with pytest.raises(UsageError):
        guard_batches(DATA, SCHEMA, on_invalid="mask", batch_size=3, batched=False).restore(state)


def test_numbers_of_a_framework(tmp_path: Path) -> None:
    """A checkpoint library may give integers back as NumPy scalars or arrays of no axes."""
    iterator = _pipeline("batches", tmp_path)
    next(iterator)
    state = iterator.get_state()
    own = state["label_guard"]
    as_arrays = {name: np.array(count) for name, count in own["counts"].items()}
    state = {**state, "label_guard": {**own, "pending": np.int32(own["pending"]), "counts": as_arrays}}
    read = own_part(state)
    assert read is not None
    assert type(read["pending"]) is int
    assert read["counts"] == own["counts"]
    other = _pipeline("batches", tmp_path)
    other.set_state(state)
    assert _rest(other) == _rest(iterator)
