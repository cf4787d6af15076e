"""README and docs are true: Python runs, schemas load, commands exist, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import label_guard
import label_guard.jax
from label_guard import load_schema
from label_guard.cli.app import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def test_the_first_example_of_the_readme_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example runs unchanged, prints the lines below it, and the quarantine holds its two invalid records."""
    page = ROOT / "README.md"
    monkeypatch.chdir(tmp_path)
    example, masked = blocks(page, "python")
    names: dict[str, Any] = {}
    exec(compile(example, str(page), "exec"), names)
    assert capsys.readouterr().out == blocks(page, "text")[0]
    assert {entry.record for entry in label_guard.read_quarantine("runs/quarantine").entries} == {"7", "200"}
    batch = {"label": jnp.array([1, 2, 3, 4]), "label_valid": jnp.array([True, True, False, True])}
    names = {"optax": optax, "label_guard": label_guard, "logits": jnp.zeros((4, 10)), "batch": batch}
    exec(compile(masked, str(page), "exec"), names)
    assert np.isfinite(names["loss"])


def test_the_schema_of_the_readme_loads(tmp_path: Path) -> None:
    """The YAML shown is a sound schema."""
    (text,) = [block for block in blocks(ROOT / "README.md", "yaml") if "format: 1" in block]
    (tmp_path / "digits.yaml").write_text(text)
    assert load_schema(tmp_path / "digits.yaml").name == "digits"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_links_exist(page: Path) -> None:
    """Every label-guard command is one there is, every make target is in the Makefile, every link has a target."""
    text = page.read_text(encoding="utf-8")
    commands = set(re.findall(r"^\$ label-guard (\w+)", text, re.M))
    assert commands <= set(COMMANDS), commands - set(COMMANDS)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^\$ make ([\w-]+)", text, re.M)) <= targets
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (page.parent / link).exists(), link


def test_files_that_contributing_names_exist() -> None:
    """Its tables lead to files and folders that are there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_]+/)+[\w.]*)`", text)
    assert named
    places = ROOT, Path(label_guard.__file__).parent
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    assert missing == []
