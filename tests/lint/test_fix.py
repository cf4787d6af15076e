"""Fixes: what has one right answer is fixed in the text, and nothing else is touched."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.lint.fix import fix_file
from label_guard.lint.linter import lint_file
from label_guard.rules.registry import RULES
from label_guard.schema.reader import load_schema, read_schema_bytes

_CONFIGS = Path(__file__).parents[2] / "configs"
_BEFORE = """\
# Pets.\r
name: pets   # two spaces stay\r
version: '1.0'\r
labels:\r
  label:\r
    kind:   class_label\r
    numclasses: "4"      # four\r
    class_names: [no,  "yes ", 010, 'it''s ']  # odd spacing stays\r
    ignore_index: -100  # noqa: LG215\r
\r
splits:\r
  train: {num_example: 10}\r
"""
_AFTER = """\
# Pets.\r
format: 1\r
name: pets   # two spaces stay\r
version: '1.0.0'\r
labels:\r
  label:\r
    kind:   class_label\r
    num_classes: 4      # four\r
    class_names: ["no",  "yes", "010", 'it''s ']  # odd spacing stays\r
    ignore: [-100]  # noqa: LG215\r
\r
splits:\r
  train: {num_examples: 10}\r
"""


def _fixed(folder, text, rules=RULES, name="x.yaml"):
    path = folder / name
    path.write_bytes(text.encode())
    count = fix_file(path, rules)
    return path.read_bytes().decode(), count


def test_everything_with_one_answer_is_fixed_and_the_rest_stays(tmp_path):
    """Comments, spacing and line ends survive; two runs change no more than one."""
    after, count = _fixed(tmp_path, _BEFORE)
    assert after == _AFTER
    assert count == 10
    assert fix_file(tmp_path / "x.yaml", RULES) == 0
    assert (tmp_path / "x.yaml").read_bytes().decode() == _AFTER


def test_what_remains_has_no_single_answer(tmp_path):
    """The name with an escaped quote is left to people; the file loads."""
    _fixed(tmp_path, _BEFORE)
    assert [d.rule for d in lint_file(tmp_path / "x.yaml")] == ["LG219"]
    assert load_schema(tmp_path / "x.yaml").labels["label"].ignore == (-100,)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1.0.0", "version: 1"),
        ("version: 1.0.0", "version: 1.0"),
        ("version: 1.0.0", 'version: "v1.0"'),
        ("num_classes: 2", "num_classes: '2'"),
        ("num_classes: 2", "n_classes: 2"),
        ("ignore: [255]", "ignore: 255"),
        ("format: 1\n", ""),
    ],
)
def test_each_fix_gives_back_the_sound_file(tmp_path, old, new):
    """A file broken in one way becomes, up to quotes, the file it was."""
    sound = "format: 1\nname: x\nversion: 1.0.0\nlabels:\n  a: {kind: class_label, num_classes: 2, ignore: [255]}\n"
    assert old in sound
    fixed, count = _fixed(tmp_path, sound.replace(old, new))
    assert count == 1
    assert fixed.replace('"', "") == sound


@pytest.mark.parametrize(
    "fields",
    [
        "num_classes: 2, class_names: [a]",  # which of the two is right?
        "num_classes: 2, class_names: [a, a]",
        "num_classes: 2, class_names: ['a', 'a ']",  # stripped, the names would repeat
        "num_classes: 2, class_names: [&x no, b]",  # an anchor before the name
        "num_classes: 2, ignor: [5], ignore: [6]",  # the right name is taken
        "num_classes: 2, ignor: [5], ignores: [6]",  # two slips of one name
        "num_classes: 2, mix_length: 3, shape: [null]",  # min_length or max_length?
        "num_classes: 2, ignore: [0]",
        "num_classes: two",
    ],
)
def test_what_has_several_answers_is_left_alone(tmp_path, fields):
    """Where people must decide, the file is not written at all."""
    text = f"format: 1\nname: x\nversion: 1.0.0\nlabels:\n  a: {{kind: class_label, {fields}}}\n"
    path = tmp_path / "x.yaml"
    path.write_text(text)
    path.chmod(0o444)
    assert _unwritten(path)


def _unwritten(path):
    before = path.stat().st_mtime_ns, path.read_bytes()
    return fix_file(path, RULES) == 0 and (path.stat().st_mtime_ns, path.read_bytes()) == before


@pytest.mark.parametrize("text", ["\u00b3", "\uff13", "--3", "03", "3 ", "", "-"])
def test_text_that_is_not_an_integer_keeps_its_quotes(tmp_path, text):
    """Only what YAML reads as that integer loses its quotes: no other digits, no octal of YAML 1.1."""
    before = f'format: 1\nname: x\nversion: 1.0.0\nlabels: {{l: {{kind: class_label, num_classes: "{text}"}}}}\n'
    assert _fixed(tmp_path, before) == (before, 0)
    [found] = lint_file(tmp_path / "x.yaml")
    assert "without quotes" not in str(found.fix)


def test_only_selected_rules_are_fixed(tmp_path):
    """A rule that was not asked for is reported, not fixed."""
    fixed, count = _fixed(tmp_path, _BEFORE, rules={"LG209"})
    assert (fixed, count) == (_BEFORE.replace("'1.0'", "'1.0.0'"), 1)


def test_a_byte_order_mark_stays(tmp_path):
    """The mark that an editor wrote is kept."""
    fixed, _ = _fixed(tmp_path, "\ufeff" + _BEFORE)
    assert fixed == "\ufeff" + _AFTER


def test_json_is_fixed_where_it_can_be(tmp_path):
    """JSON gets its version in quotes and its field names right; a format line it does not get."""
    text = '{"name": "x", "version": 1.0, "labels": {"a": {"kind": "class_label", "numclasses": 2}}}'
    fixed, count = _fixed(tmp_path, text, name="x.json")
    assert fixed == text.replace("1.0", '"1.0.0"').replace("numclasses", "num_classes")
    assert count == 2


def test_a_file_that_cannot_be_read_is_not_fixed(tmp_path):
    """Broken syntax has no single answer; a missing file none at all."""
    (tmp_path / "x.yaml").write_text("a: [")
    assert fix_file(tmp_path / "x.yaml", RULES) == 0
    assert fix_file(tmp_path / "absent.yaml", RULES) == 0


@given(name=st.sampled_from(["no", "010", "true", "~", "12:30", " a", "b ", "x"]), data=st.data())
def test_fixing_twice_is_fixing_once(tmp_path_factory, name, data):
    """Whatever combination of slips a file has, a second run finds nothing to fix."""
    slips = {"format: 1\n": "", "version: 1.0.0": "version: 1.0", "num_classes": "numclasses", "[5]": "5"}
    quoted = f'"{name}"' if name != name.strip() else name
    text = "format: 1\nname: x\nversion: 1.0.0\nlabels:\n  a: {kind: class_label, num_classes: 2, ignore: [5], "
    text += f"class_names: [{quoted}, other]}}\n"
    for old, new in slips.items():
        if data.draw(st.booleans()):
            text = text.replace(old, new)
    folder = tmp_path_factory.mktemp("fix")
    once, _ = _fixed(folder, text)
    assert _fixed(folder, once) == (once, 0)
    assert lint_file(folder / "x.yaml") == []
    assert read_schema_bytes(once.encode(), "x.yaml").schema.labels["a"].class_names == (name.strip(), "other")


def test_shipped_schemas_need_no_fix(tmp_path):
    """A fix run over clean files writes none of them."""
    for config in _CONFIGS.glob("*.yaml"):
        copy = Path(shutil.copy(config, tmp_path))
        assert _unwritten(copy)


@pytest.mark.parametrize(
    "text",
    [
        "labels:\n  a: {kind: class_label, num_classes: 2, class_names: [' <=50K', ' >50K'], dtype: string}\n",
        "labels:\n  a: {kind: class_label, num_classes: 2, class_names: [' x', z], dtype: [string]}\n",
        "labels:\n  a: {kind: multi_label, num_classes: 2, class_names: ['x ', z], encoding: ids, dtype: string}\n",
        "labels:\n  a: {kind: class_label, num_classes: 2, class_names: ['x ', z]}\n"
        "splits:\n  test: {num_examples: 1, labels: {a: {dtype: string}}}\n",
        "labels:\n  a: {kind: class_label, num_classes: 2, class_names: [x, z], dtype: string}\n"
        "splits:\n  test: {num_examples: 1, labels: {a: {class_names: ['x ', z]}}}\n",
    ],
)
def test_names_that_the_data_hold_are_not_stripped(tmp_path, text):
    """Where names are stored, a name without its blank is another legal value: only the author knows which."""
    path = tmp_path / "x.yaml"
    path.write_text("format: 1\nname: d\nversion: 1.0.0\n" + text)
    before = path.read_text()
    assert fix_file(path, RULES) == 0
    assert path.read_text() == before
    assert {found.rule for found in lint_file(path)} == {"LG219"}
