"""A loader that fills the same arrays again at each next: what the guard delivers is what it checked."""

from __future__ import annotations

import itertools
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import DatasetSchema, guard_batches
from label_guard.grain import guard_labels
from label_guard.pipeline.copies import copied
from label_guard.quarantine.reader import read_quarantine
from label_guard.testing import assert_conserved

SCHEMA = DatasetSchema.model_validate(
    {"format": 1, "name": "n", "version": "1.0.0", "labels": {"y": {"kind": "class_label", "num_classes": 10}}}
)
SIZE = 4
BAD = {3, 4, 9, 17, 18, 19, 20, 21, 22, 23, 24, 33}
COUNT = 38
POLICIES = ("drop", "mask", "raise", "report")
FORMS = ("batches", "records", "single")


def elements(form: str, bad: set[int]) -> Iterator[dict[str, Any]]:
    """Elements that all live in the same arrays; every array that was yielded is overwritten at the next one."""
    per = SIZE if form == "batches" else 1
    y, x, names = np.zeros(per, np.int64), np.zeros((per, 2)), [""] * per
    for start in range(0, COUNT, per):
        ids = np.arange(start, min(start + per, COUNT))
        n = len(ids)
        y[:n] = np.where([k in bad for k in ids], 77, ids % 10)
        x[:n], names[:n] = ids[:, None], map(str, ids)
        if form == "batches":
            yield {"y": y[:n], "x": x[:n], "name": names[:n] if n < per else names}
        else:
            yield {"y": y[0:1].reshape(()), "x": x[0], "name": names[0]}
        y[:], x[:], names[:] = 77, -1, ["overwritten"] * per


def options_of(form: str, policy: str, folder: Path) -> dict[str, Any]:
    """The options of a guard of one form and policy."""
    options: dict[str, Any] = {"on_invalid": policy, "stop_above": None, "batched": form == "batches"}
    if form == "records":
        options["batch_size"] = SIZE
    return options if policy == "raise" else {**options, "quarantine": str(folder / "q")}


def seen(batch: dict[str, Any], form: str) -> list[tuple[int, int, str, bool]]:
    """Id, label, name and mask of each record, taken at once: the caller may keep a clean batch only until next."""
    ids, labels = np.atleast_2d(batch["x"])[:, 0].astype(int), np.atleast_1d(batch["y"])
    names = [batch["name"]] if form == "single" else list(batch["name"])
    mask = np.atleast_1d(batch.get("y_valid", np.ones(len(ids), bool)))
    return [(int(i), int(y), str(n), bool(m)) for i, y, n, m in zip(ids, labels, names, mask, strict=True)]


@pytest.mark.parametrize(("form", "policy"), list(itertools.product(FORMS, POLICIES)))
def test_what_leaves_the_guard_is_what_was_checked(tmp_path: Path, form: str, policy: str) -> None:
    """No bad label is delivered as valid, none with the values of another record, each exactly once."""
    bad = set() if policy == "raise" else BAD
    guarded = guard_batches(elements(form, bad), SCHEMA, **options_of(form, policy, tmp_path))
    found = [record for batch in guarded for record in seen(batch, form)]
    expected = [k for k in range(COUNT) if policy != "drop" or k not in bad]
    assert sorted(i for i, *_ in found) == expected
    for i, y, name, valid in found:
        assert name == str(i)
        assert y == (i % 10 if i not in bad else (77 if policy == "report" else 0))
        assert valid == (i not in bad or policy == "report")
    assert_conserved(guarded.summary)
    if bad:
        entries = read_quarantine(str(tmp_path / "q")).entries
        assert sorted(int(entry.payload["x"].reshape(-1)[0]) for entry in entries) == sorted(bad)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_ahead_to_find_the_form_is_copied(tmp_path: Path, form: str) -> None:
    """Elements read to distinguish batches from records are kept as they were."""
    options = options_of(form, "drop", tmp_path)
    if form != "single":
        del options["batched"]
    guarded = guard_batches(elements(form, BAD), SCHEMA, **options)
    found = [record for batch in guarded for record in seen(batch, form)]
    assert sorted(i for i, *_ in found) == [k for k in range(COUNT) if k not in BAD]
    assert all(y == i % 10 and name == str(i) for i, y, name, _ in found)


class Reusing(grain.sources.RandomAccessDataSource):
    """A source that decodes every record into the same array."""

    def __init__(self) -> None:
        self._y, self._x = np.zeros((), np.int64), np.zeros(2)

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> dict[str, Any]:
        self._y[...], self._x[:] = 77 if index in BAD else index % 10, index
        return {"y": self._y, "x": self._x, "name": str(index)}

    def __repr__(self) -> str:
        return "Reusing()"


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("threads", [False, True])
def test_grain_over_a_source_that_reuses_its_array(tmp_path: Path, policy: str, threads: bool) -> None:
    """The guard stacks what it checked, in the main process and in a prefetching thread."""
    dataset = grain.MapDataset.source(Reusing()).to_iter_dataset(grain.ReadOptions(0, 0))
    dataset = dataset.pipe(guard_labels, SCHEMA, **options_of("records", policy, tmp_path))
    if threads:
        dataset = grain.experimental.ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=2)
    found = [record for batch in dataset for record in seen(batch, "records")]
    assert sorted(i for i, *_ in found) == [k for k in range(COUNT) if policy == "mask" or k not in BAD]
    assert all(name == str(i) and y == (0 if i in BAD else i % 10) for i, y, name, _ in found)


@pytest.mark.long
def test_grain_workers_over_a_source_that_reuses_its_array(tmp_path: Path) -> None:
    """The same inside worker processes."""
    dataset = grain.MapDataset.source(Reusing()).to_iter_dataset(grain.ReadOptions(0, 0))
    dataset = dataset.pipe(guard_labels, SCHEMA, **options_of("records", "drop", tmp_path))
    dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=2))
    found = [record for batch in dataset for record in seen(batch, "records")]
    assert sorted(i for i, *_ in found) == [k for k in range(COUNT) if k not in BAD]
    assert all(name == str(i) and y == i % 10 for i, y, name, _ in found)


def test_a_clean_batch_is_the_same_object(tmp_path: Path) -> None:
    """Copies are made of what is kept only: clean batches and clean single records are not copied."""
    batches = [{"y": np.arange(SIZE)} for _ in range(3)]
    guarded = guard_batches(batches, SCHEMA, **options_of("batches", "drop", tmp_path))
    assert all(batch is given for batch, given in zip(guarded, batches, strict=True))
    records = [{"y": np.int64(1), "x": np.zeros(2)} for _ in range(3)]
    guarded = guard_batches(records, SCHEMA, **options_of("single", "drop", tmp_path))
    assert all(record is given for record, given in zip(guarded, records, strict=True))


@pytest.mark.parametrize(
    "make", [lambda data: data, lambda data: array("B", data), deque, set, memoryview], ids=lambda make: make.__name__
)
def test_containers_of_numbers_that_are_filled_again_are_copied(make: Callable[[bytearray], Any]) -> None:
    """The copy keeps its numbers, and is stacked as the original would have been."""
    shared = make(bytearray(b"\1\2"))
    kept = copied({"x": shared})["x"]
    before = np.array([make(bytearray(b"\1\2"))])
    if isinstance(shared, memoryview | bytearray | array):
        shared[0] = 9
    else:
        shared.clear()
    np.testing.assert_array_equal(np.array([kept]), before)


def test_copies_of_every_container() -> None:
    """Nested containers, lists and read-only views get arrays of their own; plain values stay."""
    array = np.arange(3)
    view = array[:]
    view.flags.writeable = False
    element = {"a": (array, [array, {"b": view}]), "text": "x", "none": None, "buffer": bytearray(b"ab")}
    kept = copied(element)
    array[:] = 9
    element["buffer"][:] = b"zz"
    assert kept["a"][0].tolist() == [0, 1, 2]
    assert kept["a"][1][0].tolist() == [0, 1, 2]
    assert kept["a"][1][1]["b"].tolist() == [0, 1, 2]
    assert (kept["text"], kept["none"], kept["buffer"]) == ("x", None, b"ab")


class Tensor:
    """An array of another library, over memory of its loader."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.shape = array.shape

    def __len__(self) -> int:
        return len(self.array)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        """The memory itself, whatever ``copy`` asks for."""
        return self.array if dtype is None else self.array.astype(dtype)


def tensors(form: str) -> Iterator[dict[str, Any]]:
    """``elements`` whose arrays are tensors over the same memory."""
    for element in elements(form, BAD):
        yield {name: Tensor(value) if isinstance(value, np.ndarray) else value for name, value in element.items()}


@pytest.mark.parametrize("policy", POLICIES[:2])
@pytest.mark.parametrize("form", FORMS[:2])
def test_tensors_over_memory_that_is_filled_again(tmp_path: Path, form: str, policy: str) -> None:
    """A tensor that is not a NumPy array is copied like one before more is read."""
    guarded = guard_batches(tensors(form), SCHEMA, **options_of(form, policy, tmp_path))
    found = []
    for batch in guarded:
        arrays = {name: np.asarray(value) if isinstance(value, Tensor) else value for name, value in batch.items()}
        found += seen(arrays, form)
    valid = [(i, y, name) for i, y, name, counts in found if counts]
    assert sorted(valid) == [(i, i % 10, str(i)) for i in range(COUNT) if i not in BAD]
    written = read_quarantine(str(tmp_path / "q")).entries
    assert len(written) == len(BAD)
