"""The first mistakes of a new user, in every placement of the guard: an error at once, in the words of the call."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grain
import numpy as np
import pytest
from jax._src.lib import jaxlib_extension_version

from label_guard import ClassLabel, guard_batches
from label_guard.errors import LabelGuardError, TooManyInvalidError, UsageError
from label_guard.grain import data_loader_operations, guard_labels, keyed
from label_guard.jax import sum_summaries
from label_guard.pipeline.record_keys import KEY
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


STACKED = {name: np.stack([record[name] for record in RECORDS[:8]]) for name in RECORDS[0]}
WRONG_FORMS: dict[str, tuple[bool, Callable[..., Any]]] = {
    "after batch": (False, lambda schema, **o: list(_iter(RECORDS).batch(8).pipe(guard_labels, schema, **o))),
    "after batch, refilled": (
        False,
        lambda schema, **o: list(_iter(RECORDS).batch(8).pipe(guard_labels, schema, batch_size=8, **o)),
    ),
    "MapDataset of batches": (
        False,
        lambda schema, **o: grain.MapDataset.source(RECORDS).batch(8).pipe(guard_labels, schema, **o)[0],
    ),
    "keys of batches": (
        False,
        lambda schema, **o: list(
            _iter(keyed([{"label": record["label"]} for record in RECORDS])).batch(8).pipe(guard_labels, schema, **o)
        ),
    ),
    "loader of batches": (False, lambda schema, **o: list(guard_batches([STACKED] * 4, schema, **o))),
    "records": (True, lambda schema, **o: list(_iter(RECORDS).pipe(guard_labels, schema, **o))),
    "records with batch_size": (
        True,
        lambda schema, **o: list(_iter(RECORDS).pipe(guard_labels, schema, batch_size=8, **o)),
    ),
    "MapDataset": (True, lambda schema, **o: grain.MapDataset.source(RECORDS).pipe(guard_labels, schema, **o)[0]),
    "loader of records": (True, lambda schema, **o: list(guard_batches(RECORDS, schema, **o))),
}


@pytest.mark.parametrize("place", WRONG_FORMS)
def test_a_wrong_batched(tmp_path: Path, place: str) -> None:
    """An explicit batched= that the first elements contradict is an error at once; nothing is quarantined."""
    batched, run = WRONG_FORMS[place]
    options = {"split": "train", "on_invalid": "raise", "quarantine": str(tmp_path / "q")}
    with pytest.raises(UsageError) as caught:
        run(make_schema(), batched=batched, **options)
    found = "single records" if batched else "batches"
    assert f"batched={batched} was given, but the elements are {found}: label 'label' of the first is" in str(
        caught.value
    )
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize("first", [np.array([1, 2, 3]), [1, 2, 3]])
def test_batched_true_over_records_of_free_shape(tmp_path: Path, first: Any) -> None:
    """A label whose shape is free shows by its rank that it is one of a record; an empty batch shows nothing."""
    schema = {"label": ClassLabel(num_classes=10, shape=(None,))}
    options: dict[str, Any] = {"batched": True, "quarantine": str(tmp_path / "q"), "stop_above": None}
    with pytest.raises(UsageError, match=r"but the elements are single records: label 'label' of the first is .*\[3\]"):
        list(guard_batches([{"label": first}] * 4, schema, **options))
    batches = [{"label": []}, {"label": [[1, 2], [3]]}, {"label": np.ones((2, 3), int)}]
    assert sum(len(batch["label"]) for batch in guard_batches(batches, schema, **options)) == 4


def test_a_right_batched(tmp_path: Path) -> None:
    """What batched= says of the elements holds in each form, also where the guard stacks the records."""
    options = {"split": "train", "on_invalid": "raise", "quarantine": str(tmp_path / "q")}
    for size in (1, 2, 8, None):
        assert list(_iter(RECORDS).pipe(guard_labels, make_schema(), batched=False, batch_size=size, **options))
        assert list(guard_batches(RECORDS, make_schema(), batched=False, batch_size=size, **options))
        assert list(_iter(RECORDS).batch(size or 1).pipe(guard_labels, make_schema(), batched=True, **options))


@pytest.mark.parametrize(
    "first",
    [
        {"image": np.zeros(2), "label": np.array([1, 2, 3])},  # no length that all features share
        {"image": np.float32(0), "label": np.array([1, 2])},
        {"label": np.array([1, 2])},  # the only feature
        {"image": np.zeros(3), "label": [1, 2, 3]},
        {"image": np.zeros(0), "label": np.zeros(0, int)},
        {"image": np.zeros((4, 4, 3)), "label": np.zeros((4, 1), int)},
    ],
)
def test_a_first_record_of_the_wrong_shape_is_a_violation(tmp_path: Path, first: dict[str, Any]) -> None:
    """One record whose label has an axis too many is LG105 under batched=False, and no mistake of the call."""
    options = {"split": "train", "quarantine": str(tmp_path / "q"), "stop_above": None, "batched": False}
    guarded = guard_batches([first, *RECORDS[:9]], make_schema(), **options)
    assert len(list(guarded)) == 9
    assert guarded.summary.by_rule == {"LG105": 1}
    del options["batched"]
    assert len(_loader([first, *RECORDS[:9]], *data_loader_operations(make_schema(), **options))) == 9


def test_a_first_mask_with_an_axis_of_channels_is_a_violation(tmp_path: Path) -> None:
    """A record whose mask and picture share a height does not pass for a batch by its label."""
    schema = {"mask": ClassLabel(num_classes=3, shape=(4, 4))}
    pictures = [{"image": np.zeros((4, 4, 3)), "mask": np.zeros((4, 4), np.uint8)} for _ in range(8)]
    pictures[0]["mask"] = pictures[0]["mask"][..., None]
    options: dict[str, Any] = {"quarantine": str(tmp_path / "q"), "stop_above": None}
    assert len(list(_iter(pictures).pipe(guard_labels, schema, batched=False, **options))) == 7
    assert len(_loader(pictures, *data_loader_operations(schema, **options))) == 7


def test_batched_in_a_data_loader() -> None:
    """The operations of a DataLoader take records, so batched=True is refused when they are made."""
    with pytest.raises(UsageError, match="come before Batch and get records; leave batched= out"):
        data_loader_operations(make_schema(), split="train", on_invalid="mask", batched=True)


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


@pytest.mark.parametrize("cast", [np.float32, np.float64, str])
@pytest.mark.parametrize("place", PLACES)
def test_a_key_that_a_map_cast(place: str, cast: Any, tmp_path: Path) -> None:
    """As floats the keys of two records are equal, and one entry would stand for both: an error, nothing is dropped."""

    class Cast:
        def __init__(self) -> None:
            self.source = keyed(RECORDS, name="digits")

        def __len__(self) -> int:
            return len(self.source)

        def __getitem__(self, place: Any) -> dict[str, Any]:
            if isinstance(place, slice):
                return [self[k] for k in range(N)[place]]  # type: ignore[return-value]
            record = self.source[int(place)]
            return {**record, KEY: np.int64(record[KEY]).astype(cast)}

    assert f"the feature {KEY!r}, is " in _refused(tmp_path, place, Cast(), make_schema())


def test_a_key_of_a_named_source_that_a_map_cast_to_int32() -> None:
    """The name is in the upper bits of the key."""
    dataset = grain.MapDataset.source(keyed(RECORDS, name="digits")).map(lambda r: {**r, KEY: np.int32(r[KEY] % 2**31)})
    guarded = dataset.to_iter_dataset(READ).pipe(
        guard_labels, make_schema(), split="train", on_invalid="raise", batch_size=8
    )
    with pytest.raises(UsageError, match="int32 where keyed"):
        list(guarded)


def test_a_key_lost_in_an_operation() -> None:
    """The same in a DataLoader, where the source was given."""

    class Lose(grain.transforms.Map):
        def map(self, element: Any) -> Any:
            return {"label": element["label"]}

    source = keyed(RECORDS)
    operations = data_loader_operations(make_schema(), source=source, split="train", on_invalid="mask")
    with pytest.raises(UsageError, match=r"data_loader_operations: .* a map lost the feature"):
        _loader(source, Lose(), *operations)


@pytest.mark.parametrize("policy", ["drop", "mask", "raise", "report"])
def test_two_guards_in_one_data_loader(policy: str, tmp_path: Path) -> None:
    """The first takes the key away: the error of the second says how it stays, and then both name their records."""
    source = keyed(RECORDS)
    options: dict[str, Any] = {"source": source, "split": "train", "on_invalid": policy, "stop_above": None}
    if policy == "drop":
        options["quarantine"] = str(tmp_path)
    second = data_loader_operations(make_schema(), **options)
    with pytest.raises(UsageError, match=r"if an earlier guard took it, pass keep_key=True there"):
        _loader(source, *data_loader_operations(make_schema(), **options), *second)
    first = data_loader_operations(make_schema(), keep_key=True, **options)
    assert _loader(source, *first, *second)


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


CALLS: dict[str, Callable[..., Any]] = {
    "guard_labels": lambda schema, **o: _iter(RECORDS).pipe(guard_labels, schema, **o),
    "guard_labels on a MapDataset": lambda schema, **o: grain.MapDataset.source(RECORDS).pipe(
        guard_labels, schema, **o
    ),
    "data_loader_operations": data_loader_operations,
    "guard_batches": lambda schema, **o: guard_batches(RECORDS, schema, **o),
}
WRONG_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a slip": ({"on_invald": "mask"}, "{caller} has no option on_invald=; did you mean on_invalid=?"),
    "no near name": ({"colour": 1}, "{caller} has no option colour=; the options are split, view,"),
    "a wrong split": ({"split": "trian"}, "has no split 'trian'; did you mean 'train'?; it declares: train, test"),
    "no split": ({"split": None}, "declares several splits (train, test); pass split="),
    "a wrong view": ({"view": "batch"}, "has no view 'batch'; it declares: none"),
    "a wrong policy": ({"on_invalid": "discard"}, "choose one of raise, drop, mask, report"),
    "a size that is text": ({"batch_size": "8"}, "batch_size is '8'; it must be an integer of at least 1"),
    "a share above 1": ({"stop_above": 5}, "stop_above is 5; it is a share of records, 0 to 1"),
    "a number for a flag": ({"keep_key": 1}, "keep_key is 1; it must be True or False"),
    "no folder": ({"quarantine": None}, 'pass quarantine="DIR"'),
    "a wrong folder": ({"quarantine": True}, "quarantine is True; it must be a folder"),
    "a file": ({"quarantine": __file__}, f"{__file__} is not a folder"),
    "a folder in a file": ({"quarantine": f"file://{__file__}/q"}, f"{__file__} is not a folder"),
    "no function of one dict": ({"on_event": lambda: None}, "it must be a function of one dict, or None"),
}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_option(call: str, name: str) -> None:
    """An unknown option or a value out of its range is an error of the call, with the function and the near name."""
    options, expected = WRONG_OPTIONS[name]
    with pytest.raises(UsageError) as caught:
        CALLS[call](make_schema(), **{"split": "train", "quarantine": "q", **options})
    assert expected.format(caller=call.partition(" ")[0]) in str(caught.value)


CONTENT = make_schema().model_dump(mode="json")


@pytest.mark.parametrize(
    "schema",
    [CONTENT, CONTENT["labels"], {}, {"label": 10}, None, 10, ["a.yaml"], ClassLabel(num_classes=2), DatasetSchema],
)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_not_a_schema(call: str, schema: Any) -> None:
    """A dict that is not of label models, or anything else in the place of the schema, is refused with what to pass."""
    with pytest.raises(UsageError) as caught:
        CALLS[call](schema, on_invalid="mask")
    message = str(caught.value)
    function = call.partition(" ")[0]
    assert re.match(rf"{function} got (an? \w+|None|the class DatasetSchema) as schema", message)
    assert '{"label": ClassLabel(num_classes=10)}' in message
    assert ("DatasetSchema.model_validate" in message) == (schema is CONTENT)


MAPPINGS: dict[str, tuple[Any, str]] = {
    "a class": ({"label": ClassLabel}, "whose values are classes; call them: ClassLabel(...)"),
    "an index": ({1: ClassLabel(num_classes=2)}, "got 1 as the path of a label; a path is text: "),
    "steps": ({("a", "b"): ClassLabel(num_classes=2)}, "got ('a', 'b') as the path of a label; "),
    "a where": ({"y": ClassLabel(num_classes=2, where="y")}, "labels.y.where: where names the label 'y' itself"),
}


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_mapping_of_label_models(call: str, name: str) -> None:
    """A class in place of a label, a path that is not text, and labels that contradict themselves: what to write."""
    schema, expected = MAPPINGS[name]
    with pytest.raises(UsageError) as caught:
        CALLS[call](schema, on_invalid="mask")
    message = str(caught.value)
    assert message.startswith(call.partition(" ")[0])
    assert expected in message


@pytest.mark.parametrize("place", PLACES)
def test_a_mapping_of_label_models(tmp_path: Path, place: str) -> None:
    """Label paths and label models serve as a schema in every placement."""
    batches = PLACES[place](RECORDS, {"label": ClassLabel(num_classes=10)}, quarantine=str(tmp_path / "q"))
    assert sum(np.size(batch["label"]) for batch in batches) in (8, N)


def test_operations_that_were_not_unpacked() -> None:
    """A forgotten star is an error that shows where to put it, in a DataLoader and in a map."""
    operations = data_loader_operations(make_schema(), split="train", on_invalid="mask")
    with pytest.raises(UsageError, match=r"operations=\[\*data_loader_operations"):
        _loader(RECORDS, operations, grain.transforms.Batch(8))
    with pytest.raises(UsageError, match=r"operations=\[\*data_loader_operations"):
        grain.MapDataset.source(RECORDS).map(operations)[0]


@pytest.mark.parametrize("source", [RECORDS, keyed(RECORDS)])
@pytest.mark.parametrize("shape", [(), (None,)])
def test_operations_after_batch(source: Any, shape: tuple[int | None, ...]) -> None:
    """Operations after Batch are an error on the first element; of ragged labels too where the source is keyed."""
    if shape and source is RECORDS:
        return  # a ragged record looks like a batch
    schema = {"label": ClassLabel(num_classes=10, shape=shape)}
    with pytest.raises(UsageError, match="put them before it"):
        _loader(source, grain.transforms.Batch(8), *data_loader_operations(schema, on_invalid="raise"))


WRONG_PLACES: dict[str, tuple[Callable[[], Any], str]] = {
    "guard_labels in a map": (
        lambda: grain.MapDataset.source(RECORDS).map(lambda r: guard_labels(r, make_schema(), split="train"))[0],
        "call ds.pipe(guard_labels, schema, ...), not ds.map(...)",
    ),
    "guard_labels on a list": (lambda: guard_labels(RECORDS, make_schema(), split="train"), "guard_batches(loader"),
    "guard_labels on an iterator": (
        lambda: guard_labels(iter(_iter(RECORDS)), make_schema(), split="train"), "guard_batches(loader"
    ),
    "guard_labels on a DataLoader": (
        lambda: guard_labels(
            grain.DataLoader(data_source=RECORDS, sampler=grain.samplers.IndexSampler(4, num_epochs=1)), make_schema()
        ),
        "*data_loader_operations(schema, ...)",
    ),
    "data_loader_operations with a source without keys": (
        lambda: data_loader_operations(make_schema(), source=RECORDS, split="train", on_invalid="raise"),
        "keyed(source)",
    ),
    "data_loader_operations with a dataset": (
        lambda: data_loader_operations(
            make_schema(), source=grain.MapDataset.source(keyed(RECORDS)), split="train", on_invalid="raise"
        ),
        "source=SourceMapDataset has no record keys",
    ),
    "keyed over a dict of splits": (lambda: keyed({"train": RECORDS}), "keyed(source['train'])"),
    "keyed over an IterDataset": (lambda: keyed(_iter(RECORDS)), "random-access"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_PLACES)
def test_a_call_in_the_wrong_place(name: str) -> None:
    """A function that was given the wrong thing says which call is meant."""
    call, expected = WRONG_PLACES[name]
    with pytest.raises(UsageError) as caught:
        call()
    assert expected in str(caught.value)


FLAGS = """
import grain, numpy as np
from label_guard import ClassLabel
from label_guard.grain import guard_labels
from label_guard.errors import UsageError
if __name__ == "__main__":
    ds = grain.MapDataset.source([{"label": np.int64(1)}] * 8).to_iter_dataset()
    ds = ds.mp_prefetch(grain.MultiprocessingOptions(num_workers=1))
    try:
        next(iter(ds.pipe(guard_labels, {"label": ClassLabel(num_classes=10)}, batch_size=4, on_invalid="mask")))
        print("delivered")
    except UsageError as error:
        print(error)
"""


def test_flags_that_were_not_parsed(tmp_path: Path) -> None:
    """Grain's workers need parsed flags where jaxlib lets Grain profile them: the error says how to parse them.

    Grain reads its flag for that from extension version 448 of jaxlib on (``grain/_src/core/profiler.py``); with an
    older one, such as that of 0.7.0, it reads no flag, and batches come.
    """
    script = tmp_path / "train.py"
    script.write_text(FLAGS)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=300)
    if jaxlib_extension_version < 448:
        assert done.stdout == "delivered\n"
    else:
        assert "absl.flags.FLAGS.mark_as_parsed()" in done.stdout


def test_a_key_that_a_guard_or_packing_leaves_out(tmp_path: Path) -> None:
    """Behind a guard, which takes the key off, and behind packing, which cannot carry it, no key is required."""
    options = {"split": "train", "on_invalid": "mask"}
    ds = _iter(keyed(RECORDS))
    first = ds.pipe(guard_labels, make_schema(), batched=False, **options)
    assert len(list(first.pipe(guard_labels, make_schema(), batch_size=8, **options))) == 8
    lists = grain.MapDataset.source(keyed([{"label": np.arange(4)}] * 8)).to_iter_dataset(READ)
    packed = grain.experimental.FirstFitPackIterDataset(
        lists.map(lambda record: {"label": record["label"]}), length_struct={"label": 8}, num_packing_bins=2
    )
    schema = {"label": ClassLabel(num_classes=10, shape=(8,))}
    assert len(list(packed.batch(2).pipe(guard_labels, schema, on_invalid="mask"))) == 2


@pytest.mark.parametrize(
    ("element", "says"),
    [
        (SimpleNamespace(label=1), "the elements are SimpleNamespace objects, which have no features"),
        (b"raw", "the elements are bytes objects"),
        ("raw", "the elements are str objects"),
        ([{"label": 1}, {"label": 2}], "the elements are lists of dict records"),
        ([(np.zeros(2), 1)], "the elements are lists of tuple records"),
        (np.arange(3), "the elements are bare arrays"),
    ],
)
def test_elements_that_the_guard_cannot_read(element: Any, says: str) -> None:
    """The message says what the elements are, and not that they are arrays where they are none."""
    with pytest.raises(UsageError, match=says):
        next(guard_batches([element], make_schema(), split="train", on_invalid="raise"))


def test_a_wrong_parse() -> None:
    """``parse=`` that is not a function is refused at once; one that returns no dict is named."""
    with pytest.raises(UsageError, match="parse is 'json'; it must be a function"):
        keyed(RAW, parse="json")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="parse= returned list; return a dict from it"):
        keyed(RAW, parse=list)[0]
    record = keyed([b"[1]"], parse=json.loads, on_unreadable="quarantine")[0]
    assert "parse= returned list" in record["label_guard_unreadable"]


@pytest.mark.parametrize("make", [tuple, list])
@pytest.mark.parametrize(("key", "places"), [("2", 3), ("weights", 3), ("3", None), ("7", None)])
def test_an_index_as_valid_key(make: Any, key: str, places: int | None) -> None:
    """The next index or a name appends the mask to a tuple; an index behind that is a slip, and an error."""
    element = make([np.zeros((2, 3)), np.array([1, 2])])
    guarded = guard_batches([element], make_schema("1"), split="train", on_invalid="mask", valid_key=key)
    if places is not None:
        assert len(next(guarded)) == places
        return
    with pytest.raises(UsageError, match=f"valid_key='{key}' is an index outside the {make.__name__} of 2 items"):
        next(guarded)


def test_the_sum_of_what_is_no_summary() -> None:
    """``sum_summaries`` of an iterator or of metrics is an error on one host, too, where there is nothing to add."""
    guarded = guard_batches([], make_schema(), split="train", on_invalid="mask")
    for wrong in (None, guarded, guarded.summary.as_metrics()):
        with pytest.raises(UsageError, match="sum_summaries takes the counts of this host"):
            sum_summaries(wrong)  # type: ignore[arg-type]
