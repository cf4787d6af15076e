"""Two invalid records are two entries of the quarantine, however sources are mixed and whatever keys they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import DatasetSchema, read_quarantine
from label_guard.grain import guard_labels, keyed, select_records, with_record_keys

SCHEMA = DatasetSchema.model_validate(
    {"format": 1, "name": "x", "version": "1.0.0", "labels": {"label": {"kind": "class_label", "num_classes": 10}}}
)
OPTIONS = grain.ReadOptions(0, 0)
KEYS: dict[str, Any] = {
    "keyed": lambda source: grain.MapDataset.source(keyed(source)),
    "with_record_keys": lambda source: grain.MapDataset.source(source).pipe(with_record_keys),
}


def records(offset: int) -> list[dict[str, Any]]:
    """20 records; the one at position 3 is invalid, with the same label in every source."""
    return [{"image": np.full(4, k + offset), "label": np.int64(10 if k == 3 else k % 10)} for k in range(20)]


SOURCES = [records(0), records(1000)]


def made(names: str | None) -> Any:
    """Sources made inside a map, where the guard cannot see them."""

    def one(index: int) -> grain.IterDataset:
        name = None if names is None else names[index]
        return grain.MapDataset.source(keyed(SOURCES[index], name=name)).to_iter_dataset(OPTIONS)

    return grain.experimental.InterleaveIterDataset(grain.MapDataset.source([0, 1]).map(one), cycle_length=2)


def listed() -> Any:
    """Two named sources in a list."""
    sources = [
        grain.MapDataset.source(keyed(source, name=name)).to_iter_dataset(OPTIONS)
        for source, name in zip(SOURCES, "ab", strict=True)
    ]
    return grain.experimental.InterleaveIterDataset(sources, cycle_length=2)


def mixed_with_hidden() -> Any:
    """A source that the guard sees next to one, of the same name, that it does not see."""
    seen = grain.MapDataset.source(keyed(SOURCES[0])).to_iter_dataset(OPTIONS)
    hidden = grain.experimental.InterleaveIterDataset(
        grain.MapDataset.source([1]).map(
            lambda index: grain.MapDataset.source(keyed(SOURCES[index])).to_iter_dataset(OPTIONS)
        ),
        cycle_length=1,
    )
    return grain.IterDataset.mix([seen, hidden], weights=[0.5, 0.5])


class Twice(grain.experimental.FlatMapTransform):
    """Two elements of each record, both with its key."""

    max_fan_out = 2

    def flat_map(self, element: Any) -> Any:
        """The record, and one with another image."""
        return [element, {**element, "image": element["image"] + 5000}]


def flat_mapped() -> Any:
    """One source whose every record becomes two elements."""
    source = grain.MapDataset.source(keyed(SOURCES[0]))
    return grain.experimental.FlatMapMapDataset(source, Twice()).to_iter_dataset(OPTIONS)


@pytest.mark.parametrize(
    "dataset",
    [
        lambda: made("ab"),
        lambda: made(None),
        listed,
        mixed_with_hidden,
        flat_mapped,
        lambda: grain.MapDataset.mix(
            [grain.MapDataset.source(keyed(s, name=n)) for s, n in zip(SOURCES, "ab", strict=True)], [0.5, 0.5]
        ).to_iter_dataset(OPTIONS),
    ],
    ids=["hidden-named", "hidden-unnamed", "listed", "visible-and-hidden", "flat-map", "mix"],
)
@pytest.mark.parametrize("batched", [False, True])
def test_both_invalid_records_are_kept(dataset: Any, batched: bool, tmp_path: Path) -> None:
    """38 records are delivered and 2 are in the quarantine; a second pass over them adds no entry."""
    for _ in range(2):
        ds = dataset()
        if batched:
            ds = ds.batch(8)
        ds = ds.pipe(guard_labels, SCHEMA, batch_size=8, quarantine=str(tmp_path), stop_above=None)
        delivered = sum(len(batch["label"]) for batch in ds)
        entries = read_quarantine(tmp_path).entries
        assert delivered + len(entries) == 40
        assert sorted(int(entry.payload["image"][0]) % 1000 for entry in entries) == [3, 3]


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize(
    "wrap", [list, tuple, lambda records: np.array(records, object)], ids=["list", "tuple", "array"]
)
def test_pipelines_over_lists_of_one_length_keep_their_records_apart(tmp_path: Path, wrap: Any, keys: str) -> None:
    """Two runs into one folder over unnamed lists: records at one position, with one label, are two entries."""
    for source in SOURCES:
        dataset = KEYS[keys](wrap(source)).to_iter_dataset(OPTIONS)
        for _ in range(2):  # a run again writes nothing new
            list(dataset.pipe(guard_labels, SCHEMA, batch_size=4, stop_above=None, quarantine=tmp_path))
    entries = read_quarantine(tmp_path).entries
    assert sorted(int(entry.payload["image"][0]) for entry in entries) == [3, 1003]


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("name", [None, "photos"])
def test_two_selections_keep_their_records_apart(tmp_path: Path, name: str | None, keys: str) -> None:
    """Records at one position of two selections of a source are two entries, and those of the whole source again."""
    source = [{"label": np.int64(10), "image": np.zeros(4)} for _ in range(6)]
    for chosen in ([4, 1], [2, 4], list(range(6))):
        dataset = KEYS[keys](select_records(keyed(source, name=name), chosen)).to_iter_dataset(OPTIONS)
        list(dataset.pipe(guard_labels, SCHEMA, batch_size=2, stop_above=None, quarantine=tmp_path))
    names = sorted(str(entry.record)[-1] for entry in read_quarantine(tmp_path).entries)
    assert names == ["0", "1", "2", "3", "4", "5"]
