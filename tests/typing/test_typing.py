"""Type checkers know the options of the guard: right calls pass, wrong ones are errors at their place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = Path(__file__).parent / "calls.py"


@pytest.fixture(scope="module")
def errors() -> dict[int, str]:
    """Pyright's errors over calls.py, by line."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(CALLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CALLS.parents[2])
    found: dict[int, str] = {}
    for problem in json.loads(done.stdout)["generalDiagnostics"]:
        line = problem["range"]["start"]["line"]
        found[line] = found.get(line, "") + problem["message"]
    return found


def test_wrong_calls_are_errors_and_right_calls_are_none(errors: dict[int, str]) -> None:
    """Pyright reports exactly the lines marked wrong, each with the option or value that is wrong."""
    wrong = {
        number: line.partition("# wrong: ")[2]
        for number, line in enumerate(CALLS.read_text(encoding="utf-8").splitlines())
        if "# wrong: " in line and not line.startswith("A line")
    }
    assert set(errors) == set(wrong), errors
    for number, text in wrong.items():
        assert text in errors[number]
