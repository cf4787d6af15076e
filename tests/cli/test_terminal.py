"""What people see on a terminal, and help, near names and completion of the command line."""

from __future__ import annotations

import itertools
import os
import pty
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from rich.console import Console

from label_guard import DatasetSchema
from label_guard.audit import audit_dataset
from label_guard.audit.workers import AuditControl, Progress
from label_guard.cli import app
from label_guard.infer.check import check_labels
from label_guard.infer.check_text import render
from label_guard.lint.linter import lint_file
from label_guard.report.audit_screen import show_audit
from label_guard.report.audit_text import render_audit
from label_guard.report.screen import show_diagnostics, show_lines
from label_guard.rules.diagnostic import DiagnosticReport

SCHEMA = """\
format: 1
name: demo
version: 1.0
labels:
  label: {kind: class_label, num_clases: 10}
"""


def on_terminal(command: list[str], folder: Path, **env: str) -> str:
    """What a command prints on a terminal of its own."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", **env}
    process = subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not read:
            break
        shown += read
    assert process.wait() == 1
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    """``text`` without escape sequences."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_lint_marks_the_value_on_a_terminal(tmp_path: Path) -> None:
    """Colour, the line with the value marked, and the number of fixes; NO_COLOR leaves the colours out."""
    (tmp_path / "demo.yaml").write_text(SCHEMA)
    lint = [sys.executable, "-m", "label_guard", "lint", "demo.yaml"]
    shown = on_terminal(lint, tmp_path)
    assert "\x1b[1;31mLG209" in shown
    assert "   3 | version: 1.0\n     |          ^^^\n  fix: write three numbers" in plain(shown)
    assert plain(shown).endswith("label-guard lint: 1 file checked, 2 errors\n2 problems fixable with --fix\n")
    colourless = on_terminal(lint, tmp_path, NO_COLOR="1")
    assert "\x1b[1;31m" not in colourless
    assert plain(colourless) == plain(shown)


def test_of_a_long_line_the_part_around_the_value_is_shown(tmp_path: Path) -> None:
    """A JSON file of one line of 40 kB: each finding shows 160 characters of it, the mark below the value."""
    names = ", ".join(f'" c{k}"' if k % 200 == 0 else f'"c{k}"' for k in range(4_000))
    file = tmp_path / "wide.json"
    file.write_text(
        '{"format": 1, "name": "wide", "version": "1.0.0", "labels": {"y": {"kind": "class_label", '
        f'"num_classes": 4000, "class_names": [{names}]}}}}}}'
    )
    console = drawn(400)
    found = lint_file(str(file))
    show_diagnostics(console, DiagnosticReport(found, "lint"))
    lines = plain(console.file.getvalue()).split("\n")  # type: ignore[attr-defined]
    assert max(map(len, lines)) < 300
    marked = [(above, below) for above, below in itertools.pairwise(lines) if below.startswith("     | ")]
    assert len(marked) == len(found) >= 20
    assert all(above[below.index("^") :].startswith('" c') for above, below in marked)


def test_without_rich_a_terminal_gets_plain_text(tmp_path: Path) -> None:
    """Without the extra the output is that of a pipe."""
    (tmp_path / "demo.yaml").write_text(SCHEMA)
    code = "import sys; sys.modules['rich'] = None; from label_guard.cli import main; main(['lint', 'demo.yaml'])"
    shown = on_terminal([sys.executable, "-c", code], tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "label_guard", "lint", "demo.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert shown == done.stdout


def drawn(width: int = 80) -> Console:
    """A terminal that keeps what it is given."""
    return Console(file=StringIO(), force_terminal=True, width=width, highlight=False, emoji=False)


def test_text_of_a_file_is_neither_markup_nor_a_control_sequence(tmp_path: Path) -> None:
    """What a schema says reaches the terminal as the characters that it has, or as escapes."""
    path = tmp_path / "demo.yaml"
    path.write_text(SCHEMA.replace("num_clases: 10", 'num_classes: 10, "[red]x\\u001b[2J": 1') + "# :smile:\n")
    console = drawn(200)
    show_diagnostics(console, DiagnosticReport(lint_file(path), "lint"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x" in shown
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize("width", [40, 80])
def test_an_audit_on_a_terminal_says_what_its_text_says(tmp_path: Path, width: int) -> None:
    """The same words in the same order, wrapped; no line is longer than the terminal is wide; a bar for each class."""
    np.savez(tmp_path / "a.npz", label=np.array([0, 1, 1, 2, 7]), age=np.linspace(0.0, 9.0, 5), id=np.arange(5))
    labels = {
        "label": {"kind": "class_label", "num_classes": 3, "class_names": ["cat", "dog", "owl"]},
        "age": {"kind": "real_label"},
        "id": {"kind": "class_label", "num_classes": 1000},
    }
    schema = tmp_path / "demo.yaml"
    schema.write_text(f"format: 1\nname: demo\nversion: 1.0.0\nlabels: {labels}\n".replace("'", '"'))
    report = audit_dataset(str(schema), source=f"npz:{tmp_path / 'a.npz'}")
    console = drawn(width)
    show_audit(console, report)
    shown = plain(console.file.getvalue())  # type: ignore[attr-defined]
    if width == 80:
        assert all(len(line) <= width for line in shown.split("\n"))
    bars = [line.split() for line in shown.split("\n") if "█" in line]
    assert [(bar[0], bar[1], bar[-1]) for bar in bars if bar[1] in ("cat", "dog", "owl")] == [
        ("0", "cat", "1"), ("1", "dog", "2"), ("2", "owl", "1"),
    ]  # fmt: skip
    assert "0 to 9" in shown
    words = iter("".join(shown.split()))
    assert all(letter in words for letter in "".join(render_audit(report, "text").split()))


def test_an_audit_of_the_greatest_numbers_is_drawn(tmp_path: Path) -> None:
    """Numbers whose sum and difference overflow have a line of blocks, and no warning of NumPy."""
    np.savez(tmp_path / "a.npz", r=np.array([-1.7e308, 1.7e308, 1.7e308]))
    schema = tmp_path / "huge.yaml"
    schema.write_text(
        "format: 1\nname: huge\nversion: 1.0.0\nlabels:\n  r: {kind: real_label}\n"
        f"splits:\n  train: {{num_examples: 9, source: 'npz:{tmp_path / 'a.npz'}'}}\n"
    )
    report = audit_dataset(str(schema))
    assert [finding.rule for finding in report.findings] == ["LG401"]
    console = drawn(120)
    with np.errstate(all="raise"):
        show_audit(console, report)
    assert "-1.7e+308 to 1.7e+308" in console.file.getvalue()  # type: ignore[attr-defined]
    page = render_audit(report, "html")
    assert "values from -1.7e+308 to 1.7e+308" in page
    assert "known.json" not in page  # a baseline is of invalid records


@pytest.mark.parametrize("width", [40, 80])
def test_a_check_on_a_terminal_says_what_its_text_says(tmp_path: Path, width: int) -> None:
    """The same words in the same order, wrapped, in colour; a command is one line, to be copied."""
    path = tmp_path / "labels.csv"
    path.write_text("text,label\n" + "a,cat\nb,dog\n" * 30 + "c,bird\n")
    report = check_labels(str(path))
    console = drawn(width)
    show_lines(console, render(report))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[1;31m" in shown
    assert "".join(plain(shown).split()) == "".join(str(report).split())
    assert [line for line in plain(shown).split("\n") if "label-guard infer" in line] == [str(report).split("\n")[-1]]


def test_progress_names_the_file_that_is_read(tmp_path: Path) -> None:
    """Without and with worker processes; once all files are read, none is named."""
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("label\n" + "1\n" * 100)
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": {"kind": "class_label", "num_classes": 2}}}
    )
    names = {f"{number}.csv" for number in range(3)}
    for workers in (0, 2):
        seen: list[Progress] = []
        control = AuditControl(progress=seen.append)
        audit_dataset(schema, source=f"csv:{tmp_path}/*.csv", workers=workers, control=control)
        assert {now.reading for now in seen if now.shards_done < now.shards} <= names | {""}
        assert names & {now.reading for now in seen}
        assert (seen[-1].shards_done, seen[-1].records, seen[-1].reading) == (3, 300, "")


def message(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The last line of what a command says of a mistake."""
    with pytest.raises(SystemExit) as ended:
        app.main(list(args))
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_near_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """So are the near rule and the near option; where none is near, all commands are listed."""
    assert message(capsys, "lnt").endswith("did you mean lint?")
    assert message(capsys, "quarantine", "sow", "x").endswith("did you mean show?")
    assert message(capsys, "rule", "label-negativ").endswith("did you mean label-negative?")
    assert "--format" in message(capsys, "lint", "--fromat", "json")
    assert message(capsys, "zzz").endswith("use one of: " + ", ".join(app.COMMANDS))


COMMANDS = [*([name] for name in app.COMMANDS), *(["quarantine", name] for name in ("summary", "show", "export"))]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_parses_and_exit_codes(command: list[str]) -> None:
    """The example names arguments and options that the command has."""
    shown = CliRunner().invoke(app.group, [*command, "--help"]).output
    assert "\n  Exit codes:\n    0: " in shown
    [example] = re.findall(r"^  Example: label-guard (.*?)(?: > \S+)?$", shown, re.M)
    words = shlex.split(example)
    assert words[: len(command)] == command
    found = app.group.get_command(app.group.make_context("label-guard", [], resilient_parsing=True), words[0])
    assert found is not None
    found.make_context(words[0], words[1:])


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ([], "li", ["lint"]),
        (["lint", "--format"], "s", ["sarif"]),
        (["lint", "--select"], "LG101,lg11", [f"LG101,LG11{n}" for n in range(4)]),
        (["rule"], "lg33", ["LG330", "LG331", "LG332", "LG333", "LG334", "LG335", "LG336"]),
        (["audit", "a.yaml", "--source"], "tf", ["tfds:", "tfrecord:", "tf"]),
        (["audit", "a.yaml", "--report"], "h", ["html="]),
        (["audit"], "conf", ["conf"]),
        (["quarantine"], "sh", ["show"]),
    ],
)
def test_a_shell_completes(words: list[str], incomplete: str, expected: list[str]) -> None:
    """Commands, formats, rule codes (the last of a list), schemes, reports; files are left to the shell."""
    shell = ShellComplete(app.group, {}, "label-guard", "_LABEL_GUARD_COMPLETE")
    assert [item.value for item in shell.get_completions(words, incomplete)] == expected


def test_the_script_of_a_shell_is_printed() -> None:
    """As docs/cli.md has it, with exit code 0."""
    env = {**os.environ, "_LABEL_GUARD_COMPLETE": "zsh_source"}
    command = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'label-guard'; from label_guard.cli import main; main()",
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.startswith("#compdef label-guard")) == (0, True)
