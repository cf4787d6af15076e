"""Renders diagnostics; one module per output format, loaded on use."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from label_guard.errors import UsageError
from label_guard.rules.diagnostic import Diagnostic

FORMATS = ("text", "json", "github", "sarif", "junit", "markdown")


def render_diagnostics(
    diagnostics: Sequence[Diagnostic],
    format: str,
    *,
    tool: str,
    files_checked: int = 0,
    complete: bool = True,
    not_checked: Sequence[str] = (),
) -> str:
    r"""The diagnostics as one text without a newline at its end.

    Args:
        diagnostics: what was found, in the order to show it.
        format: one of ``FORMATS``.
        tool: the command that found them, such as ``lint``.
        files_checked: number of files looked at, sound ones included.
        complete: whether all of the work was done; where not, every format says so.
        not_checked: what was not checked, in one line each; every format lists it.

    Raises:
        UsageError: the format is unknown.

    >>> found = Diagnostic("LG201", "error", "num_classes is 2 but class_names has 3", "remove 1", "voc.yaml", 7)
    >>> print(render_diagnostics([found], "github", tool="lint", files_checked=1).splitlines()[0])
    ::error title=LG201 class-count-mismatch,file=voc.yaml,line=7::num_classes is 2 but class_names has 3%0Aremove 1
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; use one of: {', '.join(FORMATS)}")
    renderer = importlib.import_module(f"label_guard.report.{format}")
    return renderer.render(diagnostics, tool, files_checked, complete, not_checked)
