"""docs/rules.md is the registry, and every example on it does what it says."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from label_guard.audit.runner import audit_dataset
from label_guard.check.guard import Guard
from label_guard.diff.files import compare_paths, compare_with_revision
from label_guard.lint.linter import lint_file
from label_guard.rules.markdown import markdown
from label_guard.rules.registry import RULES
from label_guard.rules.rule import ChangeExample, DatasetExample, RecordExample, SchemaExample, SourceExample
from label_guard.schema.reader import read_schema_bytes
from label_guard.sources.tfds_metadata import Feature, SplitInfo, TfdsMetadata

_HEAD = "format: 1\nname: example\nversion: 1.0.0\n"
_DOCS = Path(__file__).parents[2] / "docs" / "rules.md"


def test_rules_are_in_order_with_names_of_their_own():
    """Codes in order, names without repetition, summaries of one short sentence."""
    assert list(RULES) == sorted(RULES)
    assert len({rule.name for rule in RULES.values()}) == len(RULES)
    assert all(rule.summary.endswith(".") and len(rule.summary) < 90 for rule in RULES.values())


def test_the_documentation_is_made_from_the_registry():
    """docs/rules.md is what `label-guard rule --markdown` prints."""
    assert _DOCS.read_text() == markdown(), "run: label-guard rule --markdown > docs/rules.md"


@pytest.mark.parametrize("code", sorted(RULES))
def test_the_examples_of_a_rule_break_and_hold(code, tmp_path, monkeypatch):
    """The first example of a page breaks just its rule, the second is clean."""
    monkeypatch.chdir(tmp_path)
    rule = RULES[code]
    broken, clean = _found(rule.breaks), _found(rule.holds)
    assert code in broken
    assert code not in clean
    if not isinstance(
        rule.breaks, DatasetExample
    ):  # an audit of three records also names the classes that they leave out
        assert clean == set()
        assert broken <= {code} | _COMPANIONS.get(code, set()) | ({"LG350"} if code.startswith("LG3") else set())


# What an example cannot break alone: the comment needs something to quiet, the version a change.
_COMPANIONS = {"LG220": {"LG215"}, "LG350": {"LG305"}}


def _found(example):
    """The rules that an example breaks; of changes those that are errors."""
    match example:
        case SchemaExample(text):
            return {diagnostic.rule for diagnostic in lint_file(_file(text))}
        case RecordExample(schema, record, split):
            guard = Guard(_file(schema).schema, split=split)
            found = guard.check(eval(record, {"np": np}), batched=False)
            return {violation.rule for violation in found.violations}
        case SourceExample(schema, features, splits):
            return {diagnostic.rule for diagnostic in lint_file(_file(schema), metadata=_metadata(features, splits))}
        case ChangeExample():
            return _changes(example)
        case DatasetExample():
            return _audited(example, duplicates="text," in example.train)


def _file(text):
    return read_schema_bytes(_whole(text).encode(), "example.yaml")


def _metadata(features, splits):
    described = {
        path: Feature(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
        for path, fields in eval(features).items()
    }
    sizes = {name: SplitInfo(size, (), ()) for name, size in eval(splits).items()}
    return TfdsMetadata("example", "1.0.0", "array_record", sizes, described)


def _changes(example):
    if example.moved:
        _write(Path("configs/pets.yaml"), example.old)
        _git("init", "-q")
        _git("add", ".")
        _git("commit", "-qm", "before")
        _git("mv", "configs/pets.yaml", "configs/animals.yaml")
        _write(Path("configs/animals.yaml"), example.new)
        found = compare_with_revision("HEAD", ["configs"], fail_on=example.fail_on).diagnostics
        shutil.rmtree(".git")
        shutil.rmtree("configs")
    else:
        _write(Path("old/pets.yaml"), example.old)
        _write(Path("new/pets.yaml"), example.new)
        found = compare_paths("old", "new", example.fail_on).diagnostics
    return {diagnostic.rule for diagnostic in found if diagnostic.severity == "error"}


def _git(*args):
    who = {f"GIT_{role}_{what}": "x@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *args], check=True, env={**os.environ, **who})


def _write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if text:
        path.write_text(text)


def _audited(example, duplicates=False):
    Path("example.yaml").write_text(_whole(example.schema))
    for name, text in (("train.csv", example.train), ("test.csv", example.test)):
        if text is not None:
            Path(name).write_text(eval(text))
    return {finding.rule for finding in audit_dataset("example.yaml", duplicates=duplicates).findings}


def _whole(schema):
    """The text of a schema file, its head added where an example leaves it out."""
    return schema if schema.startswith("format:") else _HEAD + schema
