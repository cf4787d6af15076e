"""label-guard lint, rule and schema as people run them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from label_guard.cli.app import main
from label_guard.rules.registry import RULES

_ROOT = Path(__file__).parents[2]
_GOLDEN = _ROOT / "tests" / "golden"
_BAD = """\
format: 1
name: voc
version: 1.0.0
labels:
  label:
    kind: class_label
    num_classes: 4
    class_names: [cat, dog, no, cat, "bird "]
    ignore_index: 255
splits:
  train: {}
"""


def _run(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        main(list(args))
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with one bad file, so that names in reports are short."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "voc.yaml").write_text(_BAD)
    return tmp_path


def test_the_report_in_text(folder, capsys):
    """Findings on stdout, one a line, with place, rule, message and fix; nothing on stderr; exit code 1."""
    assert _run(capsys, "lint") == (1, (_GOLDEN / "lint.txt").read_text(), "")


def test_the_report_in_json(folder, capsys):
    """The same findings for programs, with their paths."""
    code, out, _ = _run(capsys, "lint", "configs", "--format", "json")
    report = json.loads(out)
    assert (code, report["complete"], report["files_checked"]) == (1, True, 1)
    assert report["diagnostics"][0]["path"] == ["labels", "label", "num_classes"]


def test_warnings_alone_exit_0(folder, capsys):
    """What loads passes the gate; the warning is shown."""
    text = _BAD.replace("num_classes: 4", "num_classes: 3").replace(", no, cat", "").replace("_index: 255", ": []")
    (folder / "configs" / "voc.yaml").write_text(text)
    code, out, _ = _run(capsys, "lint")
    assert (code, "LG219" in out, "LG214" in out) == (0, True, True)
    assert "LG219" not in _run(capsys, "lint", "--ignore", "lg219")[1]


def test_a_file_that_cannot_be_read_does_not_stop_the_others(folder, capsys):
    """Everything that can be linted is; the code is 2, and the report says that it is not complete."""
    (folder / "configs" / "broken.yaml").write_text("a: [")
    code, out, _ = _run(capsys, "lint", "absent.yaml", "*.none", "configs")
    assert code == 2
    assert out.count("LG200") == 3
    assert "LG201" in out
    assert "not everything could be checked" in out


@pytest.mark.parametrize(
    "args",
    [
        ["--select", "X"],
        ["--ignore", "LG999"],
        ["--format", "xml"],
        ["--fixx"],
        ["--source", "csv:x", "a.yaml", "b.yaml"],
    ],
)
def test_a_wrong_option_exits_2(folder, capsys, args):
    """A slip on the command line is an error in words, without a traceback."""
    code, out, err = _run(capsys, "lint", *args)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err


def test_fix_corrects_the_file_and_reports_the_rest(folder, capsys):
    """--fix says on stderr how much it fixed, and lints the file as it is then."""
    code, out, err = _run(capsys, "lint", "--fix")
    assert (code, err) == (1, "configs/voc.yaml: fixed 4 problems\n")
    assert "ignore: [255]" in (folder / "configs" / "voc.yaml").read_text()
    assert {line.split()[1] for line in out.splitlines()[:-1]} == {"LG201", "LG202"}


def test_without_files_pyproject_decides(folder, capsys):
    """[tool.label_guard] schemas names the files where the command names none."""
    (folder / "pyproject.toml").write_text('[tool.label_guard]\nschemas = ["none/*.yaml"]\n')
    code, out, _ = _run(capsys, "lint")
    assert (code, out.startswith("none/*.yaml: LG200")) == (2, True)


def test_rule_explains_a_rule_by_code_or_name(capsys):
    """The page of a rule, the list of all, and a clear error for one that is not there."""
    code, page, _ = _run(capsys, "rule", "lg101")
    assert (code, page.startswith("LG101 label-out-of-range\n")) == (0, True)
    assert all(len(line) <= 100 for line in page.splitlines())
    assert _run(capsys, "rule", "label-out-of-range")[1] == page
    assert [line[:5] for line in _run(capsys, "rule")[1].splitlines()] == list(RULES)
    code, out, err = _run(capsys, "rule", "LG999")
    assert (code, out, "no rule 'LG999'" in err) == (2, "", True)


def test_the_command_line_is_a_program():
    """The installed module runs as a process with its exit code, and shows no traceback."""
    result = subprocess.run(
        [sys.executable, "-c", "from label_guard.cli.app import main; main()", "lint", "configs"],
        cwd=_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert "nothing found" in result.stdout
