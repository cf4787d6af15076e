"""Tables for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable

from label_guard.core.escape import terminal


def html_table(caption: str, rows: Iterable[tuple[str, object]]) -> str:
    """A table of names and values, escaped: they may come from data.

    >>> html_table("Labels", [("seen", 1200), ("source", "<b>")])
    '<table><caption>Labels</caption><tr><th>seen</th><td>1,200</td></tr><tr><th>source</th><td>&lt;b&gt;</td></tr></table>'
    """
    cells = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f"<table><caption>{_text(caption)}</caption>{cells}</table>"


def _text(value: object) -> str:
    return html.escape(f"{value:,}" if isinstance(value, int) else terminal(str(value)))
