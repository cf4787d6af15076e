"""Errors of guards inside Grain workers, and absl flags, in processes of their own with a time limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("run_errors.py")


def errors_of(folder: Path, *cases: str) -> dict[str, Any]:
    """By case: the error that arrived in the main process."""
    command = [sys.executable, str(SCRIPT), str(folder), *cases]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


def test_errors_arrive_whole(tmp_path: Path) -> None:
    """An error of a guard in a worker arrives in the main process with its attributes, and nothing hangs."""
    found = errors_of(tmp_path, "raise", "share")
    assert found["raise"]["type"] == "InvalidLabelError"
    assert found["raise"]["records"] == ["2", "3"]
    assert found["raise"]["counts"] == {"LG101": 1, "LG102": 1}
    assert found["share"]["type"] == "TooManyInvalidError"
    assert "the whole first batch" in found["share"]["message"]
    assert "record 0" in found["share"]["message"]


@pytest.mark.long
def test_other_errors_arrive_whole(tmp_path: Path) -> None:
    """So do those of a quarantine that cannot be written, and of a stream without valid records."""
    found = errors_of(tmp_path, "quarantine", "none valid")
    assert found["quarantine"]["type"] == "QuarantineError"
    assert found["none valid"]["type"] == "NoValidRecordsError"
    assert "100,000 records in a row" in found["none valid"]["message"]


def test_flags_are_left_alone() -> None:
    """Importing the stage parses no absl flags: that is the script's to do."""
    code = "import label_guard.grain; from absl import flags; print(flags.FLAGS.is_parsed())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert run.stdout.strip() == "False"
