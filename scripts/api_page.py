"""Write docs/api.md: the public names of every public module with the first line of their documentation.

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
    "label_guard.testing": "Tests of your own pipelines: [testing.md](testing.md).",
}
VALUES = {"RULES": "Every rule by its code.", "Label": "Any of the label kinds."}


def meaning(name: str, value: object) -> str:
    """The first paragraph of a name's documentation, as Markdown."""
    text = VALUES.get(name) or (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def lines() -> Iterator[str]:
    """The lines of the page."""
    yield INTRODUCTION
    for module, title in MODULES.items():
        public = importlib.import_module(module)
        yield f"## `{module}`\n\n{title}\n\n| name | meaning |\n|---|---|"
        yield from (f"| `{name}` | {meaning(name, getattr(public, name))} |" for name in sorted(public.__all__))
        yield ""


if __name__ == "__main__":
    print("\n".join(lines()).rstrip())
