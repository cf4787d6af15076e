"""Report files that come back: whatever was changed in them is one line with the place, and never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from label_guard import UsageError
from label_guard.audit import read_report
from label_guard.audit.conclude import parse_report
from label_guard.cli import app
from label_guard.report.audit_text import render_audit

GOLDEN = Path(__file__).parents[1] / "golden" / "audit" / "audit.json"
SOUND = json.loads(GOLDEN.read_text())
WRONG: tuple[Any, ...] = (None, True, -1, 1.5, 10**30, "x", "", [], {}, [[]], {"x": None}, float("inf"))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


def changed(path: tuple[Any, ...], value: Any, *, drop: bool = False) -> dict[str, Any]:
    """The report with one value replaced, or taken out."""
    report = copy.deepcopy(SOUND)
    parent = report
    for key in path[:-1]:
        parent = parent[key]
    if drop:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return report


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_any_one_value_changed_is_read_or_refused_in_one_line(step: int) -> None:
    """Each field with values of every wrong type, and left out: a report that each format shows, or one clear error."""
    tried = refused = read = 0
    for path in list(places(SOUND))[::step]:
        for value, drop in [*((value, False) for value in WRONG), (None, True)]:
            tried += 1
            text = json.dumps(changed(path, value, drop=drop))
            try:
                report = parse_report(text)
            except UsageError as error:
                refused += "\n" not in str(error)
                continue
            read += 1
            for style in ("text", "json", "html") if read % 10 == 0 else ("json",):
                render_audit(report, style)
    assert refused > read > 0
    assert refused + read == tried


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it has no splits"),
        (json.dumps(SOUND)[:-40], "it is not JSON"),
        (json.dumps(SOUND).replace('"complete"', '"complete": true, "complete"', 1), "'complete' occurs twice"),
        (json.dumps(SOUND).replace('"bytes": ', '"bytes": 1e999, "x": ', 1), "splits.0.source"),
        (json.dumps(SOUND).replace('"bytes": ', '"bytes": Infinity, "x": ', 1), "Infinity is not a JSON number"),
        (json.dumps({**SOUND, "version": 3}), "version"),
        (json.dumps(changed(("splits", 0, "source", "class_names"), "x")), "splits.0.source.class_names"),
        (json.dumps(changed(("splits", 0, "source", "surprise"), 1)), "splits.0.source.surprise"),
        ("9" * 5000, "it is not JSON"),
    ],
)
def test_the_line_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    """What does not fit is said by its path."""
    file = tmp_path / "audit.json"
    file.write_text(text)
    with pytest.raises(UsageError, match="is not an audit report") as error:
        read_report(file)
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe{", "{}".encode("utf-16"), b"\x00"])
def test_other_encodings_are_refused(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """In every command that reads a report: exit 2, one line."""
    file = tmp_path / "audit.json"
    file.write_bytes(content)
    for command in (["report", str(file)], ["merge", str(file), str(file)]):
        with pytest.raises(SystemExit) as exit_:
            app.main(command)
        assert exit_.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_an_edited_report_cannot_hide_what_was_counted() -> None:
    """Findings follow from the counts, whatever the file says of them."""
    report = parse_report(json.dumps({**SOUND, "findings": [], "diagnoses": [], "complete": True}))
    assert report.to_json()["findings"] == SOUND["findings"]
