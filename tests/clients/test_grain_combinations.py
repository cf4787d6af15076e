"""Grain's own combinations: mix, zip, interleave, flat_map, threads, windows and workers before the guard."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel
from label_guard.grain import guard_labels, keyed, summary

SCHEMA = {"label": ClassLabel(num_classes=10)}
READ = grain.ReadOptions(0, 0)
N = 24


def source(name: str, bad: tuple[int, ...] = (5,), size: int = N) -> grain.MapDataset:
    """Records of a named source, of which ``bad`` have no class."""
    records = [{"label": np.int64(10 + k if k in bad else k % 10), "from": f"{name}{k}"} for k in range(size)]
    return grain.MapDataset.source(keyed(records, name=name))


class Twice(grain.experimental.FlatMapTransform):
    """Each record twice."""

    max_fan_out = 2

    def flat_map(self, element: Any) -> list[Any]:
        return [element, element]


def zipped() -> Any:
    """Records of two sources side by side: the label is from the first."""
    return grain.experimental.ZipMapDataset([source("a"), source("b", ())]).map(lambda pair: {**pair[1], **pair[0]})


COMBINED: dict[str, Callable[[], Any]] = {
    "mix": lambda: grain.MapDataset.mix([source("a"), source("b")], [0.5, 0.5]).to_iter_dataset(READ),
    "unequal mix": lambda: grain.MapDataset.mix([source("a"), source("b")], [3, 1]).to_iter_dataset(READ),
    "mix of iterators": lambda: grain.IterDataset.mix(
        [source("a").to_iter_dataset(READ), source("b").to_iter_dataset(READ)], [1, 1]
    ),
    "concatenate": lambda: grain.MapDataset.concatenate([source("a"), source("b")]).to_iter_dataset(READ),
    "zip": lambda: zipped().to_iter_dataset(READ),
    "interleave": lambda: grain.experimental.InterleaveIterDataset(
        [source("a").to_iter_dataset(READ), source("b").to_iter_dataset(READ)], cycle_length=2
    ),
    "flat map": lambda: grain.experimental.FlatMapIterDataset(source("a").to_iter_dataset(READ), Twice()),
    "threads": lambda: source("a").to_iter_dataset(grain.ReadOptions(4, 8)),
    "thread prefetch": lambda: grain.experimental.ThreadPrefetchIterDataset(
        source("a").to_iter_dataset(READ), prefetch_buffer_size=3
    ),
    "window shuffle": lambda: grain.experimental.WindowShuffleMapDataset(
        source("a"), window_size=5, seed=1
    ).to_iter_dataset(READ),
    "window shuffle of an iterator": lambda: grain.experimental.WindowShuffleIterDataset(
        source("a").to_iter_dataset(READ), window_size=5, seed=1
    ),
    "repeat": lambda: source("a").repeat(2).to_iter_dataset(READ),
    "shards": lambda: source("a")[1::2].to_iter_dataset(READ),
}


FORMS = ("batch_size", "after batch", "records out")
QUICK = [(name, FORMS[k % 3]) for k, name in enumerate(COMBINED)]
ALL = [
    pytest.param(name, form, marks=() if (name, form) in QUICK else pytest.mark.long)
    for name, form in itertools.product(COMBINED, FORMS)
]


@pytest.mark.parametrize(("name", "form"), ALL)
def test_invalid_records_leave_named(folder: str, names: Any, resumes: Any, name: str, form: str) -> None:
    """Every invalid record leaves and is named by its source; every other one comes once; resuming is equal."""
    make = COMBINED[name]
    options = {"quarantine": folder, "stop_above": None}
    if form == "records out":
        ds = make().pipe(guard_labels, SCHEMA, batched=False, **options).batch(5)
    elif form == "after batch":
        ds = make().batch(5).pipe(guard_labels, SCHEMA, **options)
    else:
        ds = make().pipe(guard_labels, SCHEMA, batch_size=5, **options)
    iterator = iter(ds)
    found = [str(text) for batch in iterator for text in np.asarray(batch["from"])]
    everything = [(str(record["from"]), record["label"] < 10) for record in make()]
    expected = [text for text, valid in everything if valid]
    assert sorted(found) == sorted(expected)
    counts = summary(iterator)
    assert (counts.seen, counts.quarantined) == (len(everything), len(everything) - len(expected))
    assert set(names()) <= {"a/5", "b/5"}
    assert names()
    resumes(ds)


@pytest.mark.long
def test_inside_and_after_workers(folder: str, names: Any) -> None:
    """In worker processes and after them the same records leave, each named once."""
    options = {"quarantine": folder, "stop_above": None}
    workers = grain.MultiprocessingOptions(num_workers=1)
    ds = source("a", (2, 5)).to_iter_dataset(READ)
    inside = iter(ds.pipe(guard_labels, SCHEMA, batch_size=5, **options).mp_prefetch(workers))
    after = iter(ds.mp_prefetch(workers).pipe(guard_labels, SCHEMA, batch_size=5, **options))
    for iterator in (inside, after):
        batches = list(iterator)
        assert sorted(str(t) for b in batches for t in b["from"]) == sorted(
            f"a{k}" for k in range(N) if k not in (2, 5)
        )
        assert ("without what each read after its last batch" in str(summary(iterator))) == (iterator is inside)
        iterator.close()
    assert names() == ["a/2", "a/5"]
