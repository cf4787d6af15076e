"""The property that the guard is for: what leaves it passes the emitted schema, in a dtype that it declares."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "fuzz"))
emission: Any = importlib.import_module("emission")


@settings(max_examples=250, suppress_health_check=list(HealthCheck))
@given(emission.cases())
def test_what_leaves_the_guard_is_legal(case: Any) -> None:
    """All kinds, dtypes, policies, forms and remainders; values equal a slow oracle's; no error that is not ours."""
    emission.check_case(case)
