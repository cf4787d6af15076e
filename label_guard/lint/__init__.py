"""What is wrong with a schema file."""

from label_guard.lint.linter import lint_file as lint_schema

__all__ = ["lint_schema"]
