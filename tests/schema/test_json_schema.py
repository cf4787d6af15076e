"""The JSON Schema: shipped as the code makes it, sound, and as strict as lint about structure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from label_guard.cli.app import main
from label_guard.schema.as_json_schema import json_schema
from label_guard.schema.reader import read_schema, read_schema_bytes
from label_guard.schema.syntax import to_plain

_ROOT = Path(__file__).parents[2]
_SHIPPED = _ROOT / "docs" / "label_guard.schema.json"
_CONFIGS = sorted((_ROOT / "configs").glob("*.yaml"))
_VALIDATOR = Draft202012Validator(json_schema())
_STRUCTURE = {"LG206", "LG207", "LG208", "LG209", "LG212"}


def test_the_shipped_file_is_what_the_code_makes(capsys):
    """docs/label_guard.schema.json is what `label-guard schema` prints."""
    with pytest.raises(SystemExit) as caught:
        main(["schema"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert printed == _SHIPPED.read_text(), "run: label-guard schema > docs/label_guard.schema.json"
    assert json.loads(printed) == json_schema()


def test_it_is_a_json_schema_of_2020_12():
    """The schema itself is valid by its own dialect."""
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(json_schema())


def test_every_field_is_described():
    """Editors have something to show for each field that a person can write."""
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    fields = [(name, field) for section in sections for name, field in section["properties"].items()]
    assert [name for name, field in fields if not field.get("description")] == []


@pytest.mark.parametrize("config", _CONFIGS, ids=lambda config: config.stem)
def test_shipped_schemas_are_valid(config):
    """Every file in configs/ passes."""
    assert list(_VALIDATOR.iter_errors(to_plain(read_schema(config).root))) == []


def test_an_independent_program_agrees():
    """check-jsonschema, which reads the files itself, accepts the JSON Schema and every file in configs/."""
    run = [sys.executable, "-m", "check_jsonschema"]
    for args in (["--check-metaschema", str(_SHIPPED)], ["--schemafile", str(_SHIPPED), *map(str, _CONFIGS)]):
        result = subprocess.run([*run, *args], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


_SOUND = {
    "format": 1,
    "name": "pets",
    "version": "1.0.0",
    "record_key": "id",
    "labels": {
        "a": {"kind": "class_label", "num_classes": 3, "class_names": ["x", "y", "z"], "ignore": [255]},
        "b": {"kind": "multi_label", "num_classes": 3, "min_positive": 1, "shape": [None, 4], "emit": "int32"},
        "c": {"kind": "soft_label", "num_classes": 3, "tolerance": 0.5, "one_hot": True},
        "d": {"kind": "real_label", "minimum": 0, "maximum": 5.5, "dtype": ["float32", "float64"]},
        "f": {"kind": "class_label", "num_classes": 2, "class_names": ["x", "y"], "dtype": "string", "shape": [None],
              "separator": " ", "where": "m"},
        "g": {"kind": "multi_label", "num_classes": 2, "positive": 2, "negative": -1, "ignore": [None, 0.5, -3],
              "dtype": "floating", "on_ignore": "replace"},
        "h": {"kind": "multi_label", "num_classes": 3, "encoding": "ids", "separator": "|", "unique": True,
              "min_length": 1, "max_length": 2},
        "i": {"kind": "multi_label", "num_classes": 2, "columns": ["p", "q"], "dtype": ["bool"]},
        "j": {"kind": "real_label", "ignore": [None, -1]},
        "e": {"kind": "class_label", "num_classes": 2, "class_ids": {"start": 1}, "dtype": "uint8", "unique": False},
    },
    "splits": {"train": {"num_examples": 10, "source": "x"},
               "test": {"labels": {"a": {"unlabeled": 254}, "j": {"where": "w", "ignore": [None]}},
                        "limits": {"min_class_count": 2}}},
    "views": {"v": {"labels": {"b": {"shape": [2, 4]}}}},
    "limits": {"max_invalid_ratio": 0.5, "min_class_count": 1},
}  # fmt: skip


def _paths(value, path=()):
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from _paths(inner, (*path, key))


_JUNK = st.sampled_from(
    [None, True, 0, -1, 1, 2, 300, 0.5, -0.5, "", "x", "10", "int32", "1.0", [], [1], ["x"], [None], [[]], {}, {"x": 1}]
)


@settings(max_examples=300)
@given(st.sampled_from(list(_paths(_SOUND))), st.sampled_from(["set", "delete", "add"]), _JUNK)
def test_what_lint_refuses_for_its_structure_is_invalid(path, how, junk):
    """Any one change that lint refuses as a wrong name, type or range is refused by the JSON Schema too."""
    values = _changed(json.loads(json.dumps(_SOUND)), path, how, junk)
    found = read_schema_bytes(json.dumps(values).encode(), "x.json").diagnostics
    structure = [d for d in found if d.rule in _STRUCTURE | {"LG200"} and not _needs_its_label(d)]
    assert not (structure and _VALIDATOR.is_valid(values)), structure
    assert found or _VALIDATOR.is_valid(values)


def _needs_its_label(diagnostic):
    """Whether it is about an override, which is also compared with the label: only lint compares the two."""
    return diagnostic.path[:1] in (("splits",), ("views",)) and diagnostic.path[2:3] == ("labels",)


def _changed(values, path, how, junk):
    if not path:
        return junk
    *parents, last = path
    holder = values
    for step in parents:
        holder = holder[step]
    if how == "set":
        holder[last] = junk
    elif how == "delete":
        del holder[last]
    elif isinstance(holder[last], dict):
        holder[last]["added"] = junk
    return values


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("splits", "train", "num_example"), 5),
        (("splits", "train", "labels"), {"a": {"numclasses": 5}}),
        (("splits", "train[:90%]"), {}),
        (("splits", "train", "labels"), {"a": {"num_classes": 0}}),
        (("splits", "train", "labels"), {"a": {"dtype": "int"}}),
        (("views", "v", "label"), {}),
        (("labels", "a", "class_names"), ["x", "x", "y"]),
        (("labels", "a", "class_ids"), [1, 1, 2]),
        (("labels", "a", "class_ids"), {"begin": 1}),
        (("labels", "a", "emit"), "uint64"),
        (("labels", "d", "num_classes"), 3),
        (("format",), True),
        (("version",), "1.0.0\u0660"),
    ],
)
def test_what_people_get_wrong_is_invalid(path, value):
    """The common slips, in every part of the file, are refused by both."""
    values = json.loads(json.dumps(_SOUND))
    holder = values
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    assert not _VALIDATOR.is_valid(values)
    assert read_schema_bytes(json.dumps(values).encode(), "x.json").schema is None
