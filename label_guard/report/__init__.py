"""Renders diagnostics; one module per output format, loaded on use."""

from __future__ import annotations

import importlib

from label_guard.errors import UsageError
from label_guard.rules.diagnostic import DiagnosticReport

FORMATS = ("text", "json", "github", "sarif", "junit", "markdown")


def render_diagnostics(report: DiagnosticReport, format: str) -> str:
    r"""Returns a report as one text without a newline at its end.

    Args:
        report: what was found.
        format: one of ``FORMATS``.

    Raises:
        UsageError: the format is unknown.

    >>> from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport
    >>> found = Diagnostic("LG201", "error", "num_classes is 2 but class_names has 3", "remove 1", "voc.yaml", 7)
    >>> print(render_diagnostics(DiagnosticReport([found], "lint", 1), "github").splitlines()[0])
    ::error title=LG201 class-count-mismatch,file=voc.yaml,line=7::num_classes is 2 but class_names has 3%0Aremove 1
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; use one of: {', '.join(FORMATS)}")
    return importlib.import_module(f"label_guard.report.{format}").render(report)
