"""What lint takes for one file, and what it prints of it, is bounded."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from label_guard import DatasetSchema, RealLabel
from label_guard.cli import app
from label_guard.lint.linter import lint_file
from label_guard.report import FORMATS
from label_guard.rules.diagnostic import Diagnostic
from label_guard.schema.reader import read_schema_bytes


def lint_text(text: str, name: str) -> list[Diagnostic]:
    """The problems of a schema file."""
    return lint_file(read_schema_bytes(text.encode(), name))


@pytest.mark.parametrize("style", FORMATS)
def test_many_problems_of_one_file_are_counted_and_few_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    """The first 1,000 problems and the number of the others; the next file has its own."""
    head = "format: 1\nname: d\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 3}}\n"
    (tmp_path / "many.yaml").write_text(head + "".join(f"x{number}: 1\n" for number in range(1500)))
    (tmp_path / "one.yaml").write_text(head + "unknown: 1\n")
    with pytest.raises(SystemExit) as stopped:
        app.main(["lint", str(tmp_path), "--format", style])
    out = capsys.readouterr().out
    assert stopped.value.code == 1
    assert "1,500 problems are in this file, of which 1,000 are listed" in out
    assert style == "markdown" or "one.yaml" in out  # Markdown lists the first 50 of all
    assert len(out) < 1_500_000


@pytest.mark.parametrize(
    "label",
    [
        "kind: class_label, num_classes: 3, shape: [16384, 16385]",
        "kind: class_label, num_classes: 3, shape: [2147483647, null, 2147483647]",
        "kind: real_label, shape: [268435457], ignore: [null]",
        "kind: soft_label, num_classes: 2147483647",
        "kind: multi_label, num_classes: 65536, shape: [4097]",
        "kind: multi_label, num_classes: 2147483647, encoding: ids",
    ],
)
def test_the_positions_of_a_record_are_bounded(label: str) -> None:
    """A record that is masked or was not measured takes the memory of its declared shape, whatever was stored."""
    text = f"format: 1\nname: d\nversion: 1.0.0\nlabels: {{y: {{{label}}}}}\n"
    (found,) = lint_text(text, "d.yaml")
    assert found.rule == "LG207"
    assert "positions, more than 268,435,456" in found.message


@pytest.mark.parametrize(
    "label",
    [
        "kind: class_label, num_classes: 2147483647, shape: [16384, 16384]",
        "kind: soft_label, num_classes: 268435456, shape: [null]",
    ],
)
def test_the_largest_record_is_possible(label: str) -> None:
    """The bound is inclusive; a length that is null does not count."""
    assert not lint_text(f"format: 1\nname: d\nversion: 1.0.0\nlabels: {{y: {{{label}}}}}\n", "d.yaml")


@pytest.mark.parametrize("field", ["class_names", "class_ids", "ignore", "dtype"])
def test_a_list_of_wrong_items_is_one_problem(field: str) -> None:
    """An error for each of 200,000 items takes a gigabyte."""
    items = ", ".join(["[x]"] * 10)
    label = f"{{kind: class_label, num_classes: 9, {field}: [{items}]}}"
    text = f"format: 1\nname: d\nversion: 1.0.0\nlabels: {{y: {label}}}\n"
    assert len(lint_text(text, "d.yaml")) <= 2  # class_ids may be a mapping, too


def test_a_value_that_is_listed_often_is_one_problem() -> None:
    """Not one for each time."""
    label = "kind: class_label, num_classes: 9, class_ids: [4, 4, 4, 4, 4, 5, 5, 6, 7]"
    found = lint_text(f"format: 1\nname: d\nversion: 1.0.0\nlabels: {{y: {{{label}}}}}\n", "d.yaml")
    assert [one.message for one in found if one.rule == "LG218"] == [
        f"id {number} is listed twice in class_ids" for number in (4, 5)
    ]


def test_a_declared_split_is_found_at_once() -> None:
    """The names of all splits are not put together for each of them."""
    splits = {f"s{number}": {"num_examples": 1} for number in range(5_000)}
    schema = DatasetSchema(format=1, name="d", version="1.0.0", labels={"y": RealLabel()}, splits=splits)
    tracemalloc.start()
    try:
        assert schema.split_name("s4999") == "s4999"
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["x: [" + "1," * 250_001 + "]", "a: 1\n" * 125_001], ids=["values", "keys"])
def test_keys_and_values_are_counted(text: str) -> None:
    """Each takes time."""
    [found] = lint_text(text, "d.yaml")
    assert "more than 250,000 values" in found.message
