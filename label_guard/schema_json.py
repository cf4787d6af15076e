"""JSON Schema (2020-12) of the schema file, for editors and for validators that know nothing of this package."""

from __future__ import annotations

from typing import Any

from label_guard.schema import DatasetSchema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a schema file.

    What ``lint`` refuses for its structure (names, types, ranges of fields) it refuses too; what only a comparison of
    fields shows (LG201 and the other contradictions) is beyond it.
    """
    return {"$schema": DIALECT, **DatasetSchema.model_json_schema()}
