"""docs/schema.md: every example is a sound schema or runs, every field is explained."""

import re
from pathlib import Path

import pytest

from label_guard.lint.fix import fix_file
from label_guard.lint.linter import lint_file
from label_guard.schema.dataset import DatasetSchema, Limits, Split
from label_guard.schema.labels import KINDS
from label_guard.schema.reader import read_schema_bytes

_ROOT = Path(__file__).parents[2]
_TEXT = (_ROOT / "docs" / "schema.md").read_text()


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", _TEXT, re.DOTALL)


@pytest.mark.parametrize("text", _blocks("yaml"))
def test_an_example_is_a_clean_schema(text):
    """Each YAML block loads and lint has nothing to say."""
    assert lint_file(read_schema_bytes(text.encode(), "docs/schema.md")) == []


def test_the_python_example_runs(monkeypatch, capsys):
    """The calls that the page shows exist and work."""
    monkeypatch.chdir(_ROOT)
    [code] = _blocks("python")
    names = {}
    exec(code, names)
    assert names["findings"] == []
    assert capsys.readouterr().out.startswith("format: 1\n")


def test_every_field_is_explained():
    """No field of the file format is left out of the tables."""
    models = [DatasetSchema, Split, Limits, *KINDS.values()]
    fields = {name for model in models for name in model.model_fields}
    rows = re.findall(r"^\| (`.*?) \|", _TEXT, re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert fields - {"kind"} == explained


def test_every_fix_is_named():
    """The page lists the rules that `fix_file` says it fixes."""
    [paragraph] = re.findall(r"^- `--fix`.*?(?=^- )", _TEXT, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"LG\d+", paragraph)) == set(re.findall(r"LG\d+", fix_file.__doc__ or ""))
