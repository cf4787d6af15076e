"""Commands as a user runs them: whole processes, start-up included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.measure import Row, measure, row

ONE_FILE_SECONDS = 0.3
MANY_FILES_SECONDS = 1.5


def _run(arguments: list[str]) -> Callable[[], None]:
    command = [sys.executable, "-c", "import sys; from label_guard.cli.app import main; main(sys.argv[1:])", *arguments]
    # Bytecode is cached, as on any machine that runs the command twice.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)

    return run


def lint(quick: bool) -> list[Row]:
    """``label-guard lint`` of one file and of 200."""
    configs = Path(__file__).parents[2] / "configs"
    one = configs / "cifar10.yaml"
    with tempfile.TemporaryDirectory() as folder:
        for number in range(200):
            (Path(folder) / f"{number}.yaml").write_text(one.read_text(encoding="utf-8"), encoding="utf-8")
        functions = {
            "python -c pass": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True) and None,
            "lint one file": _run(["lint", str(one)]),
            "lint 200 files": _run(["lint", folder]),
        }
        timings = measure(functions, rounds=5 if quick else 11, seconds=0)
    rows = [row("label-guard lint", name, timings, against="python -c pass", cpu=False) for name in functions]
    for found, limit in zip(rows[1:], (ONE_FILE_SECONDS, MANY_FILES_SECONDS), strict=True):
        found.target, found.holds = f"<= {limit:g} s", found.seconds <= limit
    return rows
