"""The schema model: splits, views, what is emitted, and its digest."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from label_guard.core import dtypes
from label_guard.errors import UsageError
from label_guard.schema.dataset import DatasetSchema, problems_of
from label_guard.schema.labels import ClassLabel


def _schema(labels, **fields):
    return DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": labels, **fields})


_IDS = {"kind": "class_label", "num_classes": 3}


def test_a_sub_split_means_its_split():
    """train[:90%], train(3) and sums of splits with equal rules are the declared split."""
    schema = _schema({"a": _IDS}, splits={"train": {}, "test": {"labels": {"a": {"unlabeled": -1}}}, "extra": {}})
    assert [schema.split_name(name) for name in ("train", "train[:90%]", "train[10:20]", "test[5:]")] == [
        "train", "train", "train", "test"
    ]  # fmt: skip
    assert schema.split_name("train+extra[:5%]") in ("train", "extra")
    for wrong, words in (("val", "no split 'val'"), (None, "several splits"), ("train+test", "different label rules")):
        with pytest.raises(UsageError, match=words):
            schema.split_name(wrong)


def test_one_split_or_none_need_not_be_named():
    """Where nothing is to choose, nothing must be said."""
    assert _schema({"a": _IDS}).split_name(None) is None
    assert _schema({"a": _IDS}, splits={"train": {}}).split_name(None) == "train"


def test_a_split_changes_only_what_it_names():
    """An override replaces its fields; the others stay as the label has them."""
    label = {**_IDS, "ignore": [255], "shape": [None]}
    schema = _schema({"a": label}, splits={"train": {}, "test": {"labels": {"a": {"num_classes": 2, "unlabeled": 9}}}})
    test = schema.stored("test")["a"]
    assert (test.num_classes, test.unlabeled, test.ignore, test.shape) == (2, 9, (255,), (None,))
    assert schema.stored("train")["a"] == schema.labels["a"]


def test_a_view_may_change_the_kind():
    """Fields that the new kind does not know are left behind."""
    label = {**_IDS, "shape": [None], "unique": True, "min_length": 1, "class_names": ["x", "y", "z"]}
    view = {"k_hot": {"labels": {"a": {"kind": "multi_label", "shape": [], "dtype": "float32"}}}}
    schema = _schema({"a": label}, views=view)
    checked = schema.checked(view="k_hot")["a"]
    assert (checked.kind, checked.record_shape, checked.class_names) == ("multi_label", (3,), ("x", "y", "z"))
    with pytest.raises(UsageError, match="no view 'crop'"):
        schema.checked(view="crop")


_NAMES = [f"class {number}" for number in range(300)]
_TRUNCATED = "kept sentinel 4294967296 does not survive JAX's int32: it would arrive as another value"


@pytest.mark.parametrize(
    ("label", "rule", "field", "message"),
    [
        ({"kind": "class_label", "num_classes": 300, "class_names": _NAMES, "dtype": "string", "emit": "int8"},
         "LG205", ("emit",), "emit int8 cannot hold every class id"),
        ({**_IDS, "class_ids": [5, 6, 7], "unlabeled": 1},
         "LG217", ("unlabeled",), "unlabeled value 1 would be emitted as well as the dense id 1"),
        ({**_IDS, "unlabeled": 2**32},
         "LG205", ("unlabeled",), _TRUNCATED),
        ({**_IDS, "num_classes": 2, "class_ids": [5, 6], "dtype": "bool"},
         "LG203", ("dtype",), "bool holds the class ids 0 and 1, which class_ids cannot rename"),
        ({**_IDS, "shape": [2], "min_length": 3}, "LG216", ("min_length",), "min_length 3 is above the length 2"),
        ({**_IDS, "shape": [None], "separator": " ", "dtype": "float32"},
         "LG203", ("dtype",), "a list stored as one text holds integers or names"),
        ({"kind": "multi_label", "num_classes": 3, "columns": ["a", "b"], "class_names": ["x", "y", "z"]},
         "LG201", ("columns",), "num_classes is 3 but columns has 2"),
        ({"kind": "real_label", "ignore": [2**32], "dtype": "int64"},
         "LG205", ("ignore", 0), _TRUNCATED),
        ({"kind": "real_label", "dtype": "string"}, "LG203", ("dtype",), "a real_label holds numbers, not text"),
        (
            {"kind": "soft_label", "num_classes": 2, "dtype": ["string", "float32"]},
            "LG203",
            ("dtype",),
            "a soft_label holds numbers, not text",
        ),
    ],
)  # fmt: skip
def test_contradictions_of_one_label(label, rule, field, message):
    """Fields that cannot hold together are refused, at the field and by the rule that names the fault."""
    with pytest.raises(ValidationError) as caught:
        _schema({"a": label})
    found = [(one.rule, one.path, one.message) for one in problems_of(caught.value)]
    assert (rule, ("labels", "a", *field), message) in found


@pytest.mark.parametrize(
    ("fields", "emitted"),
    [
        ({}, {"legal": "[0, 3)", "ignore": ()}),
        ({"class_ids": {"start": 1}}, {"legal": "[0, 3)", "remaps": False}),
        ({"class_ids": [5, 7, 9], "emit": "int32"}, {"legal": "[0, 3)", "dtype": ("int32",)}),
        ({"ignore": [255]}, {"legal": "[0, 3) or ignore 255", "kept_sentinels": (255,)}),
        ({"ignore": [255], "on_ignore": "replace"}, {"legal": "[0, 3)", "kept_sentinels": ()}),
        ({"unlabeled": -1}, {"legal": "[0, 3) or unlabeled -1"}),
        ({"unlabeled": -1, "on_unlabeled": "skip"}, {"legal": "[0, 3)", "unlabeled": None}),
        ({"dtype": "int64"}, {"stored_dtypes": ("int64",)}),
        ({"ignore": [-1], "class_ids": {"start": 1}}, {"stored_dtypes": (*dtypes.SIGNED, *dtypes.UNSIGNED)}),
    ],
)
def test_what_leaves_the_guard(fields, emitted):
    """Emitted labels are dense, in the emitted dtype, and hold no sentinel that was replaced."""
    label = _schema({"a": {**_IDS, **fields}}).emitted().labels["a"]
    assert {name: getattr(label, name) for name in emitted} == emitted


def test_what_is_emitted_is_a_schema_again():
    """The emitted schema passes its own validation and emits itself."""
    label = {**_IDS, "class_ids": {"start": 1}, "ignore": [0], "on_ignore": "replace", "emit": "int32"}
    once = _schema({"a": label}, splits={"train": {"num_examples": 5}}).emitted("train")
    twice = DatasetSchema.model_validate(once.model_dump()).emitted("train")
    assert twice.labels["a"].legal == once.labels["a"].legal == "[0, 3)"
    assert twice.labels["a"].stored_dtypes == once.labels["a"].stored_dtypes == ("int32",)
    assert once.splits["train"].num_examples == 5


def test_the_digest_is_over_label_rules_alone():
    """Names, limits and versions do not change it; a rule of the split or of another split's sentinel does."""
    base = _schema({"a": _IDS}, splits={"train": {}, "test": {}})
    same = base.model_copy(update={"name": "y", "version": "2.0.0", "description": "z"})
    named = _schema({"a": {**_IDS, "class_names": ["x", "y", "z"]}}, splits={"train": {}, "test": {}})
    other = _schema({"a": _IDS}, splits={"train": {}, "test": {"labels": {"a": {"unlabeled": -1}}}})
    assert base.digest("train") == same.digest("train") == named.digest("train") == base.digest("test")
    assert len({base.digest("train"), other.digest("train"), other.digest("test")}) == 3
    assert other.unlabeled_elsewhere("train") == {"a": frozenset({-1})}
    assert other.unlabeled_elsewhere("test") == {"a": frozenset()}


def test_a_schema_cannot_be_changed_and_travels():
    """Frozen, without unknown fields, and equal after pickling."""
    schema = _schema({"a": _IDS}, splits={"train": {}})
    assert pickle.loads(pickle.dumps(schema)) == schema
    with pytest.raises(ValidationError):
        schema.name = "y"
    with pytest.raises(ValidationError):
        _schema({"a": {**_IDS, "classes": 3}})


def test_problems_of_a_model_built_in_python_have_paths():
    """problems_of unfolds contradictions and mistakes alike, without pydantic's words and tags."""
    with pytest.raises(ValidationError) as caught:
        _schema({"a": {**_IDS, "class_names": ["x"]}, "b": {"kind": "real_label", "minimum": "x"}})
    assert {(p.rule, p.path) for p in problems_of(caught.value)} == {
        ("LG201", ("labels", "a", "num_classes")),
        ("LG207", ("labels", "b", "minimum")),
    }


@given(st.sampled_from(dtypes.SIGNED + dtypes.UNSIGNED), st.integers(1, 70_000))
def test_a_dtype_that_cannot_index_is_never_handed_on(name, num_classes):
    """A class label without emit is refused or emits only dtypes that JAX indexes with rightly."""
    fields = {"kind": "class_label", "num_classes": num_classes, "dtype": name}
    if dtypes.can_index(name, num_classes):
        assert ClassLabel(**fields).stored_dtypes == (name,)
        return
    with pytest.raises(ValidationError) as caught:
        ClassLabel(**fields)
    assert {problem.rule for problem in problems_of(caught.value)} == {"LG203"}


@given(st.lists(st.integers(-5, 400), min_size=1, max_size=6, unique=True))
def test_raw_ids_and_dense_ids_are_inverse(ids):
    """Position in class_ids is the dense id; to_raw leads back; nothing else has a raw id."""
    label = ClassLabel(kind="class_label", num_classes=len(ids), class_ids=ids)
    assert [label.to_raw(i) for i in range(len(ids))] == ids
    for wrong in (-1, len(ids)):
        with pytest.raises(UsageError):
            label.to_raw(wrong)
