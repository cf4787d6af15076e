"""README and docs tell the truth: Python runs, schemas load, commands exist, links lead somewhere."""

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


def digits(count: int = 300) -> list[dict[str, Any]]:
    """Records like those of configs/digits.yaml, two of them bad."""
    labels = np.arange(count, dtype=np.int64) % 10
    labels[[7, 200]] = [10, -1]
    return [{"image": np.zeros((8, 8, 1), np.uint8), "label": label} for label in labels]


def test_the_examples_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples deliver guarded batches, quarantine the two bad records and give a finite loss."""
    page = ROOT / "README.md"
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"source": digits(), "optax": optax, "label_guard": label_guard}
    for code in blocks(page, "python"):
        if "logits" in code:
            names["logits"] = jnp.zeros((4, 10))
            names["batch"] = {"label": jnp.array([1, 2, 3, 4]), "label_valid": jnp.array([True, True, False, True])}
        exec(compile(code, str(page), "exec"), names)
    batches = list(names["dataset"])
    assert [len(batch["label"]) for batch in batches] == [128, 128, 42]
    assert batches[0]["label"].dtype == np.int32
    assert np.isfinite(names["loss"])
    assert {e.record for e in label_guard.read_quarantine("runs/quarantine").entries} == {"7", "200"}


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
