"""lint, diff, rule and schema start without NumPy and without any framework."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_HEAVY = ("numpy", "jax", "grain", "tensorflow", "tensorflow_datasets", "pyarrow", "apache_beam", "fsspec", "jinja2")
_PROBE = f"""
import sys
try:
    RUN
except SystemExit as done:
    assert done.code in (0, 1), done.code
loaded = sorted(name for name in {_HEAVY!r} if name in sys.modules)
print(loaded, file=sys.stderr)
"""


def _loaded(run):
    code = _PROBE.replace("RUN", run)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "args",
    [
        ["lint", "configs"],
        ["lint", "--format", "sarif"],
        ["diff", "configs/mnist.yaml", "configs/digits.yaml"],
        ["rule", "LG101"],
        ["schema"],
    ],
    ids=" ".join,
)
def test_a_command_about_schema_files_loads_nothing_heavy(args):
    """Start-up is a promise: a hook that runs at every commit may not wait for NumPy."""
    assert _loaded(f"from label_guard.cli.app import main; main({args!r})") == "[]"


def test_loading_a_schema_loads_nothing_heavy():
    """A program that only reads schemas pays for no array library."""
    assert _loaded("import label_guard; label_guard.load_schema('configs/coco.yaml')") == "[]"


def test_the_probe_can_fail():
    """The test above would see NumPy if it were loaded."""
    assert _loaded("import numpy") == "['numpy']"
