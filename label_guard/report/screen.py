"""Reports on a terminal, drawn with rich: colour, wrapping, the line of the file with the place marked, histograms.

Only where standard output is a terminal and rich is installed; elsewhere commands print plain text. Text of files and
data is escaped and reaches rich as ``Text``, never as its markup. ``NO_COLOR`` and ``TERM=dumb`` are respected by rich.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from label_guard.core.escape import terminal
from label_guard.core.files import read_bounded
from label_guard.core.plural import counted
from label_guard.report.common import counts, summary, title
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_MAX_BYTES = 2 << 20  # of a schema file
_MOST_SHOWN = 160  # characters of a line: a schema of one line may have 2 MiB
_STYLES = {
    "error": "bold red",
    "warning": "bold yellow",
    "note": "bold cyan",
    "title": "bold",
    "good": "bold green",
    "cause": "cyan",
    "muted": "dim",
}
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # of lines, as YAML counts them
_TOKEN = re.compile(r"[^\s,\]}#]+")


def screen() -> Console | None:
    """The terminal that standard output is; None for a file or a pipe, or without rich."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(highlight=False, emoji=False)


def show_diagnostics(console: Console, report: DiagnosticReport) -> None:
    """Prints diagnostics, each with its line of the file, and how many of them ``lint --fix`` corrects."""
    from rich.text import Text

    for one in report.diagnostics:
        console.print(Text.assemble((title(one), _STYLES[one.severity]), ": ", terminal(one.message)))
        for line in _place(one):
            console.print(line, soft_wrap=True)
        if one.fix:
            show_lines(console, [(f"  fix: {terminal(one.fix)}", "good")])
        console.print()
    severity = next((name for name in ("error", "warning") if counts(report)[name]), "good")
    console.print(Text(summary(report), _STYLES[severity]))
    fixable = sum(bool(one.kind) for one in report.diagnostics)
    if fixable:
        console.print(f"{counted(fixable, 'problem')} fixable with --fix")


def show_lines(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    """Prints lines of text and role; a long one is wrapped below its own indent, but for a command, which is copied.

    What comes before a colon has the colour of the role, and so has a line without one.
    """
    from rich.padding import Padding
    from rich.text import Text

    for line, role in lines:
        if role == "command":
            console.print(Text(line), soft_wrap=True)
            continue
        name, colon, rest = line.lstrip().partition(": ")
        indent = len(line) - len(line.lstrip())
        shown = Text.assemble((name + colon, _STYLES.get(role, "")), rest)
        console.print(Padding(shown, (0, 0, 0, indent), expand=False) if line else "")


def _place(diagnostic: Diagnostic) -> Iterator[Text]:
    """The place of a diagnostic, and its line with the value marked."""
    from rich.text import Text

    if not diagnostic.file:
        return
    place = f":{diagnostic.line}:{diagnostic.column}" if diagnostic.line else ""
    yield Text.assemble(("  --> ", "blue"), terminal(diagnostic.file), place)
    source = _source_lines(diagnostic.file)
    if not 0 < diagnostic.line <= len(source):
        return
    raw, number, column = source[diagnostic.line - 1], str(diagnostic.line), max(0, diagnostic.column - 1)
    token = _TOKEN.match(raw, column, column + _MOST_SHOWN // 2)
    start = max(0, column - _MOST_SHOWN // 3) if len(raw) > _MOST_SHOWN else 0
    shown = raw[start : start + _MOST_SHOWN]
    before, after = "..." if start else "", "..." if start + _MOST_SHOWN < len(raw) else ""
    width = len(terminal(token[0])) if token else 1
    yield Text.assemble((f"{number:>4} | ", "blue"), before, terminal(shown), after)
    marker = " " * len(before + terminal(raw[start:column])) + "^" * width
    yield Text.assemble(("     | ", "blue"), (marker, _STYLES[diagnostic.severity]))


@lru_cache(maxsize=1)  # diagnostics come file by file
def _source_lines(file: str) -> Sequence[str]:
    try:
        return _BREAK.split(read_bounded(Path(file), _MAX_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError):  # it was reported as unreadable, or is of another revision
        return ()
