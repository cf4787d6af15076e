"""The renderers of diagnostics: golden files, independent validators, and text that tries to break out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import label_guard
from label_guard.errors import UsageError
from label_guard.report import FORMATS, render_diagnostics
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
FOUND = [
    Diagnostic(
        "LG201",
        "error",
        "num_classes is 20 but class_names has 21",
        "remove one or set num_classes: 21",
        "configs/voc.yaml",
        7,
        16,
        ("labels", "label", "num_classes"),
    ),
    Diagnostic(
        "LG210",
        "warning",
        "class names 'a|b' and 'A|B' <b>differ</b> by `case`, 100%\nonly \x1b[31m",
        "",
        "./configs/a b,c:d%.yaml",
        3,
        5,
        ("labels", "objects/label", "class_names", 0),
    ),
    Diagnostic(
        "LG305",
        "note",
        "label 'é': num_classes was 4, is 5 (breaks trained models)",
        file="configs/new.yaml",
        line=12,
        column=18,
        path=("labels", "é", "num_classes"),
        properties=(("model", "breaking"), ("declared", True), ("old", 4), ("new", None)),
    ),
    Diagnostic("LG200", "error", "cannot read the file: No such file or directory", file="/data/gone.yaml"),
    Diagnostic("LG207", "error", "name is missing", "add name"),
]
ENDINGS = {"text": "txt", "json": "json", "github": "github.txt", "sarif": "sarif", "junit": "xml", "markdown": "md"}


@pytest.mark.parametrize("style", FORMATS)
def test_the_formats_are_as_their_golden_files(style: str) -> None:
    """One golden file a format, for findings of all sorts and for none; a change of a format shows in review."""
    full = render_diagnostics(DiagnosticReport(FOUND, "lint", files_checked=3, complete=False), style)
    clean = render_diagnostics(DiagnosticReport([], "diff", files_checked=1), style)
    assert f"{full}\n" == (GOLDEN / f"report.{ENDINGS[style]}").read_text(encoding="utf-8")
    assert f"{clean}\n" == (GOLDEN / f"clean.{ENDINGS[style]}").read_text(encoding="utf-8")


def test_an_unknown_format_is_a_usage_error() -> None:
    """The error names the formats there are."""
    with pytest.raises(UsageError, match="unknown format 'yaml'; use one of: text, json"):
        render_diagnostics(DiagnosticReport([], "lint"), "yaml")


def test_the_line_of_the_design_is_what_text_shows() -> None:
    """File, line, column, code, name, message and fix are in one line as the documentation shows them."""
    first = render_diagnostics(DiagnosticReport(FOUND, "lint"), "text").splitlines()[0]
    assert first == (
        "configs/voc.yaml:7:16: LG201 class-count-mismatch: num_classes is 20 but class_names has 21; "
        "remove one or set num_classes: 21"
    )


_TEXT = st.text(max_size=20) | st.sampled_from(
    [
        "%0A::error::x",
        "a\n::error::x",
        "]]>",
        "</code>|",
        "\ud800",
        "\x00",
        "@all",
        "\u202e",
        "\r",
        "&#10;",
        "](x)",
        "{0}",
    ]
)


def _is_file_name(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


_DIAGNOSTICS = st.lists(
    st.builds(
        Diagnostic,
        st.sampled_from(["LG201", "LG305", "LG350"]),
        st.sampled_from(["error", "warning", "note"]),
        _TEXT,
        _TEXT,
        _TEXT.filter(_is_file_name),
        st.integers(0, 99),
        st.integers(0, 99),
        st.lists(_TEXT | st.integers(), max_size=2).map(tuple),
    ),
    max_size=4,
)
MANY = settings(max_examples=60, deadline=None)


def _is_harmless(character: str) -> bool:
    """Whether a terminal takes the character for text: no control, format, private or half character."""
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@given(_DIAGNOSTICS)
@MANY
@pytest.mark.parametrize("style", ["text", "github", "junit", "markdown", "json", "sarif"])
def test_no_text_reaches_the_terminal_as_a_control(style: str, found: list[Diagnostic]) -> None:
    """Whatever a file holds, only printable characters and the line ends of the format come out."""
    shown = render_diagnostics(DiagnosticReport(found, "lint"), style)
    assert all(_is_harmless(character) for character in shown.replace("\n", ""))


@given(_DIAGNOSTICS)
@MANY
def test_text_and_github_hold_one_line_a_diagnostic(found: list[Diagnostic]) -> None:
    """No text breaks a line, so none can pass for a finding or a command of its own."""
    assert len(render_diagnostics(DiagnosticReport(found, "lint"), "text").splitlines()) == len(found) + 1
    lines = render_diagnostics(DiagnosticReport(found, "lint"), "github").splitlines()
    assert len(lines) == len(found) + 1
    assert all(re.match("::(error|warning|notice) title=", line) for line in lines[:-1])
    assert not lines[-1].startswith("::")


def _read_command(line: str) -> tuple[dict[str, str], str]:
    """Properties and message as GitHub's runner reads a workflow command."""
    head, message = line[2:].split("::", 1)
    pairs = dict(pair.split("=", 1) for pair in head.partition(" ")[2].split(","))
    for name, value in pairs.items():
        for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            value = value.replace(code, character)
        pairs[name] = value
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        message = message.replace(code, character)
    return pairs, message


def test_github_reads_back_what_was_meant() -> None:
    """Per cent signs, colons, commas and new lines survive the way through a workflow command."""
    lines = render_diagnostics(DiagnosticReport(FOUND, "lint"), "github").splitlines()
    properties, message = _read_command(lines[1])
    assert properties == {
        "title": "LG210 similar-class-names",
        "file": "configs/a b,c:d%.yaml",
        "line": "3",
        "col": "5",
    }
    assert message == r"class names 'a|b' and 'A|B' <b>differ</b> by `case`, 100%\nonly \x1b[31m"
    assert _read_command(lines[0])[1].splitlines()[1] == "remove one or set num_classes: 21"


@given(st.text(alphabet="%:,=\n\r0ADab25", max_size=12))
@MANY
def test_github_escapes_can_be_undone(text: str) -> None:
    """A message of escapes and separators arrives as it was written, apart from its controls."""
    line = render_diagnostics(
        DiagnosticReport([Diagnostic("LG201", "error", text or "x")], "lint"), "github"
    ).splitlines()[0]
    assert _read_command(line)[1] == (text or "x").replace("\n", "\\n").replace("\r", "\\r")


def _sarif_errors(text: str) -> list[str]:
    schema = json.loads((GOLDEN / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    return [error.message for error in validator.iter_errors(json.loads(text))]


@given(_DIAGNOSTICS)
@MANY
def test_sarif_is_valid_against_the_schema_of_the_standard(found: list[Diagnostic]) -> None:
    """Every report loads where SARIF 2.1.0 is asked for, and each result points to its rule."""
    text = render_diagnostics(DiagnosticReport(found, "lint"), "sarif")
    assert _sarif_errors(text) == []
    (run,) = json.loads(text)["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [d.rule for d in found]
    prints = [result["partialFingerprints"]["labelGuard/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_sarif_of_a_copy_that_is_not_installed() -> None:
    """Without the metadata of an installed package the report has no version of it, and is valid."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(label_guard.__file__).parents[1])!r})\n"
        "from label_guard.report import render_diagnostics\n"
        "from label_guard.rules.diagnostic import DiagnosticReport\n"
        "print(render_diagnostics(DiagnosticReport([], 'lint'), 'sarif'))\n"
    )
    without_packages = [sys.executable, "-I", "-S", "-c", code]
    shown = subprocess.run(without_packages, capture_output=True, text=True, check=True).stdout
    assert _sarif_errors(shown) == []
    assert "semanticVersion" not in shown


def test_a_broken_sarif_is_seen_by_the_validator() -> None:
    """The schema in use is real: a level that SARIF does not know is an error."""
    text = render_diagnostics(DiagnosticReport(FOUND, "lint"), "sarif")
    assert _sarif_errors(text) == []
    assert _sarif_errors(text.replace('"level": "warning"', '"level": "fatal"'))


def test_sarif_fingerprints_stay_when_lines_move() -> None:
    """A finding that only moved down is the same finding for code scanning."""
    moved = Diagnostic("LG201", "error", "m", file="a.yaml", line=9, column=1)
    texts = [
        json.loads(render_diagnostics(DiagnosticReport([found], "lint"), "sarif"))["runs"][0]["results"][0][
            "partialFingerprints"
        ]
        for found in (moved, Diagnostic("LG201", "error", "m", file="./a.yaml", line=2, column=1))
    ]
    assert texts[0] == texts[1]


def test_sarif_places_are_relative_uris_and_absolute_ones_are_file_uris() -> None:
    """Spaces, colons and per cent signs of a file name are encoded."""
    (run,) = json.loads(render_diagnostics(DiagnosticReport(FOUND, "lint"), "sarif"))["runs"]
    artifacts = [r["locations"][0]["physicalLocation"]["artifactLocation"] for r in run["results"] if "locations" in r]
    assert artifacts[1] == {"uri": "configs/a%20b%2Cc%3Ad%25.yaml", "uriBaseId": "SRCROOT"}
    assert artifacts[3] == {"uri": "file:///data/gone.yaml"}


@given(_DIAGNOSTICS)
@MANY
def test_junit_is_xml_whose_numbers_are_right(found: list[Diagnostic]) -> None:
    """A parser reads every report, and the counts are those of the cases in it."""
    for complete in (True, False):
        root = ET.fromstring(render_diagnostics(DiagnosticReport(found, "diff", complete=complete), "junit"))
        (suite,) = root
        assert root.tag == "testsuites"
        assert suite.get("tests") == str(len(suite.findall("testcase"))) == str(len(found) + 1)
        assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
        assert suite.get("failures") == str(sum(diagnostic.severity == "error" for diagnostic in found))
        assert suite.get("errors") == str(len(suite.findall("testcase/error"))) == str(int(not complete))


class _Tags(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data


@given(_DIAGNOSTICS)
@MANY
def test_markdown_rows_have_four_cells_and_no_foreign_tags(found: list[Diagnostic]) -> None:
    """Pipes, back-ticks and HTML from a file stay text of their cell."""
    lines = render_diagnostics(DiagnosticReport(found, "lint"), "markdown").splitlines()
    rows = lines[6:]
    assert len(rows) == len(found)
    for row in rows:
        assert row.count("|") == 5
        parser = _Tags()
        parser.feed(row)
        assert set(parser.tags) <= {"code", "br"}
        assert not set("`*[]@#\\") & set(re.sub(r"&#\d+;", "", row))


@pytest.mark.parametrize("text", ["www.example.org", "first WWW.example.org", "https://example.org/x", "a@example.org"])
def test_markdown_makes_no_link_of_foreign_text(text: str) -> None:
    """What GitHub turns into a link without brackets, in ``code`` of HTML too, is broken by a character reference."""
    [row] = render_diagnostics(
        DiagnosticReport([Diagnostic("LG210", "error", text, "")], "lint"), "markdown"
    ).splitlines()[6:]
    assert not re.search(r"(?i)www\.|://|@", row)


def test_a_comment_is_never_larger_than_a_forge_takes() -> None:
    """Of thousands of findings as many are shown as fit, and the rest is counted."""
    text = render_diagnostics(DiagnosticReport([FOUND[0]] * 2000, "lint"), "markdown")
    assert len(text) < 65_536
    shown = text.count("| :x: error |")
    assert text.endswith(f"and {2000 - shown:,} findings more")


def test_json_has_a_version_and_keeps_every_value() -> None:
    """Programs get the text as it is, unknown places as null, and the facts of a change."""
    report = json.loads(render_diagnostics(DiagnosticReport(FOUND, "lint", files_checked=3, complete=False), "json"))
    assert {name: report[name] for name in ("version", "tool", "complete", "files_checked")} == {
        "version": 1,
        "tool": "lint",
        "complete": False,
        "files_checked": 3,
    }
    assert report["counts"] == {"error": 3, "warning": 1, "note": 1}
    assert [entry["message"] for entry in report["diagnostics"]] == [found.message for found in FOUND]
    assert report["diagnostics"][4]["line"] is None
    assert report["diagnostics"][2]["properties"] == {"model": "breaking", "declared": True, "old": 4, "new": None}


def test_reports_import_neither_numpy_nor_a_framework() -> None:
    """The gate starts fast: no format pulls in an array library."""
    code = (
        "import sys; from label_guard.report import *; from label_guard.rules.diagnostic import *;"
        "[render_diagnostics(DiagnosticReport([], 'lint'), style) for style in FORMATS];"
        "print(sorted({'numpy', 'jax', 'grain', 'pyarrow', 'jinja2', 'apache_beam'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("style", FORMATS)
def test_no_format_prints_a_command_of_a_runner(style):
    """Text of a file never begins a line with :: nor holds ##[ or ##vso[, in whatever format; it stays readable."""
    azure = "##vso[task.setvariable variable=a]b"
    for evil in (
        "::stop-commands::token",
        "##[stop-commands]token",
        " ::x::",
        "a\n::x::",
        "%0A::x",
        azure,
        "x ##VSO[a.b]",
    ):
        found = [Diagnostic("LG201", "error", evil, evil, evil, 1, 1, (evil,), (("old", evil),))]
        for line in render_diagnostics(DiagnosticReport(found, "lint", files_checked=1), style).splitlines():
            assert not re.search(r"##[a-z]*\[", line, re.IGNORECASE)
            assert not line.lstrip().startswith("::") or (style == "github" and line.startswith("::error title=LG201"))


def test_junit_cases_of_one_report_have_names_of_their_own() -> None:
    """Servers join cases of one name, and would show one finding of several."""
    found = [*FOUND, *FOUND, Diagnostic("LG101", "error", "a", properties=(("split", "train"),))]
    root = ET.fromstring(render_diagnostics(DiagnosticReport(found, "audit"), "junit"))
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == len(found) + 1


@pytest.mark.parametrize("findings", [0, 1, 40, 500])
@pytest.mark.parametrize("not_checked", [0, 40])
def test_a_comment_has_at_most_60_lines(findings: int, not_checked: int) -> None:
    """What does not fit is counted, so that nothing looks complete that is not."""
    found = [Diagnostic("LG101", "error", f"finding {number}") for number in range(findings)]
    text = render_diagnostics(
        DiagnosticReport(found, "audit", not_checked=[f"thing {number}" for number in range(not_checked)]), "markdown"
    )
    assert len(text.splitlines()) <= 58  # a link to the whole report makes it 60
    shown = sum(f"finding {number}</code>" in text for number in range(findings))
    assert shown == findings or f"and {findings - shown} findings more" in text
    assert not not_checked or f"and {not_checked - 10} more" in text
