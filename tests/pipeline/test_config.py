"""Plans: defaults, what a policy implies, which process this is. Refusals: tests/grain/test_misuse.py."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.options import DEFAULT_STOP_ABOVE, resolve_options
from label_guard.pipeline.processes import process_count, process_index_of
from label_guard.schema.dataset import DatasetSchema


def _plan(label: dict[str, Any] | None = None, **options: Any) -> GuardConfig:
    fields = {"kind": "class_label", "num_classes": 10, **(label or {})}
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "digits", "version": "1.0.0", "labels": {"label": fields}}
    )
    return resolve_options(schema, **{"quarantine": "q", **options})


@pytest.mark.parametrize(
    ("policy", "limit"), [("drop", DEFAULT_STOP_ABOVE), ("mask", DEFAULT_STOP_ABOVE), ("raise", None), ("report", None)]
)
def test_defaults(policy: str, limit: float | None) -> None:
    """Policies that go on over bad records stop above a share by default; None means never, 0 means at any."""
    assert _plan(on_invalid=policy).stop_above == limit
    assert _plan(on_invalid=policy, stop_above=None).stop_above is None
    assert _plan(on_invalid=policy, stop_above=0).stop_above == 0


@pytest.mark.parametrize(
    ("label", "options", "untouched"),
    [
        ({}, {}, True),
        ({}, {"on_invalid": "report"}, True),
        ({}, {"on_invalid": "mask"}, False),
        ({}, {"remainder": "pad"}, False),
        ({"emit": "int32"}, {}, False),
        ({"ignore": [255]}, {}, False),
        ({"ignore": [255]}, {"valid_key": None}, True),
        ({"unlabeled": -1, "on_unlabeled": "skip"}, {}, True),
        ({"unlabeled": -1, "on_unlabeled": "skip"}, {"on_invalid": "report"}, False),
        ({"class_ids": {"start": 1}}, {}, False),
    ],
)
def test_what_passes_untouched(label: dict[str, Any], options: dict[str, Any], untouched: bool) -> None:
    """A clean batch is left alone unless the schema converts or a mask is due."""
    assert _plan(label, **options).passes_untouched is untouched


def test_a_plan_pickles() -> None:
    """Grain's workers get the plan by pickle."""
    plan = _plan({"unlabeled": -1, "on_unlabeled": "skip"})
    copy = pickle.loads(pickle.dumps(plan))
    assert copy.guard.digest == plan.guard.digest
    assert copy.labels == plan.labels


def test_the_process_index_is_not_asked_too_early() -> None:
    """Neither importing jax nor building a plan starts JAX's backend, which would break multi-host start-up."""
    assert (process_index_of(3), process_index_of(None)) == (3, 0)
    assert process_count() == 1
    code = (
        "import jax\nfrom label_guard.pipeline.options import resolve_options\n"
        "from label_guard.pipeline.processes import process_count, process_index_of\n"
        "from label_guard.schema.dataset import DatasetSchema\n"
        "schema = DatasetSchema.model_validate({'format': 1, 'name': 'd', 'version': '1.0.0',"
        "'labels': {'label': {'kind': 'class_label', 'num_classes': 2}}})\n"
        "resolve_options(schema, on_invalid='mask')\nprint(process_index_of(None), process_count())\n"
        "from jax._src import xla_bridge\nprint(xla_bridge.backends_are_initialized())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0", "1", "False"]
