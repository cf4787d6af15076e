"""The options of the guard are documented once, and the docs, ``help()`` and the defaults agree with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from label_guard import UsageError, guard_batches
from label_guard.audit import audit_dataset
from label_guard.audit.runner import AuditOptions
from label_guard.core.documented_options import option_docs
from label_guard.engines.beam import audit_on_beam
from label_guard.grain import data_loader_operations, guard_labels
from label_guard.pipeline.options import DEFAULTS, GuardOptions, options_table

PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"


def test_every_option_has_a_default_and_a_documentation() -> None:
    """No option without an explanation; only ``stop_above`` has a default that depends on another option."""
    names = list(GuardOptions.__annotations__)
    assert list(option_docs(GuardOptions)) == names
    assert set(names) - set(DEFAULTS) == {"stop_above"}
    assert all(text.endswith(".") for text in option_docs(GuardOptions).values())


@pytest.mark.parametrize("entry", [guard_batches, guard_labels, data_loader_operations, GuardOptions])
def test_help_shows_every_option(entry: Any) -> None:
    """``help()`` of each entry point shows all options with their meaning."""
    shown = " ".join((entry.__doc__ or "").split())
    for name, text in option_docs(GuardOptions).items():
        assert f"{name}: {text}" in shown


def test_the_table_of_the_page_is_made_from_the_options() -> None:
    """The table in docs/pipelines.md is ``options_table()``."""
    text = PAGE.read_text(encoding="utf-8")
    (found,) = re.findall(r"<!-- options -->\n(.*?)\n<!-- /options -->", text, re.S)
    assert found == options_table(), "put the output of label_guard.pipeline.options.options_table() there"


@pytest.mark.parametrize("entry", [audit_dataset, audit_on_beam])
def test_help_shows_every_option_of_an_audit(entry: Any) -> None:
    """The options that audits share are documented once and shown by both; an unknown one names the function called."""
    shown = " ".join((entry.__doc__ or "").split())
    docs = option_docs(AuditOptions)
    assert list(docs) == list(AuditOptions.__annotations__)
    for name, text in docs.items():
        assert f"{name}: {text}" in shown
    with pytest.raises(UsageError, match=f"{entry.__name__} has no option limt=; did you mean limit="):
        entry("schema.yaml", limt=3)
