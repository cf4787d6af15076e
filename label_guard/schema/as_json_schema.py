"""JSON Schema (2020-12) of the schema file, for editors and for validators that know nothing of this package."""

from __future__ import annotations

from typing import Any, cast

from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a schema file.

    What ``lint`` refuses for its structure (names, types, ranges of fields) it refuses too. Beyond it are what only a
    comparison of fields shows (LG201 and the other contradictions), repeated keys, and ``10.0`` for ``10``.
    """
    schema: dict[str, Any] = _tidy(DatasetSchema.model_json_schema())
    splits = schema["properties"]["splits"]
    [(pattern, split)] = splits.pop("patternProperties").items()
    splits |= {"propertyNames": {"pattern": pattern}, "additionalProperties": split}
    definitions = schema["$defs"]
    for model in KINDS.values():
        definition = definitions[model.__name__]
        fields: dict[str, Any] = definition["properties"]
        del fields["kind"]["default"]  # a default of the Python class; a file must name the kind
        definition["required"] = ["kind", *definition.get("required", ())]
        branches = [branch for name in ("class_names", "class_ids") for branch in fields.get(name, {}).get("anyOf", ())]
        for branch in branches:
            if branch.get("type") == "array":
                branch["uniqueItems"] = True
    return {"$schema": DIALECT, "title": "label_guard schema file", **schema}


def _tidy(node: Any) -> Any:
    """``node`` without what pydantic adds for others: titles made of field names, null defaults, OpenAPI keywords."""
    if isinstance(node, list):
        return [_tidy(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    kept: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", node).items():
        added = (key == "title" and isinstance(value, str)) or (key == "default" and value is None)
        if not added and key not in ("discriminator", "ge", "le"):
            # What follows the first paragraph is for readers of the code.
            kept[key] = value.partition("\n\n")[0] if key == "description" and isinstance(value, str) else _tidy(value)
    return kept
