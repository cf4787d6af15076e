"""docs/api.md lists the public names: those of the modules that it names, and nothing else."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import label_guard

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
SECTIONS = {
    module: re.findall(r"^\| `(\w+)` \|", text, re.M)
    for module, text in re.findall(r"^## `([\w.]+)`\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
}
# Grows with a decision: a name that comes or goes changes what users may import.
ROOMS = (
    "schema check quarantine audit lint diff infer rules errors grain jax tfds engines.beam engines.ray engines.spark "
    "testing"
)
MODULES = {"label_guard", *(f"label_guard.{name}" for name in ROOMS.split())}


def test_the_public_modules_are_these() -> None:
    """The page has a section for each public module."""
    assert set(SECTIONS) == MODULES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_public_names_are_those_of_the_page(name: str) -> None:
    """The page lists what ``__all__`` of each module holds; every name loads and is documented."""
    module = importlib.import_module(name)
    assert sorted(SECTIONS[name]) == sorted(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    for public in module.__all__:
        value = getattr(module, public)
        assert not (inspect.isclass(value) or inspect.isroutine(value)) or inspect.getdoc(value), public


def test_the_page_is_up_to_date() -> None:
    """The page is what its script writes from the docstrings."""
    spec = importlib.util.spec_from_file_location("api_page", PAGE.parents[1] / "scripts" / "api_page.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = "\n".join(script.lines()).rstrip() + "\n"
    assert PAGE.read_text(encoding="utf-8") == written, "run: python scripts/api_page.py > docs/api.md"


@pytest.mark.parametrize(
    "page", [*sorted(PAGE.parent.glob("*.md")), PAGE.parents[1] / "README.md"], ids=lambda p: p.name
)
def test_pages_import_public_names_alone(page: Path) -> None:
    """What README and docs import, or name with its full path, is on the page of public names."""
    text = page.read_text(encoding="utf-8")
    for module, names in re.findall(r"^from (label_guard[\w.]*) import ([\w, ]+)$", text, re.M):
        assert set(names.split(", ")) <= set(SECTIONS.get(module, ())), f"{module}: {names}"
    for path in re.findall(r"`(label_guard(?:\.\w+)+)", text):
        module, _, name = path.rpartition(".")
        assert path in MODULES or name in SECTIONS.get(module, ()) or path == "label_guard.schema.json", path


def test_no_public_function_has_the_name_of_a_package() -> None:
    """``label_guard.audit`` stays a module after it is imported."""
    packages = {path.name for path in Path(label_guard.__file__).parent.iterdir() if path.is_dir()}
    assert not packages & set(SECTIONS["label_guard"])
