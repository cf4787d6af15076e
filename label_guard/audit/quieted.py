"""Finds the contradictions of metadata (LG231 to LG234) that ``# noqa`` comments of the schema file quiet."""

from __future__ import annotations

from dataclasses import replace

from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.fields import SchemaPath
from label_guard.schema.noqa import quieted_lines
from label_guard.schema.reader import SchemaFile
from label_guard.sources.metadata_problems import split_problems
from label_guard.sources.source import Source


def with_comments(file: SchemaFile | None, opened: list[tuple[str | None, Source]]) -> list[tuple[str | None, Source]]:
    """Returns the sources, each with the rules that the comments of a schema file quiet, as ``lint --source`` does.

    Args:
        file: the schema file; None for a schema made in Python, which has no comments.
        opened: the opened source of each split.
    """
    if file is None or file.schema is None or not (lines := quieted_lines(file)):
        return opened
    found: list[tuple[str | None, Source]] = []
    for split, source in opened:
        quiet = {
            (path, problem.rule)
            for path, problem in split_problems(file.schema, split, source.features, source.expected_records)
            if (file.diagnostic(problem._replace(path=_written(file.schema, split, problem.path))).line, problem.rule)
            in lines
        }
        found.append((split, replace(source, quiet=frozenset(quiet))))
    return found


def _written(schema: DatasetSchema, split: str | None, path: SchemaPath) -> SchemaPath:
    """The place of a label's field in the file: that of the split, where it overrides the field."""
    override = schema.splits[split].labels.get(str(path[1])) if split in schema.splits else None
    own = override is not None and len(path) > 2 and path[2] in override.model_fields_set
    return ("splits", str(split), *path) if own else path
