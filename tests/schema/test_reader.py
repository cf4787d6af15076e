"""Schema files read and written: equal round trips, every problem at its place, never a traceback."""

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from label_guard.errors import SchemaError
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import KINDS
from label_guard.schema.reader import load_schema, one_line, read_schema, read_schema_bytes
from label_guard.schema.syntax import parse, to_plain
from label_guard.schema.writer import dump_schema, quoted

_GOLDEN = Path(__file__).parents[1] / "golden"
_SOUND = """\
format: 1
name: pets
version: 1.0.0
labels:
  label: {kind: class_label, num_classes: 3, class_names: [cat, dog, bird], emit: int32}
splits:
  train: {num_examples: 100, source: "tfds:data/pets"}
"""

# Words that some reader takes for something else than a string.
_WORDS = st.sampled_from(
    [
        "no",
        "Yes",
        "ON",
        "y",
        "null",
        "~",
        "",
        "true",
        "010",
        "1e3",
        "12:30",
        "2020-01-01",
        "1_0",
        "0b1",
        ".5",
        "=",
        "<<",
    ]
)
_TEXT = _WORDS | st.text(st.characters(exclude_categories=("Cs",)), max_size=6) | st.from_regex(r"\A[ -~]{0,9}\Z")
_NAME = st.sampled_from(["label", "objects/label", "1", "no", "a: b", "é"]) | st.text("abc/_-. :#", min_size=1)
_SHAPE = st.lists(st.none() | st.integers(0, 9), max_size=3)


def _optional(**fields):
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def _class_labels(draw):
    count = draw(st.integers(1, 5))
    label = {"kind": "class_label", "num_classes": count}
    label |= draw(
        _optional(
            class_names=st.lists(_TEXT, min_size=count, max_size=count, unique=True),
            dtype=st.sampled_from(["int64", ["int32", "int64"], "signed"]),
            shape=_SHAPE,
            emit=st.just("int32"),
            ignore=st.lists(st.sampled_from([-1, -100, 255]), unique=True),
            on_ignore=st.sampled_from(["keep", "replace"]),
        )
    )
    if draw(st.booleans()):
        label["class_ids"] = draw(
            st.fixed_dictionaries({"start": st.integers(300, 310)})
            | st.lists(st.integers(300, 400), min_size=count, max_size=count, unique=True)
        )
    return label


_SOFT = st.fixed_dictionaries(
    {"kind": st.just("soft_label"), "num_classes": st.integers(1, 5)},
    optional={"tolerance": st.floats(0, 1, exclude_max=True) | st.just(0), "one_hot": st.booleans(), "shape": _SHAPE},
)
_MULTI = st.fixed_dictionaries(
    {"kind": st.just("multi_label"), "num_classes": st.integers(2, 5)},
    optional={"min_positive": st.integers(0, 1), "max_positive": st.integers(1, 2), "dtype": st.just("uint8")},
)
_REAL = st.fixed_dictionaries(
    {"kind": st.just("real_label")},
    optional={"minimum": st.floats(-1e9, 0), "maximum": st.floats(1e-9, 1e300) | st.integers(1), "shape": _SHAPE},
)


@st.composite
def _schemas(draw):
    labels = draw(st.dictionaries(_NAME, _class_labels() | _SOFT | _MULTI | _REAL, min_size=1, max_size=3))
    override = _optional(shape=_SHAPE)
    overrides = st.fixed_dictionaries({}, optional=dict.fromkeys(labels, override))
    split = _optional(num_examples=st.integers(0, 2**63 - 1), source=_TEXT, labels=overrides)
    values = {"format": 1, "name": draw(_TEXT.filter(bool)), "version": "1.0.0", "labels": labels}
    values |= draw(
        _optional(
            description=_TEXT,
            record_key=_TEXT,
            splits=st.dictionaries(st.sampled_from(["test", "validation", "no", "test_a"]), split),
            views=st.dictionaries(_NAME, _optional(labels=overrides), max_size=2),
            limits=_optional(max_invalid_ratio=st.floats(0, 1)),
        )
    )
    return DatasetSchema.model_validate(values)


@given(_schemas())
def test_a_schema_that_is_written_reads_back_equal(schema):
    """dump_schema and read_schema_bytes are inverse, whatever the names."""
    file = read_schema_bytes(dump_schema(schema).encode(), "x.yaml")
    assert file.diagnostics == ()
    assert file.schema == schema
    assert dump_schema(file.schema) == dump_schema(schema)


@given(_schemas())
def test_a_reader_of_yaml_1_1_reads_the_same(schema):
    """What dump_schema writes means the same to YAML 1.1: nothing is taken for a boolean, a date or another number."""
    text = dump_schema(schema)
    old = YAML(typ="safe", pure=True)
    old.version = (1, 1)
    assert old.load(text) == to_plain(parse(text))


@given(_schemas())
def test_json_is_accepted_too(schema):
    """The same values as JSON give the same schema."""
    values = schema.model_dump(mode="json", exclude_unset=True)
    assert read_schema_bytes(json.dumps(values).encode(), "x.json").schema == schema


@given(_TEXT)
def test_quoted_text_is_one_string_to_both_readers(text):
    """quoted() gives one scalar that YAML 1.1 and 1.2 read as that string."""
    assert to_plain(parse(f"[{quoted(text)}]")) == [text]


def test_the_written_layout_is_the_one_of_the_documentation():
    """Sections in blocks, fields of a label one a line, splits and views on a line each, long lists folded."""
    schema = DatasetSchema.model_validate(
        {
            "format": 1,
            "name": "pets",
            "version": "1.2.0",
            "labels": {
                "label": {
                    "dtype": ["uint8"],
                    "kind": "class_label",
                    "num_classes": 14,
                    "class_names": [f"a long name {i}" for i in range(14)],
                },
                "soft": {"kind": "soft_label", "num_classes": 3, "tolerance": 1e-5},
            },
            "splits": {"test": {"num_examples": 10, "labels": {"label": {"unlabeled": 254}}}},
            "limits": {"min_class_count": 0},
        }
    )
    assert dump_schema(schema) == (_GOLDEN / "schema_dump.yaml").read_text()


def test_a_schema_passes_through_load_schema():
    """A DatasetSchema is its own schema file."""
    schema = read_schema_bytes(_SOUND.encode(), "x.yaml").schema
    assert load_schema(schema) is schema


@pytest.mark.parametrize("name", ["pets.yaml", "pets.yml", "pets"])
def test_a_sound_file_loads(tmp_path, name):
    """A path, as text or as a Path, gives the schema."""
    (tmp_path / name).write_text(_SOUND)
    assert load_schema(tmp_path / name) == load_schema(str(tmp_path / name))
    assert load_schema(tmp_path / name).name == "pets"


def test_all_problems_of_a_file_come_in_one_error(tmp_path):
    """A SchemaError lists every problem, one a line with its place, and survives pickling."""
    path = tmp_path / "bad.yaml"
    path.write_text(_SOUND.replace("format: 1\n", "").replace("bird]", "cat], ignore: [1], shpe: [4]"))
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    error = pickle.loads(pickle.dumps(caught.value))
    assert [d.rule for d in error.diagnostics] == ["LG208", "LG202", "LG204", "LG206"]
    assert str(error).splitlines() == [
        f"{path}:1:1: LG208 unsupported-format: format is missing; add format: 1",
        f"{path}:4:70: LG202 duplicate-class-name: class name 'cat' is both 0 and 2; give each class a name of its own",
        f"{path}:4:85: LG204 ignore-inside-range: ignore value 1 is a legal class id (0..2); use a value outside the "
        "legal ids, or on_ignore: replace where only dense ids collide",
        f"{path}:4:89: LG206 unknown-field: unknown field 'shpe'; did you mean shape?",
    ]


def test_contradictions_show_beside_mistakes_of_structure():
    """A wrong type in one field hides no contradiction in another field, label, split or view."""
    text = """\
format: 1
name: 5
version: 1.0.0
labels:
  a: {kind: class_label, num_classes: 2, class_names: [x], unique: 3}
  b: {kind: nothing}
  c: {kind: real_label, minimum: 2, maximum: 1}
splits:
  train: {labels: {a: {unlabeled: -1}, b: {dtype: int8}, d: {}}}
views:
  v: {labels: {a: {ignore: [0]}}}
limits: {max_invalid_ratio: 3}
"""
    found = read_schema_bytes(text.encode(), "x.yaml").diagnostics
    assert [f"{d.rule} {d.line}" for d in found] == [
        "LG207 2", "LG201 5", "LG207 5", "LG207 6", "LG216 7", "LG206 9", "LG207 12"
    ]  # fmt: skip


def test_an_override_does_not_repeat_what_is_wrong_with_its_label():
    """A contradiction of a label is reported once, not again for each split that overrides the label."""
    text = _SOUND.replace("bird", "cat").replace('pets"}', 'pets", labels: {label: {shape: [2]}}}')
    assert [d.rule for d in read_schema_bytes(text.encode(), "x.yaml").diagnostics] == ["LG202"]


def test_a_view_is_held_against_every_split():
    """A view that contradicts what one split emits is refused when the file is read, not when a pipeline is built."""
    text = _SOUND + "  test: {labels: {label: {num_classes: 2, class_names: [a, b]}}}\n"
    text += "views:\n  v: {labels: {label: {ignore: [2]}}}\n"
    [found] = read_schema_bytes(text.encode(), "x.yaml").diagnostics
    assert (found.rule, found.path) == ("LG204", ("views", "v", "labels", "label", "ignore", 0))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "this is nothing (null)"),
        (b"[1, 2]", "this is a list"),
        (b"just text", "this is 'just text'"),
        (b"\x89PNG\r\n\x1a\n", "byte 0x89 is not UTF-8 text"),
        (b"a: 1\x00", "control character U+0000"),
        (b"a: [", "not YAML"),
        (b"#" * 3_000_000, "a schema file may have"),
    ],
)
def test_what_is_no_schema_file_is_one_lg200(tmp_path, content, words):
    """Broken, binary, huge and foreign content gives one LG200 in plain words."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    [found] = read_schema(path).diagnostics
    assert found.rule == "LG200"
    assert words in found.message


def test_files_that_cannot_be_opened_are_lg200(tmp_path):
    """A missing file, a folder and an impossible name are reported like any other problem."""
    for name in (tmp_path / "absent.yaml", tmp_path, "a\0b"):
        [found] = read_schema(name).diagnostics
        assert found.rule == "LG200"
        assert "cannot read the file" in found.message


@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_content_raises(data):
    """Random bytes give diagnostics or a schema, as YAML and as JSON."""
    for name in ("x.yaml", "x.json"):
        file = read_schema_bytes(data, name)
        assert (file.schema is None) == bool(file.diagnostics)


_JUNK = (
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | st.lists(st.integers(), max_size=2) | st.just({})
)
_FIELDS = st.sampled_from(
    [
        "kind",
        "num_classes",
        "class_names",
        "class_ids",
        "dtype",
        "shape",
        "ignore",
        "unlabeled",
        "start",
        "minimum",
        "x",
    ]
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "format": st.just(1) | _JUNK,
            "name": _JUNK,
            "version": st.just("1.0.0") | _JUNK,
            "labels": _JUNK | st.dictionaries(_NAME, _JUNK | st.dictionaries(_FIELDS, _JUNK | st.just("class_label"))),
            "splits": _JUNK | st.dictionaries(_NAME, _JUNK | _optional(labels=st.dictionaries(_NAME, _JUNK))),
            "views": _JUNK | st.dictionaries(_NAME, _JUNK),
            "limits": _JUNK | st.dictionaries(_FIELDS, _JUNK),
        },
    )
)
def test_nearly_right_files_never_raise(values):
    """Files of the right outline with anything in their fields give diagnostics with a rule, a message and a place."""
    file = read_schema_bytes(json.dumps(values).replace("NaN", "1").replace("Infinity", "1").encode(), "x.json")
    for diagnostic in file.diagnostics:
        assert diagnostic.line == 1
        assert diagnostic.message
        assert "Input should" not in one_line(diagnostic)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["labels", "splits", "views"])
def test_a_label_or_split_named_as_a_field_changes_no_message(kind: str, place: str) -> None:
    """Whatever labels, splits and views are called, the same fields are reported in the same words."""
    wrong = {
        "dtype": 1, "shape": 3, "where": 4, "num_classes": "x", "class_names": [1, "a"], "class_ids": [1, "x"],
        "ignore": ["x", None], "minimum": "x", "maximum": True, "tolerance": "x", "columns": [2], "separator": 5,
    }  # fmt: skip
    label = {"kind": kind, **{name: wrong[name] for name in wrong.keys() & KINDS[kind].model_fields.keys()}}

    def found(name: str) -> set[tuple[object, ...]]:
        holder = {"labels": {name: label}}
        if place != "labels":
            holder = {"labels": {name: {"kind": "class_label", "num_classes": 3}}, place: {name: holder}}
        text = json.dumps({"format": 1, "name": "a", "version": "1.0.0", **holder})
        diagnostics = read_schema_bytes(text.encode(), "a.json").diagnostics
        return {(one.rule, one.message, one.fix, one.path[2 if place == "labels" else 4 :]) for one in diagnostics}

    expected = found("a label")
    assert {path[0] for *_, path in expected} == label.keys() - {"kind"}
    for name in (*wrong, "labels", "splits", "limits", "format", "version", "kind", "ClassIdRange"):
        assert found(name) == expected, name


@given(st.integers(0, len(_SOUND)))
def test_truncated_files_never_raise(length):
    """A file that was cut anywhere gives diagnostics or a schema."""
    file = read_schema_bytes(_SOUND[:length].encode(), "x.yaml")
    assert (file.schema is None) == bool(file.diagnostics)


def test_locate_finds_values_keys_and_what_should_hold_them():
    """Places of values, of keys, and of the nearest key where a path is absent."""
    file = read_schema_bytes(_SOUND.encode(), "x.yaml")
    assert file.locate(("labels", "label", "num_classes")) == (5, 43)
    assert file.locate(("labels", "label", "num_classes"), key=True) == (5, 30)
    assert file.locate(("labels", "label", "class_names", 1)) == (5, 65)
    assert file.locate(("splits", "train", "labels", "label")) == (7, 3)
    assert file.locate(("record_key",)) == (1, 1)
    assert read_schema_bytes(b"\xff", "x.yaml").locate(("labels",)) == (0, 0)


def test_text_from_a_file_cannot_reach_the_terminal():
    """A name with an escape sequence is shown as an escape."""
    [found] = read_schema_bytes(_SOUND.replace("labels", r'"\e[31m": 1' + "\nlabels").encode(), "x.yaml").diagnostics
    assert "\x1b" not in one_line(found)
