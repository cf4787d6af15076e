"""The lint of schema files: what loads and will still hurt, comments that quiet it, and which rules are reported."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from label_guard.errors import UsageError
from label_guard.lint.linter import chosen_rules, lint_file
from label_guard.rules.registry import RULES
from label_guard.schema.reader import read_schema_bytes
from label_guard.schema.syntax import UnreadableError, parse

_HEAD = "format: 1\nname: pets\nversion: 1.0.0\n"
_LABEL = "labels:\n  label: {kind: class_label, num_classes: %d, class_names: [%s]}\n"


def _lint(text):
    return [d.rule for d in lint_file(read_schema_bytes((_HEAD + text).encode(), "pets.yaml"))]


@example("._0")
@example("-._1e3")
@given(st.from_regex(r"\A[-+.:_=<0-9a-zA-Z]{1,12}\Z") | st.text("0123456789.:-+_eExXbBoOTZ ", min_size=1, max_size=20))
def test_names_that_yaml_1_1_mangles_are_found(name):
    """Whatever a YAML 1.1 reader takes for no string is LG212 or LG213; and quoting ends it."""
    old = YAML(typ="safe", pure=True)
    old.version = (1, 1)
    text = f"labels: {{label: {{class_names: [{name}]}}}}"
    try:
        [there] = parse(text).child("labels").child("label").child("class_names").value
        [value] = old.load(text)["labels"]["label"]["class_names"]
    except (UnreadableError, Exception):
        return  # no scalar to one of the readers
    if not isinstance(value, str) and there.plain is not None:
        assert {"LG212", "LG213"} & set(_lint(_LABEL % (1, name)))
    quoted = _lint(_LABEL % (1, f'"{there.plain}"'))
    assert not {"LG212", "LG213"} & set(quoted)


@pytest.mark.parametrize("name", ["no", "Yes", "ON", "y", "12:30", "2020-01-01", "1_000", "0b1", "<<", "="])
def test_ambiguous_names_are_warned_of(name):
    """Names that only YAML 1.1 readers take for something else are strings here, with a warning."""
    file = read_schema_bytes((_HEAD + _LABEL % (1, name)).encode(), "x.yaml")
    assert file.schema.labels["label"].class_names == (name,)
    assert _lint(_LABEL % (1, name)) == ["LG213"]


def test_json_names_are_never_ambiguous():
    """JSON has quotes around every string."""
    text = '{"format": 1, "name": "x", "version": "1.0.0", "labels": {"a": {"kind": "class_label", "num_classes": 1, '
    text += '"class_names": ["no"]}}}'
    assert lint_file(read_schema_bytes(text.encode(), "x.json")) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("fire truck, Fire Truck", ["LG210"]),
        ("fire truck, fire  truck", ["LG210"]),
        ('fire truck, "fire  truck"', ["LG210"]),
        ("STRASSE, straße", ["LG210"]),
        ("caf\u00e9, cafe\u0301", ["LG210"]),
        ("cat, c\u0430t", ["LG210"]),  # a Cyrillic letter
        ("cat, c\u200bat", ["LG210"]),
        ("cat, \uff43at", ["LG210"]),
        ("\u041a\u041e\u0422, \u043a\u043et", ["LG210"]),
        ("cote, cot\u00e9", []),
        ('a, " a"', ["LG210", "LG219"]),
        ("a, b", []),
    ],
)
def test_names_that_look_alike(names, expected):
    """Two names that people would take for one are reported at the second."""
    count = names.count(",") + 1
    assert _lint(_LABEL % (count, names)) == expected


def test_names_that_look_the_same_are_shown_with_escapes():
    """A message about two names shows how they differ."""
    file = read_schema_bytes((_HEAD + _LABEL % (2, "caf\u00e9, cafe\u0301")).encode(), "x.yaml")
    assert [found.message for found in lint_file(file)] == [r"class names 'caf\xe9' and 'cafe\u0301' look alike"]


def test_a_name_that_does_not_print_is_empty():
    """A name of characters without a picture is one that nobody can see."""
    assert _lint(_LABEL % (2, '"\u200b", a')) == ["LG219"]


def test_ids_that_no_dtype_holds():
    """class_ids that end beyond 64 bits can never occur."""
    cases = [("", 2**64 - 2, []), ("", 2**64 - 1, ["LG203"]), (", dtype: unsigned", -1, ["LG203"])]
    cases += [(", dtype: signed", 2**63 - 2, []), (", dtype: signed", 2**63 - 1, ["LG203"])]
    for dtype, start, codes in [*cases, (", dtype: [int8, unsigned]", -1, []), (", dtype: floating", 2**53 + 1, [])]:
        label = f"labels:\n  label: {{kind: class_label, num_classes: 2, class_ids: {{start: {start}}}{dtype}}}\n"
        assert _lint(label) == codes


@pytest.mark.parametrize("fields", ["num_classes: 3", "kind: class_label, num_classes: 3"])
def test_merge_keys_are_named_as_such(fields):
    """What a merge key would bring is not called missing: the key is what has to go."""
    label = f"labels:\n  a: &a {{kind: class_label, num_classes: 2}}\n  b: {{<<: *a, {fields}}}\n"
    found = lint_file(read_schema_bytes((_HEAD + label).encode(), "x.yaml"))
    assert [(one.rule, one.line, "merge key" in one.message) for one in found] == [("LG206", 6, True)]


@pytest.mark.parametrize(("text", "words"), [("a:\n\tb: 1\n", "indents this line"), ("a:\tb\n", "is in this line")])
def test_tabs_are_said_to_be_where_they_are(text, words):
    """Only a tab at the beginning of a line indents it."""
    assert [words in found.message for found in lint_file(read_schema_bytes(text.encode(), "x.yaml"))] == [True]


def test_names_in_overrides_are_looked_at_too():
    """class_names of a split or a view are held to the same rules as those of a label."""
    text = _LABEL % (2, "a, b")
    text += "splits:\n  test: {num_examples: 1, labels: {label: {class_names: [no, a]}}}\n"
    text += 'views:\n  v: {labels: {label: {class_names: ["a ", b]}}}\n'
    assert _lint(text) == ["LG213", "LG219"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("ignore: [-1]", "trains class 9"),
        ("ignore: [255, -10]", "trains class 0"),
        ("ignore: [-100]", "is NaN, with finite gradients"),
        ("ignore: [-1], on_ignore: replace", None),
        ("ignore: [255]", None),
        ("unlabeled: -1", "trains class 9"),
        ("unlabeled: -1, on_unlabeled: keep", "trains class 9"),
        ("unlabeled: -1, on_unlabeled: skip", None),
        ("unlabeled: -1, on_unlabeled: replace", None),
    ],
)
def test_a_kept_negative_sentinel_is_warned_of(fields, expected):
    """A negative value that stays in the array is reported with what a loss makes of it."""
    text = _HEAD + f"labels:\n  label: {{kind: class_label, num_classes: 10, {fields}}}\n"
    found = lint_file(read_schema_bytes(text.encode(), "x.yaml"))
    assert [d.rule for d in found] == ([] if expected is None else ["LG215"])
    assert all(expected in d.message and d.severity == "warning" for d in found)


def test_a_kept_sentinel_of_a_split_is_reported_at_the_split():
    """What a split adds is reported there; what it inherits is reported once, at the label."""
    text = _HEAD + (
        "labels:\n"
        "  a: {kind: class_label, num_classes: 3, ignore: [-1]}\n"
        "  b: {kind: multi_label, num_classes: 3, ignore: [-1]}\n"
        "splits:\n"
        "  train: {num_examples: 1}\n"
        "  test: {num_examples: 1, labels: {a: {unlabeled: -2}, b: {on_ignore: replace}}}\n"
    )
    found = lint_file(read_schema_bytes(text.encode(), "x.yaml"))
    assert [(d.path, d.line) for d in found] == [
        (("labels", "a", "ignore"), 5),
        (("labels", "b", "ignore"), 6),
        (("splits", "test", "labels", "a", "unlabeled"), 9),
    ]
    assert "no lower bound" in found[1].message


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("# noqa: LG215", []),
        ("#noqa:LG215", []),
        ("# NOQA: lg215", []),
        ("# noqa: LG213, LG215", ["LG221"]),
        ("# kept for the old loss # noqa: LG215", []),
        ("# noqa", ["LG215", "LG220"]),
        ("# noqa:", ["LG215", "LG220"]),
        ("# noqa: LG999", ["LG215", "LG221"]),
        ("# noqa: LG215 LG301", []),
        ("# noqa: LG215, LG231", []),
        ("# noqa-ish", ["LG215"]),
    ],
)
def test_noqa_needs_a_code_and_a_use(comment, expected):
    """A comment quiets the codes it names in its line, and is itself reported where it names none or is of no use."""
    text = f"labels:\n  label: {{kind: class_label, num_classes: 10, ignore: [-1]}} {comment}\n"
    assert _lint(text) == expected


def test_noqa_in_a_string_is_no_comment():
    """A # inside quotes or a block of text says nothing to lint."""
    text = 'description: "# noqa: LG215"\nrecord_key: |\n  # noqa\n'
    text += "labels:\n  label: {kind: class_label, num_classes: 10} # noqa: LG215\n"
    assert _lint(text) == ["LG221"]


def test_noqa_does_not_quiet_what_keeps_a_file_from_loading():
    """A pipeline would refuse the file all the same, so lint says so and names the comment."""
    text = "labels:\n  label: {kind: class_label, num_classes: 10, class_names: [a]} # noqa: LG201\n"
    found = lint_file(read_schema_bytes((_HEAD + text).encode(), "x.yaml"))
    assert [d.rule for d in found] == ["LG201", "LG221"]
    assert "cannot be quieted" in found[1].message


def test_rules_are_selected_by_code_or_beginning():
    """Select and ignore take codes and beginnings of codes; LG200 cannot be left out."""
    assert chosen_rules() == set(RULES)
    assert chosen_rules(["LG2"], ["LG21", "LG200"]) == {
        code for code in RULES if code.startswith("LG2") and not code.startswith("LG21")
    }
    assert chosen_rules(["LG213"]) == {"LG200", "LG213"}
    for wrong in ("LG999", "E501", "", "lg2"):
        with pytest.raises(UsageError, match="no rule has the code"):
            chosen_rules([wrong])


def test_a_label_with_the_name_of_a_mask_is_reported():
    """`box_valid` next to `box`: the mask of `box` would replace it."""
    text = "labels:\n  box: {kind: class_label, num_classes: 3}\n  box_valid: {kind: class_label, num_classes: 2}\n"
    found = lint_file(read_schema_bytes(f"format: 1\nname: x\nversion: 1.0.0\n{text}".encode(), "x.yaml"))
    assert [(diagnostic.rule, diagnostic.line) for diagnostic in found] == [("LG223", 6)]


@pytest.mark.parametrize("split", ["train", "Train", "training", "TRAIN_2017"])
def test_a_training_split_is_known_however_it_is_written(split):
    """A training split must say what happens to records without a label."""
    text = "labels:\n  y: {kind: class_label, num_classes: 3, unlabeled: 7}\n"
    assert _lint(text + f"splits: {{{split}: {{num_examples: 5}}}}\n") == ["LG211"]
    assert _lint(text + "splits: {Test: {num_examples: 5}}\n") == []
