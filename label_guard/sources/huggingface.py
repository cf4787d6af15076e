"""Class names that Hugging Face datasets keeps in the metadata of Parquet and Arrow files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

_SEQUENCES = ("Sequence", "List", "LargeList")


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """The class names of every ``ClassLabel``, in order of the ids, by label path; empty where none is declared.

    >>> features = '{"info": {"features": {"tags": {"feature": {"names": ["a", "b"], "_type": "ClassLabel"}, '
    >>> class_names({b"huggingface": (features + '"_type": "Sequence"}}}}').encode()})
    {'tags': ('a', 'b')}
    """
    try:
        described = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        return dict(_walk(described["info"]["features"], ""))
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}


def _walk(feature: Any, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(feature, list):  # a sequence, in the old form
        for inner in cast("list[Any]", feature):
            yield from _walk(inner, path)
    if not isinstance(feature, dict):
        return
    described = cast("dict[str, Any]", feature)
    kind = described.get("_type")
    if kind == "ClassLabel":
        names = described.get("names")
        if isinstance(names, list) and names:
            yield path, tuple(map(str, cast("list[Any]", names)))
    elif kind in _SEQUENCES:
        yield from _walk(described.get("feature"), path)
    elif not isinstance(kind, str):
        for name, inner in described.items():
            yield from _walk(inner, f"{path}/{name}" if path else name)
