"""The first mistakes of a new user, in every placement of the guard: an error at once, in the words of the call."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, guard_batches
from label_guard.errors import LabelGuardError, TooManyInvalidError, UsageError
from label_guard.grain import data_loader_operations, guard_labels, keyed
from label_guard.schema.dataset import DatasetSchema

N = 64
READ = grain.ReadOptions(0, 0)
THREADS = grain.ReadOptions(4, 16)


def make_schema(path: str = "label", **fields: Any) -> DatasetSchema:
    """A schema of one label, with two splits."""
    labels = {path: ClassLabel(num_classes=10)}
    splits = {"train": {}, "test": {}}
    return DatasetSchema.model_validate(
        {"format": 1, "name": "digits", "version": "1.0.0", "labels": labels, "splits": splits, **fields}
    )


RECORDS = [{"image": np.zeros(2, np.uint8), "label": np.int64(k % 10), "id": np.int64(k)} for k in range(N)]
RAW = [json.dumps({"label": k % 10}).encode() for k in range(N)]


def _iter(source: Any, read: grain.ReadOptions = READ) -> grain.IterDataset:
    return grain.MapDataset.source(source).to_iter_dataset(read)


def _loader(source: Any, *operations: Any, workers: int = 0) -> list[Any]:
    sampler = grain.samplers.IndexSampler(len(source), num_epochs=1, shard_options=grain.sharding.NoSharding())
    return list(
        grain.DataLoader(
            data_source=source, sampler=sampler, operations=operations, read_options=READ, worker_count=workers
        )
    )


def _workers(ds: grain.IterDataset) -> grain.IterDataset:
    return ds.mp_prefetch(grain.MultiprocessingOptions(num_workers=1))


def _torch_like(source: Any) -> list[Any]:
    return [{name: np.stack([record[name] for record in source[:8]]) for name in source[0]}]


# Where the guard may be put: how it is built over records, and read.
PLACES: dict[str, Callable[..., Any]] = {
    "records": lambda source, schema, **o: list(_iter(source).pipe(guard_labels, schema, batch_size=8, **o)),
    "records, batched=False": lambda source, schema, **o: list(
        _iter(source).pipe(guard_labels, schema, batch_size=8, batched=False, **o)
    ),
    "records, threads": lambda source, schema, **o: list(
        _iter(source, THREADS).pipe(guard_labels, schema, batch_size=8, **o)
    ),
    "after batch": lambda source, schema, **o: list(_iter(source).batch(8).pipe(guard_labels, schema, **o)),
    "MapDataset": lambda source, schema, **o: list(
        grain.MapDataset.source(source).pipe(guard_labels, schema, **o).to_iter_dataset(READ)
    ),
    "MapDataset of batches": lambda source, schema, **o: list(
        grain.MapDataset.source(source).batch(8).pipe(guard_labels, schema, **{**o, "on_invalid": "mask"})
    ),
    "DataLoader": lambda source, schema, **o: _loader(source, *data_loader_operations(schema, **o)),
    "guard_batches": lambda source, schema, **o: list(guard_batches(_torch_like(source), schema, **o)),
    "guard_batches of records": lambda source, schema, **o: list(guard_batches(source, schema, batch_size=8, **o)),
}
WORKER_PLACES: dict[str, Callable[..., Any]] = {
    "inside workers": lambda source, schema, **o: list(
        _workers(_iter(source).pipe(guard_labels, schema, batch_size=8, **o))
    ),
    "after workers": lambda source, schema, **o: list(
        _workers(_iter(source)).pipe(guard_labels, schema, batch_size=8, **o)
    ),
    "DataLoader with a worker": lambda source, schema, **o: _loader(
        source, *data_loader_operations(schema, **o), workers=1
    ),
}
CALLERS = {"DataLoader": "data_loader_operations", "DataLoader with a worker": "data_loader_operations"}


def _caller(place: str) -> str:
    return CALLERS.get(place, "guard_batches" if place.startswith("guard_batches") else "guard_labels")


def _refused(folder: Path, place: str, source: Any, schema: Any, **options: Any) -> str:
    """The message of the error that ``place`` gives, having quarantined nothing."""
    run = PLACES.get(place) or WORKER_PLACES[place]
    given = {"split": "train", "on_invalid": "drop", "quarantine": str(folder / "q"), **options}
    with pytest.raises(LabelGuardError) as caught:
        run(source, schema, **given)
    assert isinstance(caught.value, UsageError)
    assert not (folder / "q").exists()
    return str(caught.value)


@pytest.mark.parametrize("place", [*PLACES, "inside workers"])
def test_a_slip_in_a_label_path(tmp_path: Path, place: str) -> None:
    """A label that the first elements lack is an error with the near name; nothing is quarantined."""
    message = _refused(tmp_path, place, RECORDS, make_schema("lable"))
    assert message.startswith(f"{_caller(place)}: no feature 'lable' in the elements")
    assert "did you mean 'label'?" in message
    assert all(name in message.partition("They have: ")[2] for name in ("image", "label", "id"))


@pytest.mark.long
@pytest.mark.parametrize("place", WORKER_PLACES)
def test_a_slip_in_a_label_path_with_workers(tmp_path: Path, place: str) -> None:
    """The same where Grain's workers are between."""
    assert "did you mean 'label'?" in _refused(tmp_path, place, RECORDS, make_schema("lable"))


@pytest.mark.parametrize(
    ("path", "element", "near"),
    [
        ("objects/lable", {"objects": {"label": 1, "bbox": 2}}, "objects/label"),
        ("label", {"objects": {"label": 1}}, "objects/label"),
        ("labels", {"image": 1, "label": 2}, "label"),
        ("class", {"image": 1, "y": 2}, None),
    ],
)
def test_near_names_of_nested_paths(path: str, element: Any, near: str | None) -> None:
    """The near name is found by the whole path or by its last part; without one the features are listed."""
    with pytest.raises(UsageError) as caught:
        next(iter(guard_batches([element], make_schema(path), split="train", on_invalid="mask", batch_size=1)))
    assert (f"did you mean {near!r}?" in str(caught.value)) == (near is not None)
    assert "They have: " in str(caught.value)


def test_a_label_that_one_record_lacks_is_a_violation(tmp_path: Path) -> None:
    """An absent label among records that have it, or None in the first, is LG104 and no mistake of the schema."""
    lacking = {"image": RECORDS[0]["image"], "id": RECORDS[0]["id"]}
    for records in ([*RECORDS[:9], lacking], [{**lacking, "label": None}, *RECORDS[:9]], [lacking, *RECORDS[:9]]):
        options = {"split": "train", "quarantine": str(tmp_path / "q"), "stop_above": None, "batch_size": 8}
        guarded = guard_batches(records, make_schema(), **options)
        assert sum(len(batch["label"]) for batch in guarded) == 9
        assert guarded.summary.by_rule == {"LG104": 1}


def test_a_slip_in_the_record_key(tmp_path: Path) -> None:
    """A record_key with a near name among the features is an error; one that a map left out is none."""
    schema = make_schema(record_key="idd")
    assert "did you mean 'id'?" in _refused(tmp_path, "records", RECORDS, schema)
    others = [{"label": record["label"]} for record in RECORDS]
    options = {"split": "train", "on_invalid": "mask"}
    assert len(PLACES["records"](others, make_schema(record_key="id"), **options)) == 8


@pytest.mark.parametrize("place", [place for place in PLACES if not place.startswith("guard_batches")])
def test_raw_bytes_in_a_keyed_source(tmp_path: Path, place: str) -> None:
    """keyed() over bytes that a later map would parse is an error at once, with 0 and more threads."""

    class Parsed:
        """A source that parses too late, after keyed()."""

        def __len__(self) -> int:
            return N

        def __getitem__(self, index: int) -> Any:
            return json.loads(keyed(RAW)[index])

    assert "keyed(source, parse=decode)" in _refused(tmp_path, place, Parsed(), make_schema())


@pytest.mark.parametrize("read", [READ, THREADS, grain.ReadOptions(16, 500)])
def test_an_error_from_upstream_arrives_as_it_was_raised(tmp_path: Path, read: grain.ReadOptions) -> None:
    """What a map or a source raises is neither taken for a doubt about batches nor raised as something else."""

    def fail(record: Any) -> Any:
        raise error

    for error in (UsageError("from a map"), ValueError("from a map"), KeyError("from a map")):
        ds = grain.MapDataset.source(RECORDS).map(fail).to_iter_dataset(read)
        iterator = iter(ds.pipe(guard_labels, make_schema(), split="train", on_invalid="mask", batch_size=8))
        with pytest.raises(type(error), match="from a map"):
            next(iterator)


KEYED = grain.MapDataset.source(keyed(RECORDS)).map(lambda record: {"label": record["label"]})
LOST: dict[str, Callable[..., Any]] = {
    "records": lambda **o: list(KEYED.to_iter_dataset(READ).pipe(guard_labels, make_schema(), batch_size=8, **o)),
    "threads": lambda **o: list(KEYED.to_iter_dataset(THREADS).pipe(guard_labels, make_schema(), batch_size=8, **o)),
    "after batch": lambda **o: list(KEYED.to_iter_dataset(READ).batch(8).pipe(guard_labels, make_schema(), **o)),
    "MapDataset": lambda **o: KEYED.pipe(guard_labels, make_schema(), **o)[0],
    "MapDataset of batches": lambda **o: KEYED.batch(8).pipe(guard_labels, make_schema(), **o)[0],
}


@pytest.mark.parametrize("place", LOST)
def test_a_key_lost_in_a_map(place: str) -> None:
    """A map between keyed() and the guard that leaves the key out is an error with the way to keep it."""
    with pytest.raises(UsageError, match=r"a map lost the feature.*Return it from the map"):
        LOST[place](split="train", on_invalid="mask")


def test_a_key_lost_in_an_operation() -> None:
    """The same in a DataLoader, where the source was given."""

    class Lose(grain.transforms.Map):
        def map(self, element: Any) -> Any:
            return {"label": element["label"]}

    source = keyed(RECORDS)
    operations = data_loader_operations(make_schema(), source=source, split="train", on_invalid="mask")
    with pytest.raises(UsageError, match=r"data_loader_operations: .* a map lost the feature"):
        _loader(source, Lose(), *operations)


@pytest.mark.parametrize("place", ["MapDataset", "DataLoader", "records", "after batch"])
def test_a_dataset_that_is_wrong_as_a_whole(tmp_path: Path, place: str) -> None:
    """A fault that hits every record stops each placement within its first records, with the likely cause."""
    read: list[int] = []

    class Shifted:
        def __len__(self) -> int:
            return 100_000

        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return {"label": np.int64(10 + index % 10)}

    with pytest.raises(TooManyInvalidError, match=r"bad.*for example LG101.*Likely cause"):
        PLACES[place](Shifted(), make_schema(), split="train", quarantine=str(tmp_path / "q"))
    assert len(read) <= 1_100
