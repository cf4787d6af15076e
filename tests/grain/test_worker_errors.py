"""Errors of guards inside Grain workers, and absl flags, in processes of their own with a time limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("run_errors.py")


def test_errors_arrive_whole(tmp_path: Path) -> None:
    """Every error of a guard in a worker arrives in the main process with its attributes, and nothing hangs."""
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout)
    assert found["raise"]["type"] == "InvalidLabelError"
    assert found["raise"]["records"] == ["2", "3"]
    assert found["raise"]["counts"] == {"LG101": 1, "LG102": 1}
    assert found["quarantine"]["type"] == "QuarantineError"
    assert found["share"]["type"] == "TooManyInvalidError"
    assert "the whole first batch" in found["share"]["message"]
    assert "record 0" in found["share"]["message"]
    assert found["none valid"]["type"] == "NoValidRecordsError"
    assert "100,000 records in a row" in found["none valid"]["message"]


def test_flags_are_left_alone() -> None:
    """Importing the stage parses no absl flags: that is the script's to do."""
    code = "import label_guard.grain; from absl import flags; print(flags.FLAGS.is_parsed())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "False"
