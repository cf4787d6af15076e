"""Conventions of labels (names, bool, not measured, encodings, where): what a schema may say, what is emitted."""

import math
import pickle

import pytest

from label_guard.check.guard import Guard
from label_guard.lint.linter import lint_file
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.dataset_contradictions import MAX_WORK
from label_guard.schema.reader import read_schema_bytes
from label_guard.schema.writer import dump_schema

_HEAD = "format: 1\nname: x\nversion: 1.0.0\nlabels:\n"
_NAMES = "class_names: [cat, dog, bird]"


def _read(fields, more=""):
    return read_schema_bytes(f"{_HEAD}  y: {{{fields}}}\n{more}".encode(), "x.yaml")


def _rules(fields, more=""):
    return [diagnostic.rule for diagnostic in lint_file(_read(fields, more))]


_SOUND = {
    "names": (f"kind: class_label, num_classes: 3, {_NAMES}, dtype: string", "int32"),
    "names emitted as int64": (f"kind: class_label, num_classes: 3, {_NAMES}, dtype: string, emit: int64", "int64"),
    "names in one cell": (
        f'kind: class_label, num_classes: 3, {_NAMES}, dtype: string, shape: [null], separator: " "',
        "int32",
    ),
    "ids in one cell": ('kind: class_label, num_classes: 3, shape: [null], separator: "|"', "int32"),
    "bool": ("kind: class_label, num_classes: 2, dtype: bool", "int32"),
    "bool or int": ("kind: class_label, num_classes: 2, dtype: [bool, int64]", "int32"),
    "k-hot bool": ("kind: multi_label, num_classes: 2, dtype: bool", "bool"),
    "minus one and one": ("kind: multi_label, num_classes: 2, dtype: int8, negative: -1", "int8"),
    "difficult": (
        "kind: multi_label, num_classes: 2, dtype: int8, negative: -1, ignore: [0], on_ignore: replace",
        "int8",
    ),
    "list of ids": ("kind: multi_label, num_classes: 3, encoding: ids, unique: true, max_length: 2", "int32"),
    "list of names": (
        f'kind: multi_label, num_classes: 3, {_NAMES}, encoding: ids, dtype: string, separator: "|"',
        "int32",
    ),
    "columns": ("kind: multi_label, num_classes: 2, columns: [a, b], dtype: [int8, floating], ignore: [null]", "int8"),
    "not measured": ("kind: multi_label, num_classes: 2, dtype: float32, ignore: [.nan]", "float32"),
    "real": ("kind: real_label, dtype: float32, ignore: [.nan, null, -9999.5], on_ignore: replace", "float32"),
    "where": ("kind: class_label, num_classes: 3, dtype: int32, shape: [8], where: weights", "int32"),
}


@pytest.mark.parametrize("name", _SOUND)
def test_a_convention_is_accepted_written_back_and_emitted(name):
    """Each loads without a finding, survives writing and pickling, and is emitted in the plain form."""
    fields, emitted_dtype = _SOUND[name]
    file = _read(fields)
    assert lint_file(file) == []
    assert read_schema_bytes(dump_schema(file.schema).encode(), "x.yaml").schema == file.schema
    assert pickle.loads(pickle.dumps(file.schema)) == file.schema
    emitted = file.schema.emitted().labels["y"]
    assert emitted_dtype in emitted.stored_dtypes
    assert not emitted.stores_names
    plain = {"separator": None, "columns": None, "positive": 1, "negative": 0, "encoding": "k_hot"}
    assert {key: getattr(emitted, key, value) for key, value in plain.items()} == plain
    again = DatasetSchema.model_validate(file.schema.emitted().model_dump())
    assert again.emitted().labels == file.schema.emitted().labels


_REFUSED = {
    "names without a set": ("kind: class_label, num_classes: 3, dtype: string", ["LG216"]),
    "names and ids": (f"kind: class_label, num_classes: 3, {_NAMES}, dtype: [string, int64]", ["LG203"]),
    "names with raw ids": (
        f"kind: class_label, num_classes: 3, {_NAMES}, dtype: string, class_ids: [1, 2, 4]",
        ["LG216"],
    ),
    "names with a number": (f"kind: class_label, num_classes: 3, {_NAMES}, dtype: string, ignore: [255]", ["LG203"]),
    "a name that holds the separator": (
        'kind: class_label, num_classes: 1, class_names: [a b], dtype: string, shape: [null], separator: " "',
        ["LG216"],
    ),
    "a digit separates ids": ('kind: class_label, num_classes: 3, shape: [null], separator: "0"', ["LG216"]),
    "a separator without a list": ('kind: class_label, num_classes: 3, separator: " "', ["LG216"]),
    "bool of three": ("kind: class_label, num_classes: 3, dtype: bool", ["LG203"]),
    "bool with a sentinel": ("kind: class_label, num_classes: 2, dtype: bool, ignore: [255]", ["LG203"]),
    "ids as bool": ("kind: class_label, num_classes: 2, emit: bool", ["LG205"]),
    "one value for both": ("kind: multi_label, num_classes: 2, dtype: int8, positive: 0", ["LG216"]),
    "unsigned minus one": ("kind: multi_label, num_classes: 2, dtype: uint8, negative: -1", ["LG203"]),
    "kept 0 is emitted 0": ("kind: multi_label, num_classes: 2, dtype: int8, negative: -1, ignore: [0]", ["LG204"]),
    "k-hot text": (f"kind: multi_label, num_classes: 3, {_NAMES}, dtype: string", ["LG203"]),
    "ids with columns": ("kind: multi_label, num_classes: 1, columns: [a], encoding: ids", ["LG216"]),
    "ids with ignore": ("kind: multi_label, num_classes: 2, encoding: ids, ignore: [-1]", ["LG216"]),
    "lengths of rows": ("kind: multi_label, num_classes: 2, min_length: 1", ["LG216"]),
    "columns and count": ("kind: multi_label, num_classes: 3, columns: [a, b]", ["LG201"]),
    "columns twice": ("kind: multi_label, num_classes: 2, columns: [a, a]", ["LG216"]),
    "columns twice, with names": ("kind: multi_label, num_classes: 2, columns: [a, a], class_names: [p, q]", ["LG216"]),
    "columns name the label": ("kind: multi_label, num_classes: 2, columns: [y, a]", ["LG216"]),
    "where names the label": ("kind: real_label, where: y", ["LG216"]),
    "where names names": (
        f"kind: class_label, num_classes: 3, {_NAMES}, dtype: string}}\n  z: {{kind: real_label, where: y",
        ["LG216"],
    ),
    "more ones than ids": (
        "kind: multi_label, num_classes: 4, encoding: ids, max_length: 1, min_positive: 2",
        ["LG216"],
    ),
    "more unique ids than ones": (
        "kind: multi_label, num_classes: 4, encoding: ids, min_length: 2, unique: true, max_positive: 1",
        ["LG216"],
    ),
    "kept NaN": ("kind: real_label, ignore: [.nan], on_ignore: keep", ["LG216"]),
    "NaN in integers": ("kind: real_label, dtype: int32, ignore: [.nan]", ["LG203"]),
    "infinity": ("kind: real_label, ignore: [.inf]", ["LG216"]),
    "legal value": ("kind: real_label, minimum: 0, ignore: [9999]", ["LG204"]),
    "no integer": ("kind: real_label, dtype: integer, minimum: 0.5, maximum: 0.7", ["LG216"]),
    "nothing in float16": ("kind: real_label, dtype: float16, minimum: 70000", ["LG216"]),
    "limit becomes infinite": ("kind: real_label, maximum: 70000, emit: float16", ["LG205"]),
    "400 digits": (f"kind: real_label, minimum: 1{'0' * 400}", ["LG216"]),
    "400 digits to skip": (f"kind: real_label, ignore: [1{'0' * 400}], emit: float16", ["LG205", "LG216"]),
    "400 digits in a row": (
        f"kind: multi_label, num_classes: 2, dtype: int64, ignore: [1{'0' * 400}], emit: int32",
        ["LG205", "LG216"],
    ),
    "infinite limit": ("kind: real_label, maximum: .inf", ["LG216"]),
    "infinite tolerance": ("kind: soft_label, num_classes: 2, tolerance: .inf", ["LG216"]),
    "NaN tolerance": ("kind: soft_label, num_classes: 2, tolerance: .nan", ["LG207"]),
    "tolerance of one": ("kind: soft_label, num_classes: 2, tolerance: 1.5", ["LG216"]),
    "too many classes": ("kind: class_label, num_classes: 2147483648", ["LG207"]),
    "id beyond uint64": ("kind: class_label, num_classes: 2, class_ids: {start: 18446744073709551616}", ["LG207"]),
    "ignore beyond int64": ("kind: class_label, num_classes: 2, ignore: [-9223372036854775809]", ["LG207"]),
    "dimension": ("kind: real_label, shape: [9223372036854775808]", ["LG207"]),
    "rank": (f"kind: real_label, shape: [{', '.join('1' * 40)}]", ["LG207"]),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_a_contradiction_is_refused(name):
    """Each is an error of one rule, at the label."""
    fields, rules = _REFUSED[name]
    assert sorted(set(_rules(fields))) == rules


_SAID = {
    "one value for both": ("kind: multi_label, num_classes: 2, negative: 1", "negative: 1", "two different values"),
    "NaN as text": ("kind: real_label, ignore: [nan]", "nan]", "write .nan"),
    "an empty text": ("kind: real_label, ignore: ['']", "'']", "write null"),
    "NaN alone": ("kind: real_label, ignore: .nan", ".nan", "write ignore: [.nan]"),
    "one column": ("kind: multi_label, num_classes: 1, columns: a", "a}", "write columns: [a]"),
    "text of floats": (
        "kind: multi_label, num_classes: 2, encoding: ids, separator: ' ', dtype: float32",
        *("float32", "declare a wider integer dtype"),
    ),
    "another word": ("kind: multi_label, num_classes: 2, encoding: id", "id}", "did you mean ids?"),
}


@pytest.mark.parametrize("name", _SAID)
def test_a_slip_is_one_problem_at_its_place_with_a_fix(name):
    """Nothing is reported at a field that the file does not have, nor twice, and the fix says what to write."""
    fields, text, fix = _SAID[name]
    file = _read(fields)
    [found] = lint_file(file)
    assert file.text.splitlines()[found.line - 1][found.column - 1 :].startswith(text.partition(": ")[2] or text)
    assert fix in found.fix


@pytest.mark.parametrize(
    ("more", "fix"),
    [
        ("limits: {train: {max_invalid_ratio: 0.1}}", "splits: {train: {limits: ...}}"),
        ("splits: {test: {num_examples: 1, max_invalid_ratio: 0.1}}", "limits: {max_invalid_ratio: ...}"),
        ("min_class_count: 1", "limits: {min_class_count: ...}"),
        ("splits: {test: {num_examples: 1, labels: {y: {where: y}}}}", "name the feature that holds the mask"),
        ("views: {v: {labels: {y: {where: y}}}}", "name the feature that holds the mask"),
    ],
)
def test_limits_and_masks_have_their_place(more, fix):
    """Limits of a split that is not one, limits outside their section, and a mask that a split names."""
    [found] = lint_file(_read("kind: class_label, num_classes: 2", f"{more}\n"))
    assert fix in found.fix


def test_a_kept_number_that_the_loss_takes_for_a_target_is_reported():
    """-9999 that stays in a real_label is a lint warning, as a negative sentinel of class ids is."""
    assert _rules("kind: real_label, minimum: 0, ignore: [-9999]") == ["LG215"]


def test_nan_and_null_are_two_things():
    """The digest, the written file and the properties keep them apart; a number is neither."""
    nan, null = (_read(f"kind: real_label, ignore: [{value}]").schema for value in (".nan", "null"))
    assert nan.digest() != null.digest()
    assert nan != null
    assert (nan.labels["y"].ignores_nan, nan.labels["y"].ignores_null) == (True, False)
    assert (null.labels["y"].ignores_nan, null.labels["y"].ignores_null) == (False, True)
    assert "ignore: [.nan]" in dump_schema(nan)
    assert nan == DatasetSchema.model_validate(
        {**nan.model_dump(), "labels": {"y": {"kind": "real_label", "ignore": [math.nan]}}}
    )


def test_the_digest_covers_every_rule_and_the_names_that_are_stored():
    """Names count where they are the legal values; kinds and new fields always."""
    stored = [
        _read(f"kind: class_label, num_classes: 2, class_names: [{names}], dtype: string").schema
        for names in ("a, b", "a, c")
    ]
    shown = [_read(f"kind: class_label, num_classes: 2, class_names: [{names}]").schema for names in ("a, b", "a, c")]
    multi = _read("kind: multi_label, num_classes: 2").schema
    assert stored[0].digest() != stored[1].digest()
    assert shown[0].digest() == shown[1].digest() != multi.digest()
    assert multi.digest() != _read("kind: multi_label, num_classes: 2, negative: -1").schema.digest()


def test_limits_of_a_split_replace_the_global_ones_field_by_field():
    """What a split leaves out is global."""
    splits = "splits: {train: {num_examples: 9, limits: {min_class_count: 2}}, test: {num_examples: 9}}\n"
    schema = _read("kind: class_label, num_classes: 2", f"{splits}limits: {{max_invalid_ratio: 0.1}}\n").schema
    assert schema.limits_of("train").model_dump() == {"max_invalid_ratio": 0.1, "min_class_count": 2}
    assert schema.limits_of("test") == schema.limits_of(None) == schema.limits


def test_limits_that_a_split_cannot_meet_are_reported_at_the_split():
    """Nine records do not hold five of each of two classes."""
    splits = "splits:\n  train: {num_examples: 9, limits: {min_class_count: 5}}\n"
    [found] = lint_file(_read("kind: class_label, num_classes: 2", splits))
    assert (found.rule, found.path) == ("LG216", ("splits", "train", "limits", "min_class_count"))


def test_the_size_of_a_schema_is_bounded():
    """Labels, splits and views multiply: more than can be checked in seconds is refused at once."""
    many = 400
    part = "labels: {y: {num_classes: 3}}"
    splits = "splits:\n" + "".join(f"  s{k}: {{num_examples: 1, {part}}}\n" for k in range(many))
    views = "views:\n" + "".join(f"  v{k}: {{{part}}}\n" for k in range(many))
    assert 200 * many * many > MAX_WORK
    [found] = lint_file(_read("kind: class_label, num_classes: 3", splits + views))
    assert (found.rule, found.path) == ("LG207", ("splits",))


def test_large_counts_take_no_memory():
    """2**31 - 1 classes are a number, not a list."""
    fields = "kind: class_label, num_classes: 2147483647, class_ids: {start: 1}, ignore: [0], on_ignore: replace"
    assert _rules(f"{fields}, dtype: int64, emit: int64") == []


@pytest.mark.parametrize("name", list(_SOUND))
def test_a_guard_can_be_made_for_each(name):
    """Each convention is compiled, and so is what leaves the guard, for the same labels."""
    schema = _read(_SOUND[name][0]).schema
    assert list(Guard(schema).labels) == list(Guard(schema.emitted()).labels) == list(schema.labels)
