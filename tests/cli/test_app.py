"""The command line as a process: exit codes, closed and full outputs, exceptions that nobody expected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from label_guard.cli import app

SCHEMA = """format: 1
name: demo
version: 1.0.0
labels:
  label: {kind: class_label, num_classes: 10}
"""
CALL = f"{sys.executable} -m label_guard audit schema.yaml --source csv:a.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A schema and a clean table."""
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    (tmp_path / "a.csv").write_text("label\n" + "1\n2\n" * 500)
    return tmp_path


def shell(folder: Path, line: str) -> tuple[int, str, str]:
    """Exit code of the first command of a pipeline, and what was printed."""
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("redirect", "message"),
    [(">&-", "standard output is closed"), ("> /dev/full", "No space left"), ("| true", ""), (">&- 2>&-", "")],
)
def test_a_report_that_nobody_can_read_is_not_a_success(folder: Path, redirect: str, message: str) -> None:
    """A clean dataset exits 0 only where its report was printed."""
    code, _, err = shell(folder, f"{CALL} {redirect}")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_a_closed_pipe_does_not_cost_the_files(folder: Path) -> None:
    """Reports are written although nobody reads standard output."""
    code, _, err = shell(folder, f"{CALL} --report json=out.json | true")
    assert (code, "Traceback" in err) == (2, False)
    assert json.loads((folder / "out.json").read_text())["complete"]


def test_a_full_device_costs_that_report_alone(folder: Path) -> None:
    """The other reports are written, the one that was not is named, exit 2."""
    code, out, err = shell(folder, f"{CALL} --report json=/dev/full --report markdown=out.md --report json=out.json")
    assert (code, "1,000 records" in out) == (2, True)
    assert "cannot write /dev/full" in err
    assert (folder / "out.md").exists()
    assert (folder / "out.json").exists()


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyError("a\nb"), MemoryError(), RecursionError("deep")])
def test_an_exception_that_is_not_ours_is_one_line_and_exit_2(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1 means findings and nothing else; the line says where to report it."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(app.group, "main", fail)
    with pytest.raises(SystemExit) as exit_:
        app.main(["lint"])
    err = capsys.readouterr().err
    assert exit_.value.code == 2
    assert err.count("\n") == 1
    assert f"unexpected {type(error).__name__}" in err
    assert "please report this line" in err


def test_an_interrupt_that_another_exception_wraps_is_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python before 3.12 makes a RuntimeError of Ctrl-C in ``__set_name__``, while a module is imported."""

    def fail(**_: object) -> None:
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr(app.group, "main", fail)
    with pytest.raises(SystemExit) as exit_:
        app.main(["lint"])
    assert (exit_.value.code, capsys.readouterr().err) == (2, "label-guard: interrupted\n")


OUTPUTS = {
    "a source": ["--report", "json=a.csv"],
    "a link to a source": ["--report", "json=link.json"],
    "a hard link to a source": ["--report", "json=hard.json"],
    "the schema": ["--report", "json=schema.yaml"],
    "the schema by another name": ["--report", "json=./sub/../schema.yaml"],
    "the baseline": ["--baseline", "base.json", "--report", "json=base.json"],
    "a folder": ["--report", "json=sub"],
    "another report": ["--report", "json=x", "--report", "html=./x"],
    "the good index": ["--good-index", "x.txt", "--report", "json=x.txt"],
    "the label cache": ["--label-cache", "x", "--report", "json=x"],
    "the quarantine": ["--quarantine", "q", "--report", "json=q"],
    "a source by the label cache": ["--label-cache", "a.csv"],
    "a source by the good index": ["--good-index", "link.txt"],
    "the schema by the new baseline": ["--write-baseline", "schema.yaml"],
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_no_output_overwrites_what_is_read_or_another_output(
    folder: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before anything is written, whatever names and links lead to the file."""
    (folder / "sub").mkdir()
    (folder / "base.json").write_text('{"baseline": 2, "dataset": "demo", "splits": {}}')
    (folder / "link.json").symlink_to("a.csv")
    (folder / "link.txt").symlink_to("a.csv")
    (folder / "hard.json").hardlink_to(folder / "a.csv")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as exit_:
        app.main(["audit", "schema.yaml", "--source", "csv:a.csv", *OUTPUTS[what]])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("label-guard: error: ")
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


COMMANDS = {
    "a draft over its source": ["infer", "csv:a.csv", "--force", "--output", "a.csv"],
    "a draft over a file of a glob": ["infer", "csv:*.csv", "--label", "label", "--force", "--output", "hard.yaml"],
    "a draft over its source by a link": ["infer", "a.csv", "--force", "--output", "link.yaml"],
    "a draft over a module": ["infer", "python:own_records:records", "--force", "--output", "own_records.py"],
    "a draft over metadata": ["infer", "tfds:q", "--force", "--output", "q/part-0-0.jsonl"],
    "an export over a part": ["quarantine", "export", "q", "--format", "csv", "--output", "q/part-0-0.jsonl"],
    "keys over a part": ["quarantine", "recheck", "q", "--schema", "schema.yaml", "--keys", "q/part-0-0.jsonl"],
    "records over the schema": ["quarantine", "recheck", "q", "--schema", "schema.yaml", "--output", "schema.yaml"],
    "two outputs": ["quarantine", "recheck", "q", "--schema", "schema.yaml", "--output", "x", "--keys", "x"],
}  # fmt: skip


@pytest.mark.parametrize("what", COMMANDS)
def test_no_command_overwrites_what_it_reads(
    folder: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data of a draft, the parts of a quarantine and a schema stay, with --force too."""
    (folder / "q").mkdir()
    (folder / "q" / "part-0-0.jsonl").write_text("")
    (folder / "link.yaml").symlink_to("a.csv")
    (folder / "hard.yaml").hardlink_to(folder / "a.csv")
    (folder / "own_records.py").write_text("def records():\n    yield {'label': 1}\n")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as exit_:
        app.main(COMMANDS[what])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("label-guard: error: ")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


OPTIONS = [
    *(["audit", "schema.yaml", "--source", "csv:a.csv", option, ""] for option in (
        "--split", "--shards", "--report", "--quarantine", "--baseline", "--write-baseline", "--good-index",
        "--label-cache", "--output",
    )),
    ["audit", "schema.yaml", "--source", ""],
    *(["infer", "csv:a.csv", option, ""] for option in ("--label", "--split", "--name", "--output")),
    ["merge", "a.csv", "--output", ""],
    ["lint", "schema.yaml", "--source", ""],
    ["diff", "--against", "", "schema.yaml"],
    *([command, ""] for command in ("lint", "audit", "check", "infer", "merge", "report")),
    ["lint", "schema.yaml", ""],
    ["audit", "schema.yaml", "", "--source", "csv:a.csv"],
    ["diff", "schema.yaml", ""],
]  # fmt: skip


@pytest.mark.parametrize("line", OPTIONS, ids=" ".join)
def test_an_empty_option_or_argument_is_not_left_out(
    folder: Path, line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is not set ("$KNOWN") is an error: nothing runs without it, or on the current folder."""
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as exit_:
        app.main(line)
    assert exit_.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices")
@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
@pytest.mark.parametrize(
    "line",
    [
        ["report"],
        ["merge"],
        *(["audit", "schema.yaml", "--source", "csv:a.csv", one] for one in ("--baseline", "--label-cache")),
    ],
    ids=lambda line: line[-1],
)
def test_what_comes_back_is_a_regular_file(folder: Path, line: list[str], name: str) -> None:
    """A pipe that nobody writes into, or a device without an end, is an error at once."""
    os.mkfifo(folder / "pipe")
    command = [sys.executable, "-m", "label_guard", *line, name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert "regular file" in done.stderr


def test_merge_does_not_overwrite_its_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of hours of work stay, whatever the output is called."""
    (folder / "part.json").write_text("{}")
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as exit_:
        app.main(["merge", "part.json", "--output", "./part.json"])
    assert exit_.value.code == 2
    assert (folder / "part.json").read_text() == "{}"


def test_a_module_that_is_the_source_is_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a python: source is a source."""
    (folder / "own_records.py").write_text("def records():\n    yield {'label': 1}\n")
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as exit_:
        app.main(["audit", "schema.yaml", "--source", "python:own_records:records", "--report", "json=own_records.py"])
    assert exit_.value.code == 2
    assert (folder / "own_records.py").read_text().startswith("def")


SIDE_FILES = {
    "label cache": ["--label-cache", "side"],
    "label cache and workers": ["--label-cache", "side", "--workers", "2"],
    "quarantine": ["--quarantine", "side"],
    "quarantine and workers": ["--quarantine", "side", "--workers", "2"],
    "good index": ["--good-index", "side.npz"],
    "baseline": ["--write-baseline", "side"],
}


@pytest.mark.parametrize("what", SIDE_FILES)
def test_a_full_disk_costs_the_side_file_alone(folder: Path, what: str) -> None:
    """The whole report is on standard output; the file that could not be written is named, exit 2."""
    for name in ("a", "b"):
        labels = [99 if row % 13 == 0 else row * 7919 % 10 for row in range(6000)]
        (folder / f"{name}.csv").write_text("label\n" + "\n".join(map(str, labels)) + "\n")
    line = f"ulimit -f 1; {CALL.replace('a.csv', '?.csv')} {' '.join(SIDE_FILES[what])}"
    code, out, err = shell(folder, line)
    assert code == 2, err
    assert "12,000 records" in out
    assert "LG101" in out
    assert "side" in err
    assert "Traceback" not in err
    if "quarantine" in what:
        assert "invalid records are in no quarantine" in err


@pytest.mark.parametrize(
    ("how", "error"),
    [("in itself", "SystemExit(1)"), ("while it is imported", "SystemExit(0)"), ("in itself", "BaseException('x')")],
)
def test_whatever_a_source_raises_is_an_unreadable_source(folder: Path, how: str, error: str) -> None:
    """A function of the user ends neither the audit nor its exit code."""
    body = f"raise {error}\n" if how == "while it is imported" else ""
    (folder / "ends.py").write_text(f"{body}def records():\n    yield {{'label': 1}}\n    raise {error}\n")
    code, out, err = shell(folder, CALL.replace("csv:a.csv", "python:ends:records"))
    assert code == 2
    assert "ends" in out + err
    assert "Traceback" not in err


def test_no_output_overwrites_a_file_of_a_folder_that_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each file of a folder is a record, none of them is overwritten; a new file next to them may be written."""
    (folder / "data" / "cat").mkdir(parents=True)
    (folder / "data" / "cat" / "1.png").write_bytes(b"x")
    (folder / "schema.yaml").write_text(SCHEMA.replace("num_classes: 10", "num_classes: 1, class_names: [cat]"))
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as exit_:
        app.main(["audit", "schema.yaml", "--source", "folder:data", "--report", "json=data/cat/1.png"])
    assert exit_.value.code == 2
    assert (folder / "data" / "cat" / "1.png").read_bytes() == b"x"
