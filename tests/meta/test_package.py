"""The package as a whole: its public names, what importing it costs, its errors across processes."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from label_guard import Diagnostic, Violation, errors
from label_guard.grain import _private
from label_guard.pipeline import source_names

FRAMEWORKS = ("apache_beam", "grain", "jax", "numpy", "optax", "pyarrow", "tensorflow", "tensorflow_datasets")


def loaded_by(statement: str) -> list[str]:
    """The frameworks that a fresh interpreter has loaded after ``statement``."""
    probe = f"import sys; {statement}; print(*[name for name in {FRAMEWORKS!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_package_loads_no_framework() -> None:
    """``import label_guard`` costs next to nothing."""
    assert loaded_by("import label_guard") == []


def test_the_heart_loads_numpy_and_no_framework() -> None:
    """A guard, its policies, the quarantine and guard_batches need NumPy alone."""
    assert loaded_by("from label_guard import Guard, guard_batches, read_quarantine, QuarantineOptions") == ["numpy"]


def test_the_probe_sees_a_framework() -> None:
    """The two tests above can fail."""
    assert "jax" in loaded_by("import jax")
    assert "grain" in loaded_by("import label_guard.grain")


ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.LabelGuardError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_crosses_processes_whole(kind: type[errors.LabelGuardError]) -> None:
    """Grain waits forever after an exception that does not pickle: message, fields and notes survive every protocol."""
    error = kind("record 3: label 10")
    if isinstance(error, errors.InvalidLabelError):
        error = errors.InvalidLabelError("m", (Violation("y", "LG101", 10, "[0, 10)"),), {"LG101": 1})
    if isinstance(error, errors.SchemaError):
        error = errors.SchemaError("m", (Diagnostic("LG201", "error", "x"),))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error)
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("kind", ERRORS)
def test_no_error_carries_control_characters(kind: type[errors.LabelGuardError]) -> None:
    """What data or another library put into a message is shown as escapes; the lines of the message stay."""
    assert str(kind("a\x1b[31m\x9b\u202e\r\nb")) == "a\\x1b[31m\\x9b\\u202e\\r\nb"


def test_no_error_class_is_deeper_than_one() -> None:
    """Every error is directly below LabelGuardError."""
    for kind in ERRORS:
        assert kind is errors.LabelGuardError or errors.LabelGuardError in kind.__bases__


@pytest.mark.source
@pytest.mark.parametrize("pins", ["constraints.txt", "constraints-lowest.txt"])
def test_private_attributes_are_read_of_tested_versions(pins: str) -> None:
    """A new version in the constraints asks for a look at the one file that reads private attributes."""
    tested = {"grain": _private.TESTED_VERSIONS, **source_names.TESTED_VERSIONS}
    text = (Path(__file__).parents[2] / pins).read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", text, re.M))
    for name in ("grain", "array-record"):
        assert pinned[name] in tested[name]
