"""What leaves the stage: static shapes, untouched clean batches, keys gone, every place and option alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from label_guard.grain import (
    data_loader_operations,
    guard_labels,
    keyed,
    select_records,
    summary,
    with_record_keys,
)
from label_guard.quarantine.reader import read_quarantine
from label_guard.schema.dataset import DatasetSchema

N = 50


def _schema(path: str = "label", **label: Any) -> DatasetSchema:
    fields = {"kind": "class_label", "num_classes": 10, **label}
    return DatasetSchema.model_validate({"format": 1, "name": "digits", "version": "1.0.0", "labels": {path: fields}})


SCHEMA = _schema()


def _records(number: int = N) -> list[dict[str, Any]]:
    """One record in ten is bad: those whose id ends with 3."""
    return [
        {"id": np.int64(k), "image": np.full((2, 2), k, np.uint8), "label": np.int64(77 if k % 10 == 3 else k % 10)}
        for k in range(number)
    ]


BAD = [k for k in range(N) if k % 10 == 3]


def _iter(source: Any) -> grain.IterDataset:
    return grain.MapDataset.source(source).to_iter_dataset(grain.ReadOptions(0, 0))


def _quarantined(folder: Path) -> list[str | None]:
    return sorted((entry.record for entry in read_quarantine(str(folder)).entries), key=lambda key: int(key or -1))


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("batched", [False, True])
def test_one_compilation(tmp_path: Path, policy: str, batched: bool) -> None:
    """Under drop every batch but the last, and under mask every batch, has one shape: a jitted step compiles once."""
    compiled = 0

    @jax.jit
    def step(batch: dict[str, jax.Array]) -> jax.Array:
        nonlocal compiled
        compiled += 1
        return jnp.sum(batch["label"])

    ds = _iter(_records())
    ds = ds.batch(8) if batched else ds
    size = None if batched else 8
    options = {"on_invalid": policy, "quarantine": str(tmp_path / "q"), "stop_above": None, "remainder": "drop"}
    for batch in ds.pipe(guard_labels, SCHEMA, batch_size=size, **options):
        step(batch)
    assert compiled == 1


def test_records_before_the_guard_are_not_timed(tmp_path: Path) -> None:
    """Grain knows that the guard is the output, and does not record a duration for each record before it."""
    it = iter(
        _iter(_records()).pipe(guard_labels, SCHEMA, batch_size=5, quarantine=str(tmp_path / "q"), stop_above=None)
    )
    next(it)
    assert not it._parent._stats._is_output


def test_clean_batches_are_the_same_objects(tmp_path: Path) -> None:
    """A clean batch passes with the array objects that came, also when its key is taken off."""
    came: list[dict[str, Any]] = []

    def remember(batch: dict[str, Any]) -> dict[str, Any]:
        came.append(batch)
        return batch

    clean = [record for record in _records() if record["label"] < 10]
    options = {"quarantine": str(tmp_path / "q")}
    for batch in _iter(clean).batch(5).map(remember).pipe(guard_labels, SCHEMA, **options):
        assert batch is came[-1]
    for batch in _iter(keyed(clean)).batch(5).map(remember).pipe(guard_labels, SCHEMA, **options):
        assert "label_guard_key" not in batch
        assert all(batch[name] is came[-1][name] for name in batch)


@pytest.mark.parametrize("policy", ["drop", "mask", "report"])
def test_inputs_are_never_written(tmp_path: Path, policy: str) -> None:
    """A CacheIterDataset upstream stays as it was, and read-only arrays work."""

    def freeze(batch: dict[str, Any]) -> dict[str, Any]:
        for array in batch.values():
            array.flags.writeable = False
        return batch

    cache = grain.experimental.CacheIterDataset(_iter(_records()).batch(8).map(freeze))
    before = [{name: array.copy() for name, array in batch.items()} for batch in cache]
    options = {"on_invalid": policy, "quarantine": str(tmp_path / "q"), "stop_above": None}
    list(cache.pipe(guard_labels, SCHEMA, **options))
    for was, now in zip(before, cache, strict=True):
        for name, array in was.items():
            np.testing.assert_array_equal(array, now[name])


@pytest.mark.parametrize("policy", ["mask", "report"])
@pytest.mark.parametrize("batched", [False, True])
def test_map_datasets_keep_random_access(tmp_path: Path, policy: str, batched: bool) -> None:
    """On a MapDataset, mask and report keep length and random access, on records and on batches."""
    ds = grain.MapDataset.source(keyed(_records()))
    ds = ds.batch(8) if batched else ds
    guarded = ds.pipe(guard_labels, SCHEMA, on_invalid=policy, quarantine=str(tmp_path / "q"))
    assert len(guarded) == len(ds)
    element = guarded[3]
    if batched:
        assert element["id"].tolist() == list(range(24, 32))
        assert policy == "report" or element["label_valid"].tolist() == [True] * 8
    else:
        assert element["id"] == 3
        assert element["label"] == (0 if policy == "mask" else 77)
        assert policy == "report" or not element["label_valid"]
        assert np.shape(element["label"]) == ()
    list(guarded)
    assert _quarantined(tmp_path / "q") == [str(k) for k in BAD]


def test_drop_on_a_map_dataset(tmp_path: Path) -> None:
    """Drop on a MapDataset of records is a filter: sparse there, gone in the iterator."""
    ds = grain.MapDataset.source(keyed(_records())).pipe(guard_labels, SCHEMA, quarantine=str(tmp_path / "q"))
    assert ds[3] is None
    assert [int(k) for k in ds.to_iter_dataset().map(lambda record: record["id"])] == [
        k for k in range(N) if k not in BAD
    ]
    assert _quarantined(tmp_path / "q") == [str(k) for k in BAD]


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_data_loader(tmp_path: Path, policy: str) -> None:
    """In a DataLoader the operations drop or mask records before Batch; keyed sources name them."""
    options = {"on_invalid": policy, "quarantine": str(tmp_path / "q")}
    source = keyed(_records())
    loader = grain.DataLoader(
        data_source=source,
        sampler=grain.samplers.IndexSampler(num_records=N, num_epochs=1),
        operations=[*data_loader_operations(SCHEMA, source=source, **options), grain.transforms.Batch(5)],
        read_options=grain.ReadOptions(0, 0),
    )
    found = list(loader)
    assert all("label_guard_key" not in batch for batch in found)
    ids = [int(k) for batch in found for k in batch["id"]]
    assert ids == [k for k in range(N) if policy == "mask" or k not in BAD]
    if policy == "mask":
        assert [k for b in found for k, ok in zip(b["id"].tolist(), b["label_valid"], strict=True) if not ok] == BAD
    assert _quarantined(tmp_path / "q") == [str(k) for k in BAD]
    assert {entry.source for entry in read_quarantine(str(tmp_path / "q")).entries} == {source.source_id}


def test_keys_of_mixed_sources(tmp_path: Path) -> None:
    """Two keyed sources of different names keep their records apart."""
    parts = [grain.MapDataset.source(keyed(_records(10), name=name)) for name in ("a", "b")]
    ds = grain.MapDataset.concatenate(parts).shuffle(seed=1).to_iter_dataset(grain.ReadOptions(0, 0))
    list(ds.pipe(guard_labels, SCHEMA, batch_size=4, quarantine=str(tmp_path / "q"), stop_above=None))
    assert sorted(entry.record or "" for entry in read_quarantine(str(tmp_path / "q")).entries) == ["a/3", "b/3"]


def test_keys_of_array_record_files(tmp_path: Path) -> None:
    """Records of ArrayRecord files are named by file and position in it."""
    paths = [str(tmp_path / f"digits.array_record-0000{k}-of-00002") for k in range(2)]
    for path in paths:
        writer = ArrayRecordWriter(path, "group_size:1")
        for label in (b"1", b"99", b"3"):
            writer.write(label)
        writer.close()
    source = keyed(grain.sources.ArrayRecordDataSource(paths), parse=_decode)
    list(_iter(source).pipe(guard_labels, SCHEMA, batch_size=2, quarantine=str(tmp_path / "q"), stop_above=None))
    names = sorted(entry.record or "" for entry in read_quarantine(str(tmp_path / "q")).entries)
    assert names == [f"digits.array_record-0000{k}-of-00002__1" for k in range(2)]


def test_keys_after_the_source(tmp_path: Path) -> None:
    """with_record_keys names records through shuffle, slice and repeat as keyed does; keep_key keeps the key."""
    ds = grain.MapDataset.source(_records()).pipe(with_record_keys).shuffle(seed=2)[::2].repeat(2)
    ds = ds.to_iter_dataset(grain.ReadOptions(0, 0))
    options = {"batch_size": 4, "quarantine": str(tmp_path / "q"), "stop_above": None, "keep_key": True}
    found = list(ds.pipe(guard_labels, SCHEMA, **options))
    assert all(batch["label_guard_key"].tolist() == batch["id"].tolist() for batch in found)
    assert set(_quarantined(tmp_path / "q")) <= {str(k) for k in BAD}


def test_a_selection_keeps_its_names(tmp_path: Path) -> None:
    """Records of a selection keep name and identity, so that a corrected run supersedes what it wrote before."""
    selected = select_records(_records(), [13, 3, 4])
    ds = _iter(keyed(selected)).pipe(
        guard_labels, SCHEMA, batch_size=2, quarantine=str(tmp_path / "q"), stop_above=None
    )
    assert [batch["id"].tolist() for batch in ds] == [[4]]
    list(
        _iter(keyed(_records())).pipe(
            guard_labels, SCHEMA, batch_size=2, quarantine=str(tmp_path / "q"), stop_above=None
        )
    )
    assert _quarantined(tmp_path / "q") == [str(k) for k in BAD]


def test_records_of_mixed_widths(tmp_path: Path) -> None:
    """Records are checked as stored, before stacking casts them: int64 2**32+1 next to int32, None, another shape."""
    labels = [np.int32(1), np.int64(2**32 + 1), None, np.int64([1]), np.uint64(2), np.int64(3)]
    records = [{"id": np.int64(k), "label": label} for k, label in enumerate(labels)]
    ds = _iter(keyed(records)).pipe(guard_labels, SCHEMA, batch_size=3, quarantine=str(tmp_path / "q"), stop_above=None)
    (found,) = list(ds)
    assert (found["id"].tolist(), found["label"].tolist()) == ([0, 4, 5], [1, 2, 3])
    assert found["label"].dtype == np.int64
    assert _quarantined(tmp_path / "q") == ["1", "2", "3"]


@dataclasses.dataclass
class Sample:
    """An element that is not a dict."""

    image: Any
    label: Any


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("form", ["tuple", "nested", "dataclass"])
def test_other_elements(tmp_path: Path, form: str, policy: str) -> None:
    """Tuples, nested dicts and dataclasses are guarded by the path of their label."""
    make = {
        "tuple": lambda r: (r["id"], r["label"]),
        "nested": lambda r: {"id": r["id"], "objects": {"label": r["label"]}},
        "dataclass": lambda r: {"id": r["id"], "sample": Sample(r["image"], r["label"])},
    }[form]
    path = {"tuple": "1", "nested": "objects/label", "dataclass": "sample/label"}[form]
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": str(tmp_path / "q"), "stop_above": None}
    if form == "tuple":
        options["valid_key"] = "valid"
    if form == "dataclass":
        options["valid_key"] = None
        options["on_invalid"] = "drop"
    ds = grain.MapDataset.source(_records()).map(make).to_iter_dataset(grain.ReadOptions(0, 0))
    found = list(ds.pipe(guard_labels, _schema(path), batch_size=10, **options))
    ids = [int(k) for b in found for k in (b[0] if form == "tuple" else b["id"])]
    assert ids == [k for k in range(N) if options["on_invalid"] == "mask" or k not in BAD]
    if options["on_invalid"] == "mask":
        valid = [b[2] if form == "tuple" else b["objects"]["label_valid"] for b in found]
        assert int(np.concatenate(valid).sum()) == N - len(BAD)


def _decode(raw: bytes) -> dict[str, Any]:
    return {"label": np.int64(int(raw))}


@pytest.mark.parametrize("place", ["iter", "map", "loader"])
def test_unreadable_records(tmp_path: Path, place: str) -> None:
    """Records that cannot be read are counted under LG120, named in the quarantine without a payload, not delivered."""
    source = keyed([b"1", b"x", b"99", b"4"], parse=_decode, on_unreadable="quarantine")
    options: dict[str, Any] = {"quarantine": str(tmp_path / "q"), "stop_above": None}
    if place == "iter":
        it = iter(_iter(source).pipe(guard_labels, SCHEMA, batch_size=2, **options))
        assert [batch["label"].tolist() for batch in it] == [[1, 4]]
        assert dict(summary(it).by_rule) == {"LG101": 1, "LG120": 1}
    elif place == "map":
        ds = grain.MapDataset.source(source).pipe(guard_labels, SCHEMA, **options)
        assert [int(record["label"]) for record in ds.to_iter_dataset()] == [1, 4]
    else:
        loader = grain.DataLoader(
            data_source=source,
            sampler=grain.samplers.IndexSampler(num_records=4, num_epochs=1),
            operations=[*data_loader_operations(SCHEMA, **options), grain.transforms.Batch(2)],
            read_options=grain.ReadOptions(0, 0),
        )
        assert [batch["label"].tolist() for batch in loader] == [[1, 4]]
    unreadable, wrong = sorted(read_quarantine(str(tmp_path / "q")).entries, key=lambda entry: entry.record or "")
    assert (unreadable.record, unreadable.payload_kind) == ("1", "none")
    assert [violation.rule for violation in unreadable.violations] == ["LG120"]
    assert "ValueError" in str(unreadable.violations[0].value)
    assert [violation.rule for violation in wrong.violations] == ["LG101"]
