"""A report may be written into what the process has open, and into a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

SCHEMA = "format: 1\nname: d\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 3}}\n"


def audit(folder: Path, target: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Runs an audit with one JSON report."""
    (folder / "s.yaml").write_text(SCHEMA)
    (folder / "a.csv").write_text("label\n0\n1\n2\n")
    command = [sys.executable, "-m", "label_guard", "audit", "s.yaml", "--source", "csv:a.csv", "--report"]
    return subprocess.run([*command, f"json={target}"], cwd=folder, check=False, timeout=300, **options)  # type: ignore[call-overload]


def report_in(text: str) -> dict[str, Any]:
    """The JSON report behind the text report."""
    return json.loads("{" + text.partition("{")[2])


@pytest.mark.parametrize("name", ["stdout", "stderr", "fd/1"])
def test_a_report_goes_into_an_open_stream(tmp_path: Path, name: str) -> None:
    """Into a pipe, and behind what a redirected file holds."""
    done = audit(tmp_path, f"/dev/{name}", capture_output=True)
    text = (done.stderr if name == "stderr" else done.stdout).decode()
    assert done.returncode == 0, done.stderr
    assert report_in(text)["dataset"] == "d"
    with (tmp_path / "out").open("wb") as out:
        done = audit(tmp_path, f"/dev/{name}", stdout=out, stderr=out)
    text = (tmp_path / "out").read_text()
    assert (done.returncode, text.startswith("d 1.0.0")) == (0, True)
    assert report_in(text)["complete"]


def test_a_report_goes_into_a_named_pipe(tmp_path: Path) -> None:
    """The pipe stays a pipe."""
    os.mkfifo(tmp_path / "pipe")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()))
    reader.start()
    done = audit(tmp_path, "pipe", capture_output=True)
    reader.join(30)
    assert (done.returncode, json.loads(found[0])["dataset"]) == (0, "d")
    assert (tmp_path / "pipe").is_fifo()


def test_an_input_behind_a_stream_is_not_overwritten(tmp_path: Path) -> None:
    """Standard output that was redirected to the data is refused as any other input."""
    audit(tmp_path, "x.json", capture_output=True)
    with (tmp_path / "a.csv").open("ab") as out:
        done = audit_into(tmp_path, out.fileno())
    assert done.returncode == 2
    assert (tmp_path / "a.csv").read_text() == "label\n0\n1\n2\n"


def audit_into(folder: Path, descriptor: int) -> subprocess.CompletedProcess[bytes]:
    """Runs an audit whose report goes to a descriptor that it inherits."""
    command = [sys.executable, "-m", "label_guard", "audit", "s.yaml", "--source", "csv:a.csv", "--report"]
    return subprocess.run(
        [*command, f"json=/dev/fd/{descriptor}"],
        cwd=folder, check=False, timeout=300, pass_fds=[descriptor], capture_output=True,
    )  # fmt: skip
