"""A sound schema file, and what lint says of it once one thing is changed."""

import pytest

from label_guard.cli.lint import exit_code
from label_guard.lint.linter import lint_file
from label_guard.rules.registry import RULES
from label_guard.schema.reader import read_schema_bytes

_SOUND = """\
format: 1
name: pets
version: 1.0.0
labels:
  label:
    kind: class_label
    num_classes: 3
    class_names: [cat, dog, bird]
    dtype: uint8
    ignore: [255]
    emit: int32
  tags:
    kind: multi_label
    num_classes: 4
    dtype: uint8
    min_positive: 1
  mix:
    kind: soft_label
    num_classes: 3
    tolerance: 0.001
  score:
    kind: real_label
    minimum: 0
    maximum: 5
splits:
  train: {num_examples: 100}
  test: {num_examples: 20, labels: {label: {unlabeled: 254, on_unlabeled: replace}}}
views:
  batch: {labels: {label: {shape: [4]}}}
limits: {max_invalid_ratio: 0.0, min_class_count: 1}
"""

# What the file has, what is put in its place, the codes and places that lint gives, the exit code.
_MUTATIONS = [
    ("format: 1\n", "", ["LG208 1:1"], 1),
    ("format: 1", "format: 2", ["LG208 1:9"], 1),
    ("format: 1", "format: '1'", ["LG208 1:9"], 1),
    ("format: 1", "format: true", ["LG208 1:9"], 1),
    ("format: 1", "format: 1.0", ["LG208 1:9"], 1),
    ("name: pets\n", "", ["LG207 1:1"], 1),
    ("name: pets", "name: 7", ["LG207 2:7"], 1),
    ("name: pets", "name: ''", ["LG207 2:7"], 1),
    ("name: pets", "name: [a]", ["LG207 2:7"], 1),
    ("version: 1.0.0\n", "", ["LG209 1:1"], 1),
    ("version: 1.0.0", "version: 1.0", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: 1", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: v1.0.0", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: 01.0.0", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: 1.0.0-a..b", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: 1.0.0-01", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: 1.0.0-.", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: 1.0.0+a..b", ["LG209 3:10"], 1),
    ("version: 1.0.0", f"version: 1.0.{'9' * 5000}", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: null", ["LG209 3:10"], 1),
    ("version: 1.0.0", "version: 1.0.0\nversion: 1.0.1", ["LG222 4:1"], 1),
    ("version: 1.0.0", "version: 1.0.0\nlables: {}", ["LG206 4:1"], 1),
    ("version: 1.0.0", "version: 1.0.0\nfoo: 1", ["LG206 4:1"], 1),
    ("labels:\n", "labels:\n  label_valid: {kind: class_label, num_classes: 2}\n", ["LG223 5:16"], 0),
    ("labels:\n  label:", "labels: {}\nx:\n  label:", ["LG207 4:9", "LG206 5:1"], 1),
    ("    kind: class_label\n    num", "    num", ["LG207 5:3"], 1),
    ("kind: class_label", "kind: ClassLabel", ["LG207 6:11"], 1),
    ("kind: class_label", "kind: 3", ["LG207 6:11"], 1),
    ("    num_classes: 3\n    class_names", "    class_names", ["LG207 5:3"], 1),
    ("num_classes: 3\n    class_names", "num_classes: '3'\n    class_names", ["LG207 7:18"], 1),
    ("num_classes: 3\n    class_names", "num_classes: 0\n    class_names", ["LG207 7:18"], 1),
    ("num_classes: 3\n    class_names", "num_classes: 3.0\n    class_names", ["LG207 7:18"], 1),
    ("num_classes: 3\n    class_names", "num_classes: 4\n    class_names", ["LG201 7:18"], 1),
    ("num_classes: 3\n    class_names", "num_clases: 3\n    class_names", ["LG206 7:5"], 1),
    ("[cat, dog, bird]", "[cat, dog]", ["LG201 7:18"], 1),
    ("[cat, dog, bird]", "[cat, dog, cat]", ["LG202 8:29"], 1),
    ("[cat, dog, bird]", "[cat, dog, Cat]", ["LG210 8:29"], 0),
    ("[cat, dog, bird]", "[cat, dog, ' bird']", ["LG219 8:29"], 0),
    ("[cat, dog, bird]", "[cat, dog, '']", ["LG219 8:29"], 0),
    ("[cat, dog, bird]", "[cat, dog, no]", ["LG213 8:29"], 0),
    ("[cat, dog, bird]", "[cat, dog, 010]", ["LG212 8:29"], 1),
    ("[cat, dog, bird]", "[cat, dog, 12:30]", ["LG213 8:29"], 0),
    ("[cat, dog, bird]", "[cat, dog, 1e3]", ["LG212 8:29"], 1),
    ("[cat, dog, bird]", "[cat, dog, 2020-01-01]", ["LG213 8:29"], 0),
    ("[cat, dog, bird]", "[cat, dog, null]", ["LG212 8:29"], 1),
    ("[cat, dog, bird]", "[cat, dog, true]", ["LG212 8:29"], 1),
    ("[cat, dog, bird]", "cat", ["LG207 8:18"], 1),
    ("[cat, dog, bird]", "[cat, [dog], bird]", ["LG207 8:24"], 1),
    ("dtype: uint8\n    ignore", "dtype: int\n    ignore", ["LG207 9:5"], 1),
    ("dtype: uint8\n    ignore", "dtype: [uint8, flot32]\n    ignore", ["LG207 9:20"], 1),
    ("dtype: uint8\n    ignore", "dtype: []\n    ignore", ["LG207 9:12"], 1),
    ("dtype: uint8\n    ignore", "dtype: bool\n    ignore", ["LG203 9:12"], 1),
    ("dtype: uint8\n    ignore", "dtype: int8\n    ignore", ["LG203 9:12"], 1),
    (
        "num_classes: 3\n    class_names: [cat, dog, bird]\n    dtype: uint8",
        "num_classes: 300\n    dtype: uint8",
        ["LG203 8:12", "LG204 9:14", "LG217 26:56", "LG216 29:51"],
        1,
    ),
    (
        "num_classes: 3\n    class_names: [cat, dog, bird]\n    dtype: uint8\n    ignore: [255]\n    emit: int32",
        "num_classes: 128\n    dtype: int8",
        ["LG203 8:12", "LG216 27:51"],
        1,
    ),
    ("emit: int32", "emit: int8", ["LG205 11:11"], 1),
    ("emit: int32", "emit: uint64", ["LG207 11:11"], 1),
    ("emit: int32", "emit: int16\n    class_ids: [1, 2]", ["LG201 12:16"], 1),
    ("emit: int32", "emit: int32\n    class_ids: [1, 2, 2]", ["LG218 12:16"], 1),
    ("emit: int32", "emit: int32\n    class_ids: {start: x}", ["LG207 12:24"], 1),
    ("emit: int32", "emit: int32\n    class_ids: {begin: 1}", ["LG207 12:5", "LG206 12:17"], 1),
    ("emit: int32", "emit: int32\n    class_ids: 1", ["LG207 12:16"], 1),
    ("emit: int32", "emit: int32\n    class_ids: [1, a, 3]", ["LG207 12:20"], 1),
    ("ignore: [255]", "ignore: 255", ["LG207 10:13"], 1),
    ("ignore: [255]", "ignore: [2]", ["LG204 10:14"], 1),
    ("ignore: [255]", "ignore: [255.0]", ["LG207 10:14"], 1),
    ("ignore: [255]", "ignore: [-1]", ["LG203 9:12"], 1),
    ("dtype: uint8\n    ignore: [255]", "dtype: int64\n    ignore: [-100]", ["LG215 10:13"], 0),
    ("dtype: uint8\n    ignore: [255]", "dtype: int64\n    ignore: [99999999999]", ["LG205 10:14", "LG205 11:11"], 1),
    ("ignore: [255]", "ignore_index: [255]", ["LG206 10:5"], 1),
    ("ignore: [255]", "ignore: [255]\n    unlabeled: 255", ["LG211 11:16", "LG217 11:16"], 1),
    ("ignore: [255]", "ignore: [255]\n    unlabeled: 1", ["LG211 11:16", "LG217 11:16"], 1),
    ("ignore: [255]", "ignore: [255]\n    unlabeled: 250", ["LG211 11:16"], 1),
    ("ignore: [255]", "ignore: [255]\n    on_ignore: drop", ["LG207 11:16"], 1),
    ("ignore: [255]", "ignore: [255]\n    tolerance: 1", ["LG206 11:5"], 1),
    ("ignore: [255]", "ignore: [255]\n    shape: 4", ["LG207 11:12"], 1),
    ("ignore: [255]", "ignore: [255]\n    shape: [-1]", ["LG207 11:13"], 1),
    ("ignore: [255]", "ignore: [255]\n    shape: [2, x]", ["LG207 11:16"], 1),
    ("ignore: [255]", "ignore: [255]\n    unique: 1", ["LG207 11:13"], 1),
    ("ignore: [255]", "ignore: [255]\n    min_length: 2", ["LG216 11:17"], 1),
    ("emit: int32", "emit: int32\n    shape: [null]\n    min_length: 3\n    max_length: 2", ["LG216 13:17"], 1),
    ("emit: int32", "emit: int32\n    shape: [null]\n    unique: true\n    min_length: 4", ["LG216 14:17"], 1),
    ("min_positive: 1", "min_positive: 5", ["LG216 16:19"], 1),
    ("min_positive: 1", "min_positive: -1", ["LG207 16:19"], 1),
    ("min_positive: 1", "ignore: [1]", ["LG204 16:14"], 1),
    ("min_positive: 1", "ignore: [-1]", ["LG203 15:12"], 1),
    ("min_positive: 1", "dtype: uint8", ["LG222 16:5"], 1),
    ("tolerance: 0.001", "tolerance: -1", ["LG207 20:16"], 1),
    ("tolerance: 0.001", "tolerance: .inf", ["LG216 20:16"], 1),
    ("tolerance: 0.001", "tolerance: 1", ["LG216 20:16"], 1),
    ("tolerance: 0.001", "tolerance: x", ["LG207 20:16"], 1),
    ("tolerance: 0.001", "emit: int32", ["LG205 20:11"], 1),
    ("minimum: 0", "minimum: 9", ["LG216 23:14"], 1),
    ("minimum: 0", "minimum: .nan", ["LG216 23:14"], 1),
    ("minimum: 0", "minimum: '0'", ["LG207 23:14"], 1),
    ("minimum: 0", "emit: int32", ["LG205 23:11"], 1),
    ("train: {num_examples: 100}", "train: {}", ["LG214 26:3"], 0),
    ("train: {num_examples: 100}", "train: {num_examples: 0}", ["LG214 26:25"], 0),
    ("train: {num_examples: 100}", "train:", ["LG207 27:3"], 1),
    ("train: {num_examples: 100}", "train: {num_examples: -1}", ["LG207 26:25"], 1),
    ("train: {num_examples: 100}", "train: {num_example: 100}", ["LG206 26:11"], 1),
    ("train: {num_examples: 100}", "'train[:90%]': {num_examples: 100}", ["LG207 26:18"], 1),
    ("train: {num_examples: 100}", "train: {num_examples: 100, labels: {label: {unlabeled: 254}}}", ["LG211 26:58"], 1),
    ("train: {num_examples: 100}", "train: {num_examples: 100, labels: {lable: {unlabeled: 254}}}", ["LG206 26:39"], 1),
    ("train: {num_examples: 100}", "train: {num_examples: 100, labels: {label: {num_classes: 4}}}", ["LG201 26:60"], 1),
    ("train: {num_examples: 100}", "train: {num_examples: 100, labels: {score: {num_classes: 4}}}", ["LG206 26:47"], 1),
    ("train: {num_examples: 100}", "train: {num_examples: 2}", ["LG216 30:51"], 1),
    ("train: {num_examples: 100}", "train: {num_examples: 3}", [], 0),
    ("shape: [4]", "shape: [4], dtypes: int32", ["LG206 29:40"], 1),
    ("shape: [4]", "kind: multi_label, shape: [], max_positive: 0, min_positive: 1", ["LG216 29:89"], 1),
    ("batch: {labels", "batch: {label", ["LG206 29:11"], 1),
    ("max_invalid_ratio: 0.0", "max_invalid_ratio: 2", ["LG207 30:29"], 1),
    ("min_class_count: 1", "min_class_count: 41", ["LG216 30:51"], 1),
    ("min_class_count: 1", "min_class_counts: 1", ["LG206 30:34"], 1),
    ("limits: {", "limits: {{", ["LG200 30:10"], 2),
    ("name: pets", "\tname: pets", ["LG200 2:1"], 2),
    ("name: pets", "name: *x", ["LG200 2:7"], 2),
    ("name: pets", "name: !!python/name:os.system x", ["LG200 2:7"], 2),
    ("name: pets", "--- ", ["LG200 2:1"], 2),
    ("ignore: [255]", "ignore: [255] # noqa", ["LG220 10:19"], 0),
    ("ignore: [255]", "ignore: [255] # noqa: LG215", ["LG221 10:19"], 0),
    ("dtype: uint8\n    ignore: [255]", "dtype: int64\n    ignore: [-1] # noqa: LG215", [], 0),
]


def test_the_file_that_is_mutated_is_clean():
    """A sound file has nothing to say, so whatever a mutation shows comes from the mutation."""
    assert lint_file(read_schema_bytes(_SOUND.encode(), "pets.yaml")) == []


@pytest.mark.parametrize(("old", "new", "expected", "code"), _MUTATIONS)
def test_a_mutation_is_found_at_its_place(old, new, expected, code):
    """One change gives exactly the expected rules at the expected lines and columns, and the expected verdict."""
    assert _SOUND.count(old) == 1
    found = lint_file(read_schema_bytes(_SOUND.replace(old, new).encode(), "pets.yaml"))
    assert [f"{diagnostic.rule} {diagnostic.line}:{diagnostic.column}" for diagnostic in found] == expected
    assert exit_code(found) == code
    assert all(diagnostic.message and diagnostic.file == "pets.yaml" for diagnostic in found)


def test_every_rule_of_schema_files_is_met_by_a_mutation():
    """The table leaves no LG2xx rule out but those that need a source."""
    met = {code.split()[0] for _, _, expected, _ in _MUTATIONS for code in expected}
    assert met == {code for code in RULES if code.startswith("LG2") and not code.startswith("LG23")}
