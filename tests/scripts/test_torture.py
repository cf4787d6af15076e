"""The harness of faults in short: every kind of fault takes effect, and nothing is lost or read twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "torture"
FAULTS: dict[str, set[str]] = {
    "kill torn zeroed": {"process killed", "lines torn", "parts zeroed"},
    "disk readonly stop": {"disk full", "folder read-only", "stopped and continued"},
    "hosts-2 hosts-4": {"process killed"},
    "reused policy": {"process killed"},
    "audit": set(),  # see below
    "workers": set(),  # which of the faults comes in two lives is left to chance
}


LONG = ("hosts-2 hosts-4", "workers")  # 16 s each


@pytest.mark.parametrize(
    "scenarios", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in FAULTS]
)
def test_a_short_torture_loses_nothing(tmp_path: Path, scenarios: str) -> None:
    """Each scenario does what it is named for, to real processes, and every record is where it belongs, once."""
    command = [sys.executable, str(SCRIPT), *scenarios.split(), "--runs", "1", "--lives"]
    command += [{"workers": "2", "audit": "5"}.get(scenarios, "6"), "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == scenarios.split()
    assert FAULTS[scenarios] <= {fault for found in figures.values() for fault in found["faults"]}
    if scenarios == "audit":  # whether the audit or the parent of its workers is killed is left to chance
        assert {"audit killed", "parent of workers killed"} & set(figures["audit"]["faults"])
    for found in figures.values():
        assert sum(found["faults"].values()) > 0
        assert (found["runs"], found["lost"], found["twice"], found["wrong"], found["hangs"]) == (1, 0, 0, [], 0)


def test_the_harness_sees_what_is_lost_or_doubled() -> None:
    """The check that everything above relies on can fail."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from lives import Figures\n"
        "figures = Figures()\n"
        "figures.compare([1, 2, 2, 9], [1, 2, 3], 'here')\n"
        "print(figures.lost, figures.twice, figures.wrong, figures.sound)\n"
    )
    command = [sys.executable, "-c", program, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["1", "1", "['here:", "[9]']", "False"]
