"""The diff of schemas: what is breaking, for whom, where it is, and which version declares it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from label_guard.diff.schemas import FailOn, diff_files, diff_schemas
from label_guard.rules.registry import RULES
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.reader import SchemaFile, read_schema, read_schema_bytes

GOLDEN = Path(__file__).parents[1] / "golden" / "diff"
BASE = (GOLDEN / "base.yaml").read_text(encoding="utf-8")
BREAKS_BOTH, MODEL, PIPELINE, COMPATIBLE, DOCS = "both", "model", "pipeline", "compatible", "documentation"


class Row(NamedTuple):
    """An edit of ``BASE`` and what is to be said of it: the code, whom it breaks, the text at its place."""

    name: str
    old: str
    new: str
    code: str = ""
    breaks: str = ""
    place: str = ""


def _rows(file: str) -> list[Row]:
    return [Row(**row) for row in YAML(typ="safe", pure=True).load((GOLDEN / file).read_text(encoding="utf-8"))]


ROWS, NOTHING = _rows("mutations.yaml"), _rows("no_changes.yaml")


@cache
def file_of(text: str) -> SchemaFile:
    """The schema file with this text; it must be sound."""
    file = read_schema_bytes(text.encode(), "new.yaml")
    assert file.schema is not None, file.diagnostics
    return file


def edited(row: Row, version: str = "1.2.3") -> SchemaFile:
    """``BASE`` with one edit and a version."""
    assert BASE.count(row.old) >= 1
    return file_of(BASE.replace(row.old, row.new, 1).replace("version: 1.2.3", f"version: {version}"))


def test_the_table_is_large_and_each_row_has_a_name_of_its_own() -> None:
    """At least 60 mutations are compared."""
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len(ROWS) >= 60


def test_every_rule_of_a_change_is_in_the_table_and_in_the_documentation() -> None:
    """No LG3xx rule is without a mutation that shows it, nor missing on the page about them."""
    changes = {code for code in RULES if "LG300" < code < "LG340"}
    assert {row.code for row in ROWS} == changes
    page = (Path(__file__).parents[2] / "docs" / "diff.md").read_text(encoding="utf-8")
    assert [code for code in RULES if code.startswith("LG3") and code not in page] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_change_has_its_code_verdict_and_place(row: Row) -> None:
    """Each mutation is reported once, with its code, whom it breaks, and where it is in the new file."""
    new = edited(row)
    assert new.schema is not None
    (change,) = diff_schemas(file_of(BASE).schema or new.schema, new.schema)
    assert change.rule == row.code
    assert change.model == ("breaking" if row.breaks in (BREAKS_BOTH, MODEL) else "compatible")
    assert change.pipeline == ("breaking" if row.breaks in (BREAKS_BOTH, PIPELINE) else "compatible")
    assert change.bump == {COMPATIBLE: "minor", DOCS: "patch"}.get(row.breaks, "major")
    reported, _ = diff_files(file_of(BASE), new)
    assert new.text.splitlines()[reported.line - 1][reported.column - 1 :].startswith(row.place)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_version_must_declare_a_change(row: Row) -> None:
    """Without the version that the weight of a change asks for there is an error that names it; with it, none."""
    wanted = {COMPATIBLE: "1.3.0", DOCS: "1.2.4"}.get(row.breaks, "2.0.0")
    change, version = diff_files(file_of(BASE), edited(row))
    assert (change.severity, version.severity, version.rule) == ("error", "error", "LG350")
    assert f"write version: {wanted}" in change.fix
    assert version.fix == f"write version: {wanted}"
    assert version.line == 3
    declared = diff_files(file_of(BASE), edited(row, wanted))
    assert [(found.rule, found.severity) for found in declared] == [(row.code, "note")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_way_back_of_a_change_is_a_change(row: Row) -> None:
    """Whatever is reported in one direction is reported in the other."""
    assert diff_files(edited(row), file_of(BASE))


@pytest.mark.parametrize("row", NOTHING, ids=lambda row: row.name)
def test_what_no_guard_can_tell_is_no_change(row: Row) -> None:
    """Comments, order, defaults written out and fields without effect need no version."""
    assert diff_files(file_of(BASE), edited(row)) == []


def test_a_permutation_is_named() -> None:
    """The same names in another order are reported as a permutation, with the ids."""
    row = next(row for row in ROWS if row.name == "permutation")
    assert "class_names are permuted: dog 1 -> 0, cat 0 -> 1" in diff_files(file_of(BASE), edited(row))[0].message


def test_names_that_differ_by_case_alone_are_classes_of_their_own() -> None:
    """Where a schema distinguishes a from A, exchanging them is a permutation, not a spelling."""
    old, new = (BASE.replace("[cat, dog, traffic light, bird]", names) for names in ("[a, A, b, B]", "[A, a, b, B]"))
    assert [found.rule for found in diff_files(file_of(old), file_of(new))] == ["LG306", "LG350"]
    respelled = BASE.replace("[cat, dog, traffic light, bird]", "[a, A, b, B-]")
    assert [found.rule for found in diff_files(file_of(old), file_of(respelled))] == ["LG307", "LG350"]


def test_a_change_of_a_label_is_reported_once_for_all_splits_and_views() -> None:
    """Three splits and a view that inherit a field do not repeat its change four times."""
    text = BASE.replace("views:", "  more: {}\nviews:")
    found = diff_files(file_of(text), file_of(text.replace("num_classes: 5", "num_classes: 6")))
    assert [diagnostic.rule for diagnostic in found] == ["LG305", "LG350"]


def test_a_change_that_one_split_feels_harder_has_the_harder_verdict() -> None:
    """An ignore value added with replace is masked in a split that has a mask, but brings one to the other."""
    text = BASE.replace("label: {unlabeled: -1}", "label: {unlabeled: -1, on_unlabeled: replace}")
    new = text.replace("emit: int32", "emit: int32\n    ignore: [-7]\n    on_ignore: replace")
    (change,) = [found for found in _changes(text, new) if found.rule == "LG316"]
    assert change.pipeline == "breaking"
    assert "gains its validity mask" in change.reason


def test_an_ignore_value_joins_others_under_replace() -> None:
    """Where a mask was and sentinels are replaced, one more changes nothing for the loss."""
    text = BASE.replace("ignore: [255]\n", "ignore: [255]\n    on_ignore: replace\n")
    (change,) = _changes(text, text.replace("ignore: [255]\n", "ignore: [255, 253]\n"))
    assert (change.rule, change.bump) == ("LG316", "minor")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("-1", "1", "LG307"),
        ("A-", "A", "LG307"),
        ("A-", "a", "LG307"),
        ("-", "_", "LG307"),
        ("a -1", "a 1", "LG307"),
        ("_x", "x", "LG307"),
        ("B-PER", "b_per", "LG308"),
        ("T-Shirt", " t  shirt", "LG308"),
        ("7_8", "7-8", "LG308"),
    ],
)
def test_a_sign_separates_nothing(old: str, new: str, rule: str) -> None:
    """Only between two letters or digits are - and _ a matter of spelling: without its sign a name is another class."""
    before, after = ({"kind": "class_label", "num_classes": 2, "class_names": [name, "other"]} for name in (old, new))
    schemas = [
        DatasetSchema.model_validate({"format": 1, "name": "d", "version": "1.0.0", "labels": {"y": label}})
        for label in (before, after)
    ]
    (change,) = diff_schemas(*schemas)
    assert (change.rule, change.model) == (rule, "breaking" if rule == "LG307" else "compatible")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("{}", "{train: {}}", "minor"),
        ("{train: {}}", "{train: {}, test: {}}", "major"),
        ("{}", "{a: {}, b: {}}", "major"),
    ],
)
def test_a_second_split_must_be_named(old: str, new: str, code: str) -> None:
    """Pipelines may leave out split= where there is none or one; a second one breaks them."""
    text = "format: 1\nname: a\nversion: 1.0.0\nlabels: {x: {kind: real_label}}\nsplits: SPLITS\n"
    changes = _changes(text.replace("SPLITS", old), text.replace("SPLITS", new))
    assert {change.rule for change in changes} == {"LG322"}
    assert {change.bump for change in changes} == {code}


@pytest.mark.parametrize(
    ("old", "new", "rules", "fix"),
    [
        ("1.2.3", "1.2.2", ["LG351"], "write version: 1.2.3"),
        ("1.2.3", "1.2.3", [], ""),
        ("1.2.3", "1.2.3+build", [], ""),
        ("1.2.3", "1.3.0", [], ""),
        ("1.2.3", "1.2.3-rc.1", ["LG351"], "write version: 1.2.3"),
    ],
)
def test_a_version_may_move_on_its_own_but_not_back(old: str, new: str, rules: list[str], fix: str) -> None:
    """Without a change any later version passes, and a lower one is an error."""
    before, after = (BASE.replace("1.2.3", version) for version in (old, new))
    found = diff_files(file_of(before), file_of(after))
    assert [diagnostic.rule for diagnostic in found] == rules
    assert [diagnostic.fix for diagnostic in found] == [fix] * len(rules)


@pytest.mark.parametrize(
    ("old", "new", "passes"),
    [
        ("0.3.1", "0.4.0", True),
        ("0.3.1", "1.0.0", True),
        ("0.3.1", "0.3.2", False),
        ("0.0.1", "0.1.0", True),
        ("1.0.0", "2.0.0-rc.1", True),
        ("2.0.0-rc.1", "2.0.0-rc.2", True),
        ("2.0.0-rc.1", "2.0.0", True),
        ("2.0.0-rc.2", "2.0.0-rc.1", False),
        ("1.2.4-rc.1", "1.2.4", False),
        ("1.9.9", "1.10.0", False),
        ("1.0.0", "1.0.0+build.2", False),
        ("1.0.0", "10.0.0", True),
        ("3.0.0", "2.0.0", False),
    ],
)
def test_a_breaking_change_follows_semver(old: str, new: str, passes: bool) -> None:
    """A major declares it; in 0.y a minor does; a pre-release counts as its release."""
    before, after = BASE.replace("1.2.3", old), BASE.replace("1.2.3", new).replace("num_classes: 5", "num_classes: 6")
    found = diff_files(file_of(before), file_of(after))
    assert (not any(diagnostic.severity == "error" for diagnostic in found)) == passes


@pytest.mark.parametrize(("old", "new", "passes"), [("0.3.1", "0.3.2", True), ("0.3.1", "0.3.1", False)])
def test_a_compatible_change_of_0_y_needs_a_patch(old: str, new: str, passes: bool) -> None:
    """Before 1.0.0 the patch declares what is compatible."""
    before, after = BASE.replace("1.2.3", old), BASE.replace("1.2.3", new).replace("50000", "60000")
    found = diff_files(file_of(before), file_of(after))
    assert (not any(diagnostic.severity == "error" for diagnostic in found)) == passes


@pytest.mark.parametrize(
    ("fail_on", "errors"), [("undeclared", []), ("breaking", ["LG305"]), ("any", ["LG305", "LG324", "LG334"])]
)
def test_fail_on_is_stricter_than_the_version(fail_on: FailOn, errors: list[str]) -> None:
    """Declared changes fail under ``breaking`` if they break, and all of them under ``any``."""
    text = BASE.replace("A dataset.", "B").replace("num_classes: 5", "num_classes: 6").replace("50000", "60000")
    found = diff_files(file_of(BASE), file_of(text.replace("1.2.3", "2.0.0")), fail_on)
    assert sorted(diagnostic.rule for diagnostic in found if diagnostic.severity == "error") == errors
    assert len(found) == 3


def test_several_changes_share_one_version() -> None:
    """Each undeclared change names the version that declares them all."""
    text = BASE.replace("A dataset.", "B").replace("num_classes: 5", "num_classes: 6")
    found = diff_files(file_of(BASE), file_of(text))
    assert [diagnostic.fix for diagnostic in found] == ["write version: 2.0.0, or undo it"] * 2 + [
        "write version: 2.0.0"
    ]
    half = diff_files(file_of(BASE), file_of(text.replace("1.2.3", "1.3.0")))
    assert [diagnostic.severity for diagnostic in half] == ["note", "error", "error"]
    assert "went from 1.2.3 to 1.3.0, which does not declare 1 breaking change" in half[-1].message


def test_shipped_schemas_differ_from_each_other_but_not_from_themselves() -> None:
    """Real schemas compare without an error, each equal to itself alone."""
    files = [read_schema(path) for path in sorted(Path("configs").glob("*.yaml"))]
    assert len(files) > 5
    for old in files:
        for new in files:
            assert (diff_files(old, new) == []) == (old is new)


def _changes(old: str, new: str) -> list[Any]:
    before, after = file_of(old).schema, file_of(new).schema
    assert before is not None
    assert after is not None
    return diff_schemas(before, after)


# Few values, so that two schemas drawn at random often differ by a compatible step.
_NAMES = st.sampled_from(
    [None, ["a", "b"], ["A", "b"], ["b", "a"], ["b", "A"], ["a", "c"], ["a b", "a-b"], ["a-b", "a b"]]
)
_CLASS = st.fixed_dictionaries(
    {"kind": st.just("class_label"), "num_classes": st.just(2)},
    optional={
        "class_names": _NAMES,
        "class_ids": st.sampled_from([None, [0, 1], [1, 0], [1, 2], {"start": 1}]),
        "dtype": st.sampled_from([None, "int32", ["int32", "int64"], "integer"]),
        "emit": st.sampled_from([None, "int32", "int64"]),
        "ignore": st.sampled_from([[], [-5], [-5, -6]]),
        "on_ignore": st.sampled_from(["keep", "replace"]),
        "unlabeled": st.sampled_from([None, -1]),
        "on_unlabeled": st.sampled_from(["keep", "replace", "skip"]),
    },
)
_SOFT = st.fixed_dictionaries(
    {"kind": st.just("soft_label"), "num_classes": st.integers(2, 3)},
    optional={"tolerance": st.sampled_from([0, 0.1, 0.5]), "one_hot": st.booleans()},
)
_REAL = st.fixed_dictionaries({"kind": st.just("real_label")}, optional={"maximum": st.sampled_from([None, 1, 2])})
_OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "x": st.fixed_dictionaries(
            {}, optional={"ignore": st.sampled_from([[], [-5], [-7]]), "unlabeled": st.sampled_from([None, -1])}
        )
    },
)
_SPLIT = st.fixed_dictionaries({"labels": _OVERRIDES}, optional={"num_examples": st.integers(1, 2)})
_SPLITS = st.dictionaries(st.sampled_from(["val", "test", "eval"]), _SPLIT, max_size=3)
_VIEWS = st.dictionaries(st.sampled_from(["v", "w"]), st.fixed_dictionaries({"labels": _OVERRIDES}), max_size=2)
_ALL = st.fixed_dictionaries(
    {
        "labels": st.fixed_dictionaries({"x": _CLASS}, optional={"y": _SOFT, "z": _REAL}),
        "splits": _SPLITS,
        "views": _VIEWS,
    },
    optional={"description": st.sampled_from(["", "d"]), "record_key": st.sampled_from([None, "id"])},
)


def _schema(values: dict[str, Any]) -> DatasetSchema | None:
    try:
        return DatasetSchema.model_validate({"format": 1, "name": "n", "version": "1.0.0", **values})
    except ValueError:
        return None


_SCHEMAS = _ALL.map(_schema).filter(lambda schema: schema is not None)


@given(_SCHEMAS)
@settings(max_examples=100, deadline=None)
def test_a_schema_does_not_differ_from_itself(schema: DatasetSchema) -> None:
    """diff(a, a) is empty, also of a copy read back from its own values."""
    assert diff_schemas(schema, schema) == []
    assert diff_schemas(schema, DatasetSchema.model_validate(schema.model_dump(exclude_unset=True))) == []


def _steps(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Neighbours of a schema: one part drawn again."""
    return st.one_of(
        _CLASS.map(lambda label: {**schema, "labels": {**schema["labels"], "x": {**schema["labels"]["x"], **label}}}),
        _SPLITS.map(lambda splits: {**schema, "splits": {**schema["splits"], **splits}}),
        _VIEWS.map(lambda views: {**schema, "views": {**schema["views"], **views}}),
        _ALL,
    )


_WALKS = _ALL.flatmap(
    lambda a: _steps(a).flatmap(lambda b: st.tuples(st.just(a), st.just(b), _steps(b)))
).map(lambda walk: [_schema(values) for values in walk]).filter(lambda walk: None not in walk)  # fmt: skip


@given(_WALKS)
@settings(max_examples=400, deadline=None)
def test_compatible_after_compatible_is_compatible(walk: list[DatasetSchema]) -> None:
    """No chain of harmless steps adds up to a break: what is compatible twice is compatible at once."""
    a, b, c = walk
    if not any(change.breaking for change in (*diff_schemas(a, b), *diff_schemas(b, c))):
        assert not any(change.breaking for change in diff_schemas(a, c))
