"""What the tests of training programs share: quarantined names, and pipelines that resume."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from label_guard import read_quarantine


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Where the guard writes invalid records."""
    return str(tmp_path / "quarantine")


@pytest.fixture
def names(folder: str) -> Callable[[], list[str]]:
    """The names of the records in the quarantine, sorted."""
    return lambda: sorted(str(entry.record) for entry in read_quarantine(folder).entries)


@pytest.fixture
def resumes() -> Callable[[Any], None]:
    """Asserts that a Grain dataset, restored at its start, in its middle and at its end, goes on as the first run."""
    return _check_resumed


def _check_resumed(dataset: Any) -> None:
    iterator, states, elements = iter(dataset), [], []
    for element in iterator:
        elements.append(element)
        states.append(copy.deepcopy(iterator.get_state()))
        assert json.dumps(states[-1])
    for step in {0, len(states) // 2, len(states) - 1}:
        resumed = iter(dataset)
        resumed.set_state(copy.deepcopy(states[step]))
        for expected, found in zip(elements[step + 1 :], resumed, strict=True):
            jax.tree.map(np.testing.assert_array_equal, expected, found)
