"""Elements of every form, under every policy that can work with it, and the contracts of loaders made elsewhere."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
import pytest

from label_guard import ClassLabel, DatasetSchema, guard_batches, keyed, read_quarantine
from label_guard.core import tree
from label_guard.errors import InvalidLabelError, UsageError
from label_guard.grain import guard_labels

LABELS = np.array([1, 2, 10, 3, 4, 5, 6, 7])
VALID = LABELS < 10


@dataclasses.dataclass(frozen=True)
class Plain:
    """A batch without a field for the mask."""

    image: Any
    label: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WithField:
    """A dataclass that is a pytree, as flax.struct and chex make them, with a field for the mask."""

    image: Any
    label: Any
    label_valid: Any = None


@dataclasses.dataclass(slots=True)
class ToCome:
    """A dataclass with fields that have no value yet, that of the mask among them."""

    image: Any
    label: Any
    logits: Any = dataclasses.field(init=False)
    label_valid: Any = dataclasses.field(init=False)


@dataclasses.dataclass(frozen=True)
class FrozenToCome:
    """The same, frozen and without slots."""

    image: Any
    label: Any
    logits: Any = dataclasses.field(init=False)
    label_valid: Any = dataclasses.field(init=False)


class Named(NamedTuple):
    """A named tuple without a field for the mask."""

    image: Any
    label: Any


class NamedWithField(NamedTuple):
    """A named tuple with a field for the mask."""

    image: Any
    label: Any
    label_valid: Any = None


class Sub(dict[str, Any]):
    """A subclass of dict."""


class Encoding(UserDict[str, Any]):
    """A mapping that is not a dict, as a BatchEncoding of Hugging Face is."""


# By name: the label's path, how an element is made, and where its mask is (None: it has no place for one).
FORMS: dict[str, tuple[str, Callable[[Any, Any], Any], str | None]] = {
    "dict": ("label", lambda image, label: {"image": image, "label": label}, "label_valid"),
    "nested dict": ("y/label", lambda image, label: {"image": image, "y": {"label": label}}, "y/label_valid"),
    "dict in a tuple": ("1/label", lambda image, label: (image, {"label": label}), "1/label_valid"),
    "ordered dict": ("label", lambda image, label: OrderedDict(image=image, label=label), "label_valid"),
    "subclass of dict": ("label", lambda image, label: Sub(image=image, label=label), "label_valid"),
    "dict with a default": ("label", lambda image, label: defaultdict(list, image=image, label=label), "label_valid"),
    "encoding": ("label", lambda image, label: Encoding({"image": image, "label": label}), "label_valid"),
    "nested encoding": ("y/label", lambda image, label: {"y": Encoding(image=image, label=label)}, "y/label_valid"),
    "dataclass": ("label", Plain, None),
    "dataclass with a field": ("label", WithField, "label_valid"),
    "fields to come": ("label", ToCome, "label_valid"),
    "frozen fields to come": ("label", FrozenToCome, "label_valid"),
    "nested fields to come": ("y/label", lambda image, label: {"y": ToCome(image, label)}, "y/label_valid"),
    "nested dataclass": ("y/label", lambda image, label: {"y": WithField(image, label)}, "y/label_valid"),
    "named tuple": ("label", Named, None),
    "named tuple with a field": ("label", NamedWithField, "label_valid"),
    "bare array": ("", lambda _, label: label, None),
}
Run = Callable[..., list[Any]]


def _batches(make: Any, schema: Any, **options: Any) -> list[Any]:
    image = np.zeros((4, 2))
    elements = [make(image, LABELS[:4]), make(image, LABELS[4:])]
    return list(guard_batches(elements, schema, batched=True, **options))


def _records(make: Any) -> list[Any]:
    return [make(np.zeros(2), label) for label in LABELS]


def _stacked(make: Any, schema: Any, **options: Any) -> list[Any]:
    return list(guard_batches(_records(make), schema, batched=False, batch_size=4, **options))


def _records_out(make: Any, schema: Any, **options: Any) -> list[Any]:
    ds = grain.MapDataset.source(_records(make)).to_iter_dataset(grain.ReadOptions(0, 0))
    return list(ds.pipe(guard_labels, schema, batched=False, **options))


def _map_dataset(make: Any, schema: Any, **options: Any) -> list[Any]:
    ds = grain.MapDataset.source(_records(make)).pipe(guard_labels, schema, batched=False, **options)
    return list(ds.to_iter_dataset(grain.ReadOptions(0, 0)))


PLACES: dict[str, Run] = {
    "batches": _batches,
    "records": _stacked,
    "records out": _records_out,
    "MapDataset": _map_dataset,
}


def _joined(elements: list[Any], path: str) -> list[Any]:
    return np.concatenate([np.atleast_1d(tree.get(element, path)) for element in elements]).tolist()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", FORMS)
def test_policies_that_need_no_mask(tmp_path: Path, form: str, place: str) -> None:
    """drop, raise and report work with every form: the elements keep their type, and the valid labels their order."""
    path, make, _ = FORMS[form]
    schema, run = {path: ClassLabel(num_classes=10)}, PLACES[place]
    dropped = run(make, schema, quarantine=str(tmp_path / "q"), stop_above=None)
    assert _joined(dropped, path) == LABELS[VALID].tolist()
    assert {type(element) for element in dropped} <= {type(make(np.zeros(1), LABELS)), np.int64}
    assert len(read_quarantine(str(tmp_path / "q")).entries) == 1
    assert _joined(run(make, schema, on_invalid="report"), path) == LABELS.tolist()
    with pytest.raises(InvalidLabelError):
        run(make, schema, on_invalid="raise")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", FORMS)
def test_the_policy_mask(form: str, place: str) -> None:
    """Mask fills the field of the mask's name; a form without a place for it is an error with what works."""
    path, make, mask = FORMS[form]
    schema, run = {path: ClassLabel(num_classes=10)}, PLACES[place]
    if mask is None:
        with pytest.raises(UsageError, match=r'"drop" or "raise" with valid_key=None') as caught:
            run(make, schema, stop_above=None, on_invalid="mask")
        assert path == "" or "give the class a field 'label_valid'" in str(caught.value)
        return
    elements = run(make, schema, stop_above=None, on_invalid="mask")
    assert {type(element) for element in elements} == {type(make(np.zeros(1), LABELS))}
    assert _joined(elements, path) == np.where(VALID, LABELS, 0).tolist()
    assert _joined(elements, mask) == VALID.tolist()
    assert {np.shape(tree.get(e, mask)) for e in elements} == {np.shape(tree.get(e, path)) for e in elements}


@pytest.mark.parametrize("container", [tuple, list])
@pytest.mark.parametrize("place", PLACES)
def test_a_mask_behind_a_tuple(place: str, container: Any) -> None:
    """In a tuple or a list the mask is appended, once a name was given; it has the shape of its label."""

    def make(image: Any, label: Any) -> Any:
        return container((image, label))

    run, schema = PLACES[place], {"1": ClassLabel(num_classes=10)}
    with pytest.raises(UsageError, match="is in a tuple"):
        run(make, schema, stop_above=None, on_invalid="mask")
    elements = run(make, schema, stop_above=None, on_invalid="mask", valid_key="valid")
    assert {type(element) for element in elements} == {container}
    assert _joined(elements, "2") == VALID.tolist()
    assert all(np.shape(element[2]) == np.shape(element[1]) for element in elements)


@pytest.mark.parametrize("place", PLACES)
def test_the_sample_weights_of_keras(place: str) -> None:
    """(x, y) become Keras' (x, y, sample_weight), and weights that are there are kept where the label is valid."""
    run, schema = PLACES[place], {"1": ClassLabel(num_classes=10)}
    made = run(
        lambda x, y: (x, y),
        schema,
        stop_above=None,
        on_invalid="mask",
        valid_key="sample_weight",
        valid_dtype="float32",
    )
    assert all(len(element) == 3 for element in made)
    assert _joined(made, "2") == VALID.astype(float).tolist()
    assert {np.asarray(element[2]).dtype for element in made} == {np.dtype(np.float32)}

    def weighted(x: Any, y: Any) -> Any:
        return x, y, (np.asarray(y) / 2).astype(np.float32)

    kept = run(weighted, schema, stop_above=None, on_invalid="mask", valid_key="2")
    assert _joined(kept, "2") == np.where(VALID, LABELS / 2, 0).tolist()


def test_a_generator_for_keras_goes_through_the_epochs() -> None:
    """An endless generator over guarded batches, as Keras takes it, gives the same steps in every epoch."""
    image = np.zeros((4, 2))
    weights = {"valid_key": "sample_weight", "valid_dtype": "float32", "stop_above": None}
    loader = [(image, LABELS[:4]), (image, LABELS[4:])]
    guarded = guard_batches(loader, {"1": ClassLabel(num_classes=10)}, batched=True, on_invalid="mask", **weights)

    def batches() -> Iterator[Any]:
        while True:
            yield from guarded

    steps = [weight.tolist() for (_, _, weight), _ in zip(batches(), range(3 * len(guarded)), strict=False)]
    assert steps == [VALID[:4].tolist(), VALID[4:].tolist()] * 3


def test_lists_as_whole_elements(tmp_path: Path) -> None:
    """A record that is a list of ids is the label at the empty path."""
    records = [[1, 2], [3, 10], [4, 5]]
    schema = {"": ClassLabel(num_classes=10, shape=(2,))}
    options = {"quarantine": str(tmp_path / "q"), "stop_above": None, "batched": False, "batch_size": 2}
    (batch,) = guard_batches(records, schema, **options)
    assert np.asarray(batch).tolist() == [[1, 2], [4, 5]]


class Tensor:
    """What a loader of another framework yields: converts to an array, and is not one."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    def __len__(self) -> int:
        return len(self._values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self._values, dtype)


class Opaque:
    """A feature with a leading axis of which no record can be taken."""

    shape = (4,)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise TypeError("not an array")


def test_a_feature_that_gives_no_rows_is_left_out_of_the_quarantined_record(tmp_path: Path) -> None:
    """It has a shape, but is neither an array nor indexed: the bad record is written without it."""
    batch = {"label": np.array([1, 2, 10, 3]), "state": Opaque()}
    options = {"quarantine": str(tmp_path / "q"), "stop_above": None, "on_invalid": "mask"}
    assert len(list(guard_batches([batch], {"label": ClassLabel(num_classes=10)}, batched=True, **options))) == 1
    (entry,) = read_quarantine(str(tmp_path / "q")).entries
    assert entry.payload["label"] == 10


@pytest.mark.parametrize("ids", [["a", "b", "c", "d"], np.array([b"a", b"b", b"c", b"d"]), Tensor([1, 2, 3, 4])])
@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_names_of_records_in_loaders_made_elsewhere(tmp_path: Path, ids: Any, policy: str) -> None:
    """record_key names records by text (a PyTorch collate), by bytes (tf.data) or by numbers, in tensors too."""

    class Loader:
        def __iter__(self) -> Iterator[Any]:
            yield {"id": ids, "label": Tensor([1, 2, 10, 3])}

    schema = DatasetSchema(
        format=1, name="d", version="1.0.0", record_key="id", labels={"label": ClassLabel(num_classes=10)}
    )
    options = {"quarantine": str(tmp_path / "q"), "stop_above": None, "on_invalid": policy}
    assert len(list(guard_batches(Loader(), schema, batched=True, **options))) == 1
    (entry,) = read_quarantine(str(tmp_path / "q")).entries
    assert entry.record == str(np.asarray(ids).astype(str)[2])


def test_a_source_of_hugging_face_through_keyed(tmp_path: Path) -> None:
    """A random-access table whose rows are dicts of Python values is named by position and guarded as it is."""

    class Table:
        """The contract of datasets.Dataset: len(), int -> dict, str -> column."""

        num_rows = 8

        def __init__(self, fingerprint: str = "4f1a") -> None:
            self._fingerprint = fingerprint

        def __len__(self) -> int:
            return self.num_rows

        def __getitem__(self, key: Any) -> Any:
            if isinstance(key, str):
                return LABELS.tolist()
            assert isinstance(key, int), "a table takes Python integers"
            return {"text": f"row {key}", "label": int(LABELS[key])}

        def __repr__(self) -> str:
            return "Dataset({features: ['text', 'label'], num_rows: 8})"

    ds = grain.MapDataset.source(keyed(Table())).shuffle(seed=1).to_iter_dataset(grain.ReadOptions(0, 0))
    options = {"quarantine": str(tmp_path / "q"), "stop_above": None, "batch_size": 4}
    batches = list(ds.pipe(guard_labels, {"label": ClassLabel(num_classes=10)}, **options))
    assert sum(len(batch["label"]) for batch in batches) == 7
    assert [entry.record for entry in read_quarantine(str(tmp_path / "q")).entries] == ["2"]
    assert keyed(Table("a")).source_id != keyed(Table("b")).source_id


def test_a_first_batch_of_labels_of_another_shape_is_not_taken_for_a_record() -> None:
    """``batched=True`` is contradicted by labels that have the shape of one record, not by any of as many axes."""
    schema = {"y": ClassLabel(num_classes=2, shape=(2, 2))}
    for wrong in (np.zeros((1, 7)), np.zeros((4, 3))):
        guarded = guard_batches([{"y": wrong}], schema, on_invalid="report", batched=True)
        assert [batch["y"].shape for batch in guarded] == [wrong.shape]
        assert guarded.summary.invalid == len(wrong)
    with pytest.raises(UsageError, match="the elements are single records"):
        list(guard_batches([{"y": np.zeros((2, 2))}], schema, on_invalid="report", batched=True))
