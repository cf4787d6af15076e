"""A number agrees with its noun and its verb in everything that is printed: one record is, two records are."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label_guard import ClassLabel, DatasetSchema, LabelGuardError
from label_guard.pipeline.loader import guard_batches

Run = Callable[..., tuple[int, str, str]]

_NOUNS = (
    "arrays|batches|bytes|channels|changes|classes|columns|diagnostics|elements|entries|errors|examples|fields|files|findings|"
    "folders|groups|hosts|ids|items|keys|labels|lines|losses|numbers|ones|outputs|parts|places|positions|problems|records|"
    "rows|schemas|sequences|shards|splits|steps|tasks|texts|times|values|views|violations|warnings|workers|writers"
)
_COUNT = r"(?<![\w.,/:=^{}[\]()-])1"  # not the end of 1,001 or 0.1, nor of a range or a name
WRONG = re.compile(
    rf"{_COUNT} (?:\w+ )?(?:{_NOUNS})\b(?! is)"  # "1 records", "1 bad records"
    rf"|{_COUNT} of (?:1 \w+s|\d+ \w+) (?:are|have|hold|were)\b"  # "1 of 1 records", "1 of 2 records are"
    rf"|{_COUNT} (?:are|have|were)\b"
)
_CODES = re.compile(r"1: findings|1 findings")  # the list of exit codes in the help of a command


def wrong(text: str) -> list[str]:
    """Each count of one with a plural, with what surrounds it."""
    text = _CODES.sub("", re.sub(r"<[^>]*>", " ", text))
    return [text[max(0, found.start() - 40) : found.end() + 40] for found in WRONG.finditer(text)]


SCHEMA = """\
format: 1
name: one
version: {version}
labels:
  label: {{kind: class_label, num_classes: {classes}, dtype: int64}}
splits:
  train: {{num_examples: 1, source: "csv:{folder}/*.csv"}}
"""


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of one schema of one label, one class and one split, whose source is one file with one bad record."""
    (tmp_path / "new").mkdir()
    for folder, version, classes in ((tmp_path, "1.0.0", 1), (tmp_path / "new", "2.0.0", 2)):
        text = SCHEMA.format(folder=tmp_path, version=version, classes=classes)
        (folder / "one.yaml").write_text(text)
    (tmp_path / "a.csv").write_text("text,label\nx,7\n")
    monkeypatch.chdir(tmp_path)


def outputs(run: Run) -> Iterator[tuple[str, str]]:
    """What every command prints and writes of the data of one."""
    audit = ("audit", "one.yaml", "--report", "json=one.json", "--quarantine", "bad", "--write-baseline", "known.json")
    formats = ("text", "markdown", "junit", "sarif", "github")
    commands: list[tuple[Any, ...]] = [
        (*audit, "--suggest", "--duplicates"),
        ("audit", "one.yaml", "--baseline", "known.json"),
        ("audit", "one.yaml", "--good-index", "good.txt"),
        *(("report", "one.json", "--format", form) for form in ("html", *formats)),
        ("audit", "one.yaml", "--shards", "0/1", "--report", "json=part.json"),
        ("merge", "part.json"),
        *((("lint", "one.yaml", "--format", form)) for form in formats),
        *(("diff", "one.yaml", "new/one.yaml", "--format", form) for form in formats),
        ("quarantine", "show", "bad"),
        ("quarantine", "summary", "bad"),
        ("quarantine", "recheck", "bad", "--schema", "one.yaml"),
        ("quarantine", "compact", "bad"),
        ("check", "a.csv"),
        ("check", "a.csv", "--num-classes", "1"),
        ("check", "a.csv", "--num-classes", "9"),
        ("infer", "csv:a.csv", "--label", "label"),
    ]
    for command in commands:
        code, out, err = run(*command)
        assert code < 2, f"{command}: {err}"
        yield " ".join(map(str, command)), out + err


@pytest.mark.usefixtures("one")
def test_a_count_of_one_is_singular_in_what_commands_print(run: Run) -> None:
    """One record, file, label, class, split, change and violation, in every command and format."""
    seen = dict(outputs(run))
    assert len(seen) > 20
    assert {command: found for command, text in seen.items() if (found := wrong(text))} == {}


@pytest.mark.parametrize("policy", ["drop", "mask", "report", "raise"])
def test_a_count_of_one_is_singular_in_what_guards_say(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    """Their warnings, their summary, and the error that stops them."""
    caplog.set_level(logging.INFO)
    schema = DatasetSchema(format=1, name="one", version="1.0.0", labels={"label": ClassLabel(num_classes=1)})
    batches = [{"label": np.array([label])} for label in (0, 7)]
    error = ""
    try:
        list(guard_batches(batches, schema, on_invalid=policy, stop_above=0.1))
    except LabelGuardError as raised:
        error = str(raised)
    assert error or policy != "raise"
    assert wrong("\n".join([*caplog.messages, error])) == []


def test_the_check_finds_what_it_is_for() -> None:
    """The tests above can fail."""
    assert len(wrong("1 records; 1 bad files; 1 of 2 records are bad; 1 of 1 values; 1 are bad\n")) == 5
    assert wrong("1,001 records, 0.1 values, 0..1 ids; 2 of 3 records are bad; 1 of 2 records is bad; 1 file") == []
