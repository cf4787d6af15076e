"""Writes docs/api.md: the public names of every public module, each with the first line of its documentation.

python scripts/api_page.py > docs/api.md
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

INTRODUCTION = """\
# Public names

What may be imported, and from where. Everything else is private and may change in any version. Names of
`label_guard` itself are loaded on use: importing the package costs next to nothing. `label_guard.grain`, `.jax`,
`.tfds` and `.engines.*` need the framework of their name.
"""
MODULES = {
    "label_guard": "Everything that a pipeline or a script needs; no framework.",
    "label_guard.schema": "Models of a schema file, and its reader and writer.",
    "label_guard.check": "The check of one batch; NumPy only.",
    "label_guard.quarantine": "The folder of invalid records.",
    "label_guard.audit": "Every label of a dataset.",
    "label_guard.lint": "Problems of a schema file.",
    "label_guard.diff": "Changes between two schemas.",
    "label_guard.infer": "A draft schema.",
    "label_guard.rules": "The rules by code.",
    "label_guard.errors": "The exceptions; all derive from `LabelGuardError`.",
    "label_guard.grain": "Adapter for Grain.",
    "label_guard.jax": "Adapter for JAX: checks inside jit, losses, hosts that stop together.",
    "label_guard.tfds": "Adapter for TensorFlow Datasets.",
    "label_guard.engines.beam": "The audit on Apache Beam.",
    "label_guard.engines.ray": "The audit on Ray.",
    "label_guard.engines.spark": "The audit on Spark.",
    "label_guard.testing": "Tests of your own pipelines: [testing.md](testing.md).",
}
SIGNATURES = """\
::: {module}
    options:
      show_root_heading: false
      show_root_toc_entry: false
      members: [{names}]
"""  # a directive of mkdocstrings, which puts signatures and docstrings there
VALUES = {
    "RULES": "Every rule by its code.",
    "Label": "Any of the label kinds.",
    "Severity": "`error`, `warning` or `note`.",
}


def meaning(name: str, value: object) -> str:
    """The first paragraph of a name's documentation, as Markdown."""
    text = VALUES.get(name) or (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def documented_here(module: str, names: list[str]) -> list[str]:
    """Those of ``names`` that no other section documents: ``label_guard`` has most of its names from the others."""
    if module != "label_guard":
        return names
    elsewhere = {name for other in MODULES if other != module for name in importlib.import_module(other).__all__}
    return [name for name in names if name not in elsewhere]


def lines() -> Iterator[str]:
    """The lines of the page."""
    yield INTRODUCTION
    for module, title in MODULES.items():
        public = importlib.import_module(module)
        names = sorted(public.__all__)
        yield f"## `{module}`\n\n{title}\n\n| name | meaning |\n|---|---|"
        yield from (f"| `{name}` | {meaning(name, getattr(public, name))} |" for name in names)
        yield "\n" + SIGNATURES.format(module=module, names=", ".join(documented_here(module, names)))


if __name__ == "__main__":
    print("\n".join(lines()).rstrip())
